//! A real server on a real socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod clients;
mod peers;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::frame;
use oxmq_remoting::{
    Connection, RemotingClient, RemotingClientConfig, Reply, Server, ServerConfig, Service,
    Together, WorkerId, after_busy_round, after_round,
};

const ECHO: RequestCode = RequestCode(1);
const KEEP: RequestCode = RequestCode(2);
const ASK_BACK: RequestCode = RequestCode(3);
const PANIC: RequestCode = RequestCode(4);
const AFTER_ROUND: RequestCode = RequestCode(5);
const SENT_AWAY: RequestCode = RequestCode(6);
const REMARK: RequestCode = RequestCode(7);
const WHOLE_REMARK: RequestCode = RequestCode(8);
const WORKER: RequestCode = RequestCode(9);
const RELAY: RequestCode = RequestCode(10);
const AFTER_BUSY_ROUND: RequestCode = RequestCode(11);
const PEEK: RequestCode = RequestCode(12);
const MEBIBYTE: RequestCode = RequestCode(13);
const DEADLINE: Duration = Duration::from_secs(10);

/// A client's end of its connection, and a request that it writes.
type Relayed = (TcpStream, Vec<u8>);

#[derive(Default)]
struct State {
    kept: Mutex<Vec<Reply>>,
    closed: AtomicUsize,
    asked: Mutex<Vec<String>>,
    /// Requests with [`SENT_AWAY`], of which the first is.
    sent_away: AtomicUsize,
    /// How many answers left together.
    rounds: Mutex<Vec<usize>>,
    /// What [`RELAY`] writes and where to, the last first: each is there before the turn of the request ends.
    relayed: Mutex<Vec<Vec<Relayed>>>,
    /// Where [`PEEK`] looks for answers; its owner does not read meanwhile.
    peer: Mutex<Option<TcpStream>>,
    /// What was done, in this order.
    done: Mutex<Vec<String>>,
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

    fn done(&self, what: &[u8]) {
        self.done.lock().unwrap().push(text(what));
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
            WORKER => {
                let worker = WorkerId::current().map(WorkerId::number);
                reply.fail(ResponseCode::SUCCESS, &format!("{worker:?}"));
            }
            RELAY => {
                self.done(request.body);
                for (mut stream, bytes) in self.relayed.lock().unwrap().pop().unwrap_or_default() {
                    stream.write_all(&bytes).unwrap();
                }
                reply.fail(ResponseCode::SUCCESS, "");
            }
            AFTER_BUSY_ROUND => {
                self.done(request.body);
                let probe = self.clone();
                after_busy_round(move || {
                    probe.done(b"job");
                    reply.fail(ResponseCode::SUCCESS, "");
                });
            }
            PEEK => {
                let peer = self.peer.lock().unwrap().take().unwrap();
                peer.set_nonblocking(true).unwrap();
                let has_answers = peer.peek(&mut [0]).is_ok();
                peer.set_nonblocking(false).unwrap();
                self.done(if has_answers { b"answered" } else { b"unanswered" });
                reply.fail(ResponseCode::SUCCESS, "");
            }
            MEBIBYTE => reply.write(ResponseCode::SUCCESS, None, |writer| {
                writer.finish(&vec![13; 1024 * 1024]);
            }),
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

    /// `count` clients that one thread serves.
    fn connect_to_one_worker(server: &Server, count: usize) -> Vec<Self> {
        let mut by_worker = HashMap::<_, Vec<Self>>::new();
        loop {
            let mut client = Self::connect(server);
            client.0.write_all(&request(WORKER, 0, b"")).unwrap();
            let of_worker = by_worker.entry(client.response().remark).or_default();
            of_worker.push(client);
            if of_worker.len() == count {
                return std::mem::take(of_worker);
            }
        }
    }

    /// What has the server write this client's next request, see [`RELAY`].
    fn relayed(&self, code: RequestCode, body: &str) -> Relayed {
        (self.0.try_clone().unwrap(), request(code, 0, body.as_bytes()))
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
