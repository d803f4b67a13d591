//! A queue as a map key, looked up without building one.

use std::hash::{Hash, Hasher};

use hashbrown::Equivalent;

/// A queue of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueKey {
    pub(crate) topic: Box<str>,
    pub(crate) queue_id: i32,
}

/// The same, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueRef<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
}

impl QueueRef<'_> {
    pub(crate) fn to_key(self) -> QueueKey {
        QueueKey { topic: self.topic.into(), queue_id: self.queue_id }
    }
}

impl Hash for QueueKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        QueueRef { topic: &self.topic, queue_id: self.queue_id }.hash(state);
    }
}

impl Hash for QueueRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.topic.hash(state);
        self.queue_id.hash(state);
    }
}

impl Equivalent<QueueKey> for QueueRef<'_> {
    fn equivalent(&self, key: &QueueKey) -> bool {
        self.queue_id == key.queue_id && *self.topic == *key.topic
    }
}
