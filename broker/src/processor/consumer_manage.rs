//! `QUERY_CONSUMER_OFFSET` (14) and `UPDATE_CONSUMER_OFFSET` (15).
//!
//! Reference: `ConsumerManageProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    Header as _, QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use oxmq_store::MessageStore;

use super::success;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;

/// Keeps how far consumers have come.
#[derive(Debug)]
pub(crate) struct ConsumerOffsets {
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    store: Arc<MessageStore>,
}

impl ConsumerOffsets {
    pub(crate) fn new(
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        offsets: Arc<ConsumerOffsetManager>,
        store: Arc<MessageStore>,
    ) -> Self {
        Self { topics, groups, offsets, store }
    }

    /// Tells a consumer group where to go on in one queue.
    pub(crate) fn query(&self, request: &CommandView<'_>) -> Result<RemotingCommand, RequestError> {
        let QueryConsumerOffsetRequestHeader {
            consumer_group,
            topic,
            queue_id,
            set_zero_if_not_found,
        } = QueryConsumerOffsetRequestHeader::decode(request)?;
        let committed = self.offsets.query(&consumer_group, &topic, queue_id);
        if let Some(offset) = committed.filter(|&offset| offset >= 0) {
            return Ok(success().with_header(&QueryConsumerOffsetResponseHeader { offset }));
        }
        if set_zero_if_not_found == Some(false) {
            return Err(RequestError::OffsetNotFoundNorZero);
        }
        // A new group starts at 0 only while the queue is complete and its head is still warm:
        // replaying a cold queue from disk is never what a first boot wants.
        let (min, max) = self.store.bounds(&topic, queue_id);
        if min <= 0 && max > 0 && self.store.is_in_memory(&topic, queue_id, 0) {
            return Ok(success().with_header(&QueryConsumerOffsetResponseHeader { offset: 0 }));
        }
        Err(RequestError::OffsetNotFound)
    }

    /// Notes where a consumer group goes on in one queue.
    pub(crate) fn update(
        &self,
        request: &CommandView<'_>,
    ) -> Result<RemotingCommand, RequestError> {
        let UpdateConsumerOffsetRequestHeader { consumer_group, topic, queue_id, commit_offset } =
            UpdateConsumerOffsetRequestHeader::decode(request)?;
        if self.groups.get(&consumer_group).is_none() {
            return Err(RequestError::CommitGroupNotExist(consumer_group));
        }
        if self.topics.get(&topic).is_none() {
            return Err(RequestError::CommitTopicNotExist(topic));
        }
        let Some(queue_id) = queue_id else {
            return Err(RequestError::CommitWithoutQueue(topic));
        };
        let Some(offset) = commit_offset else {
            return Err(RequestError::CommitWithoutOffset(topic));
        };
        if self.offsets.has_reset(&consumer_group, &topic, queue_id) {
            return Ok(success().with_remark("Offset has been previously reset"));
        }
        self.offsets.commit(&consumer_group, &topic, queue_id, offset);
        Ok(success())
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, managers, request, with_view};
    use super::*;

    fn processor(m: &Managers) -> ConsumerOffsets {
        ConsumerOffsets::new(
            Arc::clone(&m.topics),
            Arc::clone(&m.groups),
            Arc::clone(&m.offsets),
            Arc::clone(&m.store),
        )
    }

    fn query(m: &Managers, more: &[(&str, &str)]) -> Result<i64, (i32, String)> {
        let mut fields = vec![("consumerGroup", "g"), ("topic", "t"), ("queueId", "0")];
        fields.extend(more);
        with_view(&request(&fields), |view| processor(m).query(view))
            .map(|answer| answer.ext_fields.get("offset").unwrap().parse().unwrap())
            .map_err(|error| (error.response_code().0, error.to_string()))
    }

    #[test]
    fn new_group_starts_at_0_of_a_young_queue_unless_it_does_not_want_to() {
        let m = managers(|_| ());
        let boots_first = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
        assert_eq!(query(&m, &[]), Err((22, boots_first.to_owned())), "the queue is empty");
        m.put("t", 0, "body");
        assert_eq!(query(&m, &[]), Ok(0));
        let not_zero = "Not found, do not set to zero, maybe this group boot first";
        assert_eq!(query(&m, &[("setZeroIfNotFound", "false")]), Err((22, not_zero.to_owned())));
        m.offsets.commit("g", "t", 0, 7);
        assert_eq!(query(&m, &[("setZeroIfNotFound", "false")]), Ok(7));
        m.offsets.commit("g", "t", 0, -1);
        assert_eq!(query(&m, &[]), Ok(0), "a client may commit that it consumed nothing");
    }

    fn update(m: &Managers, fields: &[(&str, &str)]) -> Result<RemotingCommand, (i32, String)> {
        with_view(&request(fields), |view| processor(m).update(view))
            .map_err(|error| (error.response_code().0, error.to_string()))
    }

    #[test]
    fn commit_is_checked_in_the_order_of_the_reference() {
        let m = managers(|_| ());
        let mut fields = vec![("consumerGroup", "g"), ("topic", "t")];
        let mut refused = |m: &Managers, more: Option<(&'static str, &'static str)>| {
            fields.extend(more);
            update(m, &fields).unwrap_err()
        };
        assert_eq!(refused(&m, None), (26, "Group g not exist!".to_owned()));
        m.groups.find_or_create("g").unwrap();
        assert_eq!(refused(&m, None), (17, "Topic t not exist!".to_owned()));
        m.create_topic("t", 4);
        assert_eq!(refused(&m, None), (29, "QueueId is null, topic is t".to_owned()));
        assert_eq!(
            refused(&m, Some(("queueId", "1"))),
            (29, "Offset is null, topic is t".to_owned())
        );
        fields.push(("commitOffset", "9"));
        assert_eq!(update(&m, &fields).unwrap().remark, None);
        assert_eq!(m.offsets.query("g", "t", 1), Some(9));
    }

    #[test]
    fn commit_means_nothing_while_a_reset_is_pending() {
        let m = managers(|_| ());
        m.groups.find_or_create("g").unwrap();
        m.create_topic("t", 4);
        m.offsets.assign_reset("g", "t", 0, 3);
        let fields =
            [("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "9")];
        let answer = update(&m, &fields).unwrap();
        assert_eq!(answer.remark.as_deref(), Some("Offset has been previously reset"));
        assert_eq!(m.offsets.take_reset("g", "t", 0), Some(3));
        assert_eq!(m.offsets.query("g", "t", 0), Some(3));
    }
}
