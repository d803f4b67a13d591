//! Messages of lite topics that are given back while their queue is in use.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::frame;
use oxmq_protocol::header::{AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader};
use oxmq_remoting::{Connection, Server, ServerConfig, Service};

use super::*;
use crate::attributes::LITE_BIND_TOPIC;
use crate::pop::lite::LiteService;
use crate::processor::pop_ack::PopAck;
use crate::sync::lock;

/// No answer takes so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Of the first message of lite topic `l`, given out in order.
const RECEIPT: &str = "0 1 600000 999 0 b 0 0";

/// Takes messages back on the thread that reads the request.
struct GivesBack(PopAck);

impl Service for GivesBack {
    fn request(&self, _: &Arc<Connection>, request: CommandView<'_>, reply: Reply) {
        match request.request_code() {
            RequestCode::ACK_MESSAGE => self.0.ack(&request, reply),
            _ => self.0.change_invisible_time(&request, reply),
        }
    }
}

fn ack(topic: &str) -> RemotingCommand {
    RemotingCommand::request(RequestCode::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
        consumer_group: "g".to_owned(),
        topic: topic.to_owned(),
        queue_id: 0,
        extra_info: RECEIPT.to_owned(),
        offset: 0,
        lite_topic: Some("l".to_owned()),
    })
}

fn change() -> RemotingCommand {
    let code = RequestCode::CHANGE_MESSAGE_INVISIBLETIME;
    RemotingCommand::request(code).with_header(&ChangeInvisibleTimeRequestHeader {
        consumer_group: "g".to_owned(),
        topic: "t".to_owned(),
        queue_id: 0,
        extra_info: RECEIPT.to_owned(),
        offset: 0,
        invisible_time: 1_000,
        lite_topic: Some("l".to_owned()),
        suspend: false,
    })
}

fn ask(stream: &mut TcpStream, request: RemotingCommand, opaque: i32) {
    let mut bytes = Vec::new();
    RemotingCommand { opaque, ..request }.encode(&mut bytes);
    stream.write_all(&bytes).unwrap();
}

/// The next answer: which request it is to, and what it says.
fn answer(stream: &mut TcpStream) -> (i32, ResponseCode) {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
        if let Some((frame, _)) = frame::split(&bytes).unwrap() {
            let answer = RemotingCommand::decode(frame).unwrap();
            return (answer.opaque, answer.response_code());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_serves_does_not_wait_for_whoever_reads_the_queue_from_disk() {
    let Setup { pop, dir: _dir } = setup(|_| ());
    let attributes = [(format!("+{LITE_BIND_TOPIC}"), "t".to_owned())].into();
    pop.groups
        .update(SubscriptionGroupConfig { attributes, ..SubscriptionGroupConfig::new("g") })
        .unwrap();
    let lite = Arc::new(LiteService::new(
        Arc::clone(&pop.config),
        Arc::clone(&pop.store),
        Arc::clone(&pop.topics),
        Arc::clone(&pop.groups),
        Arc::clone(&pop.offsets),
        Arc::clone(&pop.stats),
    ));
    let (store, topics) = (Arc::clone(&pop.store), Arc::clone(&pop.topics));
    let service = GivesBack(PopAck::new(store, topics, Arc::clone(&pop), Arc::clone(&lite)));
    let config = ServerConfig::new((Ipv4Addr::LOCALHOST, 0).into());
    let server = Server::bind(&config, Arc::new(service)).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();

    for request in [change(), ack("t")] {
        // As a pop has it that waits for the disk.
        let turn = lock(lite.turn(GroupQueueRef { topic: "%LMQ%$t$l", group: "g", queue_id: 0 }));
        ask(&mut stream, request, 1);
        ask(&mut stream, ack("unknown"), 2);
        assert_eq!(answer(&mut stream), (2, ResponseCode::TOPIC_NOT_EXIST));
        drop(turn);
        assert_eq!(answer(&mut stream), (1, ResponseCode::SUCCESS));
    }
    assert_eq!(pop.offsets.query("g", "%LMQ%$t$l", 0), Some(1));
}
