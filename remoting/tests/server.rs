//! A real server on a real socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::frame::{self, HeaderForm};
use oxmq_protocol::limits::MAX_SHOWN_BYTES;
use oxmq_remoting::{
    Connection, InvokeError, RemotingClient, RemotingClientConfig, Reply, RequestCount,
    RequestCounters, Server, ServerConfig, Service, Together, WorkerId, after_round,
};

const ECHO: RequestCode = RequestCode(1);
const KEEP: RequestCode = RequestCode(2);
const ASK_BACK: RequestCode = RequestCode(3);
const PANIC: RequestCode = RequestCode(4);
const AFTER_ROUND: RequestCode = RequestCode(5);
const SENT_AWAY: RequestCode = RequestCode(6);
const REMARK: RequestCode = RequestCode(7);
const WHOLE_REMARK: RequestCode = RequestCode(8);
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    kept: Mutex<Vec<Reply>>,
    closed: AtomicUsize,
    asked: Mutex<Vec<String>>,
    /// Requests with [`SENT_AWAY`], of which the first is.
    sent_away: AtomicUsize,
    /// How many answers left together.
    rounds: Mutex<Vec<usize>>,
}

#[derive(Clone, Default)]
struct Probe(Arc<State>);

impl std::ops::Deref for Probe {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Probe {
    fn answer_together(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        self.rounds.lock().unwrap().push(kept.len());
        let mut together = Together::default();
        for reply in kept {
            together.add(&reply);
            reply.send(RemotingCommand::response(ResponseCode::SUCCESS));
        }
    }
}

impl Service for Probe {
    fn request(&self, connection: &Arc<Connection>, request: CommandView<'_>, reply: Reply) {
        match request.request_code() {
            ECHO => reply.write(ResponseCode::SUCCESS, None, |mut writer| {
                writer.number("bytes", request.body.len() as i64);
                writer.finish(request.body);
            }),
            KEEP => self.kept.lock().unwrap().push(reply),
            AFTER_ROUND => {
                let mut kept = self.kept.lock().unwrap();
                if kept.is_empty() {
                    let (probe, worker) = (self.clone(), WorkerId::current().unwrap());
                    after_round(move || worker.run(move || probe.answer_together()));
                }
                kept.push(reply);
            }
            ASK_BACK => {
                let connection = Arc::clone(connection);
                let probe = self.clone();
                tokio::spawn(async move {
                    let answer = connection.invoke(RemotingCommand::request(ECHO), DEADLINE).await;
                    let remark = answer.unwrap().remark.unwrap_or_default();
                    probe.asked.lock().unwrap().push(remark);
                });
                reply.send(RemotingCommand::response(ResponseCode::SUCCESS));
            }
            SENT_AWAY if self.sent_away.fetch_add(1, Ordering::SeqCst) == 0 => {
                reply.fail(ResponseCode::GO_AWAY, "please go away");
            }
            SENT_AWAY => reply.fail(ResponseCode::SUCCESS, "here"),
            REMARK => reply.fail(ResponseCode::SYSTEM_ERROR, &text(request.body)),
            WHOLE_REMARK => {
                let answer = RemotingCommand::response(ResponseCode::SYSTEM_ERROR);
                reply.send(answer.with_remark(text(request.body)));
            }
            PANIC => {
                reply.abandon();
                panic!("a handler panicked");
            }
            code => reply.fail(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, &code.to_string()),
        }
    }

    fn closed(&self, _: &Arc<Connection>) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn start(change: impl FnOnce(&mut ServerConfig)) -> (Server, Probe) {
    let probe = Probe::default();
    let mut config = ServerConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    change(&mut config);
    (Server::bind(&config, Arc::new(probe.clone())).unwrap(), probe)
}

fn client(change: impl FnOnce(&mut RemotingClientConfig)) -> RemotingClient {
    let mut config = RemotingClientConfig::default();
    change(&mut config);
    RemotingClient::new(config)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn request(code: RequestCode, opaque: i32, body: &[u8]) -> Vec<u8> {
    let mut command = RemotingCommand::request(code).with_body(body.to_vec());
    command.opaque = opaque;
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

/// A client that writes bytes as it pleases.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn response(&mut self) -> RemotingCommand {
        let mut bytes = vec![0; 4];
        self.0.read_exact(&mut bytes).unwrap();
        let total = frame::total_bytes(&bytes).unwrap().unwrap();
        bytes.resize(total, 0);
        self.0.read_exact(&mut bytes[4..]).unwrap();
        let (frame, _) = frame::split(&bytes).unwrap().unwrap();
        RemotingCommand::decode(frame).unwrap()
    }

    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

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
async fn server_asks_the_client_on_the_same_connection() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    client.0.write_all(&request(ASK_BACK, 1, b"")).unwrap();
    let (first, second) = (client.response(), client.response());
    let asked = if first.is_response() { second } else { first };
    assert_eq!(asked.code, ECHO.0);
    let mut answer = RemotingCommand::response(ResponseCode::SUCCESS).with_remark("here");
    answer.opaque = asked.opaque;
    let mut bytes = Vec::new();
    answer.encode(&mut bytes);
    client.0.write_all(&bytes).unwrap();
    wait_for("the answer", || *probe.asked.lock().unwrap() == ["here"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_reconnects_after_the_server_went_away() {
    let client = RemotingClient::new(RemotingClientConfig::default());
    let (server, _) = start(|_| ());
    let address = server.local_addr();
    let ask = async || {
        client.invoke(&address.to_string(), RemotingCommand::request(ECHO), DEADLINE).await
    };
    assert_eq!(ask().await.unwrap().code, 0);
    server.shutdown().await;
    assert!(ask().await.is_err());
    let (_server, _) = start(|config| config.listen = address);
    // It lets the address alone for a moment.
    let until = Instant::now() + DEADLINE;
    while ask().await.is_err() {
        assert!(Instant::now() < until, "not connected again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn address_that_cannot_be_reached_is_left_alone_for_longer_each_time() {
    let client = RemotingClient::new(RemotingClientConfig::default());
    // Bound and not listening: whoever connects is refused.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let ask = async || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(250) {
            let error = client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await;
            assert!(error.unwrap_err().to_string().starts_with("connect to <127.0.0.1:"));
        }
        began.elapsed()
    };
    assert!(ask().await < DEADLINE / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_share_one_connection() {
    let (server, _) = start(|_| ());
    let client = Arc::new(RemotingClient::new(RemotingClientConfig::default()));
    let address = server.local_addr().to_string();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, address) = (Arc::clone(&client), address.clone());
        requests.spawn(async move {
            client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap()
        });
    }
    assert_eq!(requests.join_all().await.len(), 50);
    assert_eq!(server.connection_count(), 1);
    client.retain(&[]);
    wait_for("the connection's end", || server.connection_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_fails_when_its_connection_ends_or_its_time_is_up() {
    let (server, probe) = start(|_| ());
    let client = RemotingClient::new(RemotingClientConfig::default());
    let address = server.local_addr().to_string();
    let timeout = Duration::from_millis(30);
    let error = client.invoke(&address, RemotingCommand::request(KEEP), timeout).await;
    assert!(error.unwrap_err().to_string().contains("timeout, "));
    let waiting = client.invoke(&address, RemotingCommand::request(KEEP), DEADLINE);
    let closing = async {
        wait_for("the second request", || probe.kept.lock().unwrap().len() == 2).await;
        server.shutdown().await;
    };
    let (error, ()) = tokio::join!(waiting, closing);
    assert!(error.unwrap_err().to_string().contains("was closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_whose_answer_does_not_come_in_time_is_closed_unless_it_is_to_stay() {
    for close_on_timeout in [true, false] {
        let (server, probe) = start(|_| ());
        let address = server.local_addr().to_string();
        let client = client(|config| config.close_on_timeout = close_on_timeout);
        client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap();
        let timeout = Duration::from_millis(30);
        let error = client.invoke(&address, RemotingCommand::request(KEEP), timeout).await;
        assert!(matches!(error, Err(InvokeError::Timeout { .. })), "{error:?}");
        client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap();
        let closed = usize::from(close_on_timeout);
        wait_for("the end of the first", || probe.closed.load(Ordering::SeqCst) == closed).await;
        assert_eq!(server.connection_count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_is_sent_away_is_put_again_on_a_new_connection() {
    let (server, probe) = start(|_| ());
    let address = server.local_addr().to_string();
    let ask = async |reconnect_for_go_away| {
        let client = client(|config| config.reconnect_for_go_away = reconnect_for_go_away);
        let answer = client.invoke(&address, RemotingCommand::request(SENT_AWAY), DEADLINE).await;
        answer.unwrap().response_code()
    };
    assert_eq!(ask(false).await, ResponseCode::GO_AWAY);
    assert_eq!(probe.sent_away.swap(0, Ordering::SeqCst), 1);
    assert_eq!(ask(true).await, ResponseCode::SUCCESS);
    wait_for("the end of the first", || probe.closed.load(Ordering::SeqCst) >= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_is_closed_by_the_client_too() {
    let (server, probe) = start(|_| ());
    let client = client(|config| config.max_idle = Duration::from_millis(20));
    let address = server.local_addr().to_string();
    client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap();
    wait_for("the connection's end", || probe.closed.load(Ordering::SeqCst) == 1).await;
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
