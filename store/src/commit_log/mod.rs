//! The log: every record once, in the order in which it was taken.
//!
//! ```text
//! commitlog/00000000000000000000   record record ... blank
//! commitlog/00000000001073741824   record record ... (zeros)
//! ```
//!
//! A file is named after the position of its first byte. A record never crosses files: where it
//! does not fit, eight bytes of *blank* head end the file. Reference: `CommitLog` (store), 5.5.0.

mod ahead;
mod append;
mod count;
mod dirs;
mod flush;
mod next;
mod open;
mod reader;
mod scan;
mod stream;
mod unwritten;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

pub(crate) use append::{
    AppendError, Appended, INNER_BASE_DIGITS, InnerBatch, RecordKey, RecordSpan, Records, Tags,
};
pub(crate) use dirs::LogDirs;
pub(crate) use flush::FlushPolicy;
pub(crate) use reader::{Reader, Unreadable};
pub(crate) use scan::{Damage, RecordCheck, ScanStop, first_record, scan, scan_new};

use oxmq_protocol::message::RecordView;
use tracing::info;

pub use count::AppendTotals;
pub use stream::LogStreamError;

use self::ahead::Ahead;
use self::append::Appender;
use self::count::AppendCount;
use self::flush::Flush;
use self::unwritten::WriteOut;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::mapped_file::{MappedFile, Way};
use crate::sync::{read, write};

/// A view of the log's files that stays valid while files are added or deleted.
pub(crate) type LogFiles = Arc<Vec<Arc<MappedFile>>>;

/// The commit log.
#[derive(Debug)]
pub(crate) struct CommitLog {
    fs: Fs,
    dirs: LogDirs,
    file_bytes: u64,
    /// Senders wait for the disk.
    flushed_often: bool,
    files: RwLock<LogFiles>,
    appender: Mutex<Appender>,
    /// Where the log went on when it was opened.
    opened_at: AtomicI64,
    /// Position behind the last record, published after its bytes.
    end: AtomicI64,
    /// When the append lock was taken, in milliseconds since 1970; zero while it is free.
    held_since_ms: AtomicI64,
    appended: AppendCount,
    ahead: Ahead,
    write_out: WriteOut,
    flush: Flush,
}

impl CommitLog {
    /// Where its files are.
    pub(crate) fn dirs(&self) -> &LogDirs {
        &self.dirs
    }

    /// Bytes of one file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// What was appended since the log was opened.
    pub(crate) fn appended(&self) -> AppendTotals {
        self.appended.totals()
    }

    /// How records get into the files.
    fn way(&self) -> Way {
        if self.flushed_often { Way::Later } else { Way::Mapping }
    }

    /// Position of the first byte that is still there.
    pub(crate) fn min_offset(&self) -> i64 {
        self.files().first().map_or(0, |file| file.start())
    }

    /// Position from which on everything was appended since the log was opened.
    pub(crate) fn opened_at(&self) -> i64 {
        self.opened_at.load(Ordering::Relaxed)
    }

    /// Position behind the last record.
    pub(crate) fn max_offset(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    /// The files, oldest first.
    pub(crate) fn files(&self) -> LogFiles {
        Arc::clone(&read(&self.files))
    }

    /// Tells whether a thread is appending now, or waits for what is in memory to be written.
    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.held_since_ms.load(Ordering::Relaxed) != 0 || self.write_out.awaited_since_ms() != 0
    }

    /// Milliseconds for which nobody else has been able to append at `now_ms`.
    pub(crate) fn locked_for_ms(&self, now_ms: i64) -> i64 {
        let since = [self.held_since_ms.load(Ordering::Relaxed), self.write_out.awaited_since_ms()];
        let since = since.into_iter().filter(|since| *since != 0).min();
        since.map_or(0, |since| now_ms.saturating_sub(since).max(0))
    }

    /// Removes files from the front while `expired` says so; never the last one. Readers that still use them
    /// keep their bytes.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed, which stays in the log then, as do those behind it.
    pub(crate) fn delete_expired(
        &self,
        at_most: usize,
        mut expired: impl FnMut(&MappedFile) -> bool,
    ) -> Result<(), StoreError> {
        let files = self.files();
        let candidates = files.len().saturating_sub(1).min(at_most);
        for file in files[..candidates].iter().take_while(|file| expired(file)) {
            self.fs.remove_file(file.path()).doing("remove", file.path())?;
            let mut guard = write(&self.files);
            *guard = Arc::new(guard[1..].to_vec());
            drop(guard);
            info!(path = %file.path().display(), "log file deleted");
        }
        Ok(())
    }

    fn add_file(&self, file: Arc<MappedFile>) {
        let mut guard = write(&self.files);
        let mut files = Vec::with_capacity(guard.len() + 1);
        files.extend(guard.iter().cloned());
        files.push(file);
        *guard = Arc::new(files);
    }
}

/// The `size` bytes at `phy_offset`, when they are written and lie in one file. Whoever asks has seen to it that the
/// disk gives them back.
pub(crate) fn bytes_at(files: &[Arc<MappedFile>], phy_offset: i64, size: i32) -> Option<&[u8]> {
    let file = find_file(files, phy_offset)?;
    let at = usize::try_from(phy_offset - file.start()).ok()?;
    file.read(at, usize::try_from(size).ok()?)
}

/// The record that starts at `phy_offset`, whose size is not known. One that the disk does not give back is logged.
pub(crate) fn record_at(files: &[Arc<MappedFile>], phy_offset: i64) -> Option<RecordView<'_>> {
    let mut log = Reader::of_single_records(files);
    let record = log.record(phy_offset);
    if let Some(unreadable) = log.take_unreadable() {
        unreadable.report(files, "record not read");
    }
    record
}

/// The file of `files` that holds `phy_offset`.
pub(crate) fn find_file(files: &[Arc<MappedFile>], phy_offset: i64) -> Option<&Arc<MappedFile>> {
    let behind = files.partition_point(|file| file.start() <= phy_offset);
    files[..behind].last().filter(|file| phy_offset < file.end())
}
