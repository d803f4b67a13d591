//! The record: one encoded message, as in the commit log and in the body of a pull.
//!
//! ```text
//!   0 i32 total size            28 i64 physical offset     56 i64 store timestamp (ms)
//!   4 i32 magic                 36 i32 system flag         64  8  store host
//!   8 i32 body CRC-32           40 i64 born timestamp      72 i32 reconsume times
//!  12 i32 queue id              48  8  born host           76 i64 prepared transaction offset
//!  16 i32 user flag                                        84 i32 body length, body
//!  20 i64 queue offset                                     .. i8 (V2: i16) topic length, topic
//!                                                          .. i16 properties length, properties
//! ```
//!
//! Big-endian. An IPv6 host takes 20 bytes instead of 8 and moves all that follows it, so the
//! system flag is always read first.
//!
//! Reference: `MessageDecoder`, `MessageVersion` (common), `CommitLog` (store), 5.5.0.

mod at_end;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use byteorder::{BigEndian, ByteOrder};

use super::Message;
use super::properties::{PAIR_SEPARATOR, PROPERTY_CRC_TAIL_BYTES, property};
use super::sys_flag;
pub use at_end::properties_at_end;

/// Magic of a version 1 record: one byte of topic length.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic of a version 2 record: two bytes of topic length.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// What the magics of both versions begin with.
pub const MAGIC_START: [u8; 3] = [0xDA, 0xA3, 0x20];
/// Magic of the filler that ends a commit log file.
pub(crate) const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;
/// Bytes of a file-end filler that are written: its length and its magic.
pub const BLANK_HEAD_BYTES: usize = 8;

/// Bytes of an IPv4 host: address and port.
pub(crate) const HOST_V4_BYTES: usize = 8;
/// Bytes of an IPv6 host: address and port.
pub(crate) const HOST_V6_BYTES: usize = 20;

const TOTAL_SIZE_AT: usize = 0;
/// Where the magic is in a record.
pub const MAGIC_AT: usize = 4;
const BODY_CRC_AT: usize = 8;
const QUEUE_ID_AT: usize = 12;
const FLAG_AT: usize = 16;
const QUEUE_OFFSET_AT: usize = 20;
const PHY_OFFSET_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const BORN_TIMESTAMP_AT: usize = 40;
const BORN_HOST_AT: usize = 48;
/// What lies between the hosts and the body length: reconsume times and transaction offset.
const AFTER_STORE_HOST_BYTES: usize = 4 + 8;
/// Bytes of a record with IPv4 hosts, version 1, and neither body, topic nor properties.
pub const SMALLEST_RECORD_BYTES: usize = 91;
/// CRCs are stored without their sign bit.
const CRC_MASK: u32 = 0x7FFF_FFFF;

/// Digits of the checksum inside a property CRC tail.
const PROPERTY_CRC_DIGITS: usize = 10;
/// A property CRC tail whose digits are not known yet.
pub(super) const EMPTY_PROPERTY_CRC_TAIL: [u8; PROPERTY_CRC_TAIL_BYTES] =
    *b"__CRC32#\x010000000000\x02";

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record says it has, or than any record has.
    #[error("record is cut short: {available} bytes of {needed}")]
    CutShort {
        /// Bytes at hand.
        available: usize,
        /// Bytes that are needed at least.
        needed: usize,
    },
    /// The magic is not one of a record.
    #[error("unknown record magic {0:#010x}")]
    UnknownMagic(i32),
    /// The total size is impossible.
    #[error("impossible record size {0}")]
    BadSize(i32),
    /// A length inside the record is negative or leads outside of it.
    #[error("impossible {field} length {length}")]
    BadLength {
        /// Which part of the record.
        field: &'static str,
        /// The length read.
        length: i32,
    },
    /// The parts do not add up to the total size.
    #[error("record says {total} bytes but its parts are {parts}")]
    LengthMismatch {
        /// The total size field.
        total: usize,
        /// The sum of the parts.
        parts: usize,
    },
    /// Nothing follows the record, and its properties have not been stored to their end.
    #[error("properties end with a zero byte and nothing follows")]
    TornProperties,
    /// The topic is not UTF-8.
    #[error("topic is not UTF-8")]
    TopicNotUtf8,
    /// A host carries a port outside 0..=65535.
    #[error("impossible port {0}")]
    BadPort(i32),
    /// The body does not match its CRC.
    #[error("body CRC is {actual:#010x}, the record says {stored:#010x}")]
    BodyCrc {
        /// The CRC of the body.
        actual: i32,
        /// The CRC in the record.
        stored: i32,
    },
    /// The record does not match its property CRC, or has none.
    #[error("property CRC does not match")]
    PropertyCrc,
}

/// A record read in place: checked once, then read without copies.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    topic: &'a str,
    sys_flag: i32,
    body_at: usize,
    body_bytes: usize,
    properties_at: usize,
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `bytes`; what follows the record is not looked at.
    ///
    /// All lengths are checked; checksums are not, see [`Self::verify_body_crc`].
    ///
    /// # Errors
    ///
    /// When no complete, consistent record starts here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let Parts { total, sys_flag, body_at, body_bytes, topic_at, topic_bytes, properties_at } =
            Parts::of(bytes)?;
        let bytes = &bytes[..total];
        let topic = std::str::from_utf8(&bytes[topic_at..][..topic_bytes])
            .map_err(|_| RecordError::TopicNotUtf8)?;
        Ok(Self { bytes, topic, sys_flag, body_at, body_bytes, properties_at })
    }

    /// The whole record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Length of the whole record in bytes.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// CRC-32 of the body as the record states it.
    pub fn body_crc(&self) -> i32 {
        self.i32_at(BODY_CRC_AT)
    }

    /// Queue of the topic.
    pub fn queue_id(&self) -> i32 {
        self.i32_at(QUEUE_ID_AT)
    }

    /// The user's flag.
    pub fn flag(&self) -> i32 {
        self.i32_at(FLAG_AT)
    }

    /// Index of the message in its queue.
    pub fn queue_offset(&self) -> i64 {
        self.i64_at(QUEUE_OFFSET_AT)
    }

    /// Position of the record in the commit log.
    pub fn phy_offset(&self) -> i64 {
        self.i64_at(PHY_OFFSET_AT)
    }

    /// System flag, see [`sys_flag`].
    pub fn sys_flag(&self) -> i32 {
        self.sys_flag
    }

    /// When the client made the message, in milliseconds since 1970.
    pub fn born_timestamp_ms(&self) -> i64 {
        self.i64_at(BORN_TIMESTAMP_AT)
    }

    /// When the store took the message, in milliseconds since 1970.
    pub fn store_timestamp_ms(&self) -> i64 {
        self.i64_at(store_timestamp_at(self.sys_flag))
    }

    /// Address of the client that sent the message.
    ///
    /// # Errors
    ///
    /// When the stored port is no port.
    pub fn born_host(&self) -> Result<SocketAddr, RecordError> {
        read_host(&self.bytes[BORN_HOST_AT..][..born_host_bytes(self.sys_flag)])
    }

    /// Address of the broker that stored the message.
    ///
    /// # Errors
    ///
    /// When the stored port is no port.
    pub fn store_host(&self) -> Result<SocketAddr, RecordError> {
        let at = store_timestamp_at(self.sys_flag) + 8;
        read_host(&self.bytes[at..][..store_host_bytes(self.sys_flag)])
    }

    /// How often the message was given back by a consumer.
    pub fn reconsume_times(&self) -> i32 {
        self.i32_at(body_length_at(self.sys_flag) - AFTER_STORE_HOST_BYTES)
    }

    /// Physical offset of the half message that this record commits, else zero.
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.i64_at(body_length_at(self.sys_flag) - 8)
    }

    /// The body as stored, possibly compressed.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_at..][..self.body_bytes]
    }

    /// Topic under which the record is stored.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Encoded properties text, see [`super::properties`].
    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[self.properties_at..]
    }

    /// Value of the property `name`, if the record has it.
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        property(self.properties(), name)
    }

    /// Compares the body with its CRC.
    ///
    /// # Errors
    ///
    /// When they differ.
    pub fn verify_body_crc(&self) -> Result<(), RecordError> {
        let actual = body_crc(self.body());
        // A body-less record holds zero, which is also the CRC of nothing.
        let stored = self.body_crc();
        if actual == stored { Ok(()) } else { Err(RecordError::BodyCrc { actual, stored }) }
    }

    /// Compares the record with the checksum at the end of its properties.
    ///
    /// # Errors
    ///
    /// When they differ, or when the record carries no such checksum.
    pub fn verify_property_crc(&self) -> Result<(), RecordError> {
        let covered = self
            .properties()
            .len()
            .checked_sub(PROPERTY_CRC_TAIL_BYTES)
            .map(|_| self.bytes.len() - PROPERTY_CRC_TAIL_BYTES)
            .ok_or(RecordError::PropertyCrc)?;
        let (record, tail) = self.bytes.split_at(covered);
        if tail == property_crc_tail(record) { Ok(()) } else { Err(RecordError::PropertyCrc) }
    }

    /// This record as something to be stored again.
    ///
    /// # Errors
    ///
    /// When a stored port is no port.
    pub fn as_message(&self) -> Result<Message<'a>, RecordError> {
        Ok(Message {
            topic: self.topic,
            queue_id: self.queue_id(),
            flag: self.flag(),
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms(),
            born_host: self.born_host()?,
            store_host: self.store_host()?,
            reconsume_times: self.reconsume_times(),
            prepared_transaction_offset: self.prepared_transaction_offset(),
            body: self.body(),
            properties: self.properties(),
        })
    }

    fn i32_at(&self, at: usize) -> i32 {
        BigEndian::read_i32(&self.bytes[at..])
    }

    fn i64_at(&self, at: usize) -> i64 {
        BigEndian::read_i64(&self.bytes[at..])
    }
}

/// Where the parts of a record are, all of them inside of it.
struct Parts {
    total: usize,
    sys_flag: i32,
    body_at: usize,
    body_bytes: usize,
    topic_at: usize,
    topic_bytes: usize,
    properties_at: usize,
}

impl Parts {
    /// Those of the record at the start of `bytes`.
    #[inline]
    fn of(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() < SMALLEST_RECORD_BYTES {
            return Err(RecordError::CutShort {
                available: bytes.len(),
                needed: SMALLEST_RECORD_BYTES,
            });
        }
        let magic = BigEndian::read_i32(&bytes[MAGIC_AT..]);
        let version_2 = match magic {
            MAGIC_V1 => false,
            MAGIC_V2 => true,
            _ => return Err(RecordError::UnknownMagic(magic)),
        };
        let size = BigEndian::read_i32(&bytes[TOTAL_SIZE_AT..]);
        let total = usize::try_from(size).map_err(|_| RecordError::BadSize(size))?;
        let sys_flag = BigEndian::read_i32(&bytes[SYS_FLAG_AT..]);
        if total < fixed_bytes(sys_flag, version_2) {
            return Err(RecordError::BadSize(size));
        }
        let available = bytes.len();
        let bytes = bytes.get(..total).ok_or(RecordError::CutShort { available, needed: total })?;

        let body_len_at = body_length_at(sys_flag);
        let body_at = body_len_at + 4;
        let body_bytes = part_length("body", BigEndian::read_i32(&bytes[body_len_at..]), total)?;
        let topic_len_at = body_at + body_bytes;
        let topic_len_bytes = if version_2 { 2 } else { 1 };
        let topic_at = topic_len_at + topic_len_bytes;
        if topic_at + 2 > total {
            return Err(RecordError::LengthMismatch { total, parts: topic_at + 2 });
        }
        let topic_length = if version_2 {
            i32::from(BigEndian::read_i16(&bytes[topic_len_at..]))
        } else {
            i32::from(bytes[topic_len_at] as i8)
        };
        let topic_bytes = part_length("topic", topic_length, total)?;
        let properties_len_at = topic_at + topic_bytes;
        let properties_at = properties_len_at + 2;
        if properties_at > total {
            return Err(RecordError::LengthMismatch { total, parts: properties_at });
        }
        let properties_length = i32::from(BigEndian::read_i16(&bytes[properties_len_at..]));
        let properties_bytes = part_length("properties", properties_length, total)?;
        if properties_at + properties_bytes != total {
            let parts = properties_at + properties_bytes;
            return Err(RecordError::LengthMismatch { total, parts });
        }
        Ok(Self { total, sys_flag, body_at, body_bytes, topic_at, topic_bytes, properties_at })
    }
}

/// The properties of the record that `bytes` are, when its lengths are right and nothing follows it: all
/// that a filter asks for, of each of very many records.
#[inline]
pub fn properties_of_record(bytes: &[u8]) -> Option<&[u8]> {
    let parts = Parts::of(bytes).ok()?;
    (parts.total == bytes.len()).then(|| &bytes[parts.properties_at..])
}

/// Fills in what only the store knows, in an encoded `record` of its own making.
///
/// # Panics
///
/// When `record` is shorter than a record's head: it must come from [`super::encode_record`].
pub fn patch(record: &mut [u8], queue_offset: i64, phy_offset: i64, store_timestamp_ms: i64) {
    BigEndian::write_i64(&mut record[QUEUE_OFFSET_AT..], queue_offset);
    BigEndian::write_i64(&mut record[PHY_OFFSET_AT..], phy_offset);
    let sys_flag = BigEndian::read_i32(&record[SYS_FLAG_AT..]);
    BigEndian::write_i64(&mut record[store_timestamp_at(sys_flag)..], store_timestamp_ms);
}

/// Fills in the checksum at the end of a patched `record` that was encoded with room for it.
///
/// # Panics
///
/// When `record` is shorter than the checksum.
pub fn seal_property_crc(record: &mut [u8]) {
    let covered = record.len() - PROPERTY_CRC_TAIL_BYTES;
    let tail = property_crc_tail(&record[..covered]);
    record[covered..].copy_from_slice(&tail);
}

/// The filler head that ends a commit log file with `remaining_bytes` left in it.
pub fn blank_head(remaining_bytes: u32) -> [u8; BLANK_HEAD_BYTES] {
    let mut head = [0; BLANK_HEAD_BYTES];
    BigEndian::write_u32(&mut head, remaining_bytes);
    BigEndian::write_i32(&mut head[MAGIC_AT..], MAGIC_BLANK);
    head
}

/// Whether a file-end filler starts at `bytes`.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.len() >= BLANK_HEAD_BYTES && BigEndian::read_i32(&bytes[MAGIC_AT..]) == MAGIC_BLANK
}

/// The total size field of the record that starts at `bytes`, if there are bytes enough for one.
pub fn total_size(bytes: &[u8]) -> Option<i32> {
    (bytes.len() >= 4).then(|| BigEndian::read_i32(bytes))
}

/// CRC-32 (IEEE) of a body, without its sign bit.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & CRC_MASK) as i32
}

/// Bytes of a record apart from its body, topic and properties.
#[inline]
pub(super) const fn fixed_bytes(sys_flag: i32, version_2: bool) -> usize {
    body_length_at(sys_flag) + 4 + if version_2 { 2 } else { 1 } + 2
}

const fn born_host_bytes(sys_flag: i32) -> usize {
    if sys_flag & sys_flag::BORN_HOST_V6 != 0 { HOST_V6_BYTES } else { HOST_V4_BYTES }
}

const fn store_host_bytes(sys_flag: i32) -> usize {
    if sys_flag & sys_flag::STORE_HOST_V6 != 0 { HOST_V6_BYTES } else { HOST_V4_BYTES }
}

const fn store_timestamp_at(sys_flag: i32) -> usize {
    BORN_HOST_AT + born_host_bytes(sys_flag)
}

const fn body_length_at(sys_flag: i32) -> usize {
    store_timestamp_at(sys_flag) + 8 + store_host_bytes(sys_flag) + AFTER_STORE_HOST_BYTES
}

#[inline]
fn part_length(field: &'static str, length: i32, total: usize) -> Result<usize, RecordError> {
    match usize::try_from(length) {
        Ok(bytes) if bytes <= total => Ok(bytes),
        _ => Err(RecordError::BadLength { field, length }),
    }
}

/// Reads an address as records and message ids hold it.
pub(super) fn read_host(bytes: &[u8]) -> Result<SocketAddr, RecordError> {
    let (address, port) = bytes.split_at(bytes.len().saturating_sub(4));
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(address) {
        IpAddr::V4(Ipv4Addr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(address) {
        IpAddr::V6(Ipv6Addr::from(v6))
    } else {
        let length = address.len() as i32;
        return Err(RecordError::BadLength { field: "host", length });
    };
    let port = BigEndian::read_i32(port);
    let port = u16::try_from(port).map_err(|_| RecordError::BadPort(port))?;
    Ok(SocketAddr::new(ip, port))
}

/// The 20 bytes `__CRC32#`, 1, ten digits with the least significant first, 2.
///
/// Reference: `CommitLog.doAppend` with `enabledAppendPropCRC` (store), 5.5.0.
fn property_crc_tail(record: &[u8]) -> [u8; PROPERTY_CRC_TAIL_BYTES] {
    let mut tail = EMPTY_PROPERTY_CRC_TAIL;
    let mut crc = crc32fast::hash(record) & CRC_MASK;
    let digits_at = PROPERTY_CRC_TAIL_BYTES - 1 - PROPERTY_CRC_DIGITS;
    for digit in &mut tail[digits_at..][..PROPERTY_CRC_DIGITS] {
        *digit = b'0' + (crc % 10) as u8;
        crc /= 10;
    }
    debug_assert_eq!(tail[PROPERTY_CRC_TAIL_BYTES - 1], PAIR_SEPARATOR);
    tail
}
