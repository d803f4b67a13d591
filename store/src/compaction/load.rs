//! Finding the files of an earlier run and mending them.
//!
//! A queue file can be made from its log file. What the end of the log lacks is copied again from the commit
//! log, so everything from the first unsound record on is cut as long as the commit log has it.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use oxmq_protocol::message::RecordView;
use oxmq_protocol::message::record::{BLANK_HEAD_BYTES, is_blank, total_size};
use tracing::warn;

use super::appender::unit_of;
use super::place::{Place, Sizes};
use super::replace;
use super::segment::{Segment, UNIT_BYTES, end_unit, record_of, unit_at, unit_count};
use crate::consume_queue::{BatchUnit, list_files};
use crate::error::{IoContext, StoreError};
use crate::fs::{Fs, read_exact_at};
use crate::mapped_file::{MappedFile, Way};

/// Files from the end whose every record is looked at after a crash.
///
/// Reference: `SparseConsumeQueue.recover` (store), 5.5.0.
const CHECKED_FILES: usize = 3;

/// A log file and its queue file, before others see them.
struct Pair {
    log: MappedFile,
    queue: MappedFile,
}

/// Opens the files of a queue, of whose offsets the commit log has those from `min` on and before `max`;
/// none if both are zero.
///
/// # Errors
///
/// When a file operation fails, or all files have another length than configured.
pub(super) fn load(
    fs: &Fs,
    place: &Place,
    sizes: Sizes,
    (min, max): (i64, i64),
    crashed: bool,
) -> Result<Vec<Segment>, StoreError> {
    replace::complete(fs, place, sizes)?;
    let (mut pairs, lost) = open_pairs(fs, place, sizes)?;
    if let Some(start) = lost {
        copy_again(fs, &mut pairs, start, min)?;
    }
    drop_superseded(fs, &mut pairs)?;
    if crashed {
        let checked = pairs.len().saturating_sub(CHECKED_FILES);
        let mut newest = pairs.iter().enumerate().skip(checked);
        let unsound = newest.find_map(|(index, pair)| Some((index, pair.unsound()?)));
        cut_doubtful(fs, &mut pairs, unsound, min..max)?;
    }
    if max > 0
        && let Some((index, unit)) = pairs.iter().enumerate().find_map(|(index, pair)| {
            (0..unit_count(&pair.queue))
                .rev()
                .take_while(|unit| pair.offset(*unit).is_some_and(|offset| offset >= max))
                .last()
                .map(|unit| (index, unit))
        })
    {
        warn!(path = %pairs[index].log.path().display(), max, "compacted log is ahead of the commit log: cut");
        cut(fs, &mut pairs, index, unit)?;
    }
    if let Some(last) = pairs.last_mut() {
        last.open_end(fs)?;
    }
    Ok(pairs.into_iter().map(|pair| Segment::new(pair.log, pair.queue)).collect())
}

/// Cuts from the record before the first unsound one on: the end of a record, where its properties are, has no
/// checksum. With none, the last file is cut: it may not be on disk, even if it is in memory still. What cannot
/// be copied again stays, and those who read pass by what is not sound.
fn cut_doubtful(
    fs: &Fs,
    pairs: &mut Vec<Pair>,
    unsound: Option<(usize, usize)>,
    in_commit_log: Range<i64>,
) -> Result<(), StoreError> {
    let is_there =
        |pair: &Pair, unit| pair.offset(unit).is_some_and(|offset| in_commit_log.contains(&offset));
    let before = unsound.map(|(index, unit)| (index, unit.saturating_sub(1)));
    if let Some((index, unit)) = before.filter(|(index, unit)| is_there(&pairs[*index], *unit)) {
        warn!(path = %pairs[index].log.path().display(), queue_offset = pairs[index].offset(unit), "compacted log is damaged and is cut");
        return cut(fs, pairs, index, unit);
    }
    let Some(last) = pairs.last_mut() else {
        return Ok(());
    };
    match (0..unit_count(&last.queue)).find(|unit| is_there(last, *unit)) {
        Some(unit) => last.cut(fs, unit),
        None => Ok(()),
    }
}

/// Has what follows the log file that began at `start` and is gone be copied again with it, if the commit log has all
/// of that.
fn copy_again(fs: &Fs, pairs: &mut Vec<Pair>, start: u64, min: i64) -> Result<(), StoreError> {
    let behind = pairs.iter().position(|pair| pair.log.start().unsigned_abs() > start);
    match behind {
        Some(index) if pairs[index].offset(0).is_none_or(|offset| offset >= min) => {
            cut(fs, pairs, index, 0)
        }
        _ => Ok(()),
    }
}

/// The files, and where the first log file began that is of no use.
fn open_pairs(
    fs: &Fs,
    place: &Place,
    sizes: Sizes,
) -> Result<(Vec<Pair>, Option<u64>), StoreError> {
    let (logs, lost) = files(fs, place, &place.log, sizes.log)?;
    let (mut queues, _) = files(fs, place, &place.queue, sizes.queue)?;
    for start in queues.clone() {
        let path = &place.paths(start)[1];
        if let Some(why) = unreadable(path, sizes.queue)? {
            place.set_aside(fs, path, &why)?;
            queues.retain(|queue| *queue != start);
        }
    }
    let mut pairs = Vec::new();
    for start in &queues {
        if !logs.contains(start) {
            let [_, path] = place.paths(*start);
            warn!(path = %path.display(), "queue of a compacted log that is gone is removed");
            fs.remove_file(&path).doing("remove", &path)?;
        }
    }
    for start in logs {
        let [log_path, queue_path] = place.paths(start);
        let Ok(begin) = i64::try_from(start) else { continue };
        let log = MappedFile::open(fs, &log_path, begin, sizes.log).doing("map", &log_path)?;
        let is_new = !queues.contains(&start);
        if is_new {
            fs.create_dir_all(&place.queue).doing("create", &place.queue)?;
        }
        let queue =
            MappedFile::open(fs, &queue_path, begin, sizes.queue).doing("map", &queue_path)?;
        let mut pair = Pair { log, queue };
        if is_new || !pair.agree() {
            warn!(path = %queue_path.display(), "queue of a compacted log is made anew");
            pair = pair.with_new_queue(fs)?;
        }
        pairs.push(pair);
    }
    Ok((pairs, lost))
}

/// What of the queue file at `path` the disk does not give back, if that is anything. Units are read where they are.
fn unreadable(path: &Path, bytes: u64) -> Result<Option<String>, StoreError> {
    let file = File::open(path).doing("open", path)?;
    let mut bytes = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    match read_exact_at(&file, path, &mut bytes, 0) {
        Err(error) if error.is_unreadable() => Ok(Some(error.to_string())),
        read => read.map(|()| None),
    }
}

/// Where the files in `dir` begin, and the first one that is of no use. An empty one is removed, as a crash may leave
/// it; one that has lost or got bytes is set aside.
fn files(
    fs: &Fs,
    place: &Place,
    dir: &Path,
    bytes: u64,
) -> Result<(Vec<u64>, Option<u64>), StoreError> {
    let (mut starts, mut wrong) = (Vec::new(), Vec::new());
    for start in list_files(dir)? {
        let path = dir.join(crate::consume_queue::file_name(start));
        match path.metadata().doing("look at", &path)?.len() {
            0 => fs.remove_file(&path).doing("remove", &path)?,
            length if length != bytes => wrong.push((start, path, length)),
            _ => starts.push(start),
        }
    }
    let mut of_settings = wrong.iter().map(|(_, _, length)| *length);
    let first = of_settings.next().filter(|first| first.is_multiple_of(UNIT_BYTES as u64));
    if starts.is_empty()
        && let Some(first) = first
        && of_settings.all(|length| length == first)
    {
        let what = format!("has {first} bytes instead of {bytes} as configured");
        return Err(StoreError::BadFile { path: wrong.swap_remove(0).1, what });
    }
    for (_, path, length) in &wrong {
        place.set_aside(fs, path, &format!("has {length} bytes instead of {bytes}"))?;
    }
    Ok((starts, wrong.first().map(|(start, _, _)| *start)))
}

/// Removes files whose records others before them have, and those without records that are not the last,
/// as a crash of the reference may leave them.
fn drop_superseded(fs: &Fs, pairs: &mut Vec<Pair>) -> Result<(), StoreError> {
    let mut end = -1;
    let mut superseded = Vec::new();
    let mut behind = pairs.len();
    pairs.retain(|pair| {
        behind -= 1;
        let last = pair.last_offset();
        let keeps = last.map_or(behind == 0, |last| last > end);
        if !keeps {
            superseded.push([pair.log.path().to_owned(), pair.queue.path().to_owned()]);
        }
        end = end.max(last.unwrap_or(end));
        keeps
    });
    for path in superseded.iter().flatten() {
        warn!(path = %path.display(), "compacted log is superseded and is removed");
        fs.remove_file(path).doing("remove", path)?;
    }
    Ok(())
}

/// Forgets everything from unit `unit` of pair `index` on.
fn cut(fs: &Fs, pairs: &mut Vec<Pair>, index: usize, unit: usize) -> Result<(), StoreError> {
    for pair in pairs.drain(index + 1..).rev() {
        for path in [pair.queue.path(), pair.log.path()] {
            fs.remove_file(path).doing("remove", path)?;
        }
    }
    match pairs.last_mut() {
        Some(pair) => pair.cut(fs, unit),
        None => Ok(()),
    }
}

impl Pair {
    fn offset(&self, unit: usize) -> Option<i64> {
        unit_at(&self.queue, unit).map(|unit| unit.base_offset)
    }

    fn last_offset(&self) -> Option<i64> {
        self.offset(unit_count(&self.queue).checked_sub(1)?)
    }

    fn is_sound(&self, unit: usize) -> bool {
        let record = unit_at(&self.queue, unit).and_then(|unit| record_of(&self.log, &unit));
        record.is_some_and(|record| record.verify_body_crc().is_ok())
    }

    /// The first unit whose record is not sound.
    fn unsound(&self) -> Option<usize> {
        (0..unit_count(&self.queue)).find(|unit| !self.is_sound(*unit))
    }

    /// Whether the queue can be that of the log: it leads to the log's first record.
    fn agree(&self) -> bool {
        let first = record_bytes(&self.log, 0).and_then(|bytes| RecordView::parse(bytes).ok());
        match (first, unit_at(&self.queue, 0)) {
            (Some(record), Some(unit)) => {
                unit.unit.phy_offset == self.log.start()
                    && unit.base_offset == record.queue_offset()
            }
            // What a crash leaves between the two.
            (Some(record), None) => record.phy_offset() != self.log.start(),
            (None, _) => true,
        }
    }

    fn with_new_queue(self, fs: &Fs) -> Result<Self, StoreError> {
        let Self { log, mut queue } = self;
        let path = queue.path().to_owned();
        queue.truncate(0);
        queue.clear_rest(fs).doing("clear", &path)?;
        queue.allocate(fs, 0, queue.len() as u64).doing("allocate", &path)?;
        let queue = std::sync::Arc::new(queue);
        if let Some(mut writer) = queue.writer(Way::Mapping) {
            for unit in units_of(&log) {
                if writer.remaining() < 2 * UNIT_BYTES {
                    break;
                }
                writer.append(&unit.encode()).doing("write", &path)?;
            }
            writer.append(&end_unit()).doing("write", &path)?;
        }
        queue.flush(fs, 0, queue.wrote_position()).doing("flush", &path)?;
        drop(queue);
        let queue =
            MappedFile::open(fs, &path, log.start(), file_bytes(&path)?).doing("map", &path)?;
        Ok(Self { log, queue })
    }

    /// Forgets the units from `unit` on and what they lead to.
    fn cut(&mut self, fs: &Fs, unit: usize) -> Result<(), StoreError> {
        let log_end = match unit.checked_sub(1).and_then(|last| unit_at(&self.queue, last)) {
            Some(last) => last.unit.end() - self.log.start(),
            None => 0,
        };
        self.queue.truncate(unit * UNIT_BYTES);
        self.queue.clear_rest(fs).doing("clear", self.queue.path())?;
        self.log.truncate(usize::try_from(log_end).unwrap_or(0));
        self.log.clear_rest(fs).doing("clear", self.log.path())
    }

    /// Lets the last files be appended to, behind their last sound record.
    fn open_end(&mut self, fs: &Fs) -> Result<(), StoreError> {
        let sound = (0..unit_count(&self.queue)).rev().find(|unit| self.is_sound(*unit));
        self.cut(fs, sound.map_or(0, |last| last + 1))
    }
}

/// The units of the records of a log file, up to where one cannot be read.
pub(super) fn units_of(log: &MappedFile) -> impl Iterator<Item = BatchUnit> {
    let (mut at, mut next) = (0, 0);
    std::iter::from_fn(move || {
        loop {
            let bytes = record_bytes(log, at).filter(|bytes| !is_blank(bytes))?;
            let record = RecordView::parse(bytes).ok()?;
            if record.phy_offset() != log.start() + at as i64 {
                return None;
            }
            at += record.total_bytes();
            // An append that failed half way was repeated.
            if record.queue_offset() >= next {
                let unit = unit_of(&record, record.phy_offset());
                next = unit.end_offset();
                return Some(unit);
            }
        }
    })
}

/// The bytes from `at` on, if the disk gives back the record there.
fn record_bytes(log: &MappedFile, at: usize) -> Option<&[u8]> {
    log.read_in(at, BLANK_HEAD_BYTES).ok()?;
    let bytes = log.written_from(at)?;
    let total = total_size(bytes).and_then(|total| usize::try_from(total).ok());
    log.read_in(at, total.unwrap_or(0)).ok()?;
    Some(bytes)
}

fn file_bytes(path: &Path) -> Result<u64, StoreError> {
    Ok(path.metadata().doing("look at", path)?.len())
}
