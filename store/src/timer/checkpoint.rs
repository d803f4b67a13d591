//! `config/timercheck`: how far the timer has got.
//!
//! ```text
//! i64 read time | i64 log flushed to | i64 queue offset | i64 the master's |
//! i64 state version | i64 time of version | i64 counter          the reference's 56 bytes
//! at 1024: i64 read time again | i64 commit log position          ours
//! ```
//!
//! Reference: `TimerCheckpoint` (store), 5.5.0.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use byteorder::{BigEndian, ByteOrder};

use crate::error::{IoContext, StoreError};
use crate::fs::read_exact_at;

const FILE_BYTES: u64 = 4_096;
const FIELDS: usize = 7;
/// Bytes that the reference uses, also as a body.
pub(super) const USED_BYTES: usize = FIELDS * 8;
const OWN_AT: u64 = 1_024;

/// How far the timer has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerCheckpoint {
    /// Everything in slots before this one is delivered, in milliseconds since 1970.
    pub read_time_ms: i64,
    /// Position of the timer log up to which it is on disk.
    pub log_flushed: i64,
    /// Offset behind the last message that was taken from the timer's queue.
    pub queue_offset: i64,
    /// Changes so far.
    pub counter: i64,
    /// When the last one was, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Nothing that is not covered by the other fields was delivered before this position of the
    /// commit log. `None` when another broker has written the file since.
    pub delivered_from: Option<i64>,
}

impl TimerCheckpoint {
    /// The reference's part, as in the file and in the answer to `GET_TIMER_CHECK_POINT`.
    pub fn encode(&self) -> [u8; USED_BYTES] {
        let mut bytes = [0; USED_BYTES];
        let fields = [
            self.read_time_ms,
            self.log_flushed,
            self.queue_offset,
            self.queue_offset,
            0,
            self.timestamp_ms,
            self.counter,
        ];
        for (at, field) in fields.into_iter().enumerate() {
            BigEndian::write_i64(&mut bytes[at * 8..at * 8 + 8], field);
        }
        bytes
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    file: File,
}

impl CheckpointFile {
    /// Opens the file; `None` when nothing has been written to it.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<TimerCheckpoint>), StoreError> {
        let opened = || -> io::Result<(File, u64)> {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let found_bytes = file.metadata()?.len();
            if found_bytes < FILE_BYTES {
                file.set_len(FILE_BYTES)?;
            }
            Ok((file, found_bytes))
        };
        let (file, found_bytes) = opened().doing("open", path)?;
        let this = Self { file };
        if found_bytes < FILE_BYTES {
            return Ok((this, None));
        }
        let mut bytes = [0; USED_BYTES];
        read_exact_at(&this.file, path, &mut bytes, 0)?;
        let mut own = [0; 16];
        read_exact_at(&this.file, path, &mut own, OWN_AT)?;
        let field = |at: usize| BigEndian::read_i64(&bytes[at * 8..at * 8 + 8]);
        let read_time_ms = field(0);
        let is_ours = read_time_ms == BigEndian::read_i64(&own[0..8]) && read_time_ms != 0;
        let checkpoint = TimerCheckpoint {
            read_time_ms,
            log_flushed: field(1),
            queue_offset: field(2),
            timestamp_ms: field(5),
            counter: field(6),
            delivered_from: is_ours.then(|| BigEndian::read_i64(&own[8..16])),
        };
        let is_written = bytes.iter().any(|byte| *byte != 0);
        Ok((this, is_written.then_some(checkpoint)))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    pub(super) fn write(&self, checkpoint: &TimerCheckpoint) -> io::Result<()> {
        let mut own = [0; 16];
        BigEndian::write_i64(&mut own[0..8], checkpoint.read_time_ms);
        BigEndian::write_i64(&mut own[8..16], checkpoint.delivered_from.unwrap_or(0));
        // Of a torn write the older position is left, which says the same of less.
        self.file.write_all_at(&checkpoint.encode(), 0)?;
        self.file.write_all_at(&own, OWN_AT)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_is_read_as_it_was_written_and_noticed_when_another_broker_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/timercheck");
        let (file, found) = CheckpointFile::open(&path).unwrap();
        assert_eq!(found, None);
        let checkpoint = TimerCheckpoint {
            read_time_ms: 1,
            log_flushed: 2,
            queue_offset: 3,
            counter: 4,
            timestamp_ms: 5,
            delivered_from: Some(6),
        };
        file.write(&checkpoint).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4_096);
        assert_eq!(CheckpointFile::open(&path).unwrap().1, Some(checkpoint));
        // The reference knows nothing of the second part.
        let theirs = TimerCheckpoint { read_time_ms: 9, ..checkpoint };
        file.file.write_all_at(&theirs.encode(), 0).unwrap();
        let found = CheckpointFile::open(&path).unwrap().1.unwrap();
        assert_eq!((found.read_time_ms, found.delivered_from), (9, None));
    }
}
