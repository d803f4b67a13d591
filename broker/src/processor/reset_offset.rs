//! `INVOKE_BROKER_TO_RESET_OFFSET` (222).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0. With `useServerSideResetOffset`, the default, the
//! offset is set here, and a running consumer is moved by its next pull.

mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use oxmq_protocol::body::{MessageQueue, ResetOffsetBody};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{Header as _, ResetOffsetRequestHeader};
use oxmq_remoting::Connection;
use oxmq_store::{Boundary, MessageStore};
use tracing::info;

use super::{Answer, success_with};
use crate::channel::Channel;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;

/// Lets a group go on elsewhere.
#[derive(Debug)]
pub(crate) struct ResetOffset<C = Connection> {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    consumers: Arc<ConsumerManager<C>>,
    store: Arc<MessageStore>,
}

impl<C: Channel> ResetOffset<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        tables: &Tables,
        consumers: Arc<ConsumerManager<C>>,
        store: Arc<MessageStore>,
    ) -> Self {
        let (topics, groups) = (Arc::clone(&tables.topics), Arc::clone(&tables.groups));
        let offsets = Arc::clone(&tables.offsets);
        Self { config, topics, groups, offsets, consumers, store }
    }

    /// Sets the offset of one queue or of all, and answers where the group goes on.
    pub(crate) fn process(&self, request: &CommandView<'_>) -> Answer {
        let header = ResetOffsetRequestHeader::decode(request)?;
        if !self.config.use_server_side_reset_offset {
            return self.tell_members(request, header);
        }
        let ResetOffsetRequestHeader { group, topic, queue_id, offset, timestamp, .. } = header;
        let Some(config) = self.topics.get(&topic) else {
            return Err(RequestError::ResetTopicNotExist(topic));
        };
        if self.groups.get(&group).is_none() {
            return Err(RequestError::ResetGroupNotExist(group));
        }
        let mut targets = BTreeMap::new();
        if queue_id < 0 {
            let by_time = |queue_id| (queue_id, self.by_time(&topic, queue_id, timestamp));
            targets.extend((0..config.read_queue_nums).map(by_time));
        } else {
            let target = match offset.filter(|&offset| offset != -1) {
                Some(offset) => self.in_range(&topic, queue_id, offset)?,
                None => self.by_time(&topic, queue_id, timestamp),
            };
            targets.insert(queue_id, target);
        }
        if targets.is_empty() {
            return Err(RequestError::NoQueuesToReset);
        }
        for (&queue_id, &offset) in &targets {
            self.offsets.assign_reset(&group, &topic, queue_id, offset);
        }
        info!(%topic, group, ?targets, "offsets reset");
        let queue = |queue_id| MessageQueue {
            topic: topic.clone(),
            broker_name: self.config.broker_name.clone(),
            queue_id,
        };
        let offset_table = targets.into_iter().map(|(id, offset)| (queue(id), offset)).collect();
        success_with(&ResetOffsetBody { offset_table })
    }

    fn by_time(&self, topic: &str, queue_id: i32, timestamp: i64) -> i64 {
        if timestamp < 0 {
            return self.store.max_offset(topic, queue_id);
        }
        self.store.offset_by_time(topic, queue_id, timestamp, Boundary::Lower)
    }

    fn in_range(&self, topic: &str, queue_id: i32, offset: i64) -> Result<i64, RequestError> {
        let (min, max) = self.store.bounds(topic, queue_id);
        // One more than the end is let through by the reference as well.
        if offset < min || offset > max + 1 {
            return Err(RequestError::ResetOutOfRange { offset, min, max });
        }
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Managers, body, managers, request, with_view};
    use super::*;

    pub(super) fn reset(m: &Managers, more: &[(&str, &str)]) -> Result<String, (i32, String)> {
        let processor = ResetOffset::new(
            Arc::clone(&m.config),
            &m.tables,
            Arc::clone(&m.consumers),
            Arc::clone(&m.store),
        );
        let mut fields = vec![("group", "g"), ("topic", "t"), ("isForce", "true")];
        fields.extend(more);
        with_view(&request(&fields), |view| processor.process(view))
            .map(|answer| body(&answer).to_owned())
            .map_err(|error| (error.response_code().0, error.to_string()))
    }

    #[test]
    fn group_goes_on_at_a_time_an_offset_or_the_end() {
        let m = managers(|_| ());
        m.create_topic("t", 2);
        m.groups.find_or_create("g").unwrap();
        for ms in [1_000, 2_000, 3_000] {
            m.clock.set(ms);
            m.put("t", 0, "body");
        }
        m.offsets.commit("g", "t", 0, 3);
        assert_eq!(
            reset(&m, &[("timestamp", "2000")]).unwrap(),
            r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:1,{"brokerName":"b","queueId":1,"topic":"t"}:0}}"#
        );
        assert_eq!(m.offsets.query("g", "t", 0), Some(1));
        assert!(m.offsets.has_reset("g", "t", 0) && m.offsets.has_reset("g", "t", 1));
        reset(&m, &[("timestamp", "-1"), ("queueId", "0")]).unwrap();
        assert_eq!(m.offsets.query("g", "t", 0), Some(3));
        reset(&m, &[("timestamp", "0"), ("queueId", "0"), ("offset", "2")]).unwrap();
        assert_eq!(m.offsets.take_reset("g", "t", 0), Some(2));
    }

    #[test]
    fn refusals_have_the_codes_and_words_of_the_reference() {
        let m = managers(|_| ());
        let refused = |more: &[_]| {
            let mut fields = vec![("timestamp", "0")];
            fields.extend(more);
            reset(&m, &fields).unwrap_err()
        };
        assert_eq!(refused(&[]), (17, "Topic t does not exist".to_owned()));
        m.create_topic("t", 1);
        assert_eq!(refused(&[]), (26, "Group g does not exist".to_owned()));
        m.groups.find_or_create("g").unwrap();
        m.put("t", 0, "body");
        assert_eq!(
            refused(&[("queueId", "0"), ("offset", "3")]),
            (1, "Target offset 3 not in consume queue range [0-1]".to_owned())
        );
        m.create_topic("t", 0);
        assert_eq!(refused(&[]), (1, "No queues to reset.".to_owned()));
    }
}
