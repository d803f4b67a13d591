//! Opening the log, and cutting it to what is sound.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use tracing::{info, warn};

use super::ahead::Ahead;
use super::append::Appender;
use super::count::AppendCount;
use super::flush::Flush;
use super::unwritten::WriteOut;
use super::{CommitLog, LogDirs};
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::mapped_file::MappedFile;
use crate::sync::write;

impl CommitLog {
    /// Opens the log in `dirs`. Nothing can be appended before [`Self::begin_at`].
    ///
    /// All bytes of all files count as written until then. With `flushed_often` records are
    /// written when they are flushed.
    pub(crate) fn open(
        fs: &Fs,
        dirs: LogDirs,
        file_bytes: u64,
        flushed_often: bool,
    ) -> Result<Self, StoreError> {
        for dir in dirs.writable() {
            fs.create_dir_all(dir).doing("create", dir)?;
        }
        let files = open_files(fs, &dirs, file_bytes)?;
        let end = files.last().map_or(0, |file| file.end());
        Ok(Self {
            fs: fs.clone(),
            dirs,
            file_bytes,
            flushed_often,
            files: RwLock::new(Arc::new(files)),
            appender: Mutex::new(Appender::default()),
            opened_at: AtomicI64::new(end),
            end: AtomicI64::new(end),
            held_since_ms: AtomicI64::new(0),
            appended: AppendCount::default(),
            ahead: Ahead::default(),
            write_out: WriteOut::default(),
            flush: Flush::default(),
        })
    }

    /// Cuts the log at `end` and lets it go on there; the newest record has `last_timestamp_ms`.
    pub(crate) fn begin_at(&self, end: i64, last_timestamp_ms: i64) -> Result<(), StoreError> {
        let mut guard = write(&self.files);
        let mut files = std::mem::take(&mut *guard).to_vec();
        while let Some(last) = files.pop_if(|last| last.start() > end) {
            info!(path = %last.path().display(), end, "log file behind the end removed");
            self.fs.remove_file(last.path()).doing("remove", last.path())?;
        }
        let mut appender = self.lock_appender();
        if let Some(last) = files.last_mut() {
            let at = usize::try_from(end - last.start()).unwrap_or(0);
            let path = last.path().to_owned();
            let file = Arc::get_mut(last).ok_or_else(|| StoreError::BadFile {
                path,
                what: "is in use while the log is being opened".to_owned(),
            })?;
            file.truncate(at);
            file.clear_rest(&self.fs).doing("clear the rest of", file.path())?;
            appender.writer = last.writer(self.way());
        }
        appender.last_store_timestamp_ms = last_timestamp_ms;
        self.opened_at.store(end, Ordering::Relaxed);
        self.end.store(end, Ordering::Release);
        self.write_out.set_written(end);
        self.set_flushed(end, last_timestamp_ms);
        *guard = Arc::new(files);
        Ok(())
    }
}

fn open_files(
    fs: &Fs,
    dirs: &LogDirs,
    file_bytes: u64,
) -> Result<Vec<Arc<MappedFile>>, StoreError> {
    let found = dirs.files()?;
    let mut files: Vec<Arc<MappedFile>> = Vec::with_capacity(found.len());
    let last = found.len().saturating_sub(1);
    for (index, (start, path)) in found.into_iter().enumerate() {
        let metadata = path.metadata().doing("look at", &path)?;
        if metadata.is_dir() {
            continue;
        }
        if metadata.len() == 0 && index == last {
            fs.remove_file(&path).doing("remove", &path)?;
            continue;
        }
        if metadata.len() != file_bytes {
            let what = format!("has {} bytes, a log file {file_bytes}", metadata.len());
            return Err(StoreError::BadFile { path, what });
        }
        let position =
            i64::try_from(start).map_err(io::Error::other).doing("read the name of", &path)?;
        if files.last().is_some_and(|last| last.end() > position) {
            let what = "begins before the end of another log file".to_owned();
            return Err(StoreError::BadFile { path, what });
        }
        if files.last().is_some_and(|last| last.end() != position) {
            warn!(path = %path.display(), "log files are missing before this one");
        }
        let file = MappedFile::open(fs, &path, position, file_bytes).doing("map", &path)?;
        files.push(Arc::new(file));
    }
    Ok(files)
}
