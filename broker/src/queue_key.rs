//! Queues as map keys, looked up without building one.
//!
//! A key and its borrowed form have the same fields in the same order, and so the same hash.

use hashbrown::Equivalent;

/// A queue of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueKey {
    pub(crate) topic: Box<str>,
    pub(crate) queue_id: i32,
}

/// The same, borrowed.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct QueueRef<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
}

impl QueueRef<'_> {
    pub(crate) fn to_key(self) -> QueueKey {
        QueueKey { topic: self.topic.into(), queue_id: self.queue_id }
    }
}

impl Equivalent<QueueKey> for QueueRef<'_> {
    fn equivalent(&self, key: &QueueKey) -> bool {
        self.queue_id == key.queue_id && *self.topic == *key.topic
    }
}

/// A queue of a topic, and a group that consumes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupQueueKey {
    pub(crate) topic: Box<str>,
    pub(crate) group: Box<str>,
    pub(crate) queue_id: i32,
}

/// The same, borrowed.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct GroupQueueRef<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue_id: i32,
}

impl GroupQueueRef<'_> {
    pub(crate) fn to_key(self) -> GroupQueueKey {
        let Self { topic, group, queue_id } = self;
        GroupQueueKey { topic: topic.into(), group: group.into(), queue_id }
    }
}

impl Equivalent<GroupQueueKey> for GroupQueueRef<'_> {
    fn equivalent(&self, key: &GroupQueueKey) -> bool {
        self.queue_id == key.queue_id && *self.topic == *key.topic && *self.group == *key.group
    }
}
