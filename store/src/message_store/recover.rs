//! What a store does before it takes messages: finds the end of the log, and makes the consume
//! queues agree with it.
//!
//! 1. Where to begin reading. After a clean stop everything is dispatched, so reading begins a little
//!    before the newest unit of all queues. After a crash it begins at the newest file whose first
//!    record is older than the checkpoint. Where no queue has a unit, they have been taken away to be
//!    made anew, and the whole log is read.
//! 2. The log is read from there to where no sound record follows, and cut there. A damaged part that
//!    has sound records behind it is reported and left in place, and so is an end that the disk does
//!    not give back: it is not one that was never written.
//! 3. Records that a queue lacks are dispatched to it. A queue that lacks earlier ones too is made
//!    anew from the whole log, as is one whose files the disk does not give back.
//! 4. Units that lead behind the end are cut.
//!
//! The reference trusts more and repairs less, see `CommitLog.recoverNormally` and
//! `recoverAbnormally` (store), 5.5.0.

use std::collections::HashSet;
use std::sync::Arc;

use oxmq_protocol::message::RecordView;
use oxmq_protocol::message::record::BLANK_HEAD_BYTES;
use tracing::{error, info, warn};

use super::BatchTopics;
use super::dispatch::{Dispatcher, Mode};
use super::light::offset_in;
use crate::checkpoint::Checkpoint;
use crate::commit_log::{
    CommitLog, Damage, LogFiles, Reader, RecordCheck, ScanStop, first_record, record_at, scan,
};
use crate::config::StoreConfig;
use crate::consume_queue::{
    ConsumeQueue, QueueFiles, QueueKind, QueueTable, QueueWriter, load_queues,
};
use crate::delay_level::DelayLevels;
use crate::error::StoreError;
use crate::mapped_file::MappedFile;

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
        let lacking = load_queues(self.queue_files, self.queues, !self.clean)?;
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
        // What is not in the log any more is all the same kept: it is where the queue goes on.
        let log_start = files.first().map_or(0, |file| file.start());
        let is_in_log = |queue: &ConsumeQueue| queue.lock().max_phy() > log_start;
        let queues = self.queues.all().into_iter();
        dispatcher.incomplete = queues
            .filter(|queue| {
                let uid = queue.uid();
                lacking.all.contains_key(&uid)
                    || lacking.extended.contains(&uid) && is_in_log(queue)
            })
            .map(|queue| queue.uid())
            .collect();
        let stop = scan(&files, from, self.record_check(), |record, at| {
            dispatcher.visit(record, at).map(drop)
        })?;
        for Damage { from, to, unreadable } in &stop.damaged {
            error!(from, to, "part of the log is damaged and was left where it is");
            if let Some(unreadable) = unreadable {
                unreadable.report(&files, "the disk does not give back this part of the log");
            }
        }
        let end = self.log_end(&files, &stop);
        if let Some(why) = &stop.why
            && stop.unreadable.is_none()
            && !begins_with_zeros(&files, stop.end)
        {
            warn!(phy_offset = stop.end, %why, "the log ends at a record that is not sound");
        }
        let (count, incomplete) = (dispatcher.count, dispatcher.incomplete);
        info!(from, to = stop.end, dispatched = count, clean = self.clean, "log recovered");
        self.rebuild(&files, incomplete, stop.end)?;
        for queue in self.queues.all() {
            if let Some(end) = lacking.all.get(&queue.uid()) {
                queue.go_on_at(self.queue_files, *end)?;
            }
        }
        for queue in self.queues.all() {
            if queue.lock().max_phy() > end {
                warn!(topic = %queue.topic(), queue_id = queue.queue_id(), "consume queue is ahead of the log: cut");
                queue.cut_behind(self.queue_files, end)?;
            }
        }
        let min = files.first().map_or(0, |file| file.start());
        let last_timestamp_ms = self.last_timestamp(&files, &stop);
        drop(files);
        self.log.begin_at(end, last_timestamp_ms)?;
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
        if self.queues.all().iter().all(|queue| queue.lock().max() == 0) {
            return (files.first().map_or(0, |file| file.start()), 0);
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

    /// Where the log goes on: at its end, unless something behind that cannot be read.
    ///
    /// Nobody knows whether there are messages then that were acknowledged. The queues' units of them, and the bytes,
    /// stay what they are in case that the disk gives them back some time, and the log goes on in a file of its own.
    /// The next start steps over that part as one that is damaged.
    fn log_end(&self, files: &LogFiles, stop: &ScanStop) -> i64 {
        let Some(unreadable) = &stop.unreadable else { return stop.end };
        let is_kept = |file: &&Arc<MappedFile>| {
            file.start() <= unreadable.position || !begins_with_zeros(files, file.start())
        };
        let end = files.iter().rev().find(is_kept).map_or(stop.end, |file| file.end());
        unreadable
            .report(files, "the disk does not give back the log's end, which was left where it is");
        warn!(sound_to = stop.end, phy_offset = end, "the log goes on in another file");
        end
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
fn begins_with_zeros(files: &LogFiles, end: i64) -> bool {
    let head = Reader::of_single_records(files).record_bytes(end);
    head.is_ok_and(|bytes| {
        let head = bytes.and_then(|bytes| bytes.first_chunk());
        head.is_some_and(|head: &[u8; BLANK_HEAD_BYTES]| head.iter().all(|b| *b == 0))
    })
}
