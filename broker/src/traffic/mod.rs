//! What went to and from each topic and group, now and over the last minute, hour and day.
//!
//! Counting is a few additions to numbers that the topic or the group's offsets keep anyway;
//! windows are made of samples that are taken aside.
//!
//! Reference: `BrokerStatsManager` (store), `StatsItem` (common), 5.5.0.

mod history;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::history::{Kind, TrafficHistory};

/// Counts that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Messages.
    pub(crate) messages: u64,
    /// Bytes of their records.
    pub(crate) bytes: u64,
    /// Times that some came.
    pub(crate) times: u64,
}

impl Flow {
    /// Of messages that came together.
    pub(crate) fn once(messages: u64, bytes: u64) -> Self {
        Self { messages, bytes, times: 1 }
    }

    /// Counts messages that came together.
    pub(crate) fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
        self.times += 1;
    }

    /// Counts what another one has counted.
    pub(crate) fn join(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.times += other.times;
    }
}

/// A [`Flow`] that many threads count.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    messages: AtomicU64,
    bytes: AtomicU64,
    times: AtomicU64,
}

impl Counter {
    /// Counts messages that came together.
    pub(crate) fn add(&self, messages: u64, bytes: u64) {
        self.join(Flow::once(messages, bytes));
    }

    /// Counts what somebody has counted.
    pub(crate) fn join(&self, flow: Flow) {
        self.messages.fetch_add(flow.messages, Ordering::Relaxed);
        self.bytes.fetch_add(flow.bytes, Ordering::Relaxed);
        self.times.fetch_add(flow.times, Ordering::Relaxed);
    }

    pub(crate) fn flow(&self) -> Flow {
        Flow {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            times: self.times.load(Ordering::Relaxed),
        }
    }
}
