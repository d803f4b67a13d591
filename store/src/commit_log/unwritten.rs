//! Records on their way from memory into the files, where senders wait for the disk.
//!
//! Nobody reads what is not on disk then, so a record need not be in its file before that: whoever
//! flushes writes all that is there by one call first. What must survive the process although nobody
//! waits for the disk is written by whoever says so, and so is what has become too much to keep.
//!
//! What cannot be written, most often for want of space, stays in memory, and those who wait for it are refused. From
//! then on each sender tries again before it adds anything, and so does the flusher: nothing is taken
//! until there is room, and nothing has to be opened anew then.
//!
//! The order of the locks: one flush, one writer of files, one appender.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tracing::{info, warn};

use super::CommitLog;
use super::append::Appender;
use crate::disk::is_full;
use crate::limits::MAX_UNWRITTEN_BYTES;
use crate::mapped_file::Unwritten;
use crate::sync::lock;

/// What is not in the files, but for what the appender still has.
#[derive(Debug, Default)]
pub(super) struct WriteOut {
    /// Held by whoever writes.
    writing: Mutex<Writing>,
    /// The files have everything before this position.
    written: AtomicI64,
    /// Since when a sender has been waiting for that, in milliseconds since 1970; zero when none is.
    awaited_since_ms: AtomicI64,
    /// What is there could not be written the last time.
    failed: AtomicBool,
    /// Why, if it was not for want of space.
    failure: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Writing {
    /// In the order of the log. What could not be written stays.
    queue: VecDeque<Unwritten>,
    /// An empty buffer that is large enough already.
    spare: Vec<u8>,
}

impl WriteOut {
    /// Since when a sender has been waiting for something to be written; zero when none is.
    #[inline]
    pub(super) fn awaited_since_ms(&self) -> i64 {
        self.awaited_since_ms.load(Ordering::Relaxed)
    }

    /// Whether what is there could not be written the last time.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Keeps how it went. Called by whoever writes.
    fn note(&self, failure: Option<&io::Error>) {
        *lock(&self.failure) =
            failure.filter(|error| !is_full(error)).map(|error| error.to_string());
        let failed_before = self.failed.swap(failure.is_some(), Ordering::AcqRel);
        match failure {
            Some(error) if !failed_before => {
                warn!(%error, "records not written: nothing is taken until they are");
            }
            None if failed_before => info!("records written again"),
            _ => {}
        }
    }

    pub(super) fn set_written(&self, position: i64) {
        self.written.store(position, Ordering::Release);
    }
}

impl CommitLog {
    /// Everything before this position can be read.
    pub(crate) fn written(&self) -> i64 {
        if self.flushed_often {
            self.write_out.written.load(Ordering::Acquire)
        } else {
            self.max_offset()
        }
    }

    /// Why what is in memory could not be written the last time, if it was not for want of space.
    pub(crate) fn write_failure(&self) -> Option<String> {
        if self.write_out.has_failed() { lock(&self.write_out.failure).clone() } else { None }
    }

    /// Writes everything that is in the log into its files. Returns the log's end, and the newest
    /// store time up to there.
    ///
    /// # Errors
    ///
    /// When something cannot be written. It stays in memory and is tried again the next time.
    pub(crate) fn write_out(&self) -> io::Result<(i64, i64)> {
        if !self.flushed_often {
            return Ok(self.end_and_timestamp());
        }
        let out = &self.write_out;
        let mut writing = lock(&out.writing);
        let Writing { queue, spare } = &mut *writing;
        let end = {
            let mut appender = self.lock_appender();
            appender.give_unwritten(queue, spare);
            (self.max_offset(), appender.last_store_timestamp_ms)
        };
        while let Some(unwritten) = queue.pop_front() {
            if let Err(error) = unwritten.write(&self.fs) {
                queue.push_front(unwritten);
                out.note(Some(&error));
                return Err(error);
            }
            out.set_written(unwritten.end());
            let buffer = unwritten.into_buffer();
            if buffer.capacity() <= 2 * MAX_UNWRITTEN_BYTES {
                *spare = buffer;
            }
        }
        out.note(None);
        Ok(end)
    }

    /// Has a sender write what is there when it is too much, or could not be written before.
    #[inline]
    pub(super) fn make_room(&self, now_ms: i64) -> io::Result<()> {
        let is_little = self.max_offset() - self.written() <= MAX_UNWRITTEN_BYTES as i64;
        if is_little && !self.write_out.has_failed() {
            return Ok(());
        }
        self.write_out_at_once(now_ms)
    }

    /// [`Self::write_out`] for a sender. Others can tell by [`Self::locked_for_ms`] that it is stuck.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn write_out_at_once(&self, now_ms: i64) -> io::Result<()> {
        // All who come now wait for the same; the first of them says since when.
        let since = &self.write_out.awaited_since_ms;
        let first = since.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let outcome = self.write_out();
        if first {
            since.store(0, Ordering::Relaxed);
        }
        outcome.map(drop)
    }
}

impl Appender {
    fn give_unwritten(&mut self, queue: &mut VecDeque<Unwritten>, spare: &mut Vec<u8>) {
        queue.extend(self.rolled.drain(..));
        queue.extend(self.writer.as_mut().and_then(|writer| writer.take_unwritten(spare)));
    }
}
