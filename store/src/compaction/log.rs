//! What is kept of one queue.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use tracing::warn;

use super::appender::{Appender, unit_of};
use super::load;
pub(crate) use super::pass::has_key;
use super::pass::{Latest, Outcome};
use super::place::{Place, Sizes};
use super::replace::{self, Replacement};
use super::segment::Segment;
use crate::commit_log::{CommitLog, LogFiles, record_at};
use crate::consume_queue::{BatchUnit, ConsumeQueue, QueueFiles, QueueKind, Unit};
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::limits::COPY_UNITS_AT_ONCE;
use crate::mapped_file::MappedFile;
use crate::sync::{lock, read, write};

/// The compacted log of a queue.
#[derive(Debug)]
pub(crate) struct CompactionLog {
    fs: Fs,
    place: Place,
    sizes: Sizes,
    segments: RwLock<Arc<Vec<Segment>>>,
    /// Offset of the first message that has not been copied, or that the file has which could not be flushed.
    /// Stored after it has been.
    next: AtomicI64,
    /// Held by who changes files that others may change.
    appender: Mutex<Appender>,
    /// Held while closed files are compacted.
    compacting: Mutex<()>,
    deleted: AtomicBool,
}

/// What there was of a queue at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    segments: Arc<Vec<Segment>>,
    next: i64,
}

impl View {
    /// Offset of the first message that has not been copied.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// The first offset that is left.
    pub(crate) fn first_offset(&self) -> Option<i64> {
        self.segments.iter().find_map(Segment::first_offset)
    }

    pub(super) fn last_unit(&self) -> Option<BatchUnit> {
        self.segments.iter().rev().find_map(Segment::last_unit)
    }

    /// The log files.
    pub(crate) fn logs(&self) -> LogFiles {
        Arc::new(self.segments.iter().map(|segment| Arc::clone(&segment.log)).collect())
    }

    /// The units from `offset` on, of messages before `end`.
    pub(crate) fn units_between(&self, offset: i64, end: i64) -> impl Iterator<Item = BatchUnit> {
        let behind = self.segments.partition_point(|segment| {
            // One without records is the last.
            segment.end_offset().is_some_and(|end| end <= offset)
        });
        let units =
            self.segments[behind..].iter().enumerate().flat_map(move |(number, segment)| {
                let first = if number == 0 { segment.index_of(offset) } else { 0 };
                (first..segment.count()).map_while(|index| segment.unit(index))
            });
        units.take_while(move |unit| unit.base_offset < end)
    }
}

impl CompactionLog {
    /// Opens what there is of a queue whose own bounds are `bounds`.
    ///
    /// # Errors
    ///
    /// When a file operation fails, or a file has another length than configured.
    pub(super) fn open(
        fs: &Fs,
        place: Place,
        sizes: Sizes,
        bounds: (i64, i64),
        crashed: bool,
    ) -> Result<Self, StoreError> {
        let segments = load::load(fs, &place, sizes, bounds, crashed)?;
        let next = segments.iter().rev().find_map(end_of_last_record).unwrap_or(0);
        let appender = Appender::new(fs, place.clone(), sizes, segments.last());
        Ok(Self {
            fs: fs.clone(),
            place,
            sizes,
            segments: RwLock::new(Arc::new(segments)),
            next: AtomicI64::new(next),
            appender: Mutex::new(appender),
            compacting: Mutex::new(()),
            deleted: AtomicBool::new(false),
        })
    }

    pub(crate) fn view(&self) -> View {
        // In this order: what is before `next` is in the files then.
        let next = self.next.load(Ordering::Acquire);
        View { segments: self.segments(), next }
    }

    fn segments(&self) -> Arc<Vec<Segment>> {
        Arc::clone(&read(&self.segments))
    }

    fn set_segments(&self, segments: Vec<Segment>) {
        *write(&self.segments) = Arc::new(segments);
    }

    fn lock_appender(&self) -> MutexGuard<'_, Appender> {
        lock(&self.appender)
    }

    /// Copies the messages of `queue` in `bounds` that have not been copied.
    pub(super) fn feed(
        &self,
        (min, max): (i64, i64),
        queue: &ConsumeQueue,
        queue_files: &QueueFiles,
        commit_log: &CommitLog,
    ) -> Result<(), StoreError> {
        let mut next = self.next.load(Ordering::Relaxed);
        if max == next || max == 0 {
            return Ok(());
        }
        let mut appender = self.lock_appender();
        if self.deleted.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Whoever asked for less than somebody before him sees an earlier end of the same queue.
        let (_, end) = queue.lock().visible_offsets(i64::MAX);
        if end < next {
            warn!(topic = %queue.topic(), queue_id = queue.queue_id(), next, max = end, "compacted log is that of an older topic and is removed");
            next = 0;
            self.clear(&mut appender)?;
        }
        appender.check()?;
        next = next.max(min);
        // After the bounds, so that it has what they promise.
        let files = commit_log.files();
        let kind = queue.kind();
        let mut index = match kind {
            QueueKind::Simple => next,
            QueueKind::Batch => queue.index_of(queue_files, next)?,
        };
        let mut units = Vec::new();
        while next < max {
            units.clear();
            let count = COPY_UNITS_AT_ONCE.min((max - next) as usize);
            queue.read_units(queue_files, index, count, true, &mut units)?;
            if units.is_empty() {
                let what = format!("no unit of message {next} to copy");
                return Err(StoreError::BadFile { path: self.place.log.clone(), what });
            }
            for bytes in units.chunks_exact(kind.unit_bytes()) {
                let read = read_unit(kind, index, bytes);
                index += 1;
                let Some((unit, first, end)) = read else {
                    warn!(topic = %queue.topic(), queue_id = queue.queue_id(), index = index - 1, "damaged unit is not copied");
                    continue;
                };
                if first >= max {
                    // Its record is not visible yet.
                    return Ok(());
                }
                if first >= next && !self.copy(&mut appender, &files, unit, first)? {
                    warn!(topic = %queue.topic(), queue_id = queue.queue_id(), queue_offset = first, "message is gone before it was copied");
                }
                next = next.max(end);
                self.next.store(next, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Copies the record of `unit` if it has a key. Returns whether it is there, beginning with message `first`.
    fn copy(
        &self,
        appender: &mut Appender,
        files: &LogFiles,
        unit: Unit,
        first: i64,
    ) -> Result<bool, StoreError> {
        let record = record_at(files, unit.phy_offset);
        let Some(record) = record.filter(|record| record.queue_offset() == first) else {
            return Ok(false);
        };
        if has_key(record.properties()) {
            let appended = appender.append(&record);
            if let Some(begun) = appender.take_begun() {
                let mut segments = self.segments().to_vec();
                segments.push(begun);
                self.set_segments(segments);
            }
            appended.inspect_err(|_| self.doubt(appender))?;
        }
        Ok(true)
    }

    /// Has what the last file has read from the commit log again, as far as that has it, if it may not be on
    /// disk. The next start copies it again, and until then nothing follows that file.
    fn doubt(&self, appender: &Appender) {
        if appender.check().is_err()
            && let Some(first) = self.segments().last().and_then(Segment::first_offset)
        {
            self.next.store(first, Ordering::Release);
        }
    }

    /// Forgets everything.
    fn clear(&self, appender: &mut Appender) -> Result<(), StoreError> {
        self.next.store(0, Ordering::Release);
        self.set_segments(Vec::new());
        *appender = Appender::new(&self.fs, self.place.clone(), self.sizes, None);
        self.place.remove(&self.fs)
    }

    /// Makes durable what has been copied.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let mut appender = self.lock_appender();
        if self.deleted.load(Ordering::Relaxed) {
            return Ok(());
        }
        appender.flush().inspect_err(|_| self.doubt(&appender))
    }

    /// Compacts the closed files, of whose messages those up to offset `after` have been before. Keys take
    /// `room` bytes. Nothing is returned when there was nothing to do, or no time to do it.
    pub(super) fn compact(
        &self,
        after: i64,
        room: u64,
        is_stopped: impl Fn() -> bool,
    ) -> Result<Option<Outcome>, StoreError> {
        let _compacting = lock(&self.compacting);
        let is_stopped = || is_stopped() || self.deleted.load(Ordering::Relaxed);
        let segments = self.segments();
        let Some((open, closed)) = segments.split_last() else {
            return Ok(None);
        };
        // A unit that cannot be read any more would be taken for the end.
        for Segment { queue, .. } in closed {
            queue.read_in(0, queue.len()).doing("read", queue.path())?;
        }
        let latest = Latest::find(closed, after, room, &is_stopped);
        if latest.until <= after || is_stopped() {
            return Ok(None);
        }
        // A replacement that could not be ended is ended now: what it left is in memory still.
        replace::complete(&self.fs, &self.place, self.sizes)?;
        let compacting = self.place.compacting();
        let mut output = Appender::new(&self.fs, compacting.clone(), self.sizes, None);
        let (mut files, mut before, mut left) = (0, 0, 0);
        for segment in closed {
            for unit in segment.units() {
                if is_stopped() {
                    return compacting.remove(&self.fs).map(|()| None);
                }
                before += 1;
                // What cannot be read any more is no message.
                // What cannot be read now may be some time: the files stay as they are.
                segment.look_at(&unit).doing("read", segment.log.path())?;
                let Some(record) = segment.record(&unit) else { continue };
                if latest.keeps(&record) {
                    output.append(&record)?;
                    files += u64::from(output.take_begun().is_some());
                    left += 1;
                }
            }
        }
        output.finish()?;
        if files * self.sizes.log > open.start() as u64 {
            let what = format!("{left} of {before} messages take more room than all did");
            return Err(StoreError::BadFile { path: compacting.log, what });
        }
        self.replace(&Replacement { files, keep_from: open.start() as u64 })?;
        Ok(Some(Outcome { until: latest.until, before, left }))
    }

    /// Puts the new files in the place of the old ones.
    fn replace(&self, replacement: &Replacement) -> Result<(), StoreError> {
        // Nobody begins a file meanwhile.
        let _appender = self.lock_appender();
        if self.deleted.load(Ordering::Relaxed) {
            return Ok(());
        }
        replace::begin(&self.fs, &self.place, replacement)?;
        replace::carry_out(&self.fs, &self.place, self.sizes, replacement)?;
        let mut segments = Vec::new();
        for start in (0..replacement.files).map(|number| number * self.sizes.log) {
            let [log, queue] = self.place.paths(start);
            let open = |path: &std::path::Path, bytes| {
                MappedFile::open(&self.fs, path, start as i64, bytes).doing("map", path)
            };
            segments
                .push(Segment::new(open(&log, self.sizes.log)?, open(&queue, self.sizes.queue)?));
        }
        let keep_from = replacement.keep_from as i64;
        let kept = self.segments();
        segments.extend(kept.iter().filter(|segment| segment.start() >= keep_from).cloned());
        self.set_segments(segments);
        Ok(())
    }

    /// Removes all files. Who reads them goes on.
    pub(super) fn delete(&self) -> Result<(), StoreError> {
        self.deleted.store(true, Ordering::Relaxed);
        let _compacting = lock(&self.compacting);
        let _appender = self.lock_appender();
        self.place.remove(&self.fs)
    }
}

/// The unit at `index` of a queue of `kind`, the offset of its first message, and that behind its last one.
fn read_unit(kind: QueueKind, index: i64, bytes: &[u8]) -> Option<(Unit, i64, i64)> {
    match kind {
        QueueKind::Simple => Some((Unit::decode(bytes.first_chunk()?), index, index + 1)),
        QueueKind::Batch => {
            let unit = BatchUnit::decode(bytes)?;
            Some((unit.unit, unit.base_offset, unit.end_offset()))
        }
    }
}

/// Offset behind the last record of a file. In files of the reference, units say of every record that it
/// has one message.
fn end_of_last_record(segment: &Segment) -> Option<i64> {
    let last = segment.last_unit()?;
    let record = segment.record(&last);
    let unit = record.map_or(last, |record| unit_of(&record, record.phy_offset()));
    Some(unit.end_offset())
}
