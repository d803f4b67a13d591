//! From a message to its record.

use std::net::{IpAddr, SocketAddr};

use super::limits::{
    DEFAULT_MAX_MESSAGE_BYTES, MAX_PROPERTIES_BYTES, MAX_TOPIC_V1_BYTES, RECORD_OVERHEAD_BYTES,
};
use super::properties::{PAIR_SEPARATOR, PROPERTY_CRC_TAIL_BYTES};
use super::record::{self, HOST_V4_BYTES, HOST_V6_BYTES, MAGIC_V1, MAGIC_V2};
use super::sys_flag;

/// What a broker hands to its store: one message, before the store gives it its offsets.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Topic under which the record is stored.
    pub topic: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag; the store does not interpret it.
    pub flag: i32,
    /// [`sys_flag`] bits; the two host bits are set by the encoder.
    pub sys_flag: i32,
    /// When the client made the message, in milliseconds since 1970.
    pub born_timestamp_ms: i64,
    /// Address of the client that sent the message.
    pub born_host: SocketAddr,
    /// Address that the broker considers to be its own.
    pub store_host: SocketAddr,
    /// How often the message was given back by a consumer.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this record commits, else zero.
    pub prepared_transaction_offset: i64,
    /// The body as stored, possibly compressed.
    pub body: &'a [u8],
    /// Encoded properties text, see [`super::properties`].
    pub properties: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message that nobody has consumed yet, without flags, properties or a time; its hosts are
    /// `0.0.0.0:0`.
    pub fn new(topic: &'a str, queue_id: i32, body: &'a [u8]) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            born_host: nowhere,
            store_host: nowhere,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: b"",
        }
    }
}

/// What the store's configuration says about encoding.
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions {
    /// Body limit in bytes (`maxMessageSize`).
    pub max_message_bytes: usize,
    /// Whether topics longer than 127 make a version 2 record (`autoMessageVersionOnTopicLen`).
    pub version_by_topic_length: bool,
    /// Whether a checksum of the whole record ends its properties (`enabledAppendPropCRC`).
    pub append_property_crc: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            version_by_topic_length: true,
            append_property_crc: false,
        }
    }
}

/// Why a message cannot become a record. The sender has to change the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The body is over the configured limit.
    #[error("message body of {0} bytes is over the limit")]
    BodyTooLarge(usize),
    /// The record as a whole is over the configured limit.
    #[error("record of {0} bytes is over the limit")]
    RecordTooLarge(usize),
    /// The properties text does not fit into its 16-bit length.
    #[error("properties of {0} bytes are over the limit")]
    PropertiesTooLarge(usize),
    /// The topic does not fit into its length field.
    #[error("topic of {0} bytes is too long")]
    TopicTooLong(usize),
}

/// Length in bytes of the record that [`encode_record`] makes of `message`.
///
/// # Errors
///
/// When a part of the message is over a limit.
pub fn encoded_len(message: &Message<'_>, options: &EncodeOptions) -> Result<usize, EncodeError> {
    Ok(Plan::of(message, options)?.record_bytes)
}

/// Appends the record of `message` to `out` and returns its length in bytes.
///
/// Queue offset, physical offset and store timestamp are zero: the store fills them in by
/// [`record::patch`] when it knows them. With [`EncodeOptions::append_property_crc`] the room for
/// the checksum is reserved, and [`record::seal_property_crc`] fills it after the patch.
///
/// Reference: `MessageExtEncoder.encode` (store), 5.5.0.
///
/// # Errors
///
/// When a part of the message is over a limit; `out` is unchanged then.
pub fn encode_record(
    message: &Message<'_>,
    options: &EncodeOptions,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let plan = Plan::of(message, options)?;
    out.reserve(plan.record_bytes);
    put_i32(out, plan.record_bytes as i32);
    put_i32(out, if plan.version_2 { MAGIC_V2 } else { MAGIC_V1 });
    put_i32(out, record::body_crc(message.body));
    put_i32(out, message.queue_id);
    put_i32(out, message.flag);
    put_i64(out, 0);
    put_i64(out, 0);
    put_i32(out, plan.sys_flag);
    put_i64(out, message.born_timestamp_ms);
    put_host(out, message.born_host);
    put_i64(out, 0);
    put_host(out, message.store_host);
    put_i32(out, message.reconsume_times);
    put_i64(out, message.prepared_transaction_offset);
    put_i32(out, message.body.len() as i32);
    out.extend_from_slice(message.body);
    if plan.version_2 {
        out.extend_from_slice(&(message.topic.len() as i16).to_be_bytes());
    } else {
        out.push(message.topic.len() as u8);
    }
    out.extend_from_slice(message.topic.as_bytes());
    out.extend_from_slice(&(plan.properties_bytes as i16).to_be_bytes());
    out.extend_from_slice(message.properties);
    if plan.add_separator {
        out.push(PAIR_SEPARATOR);
    }
    if options.append_property_crc {
        out.extend_from_slice(&record::EMPTY_PROPERTY_CRC_TAIL);
    }
    Ok(plan.record_bytes)
}

/// Lengths and choices of one record, with every limit checked.
struct Plan {
    record_bytes: usize,
    properties_bytes: usize,
    sys_flag: i32,
    version_2: bool,
    add_separator: bool,
}

impl Plan {
    fn of(message: &Message<'_>, options: &EncodeOptions) -> Result<Self, EncodeError> {
        let body_bytes = message.body.len();
        if body_bytes > options.max_message_bytes {
            return Err(EncodeError::BodyTooLarge(body_bytes));
        }
        let add_separator = options.append_property_crc
            && message.properties.last().is_some_and(|last| *last != PAIR_SEPARATOR);
        let tail_bytes = if options.append_property_crc { PROPERTY_CRC_TAIL_BYTES } else { 0 };
        let properties_bytes = message.properties.len() + usize::from(add_separator) + tail_bytes;
        if properties_bytes > MAX_PROPERTIES_BYTES {
            return Err(EncodeError::PropertiesTooLarge(properties_bytes));
        }
        let topic_bytes = message.topic.len();
        let version_2 = options.version_by_topic_length && topic_bytes > MAX_TOPIC_V1_BYTES;
        if topic_bytes > if version_2 { i16::MAX as usize } else { MAX_TOPIC_V1_BYTES } {
            return Err(EncodeError::TopicTooLong(topic_bytes));
        }
        let mut sys_flag = message.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if message.born_host.is_ipv6() {
            sys_flag |= sys_flag::BORN_HOST_V6;
        }
        if message.store_host.is_ipv6() {
            sys_flag |= sys_flag::STORE_HOST_V6;
        }
        let record_bytes =
            record::fixed_bytes(sys_flag, version_2) + body_bytes + topic_bytes + properties_bytes;
        if record_bytes > options.max_message_bytes.saturating_add(RECORD_OVERHEAD_BYTES)
            || record_bytes > i32::MAX as usize
        {
            return Err(EncodeError::RecordTooLarge(record_bytes));
        }
        Ok(Self { record_bytes, properties_bytes, sys_flag, version_2, add_separator })
    }
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Writes an address as records and message ids hold it: its bytes, then its port as `i32`.
pub(super) fn put_host(out: &mut Vec<u8>, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    put_i32(out, i32::from(host.port()));
}

/// Bytes that [`put_host`] writes for `host`.
pub(super) const fn host_bytes(host: SocketAddr) -> usize {
    if host.is_ipv6() { HOST_V6_BYTES } else { HOST_V4_BYTES }
}
