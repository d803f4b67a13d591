//! Which topics have batch queues.
//!
//! A topic's attribute says so, its queues' directory, and any record of many messages.

use std::collections::HashSet;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::consume_queue::{QueueKind, queue_dirs};
use crate::error::StoreError;
use crate::json_file::JsonFile;
use crate::json_journal::JsonJournal;
use crate::sync::{read, write};

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
        // What is wrong with it is told to who needs more of it.
        let json = JsonFile::<Value>::new(&path).look().ok().flatten().unwrap_or_default();
        let table = json["topicConfigTable"].as_object();
        for (name, topic) in table.into_iter().flatten() {
            topics.note(name, topic);
        }
        // What a crash has kept from getting into the file.
        for step in JsonJournal::<Value>::of(&path).look()? {
            for change in step["changes"].as_array().into_iter().flatten() {
                let topic = &change["put"];
                let name = topic["topicName"].as_str().unwrap_or_default();
                if table.is_none_or(|table| !table.contains_key(name)) {
                    topics.note(name, topic);
                }
            }
        }
        Ok(topics)
    }

    /// Notes a topic, as the metadata has it, if it has batch queues.
    fn note(&self, name: &str, topic: &Value) {
        if topic["attributes"][QUEUE_TYPE] == BATCH {
            self.insert(name);
        }
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.any.load(Ordering::Relaxed) && read(&self.names).contains(topic)
    }

    /// What the queues of `topic` are.
    pub(crate) fn kind_of(&self, topic: &str) -> QueueKind {
        if self.contains(topic) { QueueKind::Batch } else { QueueKind::Simple }
    }

    pub(crate) fn insert(&self, topic: &str) {
        write(&self.names).insert(topic.to_owned());
        self.any.store(true, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, topic: &str) {
        write(&self.names).remove(topic);
    }
}
