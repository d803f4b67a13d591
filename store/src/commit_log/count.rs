//! How much was appended since the log was opened.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages and bytes that were appended since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendTotals {
    /// Messages; those of a batch in one record count one by one.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

/// [`AppendTotals`] that only the holder of the append lock adds to.
#[derive(Debug, Default)]
pub(super) struct AppendCount {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl AppendCount {
    /// Counts what was appended. For the holder of the append lock.
    pub(super) fn note(&self, messages: usize, bytes: usize) {
        let add = |total: &AtomicU64, more: usize| {
            // A plain addition: nobody else writes.
            total.store(total.load(Ordering::Relaxed) + more as u64, Ordering::Relaxed);
        };
        add(&self.messages, messages);
        add(&self.bytes, bytes);
    }

    pub(super) fn totals(&self) -> AppendTotals {
        AppendTotals {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
