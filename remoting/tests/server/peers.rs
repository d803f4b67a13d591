//! Peers that are broken, slow, idle, too many, behind a proxy or of another protocol.

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::limits::MAX_SHOWN_BYTES;

use super::{
    DEADLINE, ECHO, KEEP, MEBIBYTE, PANIC, REMARK, Raw, WHOLE_REMARK, client, request, start,
    wait_for,
};

#[tokio::test(flavor = "multi_thread")]
async fn bad_frame_closes_its_own_connection_after_the_answers_before_it() {
    let (server, probe) = start(|_| ());
    let mut other = Raw::connect(&server);
    let not_json = [&12_i32.to_be_bytes()[..], &[0, 0, 0, 8], b"not json"].concat();
    for bad in [(-5_i32).to_be_bytes().to_vec(), i32::MAX.to_be_bytes().to_vec(), not_json] {
        let mut client = Raw::connect(&server);
        let mut bytes = request(ECHO, 1, b"fine");
        bytes.extend(bad);
        client.0.write_all(&bytes).unwrap();
        assert_eq!(client.response().opaque, 1);
        assert!(client.is_closed());
    }
    wait_for("three closed connections", || probe.closed.load(Ordering::SeqCst) == 3).await;
    other.0.write_all(&request(ECHO, 4, b"")).unwrap();
    assert_eq!(other.response().opaque, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn panicking_handler_costs_its_own_connection_only() {
    let (server, probe) = start(|_| ());
    let (mut bad, mut good) = (Raw::connect(&server), Raw::connect(&server));
    bad.0.write_all(&request(PANIC, 1, b"")).unwrap();
    assert!(bad.is_closed());
    wait_for("the closed event", || probe.closed.load(Ordering::SeqCst) == 1).await;
    wait_for("the table entry to go", || server.connection_count() == 1).await;
    good.0.write_all(&request(ECHO, 2, b"")).unwrap();
    assert_eq!(good.response().opaque, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_is_closed_even_in_the_middle_of_a_frame() {
    let (server, _) = start(|config| config.max_idle = Duration::from_millis(100));
    let mut client = Raw::connect(&server);
    client.0.write_all(&request(ECHO, 1, b"half")[..20]).unwrap();
    assert!(client.is_closed());
    wait_for("the table entry to go", || server.connection_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_over_the_limit_is_refused() {
    let (server, _) = start(|config| config.max_connections = 1);
    let mut first = Raw::connect(&server);
    first.0.write_all(&request(ECHO, 1, b"")).unwrap();
    first.response();
    assert!(Raw::connect(&server).is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_does_not_read_is_not_read_either() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    client.0.set_nonblocking(true).unwrap();
    let bytes = request(ECHO, 1, &vec![0; 100_000]);
    // The server stops reading at some point, so writing blocks well before 64 MiB are owed to us.
    let mut written = 0;
    let start = Instant::now();
    while written < 2000 * bytes.len() {
        match client.0.write(&bytes[written % bytes.len()..]) {
            Ok(count) => written += count,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                if start.elapsed() > Duration::from_secs(1) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    assert!(written < 2000 * bytes.len(), "the server read everything");
    // Reading again frees it: every whole request is answered.
    client.0.set_nonblocking(false).unwrap();
    for _ in 0..written / bytes.len() {
        assert_eq!(client.response().body.len(), 100_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_asks_for_much_at_once_gets_all_of_it() {
    let (server, _) = start(|_| ());
    let mut client = Raw::connect(&server);
    client.0.write_all(&request(ECHO, 0, b"")).unwrap();
    client.response();
    // These come with one read, and a last one in two pieces.
    let mut bytes: Vec<u8> = (1..=100).flat_map(|n| request(MEBIBYTE, n, b"")).collect();
    let last = request(ECHO, 101, b"last");
    bytes.extend(&last[..10]);
    client.0.write_all(&bytes).unwrap();
    for opaque in 1..=100 {
        let response = client.response();
        assert_eq!((response.opaque, response.body.len()), (opaque, 1024 * 1024));
    }
    client.0.write_all(&last[10..]).unwrap();
    assert_eq!(client.response().opaque, 101);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remark_that_holds_a_long_text_of_the_peer_is_shortened() {
    let (server, _) = start(|_| ());
    let address = server.local_addr().to_string();
    let client = client(|_| ());
    for code in [REMARK, WHOLE_REMARK] {
        let body = "n".repeat(40_000);
        let request = RemotingCommand::request(code).with_body(body.into_bytes());
        let answer = client.invoke(&address, request, DEADLINE).await.unwrap();
        let remark = answer.remark.unwrap();
        assert!(remark.len() < MAX_SHOWN_BYTES + 100, "{}", remark.len());
        assert!(remark.starts_with("nnn") && remark.contains(" bytes)..."), "{remark}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_on_all_addresses_is_reached_by_both_families() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let (server, probe) = start(|config| config.listen = (Ipv6Addr::UNSPECIFIED, 0).into());
    let client = client(|_| ());
    let port = server.local_addr().port();
    for (host, peer) in [("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")] {
        let address = format!("{host}:{port}");
        client.invoke_oneway(&address, RemotingCommand::request(KEEP)).await.unwrap();
        wait_for("the request", || !probe.kept.lock().unwrap().is_empty()).await;
        let reply = probe.kept.lock().unwrap().pop().unwrap();
        // An IPv4 peer is one, although its socket is of IPv6.
        assert_eq!(reply.connection().peer().ip().to_string(), peer);
        assert_eq!(reply.connection().local().ip().to_string(), peer);
        reply.abandon();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_behind_a_proxy_is_known_by_its_own_address() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    let mut bytes = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 10911\r\n".to_vec();
    bytes.extend(request(KEEP, 3, b""));
    // In two pieces, as a network would have it.
    let (head, tail) = bytes.split_at(20);
    client.0.write_all(head).unwrap();
    client.0.write_all(tail).unwrap();
    wait_for("the request", || probe.kept.lock().unwrap().len() == 1).await;
    let reply = probe.kept.lock().unwrap().pop().unwrap();
    assert_eq!(reply.connection().peer().to_string(), "192.0.2.7:5555");
    reply.fail(ResponseCode::SUCCESS, "here");
    assert_eq!(client.response().opaque, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_tls_peers_are_closed_at_once() {
    let (server, probe) = start(|_| ());
    for hello in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0, 1], b"PRI * HTTP/2.0\r\n"] {
        let mut client = Raw::connect(&server);
        client.0.write_all(hello).unwrap();
        assert!(client.is_closed());
    }
    wait_for("three closed connections", || probe.closed.load(Ordering::SeqCst) == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_server_sends_newer_clients_away_and_serves_the_others() {
    let (server, _) = start(|_| ());
    let (mut newer, mut older) = (Raw::connect(&server), Raw::connect(&server));
    let ask = |client: &mut Raw, version| {
        let mut command = RemotingCommand::request(ECHO);
        command.version = version;
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        client.0.write_all(&bytes).unwrap();
        client.response().response_code()
    };
    assert_eq!(ask(&mut newer, 513), ResponseCode::SUCCESS);
    server.drain(Duration::ZERO).await;
    assert_eq!(ask(&mut newer, 513), ResponseCode::GO_AWAY);
    assert_eq!(ask(&mut older, 409), ResponseCode::SUCCESS);
    drop((newer, older));
    tokio::time::timeout(DEADLINE, server.drain(DEADLINE * 2)).await.unwrap();
}
