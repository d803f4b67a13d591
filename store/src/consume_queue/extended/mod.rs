//! Extended units: more about a message than its unit has room for.
//!
//! With `enableConsumeQueueExt` a unit's tags code is the address of an extended unit, which holds
//! the code. Here nobody needs one, since records say the same; they are written for the reference,
//! by the thread that writes units to their files.
//!
//! ```text
//! 0 i16 bytes of all this | 2 i64 tags code | 10 i64 store time | 18 i16 bytes of filter bits |
//! 20 filter bits
//! ```
//!
//! They lie back to back under `consumequeue_ext/<topic>/<queueId>/`, and none crosses files: where
//! one does not fit, -1 stands in the place of its size, and it is the first one of the next file.
//! A file without room for [`END_BYTES`] more counts as full.
//!
//! Reference: `ConsumeQueueExt` (store), 5.5.0.

mod reader;
mod writer;

use byteorder::{BigEndian, ByteOrder};

pub(crate) use reader::ExtendedReader;
pub(crate) use writer::Extender;
pub use writer::FilterBits;

/// The directory, in that of the store, that has a directory for each topic.
pub(crate) const EXTENDED_DIR: &str = "consumequeue_ext";

/// Bytes of an extended unit without filter bits.
const HEAD_BYTES: usize = 20;
const TAGS_CODE_AT: usize = 2;
const STORE_TIMESTAMP_AT: usize = 10;
const BITS_LENGTH_AT: usize = 18;

/// What stands behind the last unit of a file, in the place of the next one's size.
const END_OF_FILE: i16 = -1;

/// Room that is left behind every unit of a file.
///
/// Reference: `ConsumeQueueExt.END_BLANK_DATA_LENGTH` (store), 5.5.0.
const END_BYTES: u64 = 4;

/// Largest tags code that is an address.
///
/// Reference: `ConsumeQueueExt.MAX_ADDR` (store), 5.5.0.
pub(crate) const MAX_ADDRESS: i64 = i32::MIN as i64 - 1;

/// Largest position that has an address.
const MAX_POSITION: u64 = MAX_ADDRESS.wrapping_sub(i64::MIN) as u64;

/// The address of the extended unit at `position`, which is at most [`MAX_POSITION`].
fn address_of(position: u64) -> i64 {
    (position as i64).wrapping_add(i64::MIN)
}

/// Where the extended unit is that `tags_code` is the address of, if it is one.
pub(crate) fn position_of(tags_code: i64) -> Option<u64> {
    (tags_code <= MAX_ADDRESS).then(|| tags_code.wrapping_sub(i64::MIN) as u64)
}

/// One extended unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedUnit {
    /// Hash of the tags, or what the queue's kind puts there instead.
    pub tags_code: i64,
    /// When the record was stored, in milliseconds since 1970.
    pub store_timestamp_ms: i64,
    /// Which groups' filters the message matches; empty when nobody looked.
    pub filter_bits: Vec<u8>,
}

impl ExtendedUnit {
    /// Bytes of the encoded unit.
    pub fn encoded_bytes(&self) -> usize {
        HEAD_BYTES + self.filter_bits.len()
    }

    /// Appends the encoded unit; nothing when its bytes cannot be counted. Returns whether it did.
    fn encode(&self, out: &mut Vec<u8>) -> bool {
        let (Ok(bytes), Ok(bits)) =
            (i16::try_from(self.encoded_bytes()), i16::try_from(self.filter_bits.len()))
        else {
            return false;
        };
        let mut head = [0; HEAD_BYTES];
        BigEndian::write_i16(&mut head, bytes);
        BigEndian::write_i64(&mut head[TAGS_CODE_AT..], self.tags_code);
        BigEndian::write_i64(&mut head[STORE_TIMESTAMP_AT..], self.store_timestamp_ms);
        BigEndian::write_i16(&mut head[BITS_LENGTH_AT..], bits);
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.filter_bits);
        true
    }

    /// Bytes of the unit that begins with `head`, if one does.
    fn length(head: &[u8]) -> Option<usize> {
        let head: &[u8; HEAD_BYTES] = head.first_chunk()?;
        let bytes = usize::try_from(BigEndian::read_i16(head)).ok()?;
        let bits = usize::try_from(BigEndian::read_i16(&head[BITS_LENGTH_AT..])).ok()?;
        (bytes == HEAD_BYTES + bits).then_some(bytes)
    }

    /// The unit at the front of `bytes`, if there is a whole one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::length(bytes)?)?;
        Some(Self {
            tags_code: BigEndian::read_i64(&bytes[TAGS_CODE_AT..]),
            store_timestamp_ms: BigEndian::read_i64(&bytes[STORE_TIMESTAMP_AT..]),
            filter_bits: bytes[HEAD_BYTES..].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_below_every_hash_and_lead_back() {
        assert_eq!(address_of(0), i64::MIN);
        assert_eq!(address_of(MAX_POSITION), MAX_ADDRESS);
        for position in [0, 1, 20, 1 << 40, MAX_POSITION] {
            assert_eq!(position_of(address_of(position)), Some(position));
        }
        assert_eq!(position_of(i64::from(i32::MIN)), None);
        assert_eq!(position_of(0), None);
    }

    #[test]
    fn unit_has_the_bytes_of_the_reference() {
        let unit = ExtendedUnit {
            tags_code: 0x27_a807,
            store_timestamp_ms: 0x01a1_fc56_b423,
            filter_bits: vec![0x80, 1],
        };
        let mut bytes = Vec::new();
        assert!(unit.encode(&mut bytes));
        let expected = [
            0, 22, 0, 0, 0, 0, 0, 0x27, 0xa8, 7, 0, 0, 1, 0xa1, 0xfc, 0x56, 0xb4, 0x23, 0, 2, 0x80,
            1,
        ];
        assert_eq!(bytes, expected);
        assert_eq!(ExtendedUnit::decode(&bytes), Some(unit));
        assert_eq!(ExtendedUnit::decode(&bytes[..21]), None);
        assert_eq!(ExtendedUnit::decode(&[0; 40]), None, "nothing was written");
        assert_eq!(ExtendedUnit::decode(&[0xff; 40]), None, "the end of a file");
    }
}
