//! `GET_TOPIC_STATS_INFO` (202) and `GET_CONSUME_STATS` (208).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

mod consume_view;

use std::collections::BTreeSet;
use std::sync::Arc;

use oxmq_protocol::body::{
    ConsumeStats, MessageQueue, OffsetWrapper, TopicOffset, TopicStatsTable,
};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    GetConsumeStatsRequestHeader, GetTopicStatsInfoRequestHeader, Header as _,
};
use oxmq_remoting::Connection;
use oxmq_store::MessageStore;

use super::{Answer, success_with};
use crate::channel::Channel;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::static_topic::StaticTopics;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;
use crate::topic_validator;
use crate::traffic::{Kind, TrafficHistory};

/// Tells tools what topics hold, how far groups are behind, and what was counted.
#[derive(Debug)]
pub(crate) struct Stats<C = Connection> {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    consumers: Arc<ConsumerManager<C>>,
    traffic: Arc<TrafficHistory>,
    store: Arc<MessageStore>,
    static_topics: Arc<StaticTopics>,
}

impl<C: Channel> Stats<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        tables: &Tables,
        consumers: Arc<ConsumerManager<C>>,
        traffic: Arc<TrafficHistory>,
        store: Arc<MessageStore>,
    ) -> Self {
        Self {
            config,
            topics: Arc::clone(&tables.topics),
            groups: Arc::clone(&tables.groups),
            offsets: Arc::clone(&tables.offsets),
            consumers,
            traffic,
            store,
            static_topics: Arc::clone(&tables.static_topics),
        }
    }

    /// Answers with the extent of each queue of a topic.
    pub(crate) fn topic_stats(&self, request: &CommandView<'_>) -> Answer {
        let name = GetTopicStatsInfoRequestHeader::decode(request)?.topic;
        let Some(topic) = self.topics.get(&name) else {
            return Err(RequestError::StatsTopicNotExist(name));
        };
        let mut table = TopicStatsTable {
            topic_put_tps: self.traffic.tps(Kind::TopicPut, &name),
            ..TopicStatsTable::default()
        };
        for queue_id in 0..topic.write_queue_nums.max(topic.read_queue_nums) {
            let (min_offset, max_offset) = self.store.bounds(&name, queue_id);
            let offset = TopicOffset {
                min_offset,
                max_offset,
                last_update_timestamp: self.timestamp(&name, queue_id, max_offset - 1),
            };
            table.offset_table.insert(self.queue(&name, queue_id), offset);
        }
        success_with(&table)
    }

    /// Answers with the progress of a group in each queue that it reads.
    pub(crate) fn consume_stats(&self, request: &CommandView<'_>) -> Answer {
        let header = GetConsumeStatsRequestHeader::decode(request)?;
        let group = header.consumer_group.clone();
        let mut stats = ConsumeStats::default();
        for name in self.topics_to_collect(header) {
            // Offsets outlive their topic.
            let Some(topic) = self.topics.get(&name) else { continue };
            stats.consume_tps +=
                self.traffic.tps(Kind::GroupGet, &self.offsets.traffic_key(&group, &name));
            for queue_id in 0..topic.read_queue_nums {
                let progress = self.progress(&group, &name, queue_id);
                stats.offset_table.insert(self.queue(&name, queue_id), progress);
            }
        }
        success_with(&stats)
    }

    fn topics_to_collect(&self, header: GetConsumeStatsRequestHeader) -> BTreeSet<String> {
        let listed: BTreeSet<_> = header
            .topic_list
            .iter()
            .flat_map(|list| list.split(';'))
            .filter(|topic| !topic_validator::is_blank(topic))
            .map(str::to_owned)
            .collect();
        if !listed.is_empty() {
            return listed;
        }
        let group = &header.consumer_group;
        let mut topics = match header.topic.filter(|topic| !topic_validator::is_blank(topic)) {
            Some(topic) => BTreeSet::from([topic]),
            None => self.offsets.topics_of(group),
        };
        if self.consumers.has_subscriptions(group) {
            topics.retain(|topic| self.consumers.is_subscribed(group, topic));
        }
        topics
    }

    fn progress(&self, group: &str, topic: &str, queue_id: i32) -> OffsetWrapper {
        // Tools look for the part of a logical queue that a group has reached.
        let none = if self.static_topics.get(topic).is_some() { -1 } else { 0 };
        let consumer_offset = self.offsets.query(group, topic, queue_id).unwrap_or(none).max(none);
        let pull_offset = self.offsets.query_pull(group, topic, queue_id).unwrap_or(none);
        OffsetWrapper {
            broker_offset: self.store.max_offset(topic, queue_id),
            consumer_offset,
            pull_offset: pull_offset.max(consumer_offset),
            last_timestamp: self.timestamp(topic, queue_id, consumer_offset - 1),
        }
    }

    /// Store time of a message; 0 when there is none.
    fn timestamp(&self, topic: &str, queue_id: i32, offset: i64) -> i64 {
        if offset < 0 {
            return 0;
        }
        self.store.message_store_timestamp(topic, queue_id, offset).unwrap_or(0).max(0)
    }

    fn queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue {
            topic: topic.to_owned(),
            broker_name: self.config.broker_name.clone(),
            queue_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::fastjson;

    use super::super::testing::{Managers, body, managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;

    pub(super) fn processor(m: &Managers) -> Stats<TestChannel> {
        Stats::new(
            Arc::clone(&m.config),
            &m.tables,
            Arc::clone(&m.consumers),
            Arc::default(),
            Arc::clone(&m.store),
        )
    }

    #[test]
    fn topic_is_answered_queue_by_queue() {
        let m = managers(|_| ());
        m.clock.set(5_000);
        m.create_topic("t", 2);
        m.put("t", 1, "a");
        let answer =
            with_view(&request(&[("topic", "t")]), |view| processor(&m).topic_stats(view)).unwrap();
        assert_eq!(
            body(&answer),
            r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},{"brokerName":"b","queueId":1,"topic":"t"}:{"lastUpdateTimestamp":5000,"maxOffset":1,"minOffset":0}},"topicPutTps":0.0}"#
        );
        let refused =
            with_view(&request(&[("topic", "u")]), |view| processor(&m).topic_stats(view));
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.response_code().0, refused.to_string()),
            (17, "topic[u] not exist".to_owned())
        );
    }

    #[test]
    fn progress_is_that_of_the_topics_asked_for_or_subscribed() {
        let m = managers(|_| ());
        m.clock.set(5_000);
        for topic in ["t", "u"] {
            m.create_topic(topic, 1);
            m.put(topic, 0, "a");
            m.put(topic, 0, "b");
            m.offsets.commit("g", topic, 0, 1);
        }
        m.offsets.commit_pull("g", "t", 0, 2, 0);
        let stats = |fields: &[(&str, &str)]| -> Vec<(String, OffsetWrapper)> {
            let mut all = vec![("consumerGroup", "g")];
            all.extend(fields);
            let answer = with_view(&request(&all), |view| processor(&m).consume_stats(view));
            let stats: ConsumeStats = fastjson::from_slice(&answer.unwrap().body).unwrap();
            stats.offset_table.into_iter().map(|(queue, wrapper)| (queue.topic, wrapper)).collect()
        };
        let progress = |pull_offset| OffsetWrapper {
            broker_offset: 2,
            consumer_offset: 1,
            pull_offset,
            last_timestamp: 5_000,
        };
        let (t, u) = (("t".to_owned(), progress(2)), ("u".to_owned(), progress(1)));
        assert_eq!(stats(&[]), [t.clone(), u.clone()]);
        assert_eq!(stats(&[("topic", "u")]), std::slice::from_ref(&u));

        m.join("c", "g", "t");
        assert_eq!(stats(&[]), std::slice::from_ref(&t));
        assert_eq!(stats(&[("topic", "u")]), []);
        assert_eq!(stats(&[("topicList", "u;t;none")]), [t, u]);
    }
}
