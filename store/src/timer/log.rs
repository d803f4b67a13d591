//! The timer log: units in the order in which messages came, in files of one size.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder};
use tracing::warn;

use crate::error::{IoContext, StoreError};
use crate::fs::{clear, read_exact_at, read_piece};

use super::unit::{BLANK_BYTES, BLANK_MAGIC, TimerUnit, UNIT_BYTES};

/// Bytes read at a time, when units are looked through.
const BLOCK_BYTES: usize = 256 * 1024;
/// Digits of a file's name.
const NAME_DIGITS: usize = 20;

/// The files of the log.
#[derive(Debug)]
pub(super) struct TimerLog {
    dir: PathBuf,
    file_bytes: u64,
    /// Start and file, oldest first.
    files: Vec<(u64, File)>,
    /// Position of the next unit.
    end: u64,
    /// Position of the unit that came last.
    last: Option<u64>,
    unsynced: bool,
    block: Block,
}

/// The part of a file that was read last.
#[derive(Debug, Default)]
struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl TimerLog {
    pub(super) fn open(dir: &Path, file_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let start = name.to_str().filter(|name| name.len() == NAME_DIGITS);
            let Some(start) = start.and_then(|name| name.parse().ok()) else { continue };
            let file = OpenOptions::new().read(true).write(true).open(entry.path())?;
            let bytes = file.metadata()?.len();
            if bytes == 0 {
                // The end came between its creation and its first unit.
                file.set_len(file_bytes)?;
            } else if bytes != file_bytes {
                let path = entry.path();
                let message = format!(
                    "{} has another size than mappedFileSizeTimerLog={file_bytes}",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            files.push((start, file));
        }
        files.sort_by_key(|(start, _)| *start);
        let end = files.first().map_or(0, |(start, _)| *start);
        let block = Block::default();
        let (dir, last, unsynced) = (dir.to_owned(), None, false);
        Ok(Self { dir, file_bytes, files, end, last, unsynced, block })
    }

    /// Position of the first unit that is still there.
    pub(super) fn begin(&self) -> u64 {
        self.files.first().map_or(0, |(start, _)| *start)
    }

    /// Position of the unit that came last, if there is one.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Position behind the last unit.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Appends bytes of a unit and returns where they are.
    pub(super) fn append(&mut self, bytes: &[u8; UNIT_BYTES]) -> io::Result<u64> {
        let mut at = self.end;
        let left = self.file_bytes - at % self.file_bytes;
        if self.last_start().is_some_and(|start| at < start + self.file_bytes)
            && left < (UNIT_BYTES + BLANK_BYTES) as u64
        {
            let mut blank = [0; BLANK_BYTES];
            BigEndian::write_i32(&mut blank[0..4], left as i32);
            BigEndian::write_i32(&mut blank[12..16], BLANK_MAGIC);
            self.file_of(at)?.0.write_all_at(&blank, at % self.file_bytes)?;
            at += left;
        }
        if self.last_start().is_none_or(|start| at >= start + self.file_bytes) {
            self.add_file(at - at % self.file_bytes)?;
        }
        let (file, place) = self.file_of(at)?;
        file.write_all_at(bytes, place)?;
        self.end = at + UNIT_BYTES as u64;
        self.last = Some(at);
        self.unsynced = true;
        self.block.bytes.clear();
        Ok(at)
    }

    /// Reads the unit at a position; `None` when there is none.
    pub(super) fn read(&mut self, at: u64) -> io::Result<Option<(TimerUnit, i64)>> {
        let in_file = at % self.file_bytes;
        if at.saturating_add(UNIT_BYTES as u64) > self.end
            || in_file + UNIT_BYTES as u64 > self.file_bytes
        {
            return Ok(None);
        }
        let block_end = self.block.start + self.block.bytes.len() as u64;
        if at < self.block.start || at + UNIT_BYTES as u64 > block_end {
            // The unit before this one is asked for next, most of the time.
            let file_start = at - in_file;
            let end = at + UNIT_BYTES as u64;
            let start = end.saturating_sub(BLOCK_BYTES as u64).max(file_start);
            let mut bytes = std::mem::take(&mut self.block.bytes);
            bytes.resize((end - start) as usize, 0);
            let Ok((file, place)) = self.file_of(start) else { return Ok(None) };
            read_piece(file, &self.path(file_start), &mut bytes, place)?;
            self.block = Block { start, bytes };
        }
        let place = (at - self.block.start) as usize;
        Ok(TimerUnit::decode(&self.block.bytes[place..]))
    }

    /// The units that are `wanted`. What cannot be read or is damaged is passed by.
    pub(super) fn search(&self, wanted: impl Fn(&TimerUnit) -> bool) -> Vec<TimerUnit> {
        let mut found = Vec::new();
        let mut bytes = vec![0; BLOCK_BYTES / UNIT_BYTES * UNIT_BYTES];
        for (start, file) in &self.files {
            let end = self.end.saturating_sub(*start).min(self.file_bytes);
            let path = self.path(*start);
            for at in (0..end).step_by(bytes.len()) {
                let count = (end - at).min(bytes.len() as u64) as usize;
                let block = &mut bytes[..count];
                if let Err(error) = read_piece(file, &path, block, at) {
                    warn!(at = start + at, %error, "part of the timer log cannot be read");
                    for (unit, at) in block.chunks_mut(UNIT_BYTES).zip((at..).step_by(UNIT_BYTES)) {
                        if read_piece(file, &path, unit, at).is_err() {
                            unit.fill(0);
                        }
                    }
                }
                let units = block.chunks_exact(UNIT_BYTES).filter_map(TimerUnit::decode);
                found.extend(units.map(|(unit, _)| unit).filter(&wanted));
            }
        }
        found
    }

    /// Hands every sound unit from the file that holds `from`, or the last one before that, on to `each`, with
    /// its position, and cuts off what follows the last one.
    pub(super) fn recover(
        &mut self,
        from: u64,
        mut each: impl FnMut(TimerUnit, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some((first, _)) = self.files.first() else {
            self.end = 0;
            return Ok(());
        };
        // The last file where `from` is behind all of them: nothing that is there may be lost for that.
        let before = self.files.iter().rev().find(|(start, _)| *start <= from);
        let mut start = before.map_or(*first, |(start, _)| *start);
        let mut bytes = vec![0; BLOCK_BYTES];
        'files: while let Some(index) = self.files.iter().position(|(at, _)| *at == start) {
            let mut place = 0;
            loop {
                let left = (self.file_bytes - place).min(BLOCK_BYTES as u64) as usize;
                let file = &self.files[index].1;
                read_exact_at(file, &self.path(start), &mut bytes[..left], place)?;
                let mut at = 0;
                while at + UNIT_BYTES <= left {
                    let Some((unit, _)) = TimerUnit::decode(&bytes[at..left]) else {
                        let is_blank = BigEndian::read_i32(&bytes[at + 12..at + 16]) == BLANK_MAGIC;
                        self.end = start + place + at as u64;
                        if is_blank {
                            start += self.file_bytes;
                            continue 'files;
                        }
                        break 'files;
                    };
                    each(unit, start + place + at as u64)?;
                    self.last = Some(start + place + at as u64);
                    at += UNIT_BYTES;
                }
                place += at as u64;
                self.end = start + place;
                if self.file_bytes - place < (UNIT_BYTES + BLANK_BYTES) as u64 {
                    start += self.file_bytes;
                    continue 'files;
                }
            }
        }
        self.cut().doing("cut", &self.dir)
    }

    /// Removes the first files as long as `is_over` says so of the last unit of one.
    pub(super) fn remove_first(
        &mut self,
        mut is_over: impl FnMut(TimerUnit) -> bool,
    ) -> io::Result<()> {
        while self.files.len() > 1 {
            let (start, file) = &self.files[0];
            let units = (self.file_bytes as usize - BLANK_BYTES) / UNIT_BYTES;
            let mut bytes = [0; UNIT_BYTES];
            let last = ((units - 1) * UNIT_BYTES) as u64;
            read_piece(file, &self.path(*start), &mut bytes, last)?;
            if !TimerUnit::decode(&bytes).is_none_or(|(unit, _)| is_over(unit)) {
                break;
            }
            fs::remove_file(self.path(*start))?;
            self.files.remove(0);
        }
        Ok(())
    }

    /// Files that have to be made durable.
    pub(super) fn take_unsynced(&mut self) -> io::Result<Vec<File>> {
        let begin = self.files.len().saturating_sub(2);
        let unsynced = if self.unsynced { &self.files[begin..] } else { &[] };
        let files = unsynced.iter().map(|(_, file)| file.try_clone()).collect();
        self.unsynced = false;
        files
    }

    /// Notes that the files could not be made durable.
    pub(super) fn set_unsynced(&mut self) {
        self.unsynced = true;
    }

    fn cut(&mut self) -> io::Result<()> {
        let keep = self.files.partition_point(|(start, _)| *start <= self.end);
        for (start, _) in self.files.split_off(keep.max(1)) {
            fs::remove_file(self.path(start))?;
        }
        if let Some((start, file)) = self.files.last()
            && self.end < start + self.file_bytes
        {
            // Lest units of before are found behind those that are to come.
            clear(file, self.end.saturating_sub(*start), self.file_bytes)?;
        }
        Ok(())
    }

    fn last_start(&self) -> Option<u64> {
        self.files.last().map(|(start, _)| *start)
    }

    fn add_file(&mut self, start: u64) -> io::Result<()> {
        let path = self.path(start);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(self.file_bytes)?;
        self.files.push((start, file));
        Ok(())
    }

    fn file_of(&self, at: u64) -> io::Result<(&File, u64)> {
        let start = at - at % self.file_bytes;
        let found = self.files.binary_search_by_key(&start, |(start, _)| *start);
        match found {
            Ok(index) => Ok((&self.files[index].1, at - start)),
            Err(_) => Err(io::Error::new(io::ErrorKind::NotFound, "no such file of the timer log")),
        }
    }

    fn path(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{start:0NAME_DIGITS$}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten units and the blank end.
    const FILE_BYTES: u64 = 10 * UNIT_BYTES as u64 + BLANK_BYTES as u64;

    fn unit(number: i64) -> TimerUnit {
        TimerUnit {
            write_time_ms: 1_000,
            slot_time_ms: 2_000,
            phy_offset: number,
            record_bytes: 100,
            topic_hash: 0,
            rolls: false,
            deletes: false,
        }
    }

    fn recovered(log: &mut TimerLog, from: u64) -> Vec<i64> {
        let mut found = Vec::new();
        log.recover(from, |unit, _| {
            found.push(unit.phy_offset);
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn units_go_on_in_the_next_file_and_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        let places: Vec<u64> =
            (0..25).map(|number| log.append(&unit(number).encode(-1)).unwrap()).collect();
        assert_eq!((places[9], places[10], places[20]), (468, FILE_BYTES, 2 * FILE_BYTES));
        for (number, at) in places.iter().enumerate().rev() {
            assert_eq!(log.read(*at).unwrap().unwrap().0, unit(number as i64));
        }
        assert_eq!(log.take_unsynced().unwrap().len(), 2);
        let end = log.end();
        drop(log);

        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        assert_eq!(recovered(&mut log, 0), (0..25).collect::<Vec<_>>());
        assert_eq!(log.end(), end);
        assert_eq!(recovered(&mut log, FILE_BYTES + 60), (10..25).collect::<Vec<_>>());
        assert_eq!(log.append(&unit(25).encode(-1)).unwrap(), end);
    }

    #[test]
    fn log_is_cut_at_its_first_unsound_unit() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        for number in 0..25 {
            log.append(&unit(number).encode(-1)).unwrap();
        }
        let place = 13 - 10;
        log.files[1].1.write_all_at(&[1; 4], place * UNIT_BYTES as u64).unwrap();
        assert_eq!(recovered(&mut log, 0), (0..13).collect::<Vec<_>>());
        assert_eq!(log.append(&unit(90).encode(-1)).unwrap(), FILE_BYTES + 3 * 52);
        assert_eq!(recovered(&mut log, 0).len(), 14, "nothing of before comes back");
        assert_eq!(log.files.len(), 2);
    }

    #[test]
    fn first_files_go_when_their_messages_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        for number in 0..25 {
            log.append(&unit(number).encode(-1)).unwrap();
        }
        log.remove_first(|unit| unit.phy_offset < 19).unwrap();
        assert_eq!(log.files.len(), 2);
        assert!(log.read(0).unwrap().is_none());
        log.remove_first(|_| true).unwrap();
        assert_eq!(log.files.len(), 1, "the last one stays");
    }

    #[test]
    fn file_keeps_its_size_and_one_that_was_just_made_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        for number in 0..3 {
            log.append(&unit(number).encode(-1)).unwrap();
        }
        let path = log.path(0);
        let before = fs::read(&path).unwrap();
        // What an earlier run has left behind a unit that did not reach the disk.
        fs::write(&path, [&before[..52], &[0; 52], &before[104..]].concat()).unwrap();
        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        assert_eq!(recovered(&mut log, 0).len(), 1);
        let after = fs::read(&path).unwrap();
        assert_eq!((after.len(), &after[..52]), (before.len(), &before[..52]));
        assert!(after[52..].iter().all(|byte| *byte == 0));

        fs::write(&path, []).unwrap();
        let mut log = TimerLog::open(dir.path(), FILE_BYTES).unwrap();
        assert_eq!(recovered(&mut log, 0).len(), 0);
        log.append(&unit(7).encode(-1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), FILE_BYTES);
    }

    #[test]
    fn file_of_another_size_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(TimerLog::open(dir.path(), FILE_BYTES).unwrap().append(&unit(0).encode(-1)));
        assert!(TimerLog::open(dir.path(), FILE_BYTES * 2).is_err());
    }
}
