//! Removing files of queues, as a whole or as far as they are not needed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{FileKey, QueueFiles, list_files};
use crate::consume_queue::queue::ConsumeQueue;
use crate::consume_queue::unit::{QueueKind, Unit};
use crate::error::{IoContext, StoreError};
use crate::sync::lock;

/// Topics and ids of deleted queues whose files could not be removed: a queue of the same name must not
/// write among them, as the next start would take their units for its own.
#[derive(Debug, Default)]
pub(super) struct Remains {
    any: AtomicBool,
    queues: Mutex<HashSet<(Arc<str>, i32)>>,
}

impl QueueFiles {
    /// Removes the directories of a queue.
    ///
    /// # Errors
    ///
    /// When that fails. It is tried again before another queue of that name is written.
    pub(crate) fn delete_queue(&self, queue: &ConsumeQueue) -> Result<(), StoreError> {
        self.remove_dirs(queue).inspect_err(|_| {
            self.remains().insert((Arc::clone(queue.topic()), queue.queue_id()));
            self.remains.any.store(true, Ordering::Release);
        })
    }

    /// Removes what a deleted queue of the same name has left. To be called before `queue` is written.
    pub(crate) fn remove_remains(&self, queue: &ConsumeQueue) -> Result<(), StoreError> {
        if !self.remains.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut remains = self.remains();
        let key = (Arc::clone(queue.topic()), queue.queue_id());
        if remains.contains(&key) {
            self.remove_dirs(queue)?;
            remains.remove(&key);
            self.remains.any.store(!remains.is_empty(), Ordering::Release);
        }
        Ok(())
    }

    fn remains(&self) -> MutexGuard<'_, HashSet<(Arc<str>, i32)>> {
        lock(&self.remains.queues)
    }

    fn remove_dirs(&self, queue: &ConsumeQueue) -> Result<(), StoreError> {
        self.forget(|key| key.uid == queue.uid());
        let dir_of = |kind| self.queue_dir(queue, kind);
        let dirs = [self.extended_dir(queue)].into_iter().chain(QueueKind::ALL.map(dir_of));
        let mut outcome = Ok(());
        for dir in dirs {
            outcome = outcome.and(self.fs.remove_dir_all(&dir).doing("remove", &dir));
        }
        outcome
    }

    /// Removes files from the front while their last unit is before `min_phy`; keeps the last file.
    pub(crate) fn delete_expired(
        &self,
        queue: &ConsumeQueue,
        min_phy: i64,
    ) -> Result<(), StoreError> {
        let dir = self.queue_dir(queue, queue.kind());
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let starts = list_files(&dir)?;
        for start in starts.iter().rev().skip(1).rev() {
            let last_of = |count: u64| {
                let from = (start + file_bytes) / unit_bytes - count;
                let mut bytes = Vec::new();
                self.read(queue, from as i64, count as usize, true, &mut bytes)?;
                Ok::<_, StoreError>(queue.kind().decode_all(&bytes).rfind(Unit::is_valid))
            };
            // One unit must not decide about all others: where the last one is damaged, one before it tells.
            let last = match last_of(1)? {
                None => last_of(file_bytes / unit_bytes)?,
                found => found,
            };
            if last.is_some_and(|unit| unit.phy_offset >= min_phy) {
                break;
            }
            self.remove(queue, FileKey { uid: queue.uid(), extended: false, start: *start })?;
        }
        Ok(())
    }

    /// Removes the files of a queue that begin at or behind `offset`, and clears units from there
    /// on in the file before them.
    pub(crate) fn cut(&self, queue: &ConsumeQueue, offset: i64) -> Result<(), StoreError> {
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let starts = list_files(&self.queue_dir(queue, queue.kind()))?;
        self.cut_files(queue, false, &starts, file_bytes, offset as u64 * unit_bytes)
    }

    /// Removes the files of extended units that begin at or behind `position`, and clears the file
    /// before them from there on.
    pub(crate) fn cut_extended(
        &self,
        queue: &ConsumeQueue,
        position: u64,
    ) -> Result<(), StoreError> {
        let starts = list_files(&self.extended_dir(queue))?;
        self.cut_files(queue, true, &starts, self.extended.file_bytes, position)
    }

    /// Removes the files of extended units that end before `position`.
    ///
    /// Reference: `ConsumeQueueExt.truncateByMinAddress` (store), 5.5.0.
    pub(crate) fn delete_extended_before(
        &self,
        queue: &ConsumeQueue,
        position: u64,
    ) -> Result<(), StoreError> {
        for start in list_files(&self.extended_dir(queue))? {
            if start + self.extended.file_bytes < position {
                self.remove(queue, FileKey { uid: queue.uid(), extended: true, start })?;
            }
        }
        Ok(())
    }

    fn cut_files(
        &self,
        queue: &ConsumeQueue,
        extended: bool,
        starts: &[u64],
        file_bytes: u64,
        at: u64,
    ) -> Result<(), StoreError> {
        for &start in starts {
            let key = FileKey { uid: queue.uid(), extended, start };
            if start >= at {
                self.remove(queue, key)?;
            } else if at < start + file_bytes {
                let (file, path) = self.file_for_writing(queue, key)?;
                self.fs.clear_from(&file, &path, at - start, file_bytes).doing("clear", &path)?;
            }
        }
        Ok(())
    }

    fn remove(&self, queue: &ConsumeQueue, key: FileKey) -> Result<(), StoreError> {
        self.forget(|other| other == key);
        let path = self.path_of(queue, key);
        self.fs.remove_file(&path).doing("remove", &path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::super::{QueueTable, QueueWriter};
    use super::*;
    use crate::config::StoreConfig;
    use crate::fs::Fs;

    #[test]
    fn file_whose_last_unit_is_damaged_goes_when_the_one_before_it_is_expired() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            mapped_file_size_consume_queue: 10 * 20,
            ..StoreConfig::in_dir(dir.path())
        };
        let files = Arc::new(QueueFiles::new(Fs::default(), &config));
        let writer = QueueWriter::new(Arc::clone(&files), None);
        let queue = QueueTable::default().get_or_create("topic", 0, QueueKind::Simple);
        for number in 0..30 {
            let outcome =
                queue.lock().push(&Unit { phy_offset: 100 * number, size: 100, tags_code: 0 });
            writer.after_push(&queue, outcome);
        }
        writer.write_all(i64::MAX).unwrap();
        let path = |name: &str| dir.path().join("consumequeue/topic/0").join(name);
        let first = path("00000000000000000000");
        let file = std::fs::OpenOptions::new().write(true).open(&first).unwrap();
        file.write_all_at(&[0; 20], 180).unwrap();
        files.delete_expired(&queue, 800).unwrap();
        assert!(first.exists(), "it has the unit of a record that is there");
        files.delete_expired(&queue, 900).unwrap();
        assert!(!first.exists());
        assert!(path("00000000000000000200").exists());
    }
}
