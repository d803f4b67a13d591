//! What tools are told of lite topics: `GET_BROKER_LITE_INFO` (200074), `GET_PARENT_TOPIC_INFO` (200075),
//! `GET_LITE_TOPIC_INFO` (200076), `GET_LITE_CLIENT_INFO` (200077), `GET_LITE_GROUP_INFO` (200078), and
//! `TRIGGER_LITE_DISPATCH` (200079).
//!
//! Reference: `LiteManagerProcessor`, `LiteConsumerLagCalculator` (broker), 5.5.0.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oxmq_protocol::body::{
    GetBrokerLiteInfoResponseBody, GetLiteClientInfoResponseBody, GetLiteGroupInfoResponseBody,
    GetLiteTopicInfoResponseBody, GetParentTopicInfoResponseBody, LiteLagInfo, OffsetWrapper,
    SubscriptionGroupConfig, TopicOffset,
};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    GetLiteClientInfoRequestHeader, GetLiteGroupInfoRequestHeader, GetLiteTopicInfoRequestHeader,
    GetParentTopicInfoRequestHeader, Header as _, TriggerLiteDispatchRequestHeader,
};
use oxmq_store::MessageStore;

use super::{Answer, success, success_with};
use crate::attributes::LITE_BIND_TOPIC;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::LiteError;
use crate::pop::lite::{
    LiteService, QUEUE_ID, expiration_minutes, has_lite_topics, is_lite_queue, parts, queue_name,
};
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::{Topic, TopicConfigManager};

/// Most lite topics of a client that are named, whatever is asked for.
const MOST_NAMED: usize = 10_000;

/// Tells of lite topics.
#[derive(Debug)]
pub(crate) struct LiteInfo {
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    lite: Arc<LiteService>,
}

impl LiteInfo {
    pub(crate) fn new(
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        offsets: Arc<ConsumerOffsetManager>,
        lite: Arc<LiteService>,
    ) -> Self {
        Self { store, topics, groups, offsets, lite }
    }

    /// The broker as a whole.
    pub(crate) fn broker(&self) -> Answer {
        let (event_map_size, order_info_count) = self.lite.sizes();
        let topics = self.topics.snapshot().0;
        let with_lite = topics.iter().filter(|topic| has_lite_topics(topic));
        success_with(&GetBrokerLiteInfoResponseBody {
            cq_table_size: count(self.store.queues().len()),
            current_lmq_num: count(self.store.light_queues()),
            event_map_size: count(event_map_size),
            group_meta: self.groups_by_topic(),
            lite_subscription_count: count(self.lite.subscriptions()),
            max_lmq_num: self.store.config().max_lmq_consume_queue_num as i32,
            offset_table_size: count(self.offsets.snapshot().offset_table.len()),
            order_info_count: count(order_info_count),
            store_type: "default".to_owned(),
            topic_meta: with_lite
                .map(|topic| (topic.topic_name.clone(), expiration_minutes(topic)))
                .collect(),
        })
    }

    /// A topic that has lite topics.
    pub(crate) fn parent(&self, request: &CommandView<'_>) -> Answer {
        let topic = GetParentTopicInfoRequestHeader::decode(request)?.topic;
        let found = self.topic_with_lite_topics(&topic)?;
        success_with(&GetParentTopicInfoResponseBody {
            groups: self.groups_by_topic().remove(&topic),
            lite_topic_count: count(self.lite.queues_of(&topic).len()),
            lmq_num: count(self.store.light_queues()),
            ttl: expiration_minutes(&found),
            topic,
        })
    }

    /// One lite topic.
    pub(crate) fn topic(&self, request: &CommandView<'_>) -> Answer {
        let header = GetLiteTopicInfoRequestHeader::decode(request)?;
        let parent_topic = header.parent_topic.unwrap_or_default();
        self.topic_with_lite_topics(&parent_topic)?;
        let queue = queue_name(&parent_topic, header.lite_topic.as_deref().unwrap_or_default());
        let queue = queue.unwrap_or_default();
        let (min_offset, max_offset) = self.store.bounds(&queue, QUEUE_ID);
        let topic_offset = TopicOffset {
            min_offset: min_offset.max(0),
            max_offset: max_offset.max(0),
            last_update_timestamp: match max_offset {
                1.. => self.stored_ms(&queue, max_offset - 1),
                _ => 0,
            },
        };
        success_with(&GetLiteTopicInfoResponseBody {
            lite_topic: header.lite_topic,
            parent_topic,
            sharding_to_broker: true,
            subscriber: self.lite.subscribers(&queue),
            topic_offset,
        })
    }

    /// What a client subscribes.
    pub(crate) fn client(&self, request: &CommandView<'_>) -> Answer {
        let header = GetLiteClientInfoRequestHeader::decode(request)?;
        let most = usize::try_from(header.max_count).ok().filter(|most| *most > 0);
        let most = most.ok_or(LiteError::Count("maxCount"))?.min(MOST_NAMED);
        let parent_topic = header.parent_topic.unwrap_or_default();
        self.topic_with_lite_topics(&parent_topic)?;
        let group = header.group.unwrap_or_default();
        if self.group(&group)?.attributes.get(LITE_BIND_TOPIC) != Some(&parent_topic) {
            return Err(LiteError::NotBound { group, topic: parent_topic }.into());
        }
        let client = header.client_id.as_deref().unwrap_or_default();
        let subscribed = self.lite.subscribed(client);
        success_with(&GetLiteClientInfoResponseBody {
            last_access_time: self.lite.came_ms(client).unwrap_or(-1),
            last_consume_time: 0,
            lite_topic_count: subscribed.as_ref().map_or(-1, |queues| count(queues.len())),
            lite_topic_set: subscribed.map(|queues| queues.into_iter().take(most).collect()),
            client_id: header.client_id,
            group,
            parent_topic,
        })
    }

    /// What a group has left of one lite topic, or of all.
    pub(crate) fn group_progress(&self, request: &CommandView<'_>) -> Answer {
        let header = GetLiteGroupInfoRequestHeader::decode(request)?;
        let parent_topic = self.bound_topic(&header.group)?;
        let mut body = GetLiteGroupInfoResponseBody {
            earliest_unconsumed_timestamp: -1,
            lite_topic: header.lite_topic,
            group: header.group,
            parent_topic,
            ..GetLiteGroupInfoResponseBody::default()
        };
        match body.lite_topic.clone().filter(|lite_topic| !lite_topic.is_empty()) {
            Some(lite_topic) => self.add_progress(&mut body, &lite_topic),
            None => self.add_all_progress(&mut body, header.top_k)?,
        }
        success_with(&body)
    }

    fn add_progress(&self, body: &mut GetLiteGroupInfoResponseBody, lite_topic: &str) {
        let queue = queue_name(&body.parent_topic, lite_topic).unwrap_or_default();
        let max = self.store.max_offset(&queue, QUEUE_ID);
        if max <= 0 {
            body.total_lag_count = -1;
            return;
        }
        let Some(consumed) = self.offsets.query(&body.group, &queue, QUEUE_ID) else { return };
        body.total_lag_count = max - consumed;
        body.earliest_unconsumed_timestamp = self.stored_ms(&queue, consumed);
        body.lite_topic_offset_wrapper = Some(OffsetWrapper {
            broker_offset: max,
            consumer_offset: consumed,
            pull_offset: 0,
            last_timestamp: if consumed > 0 { self.stored_ms(&queue, consumed - 1) } else { 0 },
        });
    }

    fn add_all_progress(
        &self,
        body: &mut GetLiteGroupInfoResponseBody,
        most: i32,
    ) -> Result<(), LiteError> {
        let most = usize::try_from(most).ok().filter(|most| *most > 0);
        let most = most.ok_or(LiteError::Count("topK"))?;
        let topics = self.offsets.topics_of(&body.group);
        let mut lags: Vec<(i64, String, i64)> = Vec::new();
        for queue in topics.into_iter().filter(|topic| is_lite_queue(topic)) {
            let Some(consumed) = self.offsets.query(&body.group, &queue, QUEUE_ID) else {
                continue;
            };
            let left = self.store.max_offset(&queue, QUEUE_ID) - consumed;
            if left > 0 && consumed >= 0 {
                body.total_lag_count += left;
                lags.push((left, queue, consumed));
            }
        }
        lags.sort_by_key(|(left, ..)| Reverse(*left));
        lags.truncate(most);
        let info = |(lag_count, queue, consumed): (i64, String, i64)| LiteLagInfo {
            earliest_unconsumed_timestamp: self.stored_ms(&queue, consumed),
            lag_count,
            lite_topic: parts(&queue).map(|(_, lite_topic)| lite_topic.to_owned()),
        };
        body.lag_count_top_k = Some(lags.into_iter().map(info).collect());
        let oldest = self.lite.lags(&body.parent_topic, &body.group, most);
        let info = |(since_ms, queue): (i64, String)| {
            let consumed = self.offsets.query(&body.group, &queue, QUEUE_ID);
            let max = self.store.max_offset(&queue, QUEUE_ID);
            LiteLagInfo {
                earliest_unconsumed_timestamp: since_ms,
                lag_count: consumed.map_or(0, |consumed| (max - consumed).max(0)),
                lite_topic: parts(&queue).map(|(_, lite_topic)| lite_topic.to_owned()),
            }
        };
        let oldest: Vec<_> = oldest.into_iter().map(info).collect();
        if let Some(first) = oldest.first() {
            body.earliest_unconsumed_timestamp = first.earliest_unconsumed_timestamp;
        }
        body.lag_timestamp_top_k = Some(oldest);
        Ok(())
    }

    /// Has a client, or all of a group, look at every lite topic that it subscribes.
    pub(crate) fn trigger(&self, request: &CommandView<'_>) -> Answer {
        let TriggerLiteDispatchRequestHeader { group, client_id } =
            TriggerLiteDispatchRequestHeader::decode(request)?;
        self.bound_topic(&group)?;
        match client_id.filter(|client| !client.is_empty()) {
            Some(client) => self.lite.look_at_all(&client, &group),
            None => self.lite.group_looks_at_all(&group),
        }
        Ok(success())
    }

    fn topic_with_lite_topics(&self, topic: &str) -> Result<Arc<Topic>, LiteError> {
        let found =
            self.topics.get(topic).ok_or_else(|| LiteError::TopicNotExist(topic.to_owned()))?;
        if has_lite_topics(&found) {
            Ok(found)
        } else {
            Err(LiteError::TopicType(topic.to_owned()))
        }
    }

    fn group(&self, group: &str) -> Result<Arc<SubscriptionGroupConfig>, LiteError> {
        self.groups.find_or_create(group).ok_or_else(|| LiteError::GroupNotExist(group.to_owned()))
    }

    fn bound_topic(&self, group: &str) -> Result<String, LiteError> {
        let bound = self.group(group)?.attributes.get(LITE_BIND_TOPIC).cloned();
        bound
            .filter(|topic| !topic.is_empty())
            .ok_or_else(|| LiteError::NotLiteGroup(group.to_owned()))
    }

    /// Groups by the topic whose lite topics they consume.
    fn groups_by_topic(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut by_topic: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let groups = self.groups.snapshot().subscription_group_table;
        for group in groups.into_values() {
            if let Some(topic) = group.attributes.get(LITE_BIND_TOPIC) {
                by_topic.entry(topic.clone()).or_default().insert(group.group_name);
            }
        }
        by_topic
    }

    fn stored_ms(&self, queue: &str, offset: i64) -> i64 {
        self.store.message_store_timestamp(queue, QUEUE_ID, offset).unwrap_or(-1)
    }
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
