//! Send requests: encoded once, then copied and patched where they differ.

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::CommandWriter;
use oxmq_protocol::frame::HeaderForm;
use oxmq_protocol::header::{Header, SendMessageRequestHeaderV2};
use oxmq_protocol::message::{InnerMessage, properties, sys_flag};

use super::error::BenchError;
use super::filter::{COMMON_TAG, RARE_TAG};
use super::payload::{
    FIRST_OPAQUE, IDENTITY_PLACEHOLDER, PRODUCER_GROUP, Payload, TOPIC_DIGITS, identity,
    topic_name, topic_number,
};

const OPAQUE_MEMBER: &[u8] = b"\"opaque\":";
/// Where the opaque stands in a frame with a binary header: prefix, code, language, version.
const BINARY_OPAQUE_AT: usize = 8 + 2 + 1 + 2;
const OPAQUE_DIGITS: usize = 10;
const BORN_PLACEHOLDER: i64 = 1_000_000_000_000;
const BORN_DIGITS: usize = 13;
const IDENTITY_DIGITS: usize = 16;

/// What all sends of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct SendShape<'a> {
    pub(super) topic: &'a str,
    pub(super) queues: u32,
    pub(super) form: HeaderForm,
    pub(super) oneway: bool,
    /// Messages of a batch; `None` sends them one by one.
    pub(super) batch: Option<u32>,
    /// Half messages of transactions.
    pub(super) half: bool,
    /// One request in so many has [`RARE_TAG`].
    pub(super) rare: Option<u64>,
    /// Requests go to so many numbered topics.
    pub(super) topics: Option<u32>,
}

/// Send requests ready to be patched: one for each number of digits that a queue id can have.
#[derive(Debug)]
pub(super) struct SendTemplates {
    by_digits: Vec<Template>,
    /// The same of those with the other tag, and one request in how many is one of them.
    rare: Option<(u64, Vec<Template>)>,
    messages: u64,
    queues: u32,
    topics: Option<u32>,
}

impl SendTemplates {
    pub(super) fn new(payload: &Payload, shape: &SendShape<'_>) -> Result<Self, BenchError> {
        let digits = (shape.queues - 1).to_string().len();
        let with = |tag: &str| -> Result<Vec<Template>, BenchError> {
            (1..=digits).map(|digits| Template::new(payload, shape, tag, digits)).collect()
        };
        let by_digits = with(COMMON_TAG)?;
        let rare = shape.rare.map(|one_in| Ok::<_, BenchError>((one_in, with(RARE_TAG)?)));
        let rare = rare.transpose()?;
        Ok(Self {
            by_digits,
            rare,
            messages: shape.batch.unwrap_or(1).into(),
            queues: shape.queues,
            topics: shape.topics,
        })
    }

    /// Messages in one request.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Queue of request `turn`: all queues in turn.
    pub(super) fn queue(&self, turn: u64) -> u32 {
        (turn % u64::from(self.queues)) as u32
    }

    /// Appends request `sequence` of `connection`.
    pub(super) fn append(
        &self,
        out: &mut Vec<u8>,
        connection: u32,
        sequence: u32,
        queue: u32,
        born_ms: i64,
    ) {
        let digits = queue.checked_ilog10().unwrap_or(0) as usize;
        let start = out.len();
        let templates = match &self.rare {
            Some((one_in, rare)) if u64::from(sequence).is_multiple_of(*one_in) => rare,
            _ => &self.by_digits,
        };
        let Some(template) = templates.get(digits) else { return };
        out.extend_from_slice(&template.bytes);
        let first = u64::from(sequence) * self.messages;
        let out = &mut out[start..];
        template.patch(out, connection, sequence, first, queue, born_ms);
        if let Some(topics) = self.topics {
            template.patch_topic(out, topic_number(identity(connection, first), topics));
        }
    }
}

#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    form: HeaderForm,
    opaque_at: usize,
    queue_at: usize,
    queue_digits: usize,
    born_at: usize,
    /// Where the number of the topic ends, if it has one.
    topic_end: usize,
    /// For each message: where its identity stands in the body, in KEYS and in UNIQ_KEY.
    identities_at: Vec<[usize; 3]>,
}

impl Template {
    fn new(
        payload: &Payload,
        shape: &SendShape<'_>,
        tag: &str,
        queue_digits: usize,
    ) -> Result<Self, BenchError> {
        let queue = "9".repeat(queue_digits);
        let mut properties = payload.properties(tag);
        if shape.half {
            properties::append(&mut properties, "TRAN_MSG", b"true");
            properties::append(&mut properties, "PGROUP", PRODUCER_GROUP.as_bytes());
        }
        let text = String::from_utf8_lossy(&properties).into_owned();
        let topic = match shape.topics {
            Some(_) => topic_name(shape.topic, 0),
            None => shape.topic.to_owned(),
        };
        let header = SendMessageRequestHeaderV2 {
            producer_group: PRODUCER_GROUP.into(),
            topic: topic.clone(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: queue.parse().unwrap_or_default(),
            sys_flag: if shape.half { sys_flag::TRANSACTION_PREPARED } else { 0 },
            born_timestamp: BORN_PLACEHOLDER,
            flag: 0,
            properties: shape.batch.is_none().then_some(text),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(shape.batch.is_some()),
            broker_name: None,
        };
        let code = match shape.batch {
            Some(_) => RequestCode::SEND_BATCH_MESSAGE,
            None => RequestCode::SEND_MESSAGE_V2,
        };
        let mut body = Vec::new();
        match shape.batch {
            Some(count) => {
                let message =
                    InnerMessage { flag: 0, body: payload.body(), properties: &properties };
                for _ in 0..count {
                    message.encode(&mut body)?;
                }
            }
            None => body.extend_from_slice(payload.body()),
        }
        let mut bytes = Vec::new();
        let mut writer =
            CommandWriter::request(&mut bytes, shape.form, code, FIRST_OPAQUE, shape.oneway);
        header.encode(&mut writer);
        writer.finish(&body);
        Self::locate(bytes, shape.form, &topic, &queue)
            .ok_or_else(|| BenchError::Usage("topic looks like a placeholder".into()))
    }

    fn locate(bytes: Vec<u8>, form: HeaderForm, topic: &str, queue: &str) -> Option<Self> {
        let opaque_at = match form {
            HeaderForm::Json => find(&bytes, OPAQUE_MEMBER, 0)? + OPAQUE_MEMBER.len(),
            HeaderForm::RocketMq => BINARY_OPAQUE_AT,
        };
        let topic_end = field_at(&bytes, form, b'b', topic)? + topic.len();
        let queue_at = field_at(&bytes, form, b'e', queue)?;
        let born_at = find(&bytes, BORN_PLACEHOLDER.to_string().as_bytes(), 0)?;
        let text = format!("{IDENTITY_PLACEHOLDER:016X}");
        let in_text = find_all(&bytes, text.as_bytes());
        let in_body = find_all(&bytes, &IDENTITY_PLACEHOLDER.to_be_bytes());
        if in_text.len() != in_body.len() * 2 {
            return None;
        }
        let identities_at =
            in_body.iter().zip(in_text.chunks_exact(2)).map(|(b, t)| [*b, t[0], t[1]]).collect();
        let queue_digits = queue.len();
        Some(Self {
            bytes,
            form,
            opaque_at,
            queue_at,
            queue_digits,
            born_at,
            topic_end,
            identities_at,
        })
    }

    fn patch(
        &self,
        out: &mut [u8],
        connection: u32,
        sequence: u32,
        first: u64,
        queue: u32,
        born_ms: i64,
    ) {
        let opaque = FIRST_OPAQUE.wrapping_add_unsigned(sequence);
        match self.form {
            HeaderForm::Json => {
                decimal(&mut out[self.opaque_at..][..OPAQUE_DIGITS], opaque as u64);
            }
            HeaderForm::RocketMq => {
                out[self.opaque_at..][..4].copy_from_slice(&opaque.to_be_bytes());
            }
        }
        decimal(&mut out[self.queue_at..][..self.queue_digits], queue.into());
        decimal(&mut out[self.born_at..][..BORN_DIGITS], born_ms as u64);
        for (number, [body_at, keys_at, unique_at]) in (first..).zip(&self.identities_at) {
            let identity = identity(connection, number);
            out[*body_at..][..8].copy_from_slice(&identity.to_be_bytes());
            let text = hex(identity);
            out[*keys_at..][..IDENTITY_DIGITS].copy_from_slice(&text);
            out[*unique_at..][..IDENTITY_DIGITS].copy_from_slice(&text);
        }
    }

    fn patch_topic(&self, out: &mut [u8], number: u32) {
        decimal(&mut out[self.topic_end - TOPIC_DIGITS..self.topic_end], number.into());
    }
}

/// Where the value of the header's field `name` begins.
fn field_at(bytes: &[u8], form: HeaderForm, name: u8, value: &str) -> Option<usize> {
    let mut field = match form {
        HeaderForm::Json => vec![b'"', name, b'"', b':', b'"'],
        HeaderForm::RocketMq => {
            let mut lengths = vec![0, 1, name];
            lengths.extend_from_slice(&(value.len() as u32).to_be_bytes());
            lengths
        }
    };
    let before = field.len();
    field.extend_from_slice(value.as_bytes());
    Some(find(bytes, &field, 0)? + before)
}

fn decimal(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn hex(value: u64) -> [u8; IDENTITY_DIGITS] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = [0; IDENTITY_DIGITS];
    for (pair, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|part| part == what).map(|at| at + from)
}

fn find_all(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = find(bytes, what, from) {
        found.push(at);
        from = at + what.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxmq_protocol::command::CommandView;
    use oxmq_protocol::frame;
    use oxmq_protocol::message::BatchMessages;
    use oxmq_protocol::message::properties::property_str;

    fn shape(form: HeaderForm, batch: Option<u32>) -> SendShape<'static> {
        let (topic, queues) = ("orders", 12);
        let (half, rare, topics) = (false, None, None);
        SendShape { topic, queues, form, oneway: false, batch, half, rare, topics }
    }

    #[test]
    fn patched_request_reads_as_a_send_of_that_message() {
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            let payload = Payload::of_run(7, 100);
            let templates = SendTemplates::new(&payload, &shape(form, None)).unwrap();
            let mut out = b"before".to_vec();
            templates.append(&mut out, 3, 41, 11, 1_700_000_000_123);
            templates.append(&mut out, 3, 42, 9, 1_700_000_000_124);
            let (first, used) = frame::split(&out[6..]).unwrap().unwrap();
            let view = CommandView::decode(first).unwrap();
            assert_eq!(view.opaque, FIRST_OPAQUE + 41);
            let header = SendMessageRequestHeaderV2::decode(&view).unwrap();
            assert_eq!((header.queue_id, header.born_timestamp), (11, 1_700_000_000_123));
            let text = header.properties.unwrap();
            assert_eq!(property_str(text.as_bytes(), "KEYS"), Some("order-0003000000000029"));
            let unique = property_str(text.as_bytes(), "UNIQ_KEY").unwrap();
            assert_eq!(unique, "00000000000000070003000000000029");
            assert!(payload.is_body_of(identity(3, 41), view.body));
            assert!(!payload.is_body_of(identity(3, 42), view.body));

            let (second, rest) = frame::split(&out[6 + used..]).unwrap().unwrap();
            assert_eq!(used + rest + 6, out.len());
            let header =
                SendMessageRequestHeaderV2::decode(&CommandView::decode(second).unwrap()).unwrap();
            assert_eq!(header.queue_id, 9);
        }
    }

    #[test]
    fn one_request_in_so_many_has_the_other_tag() {
        let payload = Payload::of_run(7, 100);
        let shape = SendShape { rare: Some(3), ..shape(HeaderForm::Json, None) };
        let templates = SendTemplates::new(&payload, &shape).unwrap();
        let tags = (0..7).map(|sequence| {
            let mut out = Vec::new();
            templates.append(&mut out, 1, sequence, 11, 1_700_000_000_000);
            let (frame, _) = frame::split(&out).unwrap().unwrap();
            let view = CommandView::decode(frame).unwrap();
            let text = SendMessageRequestHeaderV2::decode(&view).unwrap().properties.unwrap();
            property_str(text.as_bytes(), "TAGS") == Some(RARE_TAG)
        });
        assert_eq!(tags.collect::<Vec<_>>(), [true, false, false, true, false, false, true]);
    }

    #[test]
    fn requests_of_many_topics_go_to_one_after_the_other() {
        let payload = Payload::of_run(7, 100);
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            let shape = SendShape { topics: Some(1_000), ..shape(form, None) };
            let templates = SendTemplates::new(&payload, &shape).unwrap();
            let topics = [(0, 0), (0, 1), (0, 1_000), (1, 5)].map(|(connection, sequence)| {
                let mut out = Vec::new();
                templates.append(&mut out, connection, sequence, 9, 1_700_000_000_000);
                let (frame, _) = frame::split(&out).unwrap().unwrap();
                let view = CommandView::decode(frame).unwrap();
                let header = SendMessageRequestHeaderV2::decode(&view).unwrap();
                let number = topic_number(identity(connection, sequence.into()), 1_000);
                assert_eq!(header.topic, topic_name("orders", number));
                header.topic
            });
            assert_eq!(
                topics,
                ["orders-000000", "orders-000001", "orders-000000", "orders-000923"]
            );
        }
    }

    #[test]
    fn patched_batch_numbers_its_messages_on() {
        let payload = Payload::of_run(9, 16);
        let templates = SendTemplates::new(&payload, &shape(HeaderForm::Json, Some(3))).unwrap();
        let mut out = Vec::new();
        templates.append(&mut out, 1, 5, 0, 1_700_000_000_000);
        let (frame, _) = frame::split(&out).unwrap().unwrap();
        let view = CommandView::decode(frame).unwrap();
        assert_eq!(SendMessageRequestHeaderV2::decode(&view).unwrap().batch, Some(true));
        let messages: Vec<_> = BatchMessages::new(view.body).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 3);
        for (number, message) in (15..).zip(&messages) {
            assert_eq!(payload.identity_of(message.body), Some(identity(1, number)));
            let keys = property_str(message.properties, "KEYS").unwrap();
            assert_eq!(keys, format!("order-{:016X}", identity(1, number)));
        }
    }
}
