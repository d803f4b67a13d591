//! One request at a time: topics, offsets and reading back, before and after the load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::frame::{self, HeaderForm};
use oxmq_protocol::header::{
    GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader, Header, OffsetResponseHeader,
    PullMessageRequestHeader, pull_sys_flag,
};

use super::error::{BenchError, io};
use super::lane;

/// Creating many queues takes the reference a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;

/// A connection that asks and waits.
pub(super) struct Control {
    stream: TcpStream,
    form: HeaderForm,
    opaque: i32,
}

impl Control {
    pub(super) fn connect(broker: SocketAddr, form: HeaderForm) -> Result<Self, BenchError> {
        let stream = lane::connect(broker)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(io("set read timeout"))?;
        Ok(Self { stream, form, opaque: 0 })
    }

    /// Sends `request` and returns the answer, whatever its code.
    pub(super) fn call(
        &mut self,
        mut request: RemotingCommand,
    ) -> Result<RemotingCommand, BenchError> {
        self.opaque += 1;
        request.opaque = self.opaque;
        request.form = self.form;
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        self.stream.write_all(&bytes).map_err(io("write to server"))?;
        let mut input = Vec::new();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            while let Some((frame, used)) = frame::split(&input)? {
                let answer = RemotingCommand::decode(frame)?;
                if answer.is_response() && answer.opaque == self.opaque {
                    return Ok(answer);
                }
                input.drain(..used);
            }
            match self.stream.read(&mut chunk).map_err(io("wait for an answer"))? {
                0 => return Err(BenchError::Closed),
                count => input.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Sends `request` and insists on success.
    pub(super) fn demand(
        &mut self,
        what: &'static str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, BenchError> {
        let answer = self.call(request)?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(answer),
            code => {
                Err(BenchError::Refused { what, code, remark: answer.remark.unwrap_or_default() })
            }
        }
    }

    /// Creates the topic, or gives it as many queues as asked for.
    pub(super) fn create_topic(&mut self, topic: &str, queues: u32) -> Result<(), BenchError> {
        let queues = queues.to_string();
        let mut request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_TOPIC);
        for (name, value) in [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ] {
            request.ext_fields.insert(name, value);
        }
        self.demand("create topic", request).map(drop)
    }

    /// Offset that the next message of the queue gets.
    pub(super) fn max_offset(&mut self, topic: &str, queue: u32) -> Result<i64, BenchError> {
        let header = GetMaxOffsetRequestHeader {
            topic: topic.into(),
            queue_id: queue as i32,
            committed: true,
        };
        let request = RemotingCommand::request(RequestCode::GET_MAX_OFFSET).with_header(&header);
        let answer = self.demand("max offset", request)?;
        Ok(OffsetResponseHeader::decode(&answer.ext_fields)?.offset)
    }

    /// Offset of the oldest message of the queue.
    pub(super) fn min_offset(&mut self, topic: &str, queue: u32) -> Result<i64, BenchError> {
        let header = GetMinOffsetRequestHeader { topic: topic.into(), queue_id: queue as i32 };
        let request = RemotingCommand::request(RequestCode::GET_MIN_OFFSET).with_header(&header);
        let answer = self.demand("min offset", request)?;
        Ok(OffsetResponseHeader::decode(&answer.ext_fields)?.offset)
    }

    /// Messages stored in all queues of the topic.
    pub(super) fn stored(&mut self, topic: &str, queues: u32) -> Result<i64, BenchError> {
        (0..queues).map(|queue| self.max_offset(topic, queue)).sum()
    }

    /// Pulls once, without waiting; the answer's body holds the records.
    pub(super) fn pull(
        &mut self,
        topic: &str,
        queue: i32,
        offset: i64,
        count: i32,
    ) -> Result<RemotingCommand, BenchError> {
        let header = pull_header("oxmq-bench-verify", topic, queue, offset, count);
        self.demand(
            "pull",
            RemotingCommand::request(RequestCode::PULL_MESSAGE).with_header(&header),
        )
    }
}

/// A pull that brings its own subscription to everything and does not wait.
pub(super) fn pull_header(
    group: &str,
    topic: &str,
    queue: i32,
    offset: i64,
    count: i32,
) -> PullMessageRequestHeader {
    PullMessageRequestHeader {
        consumer_group: group.into(),
        topic: topic.into(),
        lite_topic: None,
        queue_id: queue,
        queue_offset: offset,
        max_msg_nums: count,
        sys_flag: pull_sys_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    }
}
