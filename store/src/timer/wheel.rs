//! The timer wheel: one slot for each moment of the next days.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder};

use super::unit::{SLOT_BYTES, Slot};
use crate::disk::is_full;
use crate::error::{IoContext, StoreError};
use crate::fs::{read_exact_at, read_piece};

/// Slots of the wheel: two weeks at the default precision, of which one is used.
pub(super) const SLOTS: i64 = 1_209_600;
const FILE_BYTES: u64 = SLOTS as u64 * SLOT_BYTES as u64;
/// What a rewrite reads and writes at once.
const BLOCK_BYTES: usize = 128 * SLOT_BYTES;
const _: () = assert!(FILE_BYTES.is_multiple_of(BLOCK_BYTES as u64));

/// The file of the wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    file: File,
    path: PathBuf,
    /// Nothing has been in it before.
    is_new: bool,
    unsynced: bool,
    /// Blocks that a full disk did not take at the start, by their place in the file.
    unwritten: BTreeMap<u64, Box<[u8]>>,
}

impl Wheel {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let found = file.metadata()?.len();
        match found {
            0 => file.set_len(FILE_BYTES)?,
            FILE_BYTES => {}
            _ => {
                let message = format!("{} has {found} bytes, not {FILE_BYTES}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        let (path, is_new, unwritten) = (path.to_owned(), found == 0, BTreeMap::new());
        Ok(Self { file, path, is_new, unsynced: false, unwritten })
    }

    /// Whether it has been made by this run.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The slot of a time, which is given in units of the precision.
    pub(super) fn get(&self, time: i64) -> io::Result<Slot> {
        let mut bytes = [0; SLOT_BYTES];
        let (at, within) = block_place(time);
        match self.unwritten.get(&at) {
            Some(block) => bytes.copy_from_slice(&block[within..within + SLOT_BYTES]),
            None => read_piece(&self.file, &self.path, &mut bytes, place(time))?,
        }
        Ok(Slot::decode(&bytes, time))
    }

    pub(super) fn put(&mut self, slot: &Slot) -> io::Result<()> {
        let (at, within) = block_place(slot.time);
        if let Some(block) = self.unwritten.get_mut(&at) {
            block[within..within + SLOT_BYTES].copy_from_slice(&slot.encode());
            return Ok(());
        }
        self.unsynced = true;
        self.file.write_all_at(&slot.encode(), place(slot.time))
    }

    /// Lets `change` work on many slots, and writes those that changed. What a full disk does not take stays in
    /// memory: the file has holes, and a broker that does not start serves nobody.
    pub(super) fn rewrite(
        &mut self,
        change: impl FnOnce(&mut Slots<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut slots = Slots { file: &self.file, path: &self.path, blocks: BTreeMap::new() };
        change(&mut slots)?;
        for (at, block) in slots.blocks {
            if block.changed {
                self.unwritten.insert(at, block.bytes);
            }
        }
        let written = self.write();
        written
            .or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })
            .doing("write", &self.path)
    }

    /// Writes what is in memory only.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while let Some(block) = self.unwritten.first_entry() {
            self.file.write_all_at(block.get(), *block.key())?;
            self.unsynced = true;
            block.remove();
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

/// The slots, of which just the blocks that are worked on are in memory.
#[derive(Debug)]
pub(super) struct Slots<'f> {
    file: &'f File,
    path: &'f Path,
    blocks: BTreeMap<u64, Block>,
}

#[derive(Debug)]
struct Block {
    bytes: Box<[u8]>,
    changed: bool,
}

impl Slots<'_> {
    pub(super) fn get(&mut self, time: i64) -> Result<Slot, StoreError> {
        let (block, within) = self.block_of(place(time))?;
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(&block.bytes[within..within + SLOT_BYTES]);
        Ok(Slot::decode(&bytes, time))
    }

    /// Empties the slots that point behind `end`, and returns their times.
    pub(super) fn empty_beyond(&mut self, end: i64) -> Result<Vec<i64>, StoreError> {
        let mut times = Vec::new();
        let mut bytes = [0; BLOCK_BYTES];
        for at in (0..FILE_BYTES).step_by(BLOCK_BYTES) {
            match self.blocks.get(&at) {
                Some(block) => bytes.copy_from_slice(&block.bytes),
                None => read_exact_at(self.file, self.path, &mut bytes, at)?,
            }
            let beyond = |slot: &[u8]| BigEndian::read_i64(&slot[16..24]) >= end.max(1);
            if !bytes.chunks_exact(SLOT_BYTES).any(beyond) {
                continue;
            }
            let (block, _) = self.block_of(at)?;
            for slot in block.bytes.chunks_exact_mut(SLOT_BYTES).filter(|slot| beyond(slot)) {
                times.push(BigEndian::read_i64(&slot[0..8]));
                slot.fill(0);
            }
            block.changed = true;
        }
        Ok(times)
    }

    pub(super) fn put(&mut self, slot: &Slot) -> Result<(), StoreError> {
        let (block, within) = self.block_of(place(slot.time))?;
        let (place, slot) = (&mut block.bytes[within..within + SLOT_BYTES], slot.encode());
        if *place != slot {
            place.copy_from_slice(&slot);
            block.changed = true;
        }
        Ok(())
    }

    /// Returns the block of a place in the file, and where the place is in it.
    fn block_of(&mut self, place: u64) -> Result<(&mut Block, usize), StoreError> {
        let within = place % BLOCK_BYTES as u64;
        let block = match self.blocks.entry(place - within) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(vacant) => {
                let mut bytes = vec![0; BLOCK_BYTES].into_boxed_slice();
                read_exact_at(self.file, self.path, &mut bytes, *vacant.key())?;
                vacant.insert(Block { bytes, changed: false })
            }
        };
        Ok((block, within as usize))
    }
}

fn place(time: i64) -> u64 {
    time.rem_euclid(SLOTS).unsigned_abs() * SLOT_BYTES as u64
}

/// Where the block of a time is in the file, and where its slot is in the block.
fn block_place(time: i64) -> (u64, usize) {
    let within = place(time) % BLOCK_BYTES as u64;
    (place(time) - within, within as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_a_full_disk_does_not_take_are_in_memory_until_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timerwheel");
        let mut wheel = Wheel::open(&path).unwrap();
        // Reads as zeros, as a hole does, and takes nothing.
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let with_room = std::mem::replace(&mut wheel.file, full);
        let slot = |time, last| Slot { time, first: 52, last, count: 2 };
        wheel.rewrite(|slots| slots.put(&slot(7, 104))).unwrap();
        wheel.put(&slot(8, 156)).unwrap();
        assert_eq!((wheel.get(7).unwrap(), wheel.get(8).unwrap()), (slot(7, 104), slot(8, 156)));
        assert!(is_full(&wheel.put(&slot(7_000, 104)).unwrap_err()), "another block");
        assert!(is_full(&wheel.write().unwrap_err()));
        wheel.file = with_room;
        wheel.write().unwrap();
        let again = Wheel::open(&path).unwrap();
        assert_eq!((again.get(7).unwrap(), again.get(8).unwrap()), (slot(7, 104), slot(8, 156)));
    }
}
