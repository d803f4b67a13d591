//! Units of the timer log and slots of the timer wheel, as bytes.
//!
//! ```text
//! unit   i32 size = 52 | i64 previous unit of the slot, -1 none | i32 magic | i64 write time |
//!        i32 delay | i64 physical offset | i32 record size | i32 hash of the topic | i64 0
//! slot   i64 time / precision | i64 first unit | i64 last unit | i32 units | i32 0
//! blank  i32 rest of the file | i64 0 | i32 CBD43194
//! ```
//!
//! Reference: `TimerLog`, `Slot`, `TimerWheel` (store), 5.5.0.

use byteorder::{BigEndian, ByteOrder};

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: usize = 52;
/// Bytes at the end of a file that no unit takes.
pub(super) const BLANK_BYTES: usize = 16;
/// Magic of the blank end of a file.
pub(super) const BLANK_MAGIC: i32 = 0xCBD4_3194_u32.cast_signed();
/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = 32;
/// No unit.
pub(super) const NONE: i64 = -1;

const MAGIC_DEFAULT: i32 = 1;
const MAGIC_ROLL: i32 = 2;
const MAGIC_DELETE: i32 = 4;
/// Bits that a magic may have.
const MAGIC_BITS: i32 = 0xF;

/// One message that waits.
///
/// Reference: `TimerLog` (store), 5.5.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerUnit {
    /// Slot that was being written when the message came, in milliseconds since 1970.
    pub write_time_ms: i64,
    /// Slot that the message waits in, in milliseconds since 1970.
    pub slot_time_ms: i64,
    /// Position of the record in the commit log.
    pub phy_offset: i64,
    /// Its bytes.
    pub record_bytes: i32,
    /// Hash of the topic that the message goes to.
    pub topic_hash: i32,
    /// The message is put back when its slot is due, as its time is farther away than slots are.
    pub rolls: bool,
    /// The message takes another one back.
    pub deletes: bool,
}

impl TimerUnit {
    /// The unit as bytes, behind the unit at `previous` of its slot.
    pub(super) fn encode(&self, previous: i64) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        let magic = MAGIC_DEFAULT
            | if self.rolls { MAGIC_ROLL } else { 0 }
            | if self.deletes { MAGIC_DELETE } else { 0 };
        let delay_ms = self.slot_time_ms - self.write_time_ms;
        BigEndian::write_i32(&mut bytes[0..4], UNIT_BYTES as i32);
        BigEndian::write_i64(&mut bytes[4..12], previous);
        BigEndian::write_i32(&mut bytes[12..16], magic);
        BigEndian::write_i64(&mut bytes[16..24], self.write_time_ms);
        BigEndian::write_i32(&mut bytes[24..28], delay_ms as i32);
        BigEndian::write_i64(&mut bytes[28..36], self.phy_offset);
        BigEndian::write_i32(&mut bytes[36..40], self.record_bytes);
        BigEndian::write_i32(&mut bytes[40..44], self.topic_hash);
        bytes
    }

    /// How many wait in its slot with it.
    pub(super) fn count_in(&self, slot: &Slot) -> i32 {
        if self.deletes { slot.count - 1 } else { slot.count + 1 }
    }

    /// Reads a unit and the position of the one before it in its slot; `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, i64)> {
        let bytes = bytes.get(..UNIT_BYTES)?;
        let magic = BigEndian::read_i32(&bytes[12..16]);
        if BigEndian::read_i32(bytes) != UNIT_BYTES as i32 || magic | MAGIC_BITS != MAGIC_BITS {
            return None;
        }
        let write_time_ms = BigEndian::read_i64(&bytes[16..24]);
        let delay_ms = i64::from(BigEndian::read_i32(&bytes[24..28]));
        let unit = Self {
            write_time_ms,
            slot_time_ms: write_time_ms.checked_add(delay_ms)?,
            phy_offset: BigEndian::read_i64(&bytes[28..36]),
            record_bytes: BigEndian::read_i32(&bytes[36..40]),
            topic_hash: BigEndian::read_i32(&bytes[40..44]),
            rolls: magic & MAGIC_ROLL != 0,
            deletes: magic & MAGIC_DELETE != 0,
        };
        Some((unit, BigEndian::read_i64(&bytes[4..12])))
    }
}

/// Where the units of one moment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Time divided by the precision.
    pub(super) time: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: i32,
}

impl Slot {
    /// A slot without units.
    pub(super) const fn empty(time: i64) -> Self {
        Self { time, first: NONE, last: NONE, count: 0 }
    }

    pub(super) fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        BigEndian::write_i64(&mut bytes[0..8], self.time);
        BigEndian::write_i64(&mut bytes[8..16], self.first);
        BigEndian::write_i64(&mut bytes[16..24], self.last);
        BigEndian::write_i32(&mut bytes[24..28], self.count);
        bytes
    }

    /// Reads the slot of `time`: what another time has left there does not count.
    pub(super) fn decode(bytes: &[u8; SLOT_BYTES], time: i64) -> Self {
        if BigEndian::read_i64(&bytes[0..8]) != time {
            return Self::empty(time);
        }
        Self {
            time,
            first: BigEndian::read_i64(&bytes[8..16]),
            last: BigEndian::read_i64(&bytes[16..24]),
            count: BigEndian::read_i32(&bytes[24..28]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_has_the_bytes_of_the_reference() {
        let unit = TimerUnit {
            write_time_ms: 0x0102_0304_0506,
            slot_time_ms: 0x0102_0304_0506 + 0x0708,
            phy_offset: 0x1122_3344,
            record_bytes: 0x99,
            topic_hash: -2,
            rolls: true,
            deletes: false,
        };
        let bytes = unit.encode(-1);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "00000034ffffffffffffffff00000003000001020304050600000708\
             000000001122334400000099fffffffe0000000000000000"
        );
        assert_eq!(TimerUnit::decode(&bytes), Some((unit, -1)));
        assert_eq!(TimerUnit::decode(&[0; UNIT_BYTES]), None);
        assert_eq!(TimerUnit::decode(&bytes[1..]), None);
    }

    #[test]
    fn slot_of_another_time_is_empty() {
        let slot = Slot { time: 7, first: 52, last: 104, count: 2 };
        assert_eq!(Slot::decode(&slot.encode(), 7), slot);
        assert_eq!(Slot::decode(&slot.encode(), 8), Slot::empty(8));
    }
}
