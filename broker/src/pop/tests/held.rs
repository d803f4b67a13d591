//! Pops that wait, and who serves them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::frame;
use oxmq_remoting::{Connection, Server, ServerConfig, Service};

use super::*;

/// No answer takes so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Hands out requests for tests to answer.
struct Keep(mpsc::Sender<Reply>);

impl Service for Keep {
    fn request(&self, _: &Arc<Connection>, _: CommandView<'_>, reply: Reply) {
        self.0.send(reply).unwrap();
    }
}

/// Clients, and what they ask.
struct Clients {
    server: Server,
    asked: mpsc::Receiver<Reply>,
}

/// The end of a connection where the answer comes.
struct Client(TcpStream);

impl Clients {
    fn start() -> Self {
        let (keep, asked) = mpsc::channel();
        let config = ServerConfig::new((Ipv4Addr::LOCALHOST, 0).into());
        Self { server: Server::bind(&config, Arc::new(Keep(keep))).unwrap(), asked }
    }

    /// A client that asks something.
    fn ask(&self) -> (Client, Reply) {
        let mut stream = TcpStream::connect(self.server.local_addr()).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        let mut request = Vec::new();
        RemotingCommand::request(RequestCode::POP_MESSAGE).encode(&mut request);
        stream.write_all(&request).unwrap();
        (Client(stream), self.asked.recv().unwrap())
    }
}

impl Client {
    fn answer(&mut self) -> RemotingCommand {
        let mut bytes = Vec::new();
        loop {
            if let Some((frame, _)) = frame::split(&bytes).unwrap() {
                return RemotingCommand::decode(frame).unwrap();
            }
            let mut piece = [0; 4_096];
            let read = self.0.read(&mut piece).unwrap();
            bytes.extend(&piece[..read]);
        }
    }

    fn answered(&mut self) -> ResponseCode {
        self.answer().response_code()
    }
}

fn held(reply: Reply, request: PopRequest) -> HeldPop {
    let deadline = Instant::now() + Duration::from_secs(600);
    HeldPop { reply, request: Arc::new(request), deadline }
}

/// Waits for long.
fn patient() -> PopRequest {
    PopRequest { poll_ms: 600_000, ..request(LONG_MS) }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_a_client_that_is_gone_meanwhile_is_for_the_next_that_waits() {
    let (setup, clients) = (setup(|_| ()), Clients::start());
    let (mut waiting, reply) = clients.ask();
    setup.pop.serve(held(reply, patient()));
    setup.send(&["one"]);
    let (_gone, reply) = clients.ask();
    reply.connection().close();
    setup.pop.serve(held(reply, patient()));
    assert_eq!(waiting.answered(), ResponseCode::SUCCESS);
}

/// As if another pop found the queue busy that is in its turn.
fn want(setup: &Setup) {
    let queue = setup.pop.queues.get(GroupQueueRef { topic: "t", group: "g", queue_id: 0 });
    let turn = queue.begin();
    assert!(turn.is_some() && queue.begin().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_found_a_queue_busy_is_served_though_the_other_one_got_nothing() {
    let (setup, clients) = (setup(|_| ()), Clients::start());
    let (mut waiting, reply) = clients.ask();
    setup.pop.serve(held(reply, patient()));
    // The message wakes the one that waits while the other one looks, which was too early for it.
    setup.send(&["one"]);
    want(&setup);
    let (mut other, reply) = clients.ask();
    setup.pop.serve(held(reply, PopRequest { max_messages: 0, ..request(LONG_MS) }));
    assert_eq!(other.answered(), ResponseCode::POLLING_TIMEOUT);
    assert_eq!(waiting.answered(), ResponseCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn pop_whose_time_is_up_does_not_end_the_wait_of_the_next_one() {
    let (setup, clients) = (setup(|_| ()), Clients::start());
    let ((mut first, first_reply), (_second, second_reply)) = (clients.ask(), clients.ask());
    let deadline = Instant::now() + Duration::from_secs(60);
    setup.pop.serve(HeldPop { deadline, ..held(first_reply, patient()) });
    setup.pop.serve(held(second_reply, patient()));
    setup.send(&["one"]);
    want(&setup);
    setup.pop.tick(deadline);
    assert_eq!(first.answered(), ResponseCode::SUCCESS);
    assert_eq!(setup.pop.waiting(QueueRef { topic: "t", queue_id: ANY_QUEUE }, "g"), 1);
    setup.pop.release_all();
}
