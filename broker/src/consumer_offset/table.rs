//! What is known of each group and topic.

use std::hash::BuildHasher as _;
use std::sync::Mutex;

use hashbrown::hash_table::HashTable;
use hashbrown::{DefaultHashBuilder, hash_table};
use tracing::warn;

use crate::limits::MAX_OFFSETS_PER_GROUP;
use crate::sync::lock;
use crate::traffic::Flow;

/// Parts of the table, each behind its own lock.
const SHARDS: usize = 16;

/// Every entry, by group and topic. Looking one up does not allocate.
#[derive(Debug, Default)]
pub(super) struct OffsetTable {
    shards: [Mutex<HashTable<Entry>>; SHARDS],
    hasher: DefaultHashBuilder,
}

impl OffsetTable {
    fn hash(&self, group: &str, topic: &str) -> u64 {
        self.hasher.hash_one((topic, group))
    }

    /// The table takes its buckets from the low bits and its tags from the top ones.
    fn shard(&self, hash: u64) -> &Mutex<HashTable<Entry>> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }

    pub(super) fn find<R>(
        &self,
        group: &str,
        topic: &str,
        read: impl FnOnce(&Entry) -> Option<R>,
    ) -> Option<R> {
        let hash = self.hash(group, topic);
        let shard = lock(self.shard(hash));
        read(shard.find(hash, |entry| *entry.topic == *topic && *entry.group == *group)?)
    }

    pub(super) fn with_entry<R>(
        &self,
        group: &str,
        topic: &str,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> R {
        let hash = self.hash(group, topic);
        let mut shard = lock(self.shard(hash));
        let entry = shard.entry(
            hash,
            |entry| *entry.topic == *topic && *entry.group == *group,
            |entry| self.hash(&entry.group, &entry.topic),
        );
        match entry {
            hash_table::Entry::Occupied(mut occupied) => change(occupied.get_mut()),
            hash_table::Entry::Vacant(vacant) => {
                let (topic, group) = (topic.into(), group.into());
                let mut inserted = vacant.insert(Entry { topic, group, ..Entry::default() });
                change(inserted.get_mut())
            }
        }
    }

    /// Shows every entry, while nobody else uses its part of the table.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Entry)) {
        for shard in &self.shards {
            lock(shard).iter().for_each(&mut look);
        }
    }

    pub(super) fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        for shard in &self.shards {
            lock(shard).retain(|entry| keep(entry));
        }
    }
}

/// What is known of one group and topic.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) topic: Box<str>,
    pub(super) group: Box<str>,
    pub(super) committed: QueueOffsets,
    /// Where pulls have got to; not saved.
    pub(super) pulled: QueueOffsets,
    /// Offsets that a tool has set and the consumer has not followed yet; not saved.
    pub(super) reset: QueueOffsets,
    /// When queues were last pulled from, in ms; not saved.
    pub(super) pulled_at_ms: QueueOffsets,
    /// Bytes of the log behind the last message that a pull looked at; not saved.
    pub(super) behind: QueueOffsets,
    /// What the group was given; not saved.
    pub(super) given: Flow,
    /// What it sent back; not saved.
    pub(super) sent_back: Flow,
}

impl Entry {
    pub(super) fn note_pull(&mut self, queue_id: i32, offset: i64, behind_bytes: i64, now_ms: i64) {
        self.pulled.set(queue_id, offset);
        self.behind.set(queue_id, behind_bytes);
        self.pulled_at_ms.set(queue_id, now_ms);
    }
}

/// Offsets by queue id, sorted by it; most topics have a handful of queues.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueOffsets(pub(super) Vec<(i32, i64)>);

impl QueueOffsets {
    pub(super) fn get(&self, queue_id: i32) -> Option<i64> {
        let at = self.0.binary_search_by_key(&queue_id, |&(queue_id, _)| queue_id).ok()?;
        Some(self.0[at].1)
    }

    /// Sets an offset and returns the one before. A queue over the limit is not kept.
    pub(super) fn set(&mut self, queue_id: i32, offset: i64) -> Option<i64> {
        match self.0.binary_search_by_key(&queue_id, |&(queue_id, _)| queue_id) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, offset)),
            Err(at) if self.0.len() < MAX_OFFSETS_PER_GROUP => {
                self.0.insert(at, (queue_id, offset));
                None
            }
            Err(_) => {
                warn!(queue_id, "offset is not kept: too many queues");
                None
            }
        }
    }

    pub(super) fn take(&mut self, queue_id: i32) -> Option<i64> {
        let at = self.0.binary_search_by_key(&queue_id, |&(queue_id, _)| queue_id).ok()?;
        Some(self.0.remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_ids_over_the_limit_are_not_kept() {
        let mut offsets = QueueOffsets::default();
        for queue_id in 0..=MAX_OFFSETS_PER_GROUP as i32 {
            offsets.set(queue_id, 1);
        }
        assert_eq!(offsets.0.len(), MAX_OFFSETS_PER_GROUP);
        assert_eq!(offsets.set(0, 2), Some(1), "those that are kept still move");
    }
}
