//! Counts of half messages without a decision, by the topic that they go to.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use oxmq_protocol::body::{Metric, TransactionMetricsTable};
use oxmq_store::JsonFileError;
use tracing::warn;

use crate::clock::now_ms;
use crate::saved_table::SavedTable;
use crate::sync::lock;

/// Counts kept in `config/transactionMetrics`, and counters since the start.
///
/// Reference: `TransactionMetrics` (broker), 5.5.0.
#[derive(Debug)]
pub(crate) struct TransactionMetrics {
    table: Mutex<TransactionMetricsTable>,
    file: SavedTable<TransactionMetricsTable>,
    pub(super) committed: AtomicI64,
    pub(super) rolled_back: AtomicI64,
    pub(super) checked: AtomicI64,
    pub(super) discarded: AtomicI64,
    /// When the oldest undecided message was made, ms since 1970; 0 when there is none.
    pub(super) oldest_born_ms: AtomicI64,
}

impl TransactionMetrics {
    pub(super) fn load(store_root: &Path) -> Self {
        let file = SavedTable::new(store_root, "transactionMetrics");
        let table = file.load().unwrap_or_else(|error: JsonFileError| {
            warn!(%error, "counts of half messages start anew");
            None
        });
        Self {
            table: Mutex::new(table.unwrap_or_default()),
            file,
            committed: AtomicI64::new(0),
            rolled_back: AtomicI64::new(0),
            checked: AtomicI64::new(0),
            discarded: AtomicI64::new(0),
            oldest_born_ms: AtomicI64::new(0),
        }
    }

    /// Adds to the undecided messages of a topic.
    pub(super) fn add(&self, topic: &str, count: i64) {
        let now_ms = now_ms();
        let mut table = lock(&self.table);
        table.data_version.advance(0, now_ms);
        // Looked up before it is made: most topics are there.
        match table.transaction_count.get_mut(topic) {
            Some(metric) => {
                metric.count += count;
                metric.time_stamp = now_ms;
            }
            None => {
                let metric = Metric { count, time_stamp: now_ms };
                table.transaction_count.insert(topic.to_owned(), metric);
            }
        }
        self.file.changed();
    }

    /// Undecided messages altogether.
    pub(crate) fn pending(&self) -> i64 {
        lock(&self.table).transaction_count.values().map(|metric| metric.count).sum()
    }

    /// What tools are shown beside the rest of the broker's facts.
    pub(crate) fn facts(&self) -> [(&'static str, i64); 6] {
        let of = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        let oldest_ms = match of(&self.oldest_born_ms) {
            0 => 0,
            born_ms => now_ms().wrapping_sub(born_ms).max(0),
        };
        [
            ("transactionPending", self.pending()),
            ("transactionOldestPendingMs", oldest_ms),
            ("transactionCommitted", of(&self.committed)),
            ("transactionRolledBack", of(&self.rolled_back)),
            ("transactionChecked", of(&self.checked)),
            ("transactionDiscarded", of(&self.discarded)),
        ]
    }

    /// Writes the file if it is behind.
    pub(super) fn save(&self) {
        if let Err(error) = self.file.save_if_changed(|| lock(&self.table).clone()) {
            warn!(%error, "counts of half messages not saved");
        }
    }
}
