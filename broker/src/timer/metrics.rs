//! Counts of messages that wait, by the topic that they go to.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use oxmq_protocol::body::{Metric, TimerMetricsTable};
use oxmq_store::JsonFileError;
use tracing::warn;

use crate::clock::now_ms;
use crate::saved_table::SavedTable;
use crate::sync::lock;

/// Messages that went through the timer since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimerFlow {
    /// Put into a slot.
    pub(crate) taken: u64,
    /// Taken from one, once their time had come.
    pub(crate) delivered: u64,
}

/// Counts kept in `config/timermetrics`.
///
/// Reference: `TimerMetrics` (store), 5.5.0.
#[derive(Debug)]
pub(crate) struct TimerMetrics {
    table: Mutex<TimerMetricsTable>,
    file: SavedTable<TimerMetricsTable>,
    taken: AtomicU64,
    delivered: AtomicU64,
}

impl TimerMetrics {
    pub(super) fn load(store_root: &Path) -> Self {
        let file = SavedTable::new(store_root, "timermetrics");
        let table = file.load().unwrap_or_else(|error: JsonFileError| {
            warn!(%error, "counts of waiting messages start anew");
            None
        });
        Self {
            table: Mutex::new(table.unwrap_or_default()),
            file,
            taken: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    /// Counts a message put into a slot.
    pub(super) fn taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message taken from its slot.
    pub(super) fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// What went through since the start.
    pub(crate) fn flow(&self) -> TimerFlow {
        TimerFlow {
            taken: self.taken.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
        }
    }

    pub(super) fn add(&self, topic: &str, count: i64) {
        let now_ms = now_ms();
        let mut table = lock(&self.table);
        table.data_version.advance(0, now_ms);
        match table.timing_count.get_mut(topic) {
            Some(metric) => {
                metric.count += count;
                metric.time_stamp = now_ms;
            }
            None => {
                let metric = Metric { count, time_stamp: now_ms };
                table.timing_count.insert(topic.to_owned(), metric);
            }
        }
        self.file.changed();
    }

    /// The table as it is saved and sent.
    pub(crate) fn snapshot(&self) -> TimerMetricsTable {
        lock(&self.table).clone()
    }

    pub(super) fn save(&self) {
        if let Err(error) = self.file.save_if_changed(|| self.snapshot()) {
            warn!(%error, "counts of waiting messages not saved");
        }
    }
}
