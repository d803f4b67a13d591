//! Topics that are made as they are needed: by a send, or for what a group has to try again.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Topic, TopicConfig, TopicConfigManager, UNIT_FLAG, UNIT_SUB_FLAG};
use crate::limits::MAX_TOPICS;
use crate::perm;
use crate::sync::{lock, read};
use crate::topic_validator::{self, AUTO_CREATE_TOPIC};

impl TopicConfigManager {
    /// Creates a topic that is sent to, with the settings of `default_topic` if those may be taken.
    ///
    /// A retry topic is created in any case. Returns `None` when the topic may not be created.
    pub(crate) fn create_in_send(
        &self,
        topic: &str,
        default_topic: &str,
        default_queue_nums: i32,
        unit_mode: bool,
        producer: SocketAddr,
    ) -> Option<Arc<Topic>> {
        let is_retry = topic_validator::is_retry_topic(topic);
        let topic_sys_flag = match (unit_mode, is_retry) {
            (false, _) => 0,
            (true, false) => UNIT_FLAG,
            (true, true) => UNIT_SUB_FLAG,
        };
        let inherited = self.get(default_topic).filter(|default| {
            let off = default_topic == AUTO_CREATE_TOPIC && !self.config.auto_create_topic_enable;
            default.perm & perm::INHERIT != 0 && !off
        });
        let Some(default) = inherited else {
            warn!(%topic, default_topic, %producer, "topic is not created: nothing to inherit");
            let perm = perm::READ | perm::WRITE;
            return is_retry
                .then(|| self.create_in_send_back(topic, 1, perm, false, topic_sys_flag))?;
        };
        let queue_nums = default_queue_nums.min(default.write_queue_nums).max(0);
        self.create(TopicConfig {
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm: default.perm & !perm::INHERIT,
            topic_filter_type: default.topic_filter_type,
            topic_sys_flag,
            ..TopicConfig::new(topic)
        })
    }

    /// Returns a retry or dead-letter topic, created if need be, with its order as given.
    pub(crate) fn create_in_send_back(
        &self,
        topic: &str,
        queue_nums: i32,
        perm: i32,
        order: bool,
        topic_sys_flag: i32,
    ) -> Option<Arc<Topic>> {
        match self.get(topic) {
            Some(found) if found.order == order => Some(found),
            Some(found) => Some(self.put(TopicConfig { order, ..TopicConfig::clone(&found) })),
            None => self.create(TopicConfig {
                read_queue_nums: queue_nums,
                write_queue_nums: queue_nums,
                perm,
                order,
                topic_sys_flag,
                ..TopicConfig::new(topic)
            }),
        }
    }

    /// Returns the topic of a group's popped messages to try again, with at least so many queues, created
    /// or widened if need be.
    ///
    /// Unlike other retry topics, no heartbeat names it: it is saved before a message is put there.
    pub(crate) fn create_pop_retry(&self, topic: &str, queue_nums: i32) -> Option<Arc<Topic>> {
        let (read_queue_nums, write_queue_nums) = (queue_nums, queue_nums);
        let made = match self.get(topic) {
            Some(found) if found.write_queue_nums >= queue_nums => return Some(found),
            Some(found) => self.put(TopicConfig {
                read_queue_nums,
                write_queue_nums,
                ..TopicConfig::clone(&found)
            }),
            None => self.create(TopicConfig {
                read_queue_nums,
                write_queue_nums,
                ..TopicConfig::new(topic)
            })?,
        };
        drop(self.keep());
        Some(made)
    }

    /// Creates a topic unless another thread was faster.
    fn create(&self, topic: TopicConfig) -> Option<Arc<Topic>> {
        let mut data_version = lock(&self.data_version);
        if let Some(found) = self.get(&topic.topic_name) {
            return Some(found);
        }
        if read(&self.table).len() >= MAX_TOPICS {
            warn!(%topic, "topic is not created: there are {MAX_TOPICS} already");
            return None;
        }
        info!(%topic, "topic created");
        let created = self.store(topic, &mut data_version);
        drop(data_version);
        // Retry topics come with heartbeats, hundreds at once when a broker is new, and come again with
        // the next ones.
        if !topic_validator::is_retry_topic(&created.topic_name) {
            drop(self.keep());
        }
        Some(created)
    }

    fn put(&self, topic: TopicConfig) -> Arc<Topic> {
        let mut data_version = lock(&self.data_version);
        self.store(topic, &mut data_version)
    }
}
