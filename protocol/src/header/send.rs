//! Sending a message, by long names (10, 324) or by letters (310, 320, 325).

use super::HeaderError;
use crate::command::{CommandView, FieldValue};
use crate::ext_fields::FieldSink;

header! {
    /// `SEND_MESSAGE_V2` (310) and `SEND_BATCH_MESSAGE` (320): one letter a field.
    ///
    /// Reference: `SendMessageRequestHeaderV2` (remoting), 5.5.0.
    pub struct SendMessageRequestHeaderV2 {
        producer_group: String = "a",
        topic: String = "b",
        default_topic: String = "c",
        default_topic_queue_nums: i32 = "d",
        queue_id: i32 = "e",
        sys_flag: i32 = "f",
        born_timestamp: i64 = "g",
        flag: i32 = "h",
        properties: Option<String> = "i",
        reconsume_times: Option<i32> = "j",
        unit_mode: Option<bool> = "k",
        max_reconsume_times: Option<i32> = "l",
        batch: Option<bool> = "m",
        broker_name: Option<String> = "n",
    }

    /// `PUSH_REPLY_MESSAGE_TO_CLIENT` (326): the answer to a client's request, for the client.
    ///
    /// Reference: `ReplyMessageRequestHeader` (remoting), 5.5.0.
    pub struct ReplyMessageRequestHeader {
        producer_group: String = "producerGroup",
        topic: String = "topic",
        default_topic: String = "defaultTopic",
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        queue_id: i32 = "queueId",
        sys_flag: i32 = "sysFlag",
        born_timestamp: i64 = "bornTimestamp",
        flag: i32 = "flag",
        properties: Option<String> = "properties",
        reconsume_times: Option<i32> = "reconsumeTimes",
        unit_mode: bool = "unitMode" | false,
        /// `ip:port` of the client that answered.
        born_host: String = "bornHost",
        /// `ip:port` of the broker.
        store_host: String = "storeHost",
        store_timestamp: i64 = "storeTimestamp",
    }

    /// Answer to every send.
    ///
    /// Reference: `SendMessageResponseHeader` (remoting), 5.5.0.
    pub struct SendMessageResponseHeader {
        msg_id: String = "msgId",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        transaction_id: Option<String> = "transactionId",
        batch_uniq_id: Option<String> = "batchUniqId",
        recall_handle: Option<String> = "recallHandle",
    }
}

/// Header of any send request, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendMessageView<'a> {
    /// Group of the producer.
    pub producer_group: FieldValue<'a>,
    /// Topic to send to.
    pub topic: FieldValue<'a>,
    /// Topic whose settings an auto-created topic inherits.
    pub default_topic: FieldValue<'a>,
    /// Queues that an auto-created topic should have.
    pub default_topic_queue_nums: i32,
    /// Queue; negative lets the broker choose.
    pub queue_id: i32,
    /// Message system flag.
    pub sys_flag: i32,
    /// When the client made the message, ms since 1970.
    pub born_timestamp_ms: i64,
    /// The user's flag.
    pub flag: i32,
    /// Property text.
    pub properties: FieldValue<'a>,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Marks an auto-created topic as a unit topic.
    pub unit_mode: bool,
    /// The client's limit of reconsumption.
    pub max_reconsume_times: Option<i32>,
    /// The body holds a batch.
    pub batch: bool,
}

impl<'a> SendMessageView<'a> {
    /// Reads the header in one pass over the fields.
    ///
    /// # Errors
    /// When a required field is missing or is not a number where it has to be one.
    pub fn decode(view: &CommandView<'a>) -> Result<Self, HeaderError> {
        // What the reference cannot do without, whatever its header class annotates.
        const REQUIRED: [&str; 5] = ["topic", "queueId", "sysFlag", "bornTimestamp", "flag"];
        let mut header = Self::default();
        let mut seen = 0_u8;
        for (key, value) in view.fields() {
            let letter = match key.raw() {
                [letter] => *letter,
                name => letter_of(name),
            };
            match letter {
                b'a' => header.producer_group = value,
                b'b' => {
                    header.topic = value;
                    seen |= 1;
                }
                b'c' => header.default_topic = value,
                b'd' => header.default_topic_queue_nums = value.number("defaultTopicQueueNums")?,
                b'e' => {
                    header.queue_id = value.number("queueId")?;
                    seen |= 1 << 1;
                }
                b'f' => {
                    header.sys_flag = value.number("sysFlag")?;
                    seen |= 1 << 2;
                }
                b'g' => {
                    header.born_timestamp_ms = value.number("bornTimestamp")?;
                    seen |= 1 << 3;
                }
                b'h' => {
                    header.flag = value.number("flag")?;
                    seen |= 1 << 4;
                }
                b'i' => header.properties = value,
                b'j' => header.reconsume_times = value.number("reconsumeTimes")?,
                b'k' => header.unit_mode = value.boolean(),
                b'l' => header.max_reconsume_times = Some(value.number("maxReconsumeTimes")?),
                b'm' => header.batch = value.boolean(),
                _ => {}
            }
        }
        match seen.trailing_ones() as usize {
            5 => Ok(header),
            missing => Err(HeaderError::Missing(REQUIRED[missing])),
        }
    }
}

/// The letter that stands for a long name in a send; 0 for a name that a send does not have.
fn letter_of(name: &[u8]) -> u8 {
    match name {
        b"producerGroup" => b'a',
        b"topic" => b'b',
        b"defaultTopic" => b'c',
        b"defaultTopicQueueNums" => b'd',
        b"queueId" => b'e',
        b"sysFlag" => b'f',
        b"bornTimestamp" => b'g',
        b"flag" => b'h',
        b"properties" => b'i',
        b"reconsumeTimes" => b'j',
        b"unitMode" => b'k',
        b"maxReconsumeTimes" => b'l',
        b"batch" => b'm',
        _ => 0,
    }
}

/// Writes the fields of a send answer without building the header. `msg_id` is one of the broker's own.
#[inline]
pub fn write_send_response(
    sink: &mut impl FieldSink,
    msg_id: &str,
    queue_id: i32,
    queue_offset: i64,
    transaction_id: Option<&str>,
) {
    sink.plain("msgId", msg_id);
    sink.number("queueId", queue_id.into());
    sink.number("queueOffset", queue_offset);
    if let Some(transaction_id) = transaction_id {
        sink.text("transactionId", transaction_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::RequestCode;
    use crate::command::RemotingCommand;
    use crate::frame;
    use crate::header::Header as _;

    fn header() -> SendMessageRequestHeaderV2 {
        SendMessageRequestHeaderV2 {
            producer_group: "payments".into(),
            topic: "orders".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: 3,
            sys_flag: 1,
            born_timestamp: 1_700_000_000_000,
            flag: 7,
            properties: Some("KEYS\u{1}k\u{2}".into()),
            reconsume_times: Some(2),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(true),
            broker_name: Some("broker-a".into()),
        }
    }

    #[test]
    fn borrowed_header_reads_what_the_declared_header_wrote() {
        for form in [crate::frame::HeaderForm::Json, crate::frame::HeaderForm::RocketMq] {
            let mut command =
                RemotingCommand::request(RequestCode::SEND_MESSAGE_V2).with_header(&header());
            command.form = form;
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            let (frame, _) = frame::split(&bytes).unwrap().unwrap();
            let view = CommandView::decode(frame).unwrap();
            assert_eq!(SendMessageRequestHeaderV2::decode(&view).unwrap(), header());
            let fast = SendMessageView::decode(&view).unwrap();
            assert_eq!(fast.topic.text(), "orders");
            assert_eq!(fast.queue_id, 3);
            assert_eq!(fast.born_timestamp_ms, 1_700_000_000_000);
            assert_eq!(fast.properties.text(), "KEYS\u{1}k\u{2}");
            assert_eq!(fast.reconsume_times, 2);
            assert!(fast.batch && !fast.unit_mode);
            assert_eq!(fast.max_reconsume_times, None);
        }
    }

    #[test]
    fn missing_and_malformed_fields_are_named() {
        let mut fields = crate::ext_fields::ExtFields::default();
        header().encode(&mut fields);
        let decode = |edit: &dyn Fn(&mut RemotingCommand)| {
            let mut command = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2);
            command.ext_fields = fields.clone();
            edit(&mut command);
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            let (frame, _) = frame::split(&bytes).unwrap().unwrap();
            let view = CommandView::decode(frame).unwrap();
            SendMessageView::decode(&view).map(|_| ())
        };
        assert_eq!(decode(&|_| ()), Ok(()));
        assert_eq!(
            decode(&|command| command.ext_fields.insert("e", "three")),
            Err(HeaderError::invalid("queueId", "a 32-bit integer", "three"))
        );
        assert_eq!(
            decode(&|command| {
                let kept = command.ext_fields.clone();
                command.ext_fields = crate::ext_fields::ExtFields::default();
                for (name, value) in kept.iter().filter(|(name, _)| *name != "b") {
                    command.ext_fields.insert(name, value);
                }
            }),
            Err(HeaderError::Missing("topic"))
        );
    }
}
