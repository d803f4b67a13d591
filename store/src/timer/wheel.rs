//! The timer wheel: one slot for each moment of the next days.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use byteorder::{BigEndian, ByteOrder};

use super::unit::{SLOT_BYTES, Slot};

/// Slots of the wheel: two weeks at the default precision, of which one is used.
pub(super) const SLOTS: i64 = 1_209_600;

/// The file of the wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    file: File,
    unsynced: bool,
}

impl Wheel {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let bytes = SLOTS as u64 * SLOT_BYTES as u64;
        match file.metadata()?.len() {
            0 => file.set_len(bytes)?,
            found if found == bytes => {}
            found => {
                let message = format!("{} has {found} bytes, not {bytes}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(Self { file, unsynced: false })
    }

    /// The slot of a time, which is given in units of the precision.
    pub(super) fn get(&self, time: i64) -> io::Result<Slot> {
        let mut bytes = [0; SLOT_BYTES];
        self.file.read_exact_at(&mut bytes, place(time))?;
        Ok(Slot::decode(&bytes, time))
    }

    pub(super) fn put(&mut self, slot: &Slot) -> io::Result<()> {
        self.unsynced = true;
        self.file.write_all_at(&slot.encode(), place(slot.time))
    }

    /// Lets `change` work on all slots at once.
    pub(super) fn rewrite(&mut self, change: impl FnOnce(&mut Slots)) -> io::Result<()> {
        let mut bytes = vec![0; SLOTS as usize * SLOT_BYTES];
        self.file.read_exact_at(&mut bytes, 0)?;
        let mut slots = Slots { bytes, changed: false };
        change(&mut slots);
        if slots.changed {
            self.file.write_all_at(&slots.bytes, 0)?;
            self.unsynced = true;
        }
        Ok(())
    }

    /// The file, if it has to be made durable.
    pub(super) fn take_unsynced(&mut self) -> io::Result<Option<File>> {
        let file = if self.unsynced { Some(self.file.try_clone()?) } else { None };
        self.unsynced = false;
        Ok(file)
    }

    /// Notes that the file could not be made durable.
    pub(super) fn set_unsynced(&mut self) {
        self.unsynced = true;
    }
}

/// All slots in memory.
#[derive(Debug)]
pub(super) struct Slots {
    bytes: Vec<u8>,
    changed: bool,
}

impl Slots {
    pub(super) fn get(&self, time: i64) -> Slot {
        let at = place(time) as usize;
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(&self.bytes[at..at + SLOT_BYTES]);
        Slot::decode(&bytes, time)
    }

    /// Empties the slots that point behind `end`, and returns their times.
    pub(super) fn empty_beyond(&mut self, end: i64) -> Vec<i64> {
        let mut times = Vec::new();
        for bytes in self.bytes.chunks_exact_mut(SLOT_BYTES) {
            if BigEndian::read_i64(&bytes[16..24]) >= end.max(1) {
                times.push(BigEndian::read_i64(&bytes[0..8]));
                bytes.fill(0);
            }
        }
        self.changed |= !times.is_empty();
        times
    }

    pub(super) fn put(&mut self, slot: &Slot) {
        if self.get(slot.time) != *slot {
            let at = place(slot.time) as usize;
            self.bytes[at..at + SLOT_BYTES].copy_from_slice(&slot.encode());
            self.changed = true;
        }
    }
}

fn place(time: i64) -> u64 {
    time.rem_euclid(SLOTS).unsigned_abs() * SLOT_BYTES as u64
}
