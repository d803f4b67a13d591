//! Gives records that are in the log to the queues that lack them: at a start, and as a master sends them.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use oxmq_protocol::message::record::SMALLEST_RECORD_BYTES;
use oxmq_protocol::message::{RecordView, properties, sys_flag, tags_code_of_properties};

use super::light::{LIGHT_QUEUE_ID, places as light_places};
use super::put::{is_schedule_topic, is_storable_topic, schedule_tags};
use super::recover::Recovery;
use crate::consume_queue::{BatchUnit, ConsumeQueue, QueueKind, Unit};
use crate::delay_level::DelayLevels;
use crate::error::StoreError;
use crate::limits::{MAX_QUEUE_OFFSET, WRITE_AFTER_RECOVERED_UNITS};

/// What of the log is read.
pub(super) enum Mode {
    /// The newest part of the log: queues have what is older. Before `known_before`, a queue that
    /// does not exist was deleted, and is not made anew.
    Newest { known_before: i64 },
    /// The whole log up to `end`, for queues that are being made anew.
    Whole { only: HashSet<u64>, end: i64 },
    /// Records as they come from a master.
    Follow,
}

/// Gives records to the queues that lack them.
pub(super) struct Dispatcher<'a> {
    recovery: &'a Recovery<'a>,
    mode: Mode,
    pub(super) count: u64,
    since_write: u64,
    /// Queues that lack units before the part that is read.
    pub(super) incomplete: HashSet<u64>,
    last: Option<Arc<ConsumeQueue>>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(recovery: &'a Recovery<'a>, mode: Mode) -> Self {
        let incomplete = HashSet::new();
        Self { recovery, mode, count: 0, since_write: 0, incomplete, last: None }
    }

    /// Gives `record` to its queue, if that lacks it. Returns whether it did.
    pub(super) fn visit(
        &mut self,
        record: &RecordView<'_>,
        phy_offset: i64,
    ) -> Result<bool, StoreError> {
        if !sys_flag::has_queue_offset(record.sys_flag()) || !is_storable_topic(record.topic()) {
            return Ok(false);
        }
        if record.sys_flag() & sys_flag::INNER_BATCH != 0 {
            // Only such a queue takes it, also where nothing else tells the topic's kind any more.
            self.recovery.batch_topics.insert(record.topic());
        }
        let (topic, queue_id) = (record.topic(), record.queue_id());
        let is_given = self.give(topic, queue_id, record.queue_offset(), record, phy_offset)?;
        if self.recovery.config.has_light_queues() {
            for (name, offset) in light_places(record) {
                self.give(name, LIGHT_QUEUE_ID, offset, record, phy_offset)?;
            }
        }
        Ok(is_given)
    }

    /// Gives `record` to one of its queues, in which it has `offset`, if that lacks it.
    fn give(
        &mut self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        record: &RecordView<'_>,
        phy_offset: i64,
    ) -> Result<bool, StoreError> {
        if !(0..MAX_QUEUE_OFFSET).contains(&offset) {
            return Ok(false);
        }
        if let Mode::Newest { known_before } = self.mode
            && phy_offset < known_before
            && self.recovery.queues.get(topic, queue_id).is_none()
        {
            return Ok(false);
        }
        let queue = self.queue_of(topic, queue_id);
        if self.incomplete.contains(&queue.uid()) {
            return Ok(false);
        }
        let unit = Unit {
            phy_offset,
            size: record.total_bytes() as i32,
            tags_code: self.tags_code(record),
        };
        if let Mode::Whole { only, end } = &self.mode
            && (!only.contains(&queue.uid()) || unit.phy_offset >= *end)
        {
            return Ok(false);
        }
        let (max, max_phy) = {
            let tail = queue.lock();
            (tail.next_offset(), tail.max_phy())
        };
        if unit.end() <= max_phy {
            return Ok(false);
        }
        // Each message before took a record of its own: a larger offset is a damaged one.
        let per_record = if queue.kind() == QueueKind::Batch { i64::from(i16::MAX) } else { 1 };
        let most = max + (phy_offset - max_phy).max(0) / SMALLEST_RECORD_BYTES as i64 * per_record;
        let fits = offset <= most
            && match offset.cmp(&max) {
                Ordering::Equal => true,
                Ordering::Greater => self.bridge(&queue, offset)?,
                Ordering::Less => {
                    self.go_back(&queue, offset, record.phy_offset() == phy_offset)?
                }
            };
        if !fits {
            return Ok(false);
        }
        let push = match queue.kind() {
            QueueKind::Simple => queue.lock().push(&unit),
            QueueKind::Batch => queue.lock().push_batch(&batch_unit(record, unit)),
        };
        self.recovery.queue_writer.after_push(&queue, push);
        self.count_one()?;
        Ok(true)
    }

    /// Gets `queue` ready for a unit at `offset` behind its end. Returns false when the queue has
    /// to be made anew first.
    fn bridge(&mut self, queue: &Arc<ConsumeQueue>, offset: i64) -> Result<bool, StoreError> {
        if !self.reads_from_the_start() {
            self.incomplete.insert(queue.uid());
            return Ok(false);
        }
        let missing = {
            let mut tail = queue.lock();
            if tail.kind() == QueueKind::Batch {
                // Its units say their offsets: nothing has to stand for what is missing.
                return Ok(true);
            }
            if tail.max() == 0 {
                tail.begin_at(offset);
            }
            offset - tail.max()
        };
        // Records are missing from the middle of the log. Their units lead nowhere, so that the
        // later ones keep their offsets.
        for _ in 0..missing {
            let push = queue.lock().push_lost();
            self.recovery.queue_writer.after_push(queue, push);
            self.count_one()?;
        }
        Ok(true)
    }

    /// Gets `queue` ready for a unit at `offset` before its end. Returns false when the queue has
    /// to be made anew first, or when the offset is a damaged one, or the record a copy of one elsewhere.
    fn go_back(
        &mut self,
        queue: &Arc<ConsumeQueue>,
        offset: i64,
        is_in_place: bool,
    ) -> Result<bool, StoreError> {
        if !is_in_place {
            return Ok(false);
        }
        if offset == 0 {
            // The topic was deleted and made anew.
            queue.cut_at(self.recovery.queue_files, 0)?;
            queue.lock().begin_at(0);
            return Ok(true);
        }
        if !self.reads_from_the_start() {
            self.incomplete.insert(queue.uid());
        }
        Ok(false)
    }

    /// Counts one unit, and writes units when there are many.
    fn count_one(&mut self) -> Result<(), StoreError> {
        self.count += 1;
        self.since_write += 1;
        if self.since_write >= WRITE_AFTER_RECOVERED_UNITS {
            self.since_write = 0;
            self.recovery.queue_writer.write_all(i64::MAX)?;
        }
        Ok(())
    }

    fn reads_from_the_start(&self) -> bool {
        matches!(self.mode, Mode::Whole { .. } | Mode::Follow)
    }

    fn queue_of(&mut self, topic: &str, queue_id: i32) -> Arc<ConsumeQueue> {
        let is_last =
            |queue: &&Arc<ConsumeQueue>| queue.queue_id() == queue_id && &**queue.topic() == topic;
        if let Some(queue) = self.last.as_ref().filter(is_last) {
            return Arc::clone(queue);
        }
        let kind = self.recovery.batch_topics.kind_of(topic);
        let queue = self.recovery.queues.get_or_create(topic, queue_id, kind);
        self.last = Some(Arc::clone(&queue));
        queue
    }

    fn tags_code(&self, record: &RecordView<'_>) -> i64 {
        tags_code_of_record(record, self.recovery.delay_levels)
    }
}

/// The unit of `record` in a batch queue, of which `unit` is the part that all units have.
pub(crate) fn batch_unit(record: &RecordView<'_>, unit: Unit) -> BatchUnit {
    let number = |name: &str| -> Option<i64> {
        std::str::from_utf8(record.property(name)?).ok()?.parse().ok()
    };
    let both = number(properties::INNER_BASE).zip(number(properties::INNER_NUM));
    let (base_offset, count) = both
        .and_then(|(base, count)| Some((base, i16::try_from(count).ok().filter(|n| *n > 0)?)))
        .filter(|(base, _)| (0..MAX_QUEUE_OFFSET).contains(base))
        .unwrap_or((record.queue_offset(), 1));
    let store_timestamp_ms = record.store_timestamp_ms();
    BatchUnit { unit, store_timestamp_ms, base_offset, count }
}

/// The tags code that the unit of `record` has.
pub(crate) fn tags_code_of_record(record: &RecordView<'_>, delay_levels: &DelayLevels) -> i64 {
    if is_schedule_topic(record.topic()) {
        let tags = schedule_tags(record.properties(), |level| delay_levels.delay_ms(level));
        return tags.code(record.store_timestamp_ms());
    }
    tags_code_of_properties(record.properties())
}
