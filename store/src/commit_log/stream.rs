//! The log as a stream of bytes, for replication.
//!
//! A replica's log is the master's, byte for byte: what is read here on one side is appended there
//! on the other, cut anywhere but never across files.

use std::io;
use std::sync::atomic::Ordering;

use super::append::Appender;
use super::{CommitLog, find_file};
use crate::limits::SURELY_CACHED_BYTES;

/// Why bytes cannot be read from, or appended to, the stream.
#[derive(Debug, thiserror::Error)]
pub enum LogStreamError {
    /// The position is not in the log, which goes from `min` to `max`.
    #[error("position {position} is not in the log, which goes from {min} to {max}")]
    NotInLog {
        /// The position asked for.
        position: i64,
        /// Where the log begins.
        min: i64,
        /// Where the log ends.
        max: i64,
    },
    /// Bytes can be appended at the end only.
    #[error("position {position} is not the end of the log, which is {end}")]
    NotAtEnd {
        /// The position given.
        position: i64,
        /// Where the log ends.
        end: i64,
    },
    /// The bytes would go on in the next file, which no sender does.
    #[error("{bytes} bytes at {position} do not fit into their log file")]
    CrossesFiles {
        /// The position given.
        position: i64,
        /// How many bytes.
        bytes: usize,
    },
    /// The store takes nothing at all.
    #[error("the store takes nothing: {0}")]
    Refused(String),
    /// A file operation failed.
    #[error("commit log: {0}")]
    Io(#[from] io::Error),
}

impl CommitLog {
    /// Appends to `out` up to `at_most` bytes of the log from `position` on, all of one file.
    ///
    /// Returns how many; none at the end of the log.
    pub(crate) fn read_stream(
        &self,
        position: i64,
        at_most: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, LogStreamError> {
        let files = self.files();
        let max = self.written();
        if position == max {
            return Ok(0);
        }
        let file = find_file(&files, position).filter(|_| position < max);
        let at = file.map_or(0, |file| (position - file.start()) as usize);
        let Some((file, bytes)) = file.and_then(|file| Some((file, file.written_from(at)?))) else {
            let min = files.first().map_or(max, |file| file.start());
            return Err(LogStreamError::NotInLog { position, min, max });
        };
        let count = bytes.len().min(at_most).min((max - position) as usize);
        if position < self.opened_at().max(max - SURELY_CACHED_BYTES) {
            file.read_in(at, count)?;
        }
        out.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Appends `bytes` at `position`, which is the end of the log, or anywhere when the log is empty.
    pub(crate) fn append_stream(
        &self,
        position: i64,
        bytes: &[u8],
        still_open: impl FnOnce() -> bool,
    ) -> Result<(), LogStreamError> {
        {
            let mut appender = self.lock_appender();
            if !still_open() {
                return Err(LogStreamError::Refused("it is closed".to_owned()));
            }
            self.append_stream_locked(&mut appender, position, bytes)?;
        }
        // A record may go on in the next slice, and is looked for in the file.
        self.write_out()?;
        if self.ahead.is_due(self.max_offset()) {
            self.ahead.wake();
        }
        Ok(())
    }

    fn append_stream_locked(
        &self,
        appender: &mut Appender,
        position: i64,
        bytes: &[u8],
    ) -> Result<(), LogStreamError> {
        let end = self.max_offset();
        let is_new = appender.writer.is_none();
        let may_begin = is_new && position % self.file_bytes as i64 == 0;
        if position != end && !may_begin {
            return Err(LogStreamError::NotAtEnd { position, end });
        }
        if is_new {
            self.end.store(position, Ordering::Release);
            self.write_out.set_written(position);
            self.set_flushed(position, 0);
        }
        if appender.writer.as_ref().is_none_or(|writer| writer.remaining() == 0) {
            self.roll(appender)?;
        }
        let Some(writer) = &mut appender.writer else {
            return Err(LogStreamError::CrossesFiles { position, bytes: bytes.len() });
        };
        if bytes.len() > writer.remaining() {
            return Err(LogStreamError::CrossesFiles { position, bytes: bytes.len() });
        }
        self.reserve(writer, bytes.len())?;
        writer.append(bytes)?;
        self.end.store(position + bytes.len() as i64, Ordering::Release);
        Ok(())
    }

    /// Notes the store time of a record that came by the stream.
    pub(crate) fn note_store_timestamp(&self, timestamp_ms: i64) {
        let mut appender = self.lock_appender();
        appender.last_store_timestamp_ms = appender.last_store_timestamp_ms.max(timestamp_ms);
    }
}
