//! `QUERY_CONSUMER_OFFSET` (14) and `UPDATE_CONSUMER_OFFSET` (15).
//!
//! Reference: `ConsumerManageProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::body::LogicQueueMappingItem;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    Header as _, QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use oxmq_store::MessageStore;

use super::{Answer, success};
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::static_topic::{LogicQueue, StaticTopics, passed_on};
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;

/// Keeps how far consumers have come.
#[derive(Debug)]
pub(crate) struct ConsumerOffsets {
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    store: Arc<MessageStore>,
    static_topics: Arc<StaticTopics>,
}

impl ConsumerOffsets {
    pub(crate) fn new(tables: &Tables, store: Arc<MessageStore>) -> Self {
        Self {
            topics: Arc::clone(&tables.topics),
            groups: Arc::clone(&tables.groups),
            offsets: Arc::clone(&tables.offsets),
            store,
            static_topics: Arc::clone(&tables.static_topics),
        }
    }

    /// Tells a consumer group where to go on in one queue.
    pub(crate) fn query(&self, request: &CommandView<'_>) -> Answer {
        let header = QueryConsumerOffsetRequestHeader::decode(request)?;
        let offset = match self.static_topics.led(request, &header.topic, header.queue_id)? {
            Some(queue) => self.logic_offset(&queue, &header, request)?,
            None => self.offset_or_first(&header)?,
        };
        Ok(success().with_header(&QueryConsumerOffsetResponseHeader { offset }))
    }

    fn offset_or_first(
        &self,
        header: &QueryConsumerOffsetRequestHeader,
    ) -> Result<i64, RequestError> {
        let QueryConsumerOffsetRequestHeader {
            consumer_group,
            topic,
            queue_id,
            set_zero_if_not_found,
        } = header;
        let committed = self.offsets.query(consumer_group, topic, *queue_id);
        if let Some(offset) = committed.filter(|&offset| offset >= 0) {
            return Ok(offset);
        }
        if *set_zero_if_not_found == Some(false) {
            return Err(RequestError::OffsetNotFoundNorZero);
        }
        // A new group starts at 0 only while the queue is complete and its head is still warm:
        // replaying a cold queue from disk is never what a first boot wants.
        let (min, max) = self.store.bounds(topic, *queue_id);
        // A queue that nothing has been sent to begins where it ends, and releases before 5 say so.
        // A client that is not told asks for the end next, and passes over what is sent in between:
        // see `group_begins_an_empty_queue_before_what_is_sent_to_it_next`.
        let is_new = max == 0 && self.topics.get(topic).is_some();
        if min <= 0 && (is_new || max > 0 && self.store.is_in_memory(topic, *queue_id, 0)) {
            return Ok(0);
        }
        Err(RequestError::OffsetNotFound)
    }

    /// The offset in the newest part that the group has reached, wherever it is.
    fn logic_offset(
        &self,
        queue: &LogicQueue,
        header: &QueryConsumerOffsetRequestHeader,
        request: &CommandView<'_>,
    ) -> Result<i64, RequestError> {
        if let [only] = queue.items()
            && only.logic_offset == 0
        {
            let queue_id = only.queue_id;
            let offset = self.offset_or_first(&QueryConsumerOffsetRequestHeader {
                queue_id,
                ..header.clone()
            })?;
            return Ok(only.logic_offset_of(offset));
        }
        let (group, topic) = (&header.consumer_group, &header.topic);
        for item in queue.begun_items().rev() {
            let committed = if queue.is_here(item) {
                self.offsets.query(group, topic, item.queue_id).filter(|&offset| offset >= 0)
            } else {
                self.offset_elsewhere(item, request)?
            };
            if let Some(offset) = committed {
                return Ok(item.logic_offset_of(offset));
            }
        }
        Err(RequestError::OffsetNotFound)
    }

    fn offset_elsewhere(
        &self,
        item: &LogicQueueMappingItem,
        request: &CommandView<'_>,
    ) -> Result<Option<i64>, RequestError> {
        let name = item.bname.as_deref().unwrap_or_default();
        let code = RequestCode::QUERY_CONSUMER_OFFSET;
        let mut query = passed_on(code, request, name, item.queue_id);
        query.ext_fields.insert("setZeroIfNotFound", "false");
        let answer = self.static_topics.others.ask_and_wait(name, query)?;
        match answer.response_code() {
            ResponseCode::SUCCESS => {
                let header = QueryConsumerOffsetResponseHeader::decode(&answer.ext_fields)?;
                Ok(Some(header.offset))
            }
            ResponseCode::QUERY_NOT_FOUND => Ok(None),
            code => Err(RequestError::UnknownAnswer(code.0)),
        }
    }

    /// Notes where a consumer group goes on in one queue.
    pub(crate) fn update(&self, request: &CommandView<'_>) -> Answer {
        let mut header = UpdateConsumerOffsetRequestHeader::decode(request)?;
        if let (Some(queue_id), Some(offset)) = (header.queue_id, header.commit_offset)
            && let Some(queue) = self.static_topics.led(request, &header.topic, queue_id)?
        {
            let item = queue.part(offset)?;
            let offset = item.queue_offset_of(offset);
            if !queue.is_here(item) {
                return self.update_elsewhere(item, offset, request);
            }
            (header.queue_id, header.commit_offset) = (Some(item.queue_id), Some(offset));
        }
        let UpdateConsumerOffsetRequestHeader { consumer_group, topic, queue_id, commit_offset } =
            header;
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

    fn update_elsewhere(
        &self,
        item: &LogicQueueMappingItem,
        offset: i64,
        request: &CommandView<'_>,
    ) -> Answer {
        let name = item.bname.as_deref().unwrap_or_default();
        let code = RequestCode::UPDATE_CONSUMER_OFFSET;
        let mut update = passed_on(code, request, name, item.queue_id);
        update.ext_fields.insert("commitOffset", offset.to_string());
        self.static_topics.others.ask_and_wait(name, update)
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::command::RemotingCommand;
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, managers, request, with_view};
    use super::*;

    fn processor(m: &Managers) -> ConsumerOffsets {
        ConsumerOffsets::new(&m.tables, Arc::clone(&m.store))
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
        assert_eq!(query(&m, &[]), Err((22, boots_first.to_owned())), "there is no topic");
        m.put("t", 0, "body");
        assert_eq!(query(&m, &[]), Ok(0));
        let not_zero = "Not found, do not set to zero, maybe this group boot first";
        assert_eq!(query(&m, &[("setZeroIfNotFound", "false")]), Err((22, not_zero.to_owned())));
        m.offsets.commit("g", "t", 0, 7);
        assert_eq!(query(&m, &[("setZeroIfNotFound", "false")]), Ok(7));
        m.offsets.commit("g", "t", 0, -1);
        assert_eq!(query(&m, &[]), Ok(0), "a client may commit that it consumed nothing");
    }

    #[test]
    fn group_begins_an_empty_queue_before_what_is_sent_to_it_next() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        assert_eq!(query(&m, &[]), Ok(0));
        assert_eq!(query(&m, &[("setZeroIfNotFound", "false")]).unwrap_err().0, 22);
        m.map_queue("t", &[(0, 0)]);
        assert_eq!(query(&m, &[]), Ok(0), "nor has the only part of a logical queue any");
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

    #[test]
    fn offsets_of_a_logical_queue_are_kept_with_its_part() {
        let m = managers(|_| ());
        m.create_topic("t", 5);
        m.groups.find_or_create("g").unwrap();
        m.map_queue("t", &[(4, 100)]);
        assert_eq!(query(&m, &[]).unwrap_err().0, 22);
        let mut fields =
            vec![("consumerGroup", "g"), ("topic", "t"), ("queueId", "0"), ("commitOffset", "109")];
        update(&m, &fields).unwrap();
        assert_eq!(m.offsets.query("g", "t", 4), Some(9));
        assert_eq!(query(&m, &[]).unwrap(), 109);
        assert_eq!(query(&m, &[("queueId", "4")]).unwrap_err().0, 501);
        assert_eq!(query(&m, &[("queueId", "4"), ("lo", "false")]).unwrap(), 9);
        fields.extend([("queueId", "1"), ("lo", "false")]);
        update(&m, &fields).unwrap();
        assert_eq!(m.offsets.query("g", "t", 1), Some(109));
        fields.extend([("lo", "true")]);
        assert_eq!(update(&m, &fields).unwrap_err().0, 501);
    }

    #[test]
    fn new_group_begins_a_logical_queue_like_any_other() {
        let m = managers(|_| ());
        m.create_topic("t", 5);
        m.put("t", 4, "a");
        m.map_queue("t", &[(4, 0)]);
        assert_eq!(query(&m, &[]).unwrap(), 0);
        assert_eq!(query(&m, &[("setZeroIfNotFound", "false")]).unwrap_err().0, 22);
    }
}
