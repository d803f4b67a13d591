//! The newest units of a queue, in memory, and its bounds.

use super::unit::{BatchUnit, QueueKind, Unit};
use crate::limits::{HOT_UNITS, WAKE_WRITER_AT_UNITS, WRITE_UNITS_AT_ONCE};

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

    /// First and next index.
    pub(super) fn bounds(&self) -> (i64, i64) {
        (self.min, self.max)
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

    pub(super) fn mark_deleted(&mut self) {
        self.deleted = true;
    }

    /// Moves the first index up to `index`, if it is below.
    pub(super) fn raise_min(&mut self, index: i64) {
        if index > self.min {
            self.min = index.min(self.max);
        }
    }

    /// Appends up to `count` units from `offset` on to `out`, if they are in memory. How many are in
    /// the files otherwise; none, too, when there is no such unit.
    pub(super) fn read(&self, offset: i64, count: usize, out: &mut Vec<u8>) -> usize {
        if offset < self.min || offset >= self.max {
            return 0;
        }
        if offset >= self.window_start {
            let unit_bytes = self.kind.unit_bytes();
            let from = (offset - self.window_start) as usize * unit_bytes;
            let to = self.window.len().min(from + count * unit_bytes);
            out.extend_from_slice(&self.window[from..to]);
            return 0;
        }
        // Units behind `written` are in the window, which a further call will find.
        (self.written - offset) as usize
    }

    pub(super) fn is_in_files(&self, offset: i64) -> bool {
        offset < self.written
    }

    /// First index that is not in the files, and whether the first file has to be filled with pre-blank
    /// units up to it.
    pub(super) fn written(&self) -> (i64, bool) {
        (self.written, self.begins_late)
    }

    /// Notes that `count` more units are in the files.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count as i64;
        self.begins_late = false;
        self.trim();
    }

    /// Gives back the memory of a queue whose units are all written, which the writer is to forget:
    /// whether they are.
    pub(super) fn rest(&mut self) -> bool {
        let is_written = self.written == self.max;
        if is_written {
            self.window = Vec::new();
            self.window_start = self.max;
            self.queued = false;
        }
        is_written
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

    /// Appends the next units to write whose records end at or before `log_end` to `out`.
    pub(super) fn copy_unwritten(&self, log_end: i64, out: &mut Vec<u8>) {
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
