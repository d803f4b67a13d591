//! `CLEAN_EXPIRED_CONSUMEQUEUE` (306), `CLEAN_UNUSED_TOPIC` (316), `DELETE_EXPIRED_COMMITLOG` (329) and
//! `POP_ROLLBACK` (200056).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::command::RemotingCommand;
use oxmq_store::{LIGHT_PREFIX, MessageStore};
use tracing::{error, info};

use super::success;
use crate::topic::TopicConfigManager;
use crate::topic_validator;

/// Cleans up when a tool asks.
#[derive(Debug)]
pub(crate) struct Maintenance {
    topics: Arc<TopicConfigManager>,
    store: Arc<MessageStore>,
}

impl Maintenance {
    pub(crate) fn new(topics: Arc<TopicConfigManager>, store: Arc<MessageStore>) -> Self {
        Self { topics, store }
    }

    /// Has expired files of the log deleted at any hour, and those of queues that led there.
    pub(crate) fn delete_expired_files(&self) -> RemotingCommand {
        self.store.delete_expired_files();
        success()
    }

    /// Deletes the queues of topics that do not exist.
    pub(crate) fn clean_unused_topics(&self) -> RemotingCommand {
        for topic in self.store.queues().into_keys() {
            let is_used = self.topics.get(&topic).is_some()
                || self.topics.is_system_topic(&topic)
                || topic.starts_with(LIGHT_PREFIX)
                || topic_validator::is_topic_not_allowed_to_send(&topic);
            if is_used {
                continue;
            }
            match self.store.delete_topic(&topic) {
                Ok(()) => info!(%topic, "queues of an unused topic deleted"),
                Err(error) => error!(%topic, %error, "queues of an unused topic not deleted"),
            }
        }
        success()
    }

    /// Says that all notes on popped messages are in the revive topic.
    ///
    /// The reference moves there what it has in its KV store. Here all are noted there to begin with, and a
    /// broker does not start with a KV store that has some.
    pub(crate) fn move_pop_records() -> RemotingCommand {
        info!("notes on popped messages are all in the revive topic: none to be moved there");
        success()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::managers;
    use super::*;

    #[test]
    fn only_queues_of_topics_that_do_not_exist_go() {
        let m = managers(|_| ());
        m.create_topic("used", 1);
        for topic in ["used", "unused", "SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer", "%LMQ%q"] {
            m.put(topic, 0, "x");
        }
        let maintenance = Maintenance::new(Arc::clone(&m.topics), Arc::clone(&m.store));
        maintenance.clean_unused_topics();
        let left: Vec<_> = m.store.queues().into_keys().collect();
        assert_eq!(left, ["%LMQ%q", "SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer", "used"]);
    }
}
