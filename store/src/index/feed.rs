//! What senders tell the index, so that it need not read the log.
//!
//! A sender has the properties at hand and hashes the keys before it takes the log's lock; under
//! the lock it adds them here, in the order of the log. The thread of the index takes all that is
//! there. What does not fit, or came into the log another way, is read from the log: that is always
//! right, this is only quicker.

use std::sync::{Mutex, MutexGuard};

use crate::limits::MAX_FED_ENTRIES;
use crate::sync::lock;

/// One key of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: i32,
    pub(crate) phy_offset: i64,
    pub(crate) timestamp_ms: i64,
}

/// The entries of the records in one part of the log.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Everything from here...
    pub(crate) from: i64,
    /// ...to here is in `entries`; nothing when both are equal.
    pub(crate) to: i64,
    pub(crate) entries: Vec<Entry>,
}

impl Part {
    pub(crate) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    pub(crate) fn clear(&mut self) {
        self.from = 0;
        self.to = 0;
        self.entries.clear();
    }
}

/// Entries on their way to the index.
#[derive(Debug, Default)]
pub(crate) struct KeyFeed {
    part: Mutex<Part>,
}

impl KeyFeed {
    /// Adds the entries of the records that were appended at log position `end_before` and end at `end`.
    ///
    /// To be called under the append lock.
    pub(crate) fn push(&self, end_before: i64, end: i64, entries: impl Iterator<Item = Entry>) {
        let mut part = self.lock();
        if part.is_empty() {
            part.from = end_before;
        } else if part.to != end_before || part.entries.len() >= MAX_FED_ENTRIES {
            return;
        }
        part.entries.extend(entries);
        part.to = end;
    }

    /// Exchanges what is there for `empty`.
    pub(crate) fn take(&self, empty: &mut Part) {
        debug_assert!(empty.is_empty() && empty.entries.is_empty());
        std::mem::swap(&mut *self.lock(), empty);
    }

    fn lock(&self) -> MutexGuard<'_, Part> {
        lock(&self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(phy_offset: i64) -> Entry {
        Entry { hash: 1, phy_offset, timestamp_ms: 5 }
    }

    fn take(feed: &KeyFeed) -> Part {
        let mut part = Part::default();
        feed.take(&mut part);
        part
    }

    #[test]
    fn neighbours_are_taken_together_and_a_gap_ends_the_part() {
        let feed = KeyFeed::default();
        feed.push(100, 200, [entry(100)].into_iter());
        // A record without keys, and one in the next file.
        feed.push(200, 300, [].into_iter());
        feed.push(300, 1_100, [entry(1_000)].into_iter());
        // Something came between.
        feed.push(1_200, 1_300, [entry(1_200)].into_iter());
        let part = take(&feed);
        assert_eq!((part.from, part.to), (100, 1_100));
        assert_eq!(part.entries, [entry(100), entry(1_000)]);
        feed.push(1_300, 1_400, [entry(1_300)].into_iter());
        assert_eq!(take(&feed).from, 1_300);
        assert!(take(&feed).is_empty());
    }

    #[test]
    fn feed_that_nobody_takes_stops_growing() {
        let feed = KeyFeed::default();
        for number in 0..2 * MAX_FED_ENTRIES as i64 {
            feed.push(number, number + 1, [entry(number)].into_iter());
        }
        let part = take(&feed);
        assert_eq!(part.entries.len(), MAX_FED_ENTRIES);
        assert_eq!(part.to, MAX_FED_ENTRIES as i64);
    }
}
