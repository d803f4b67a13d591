//! What a store does before it takes messages: finds the end of the log, and makes the consume
//! queues agree with it.
//!
//! 1. Where to begin reading. After a clean stop everything is dispatched, so reading begins a little
//!    before the newest unit of all queues. After a crash it begins at the newest file whose first
//!    record is older than the checkpoint.
//! 2. The log is read from there to where no sound record follows, and cut there. A damaged part that
//!    has sound records behind it is reported and left in place.
//! 3. Records that a queue lacks are dispatched to it. A queue that lacks earlier ones too is made
//!    anew from the whole log.
//! 4. Units that lead behind the end are cut.
//!
//! The reference trusts more and repairs less, see `CommitLog.recoverNormally` and
//! `recoverAbnormally` (store), 5.5.0.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use oxmq_protocol::message::record::SMALLEST_RECORD_BYTES;
use oxmq_protocol::message::{RecordView, properties, sys_flag, tags_code_of_properties};
use tracing::{error, info, warn};

use super::BatchTopics;
use super::light::{LIGHT_QUEUE_ID, offset_in, places as light_places};
use super::put::{is_schedule_topic, is_storable_topic, schedule_tags};
use crate::checkpoint::Checkpoint;
use crate::commit_log::{
    CommitLog, LogFiles, RecordCheck, ScanStop, first_record, record_at, scan,
};
use crate::config::StoreConfig;
use crate::consume_queue::{
    BatchUnit, ConsumeQueue, QueueFiles, QueueKind, QueueTable, QueueWriter, Unit, load_queues,
};
use crate::delay_level::DelayLevels;
use crate::error::StoreError;
use crate::limits::{MAX_QUEUE_OFFSET, WRITE_AFTER_RECOVERED_UNITS};

/// Log bytes before the newest unit that are read again after a clean stop.
const REREAD_BYTES: i64 = 64 << 20;

/// Everything that recovery works on.
pub(super) struct Recovery<'a> {
    pub(super) config: &'a StoreConfig,
    pub(super) delay_levels: &'a DelayLevels,
    pub(super) log: &'a CommitLog,
    pub(super) queues: &'a QueueTable,
    pub(super) queue_files: &'a QueueFiles,
    pub(super) queue_writer: &'a QueueWriter,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) batch_topics: &'a BatchTopics,
    pub(super) clean: bool,
}

impl Recovery<'_> {
    pub(super) fn run(&self) -> Result<(), StoreError> {
        load_queues(self.queue_files, self.queues, !self.clean)?;
        let is_other_kind =
            |queue: &ConsumeQueue| queue.kind() != self.batch_topics.kind_of(queue.topic());
        for queue in self.queues.remove(is_other_kind) {
            // The reference does not start with it.
            warn!(topic = %queue.topic(), queue_id = queue.queue_id(), "queue is not used: its topic has queues of the other kind");
        }
        let files = self.log.files();
        if files.is_empty() {
            return self.start_empty();
        }
        let (from, known_before) = self.start_position(&files);
        let mut dispatcher = Dispatcher::new(self, Mode::Newest { known_before });
        let stop = scan(&files, from, self.record_check(), |record, at| {
            dispatcher.visit(record, at).map(drop)
        })?;
        for (from, to) in &stop.damaged {
            error!(from, to, "part of the log is damaged and was left where it is");
        }
        if let Some(why) = &stop.why
            && !ends_in_zeros(&files, stop.end)
        {
            warn!(phy_offset = stop.end, %why, "the log ends at a record that is not sound");
        }
        let (count, incomplete) = (dispatcher.count, dispatcher.incomplete);
        info!(from, to = stop.end, dispatched = count, clean = self.clean, "log recovered");
        self.rebuild(&files, incomplete, stop.end)?;
        for queue in self.queues.all() {
            if queue.lock().max_phy() > stop.end {
                warn!(topic = %queue.topic(), queue_id = queue.queue_id(), "consume queue is ahead of the log: cut");
                queue.cut_behind(self.queue_files, stop.end)?;
            }
        }
        let min = files.first().map_or(0, |file| file.start());
        let last_timestamp_ms = self.last_timestamp(&files, &stop);
        drop(files);
        self.log.begin_at(stop.end, last_timestamp_ms)?;
        self.queue_writer.write_all(stop.end)?;
        for queue in self.queues.all() {
            queue.correct_min_offset(self.queue_files, min)?;
        }
        if let Some(confirmed) = stop.last_record {
            self.checkpoint.update(|values| values.confirm_phy_offset = confirmed);
        }
        Ok(())
    }

    /// Without a log nothing can be in a queue.
    fn start_empty(&self) -> Result<(), StoreError> {
        for queue in self.queues.remove(|_| true) {
            warn!(topic = %queue.topic(), queue_id = queue.queue_id(), "consume queue without a log removed");
            queue.delete(self.queue_files)?;
        }
        self.log.begin_at(0, 0)
    }

    fn record_check(&self) -> RecordCheck {
        if self.config.force_verify_prop_crc {
            RecordCheck::PropertyCrc
        } else if self.config.check_crc_on_recover {
            RecordCheck::BodyCrc
        } else {
            RecordCheck::Lengths
        }
    }

    /// Where to begin reading, and before which position the queues on disk are all that there are.
    fn start_position(&self, files: &LogFiles) -> (i64, i64) {
        if self.clean
            && let Some(positions) = self.around_newest_unit(files)
        {
            return positions;
        }
        let until = self.checkpoint.values().min_timestamp();
        let is_old = |record: &RecordView<'_>| {
            record.store_timestamp_ms() != 0 && record.store_timestamp_ms() <= until
        };
        let newest_old = files.iter().rev().find(|file| {
            first_record(file, self.record_check()).is_some_and(|record| is_old(&record))
        });
        (newest_old.or(files.first()).map_or(0, |file| file.start()), 0)
    }

    /// A record boundary a little before the newest unit of all queues, and the end of that unit's
    /// record, when this is there. What follows the first is read again, in case a single queue
    /// lags.
    fn around_newest_unit(&self, files: &LogFiles) -> Option<(i64, i64)> {
        let queues = self.queues.all();
        let newest = queues.iter().max_by_key(|queue| queue.lock().max_phy())?;
        let (min, max) = newest.bounds();
        let unit = newest.unit(self.queue_files, max.checked_sub(1)?).ok()??;
        let newest_offset = match newest.kind() {
            QueueKind::Simple => max - 1,
            QueueKind::Batch => newest.batch_unit(self.queue_files, max - 1).ok()??.base_offset,
        };
        let record = record_at(files, unit.phy_offset)?;
        let agrees = record.total_bytes() as i64 == i64::from(unit.size)
            && offset_in(&record, newest.topic(), newest.queue_id()) == Some(newest_offset);
        if !agrees {
            return None;
        }
        let end = unit.end();
        // Units of records that are deleted lead before the log.
        let from = (unit.phy_offset - REREAD_BYTES).max(files.first()?.start());
        let (mut low, mut high) = (min, max - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let unit = newest.unit(self.queue_files, middle).ok()??;
            if unit.phy_offset < from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some((newest.unit(self.queue_files, low).ok()??.phy_offset, end))
    }

    /// Makes the queues that lack units before the scanned part anew from the whole log.
    fn rebuild(
        &self,
        files: &LogFiles,
        incomplete: HashSet<u64>,
        end: i64,
    ) -> Result<(), StoreError> {
        if incomplete.is_empty() {
            return Ok(());
        }
        warn!(queues = incomplete.len(), "consume queues lack units: made anew from the log");
        for queue in self.queues.all() {
            if incomplete.contains(&queue.uid()) {
                queue.cut_at(self.queue_files, 0)?;
                queue.lock().begin_at(0);
            }
        }
        let from = files.first().map_or(0, |file| file.start());
        let mut dispatcher = Dispatcher::new(self, Mode::Whole { only: incomplete, end });
        scan(files, from, RecordCheck::Lengths, |record, at| {
            dispatcher.visit(record, at).map(drop)
        })?;
        info!(dispatched = dispatcher.count, "consume queues made anew");
        Ok(())
    }

    /// Store time of the newest record, which may lie before the scanned part.
    fn last_timestamp(&self, files: &LogFiles, stop: &ScanStop) -> i64 {
        if stop.last_record.is_some() {
            return stop.last_timestamp_ms;
        }
        let queues = self.queues.all();
        let newest = queues.iter().max_by_key(|queue| queue.lock().max_phy());
        newest
            .and_then(|queue| {
                let unit = queue.unit(self.queue_files, queue.bounds().1 - 1).ok()??;
                Some(record_at(files, unit.phy_offset)?.store_timestamp_ms())
            })
            .unwrap_or(0)
    }
}

/// Whether the log simply was not written further.
fn ends_in_zeros(files: &LogFiles, end: i64) -> bool {
    crate::commit_log::bytes_at(files, end, 8).is_some_and(|head| head.iter().all(|b| *b == 0))
}

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
    count: u64,
    since_write: u64,
    /// Queues that lack units before the part that is read.
    incomplete: HashSet<u64>,
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
                Ordering::Less => self.go_back(&queue, offset)?,
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
    /// to be made anew first, or when the offset is a damaged one.
    fn go_back(&mut self, queue: &Arc<ConsumeQueue>, offset: i64) -> Result<bool, StoreError> {
        if offset == 0 {
            // The topic was deleted and made anew.
            self.restart(queue, 0)?;
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

    /// Empties `queue` and makes it begin at `offset`.
    fn restart(&self, queue: &ConsumeQueue, offset: i64) -> Result<(), StoreError> {
        queue.cut_at(self.recovery.queue_files, 0)?;
        queue.lock().begin_at(offset);
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
