//! How far the derived files can be trusted after a crash.
//!
//! ```text
//!  0 i64 log flushed up to this store time      24 i64 master's flushed position
//!  8 i64 consume queues up to this store time   32 i64 confirmed position
//! 16 i64 index files up to this store time      .. zeros up to 4096 bytes
//! ```
//!
//! Reference: `StoreCheckpoint` (store), 5.5.0.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use byteorder::{BigEndian, ByteOrder};
use tracing::error;

use crate::error::{IoContext, StoreError};
use crate::fs::{Fs, read_exact_at};
use crate::sync::lock;

pub(crate) const FILE_BYTES: u64 = 4096;
const FIELD_BYTES: usize = 8;
const FIELDS: usize = 5;

/// What recovery distrusts before the smaller of log and queue time.
///
/// Reference: `StoreCheckpoint.getMinTimestamp` (store), 5.5.0.
const SAFETY_MARGIN_MS: i64 = 3_000;

/// The values of a checkpoint; a missing file means all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CheckpointValues {
    /// Store time of the newest record that is flushed in the log.
    pub(crate) physic_msg_timestamp: i64,
    /// Store time of the newest record whose unit is in a consume queue.
    pub(crate) logics_msg_timestamp: i64,
    /// Store time of the newest record in an index file that was flushed as a whole.
    pub(crate) index_msg_timestamp: i64,
    /// On a replica: how far the master had flushed.
    pub(crate) master_flushed_offset: i64,
    /// Where the confirmed part of the log ends.
    pub(crate) confirm_phy_offset: i64,
}

impl CheckpointValues {
    /// Store time before which log and queues are known to be whole.
    pub(crate) fn min_timestamp(&self) -> i64 {
        let min = self.physic_msg_timestamp.min(self.logics_msg_timestamp);
        min.saturating_sub(SAFETY_MARGIN_MS).max(0)
    }

    /// The values in the bytes of a checkpoint file, if there are enough.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(Self::decode)
    }

    fn decode(bytes: &[u8; FIELDS * FIELD_BYTES]) -> Self {
        let field = |index: usize| BigEndian::read_i64(&bytes[index * FIELD_BYTES..]);
        Self {
            physic_msg_timestamp: field(0),
            logics_msg_timestamp: field(1),
            index_msg_timestamp: field(2),
            master_flushed_offset: field(3),
            confirm_phy_offset: field(4),
        }
    }

    pub(crate) fn encode(&self) -> [u8; FIELDS * FIELD_BYTES] {
        let mut bytes = [0; FIELDS * FIELD_BYTES];
        let fields = [
            self.physic_msg_timestamp,
            self.logics_msg_timestamp,
            self.index_msg_timestamp,
            self.master_flushed_offset,
            self.confirm_phy_offset,
        ];
        for (bytes, field) in bytes.chunks_exact_mut(FIELD_BYTES).zip(fields) {
            BigEndian::write_i64(bytes, field);
        }
        bytes
    }
}

/// The checkpoint file.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    fs: Fs,
    path: PathBuf,
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    values: CheckpointValues,
    saved: CheckpointValues,
}

impl Checkpoint {
    /// Opens the checkpoint of the store in `root`, making it if need be.
    pub(crate) fn open(fs: &Fs, root: &Path) -> Result<Self, StoreError> {
        let path = root.join("checkpoint");
        let mut file = fs.create_sized(&path, FILE_BYTES).doing("open", &path)?;
        let mut bytes = [0; FIELDS * FIELD_BYTES];
        if let Err(error) = read_exact_at(&file, &path, &mut bytes, 0) {
            if !error.is_unreadable() {
                return Err(error);
            }
            // Without it more is read again.
            let kept = fs.set_aside(root, &path)?;
            error!(%error, kept = %kept.display(), "checkpoint set aside");
            file = fs.create_sized(&path, FILE_BYTES).doing("create", &path)?;
            bytes.fill(0);
        }
        let values = CheckpointValues::decode(&bytes);
        let state = Mutex::new(State { values, saved: values });
        Ok(Self { fs: fs.clone(), path, file, state })
    }

    pub(crate) fn values(&self) -> CheckpointValues {
        self.lock().values
    }

    /// Changes the values in memory; [`Self::save`] writes them.
    pub(crate) fn update(&self, change: impl FnOnce(&mut CheckpointValues)) {
        change(&mut self.lock().values);
    }

    /// Writes the values if they changed, and makes them durable.
    pub(crate) fn save(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.values == state.saved {
            return Ok(());
        }
        let bytes = state.values.encode();
        self.fs.write_at(&self.file, &self.path, &bytes, 0).doing("write", &self.path)?;
        self.fs.sync(&self.file, &self.path).doing("flush", &self.path)?;
        state.saved = state.values;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_values_come_back_and_stand_where_the_reference_puts_them() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::open(&Fs::default(), dir.path()).unwrap();
        assert_eq!(checkpoint.values(), CheckpointValues::default());
        checkpoint.update(|values| {
            values.physic_msg_timestamp = 0x0102;
            values.confirm_phy_offset = 7;
        });
        checkpoint.save().unwrap();
        let bytes = std::fs::read(dir.path().join("checkpoint")).unwrap();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bytes[32..40], [0, 0, 0, 0, 0, 0, 0, 7]);
        let values = Checkpoint::open(&Fs::default(), dir.path()).unwrap().values();
        assert_eq!(values, checkpoint.values());
    }

    #[test]
    fn min_timestamp_keeps_its_margin_and_is_not_negative() {
        let values = CheckpointValues {
            physic_msg_timestamp: 10_000,
            logics_msg_timestamp: 9_000,
            ..CheckpointValues::default()
        };
        assert_eq!(values.min_timestamp(), 6_000);
        assert_eq!(CheckpointValues::default().min_timestamp(), 0);
    }
}
