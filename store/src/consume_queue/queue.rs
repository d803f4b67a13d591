//! One queue: its bounds and its newest units.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::extended::{Extender, position_of};
use super::files::QueueFiles;
use super::unit::{BatchUnit, QueueKind, Unit};
use crate::error::StoreError;
use crate::limits::{HOT_UNITS, WAKE_WRITER_AT_UNITS, WRITE_UNITS_AT_ONCE};

/// One consume queue.
#[derive(Debug)]
pub(crate) struct ConsumeQueue {
    topic: Arc<str>,
    queue_id: i32,
    /// Tells apart the files of a deleted queue and of its successor.
    uid: u64,
    kind: QueueKind,
    tail: Mutex<QueueTail>,
    /// Held while files of the queue are written or deleted: where its extended units end, once
    /// that is known.
    io: Mutex<Option<u64>>,
}

/// What is known of a queue in memory. Units are counted by their index, which in a simple queue is
/// the offset of their message.
#[derive(Debug, Default)]
pub(crate) struct QueueTail {
    kind: QueueKind,
    /// First index whose record is still in the log.
    min: i64,
    /// Index that the next unit gets.
    max: i64,
    /// Offset of the first message, and that of the next one, of a batch queue.
    batch_offsets: (i64, i64),
    /// Log position behind the newest record of the queue.
    max_phy: i64,
    /// Index of the first unit in `window`, never more than `written`.
    window_start: i64,
    /// Units from `window_start` to `max`, encoded.
    window: Vec<u8>,
    /// Units before this index are in the files.
    written: i64,
    /// Whether the writer knows that there is something to write.
    queued: bool,
    /// Whether the first file has to be filled with pre-blank units up to the first message.
    begins_late: bool,
    /// Whether the queue has been deleted: a message has to look for its successor.
    deleted: bool,
}

/// What the caller has to do after a push, once it holds no lock; more urgent ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PushOutcome {
    /// Nothing.
    Done,
    /// Wake the writer: much is unwritten.
    Wake,
    /// Tell the writer about the queue.
    Enqueue,
}

impl ConsumeQueue {
    pub(crate) fn new(topic: Arc<str>, queue_id: i32, uid: u64, tail: QueueTail) -> Self {
        let kind = tail.kind;
        Self { topic, queue_id, uid, kind, tail: Mutex::new(tail), io: Mutex::new(None) }
    }

    pub(crate) fn kind(&self) -> QueueKind {
        self.kind
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn queue_id(&self) -> i32 {
        self.queue_id
    }

    pub(crate) fn uid(&self) -> u64 {
        self.uid
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, QueueTail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First and next index.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let tail = self.lock();
        (tail.min, tail.max)
    }

    /// Appends up to `count` encoded units from `offset` on to `out`; fewer at the end of the queue.
    ///
    /// Appends nothing when the unit at `offset` does not exist or its file is damaged.
    pub(crate) fn read_units(
        &self,
        files: &QueueFiles,
        offset: i64,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.read(files, offset, count, true, out)
    }

    /// As [`Self::read_units`], unless the disk would have to be waited for, see [`StoreError::would_wait`].
    pub(crate) fn read_cached_units(
        &self,
        files: &QueueFiles,
        offset: i64,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.read(files, offset, count, false, out)
    }

    fn read(
        &self,
        files: &QueueFiles,
        offset: i64,
        count: usize,
        may_wait: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let in_files = {
            let tail = self.lock();
            if offset < tail.min || offset >= tail.max {
                return Ok(());
            }
            if offset >= tail.window_start {
                let unit_bytes = self.kind.unit_bytes();
                let from = (offset - tail.window_start) as usize * unit_bytes;
                let to = tail.window.len().min(from + count * unit_bytes);
                out.extend_from_slice(&tail.window[from..to]);
                return Ok(());
            }
            // Units behind `written` are in the window, which a further call will find.
            (tail.written - offset) as usize
        };
        files.read(self, offset, count.min(in_files), may_wait, out)
    }

    /// The unit at index `offset`, if there is one.
    pub(crate) fn unit(&self, files: &QueueFiles, offset: i64) -> Result<Option<Unit>, StoreError> {
        let mut bytes = Vec::with_capacity(self.kind.unit_bytes());
        self.read_units(files, offset, 1, &mut bytes)?;
        Ok(self.kind.decode_all(&bytes).next().filter(Unit::is_valid))
    }

    /// The unit at `offset` as its file has it, if it is in one: its tags code may be an address there.
    pub(crate) fn written_unit(
        &self,
        files: &QueueFiles,
        offset: i64,
    ) -> Result<Option<Unit>, StoreError> {
        let mut bytes = Vec::new();
        if offset < self.lock().written {
            files.read(self, offset, 1, true, &mut bytes)?;
        }
        Ok(self.kind.decode_all(&bytes).next().filter(Unit::is_valid))
    }

    /// The unit at `index` of a batch queue, if there is one.
    pub(crate) fn batch_unit(
        &self,
        files: &QueueFiles,
        index: i64,
    ) -> Result<Option<BatchUnit>, StoreError> {
        let mut bytes = Vec::with_capacity(self.kind.unit_bytes());
        self.read_units(files, index, 1, &mut bytes)?;
        Ok(BatchUnit::decode(&bytes))
    }

    /// Index of the last unit of a batch queue that does not begin behind message `offset`.
    pub(crate) fn index_of(&self, files: &QueueFiles, offset: i64) -> Result<i64, StoreError> {
        let (min, max) = self.bounds();
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.batch_unit(files, middle)? {
                Some(unit) if unit.base_offset <= offset => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok((low - 1).max(min))
    }

    /// The unit of the record whose first message has `offset`, if there is one.
    pub(crate) fn unit_of_record(
        &self,
        files: &QueueFiles,
        offset: i64,
    ) -> Result<Option<Unit>, StoreError> {
        if self.kind == QueueKind::Simple {
            return self.unit(files, offset);
        }
        let unit = self.batch_unit(files, self.index_of(files, offset)?)?;
        Ok(unit.filter(|unit| unit.base_offset == offset).map(|unit| unit.unit))
    }

    /// Finds out the offsets of the first and the next message of a batch queue after its units changed.
    fn refresh_batch_offsets(&self, files: &QueueFiles) -> Result<(), StoreError> {
        if self.kind == QueueKind::Simple {
            return Ok(());
        }
        let (min, max) = self.bounds();
        let first = self.batch_unit(files, min)?;
        let last = if max > 0 { self.batch_unit(files, max - 1)? } else { None };
        let mut tail = self.lock();
        let next = last.map_or(tail.batch_offsets.1, |unit| unit.end_offset());
        tail.batch_offsets = (first.map_or(next, |unit| unit.base_offset), next);
        Ok(())
    }

    /// Writes the unwritten units whose records end at or before `log_end` to the files.
    ///
    /// Returns whether the queue is idle: everything is written, and was so before.
    pub(crate) fn write_out(
        &self,
        files: &QueueFiles,
        extender: Option<&Extender>,
        log_end: i64,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let extender = extender.filter(|_| self.kind == QueueKind::Simple);
        let _writing = files.begin_writing();
        let mut extended_end = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrote_any = false;
        loop {
            let (first, begins_late) = {
                let mut tail = self.lock();
                if tail.deleted {
                    return Ok(true);
                }
                scratch.clear();
                tail.copy_unwritten(log_end, scratch);
                if scratch.is_empty() {
                    // An active queue stays queued, and its newest units in memory, for a round.
                    let idle = !wrote_any && tail.written == tail.max;
                    if idle {
                        tail.forget_window();
                        tail.queued = false;
                    }
                    return Ok(idle);
                }
                (tail.written, tail.begins_late)
            };
            let end = match extender {
                Some(extender) => {
                    Some(extender.extend(self, files, first, *extended_end, scratch)?)
                }
                None => None,
            };
            files.write(self, first, begins_late, scratch)?;
            *extended_end = end.or(*extended_end);
            wrote_any = true;
            let mut tail = self.lock();
            tail.written = first + (scratch.len() / self.kind.unit_bytes()) as i64;
            tail.begins_late = false;
            tail.trim();
        }
    }

    /// Forgets the units whose records end behind `log_end`, in memory and in the files.
    ///
    /// Only for a store that is being opened: nobody else uses the queue.
    pub(crate) fn cut_behind(&self, files: &QueueFiles, log_end: i64) -> Result<(), StoreError> {
        let (mut low, mut high) = self.bounds();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit(files, middle)? {
                Some(unit) if unit.end() <= log_end => low = middle + 1,
                _ => high = middle,
            }
        }
        self.cut_at(files, low)
    }

    /// Forgets the units from `offset` on, in memory and in the files.
    ///
    /// Only for a store that is being opened: nobody else uses the queue.
    pub(crate) fn cut_at(&self, files: &QueueFiles, offset: i64) -> Result<(), StoreError> {
        let last = if offset > 0 { self.unit(files, offset - 1)? } else { None };
        let max_phy = last.map_or(0, |unit| unit.end());
        *self.io.lock().unwrap_or_else(PoisonError::into_inner) = None;
        files.cut(self, offset)?;
        self.lock().cut(offset, max_phy);
        self.refresh_batch_offsets(files)
    }

    /// Marks the queue as deleted and removes its files.
    pub(crate) fn delete(&self, files: &QueueFiles) -> Result<(), StoreError> {
        self.lock().deleted = true;
        let _io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        files.delete_queue(self)
    }

    /// Removes the files whose last unit is before `min_phy`, except the last file.
    pub(crate) fn delete_expired(
        &self,
        files: &QueueFiles,
        min_phy: i64,
    ) -> Result<usize, StoreError> {
        let _io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        files.delete_expired(self, min_phy)
    }

    /// Removes the files of extended units that those from the first one on do not need.
    pub(crate) fn delete_expired_extended(&self, files: &QueueFiles) -> Result<(), StoreError> {
        if self.kind == QueueKind::Batch {
            return Ok(());
        }
        let _io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        let min = self.lock().min;
        let unit = self.written_unit(files, min)?;
        match unit.and_then(|unit| position_of(unit.tags_code)) {
            Some(position) => files.delete_extended_before(self, position),
            None => Ok(()),
        }
    }

    /// Moves the first offset to the first unit whose record is at or behind `min_phy`.
    pub(crate) fn correct_min_offset(
        &self,
        files: &QueueFiles,
        min_phy: i64,
    ) -> Result<(), StoreError> {
        let (mut low, mut high) = self.bounds();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit(files, middle)? {
                // A unit that cannot be read leads to no record either.
                Some(unit) if unit.phy_offset >= min_phy && !unit.is_pre_blank() => high = middle,
                _ => low = middle + 1,
            }
        }
        {
            let mut tail = self.lock();
            if low > tail.min {
                tail.min = low.min(tail.max);
            }
        }
        self.refresh_batch_offsets(files)
    }
}

impl QueueTail {
    /// A queue without units.
    pub(crate) fn empty(kind: QueueKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// A queue whose units up to `max` are in its files.
    pub(crate) fn loaded(kind: QueueKind, min: i64, max: i64, max_phy: i64) -> Self {
        Self { kind, min, max, max_phy, window_start: max, written: max, ..Self::default() }
    }

    /// Sets the offsets of the first and the next message of a batch queue.
    pub(crate) fn set_batch_offsets(&mut self, first: i64, next: i64) {
        self.batch_offsets = (first, next);
    }

    pub(crate) fn kind(&self) -> QueueKind {
        self.kind
    }

    /// Offset that the next message gets.
    pub(crate) fn next_offset(&self) -> i64 {
        match self.kind {
            QueueKind::Simple => self.max,
            QueueKind::Batch => self.batch_offsets.1,
        }
    }

    /// Offset of the first message, and that behind the last one whose record ends at or before
    /// `log_end`.
    pub(crate) fn visible_offsets(&self, log_end: i64) -> (i64, i64) {
        let visible = self.max_before(log_end);
        let (min, max) = match self.kind {
            QueueKind::Simple => (self.min, visible),
            QueueKind::Batch if visible == self.max => self.batch_offsets,
            QueueKind::Batch => {
                // What is not flushed is still in the window.
                let at = (visible - self.window_start).max(0) as usize * self.kind.unit_bytes();
                let hidden = self.window.get(at..).and_then(BatchUnit::decode);
                let (min, next) = self.batch_offsets;
                (min, hidden.map_or(next, |unit| unit.base_offset))
            }
        };
        (min.min(max), max)
    }

    pub(crate) fn max(&self) -> i64 {
        self.max
    }

    pub(crate) fn max_phy(&self) -> i64 {
        self.max_phy
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Appends one unit, which gets index [`Self::max`].
    pub(crate) fn push(&mut self, unit: &Unit) -> PushOutcome {
        self.push_encoded(unit, &unit.encode())
    }

    /// Appends one unit of a batch queue.
    pub(crate) fn push_batch(&mut self, unit: &BatchUnit) -> PushOutcome {
        if self.min == self.max {
            self.batch_offsets.0 = unit.base_offset;
        }
        self.batch_offsets.1 = unit.end_offset();
        self.push_encoded(&unit.unit, &unit.encode())
    }

    fn push_encoded(&mut self, unit: &Unit, encoded: &[u8]) -> PushOutcome {
        self.window.extend_from_slice(encoded);
        self.max += 1;
        self.max_phy = unit.end();
        let unwritten = (self.max - self.written) as usize;
        if !std::mem::replace(&mut self.queued, true) {
            PushOutcome::Enqueue
        } else if unwritten.is_multiple_of(WAKE_WRITER_AT_UNITS) {
            PushOutcome::Wake
        } else {
            PushOutcome::Done
        }
    }

    /// Appends a unit that leads nowhere, in the place of a record that is lost.
    pub(crate) fn push_lost(&mut self) -> PushOutcome {
        self.push(&Unit::lost(self.max_phy))
    }

    /// Makes an empty queue begin at `offset`.
    pub(crate) fn begin_at(&mut self, offset: i64) {
        debug_assert!(self.max == self.min && self.window.is_empty());
        if self.kind == QueueKind::Batch {
            // Its units follow each other whatever their messages' offsets are.
            (self.min, self.max, self.window_start, self.written) = (0, 0, 0, 0);
            self.batch_offsets = (offset, offset);
            return;
        }
        self.min = offset;
        self.max = offset;
        self.window_start = offset;
        self.written = offset;
        self.begins_late = offset > 0;
    }

    /// Forgets the units from `offset` on; the caller has removed them from the files.
    pub(crate) fn cut(&mut self, offset: i64, max_phy: i64) {
        let offset = offset.max(self.min).min(self.max);
        let keep_units = (offset - self.window_start).max(0) as usize;
        self.window.truncate(keep_units * self.kind.unit_bytes());
        self.window_start = self.window_start.min(offset);
        self.written = self.written.min(offset);
        self.max = offset;
        self.max_phy = max_phy;
    }

    /// Index behind the last unit whose record ends at or before `log_end`.
    ///
    /// Looks at the newest units only: what is in the files is flushed in the log.
    pub(crate) fn max_before(&self, log_end: i64) -> i64 {
        if self.max_phy <= log_end {
            return self.max;
        }
        let units = self.kind.decode_all(&self.window);
        let hidden = units.rev().take_while(|unit| unit.end() > log_end).count();
        self.max - hidden as i64
    }

    fn copy_unwritten(&self, log_end: i64, out: &mut Vec<u8>) {
        let unit_bytes = self.kind.unit_bytes();
        let from = (self.written - self.window_start) as usize * unit_bytes;
        let until = self.max_before(log_end).max(self.written) - self.window_start;
        let to = (until as usize * unit_bytes).min(from + WRITE_UNITS_AT_ONCE * unit_bytes);
        out.extend_from_slice(&self.window[from..to]);
    }

    /// Forgets written units beyond the hot ones.
    fn trim(&mut self) {
        let keep_from = self.written.min(self.max - HOT_UNITS as i64).max(self.window_start);
        let drop_units = (keep_from - self.window_start) as usize;
        self.window.drain(..drop_units * self.kind.unit_bytes());
        self.window_start = keep_from;
    }

    /// Gives back the memory of a queue whose units are all written.
    fn forget_window(&mut self) {
        self.window = Vec::new();
        self.window_start = self.max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(number: i64) -> Unit {
        Unit { phy_offset: number * 100, size: 100, tags_code: number }
    }

    #[test]
    fn first_push_enqueues_the_queue_once() {
        let mut tail = QueueTail::default();
        assert_eq!(tail.push(&unit(0)), PushOutcome::Enqueue);
        assert_eq!(tail.push(&unit(1)), PushOutcome::Done);
        assert_eq!((tail.visible_offsets(i64::MAX), tail.max_phy()), ((0, 2), 200));
    }

    #[test]
    fn unflushed_units_are_hidden() {
        let mut tail = QueueTail::default();
        for number in 0..5 {
            tail.push(&unit(number));
        }
        assert_eq!(tail.max_before(500), 5);
        assert_eq!(tail.max_before(499), 4);
        assert_eq!(tail.max_before(0), 0);
    }
}
