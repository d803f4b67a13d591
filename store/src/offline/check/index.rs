//! Index files against the log: each has its entries in the order of the log.

use std::fs::File;
use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder};
use oxmq_protocol::message::RecordView;

use super::super::StoreDir;
use super::super::report::{Kind, Report, Severity};
use super::{REPAIR, START, unless_unreadable};
use crate::error::{IoContext, StoreError};
use crate::fs::read_exact_at;
use crate::index::file::{
    BEGIN_PHY_AT, BEGIN_TIMESTAMP_AT, END_PHY_AT, END_TIMESTAMP_AT, ENTRY_BYTES, ENTRY_COUNT_AT,
    ENTRY_OLDER_AT, ENTRY_PHY_AT, ENTRY_SECONDS_AT, HEADER_BYTES, SLOT_BYTES, SLOT_COUNT_AT,
};
use crate::index::{IndexGeometry, for_each_key_hash, index_paths, tags_key_hash};

/// Bytes of slots or entries that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The index files of a store.
pub(super) struct Index {
    files: Vec<Cursor>,
    begin: i64,
    log_end: i64,
    hashes: Vec<i32>,
    missing: u64,
    first_missing: Option<i64>,
    /// The disk does not give back all of it, so that nobody knows what is missing.
    is_unreadable: bool,
}

/// One file, and the next of its entries.
struct Cursor {
    path: PathBuf,
    file: File,
    geometry: IndexGeometry,
    begin_ms: i64,
    end_ms: i64,
    /// Number behind the last entry.
    count: u32,
    number: u32,
    entry: Option<Entry>,
    last_phy: i64,
    chunk: Vec<u8>,
    chunk_first: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    number: u32,
    hash: i32,
    phy_offset: i64,
    seconds: i32,
    older: i32,
}

impl Index {
    pub(super) fn open(dir: &StoreDir, report: &mut Report) -> Result<Self, StoreError> {
        let (mut files, mut is_unreadable) = (Vec::new(), false);
        let paths = index_paths(&dir.index_dir())?;
        report.counts.index_files = paths.len() as u64;
        match dir.index_geometry() {
            Some(geometry) => {
                let last = paths.last().cloned();
                for path in paths {
                    if last.as_ref() == Some(&path) && is_empty(&path)? {
                        let place = (&*path, None);
                        report.add(Severity::Warning, Kind::FileLength, place, "is empty", START);
                    } else {
                        let opened = Cursor::open(path, geometry, report);
                        let opened = unless_unreadable(opened, report)?;
                        is_unreadable |= opened.is_none();
                        files.extend(opened.flatten());
                    }
                }
            }
            None => {
                let what = "the number of slots is not known";
                let advice = "give the broker's settings with -c";
                let place = (&*dir.index_dir(), None);
                report.add(Severity::Warning, Kind::IndexSkipped, place, what, advice);
            }
        }
        let (hashes, begin) = (Vec::new(), 0);
        let (missing, first_missing) = (0, None);
        Ok(Self { files, begin, log_end: 0, hashes, missing, first_missing, is_unreadable })
    }

    /// The log to come begins at `begin`, and its files end at `end`.
    pub(super) fn begin(
        &mut self,
        begin: i64,
        end: i64,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        (self.begin, self.log_end) = (begin, end);
        self.is_unreadable |= !each(&mut self.files, report, |file, report| {
            file.next(end, report)?;
            // Entries of records that are deleted.
            while file.entry.is_some_and(|entry| entry.phy_offset < begin) {
                file.next(end, report)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    pub(super) fn visit(
        &mut self,
        record: &RecordView<'_>,
        at: i64,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if self.files.is_empty() {
            return Ok(());
        }
        self.hashes.clear();
        for_each_key_hash(record, |hash| self.hashes.push(hash));
        let (mut seen, hashes, log_end) = (0, &self.hashes, self.log_end);
        self.is_unreadable |= !each(&mut self.files, report, |file, report| {
            while let Some(entry) = file.entry.filter(|entry| entry.phy_offset <= at) {
                if entry.phy_offset < at {
                    file.astray(entry, "no record begins there", report);
                } else if hashes.contains(&entry.hash) {
                    seen += 1;
                    report.counts.index_entries += 1;
                } else if tags_key_hash(record) == Some(entry.hash) {
                    report.counts.index_entries += 1;
                } else {
                    file.astray(entry, "that record does not have its key", report);
                }
                if entry.phy_offset == at {
                    file.check_times(entry, record.store_timestamp_ms(), report);
                }
                file.next(log_end, report)?;
            }
            Ok(())
        })?;
        if seen < self.hashes.len() && !self.is_unreadable {
            self.missing += 1;
            self.first_missing.get_or_insert(at);
        }
        Ok(())
    }

    pub(super) fn finish(mut self, log_end: i64, report: &mut Report) -> Result<(), StoreError> {
        let files_end = self.log_end;
        self.is_unreadable |= !each(&mut self.files, report, |file, report| {
            while let Some(entry) = file.entry {
                file.astray(entry, &format!("the log ends at {log_end}"), report);
                file.next(files_end, report)?;
            }
            Ok(())
        })?;
        if let (Some(first), Some(file)) = (self.first_missing, self.files.last()) {
            let what = format!(
                "{} records have keys that are not indexed, first at {first}",
                self.missing
            );
            let place = (&*file.path, None);
            report.add(Severity::Warning, Kind::IndexMissing, place, what, REPAIR);
        }
        Ok(())
    }
}

/// Looks at each file, and leaves out from then on what the disk does not give back: whether that is nothing.
fn each(
    files: &mut Vec<Cursor>,
    report: &mut Report,
    mut look: impl FnMut(&mut Cursor, &mut Report) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let (before, mut failure) = (files.len(), Ok(()));
    files.retain_mut(|file| {
        let looked = look(file, report);
        match unless_unreadable(looked, report) {
            Ok(looked) => looked.is_some(),
            Err(error) => {
                failure = Err(error);
                true
            }
        }
    });
    failure.map(|()| files.len() == before)
}

/// Whether a process was killed before the file at `path` got its length.
fn is_empty(path: &Path) -> Result<bool, StoreError> {
    Ok(path.metadata().doing("look at", path)?.len() == 0)
}

impl Cursor {
    /// Opens a file and checks its head, slots and links; nothing when it is of no use.
    fn open(
        path: PathBuf,
        geometry: IndexGeometry,
        report: &mut Report,
    ) -> Result<Option<Self>, StoreError> {
        let file = File::open(&path).doing("open", &path)?;
        let length = file.metadata().doing("look at", &path)?.len();
        if length != geometry.file_bytes() {
            let what = format!(
                "has {length} bytes instead of {} for {} slots and {} entries",
                geometry.file_bytes(),
                geometry.slots,
                geometry.entries
            );
            let place = (&*path, Some(length.min(geometry.file_bytes())));
            report.add(Severity::Error, Kind::FileLength, place, what, REPAIR);
            return Ok(None);
        }
        let mut head = [0; HEADER_BYTES];
        read_exact_at(&file, &path, &mut head, 0)?;
        let count = BigEndian::read_i32(&head[ENTRY_COUNT_AT..]);
        let Some(count) = u32::try_from(count).ok().filter(|count| *count <= geometry.entries)
        else {
            let what = format!("says that its next entry is {count} of {}", geometry.entries);
            let place = (&*path, Some(ENTRY_COUNT_AT as u64));
            report.add(Severity::Error, Kind::IndexBroken, place, what, REPAIR);
            return Ok(None);
        };
        let i64_at = |at: usize| BigEndian::read_i64(&head[at..]);
        let slots_in_use = BigEndian::read_i32(&head[SLOT_COUNT_AT..]);
        let mut cursor = Self {
            path,
            file,
            geometry,
            begin_ms: i64_at(BEGIN_TIMESTAMP_AT),
            end_ms: i64_at(END_TIMESTAMP_AT),
            count: count.max(1),
            number: 1,
            entry: None,
            last_phy: 0,
            chunk: Vec::new(),
            chunk_first: 0,
        };
        cursor.check_links(slots_in_use, report)?;
        cursor.check_position(BEGIN_PHY_AT, i64_at(BEGIN_PHY_AT), 1, report)?;
        cursor.check_position(END_PHY_AT, i64_at(END_PHY_AT), cursor.count - 1, report)?;
        Ok(Some(cursor))
    }

    /// Each entry has to lead to the one before it in its slot, and each slot to its newest one.
    fn check_links(&mut self, slots_in_use: i32, report: &mut Report) -> Result<(), StoreError> {
        let mut newest = vec![0_i32; self.geometry.slots as usize];
        for number in 1..self.count {
            let entry = self.read(number)?;
            let slot = &mut newest[(entry.hash.unsigned_abs() % self.geometry.slots) as usize];
            let before = std::mem::replace(slot, number as i32);
            if entry.older != before {
                let what =
                    format!("entry {number} leads to entry {}, not to {before}", entry.older);
                self.broken(self.place(number) + ENTRY_OLDER_AT as u64, what, report);
            }
        }
        let mut used = 0;
        let mut slot = 0;
        for newest in newest.chunks(CHUNK_BYTES / SLOT_BYTES) {
            let mut bytes = vec![0; newest.len() * SLOT_BYTES];
            let at = HEADER_BYTES as u64 + slot * SLOT_BYTES as u64;
            read_exact_at(&self.file, &self.path, &mut bytes, at)?;
            for (link, newest) in bytes.chunks_exact(SLOT_BYTES).zip(newest) {
                let mut link = BigEndian::read_i32(link);
                if link != *newest && self.is_uncounted(link, slot, *newest)? {
                    let what = format!("slot {slot} leads to entry {link}, which is not counted");
                    let place = (&*self.path, Some(HEADER_BYTES as u64 + slot * SLOT_BYTES as u64));
                    report.add(Severity::Warning, Kind::IndexBroken, place, what, START);
                    link = *newest;
                }
                used += i32::from(link != 0);
                if link != *newest {
                    let what = format!("slot {slot} leads to entry {link}, not to {newest}");
                    let at = HEADER_BYTES as u64 + slot * SLOT_BYTES as u64;
                    self.broken(at, what, report);
                }
                slot += 1;
            }
        }
        if used != slots_in_use {
            let what = format!("says that {slots_in_use} slots are in use, {used} are");
            let place = (&*self.path, Some(SLOT_COUNT_AT as u64));
            report.add(Severity::Warning, Kind::IndexBroken, place, what, REPAIR);
        }
        Ok(())
    }

    /// Whether entry `link` of `slot`, whose newest one is `newest`, is what a killed process leaves of an entry.
    fn is_uncounted(&mut self, link: i32, slot: u64, newest: i32) -> Result<bool, StoreError> {
        if self.count >= self.geometry.entries || u32::try_from(link) != Ok(self.count) {
            return Ok(false);
        }
        let entry = self.read(self.count)?;
        let own_slot = entry.hash.unsigned_abs() % self.geometry.slots;
        Ok(u64::from(own_slot) == slot && entry.older == newest)
    }

    /// The head `says` at byte `at` where the record of entry `number` is.
    fn check_position(
        &mut self,
        at: usize,
        says: i64,
        number: u32,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if self.count > 1 {
            let phy_offset = self.read(number)?.phy_offset;
            if says != phy_offset {
                let what = format!("says {says}, its entry {number} leads to {phy_offset}");
                self.broken(at as u64, what, report);
            }
        }
        Ok(())
    }

    /// Lookups go by the times of the head and of the entry, whose record was stored at `stored_ms`.
    fn check_times(&self, entry: Entry, stored_ms: i64, report: &mut Report) {
        for (number, at, says) in [
            (1, BEGIN_TIMESTAMP_AT, self.begin_ms),
            (self.count - 1, END_TIMESTAMP_AT, self.end_ms),
        ] {
            if entry.number == number && says != stored_ms {
                let what = format!("says {says}, the record of its entry {number} {stored_ms}");
                self.broken(at as u64, what, report);
            }
        }
        // The first one of a file has its seconds from the end of the file before.
        if entry.number == 1 {
            return;
        }
        let seconds = stored_ms.saturating_sub(self.begin_ms) / 1000;
        if i64::from(entry.seconds) != seconds.clamp(0, i64::from(i32::MAX)) {
            let what = format!("entry {} says {} s, not {seconds}", entry.number, entry.seconds);
            self.broken(self.place(entry.number) + ENTRY_SECONDS_AT as u64, what, report);
        }
    }

    /// Goes on to the next entry that is not behind the log's files.
    fn next(&mut self, files_end: i64, report: &mut Report) -> Result<(), StoreError> {
        self.entry = None;
        while self.number < self.count {
            let entry = self.read(self.number)?;
            self.number += 1;
            if entry.phy_offset < self.last_phy {
                self.astray(entry, "the entry before it leads behind that", report);
            } else if entry.phy_offset >= files_end {
                self.astray(entry, &format!("the log's files end at {files_end}"), report);
            } else {
                self.last_phy = entry.phy_offset;
                self.entry = Some(entry);
                return Ok(());
            }
        }
        Ok(())
    }

    fn read(&mut self, number: u32) -> Result<Entry, StoreError> {
        let in_chunk = (self.chunk.len() / ENTRY_BYTES) as u32;
        if number < self.chunk_first || number >= self.chunk_first + in_chunk {
            let count = (self.geometry.entries - number).min((CHUNK_BYTES / ENTRY_BYTES) as u32);
            self.chunk.resize(count as usize * ENTRY_BYTES, 0);
            self.chunk_first = number;
            let at = self.place(number);
            read_exact_at(&self.file, &self.path, &mut self.chunk, at)?;
        }
        let bytes = &self.chunk[(number - self.chunk_first) as usize * ENTRY_BYTES..];
        Ok(Entry {
            number,
            hash: BigEndian::read_i32(bytes),
            phy_offset: BigEndian::read_i64(&bytes[ENTRY_PHY_AT..]),
            seconds: BigEndian::read_i32(&bytes[ENTRY_SECONDS_AT..]),
            older: BigEndian::read_i32(&bytes[ENTRY_OLDER_AT..]),
        })
    }

    fn place(&self, number: u32) -> u64 {
        (self.geometry.entries_at() + number as usize * ENTRY_BYTES) as u64
    }

    fn astray(&self, entry: Entry, why: &str, report: &mut Report) {
        let what = format!("entry {} leads to {}: {why}", entry.number, entry.phy_offset);
        let place: (&Path, _) = (&self.path, Some(self.place(entry.number)));
        report.add(Severity::Error, Kind::IndexAstray, place, what, REPAIR);
    }

    fn broken(&self, position: u64, what: String, report: &mut Report) {
        let place = (&*self.path, Some(position));
        report.add(Severity::Error, Kind::IndexBroken, place, what, REPAIR);
    }
}
