//! Which topics have batch queues.
//!
//! A topic's attribute says so, its queues' directory, and any record of many messages.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use oxmq_protocol::fastjson;
use serde_json::Value;

use crate::consume_queue::{QueueKind, queue_dirs};
use crate::error::{IoContext, StoreError};

/// Attribute of a topic, and its value for batch queues.
///
/// Reference: `TopicAttributes.QUEUE_TYPE_ATTRIBUTE`, `CQType` (common), 5.5.0.
const QUEUE_TYPE: &str = "queue.type";
const BATCH: &str = "BatchCQ";

/// The topics. Most stores have none, and ask at the cost of one load.
#[derive(Debug, Default)]
pub(crate) struct BatchTopics {
    any: AtomicBool,
    names: RwLock<HashSet<String>>,
}

impl BatchTopics {
    /// Those of the store in `root`.
    pub(crate) fn of_store(root: &Path) -> Result<Self, StoreError> {
        let topics = Self::default();
        for queue in queue_dirs(&root.join(QueueKind::Batch.dir_name()))? {
            topics.insert(&queue.topic);
        }
        let path = root.join("config/topics.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(topics),
            Err(error) => return Err(error).doing("read", &path),
        };
        // Whether it is damaged is found out by who needs more of it.
        let Ok::<Value, _>(json) = fastjson::from_slice(&text) else {
            return Ok(topics);
        };
        let table = json.get("topicConfigTable").and_then(Value::as_object);
        for (name, topic) in table.into_iter().flatten() {
            if topic["attributes"][QUEUE_TYPE] == BATCH {
                topics.insert(name);
            }
        }
        Ok(topics)
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.names.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    /// What the queues of `topic` are.
    pub(crate) fn kind_of(&self, topic: &str) -> QueueKind {
        if self.contains(topic) { QueueKind::Batch } else { QueueKind::Simple }
    }

    pub(crate) fn insert(&self, topic: &str) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
        self.any.store(true, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, topic: &str) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}
