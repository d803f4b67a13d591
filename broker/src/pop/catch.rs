//! What one pop has taken, and the answer made of it.

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::message::record::patch;
use oxmq_protocol::message::{
    EncodeOptions, Message, ReceiptHandle, RecordView, TopicKind, encode_record, properties,
};
use oxmq_remoting::Reply;
use oxmq_store::GetMessageStatus;

use super::held::PopRequest;
use super::offset_info::OffsetInfo;
use crate::again::split;
use crate::limits::MAX_POP_BYTES;

/// What a pop has taken so far.
#[derive(Debug)]
pub(super) struct Catch {
    pop_time_ms: i64,
    revive_queue_id: i32,
    /// Records, back to back.
    pub(super) body: Vec<u8>,
    pub(super) count: u32,
    /// Messages that it has left.
    pub(super) rest: i64,
    pub(super) starts: OffsetInfo,
    pub(super) messages: OffsetInfo,
    pub(super) counts: OffsetInfo,
    /// Log position up to which the notes on it have to be durable.
    pub(super) durable_at: i64,
    /// Somebody else has wanted one of its queues meanwhile.
    pub(super) wanted: bool,
    /// Messages could not be noted and are not given out.
    pub(super) failed: bool,
    /// Nothing is said of how often messages of a queue were given out before when there are none.
    pub(super) omits_no_counts: bool,
}

impl Catch {
    pub(super) fn new(pop_time_ms: i64, revive_queue_id: i32) -> Self {
        Self {
            pop_time_ms,
            revive_queue_id,
            body: Vec::new(),
            count: 0,
            rest: 0,
            starts: OffsetInfo::default(),
            messages: OffsetInfo::default(),
            counts: OffsetInfo::default(),
            durable_at: 0,
            wanted: false,
            failed: false,
            omits_no_counts: false,
        }
    }

    #[cfg(test)]
    pub(super) fn pop_time_ms(&self) -> i64 {
        self.pop_time_ms
    }

    pub(super) fn is_full(&self, request: &PopRequest) -> bool {
        self.count >= request.max_messages || self.body.len() >= MAX_POP_BYTES
    }

    /// Gives records of a retry topic, from `begin` on, the name of a topic, and a receipt, which
    /// clients could not make themselves when that is the one that was asked for.
    pub(super) fn name_as(
        &mut self,
        topic: &str,
        request: &PopRequest,
        broker_name: &str,
        begin: usize,
        start_offset: i64,
    ) {
        let mut renamed = Vec::with_capacity(self.body.len() - begin + 256);
        for record in split(&self.body[begin..]) {
            let receipt = ReceiptHandle {
                start_offset,
                pop_time_ms: self.pop_time_ms,
                invisible_ms: request.invisible_ms,
                revive_queue_id: self.revive_queue_id,
                kind: TopicKind::of(record.topic()),
                broker_name,
                queue_id: record.queue_id(),
                queue_offset: record.queue_offset(),
            };
            if !rename(record, topic, &receipt.to_string(), &mut renamed) {
                renamed.extend_from_slice(record.bytes());
            }
        }
        self.body.truncate(begin);
        self.body.extend_from_slice(&renamed);
    }

    pub(super) fn answer_found(self, reply: Reply, request: &PopRequest) {
        self.write(reply, request, ResponseCode::SUCCESS, GetMessageStatus::Found);
    }

    pub(super) fn answer_nothing(self, reply: Reply, request: &PopRequest, code: ResponseCode) {
        self.write(reply, request, code, GetMessageStatus::NoMessageInQueue);
    }

    fn write(
        &self,
        reply: Reply,
        request: &PopRequest,
        code: ResponseCode,
        status: GetMessageStatus,
    ) {
        reply.write(code, Some(status.name()), |mut writer| {
            writer.number("invisibleTime", request.invisible_ms);
            writer.text("msgOffsetInfo", self.messages.as_str());
            let omits_counts = self.omits_no_counts && self.counts.as_str().is_empty();
            if request.order && !omits_counts {
                writer.text("orderCountInfo", self.counts.as_str());
            }
            writer.number("popTime", self.pop_time_ms);
            writer.number("restNum", self.rest);
            writer.number("reviveQid", self.revive_queue_id.into());
            writer.text("startOffsetInfo", self.starts.as_str());
            writer.finish(&self.body);
        });
    }
}

/// Appends `record` under another topic and with a receipt. Returns whether it could be.
///
/// Reference: `PopMessageProcessor.popMsgFromQueue` (broker), 5.5.0.
fn rename(record: RecordView<'_>, topic: &str, receipt: &str, out: &mut Vec<u8>) -> bool {
    let mut text = record.properties().to_vec();
    if properties::property(&text, properties::POP_CK).is_none() {
        properties::append(&mut text, properties::POP_CK, receipt.as_bytes());
    }
    let Ok(message) = record.as_message() else { return false };
    let message = Message { topic, properties: &text, ..message };
    // It was stored with the limits of then.
    let options = EncodeOptions { max_message_bytes: usize::MAX, ..EncodeOptions::default() };
    let begin = out.len();
    if encode_record(&message, &options, out).is_err() {
        return false;
    }
    let record_offset = record.queue_offset();
    patch(&mut out[begin..], record_offset, record.phy_offset(), record.store_timestamp_ms());
    true
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::message::MessageExt;

    use super::*;

    #[test]
    fn record_of_a_retry_topic_gets_the_name_asked_for_and_one_receipt() {
        let message = Message {
            flag: 7,
            born_timestamp_ms: 5,
            born_host: ([192, 0, 2, 1], 1).into(),
            store_host: ([192, 0, 2, 2], 10911).into(),
            reconsume_times: 2,
            properties: b"KEYS\x01k\x02",
            ..Message::new("%RETRY%g_t", 0, b"body")
        };
        let mut record = Vec::new();
        encode_record(&message, &EncodeOptions::default(), &mut record).unwrap();
        patch(&mut record, 14, 900, 1_000);
        let mut renamed = Vec::new();
        assert!(rename(RecordView::parse(&record).unwrap(), "t", "1 2 3", &mut renamed));
        let read = MessageExt::decode(&renamed).unwrap();
        assert_eq!(
            (read.topic.as_str(), read.queue_offset, read.commit_log_offset),
            ("t", 14, 900)
        );
        assert_eq!((read.flag, read.reconsume_times, read.store_timestamp_ms), (7, 2, 1_000));
        assert_eq!(read.property("POP_CK"), Some(&b"1 2 3"[..]));
        let mut again = Vec::new();
        assert!(rename(RecordView::parse(&renamed).unwrap(), "t", "4 5 6", &mut again));
        assert_eq!(again, renamed, "the first receipt stays");
    }
}
