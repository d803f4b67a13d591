//! One index file.
//!
//! ```text
//!  0 i64 begin timestamp   16 i64 begin physical offset   32 i32 slots in use
//!  8 i64 end timestamp     24 i64 end physical offset     36 i32 next entry number
//! 40 slots: i32 each, number of the newest entry of the slot
//! .. entries: i32 key hash | i64 physical offset | i32 seconds since begin | i32 older entry
//! ```
//!
//! Entry 0 is never used: as a link it means the end of a chain.
//!
//! Reference: `IndexFile`, `IndexHeader` (store), 5.5.0.

use std::path::Path;

use byteorder::{BigEndian, ByteOrder};

use super::feed::Entry;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::mapped_file::MappedTable;

pub(crate) const BEGIN_TIMESTAMP_AT: usize = 0;
pub(crate) const END_TIMESTAMP_AT: usize = 8;
pub(crate) const BEGIN_PHY_AT: usize = 16;
pub(crate) const END_PHY_AT: usize = 24;
pub(crate) const SLOT_COUNT_AT: usize = 32;
pub(crate) const ENTRY_COUNT_AT: usize = 36;
pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const SLOT_BYTES: usize = 4;
pub(crate) const ENTRY_BYTES: usize = 20;
pub(crate) const ENTRY_PHY_AT: usize = 4;
pub(crate) const ENTRY_SECONDS_AT: usize = 12;
pub(crate) const ENTRY_OLDER_AT: usize = 16;

/// Disk blocks of entries are reserved in steps of this size.
const ALLOCATE_STEP_BYTES: u64 = 4 << 20;

/// How many slots and entries an index file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexGeometry {
    /// `maxHashSlotNum`.
    pub(crate) slots: u32,
    /// `maxIndexNum`; one less can be used.
    pub(crate) entries: u32,
}

impl IndexGeometry {
    /// Where the first entry is, which is never used.
    pub(crate) fn entries_at(self) -> usize {
        HEADER_BYTES + self.slots as usize * SLOT_BYTES
    }

    pub(crate) fn file_bytes(self) -> u64 {
        (self.entries_at() + self.entries as usize * ENTRY_BYTES) as u64
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup {
    pub(crate) hash: i32,
    pub(crate) begin_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) at_most: usize,
}

/// One index file, mapped.
#[derive(Debug)]
pub(crate) struct IndexFile {
    table: MappedTable,
    geometry: IndexGeometry,
    allocated_to: u64,
}

impl IndexFile {
    pub(crate) fn open(fs: &Fs, path: &Path, geometry: IndexGeometry) -> Result<Self, StoreError> {
        let table = MappedTable::open(fs, path, geometry.file_bytes()).doing("map", path)?;
        Ok(Self { table, geometry, allocated_to: 0 })
    }

    /// Makes an empty file, with disk blocks for its slots.
    pub(crate) fn create(
        fs: &Fs,
        path: &Path,
        geometry: IndexGeometry,
    ) -> Result<Self, StoreError> {
        let mut file = Self::open(fs, path, geometry)?;
        file.allocate_slots(fs)?;
        Ok(file)
    }

    /// Sees to it that the head can be read, which may have been long ago.
    pub(crate) fn look_at_head(&self) -> Result<(), StoreError> {
        self.look_at(0, HEADER_BYTES)
    }

    /// The same of all that the next entry touches; those behind it are where nothing was written yet.
    pub(crate) fn look_at_end(&self) -> Result<(), StoreError> {
        if self.is_full() {
            return Ok(());
        }
        self.look_at(0, self.geometry.entries_at())?;
        self.look_at(self.entry_at(self.next_entry()), ENTRY_BYTES)
    }

    fn look_at(&self, at: usize, count: usize) -> Result<(), StoreError> {
        self.table.read_in(at, count).doing("read", self.path())
    }

    /// Begins where the full file before this one ended.
    pub(crate) fn follow(&mut self, end_timestamp_ms: i64, end_phy_offset: i64) {
        self.set_i64(BEGIN_TIMESTAMP_AT, end_timestamp_ms);
        self.set_i64(END_TIMESTAMP_AT, end_timestamp_ms);
        self.set_i64(BEGIN_PHY_AT, end_phy_offset);
        self.set_i64(END_PHY_AT, end_phy_offset);
    }

    pub(crate) fn path(&self) -> &Path {
        self.table.path()
    }

    pub(crate) fn begin_timestamp_ms(&self) -> i64 {
        self.i64_at(BEGIN_TIMESTAMP_AT)
    }

    pub(crate) fn end_timestamp_ms(&self) -> i64 {
        self.i64_at(END_TIMESTAMP_AT)
    }

    /// Where the newest record in this file begins.
    pub(crate) fn end_phy_offset(&self) -> i64 {
        self.i64_at(END_PHY_AT)
    }

    /// Whether the header can be that of an index of a log that ends at `log_end`.
    pub(crate) fn is_sound(&self, log_end: i64) -> bool {
        let is_position = |offset: i64| (0..=log_end).contains(&offset);
        is_position(self.i64_at(BEGIN_PHY_AT))
            && is_position(self.end_phy_offset())
            && self.begin_timestamp_ms() <= self.end_timestamp_ms()
            && self.i32_at(ENTRY_COUNT_AT) >= 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.next_entry() >= self.geometry.entries
    }

    pub(crate) fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        self.begin_timestamp_ms() <= end_ms && self.end_timestamp_ms() >= begin_ms
    }

    /// Adds `entries`, except those of records that are in the file; returns what did not fit.
    pub(crate) fn put_all<'e>(
        &mut self,
        fs: &Fs,
        entries: &'e [Entry],
    ) -> Result<&'e [Entry], StoreError> {
        self.touch_slots(entries);
        for (index, entry) in entries.iter().enumerate() {
            if entry.phy_offset >= self.end_phy_offset()
                && !self.put(fs, entry.hash, entry.phy_offset, entry.timestamp_ms)?
            {
                return Ok(&entries[index..]);
            }
        }
        Ok(&[])
    }

    /// Reads the slots of `entries`, so that the memory is waited for once and not for each.
    fn touch_slots(&self, entries: &[Entry]) {
        let sum =
            entries.iter().fold(0_i32, |sum, entry| sum ^ self.i32_at(self.slot_at(entry.hash)));
        std::hint::black_box(sum);
    }

    /// Adds an entry; false when the file is full.
    pub(crate) fn put(
        &mut self,
        fs: &Fs,
        hash: i32,
        phy_offset: i64,
        timestamp_ms: i64,
    ) -> Result<bool, StoreError> {
        let number = self.next_entry();
        if number >= self.geometry.entries {
            return Ok(false);
        }
        let entry_at = self.entry_at(number);
        self.allocate_for(fs, entry_at)?;
        let slot_at = self.slot_at(hash);
        let older = self.link(self.i32_at(slot_at), number);

        // From the header as it was before this entry: the first entry of a later file counts from
        // the end of the file before.
        let begin = self.begin_timestamp_ms();
        let seconds = if begin > 0 {
            ((timestamp_ms - begin) / 1000).clamp(0, i64::from(i32::MAX)) as i32
        } else {
            0
        };
        let entry = &mut self.table.bytes_mut()[entry_at..][..ENTRY_BYTES];
        BigEndian::write_i32(entry, hash);
        BigEndian::write_i64(&mut entry[ENTRY_PHY_AT..], phy_offset);
        BigEndian::write_i32(&mut entry[ENTRY_SECONDS_AT..], seconds);
        BigEndian::write_i32(&mut entry[ENTRY_OLDER_AT..], older as i32);
        self.set_i32(slot_at, number as i32);

        if number <= 1 {
            self.set_i64(BEGIN_TIMESTAMP_AT, timestamp_ms);
            self.set_i64(BEGIN_PHY_AT, phy_offset);
        }
        if older == 0 {
            self.set_i32(SLOT_COUNT_AT, self.i32_at(SLOT_COUNT_AT).wrapping_add(1));
        }
        self.set_i32(ENTRY_COUNT_AT, (number + 1) as i32);
        self.set_i64(END_TIMESTAMP_AT, timestamp_ms);
        self.set_i64(END_PHY_AT, phy_offset);
        Ok(true)
    }

    /// Takes back what a killed process has done of an entry: its slot leads to it, but it is not counted. The
    /// next entry takes its place, and may be of another slot.
    pub(crate) fn unlink_uncounted(&mut self) {
        let number = self.next_entry();
        if number >= self.geometry.entries {
            return;
        }
        let at = self.entry_at(number);
        let slot_at = self.slot_at(self.i32_at(at));
        if self.i32_at(slot_at) == number as i32 {
            let older = self.link(self.i32_at(at + ENTRY_OLDER_AT), number);
            self.set_i32(slot_at, older as i32);
        }
    }

    /// Adds the offsets of matching entries to `found`, newest first, up to the lookup's number.
    ///
    /// # Errors
    ///
    /// When older ones cannot be read.
    pub(crate) fn find(&self, lookup: &Lookup, found: &mut Vec<i64>) -> Result<(), StoreError> {
        self.look_at(self.slot_at(lookup.hash), SLOT_BYTES)?;
        let begin = self.begin_timestamp_ms();
        let next = self.next_entry();
        let mut number = self.link(self.i32_at(self.slot_at(lookup.hash)), next);
        // Links lead to older entries only, so that a damaged chain ends too.
        while number != 0 && found.len() < lookup.at_most {
            let at = self.entry_at(number);
            self.look_at(at, ENTRY_BYTES)?;
            let seconds = self.i32_at(at + ENTRY_SECONDS_AT);
            if seconds < 0 {
                break;
            }
            let stored_ms = begin.saturating_add(i64::from(seconds) * 1000);
            let in_time = stored_ms >= lookup.begin_ms && stored_ms <= lookup.end_ms;
            if in_time && self.i32_at(at) == lookup.hash {
                let phy_offset = self.i64_at(at + ENTRY_PHY_AT);
                // A record at the seam of two files may be in both.
                if !found.contains(&phy_offset) {
                    found.push(phy_offset);
                }
            }
            if stored_ms < lookup.begin_ms {
                break;
            }
            number = self.link(self.i32_at(at + ENTRY_OLDER_AT), number);
        }
        Ok(())
    }

    /// Makes the file durable.
    pub(crate) fn flush(&self, fs: &Fs) -> Result<(), StoreError> {
        self.table.flush(fs).doing("flush", self.path())
    }

    /// The number that the next entry gets: an empty file says zero and means one.
    fn next_entry(&self) -> u32 {
        u32::try_from(self.i32_at(ENTRY_COUNT_AT)).unwrap_or(0).max(1)
    }

    /// The entry that a stored link means, if it is one before `before`; else zero.
    fn link(&self, stored: i32, before: u32) -> u32 {
        match u32::try_from(stored) {
            Ok(number) if number < before && number < self.geometry.entries => number,
            _ => 0,
        }
    }

    fn slot_at(&self, hash: i32) -> usize {
        HEADER_BYTES + (hash.unsigned_abs() % self.geometry.slots) as usize * SLOT_BYTES
    }

    fn entry_at(&self, number: u32) -> usize {
        self.geometry.entries_at() + number as usize * ENTRY_BYTES
    }

    fn allocate_slots(&mut self, fs: &Fs) -> Result<(), StoreError> {
        let bytes = self.geometry.entries_at() as u64;
        self.table.allocate(fs, 0, bytes).doing("allocate", self.path())?;
        self.allocated_to = bytes;
        Ok(())
    }

    fn allocate_for(&mut self, fs: &Fs, entry_at: usize) -> Result<(), StoreError> {
        if self.allocated_to == 0 {
            // The reference leaves holes, and storing into one of a full disk would end the process.
            self.allocate_slots(fs)?;
        }
        let end = (entry_at + ENTRY_BYTES) as u64;
        if end > self.allocated_to {
            let count = ALLOCATE_STEP_BYTES.min(self.geometry.file_bytes() - entry_at as u64);
            self.table.allocate(fs, entry_at as u64, count).doing("allocate", self.path())?;
            self.allocated_to = entry_at as u64 + count;
        }
        Ok(())
    }

    fn i32_at(&self, at: usize) -> i32 {
        BigEndian::read_i32(&self.table.bytes()[at..])
    }

    fn i64_at(&self, at: usize) -> i64 {
        BigEndian::read_i64(&self.table.bytes()[at..])
    }

    fn set_i32(&mut self, at: usize, value: i32) {
        BigEndian::write_i32(&mut self.table.bytes_mut()[at..], value);
    }

    fn set_i64(&mut self, at: usize, value: i64) {
        BigEndian::write_i64(&mut self.table.bytes_mut()[at..], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FsOp;

    const GEOMETRY: IndexGeometry = IndexGeometry { slots: 10, entries: 20 };

    fn file() -> (tempfile::TempDir, IndexFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("20231114221320123");
        let file = IndexFile::create(&Fs::default(), &path, GEOMETRY).unwrap();
        (dir, file)
    }

    fn find(file: &IndexFile, hash: i32) -> Vec<i64> {
        let mut found = Vec::new();
        let lookup = Lookup { hash, begin_ms: 0, end_ms: i64::MAX, at_most: 64 };
        file.find(&lookup, &mut found).unwrap();
        found
    }

    #[test]
    fn entries_of_one_slot_come_back_newest_first() {
        let (_dir, mut file) = file();
        for (hash, phy) in [(3, 0), (13, 100), (3, 200), (4, 300)] {
            assert!(file.put(&Fs::default(), hash, phy, 1_000 + phy).unwrap());
        }
        assert_eq!(find(&file, 3), [200, 0]);
        assert_eq!(find(&file, 13), [100]);
        assert!(find(&file, 5).is_empty());
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len(), 40 + 10 * 4 + 20 * 20);
        assert_eq!(bytes[32..40], [0, 0, 0, 2, 0, 0, 0, 5]);
    }

    #[test]
    fn full_file_takes_one_entry_less_than_it_has() {
        let (_dir, mut file) = file();
        for number in 0..19 {
            assert!(file.put(&Fs::default(), 1, number, 1).unwrap());
        }
        assert!(file.is_full());
        assert!(!file.put(&Fs::default(), 1, 99, 1).unwrap());
    }

    #[test]
    fn first_entry_of_a_successor_counts_seconds_from_its_predecessor() {
        let (_dir, mut file) = file();
        file.follow(10_000, 500);
        assert!(file.put(&Fs::default(), 1, 600, 12_999).unwrap());
        let seconds_at = GEOMETRY.entries_at() + ENTRY_BYTES + ENTRY_SECONDS_AT;
        assert_eq!(file.i32_at(seconds_at), 2);
        assert_eq!(file.begin_timestamp_ms(), 12_999);
    }

    #[test]
    fn entry_of_which_only_the_count_is_missing_is_taken_back() {
        let (_dir, mut file) = file();
        for (hash, phy) in [(3, 0), (4, 100), (3, 200)] {
            assert!(file.put(&Fs::default(), hash, phy, 1_000).unwrap());
        }
        // As it is after a kill before the last one was counted.
        file.set_i32(ENTRY_COUNT_AT, 3);
        file.set_i64(END_PHY_AT, 100);
        file.unlink_uncounted();
        assert!(file.put(&Fs::default(), 4, 300, 1_000).unwrap());
        assert_eq!((find(&file, 3), find(&file, 4)), (vec![0], vec![300, 100]));
    }

    #[test]
    fn slots_of_a_file_with_holes_have_blocks_before_they_are_used() {
        use std::os::unix::fs::MetadataExt;

        let geometry = IndexGeometry { slots: 100_000, entries: 20 };
        let cannot_reserve = Fs::with_fault(|op, _| match op {
            FsOp::Allocate => Err(std::io::ErrorKind::Unsupported.into()),
            _ => Ok(()),
        });
        for fs in [Fs::default(), cannot_reserve] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("20231114221320123");
            // As the reference makes one.
            let sparse = std::fs::File::create(&path).unwrap();
            sparse.set_len(geometry.file_bytes()).unwrap();
            let mut file = IndexFile::open(&fs, &path, geometry).unwrap();
            assert!(file.put(&fs, 7, 100, 1_000).unwrap());
            let bytes = path.metadata().unwrap().blocks() * 512;
            assert!(bytes >= geometry.entries_at() as u64, "{fs:?} {bytes}");
            assert_eq!(find(&file, 7), [100]);
            // What is there stays.
            drop(file);
            let mut file = IndexFile::open(&fs, &path, geometry).unwrap();
            assert!(file.put(&fs, 7, 200, 1_000).unwrap());
            assert_eq!(find(&file, 7), [200, 100]);
        }
    }

    #[test]
    fn damaged_links_end_the_search() {
        let (_dir, mut file) = file();
        for number in 0..3 {
            file.put(&Fs::default(), 1, number, 1).unwrap();
        }
        let older_at = GEOMETRY.entries_at() + 2 * ENTRY_BYTES + ENTRY_OLDER_AT;
        for damage in [2, 3, -1, i32::MAX] {
            file.set_i32(older_at, damage);
            assert_eq!(find(&file, 1), [2, 1], "{damage}");
        }
    }
}
