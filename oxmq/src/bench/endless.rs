//! Queues that look as if they were full, of records made once: what a pull of them costs is what the
//! sockets and the generator cost.

use std::net::{Ipv4Addr, SocketAddr};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::frame::Frame;
use oxmq_protocol::header::PullMessageView;
use oxmq_protocol::message::record::patch;
use oxmq_protocol::message::{EncodeOptions, Message, encode_record};

use super::clock::wall_clock_ms;
use super::error::BenchError;
use super::filter::COMMON_TAG;
use super::payload::Payload;

/// Messages that each queue seems to have.
const MESSAGES: i64 = 1 << 20;
/// Messages of one answer, whatever is asked for.
const MAX_MESSAGES: usize = 32;
/// Stands in the records; as long as the topics of most loads.
const TOPIC: &str = "oxmq-bench";

/// The queues of every topic.
pub(super) struct EndlessQueues {
    /// As many as one answer may have, back to back.
    records: Vec<u8>,
    record_bytes: usize,
}

impl EndlessQueues {
    /// Queues of messages whose bodies have `size` bytes.
    pub(super) fn new(size: usize) -> Result<Self, BenchError> {
        let payload = Payload::new(size);
        let properties = payload.properties(COMMON_TAG);
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let message = Message {
            born_host: here,
            store_host: here,
            properties: &properties,
            ..Message::new(TOPIC, 0, payload.body())
        };
        let mut record = Vec::new();
        encode_record(&message, &EncodeOptions::default(), &mut record)?;
        Ok(Self { records: record.repeat(MAX_MESSAGES), record_bytes: record.len() })
    }

    /// Appends the answer to a pull or to a query for an offset; false when `frame` is neither.
    pub(super) fn answer(&self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<bool, BenchError> {
        let request = CommandView::decode(frame)?;
        match request.request_code() {
            RequestCode::PULL_MESSAGE => self.pull(&request, out)?,
            RequestCode::GET_MIN_OFFSET => offset(&request, 0, out),
            RequestCode::GET_MAX_OFFSET => offset(&request, MESSAGES, out),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pull(&self, request: &CommandView<'_>, out: &mut Vec<u8>) -> Result<(), BenchError> {
        let pull = PullMessageView::decode(request)?;
        let count = usize::try_from(pull.max_msg_nums).unwrap_or(0).min(MAX_MESSAGES);
        let body = &self.records[..count * self.record_bytes];
        let mut writer = response(request, out);
        let next_offset = pull.queue_offset + count as i64;
        writer.number("maxOffset", MESSAGES);
        writer.number("minOffset", 0);
        writer.number("nextBeginOffset", next_offset);
        writer.number("suggestWhichBrokerId", 0);
        writer.finish(body);
        let body_at = out.len() - body.len();
        let now_ms = wall_clock_ms();
        for (offset, record) in
            (pull.queue_offset..).zip(out[body_at..].chunks_exact_mut(self.record_bytes))
        {
            patch(record, offset, 0, now_ms);
        }
        Ok(())
    }
}

fn offset(request: &CommandView<'_>, offset: i64, out: &mut Vec<u8>) {
    let mut writer = response(request, out);
    writer.number("offset", offset);
    writer.finish(&[]);
}

fn response<'a>(request: &CommandView<'_>, out: &'a mut Vec<u8>) -> CommandWriter<'a> {
    CommandWriter::response(out, request.form, ResponseCode::SUCCESS, request.opaque, None)
}
