//! All queues, by topic and queue id.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use hashbrown::{DefaultHashBuilder, Equivalent, HashMap};

use super::queue::ConsumeQueue;
use super::tail::QueueTail;
use super::unit::QueueKind;
use crate::message_store::LIGHT_PREFIX;
use crate::sync::{read, write};

/// Shards, so that a new queue delays few lookups. A power of two.
const SHARDS: usize = 16;

type Shard = RwLock<HashMap<QueueKey, Arc<ConsumeQueue>, DefaultHashBuilder>>;

/// The queues of a store. Looking one up allocates nothing.
#[derive(Debug)]
pub(crate) struct QueueTable {
    hasher: DefaultHashBuilder,
    shards: [Shard; SHARDS],
    next_uid: AtomicU64,
    light_queues: AtomicUsize,
}

#[derive(Debug, PartialEq, Eq)]
struct QueueKey {
    topic: Arc<str>,
    queue_id: i32,
}

struct QueueKeyRef<'a> {
    topic: &'a str,
    queue_id: i32,
}

impl Hash for QueueKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        QueueKeyRef { topic: &self.topic, queue_id: self.queue_id }.hash(state);
    }
}

impl Hash for QueueKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.topic.as_bytes());
        state.write_i32(self.queue_id);
    }
}

impl Equivalent<QueueKey> for QueueKeyRef<'_> {
    fn equivalent(&self, key: &QueueKey) -> bool {
        self.queue_id == key.queue_id && self.topic == &*key.topic
    }
}

impl Default for QueueTable {
    fn default() -> Self {
        let hasher = DefaultHashBuilder::default();
        let shards = std::array::from_fn(|_| RwLock::new(HashMap::with_hasher(hasher.clone())));
        Self { hasher, shards, next_uid: AtomicU64::new(0), light_queues: AtomicUsize::new(0) }
    }
}

impl QueueTable {
    /// The queue, if it exists.
    pub(crate) fn get(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        let key = QueueKeyRef { topic, queue_id };
        let shard = read(self.shard(&key));
        shard.get(&key).cloned()
    }

    /// The queue, made empty if it does not exist. Touches no file.
    pub(crate) fn get_or_create(
        &self,
        topic: &str,
        queue_id: i32,
        kind: QueueKind,
    ) -> Arc<ConsumeQueue> {
        self.get(topic, queue_id).unwrap_or_else(|| self.create(topic, queue_id, kind))
    }

    #[cold]
    fn create(&self, topic: &str, queue_id: i32, kind: QueueKind) -> Arc<ConsumeQueue> {
        let lookup = QueueKeyRef { topic, queue_id };
        // Queues of a topic share its name when one of them is in this shard already.
        let name: Arc<str> = Arc::from(topic);
        let mut shard = write(self.shard(&lookup));
        if let Some(queue) = shard.get(&lookup) {
            return Arc::clone(queue);
        }
        let queue = self.new_queue(name, queue_id, QueueTail::empty(kind));
        let key = QueueKey { topic: Arc::clone(queue.topic()), queue_id };
        shard.insert(key, Arc::clone(&queue));
        if queue.topic().starts_with(LIGHT_PREFIX) {
            self.light_queues.fetch_add(1, Ordering::Relaxed);
        }
        queue
    }

    /// Another number once there is another queue.
    pub(crate) fn generation(&self) -> u64 {
        self.next_uid.load(Ordering::Acquire)
    }

    /// How many light queues there are.
    pub(crate) fn light_queues(&self) -> usize {
        self.light_queues.load(Ordering::Relaxed)
    }

    /// Adds a queue that was found in the files.
    pub(crate) fn insert_loaded(&self, queue: Arc<ConsumeQueue>) {
        let key = QueueKey { topic: Arc::clone(queue.topic()), queue_id: queue.queue_id() };
        if key.topic.starts_with(LIGHT_PREFIX) {
            self.light_queues.fetch_add(1, Ordering::Relaxed);
        }
        let lookup = QueueKeyRef { topic: &key.topic, queue_id: key.queue_id };
        let shard = self.shard(&lookup);
        write(shard).insert(key, queue);
    }

    /// A queue that is not in the table yet.
    pub(crate) fn new_queue(
        &self,
        topic: Arc<str>,
        queue_id: i32,
        tail: QueueTail,
    ) -> Arc<ConsumeQueue> {
        let uid = self.next_uid.fetch_add(1, Ordering::AcqRel);
        Arc::new(ConsumeQueue::new(topic, queue_id, uid, tail))
    }

    /// Takes the queues that `which` picks out of the table.
    pub(crate) fn remove(
        &self,
        mut which: impl FnMut(&ConsumeQueue) -> bool,
    ) -> Vec<Arc<ConsumeQueue>> {
        let mut removed = Vec::new();
        for shard in &self.shards {
            let mut shard = write(shard);
            removed.extend(shard.extract_if(|_, queue| which(queue)).map(|(_, queue)| queue));
        }
        let is_light = |queue: &&Arc<ConsumeQueue>| queue.topic().starts_with(LIGHT_PREFIX);
        let light = removed.iter().filter(is_light).count();
        self.light_queues.fetch_sub(light, Ordering::Relaxed);
        removed
    }

    /// All queues, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<ConsumeQueue>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(read(shard).values().cloned());
        }
        all
    }

    fn shard(&self, key: &QueueKeyRef<'_>) -> &Shard {
        // The table inside uses the low bits and the top seven; take others.
        &self.shards[(self.hasher.hash_one(key) >> 48) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_found_by_topic_and_id() {
        let table = QueueTable::default();
        let first = table.get_or_create("a", 0, QueueKind::Simple);
        assert!(Arc::ptr_eq(&first, &table.get_or_create("a", 0, QueueKind::Simple)));
        assert!(!Arc::ptr_eq(&first, &table.get_or_create("a", 1, QueueKind::Simple)));
        assert!(table.get("b", 0).is_none());
        assert_eq!(table.all().len(), 2);
    }

    #[test]
    fn removed_queue_gets_a_successor_with_another_uid() {
        let table = QueueTable::default();
        let old = table.get_or_create("a", 0, QueueKind::Simple);
        assert_eq!(table.remove(|queue| &**queue.topic() == "a").len(), 1);
        assert!(table.get("a", 0).is_none());
        assert_ne!(old.uid(), table.get_or_create("a", 0, QueueKind::Simple).uid());
    }
}
