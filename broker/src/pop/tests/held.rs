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
