//! How far the files of each queue have been compacted.
//!
//! Reference: `CompactionPositionMgr` (store), 5.5.0.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::place::DIR;
use crate::error::StoreError;
use crate::fs::Fs;
use crate::json_file::JsonFile;
use crate::sync::lock;

const NAME: &str = "position-checkpoint";

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    empty: bool,
    queue_offset_map: BTreeMap<String, i64>,
}

/// Offset of the last message, by queue, whose key has been looked at. Nothing depends on it but how much
/// is done again.
#[derive(Debug)]
pub(crate) struct Positions {
    file: JsonFile<Table>,
    offsets: Mutex<BTreeMap<String, i64>>,
}

impl Positions {
    /// Those of the store in `root`; none when they cannot be read.
    pub(crate) fn load(fs: &Fs, root: &Path) -> Self {
        let file = JsonFile::<Table>::with_fs(fs.clone(), root.join(DIR).join(NAME));
        let table = file.load().unwrap_or_else(|error| {
            warn!(%error, "everything will be compacted again");
            None
        });
        let offsets = table.unwrap_or_default().queue_offset_map;
        Self { file, offsets: Mutex::new(offsets) }
    }

    /// That of a queue; -1 when nothing has been compacted.
    pub(crate) fn get(&self, topic: &str, queue_id: i32) -> i64 {
        self.lock().get(&key(topic, queue_id)).copied().unwrap_or(-1)
    }

    pub(super) fn set(&self, topic: &str, queue_id: i32, offset: i64) {
        self.lock().insert(key(topic, queue_id), offset);
    }

    pub(super) fn remove(&self, topic: &str, queue_id: i32) {
        self.lock().remove(&key(topic, queue_id));
    }

    pub(super) fn save(&self) -> Result<(), StoreError> {
        let queue_offset_map = self.lock().clone();
        Ok(self.file.save(&Table { empty: queue_offset_map.is_empty(), queue_offset_map })?)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        lock(&self.offsets)
    }
}

fn key(topic: &str, queue_id: i32) -> String {
    format!("{topic}_{queue_id}")
}
