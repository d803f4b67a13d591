//! What tests of a whole broker share.
#![allow(dead_code, clippy::unwrap_used)] // No test needs all.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use oxmq_broker::BrokerSettings;
use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::frame;
use oxmq_protocol::header::{
    CreateTopicRequestHeader, PopMessageRequestHeader, PullMessageRequestHeader,
    SendMessageRequestHeaderV2,
};

pub(crate) const TOPIC: &str = "t";
/// No answer takes so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection that makes requests one after the other.
pub(crate) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn write(&mut self, requests: &[RemotingCommand]) {
        let mut frames = Vec::new();
        requests.iter().for_each(|request| request.encode(&mut frames));
        self.write_bytes(&frames);
    }

    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Whether the broker closes the connection and says nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.read.is_empty() && matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    pub(crate) fn answer(&mut self) -> RemotingCommand {
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

pub(crate) fn settings() -> BrokerSettings {
    BrokerSettings {
        broker_ip1: "127.0.0.1".to_owned(),
        bind_address: "127.0.0.1".to_owned(),
        listen_port: 0,
        ..BrokerSettings::default()
    }
}

pub(crate) fn send() -> RemotingCommand {
    send_with(None)
}

pub(crate) fn send_with(properties: Option<&str>) -> RemotingCommand {
    let header = SendMessageRequestHeaderV2 {
        producer_group: "producers".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: properties.map(Into::into),
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

/// Makes [`TOPIC`] with one queue and these attributes.
pub(crate) fn create_topic(attributes: &str) -> RemotingCommand {
    let header = CreateTopicRequestHeader {
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: None,
        order: false,
        attributes: Some(attributes.into()),
        force: false,
    };
    RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_TOPIC).with_header(&header)
}

/// A pull of all kinds of messages from queue 0, of 32 at most.
pub(crate) fn pull_with(
    sys_flag: i32,
    topic: &str,
    offset: i64,
    suspend_timeout_millis: i64,
) -> RemotingCommand {
    let header = PullMessageRequestHeader {
        consumer_group: "consumers".into(),
        topic: topic.into(),
        lite_topic: None,
        queue_id: 0,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag,
        commit_offset: 0,
        suspend_timeout_millis,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    };
    RemotingCommand::request(RequestCode::PULL_MESSAGE).with_header(&header)
}

/// A pop of one message of any queue of [`TOPIC`]; times in ms.
pub(crate) fn pop_with(
    consumer_group: &str,
    invisible_time: i64,
    poll_time: i64,
) -> RemotingCommand {
    let header = PopMessageRequestHeader {
        consumer_group: consumer_group.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        max_msg_nums: 1,
        invisible_time,
        poll_time,
        born_time: 0,
        init_mode: 0,
        exp_type: None,
        exp: None,
        order: None,
        attempt_id: None,
    };
    RemotingCommand::request(RequestCode::POP_MESSAGE).with_header(&header)
}
