//! Where the files of a queue are, and how long they are.

use std::io;
use std::path::{Path, PathBuf};

use tracing::error;

use crate::config::StoreConfig;
use crate::consume_queue::{QueueKind, file_name};
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;

/// Directory in that of the store.
pub(super) const DIR: &str = "compaction";
const LOG_DIR: &str = "compactionLog";
const QUEUE_DIR: &str = "compactionCq";
/// Where new files are made before they take the place of others.
const COMPACTING_DIR: &str = "compacting";

/// Log files hold at least as many bytes as this many queue files.
///
/// Reference: `CompactionLog.getCompactionLogSize` (store), 5.5.0.
const LEAST_QUEUE_FILES: u64 = 5;

/// Directories of the files of one queue.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// That of the store.
    root: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) queue: PathBuf,
}

impl Place {
    /// That of a queue of the store in `root`.
    pub(crate) fn of(root: &Path, topic: &str, queue_id: i32) -> Self {
        let below = |dir: PathBuf| dir.join(topic).join(queue_id.to_string());
        let (log, queue) = (below(Self::log_root(root)), below(Self::queue_root(root)));
        Self { root: root.to_owned(), log, queue }
    }

    /// The directory that has a directory with logs for each topic.
    pub(crate) fn log_root(root: &Path) -> PathBuf {
        root.join(DIR).join(LOG_DIR)
    }

    /// The directory that has a directory with queues for each topic.
    pub(crate) fn queue_root(root: &Path) -> PathBuf {
        root.join(DIR).join(QUEUE_DIR)
    }

    /// Where new files are made.
    pub(super) fn compacting(&self) -> Self {
        let below = |dir: &Path| dir.join(COMPACTING_DIR);
        Self { root: self.root.clone(), log: below(&self.log), queue: below(&self.queue) }
    }

    /// The log file that begins at `start`, and its queue file.
    pub(crate) fn paths(&self, start: u64) -> [PathBuf; 2] {
        [self.log.join(file_name(start)), self.queue.join(file_name(start))]
    }

    /// Moves a file that is of no use, and `why`, out of the store.
    pub(super) fn set_aside(&self, fs: &Fs, path: &Path, why: &str) -> Result<(), StoreError> {
        let kept = fs.set_aside(&self.root, path)?;
        error!(path = %path.display(), why, kept = %kept.display(), "file of a compacted log set aside");
        Ok(())
    }

    pub(super) fn create(&self, fs: &Fs) -> Result<(), StoreError> {
        self.dirs().into_iter().try_for_each(|dir| fs.create_dir_all(dir).doing("create", dir))
    }

    /// Removes both directories and all in them, that of the log last.
    pub(super) fn remove(&self, fs: &Fs) -> Result<(), StoreError> {
        let [log, queue] = self.dirs();
        fs.remove_dir_all(queue).doing("remove", queue)?;
        fs.remove_dir_all(log).doing("remove", log)
    }

    /// Makes the names in both directories durable.
    pub(super) fn sync(&self, fs: &Fs) -> Result<(), StoreError> {
        self.dirs().into_iter().try_for_each(|dir| fs.sync_dir(dir).doing("flush", dir))
    }

    fn dirs(&self) -> [&Path; 2] {
        [&self.log, &self.queue]
    }

    /// Removes all files of a topic.
    pub(super) fn remove_topic(fs: &Fs, root: &Path, topic: &str) -> Result<(), StoreError> {
        for dir in [Self::queue_root(root).join(topic), Self::log_root(root).join(topic)] {
            match fs.remove_dir_all(&dir) {
                // Messages that came meanwhile have begun the topic anew.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other.doing("remove", &dir)?,
            }
        }
        Ok(())
    }
}

/// Bytes of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) log: u64,
    pub(crate) queue: u64,
}

impl Sizes {
    /// What is configured, in whole units, and log files in whole queue files: the reference takes the
    /// remainder of positions of either by the length of the other.
    pub(crate) fn of(config: &StoreConfig) -> Self {
        let unit_bytes = QueueKind::Batch.unit_bytes() as u64;
        let queue = config.compaction_cq_mapped_file_size / unit_bytes * unit_bytes;
        let wanted = config.compaction_mapped_file_size;
        let (whole, rest) = match queue {
            0 => (0, 0),
            _ => (wanted / queue, wanted % queue),
        };
        let log = match whole {
            _ if whole < LEAST_QUEUE_FILES => queue.saturating_mul(LEAST_QUEUE_FILES),
            _ if rest > 0 && rest < queue / 2 => whole * queue,
            _ => (whole + 1).saturating_mul(queue),
        };
        Self { log, queue }
    }

    /// Settings that lead to these sizes.
    pub(crate) fn settings(self) -> (u64, u64) {
        (self.log.saturating_sub(self.queue / 2), self.queue)
    }

    /// Whether files can be that long.
    pub(crate) fn are_possible(self) -> bool {
        // A unit and the end behind it; the reference counts positions with signed 32-bit numbers.
        self.queue >= 2 * QueueKind::Batch.unit_bytes() as u64 && self.log <= i32::MAX as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_the_reference_rounds_them() {
        let sizes = |log, queue| {
            let config = StoreConfig {
                compaction_mapped_file_size: log,
                compaction_cq_mapped_file_size: queue,
                ..StoreConfig::in_dir("/")
            };
            let Sizes { log, queue } = Sizes::of(&config);
            (log, queue)
        };
        assert_eq!(sizes(100 << 20, 10 << 20), (104_857_460, 10_485_746));
        assert_eq!(sizes(9_200, 460), (9_660, 460));
        assert_eq!(sizes(9_300, 499), (9_200, 460));
        assert_eq!(sizes(9_430, 460), (9_660, 460));
        assert_eq!(sizes(1, 460), (2_300, 460));
        assert_eq!(sizes(1, 1), (0, 0));
        for (log, queue) in [(2_300, 460), (9_660, 460), (104_857_460, 10_485_746)] {
            let (log_setting, queue_setting) = Sizes { log, queue }.settings();
            assert_eq!(sizes(log_setting, queue_setting), (log, queue));
        }
    }
}
