//! One unit: where a message's record is, and the code of its tags.
//!
//! ```text
//! 0 i64 physical offset | 8 i32 record size | 12 i64 tags code
//! ```
//!
//! Reference: `ConsumeQueue.CQ_STORE_UNIT_SIZE` (store), 5.5.0.

use byteorder::{BigEndian, ByteOrder};

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: usize = 20;

const SIZE_AT: usize = 8;
const TAGS_CODE_AT: usize = 12;

/// Size field of units that lead to no record: no file has that many bytes, so no reader finds any.
const NO_RECORD_SIZE: i32 = i32::MAX;

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

    /// Log position behind the record, if there is one.
    pub(crate) fn end(&self) -> i64 {
        if self.size == NO_RECORD_SIZE {
            return self.phy_offset;
        }
        self.phy_offset.saturating_add(i64::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
