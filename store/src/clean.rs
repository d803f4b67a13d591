//! Deleting what is old, and refusing messages while the disk is too full.
//!
//! Reference: `DefaultMessageStore.CleanCommitLogService` (store), 5.5.0.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use oxmq_protocol::live::Live;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::commit_log::CommitLog;
use crate::compaction::Compaction;
use crate::config::{FlushDiskType, StoreConfig};
use crate::consume_queue::{QueueKind, QueueTable, QueueWriter};
use crate::disk::DiskSpace;
use crate::error::StoreError;
use crate::fs::Fs;
use crate::index::Index;
use crate::limits::RESERVED_DISK_BYTES;
use crate::local_time::TimeZone;
use crate::message_store::Environment;

/// Rounds in which a deletion by hand goes on, as in the reference.
const MANUAL_ROUNDS: u32 = 20;

/// How full the disk may get, in percent; held in the reference's bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    expired_at_any_hour: u32,
    pub(crate) forcibly: u32,
    refuse: u32,
}

impl Thresholds {
    pub(crate) fn of(config: &StoreConfig) -> Self {
        Self {
            expired_at_any_hour: config.disk_max_used_space_ratio.clamp(10, 95),
            forcibly: config.disk_space_clean_forcibly_ratio.clamp(30, 85),
            refuse: config.disk_space_warning_level_ratio.clamp(35, 90),
        }
    }

    /// From where on files are deleted before they expire: at the latest from where messages are refused,
    /// which else would be for good.
    fn pressing(&self) -> u32 {
        self.forcibly.min(self.refuse)
    }
}

/// What a store deletes when.
#[derive(Debug)]
pub(crate) struct Cleaner {
    fs: Fs,
    log: Arc<CommitLog>,
    queues: Arc<QueueTable>,
    queue_writer: Arc<QueueWriter>,
    index: Option<Arc<Index>>,
    compaction: Arc<Compaction>,
    clock: Clock,
    zone: TimeZone,
    config: Arc<Live<StoreConfig>>,
    /// Whether units wait in memory until their records are flushed.
    only_flushed: bool,
    manual_rounds: AtomicU32,
    /// Start of the log that queues and index agree with.
    followed_to: AtomicI64,
    /// Used percent of the disk when messages are refused because of it; zero when they are not.
    refused_at_percent: AtomicU32,
}

impl Cleaner {
    pub(crate) fn new(
        config: Arc<Live<StoreConfig>>,
        Environment { clock, fs }: Environment,
        log: Arc<CommitLog>,
        queues: Arc<QueueTable>,
        queue_writer: Arc<QueueWriter>,
        index: Option<Arc<Index>>,
        compaction: Arc<Compaction>,
    ) -> Self {
        Self {
            fs,
            log,
            queues,
            queue_writer,
            index,
            compaction,
            clock,
            zone: TimeZone::local(),
            only_flushed: config.flush_disk_type == FlushDiskType::SyncFlush,
            config,
            manual_rounds: AtomicU32::new(0),
            followed_to: AtomicI64::new(0),
            refused_at_percent: AtomicU32::new(0),
        }
    }

    /// Used percent of the disk, when messages are refused because of it.
    pub(crate) fn refused_at_percent(&self) -> Option<u32> {
        Some(self.refused_at_percent.load(Ordering::Relaxed)).filter(|percent| *percent > 0)
    }

    /// Lets the next rounds delete expired files at any hour.
    pub(crate) fn begin_manual(&self) {
        self.manual_rounds.store(MANUAL_ROUNDS, Ordering::Relaxed);
    }

    /// Looks at the disk, and refuses messages while it is too full. Returns used percent, and whether there is
    /// less than the reserve.
    pub(crate) fn look(&self) -> (u32, bool) {
        let queues = self.queue_writer.files().root(QueueKind::Simple);
        let spaces =
            [self.log.dirs().roomiest(&self.fs), self.fs.space(queues)].into_iter().flatten();
        let fullest = spaces.max_by_key(DiskSpace::used_percent);
        let percent = fullest.as_ref().map_or(0, DiskSpace::used_percent);
        let no_reserve = fullest.is_some_and(|space| space.available_bytes < RESERVED_DISK_BYTES);
        let thresholds = Thresholds::of(&self.config);
        self.log.dirs().set_full_percent(thresholds.forcibly);
        self.note_fullness(percent, percent > thresholds.refuse || no_reserve);
        (percent, no_reserve)
    }

    /// Looks at the disk and deletes what is due.
    pub(crate) fn round(&self) -> Result<(), StoreError> {
        let (percent, no_reserve) = self.look();
        let thresholds = Thresholds::of(&self.config);
        let manual = self
            .manual_rounds
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rounds| rounds.checked_sub(1))
            .is_ok();
        let is_pressing = percent > thresholds.pressing() || no_reserve;
        let forcibly = self.config.clean_file_forcibly_enable && is_pressing;
        let mut outcome = Ok(());
        if is_pressing || self.is_hour() || manual || percent > thresholds.expired_at_any_hour {
            outcome = self.delete_log_files(forcibly);
        }
        // Of what could not be deleted nothing may keep what was from being followed.
        outcome.and(self.follow_log())
    }

    /// Whether it is one of the hours of `deleteWhen`.
    pub(crate) fn is_hour(&self) -> bool {
        hours(&self.config.delete_when).contains(&self.zone.hour(self.clock.now_ms()))
    }

    fn note_fullness(&self, percent: u32, refuse: bool) {
        let now = if refuse { percent.max(1) } else { 0 };
        let before = self.refused_at_percent.swap(now, Ordering::Relaxed);
        if now > 0 && before == 0 {
            warn!(percent, "disk full: messages are refused");
        } else if now == 0 && before > 0 {
            info!(percent, "disk has room again: messages are taken");
        }
    }

    fn delete_log_files(&self, forcibly: bool) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let reserved = Duration::from_secs(self.config.file_reserved_time.saturating_mul(3_600));
        let batch = self.config.delete_file_batch_max.max(1);
        // What is compacted outlives the log, unless there is no room for it.
        if let Err(error) = self.compaction.secure(self.end()) {
            if !forcibly {
                return Err(error);
            }
            warn!(%error, "messages of compacted topics may be lost");
        }
        self.log.delete_expired(batch, |file| {
            forcibly
                || file.modified().is_ok_and(|modified| {
                    now.duration_since(modified).is_ok_and(|age| age >= reserved)
                })
        })
    }

    /// Position up to which units may be in files.
    fn end(&self) -> i64 {
        if self.only_flushed { self.log.flushed() } else { self.log.max_offset() }
    }

    /// Deletes derived files whose records are gone, when the log begins later than it did.
    fn follow_log(&self) -> Result<(), StoreError> {
        let min = self.log.min_offset();
        if min == self.followed_to.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Units that are not in their files yet would make expired files later.
        self.queue_writer.write_all(self.end())?;
        let files = self.queue_writer.files();
        let mut outcome = Ok(());
        for queue in self.queues.all() {
            outcome = outcome
                .and(queue.delete_expired(files, min))
                .and(queue.correct_min_offset(files, min))
                .and(queue.delete_expired_extended(files));
        }
        if let Some(index) = &self.index {
            outcome = outcome.and(index.delete_expired(min));
        }
        outcome?;
        self.followed_to.store(min, Ordering::Relaxed);
        Ok(())
    }
}

/// The hours that a text such as `04;16` means; what is no hour is left out.
fn hours(text: &str) -> Vec<u32> {
    text.split(';').filter_map(|hour| hour.trim().parse().ok()).filter(|hour| *hour < 24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_as_the_reference_writes_them() {
        assert_eq!(hours("04"), [4]);
        assert_eq!(hours("4; 16;x;24"), [4, 16]);
    }
}
