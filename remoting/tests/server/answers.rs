//! Requests and their answers, at once or later, in order and in one piece.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::frame::HeaderForm;
use oxmq_remoting::{Reply, RequestCount, RequestCounters};

use super::{
    AFTER_BUSY_ROUND, AFTER_ROUND, DEADLINE, ECHO, KEEP, PEEK, RELAY, Raw, request, start, wait_for,
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_their_bytes_are_counted_by_code() {
    let counters = Arc::new(RequestCounters::default());
    let (server, _) = start(|config| config.counters = Arc::clone(&counters));
    let mut client = Raw::connect(&server);
    let echo = request(ECHO, 1, b"twelve bytes");
    let stranger = request(RequestCode(-7), 2, b"");
    client.0.write_all(&[echo.as_slice(), &echo, &stranger].concat()).unwrap();
    let mut bytes_out = [0, 0];
    for of in [0, 0, 1] {
        let mut answer = Vec::new();
        client.response().encode(&mut answer);
        bytes_out[of] += answer.len() as u64;
    }
    let count = |requests, bytes_in, bytes_out| RequestCount { requests, bytes_in, bytes_out };
    assert_eq!(
        counters.totals(),
        [
            (Some(ECHO), count(2, 2 * echo.len() as u64, bytes_out[0])),
            (None, count(1, stranger.len() as u64, bytes_out[1])),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    let batch: Vec<u8> = (0..1000).flat_map(|n| request(ECHO, n, &[7; 100])).collect();
    client.0.write_all(&batch).unwrap();
    for opaque in 0..1000 {
        let response = client.response();
        assert_eq!((response.opaque, response.code), (opaque, 0));
        assert_eq!(response.body, vec![7; 100]);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_all_requests_of_a_round_leave_together() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    for round in 0..3 {
        // Few bytes: they come with one read.
        let batch: Vec<u8> = (0..50).flat_map(|n| request(AFTER_ROUND, n, b"")).collect();
        client.0.write_all(&batch).unwrap();
        for opaque in 0..50 {
            assert_eq!(client.response().opaque, opaque);
        }
        assert_eq!(*probe.rounds.lock().unwrap(), vec![50; round + 1]);
    }
    // Nothing is kept back any more.
    client.0.write_all(&request(ECHO, 77, b"")).unwrap();
    assert_eq!(client.response().opaque, 77);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frame_that_trickles_in_is_answered_once_whole() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    for byte in request(ECHO, 5, b"slow") {
        client.0.write_all(&[byte]).unwrap();
    }
    assert_eq!(client.response().opaque, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_frame_is_read_whole_and_sent_back_whole() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| n as u8).collect();
    let mut bytes = request(ECHO, 1, &body);
    bytes.extend(request(ECHO, 2, b"behind it"));
    let mut writer = client.0.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    assert_eq!(client.response().body, body);
    assert_eq!(client.response().body, &b"behind it"[..]);
    writing.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_reply_is_answered_from_another_thread() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    client.0.write_all(&request(KEEP, 9, b"")).unwrap();
    wait_for("the reply to be kept", || probe.kept.lock().unwrap().len() == 1).await;
    let reply = probe.kept.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || reply.fail(ResponseCode::PULL_NOT_FOUND, "later")).join().unwrap();
    let response = client.response();
    assert_eq!((response.opaque, response.remark.as_deref()), (9, Some("later")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_many_threads_never_mix() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    let count = 2000;
    let batch: Vec<u8> = (0..count).flat_map(|n| request(KEEP, n, b"")).collect();
    client.0.write_all(&batch).unwrap();
    wait_for("all replies", || probe.kept.lock().unwrap().len() == count as usize).await;
    let replies = std::mem::take(&mut *probe.kept.lock().unwrap());
    let mut shares: Vec<Vec<Reply>> = (0..4).map(|_| Vec::new()).collect();
    for (index, reply) in replies.into_iter().enumerate() {
        shares[index % 4].push(reply);
    }
    let threads: Vec<_> = shares
        .into_iter()
        .map(|share| {
            std::thread::spawn(move || {
                for reply in share {
                    reply.write(ResponseCode::SUCCESS, None, |writer| writer.finish(&[1; 5000]));
                }
            })
        })
        .collect();
    let mut seen: Vec<i32> = (0..count)
        .map(|_| {
            let response = client.response();
            assert_eq!(response.body.len(), 5000);
            response.opaque
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The socket fills up in the middle of a frame while other threads still append theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_to_a_peer_that_reads_late_never_mix() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    let count = 400;
    let batch: Vec<u8> = (0..count).flat_map(|n| request(KEEP, n, b"")).collect();
    client.0.write_all(&batch).unwrap();
    wait_for("all replies", || probe.kept.lock().unwrap().len() == count as usize).await;
    let replies = std::mem::take(&mut *probe.kept.lock().unwrap());
    let mut shares: Vec<Vec<Reply>> = (0..8).map(|_| Vec::new()).collect();
    for (index, reply) in replies.into_iter().enumerate() {
        shares[index % 8].push(reply);
    }
    let threads: Vec<_> = shares
        .into_iter()
        .map(|share| {
            std::thread::spawn(move || {
                for reply in share {
                    reply.write(ResponseCode::SUCCESS, None, |writer| writer.finish(&[1; 50_000]));
                }
            })
        })
        .collect();
    // Reading starts while they append, and goes on after the last of them has left.
    let mut seen: Vec<i32> = (0..count)
        .map(|_| {
            let response = client.response();
            assert!(response.body.iter().all(|byte| *byte == 1));
            assert_eq!(response.body.len(), 50_000);
            std::thread::sleep(Duration::from_micros(200));
            response.opaque
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn oneway_request_gets_no_answer() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    let mut bytes = Vec::new();
    RemotingCommand::request(ECHO).oneway().encode(&mut bytes);
    bytes.extend(request(ECHO, 8, b""));
    client.0.write_all(&bytes).unwrap();
    assert_eq!(client.response().opaque, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn peers_that_keep_their_sockets_full_do_not_starve_the_others() {
    let (server, _) = start(|_| ());
    let answered = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let (mut flood, answered) = (Raw::connect(&server), Arc::clone(&answered));
            let mut bytes = Vec::new();
            RemotingCommand::request(ECHO).oneway().encode(&mut bytes);
            let bytes = bytes.repeat(1000);
            std::thread::spawn(move || {
                let start = Instant::now();
                while !answered.load(Ordering::SeqCst) && start.elapsed() < 2 * DEADLINE {
                    flood.0.write_all(&bytes).unwrap();
                }
            })
        })
        .collect();
    let mut client = Raw::connect(&server);
    for opaque in 0..100 {
        client.0.write_all(&request(ECHO, opaque, b"")).unwrap();
        assert_eq!(client.response().opaque, opaque);
    }
    answered.store(true, Ordering::SeqCst);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_asks_again_while_it_is_answered_is_not_served_out_of_turn() {
    let (server, probe) = start(|_| ());
    let clients = Raw::connect_to_one_worker(&server, 2);
    let (quick, other) = (&clients[0], &clients[1]);
    // The quick one's next request is there whenever its last is done, and so is the other's after ten.
    let steps = (0..100).rev().map(|n| {
        let mut step = vec![quick.relayed(RELAY, "quick")];
        step.extend((n == 10).then(|| other.relayed(RELAY, "other")));
        step
    });
    *probe.relayed.lock().unwrap() = steps.collect();
    let (mut stream, bytes) = quick.relayed(RELAY, "quick");
    stream.write_all(&bytes).unwrap();
    wait_for("all requests", || probe.done.lock().unwrap().len() > 100).await;
    let at = probe.done.lock().unwrap().iter().position(|done| done == "other").unwrap();
    assert!(at <= 13, "served after {at}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_alone_is_answered_before_all_that_it_asked_is_handled() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    // The thread may have more peers now, of other tests.
    wait_for("a round in which it is alone", || {
        *probe.peer.lock().unwrap() = Some(client.0.try_clone().unwrap());
        let mut batch: Vec<u8> = (0..16).flat_map(|n| request(ECHO, n, b"")).collect();
        batch.extend(request(PEEK, 16, b""));
        client.0.write_all(&batch).unwrap();
        let begun = Instant::now();
        while probe.done.lock().unwrap().is_empty() && begun.elapsed() < DEADLINE {
            std::thread::yield_now();
        }
        assert!((0..17).all(|opaque| client.response().opaque == opaque));
        std::mem::take(&mut *probe.done.lock().unwrap()) == ["answered"]
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_busy_round_are_done_after_all_its_requests() {
    let (server, probe) = start(|_| ());
    let clients = Raw::connect_to_one_worker(&server, 3);
    // The first time shows that requests of several come together here.
    for round in 0..2 {
        let step = clients[1..].iter().map(|client| client.relayed(AFTER_BUSY_ROUND, "turn"));
        *probe.relayed.lock().unwrap() = vec![step.collect()];
        let (mut stream, bytes) = clients[0].relayed(RELAY, "relay");
        stream.write_all(&bytes).unwrap();
        wait_for("the jobs", || probe.done.lock().unwrap().len() == 5 * (round + 1)).await;
    }
    let done = probe.done.lock().unwrap().split_off(5);
    assert_eq!(done, ["relay", "turn", "turn", "job", "job"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_request_gets_a_binary_answer() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    let mut command = RemotingCommand::request(ECHO);
    command.form = HeaderForm::RocketMq;
    command.opaque = 3;
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    client.0.write_all(&bytes).unwrap();
    let response = client.response();
    assert_eq!((response.form, response.opaque), (HeaderForm::RocketMq, 3));
}
