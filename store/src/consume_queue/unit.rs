//! One unit: where a message's record is, and the code of its tags. Queues of records with many
//! messages have units that also say which messages.
//!
//! ```text
//! 0 i64 physical offset | 8 i32 record size | 12 i64 tags code
//!     | 20 i64 store time | 28 i64 first offset | 36 i16 messages | 38 i32 -1 | 42 i32 0
//! ```
//!
//! Reference: `ConsumeQueue.CQ_STORE_UNIT_SIZE`, `BatchConsumeQueue` (store), 5.5.0.

use byteorder::{BigEndian, ByteOrder};

use super::extended::MAX_ADDRESS;
use crate::limits::MAX_QUEUE_OFFSET;

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: usize = 20;

/// Bytes of a unit that may stand for many messages.
pub(crate) const BATCH_UNIT_BYTES: usize = 46;

const SIZE_AT: usize = 8;
const TAGS_CODE_AT: usize = 12;
const STORE_TIMESTAMP_AT: usize = 20;
const BASE_OFFSET_AT: usize = 28;
const COUNT_AT: usize = 36;
/// Used by compacted topics only; else always -1.
const COMPACTED_OFFSET_AT: usize = 38;

/// Size field of units that lead to no record: no file has that many bytes, so no reader finds any.
const NO_RECORD_SIZE: i32 = i32::MAX;

/// What the units of a queue stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum QueueKind {
    /// One message each, so that a unit's index is its offset.
    #[default]
    Simple,
    /// One record with one or more messages. Topics have it by `queue.type=BatchCQ`.
    Batch,
}

impl QueueKind {
    /// Both kinds.
    pub(crate) const ALL: [Self; 2] = [Self::Simple, Self::Batch];

    /// The directory, in that of the store, that has a directory for each topic.
    pub(crate) const fn dir_name(self) -> &'static str {
        match self {
            Self::Simple => "consumequeue",
            Self::Batch => "batchconsumequeue",
        }
    }

    /// Bytes of a unit.
    pub(crate) const fn unit_bytes(self) -> usize {
        match self {
            Self::Simple => UNIT_BYTES,
            Self::Batch => BATCH_UNIT_BYTES,
        }
    }

    /// What the units that lie back to back in `bytes` have in common; an incomplete last one is
    /// left out.
    pub(crate) fn decode_all(self, bytes: &[u8]) -> impl DoubleEndedIterator<Item = Unit> {
        bytes.chunks_exact(self.unit_bytes()).map(move |bytes| {
            let unit = bytes.first_chunk().map_or(Unit::NONE, Unit::decode);
            match self {
                Self::Batch if !BatchUnit::counts(bytes) => Unit::NONE,
                _ => unit,
            }
        })
    }
}

/// One unit of a consume queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Position of the record in the commit log.
    pub(crate) phy_offset: i64,
    /// Bytes of the record.
    pub(crate) size: i32,
    /// Hash of the tags, or what the queue's kind puts there instead.
    pub(crate) tags_code: i64,
}

impl Unit {
    /// No unit: what a file has where nothing was written.
    const NONE: Self = Self { phy_offset: 0, size: 0, tags_code: 0 };

    /// What stands before the first message of a queue that does not begin with offset 0.
    pub(crate) const PRE_BLANK: Self = Self::lost(0);

    /// What stands in the place of a record that is lost; `phy_offset` keeps the units in order.
    pub(crate) const fn lost(phy_offset: i64) -> Self {
        Self { phy_offset, size: NO_RECORD_SIZE, tags_code: 0 }
    }

    pub(crate) fn decode(bytes: &[u8; UNIT_BYTES]) -> Self {
        Self {
            phy_offset: BigEndian::read_i64(bytes),
            size: BigEndian::read_i32(&bytes[SIZE_AT..]),
            tags_code: BigEndian::read_i64(&bytes[TAGS_CODE_AT..]),
        }
    }

    pub(crate) fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        BigEndian::write_i64(&mut bytes, self.phy_offset);
        BigEndian::write_i32(&mut bytes[SIZE_AT..], self.size);
        BigEndian::write_i64(&mut bytes[TAGS_CODE_AT..], self.tags_code);
        bytes
    }

    /// The units that lie back to back in `bytes`; an incomplete last one is left out.
    pub(crate) fn decode_all(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Self> {
        bytes.as_chunks().0.iter().map(Self::decode)
    }

    /// Whether this can be a unit at all: files are zeros where nothing was written.
    pub(crate) fn is_valid(&self) -> bool {
        self.phy_offset >= 0 && self.size > 0
    }

    pub(crate) fn is_pre_blank(&self) -> bool {
        *self == Self::PRE_BLANK
    }

    /// Whether this stands in the place of a record that is lost, or before a queue's first message.
    pub(crate) fn leads_nowhere(&self) -> bool {
        self.size == NO_RECORD_SIZE
    }

    /// Whether the tags code is the address of an extended unit, which holds the code.
    pub(crate) fn has_extended_address(&self) -> bool {
        self.tags_code <= MAX_ADDRESS
    }

    /// Log position behind the record, if there is one.
    pub(crate) fn end(&self) -> i64 {
        if self.size == NO_RECORD_SIZE {
            return self.phy_offset;
        }
        self.phy_offset.saturating_add(i64::from(self.size))
    }
}

/// One unit of a batch queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchUnit {
    /// Where the record is.
    pub(crate) unit: Unit,
    /// When the record was stored, in milliseconds since 1970.
    pub(crate) store_timestamp_ms: i64,
    /// Offset of the record's first message.
    pub(crate) base_offset: i64,
    /// Messages of the record.
    pub(crate) count: i16,
}

impl BatchUnit {
    /// The unit in `bytes`, if there is a valid one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let unit = Unit::decode(bytes.first_chunk()?);
        if bytes.len() < BATCH_UNIT_BYTES || !unit.is_valid() || !Self::counts(bytes) {
            return None;
        }
        Some(Self {
            unit,
            store_timestamp_ms: BigEndian::read_i64(&bytes[STORE_TIMESTAMP_AT..]),
            base_offset: BigEndian::read_i64(&bytes[BASE_OFFSET_AT..]),
            count: BigEndian::read_i16(&bytes[COUNT_AT..]),
        })
    }

    pub(crate) fn encode(&self) -> [u8; BATCH_UNIT_BYTES] {
        let mut bytes = [0; BATCH_UNIT_BYTES];
        bytes[..UNIT_BYTES].copy_from_slice(&self.unit.encode());
        BigEndian::write_i64(&mut bytes[STORE_TIMESTAMP_AT..], self.store_timestamp_ms);
        BigEndian::write_i64(&mut bytes[BASE_OFFSET_AT..], self.base_offset);
        BigEndian::write_i16(&mut bytes[COUNT_AT..], self.count);
        BigEndian::write_i32(&mut bytes[COMPACTED_OFFSET_AT..], -1);
        bytes
    }

    /// Offset behind the record's last message.
    pub(crate) fn end_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.count))
    }

    /// Whether a whole unit says which messages it has.
    fn counts(bytes: &[u8]) -> bool {
        (0..MAX_QUEUE_OFFSET).contains(&BigEndian::read_i64(&bytes[BASE_OFFSET_AT..]))
            && BigEndian::read_i16(&bytes[COUNT_AT..]) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_unit_equals_the_reference_sample() {
        let unit = Unit { phy_offset: 5, size: 0x9d, tags_code: 0x27_a807 };
        let unit =
            BatchUnit { unit, store_timestamp_ms: 0x01a1_fc56_b423, base_offset: 0, count: 3 };
        let bytes = unit.encode();
        assert_eq!(bytes[..20], unit.unit.encode());
        assert_eq!(bytes[28..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(BatchUnit::decode(&bytes), Some(unit));
        assert_eq!(BatchUnit::decode(&[0; BATCH_UNIT_BYTES]), None);
        assert_eq!(QueueKind::Batch.decode_all(&bytes).collect::<Vec<_>>(), [unit.unit]);
    }

    #[test]
    fn unit_equals_the_reference_sample() {
        let unit = Unit { phy_offset: 0, size: 0x9d, tags_code: 0x27_a807 };
        let bytes = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x9d, 0, 0, 0, 0, 0, 0x27, 0xa8, 0x07];
        assert_eq!(unit.encode(), bytes);
        assert_eq!(Unit::decode(&bytes), unit);
    }

    #[test]
    fn zeros_are_no_unit_and_pre_blanks_are() {
        assert!(!Unit::decode(&[0; UNIT_BYTES]).is_valid());
        assert!(Unit::PRE_BLANK.is_valid());
        assert_eq!(Unit::PRE_BLANK.encode()[8..12], [0x7f, 0xff, 0xff, 0xff]);
    }
}
