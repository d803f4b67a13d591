//! Looking things up: offsets by time, records by position or key, queues by topic.

use std::collections::BTreeMap;
use std::ops::Range;

use oxmq_protocol::message::RecordView;

use super::MessageStore;
use super::put::is_storable_topic;
use crate::commit_log::{LogFiles, RecordCheck, record_at, scan};
use crate::consume_queue::{ConsumeQueue, ExtendedUnit, QueueKind, Unit, position_of};
use crate::error::{IoContext, StoreError};
use crate::worker::Signal;

/// Which offset a time means when messages around it have other times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first message stored at that time or later.
    #[default]
    Lower,
    /// The last message stored at that time or earlier.
    Upper,
}

impl Boundary {
    /// Whether what is meant by `timestamp_ms` comes behind the first message stored at `stored_ms`.
    fn is_before(self, stored_ms: i64, timestamp_ms: i64) -> bool {
        match self {
            Self::Lower => stored_ms < timestamp_ms,
            Self::Upper => stored_ms <= timestamp_ms,
        }
    }
}

/// One unit of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUnit {
    /// Position of the record in the log.
    pub phy_offset: i64,
    /// Bytes of the record.
    pub size: i32,
    /// Hash of the tags, or the address of the extended unit.
    pub tags_code: i64,
    /// The extended unit, if there is one.
    pub extended: Option<ExtendedUnit>,
}

impl QueueUnit {
    /// Whether the tags code is in an extended unit, which may be lost.
    pub fn leads_to_extended(&self) -> bool {
        position_of(self.tags_code).is_some()
    }
}

/// Records that have a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryResult {
    /// The records, back to back, newest first.
    pub records: Vec<u8>,
    /// How many there are.
    pub message_count: u32,
    /// Store time of the newest indexed record, in milliseconds since 1970.
    pub index_last_update_timestamp_ms: i64,
    /// Position of the newest indexed record.
    pub index_last_update_phy_offset: i64,
}

impl MessageStore {
    /// First offset of a queue; before its first message zero, and -1 of a batch queue.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> i64 {
        match self.bounds(topic, queue_id) {
            (_, 0) => self.min_of_nothing(topic),
            (min, _) => min,
        }
    }

    /// Reference: `BatchConsumeQueue.minOffsetInQueue` (store), 5.5.0.
    pub(super) fn min_of_nothing(&self, topic: &str) -> i64 {
        if self.has_batch_queues(topic) { -1 } else { 0 }
    }

    /// Offset behind the last readable message of a queue; zero when there is no such queue.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.bounds(topic, queue_id).1
    }

    /// First offset of a queue and that behind its last readable message; zero when there is none.
    pub fn bounds(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        self.queues.get(topic, queue_id).map_or((0, 0), |queue| self.visible_bounds(&queue))
    }

    /// The offset that `timestamp_ms` means in a queue; zero when there is no such queue.
    ///
    /// Reference: `ConsumeQueue.getOffsetInQueueByTime` (store), 5.5.0.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> i64 {
        let Some(queue) = self.queues.get(topic, queue_id) else {
            return 0;
        };
        let files = self.log.files();
        let (min, max) = self.visible_bounds(&queue);
        if queue.kind() == QueueKind::Batch {
            return self.batch_offset_by_time(&queue, timestamp_ms, boundary).clamp(min, max);
        }
        let start = files.first().map_or(0, |file| file.start());
        let is_gone =
            |offset| self.unit_at(&queue, offset).is_some_and(|unit| unit.phy_offset < start);
        let timestamp_from = |from: i64, until| {
            (from..until).find_map(|at| Some((at, self.timestamp_at(&queue, &files, at)?)))
        };
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            match timestamp_from(middle, high) {
                Some((at, stored)) if boundary.is_before(stored, timestamp_ms) => low = at + 1,
                // A record that is gone is older than all that are there.
                _ if is_gone(middle) => low = middle + 1,
                _ => high = middle,
            }
        }
        match boundary {
            Boundary::Lower => timestamp_from(low, max).map_or(low, |(at, _)| at),
            Boundary::Upper => (low - 1).max(min),
        }
    }

    /// [`Self::offset_by_time`] of a batch queue, whose units know the time.
    fn batch_offset_by_time(
        &self,
        queue: &ConsumeQueue,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> i64 {
        let unit_from =
            |from, until| queue.batch_unit_from(&self.queue_files, from, until).ok().flatten();
        let (min, max) = queue.bounds();
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            match unit_from(middle, high) {
                Some((at, unit)) if boundary.is_before(unit.store_timestamp_ms, timestamp_ms) => {
                    low = at + 1;
                }
                _ => high = middle,
            }
        }
        let index = match boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).max(min),
        };
        unit_from(index, max).map_or(i64::MAX, |(_, unit)| unit.base_offset)
    }

    /// Store time of the message at `offset` of a queue, in milliseconds since 1970.
    pub fn message_store_timestamp(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let queue = self.queues.get(topic, queue_id)?;
        self.timestamp_at(&queue, &self.log.files(), offset)
    }

    /// Store time of the first message of a queue, in milliseconds since 1970.
    pub fn earliest_message_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        self.message_store_timestamp(topic, queue_id, self.min_offset(topic, queue_id))
    }

    /// Store time of the first record of the log, in milliseconds since 1970.
    pub fn earliest_store_time(&self) -> Option<i64> {
        let files = self.log.files();
        let record = record_at(&files, files.first()?.start())?;
        Some(record.store_timestamp_ms())
    }

    /// The record that begins at `phy_offset` of the log.
    pub fn look_message_by_offset(&self, phy_offset: i64) -> Option<Vec<u8>> {
        let files = self.log.files();
        record_at(&files, phy_offset).map(|record| record.bytes().to_vec())
    }

    /// Hands every record of the log from the one at `from` on to `each`, which says whether to go on. Damaged parts
    /// are stepped over.
    pub fn for_each_record(&self, from: i64, mut each: impl FnMut(RecordView<'_>) -> bool) {
        let end = self.log.written();
        // Whoever has seen enough ends it with an error that carries nothing.
        let _ = scan(&self.log.files(), from, RecordCheck::Lengths, |record, phy_offset| {
            if phy_offset < end && each(*record) { Ok(()) } else { Err(()) }
        });
    }

    /// Position in the log of the message at `offset` of a queue.
    pub fn phy_offset_of(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let queue = self.queues.get(topic, queue_id)?;
        self.unit_at(&queue, offset).map(|unit| unit.phy_offset)
    }

    /// The units of the messages `from..from + count` of a queue; `None` when there is no such queue.
    pub fn queue_units(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        count: u32,
    ) -> Option<Vec<QueueUnit>> {
        let queue = self.queues.get(topic, queue_id)?;
        let offsets = from..from.saturating_add(count.into());
        if queue.kind() == QueueKind::Batch {
            return Some(self.batch_queue_units(&queue, offsets));
        }
        let mut extended = self.queue_files.extended_reader(&queue);
        // Units that are in memory have their own tags code, in their files an address.
        let written = |offset| queue.written_unit(&self.queue_files, offset).ok().flatten();
        let units = offsets.map_while(|offset| {
            let unit = self.unit_at(&queue, offset)?;
            Some(written(offset).filter(|_| self.queue_files.extends()).unwrap_or(unit))
        });
        let units = units.map(|Unit { phy_offset, size, tags_code }| {
            let extended = match position_of(tags_code) {
                Some(position) => extended.unit(position).ok().flatten(),
                None => None,
            };
            QueueUnit { phy_offset, size, tags_code, extended }
        });
        Some(units.collect())
    }

    /// [`Self::queue_units`] of a batch queue, each unit once.
    fn batch_queue_units(&self, queue: &ConsumeQueue, offsets: Range<i64>) -> Vec<QueueUnit> {
        let files = &self.queue_files;
        let (first, next) = queue.lock().visible_offsets(i64::MAX);
        let mut units = Vec::new();
        if !(first..next).contains(&offsets.start) {
            return units;
        }
        let (_, end) = queue.bounds();
        let mut index = queue.index_of(files, offsets.start).unwrap_or(end);
        while let Ok(Some((at, found))) = queue.batch_unit_from(files, index, end)
            && found.base_offset < offsets.end
        {
            index = at + 1;
            if found.end_offset() > offsets.start {
                let Unit { phy_offset, size, tags_code } = found.unit;
                units.push(QueueUnit { phy_offset, size, tags_code, extended: None });
            }
        }
        units
    }

    /// Records of `topic` that have `key` as unique key or among their keys, stored in
    /// `begin_ms..=end_ms`: of too many the newest, and those in the order of the log. The hash of the key
    /// decides: callers compare the keys.
    ///
    /// Everything that was put before the call is found.
    ///
    /// # Errors
    ///
    /// When the index cannot be brought up to date.
    pub fn query_message(
        &self,
        topic: &str,
        key: &str,
        max_num: u32,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<QueryResult, StoreError> {
        let Some(index) = self.index.as_ref().filter(|_| self.config.index_file_read_enable) else {
            return Ok(QueryResult::default());
        };
        index.catch_up(&self.log, self.visible_end(), &Signal::default())?;
        let at_most = max_num.min(self.config.max_msgs_num_batch) as usize;
        let mut found = index.query(topic, key, at_most, begin_ms, end_ms);
        found.phy_offsets.sort_unstable();
        let mut result = QueryResult {
            index_last_update_timestamp_ms: found.last_update_timestamp_ms,
            index_last_update_phy_offset: found.last_update_phy_offset,
            ..QueryResult::default()
        };
        let files = self.log.files();
        for phy_offset in found.phy_offsets {
            if let Some(record) = record_at(&files, phy_offset) {
                result.records.extend_from_slice(record.bytes());
                result.message_count += 1;
            }
        }
        Ok(result)
    }

    /// Whether the message at `offset` of a queue is recent enough to be taken to be in memory.
    ///
    /// A pull of other messages may have to wait for the disk.
    pub fn is_in_memory(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        match self.phy_offset_of(topic, queue_id, offset) {
            Some(phy_offset) => self.is_hot(phy_offset, self.log.max_offset()),
            // Nothing to wait for.
            None => true,
        }
    }

    /// All topics that have queues, with the ids of these.
    pub fn queues(&self) -> BTreeMap<String, Vec<i32>> {
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for queue in self.queues.all() {
            topics.entry(queue.topic().to_string()).or_default().push(queue.queue_id());
        }
        for ids in topics.values_mut() {
            ids.sort_unstable();
        }
        topics
    }

    /// How many light queues there are.
    pub fn light_queues(&self) -> usize {
        self.queues.light_queues()
    }

    /// Deletes all queues of `topic`. Its records stay in the log until the log is cleaned.
    ///
    /// # Errors
    ///
    /// When files cannot be removed; the queues are gone from memory then. Another call tries it again.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        if !is_storable_topic(topic) {
            return Ok(());
        }
        let _deleting = self.queue_files.begin_deleting();
        let mut outcome = Ok(());
        for queue in self.queues.remove(|queue| &**queue.topic() == topic) {
            outcome = outcome.and(queue.delete(&self.queue_files));
        }
        // A topic of the same name must find nothing of this one, whatever could not be removed.
        self.batch_topics.remove(topic);
        outcome = outcome.and(self.compaction.remove_topic(topic));
        let mut roots = QueueKind::ALL.map(|kind| self.queue_files.root(kind)).to_vec();
        roots.push(self.queue_files.extended_root());
        for root in roots {
            // Nothing is written meanwhile: whatever is there was left of this topic, or of an earlier attempt.
            let dir = root.join(topic);
            outcome = outcome.and(self.fs.remove_dir_all(&dir).doing("remove", &dir));
        }
        outcome
    }

    fn unit_at(&self, queue: &ConsumeQueue, offset: i64) -> Option<Unit> {
        let index = match queue.kind() {
            QueueKind::Simple => offset,
            QueueKind::Batch => {
                let (first, next) = queue.lock().visible_offsets(i64::MAX);
                if !(first..next).contains(&offset) {
                    return None;
                }
                queue.index_of(&self.queue_files, offset).ok()?
            }
        };
        queue.unit(&self.queue_files, index).ok().flatten().filter(|unit| !unit.is_pre_blank())
    }

    fn timestamp_at(&self, queue: &ConsumeQueue, files: &LogFiles, offset: i64) -> Option<i64> {
        let unit = self.unit_at(queue, offset)?;
        record_at(files, unit.phy_offset).map(|record| record.store_timestamp_ms())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use oxmq_protocol::message::Message;

    use super::*;
    use crate::{Environment, Fs, FsOp, PutMessageStatus, StoreConfig};

    #[test]
    fn record_that_begins_a_file_behind_a_refused_one_is_found_and_so_are_those_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let is_full = Arc::new(AtomicBool::new(false));
        let fault = Arc::clone(&is_full);
        let fs = Fs::with_fault(move |op: FsOp, _: &Path| {
            match op == FsOp::Allocate && fault.load(Ordering::Relaxed) {
                true => Err(std::io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        });
        let config = StoreConfig {
            mapped_file_size_commit_log: 16 << 10,
            max_hash_slot_num: 100,
            max_index_num: 1_000,
            ..StoreConfig::in_dir(dir.path())
        };
        let environment = Environment { fs, ..Environment::default() };
        let store = MessageStore::open_with(config, environment).unwrap();
        // Nobody indexes but who looks something up.
        store.workers.lock().unwrap().clear();
        let put = |key: &str| {
            let text = format!("KEYS\u{1}{key}\u{2}");
            let properties = text.as_bytes();
            store.put_message(&Message { properties, ..Message::new("t", 0, &[0; 9_000]) }).status
        };
        let found = |key| store.query_message("t", key, 10, 0, i64::MAX).unwrap().message_count;
        assert_eq!(put("first"), PutMessageStatus::PutOk);
        assert_eq!(found("first"), 1);
        is_full.store(true, Ordering::Relaxed);
        assert!(!put("refused").is_stored());
        is_full.store(false, Ordering::Relaxed);
        assert_eq!(put("second"), PutMessageStatus::PutOk);
        assert_eq!((found("second"), store.dispatch_behind_bytes()), (1, 0));
        assert_eq!(put("third"), PutMessageStatus::PutOk);
        assert_eq!((found("refused"), found("third")), (0, 1));
    }
}
