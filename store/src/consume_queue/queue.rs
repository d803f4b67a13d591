//! One queue: its tail and its files together.

use std::sync::{Arc, Mutex, MutexGuard};

use super::extended::{Extender, position_of};
use super::files::QueueFiles;
use super::tail::QueueTail;
use super::unit::{BatchUnit, QueueKind, Unit};
use crate::error::StoreError;
use crate::sync::lock;

/// Units that are looked at for one that is not damaged.
const LOOK_ON_UNITS: i64 = 64;

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

impl ConsumeQueue {
    pub(crate) fn new(topic: Arc<str>, queue_id: i32, uid: u64, tail: QueueTail) -> Self {
        let kind = tail.kind();
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
        lock(&self.tail)
    }

    /// First and next index.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        self.lock().bounds()
    }

    /// Appends up to `count` encoded units from `offset` on to `out`; fewer at the end of the queue.
    ///
    /// Appends nothing when the unit at `offset` does not exist or its file is damaged.
    /// Unless it `may_wait`, it fails where the disk would have to be waited for, see
    /// [`StoreError::would_wait`].
    pub(crate) fn read_units(
        &self,
        files: &QueueFiles,
        offset: i64,
        count: usize,
        may_wait: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        // No lock is held while files are read.
        let in_files = self.lock().read(offset, count, out);
        if in_files == 0 {
            return Ok(());
        }
        files.read(self, offset, count.min(in_files), may_wait, out)
    }

    /// The unit at index `offset`, if there is one.
    pub(crate) fn unit(&self, files: &QueueFiles, offset: i64) -> Result<Option<Unit>, StoreError> {
        let mut bytes = Vec::with_capacity(self.kind.unit_bytes());
        self.read_units(files, offset, 1, true, &mut bytes)?;
        Ok(self.kind.decode_all(&bytes).next().filter(Unit::is_valid))
    }

    /// The unit at index `offset`, or one behind it where that is damaged: one unit must not decide about all
    /// others. Nothing where its file is gone.
    fn unit_near(&self, files: &QueueFiles, offset: i64) -> Result<Option<Unit>, StoreError> {
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < offset.saturating_add(LOOK_ON_UNITS) {
            bytes.clear();
            self.read_units(files, at, LOOK_ON_UNITS as usize, true, &mut bytes)?;
            let found = self.kind.decode_all(&bytes).find(Unit::is_valid);
            if found.is_some() || bytes.is_empty() {
                return Ok(found);
            }
            at += (bytes.len() / self.kind.unit_bytes()) as i64;
        }
        Ok(None)
    }

    /// The unit at `offset` as its file has it, if it is in one: its tags code may be an address there.
    pub(crate) fn written_unit(
        &self,
        files: &QueueFiles,
        offset: i64,
    ) -> Result<Option<Unit>, StoreError> {
        let mut bytes = Vec::new();
        if self.lock().is_in_files(offset) {
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
        self.read_units(files, index, 1, true, &mut bytes)?;
        Ok(BatchUnit::decode(&bytes))
    }

    /// The first unit of a batch queue in `from..until` that is not damaged, and its index.
    pub(crate) fn batch_unit_from(
        &self,
        files: &QueueFiles,
        from: i64,
        until: i64,
    ) -> Result<Option<(i64, BatchUnit)>, StoreError> {
        let unit_bytes = self.kind.unit_bytes();
        let per_file = files.file_bytes(self.kind) as i64 / unit_bytes as i64;
        let (mut at, mut count) = (from, 1);
        let mut bytes = Vec::with_capacity(unit_bytes);
        while at < until {
            bytes.clear();
            self.read_units(files, at, count.min(until - at) as usize, true, &mut bytes)?;
            if let Some(found) = (at..)
                .zip(bytes.chunks(unit_bytes))
                .find_map(|(index, bytes)| BatchUnit::decode(bytes).map(|unit| (index, unit)))
            {
                return Ok(Some(found));
            }
            at = match bytes.len() / unit_bytes {
                // The file is gone.
                0 => (at / per_file + 1) * per_file,
                read => at + read as i64,
            };
            count = LOOK_ON_UNITS;
        }
        Ok(None)
    }

    /// Index of the last unit of a batch queue that does not begin behind message `offset`.
    pub(crate) fn index_of(&self, files: &QueueFiles, offset: i64) -> Result<i64, StoreError> {
        let (min, max) = self.bounds();
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.batch_unit_from(files, middle, high)? {
                Some((at, unit)) if unit.base_offset <= offset => low = at + 1,
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
        let first = self.batch_unit_from(files, min, max)?;
        let last = if max > 0 { self.batch_unit(files, max - 1)? } else { None };
        let mut tail = self.lock();
        let next = last.map_or(tail.next_offset(), |unit| unit.end_offset());
        tail.set_batch_offsets(first.map_or(next, |(_, unit)| unit.base_offset), next);
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
        let mut extended_end = lock(&self.io);
        let mut wrote_any = false;
        loop {
            let (first, begins_late) = {
                let mut tail = self.lock();
                if tail.is_deleted() {
                    return Ok(true);
                }
                scratch.clear();
                tail.copy_unwritten(log_end, scratch);
                if scratch.is_empty() {
                    // An active queue stays queued, and its newest units in memory, for a round.
                    return Ok(!wrote_any && tail.rest());
                }
                tail.written()
            };
            files.remove_remains(self)?;
            let end = match extender {
                Some(extender) => {
                    Some(extender.extend(self, files, first, *extended_end, scratch)?)
                }
                None => None,
            };
            files.write(self, first, begins_late, scratch)?;
            *extended_end = end.or(*extended_end);
            wrote_any = true;
            self.lock().wrote(scratch.len() / self.kind.unit_bytes());
        }
    }

    /// Forgets the units whose records end behind `log_end`, in memory and in the files.
    ///
    /// Only for a store that is being opened: nobody else uses the queue.
    pub(crate) fn cut_behind(&self, files: &QueueFiles, log_end: i64) -> Result<(), StoreError> {
        let (mut low, mut high) = self.bounds();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit_near(files, middle)? {
                Some(unit) if unit.end() <= log_end => low = middle + 1,
                _ => high = middle,
            }
        }
        self.cut_at(files, low)
    }

    /// Forgets the units from `offset` on, in memory and in the files. Nobody else may push any meanwhile.
    pub(crate) fn cut_at(&self, files: &QueueFiles, offset: i64) -> Result<(), StoreError> {
        let last = if offset > 0 { self.unit(files, offset - 1)? } else { None };
        let max_phy = last.map_or(0, |unit| unit.end());
        {
            // Whoever writes units is done with those that he has taken, and takes no others before they are gone.
            let mut extended_end = lock(&self.io);
            *extended_end = None;
            files.cut(self, offset)?;
            self.lock().cut(offset, max_phy);
        }
        self.refresh_batch_offsets(files)
    }

    /// Marks the queue as deleted and removes its files.
    pub(crate) fn delete(&self, files: &QueueFiles) -> Result<(), StoreError> {
        self.lock().mark_deleted();
        let _io = lock(&self.io);
        files.delete_queue(self)
    }

    /// Has a queue without units go on at `offset`, or a little behind it; from now on a file says so, whose units lead
    /// nowhere.
    pub(crate) fn go_on_at(&self, files: &QueueFiles, offset: i64) -> Result<(), StoreError> {
        // Where the messages of a batch queue end cannot be told from how many units there were.
        if self.kind == QueueKind::Batch || offset == 0 || self.bounds().1 > 0 {
            return Ok(());
        }
        let per_file = (files.file_bytes(self.kind) / self.kind.unit_bytes() as u64) as i64;
        // At the start of a file nothing would stand before it.
        let offset = if offset % per_file == 0 { offset + 1 } else { offset };
        let _io = lock(&self.io);
        files.write(self, offset, true, &[])?;
        let mut tail = self.lock();
        tail.begin_at(offset);
        tail.wrote(0);
        Ok(())
    }

    /// Removes the files whose last unit is before `min_phy`, except the last file.
    pub(crate) fn delete_expired(
        &self,
        files: &QueueFiles,
        min_phy: i64,
    ) -> Result<(), StoreError> {
        let _io = lock(&self.io);
        files.delete_expired(self, min_phy)
    }

    /// Removes the files of extended units that those from the first one on do not need.
    pub(crate) fn delete_expired_extended(&self, files: &QueueFiles) -> Result<(), StoreError> {
        if self.kind == QueueKind::Batch {
            return Ok(());
        }
        let _io = lock(&self.io);
        let (min, _) = self.bounds();
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
            match self.unit_near(files, middle)? {
                // What is in no file any more leads to no record either.
                Some(unit) if unit.phy_offset >= min_phy && !unit.is_pre_blank() => high = middle,
                _ => low = middle + 1,
            }
        }
        self.lock().raise_min(low);
        self.refresh_batch_offsets(files)
    }
}
