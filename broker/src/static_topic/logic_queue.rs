//! One logical queue.

use std::sync::Arc;

use oxmq_protocol::body::{LogicQueueMappingItem, TopicQueueMappingDetail};

use crate::error::RequestError;

/// A logical queue of a static topic, as it was mapped at some moment. Cheap to clone.
///
/// Reference: `TopicQueueMappingContext` (remoting), 5.5.0.
#[derive(Clone, Debug)]
pub(crate) struct LogicQueue {
    mapping: Arc<TopicQueueMappingDetail>,
    topic: Arc<str>,
    id: i32,
}

impl LogicQueue {
    pub(super) fn new(mapping: Arc<TopicQueueMappingDetail>, topic: &str, id: i32) -> Self {
        Self { mapping, topic: topic.into(), id }
    }

    /// Its number.
    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Its topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// For a sender that leaves the choice to the broker: a queue that is led here, if there is one.
    pub(crate) fn or_any_led_here(self) -> Self {
        if self.id >= 0 {
            return self;
        }
        let ids = self.mapping.hosted_queues.keys();
        let mut queues = ids.map(|&id| Self { id, ..self.clone() });
        queues.find(Self::is_led_here).unwrap_or(self)
    }

    /// Its parts, the oldest first.
    pub(crate) fn items(&self) -> &[LogicQueueMappingItem] {
        self.mapping.hosted_queues.get(&self.id).map_or(&[], Vec::as_slice)
    }

    /// Those whose place is known.
    pub(crate) fn begun_items(&self) -> impl DoubleEndedIterator<Item = &LogicQueueMappingItem> {
        self.items().iter().filter(|item| item.has_begun())
    }

    /// The part that messages go to.
    pub(crate) fn leader(&self) -> Option<&LogicQueueMappingItem> {
        self.items().last()
    }

    /// Whether a part is on this broker.
    pub(crate) fn is_here(&self, item: &LogicQueueMappingItem) -> bool {
        item.bname == self.mapping.bname
    }

    /// Whether this broker answers for the queue.
    pub(crate) fn is_led_here(&self) -> bool {
        self.leader().is_some_and(|leader| self.is_here(leader))
    }

    /// Whether a part of it is on another broker.
    pub(crate) fn is_also_elsewhere(&self) -> bool {
        self.items().iter().any(|item| !self.is_here(item))
    }

    /// Whether it is still mapped as `mapping` says.
    pub(crate) fn is_of(&self, mapping: Option<&Arc<TopicQueueMappingDetail>>) -> bool {
        mapping.is_some_and(|mapping| Arc::ptr_eq(mapping, &self.mapping))
    }

    /// The part that a logical offset lies in, or the first one if it lies before all of them.
    ///
    /// Reference: `TopicQueueMappingUtils.findLogicQueueMappingItem` (remoting), 5.5.0.
    pub(crate) fn find(&self, logic_offset: i64) -> Option<&LogicQueueMappingItem> {
        let found = self.begun_items().rev().find(|item| item.logic_offset <= logic_offset);
        found.or_else(|| self.begun_items().next())
    }

    /// The part that a request is to go to.
    ///
    /// # Errors
    /// When no part has begun: there is nothing to find yet.
    pub(crate) fn part(&self, logic_offset: i64) -> Result<&LogicQueueMappingItem, RequestError> {
        self.find(logic_offset).ok_or_else(|| self.not_led_here())
    }

    /// The part behind `item`, if its place is known.
    ///
    /// Reference: `TopicQueueMappingUtils.findNext` (remoting), 5.5.0.
    pub(crate) fn next(&self, item: &LogicQueueMappingItem) -> Option<&LogicQueueMappingItem> {
        let at = self.items().iter().rposition(|it| it.generation == item.generation)?;
        self.items().get(at + 1).filter(|next| next.has_begun())
    }

    /// What is answered when another broker leads the queue.
    pub(crate) fn not_led_here(&self) -> RequestError {
        RequestError::NotLeader {
            topic: self.topic.to_string(),
            queue_id: self.id,
            broker: self.mapping.bname.clone().unwrap_or_default(),
        }
    }
}
