//! Pulls that wait while messages come as fast as they can.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::frame;
use oxmq_protocol::header::{
    Header as _, PullMessageRequestHeader, PullMessageResponseHeader, SendMessageRequestHeaderV2,
    pull_sys_flag,
};

const TOPIC: &str = "raced";
/// Enough for many pulls to be held in the very moment in which a message comes.
const MESSAGES: i64 = 40_000;
/// Sent at once, so that messages come while pulls are looked at.
const WINDOW: usize = 4;
const PULLERS: usize = 4;
/// No answer takes so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection that makes requests one after the other.
struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        Self { stream, read: Vec::new() }
    }

    fn write(&mut self, requests: &[RemotingCommand]) {
        let mut frames = Vec::new();
        requests.iter().for_each(|request| request.encode(&mut frames));
        self.stream.write_all(&frames).unwrap();
    }

    fn answer(&mut self) -> RemotingCommand {
        loop {
            if let Some((frame, bytes)) = frame::split(&self.read).unwrap() {
                let answer = RemotingCommand::decode(frame).unwrap();
                self.read.drain(..bytes);
                return answer;
            }
            let mut piece = [0; 64 << 10];
            let bytes = self.stream.read(&mut piece).unwrap();
            assert!(bytes > 0, "the broker closed the connection");
            self.read.extend(&piece[..bytes]);
        }
    }
}

fn send() -> RemotingCommand {
    let header = SendMessageRequestHeaderV2 {
        producer_group: "producers".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: None,
        reconsume_times: None,
        unit_mode: None,
        max_reconsume_times: None,
        batch: None,
        broker_name: None,
    };
    RemotingCommand::request(RequestCode::SEND_MESSAGE_V2)
        .with_header(&header)
        .with_body(b"x".as_slice())
}

fn pull(offset: i64) -> RemotingCommand {
    let header = PullMessageRequestHeader {
        consumer_group: "consumers".into(),
        topic: TOPIC.into(),
        lite_topic: None,
        queue_id: 0,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: pull_sys_flag::SUSPEND | pull_sys_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 20_000,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    };
    RemotingCommand::request(RequestCode::PULL_MESSAGE).with_header(&header)
}

fn pull_all(address: SocketAddr) {
    let mut peer = Peer::connect(address);
    let mut offset = 0;
    while offset < MESSAGES {
        peer.write(&[pull(offset)]);
        let answer = peer.answer();
        if answer.response_code() == ResponseCode::SUCCESS {
            offset =
                PullMessageResponseHeader::decode(&answer.ext_fields).unwrap().next_begin_offset;
        } else {
            assert_eq!(answer.response_code(), ResponseCode::PULL_NOT_FOUND, "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_is_answered_when_its_message_comes_while_it_is_being_held() {
    let root = tempfile::tempdir().unwrap();
    let config = BrokerSettings {
        broker_ip1: "127.0.0.1".to_owned(),
        bind_address: "127.0.0.1".to_owned(),
        listen_port: 0,
        ..BrokerSettings::default()
    };
    let broker = Broker::start(config, StoreConfig::in_dir(root.path())).await.unwrap();
    let address = broker.local_addr();
    let done = tokio::task::spawn_blocking(move || {
        let mut sender = Peer::connect(address);
        sender.write(&[send()]);
        assert_eq!(sender.answer().response_code(), ResponseCode::SUCCESS);
        std::thread::scope(|scope| {
            for _ in 0..PULLERS {
                scope.spawn(|| pull_all(address));
            }
            let window = [(); WINDOW].map(|()| send());
            for _ in 0..MESSAGES / WINDOW as i64 {
                sender.write(&window);
                for _ in 0..WINDOW {
                    assert_eq!(sender.answer().response_code(), ResponseCode::SUCCESS);
                }
            }
        });
    });
    done.await.unwrap();
    broker.shutdown().await;
}
