//! `CONSUMER_SEND_MSG_BACK` (36).
//!
//! Reference: `AbstractSendMessageProcessor.consumerSendMsgBack` (broker), 5.5.0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{ConsumerSendMsgBackRequestHeader, Header as _};
use oxmq_protocol::message::{Message, MessageExt, message_id, properties};
use oxmq_protocol::version;
use oxmq_store::{MessageStore, PutMessageStatus};
use tracing::info;

use super::{Answer, success};
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::delays::Delays;
use crate::error::RequestError;
use crate::perm;
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::{Topic, TopicConfigManager, UNIT_SUB_FLAG};
use crate::topic_validator;

/// Delay level of the first redelivery; each further one has the next.
const FIRST_LEVEL: i32 = 3;
/// Queues of a dead-letter topic.
const DLQ_QUEUES: i32 = 1;

/// Takes a message back that a consumer could not work off, to deliver it again later.
#[derive(Debug)]
pub(crate) struct SendBack {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    delays: Delays,
    store: Arc<MessageStore>,
    /// Picks retry queues in turn.
    turn: AtomicU32,
}

/// Where a message goes back to.
struct Destination {
    topic: String,
    queue_id: i32,
    /// Delay level; 0 for a dead letter.
    level: i32,
}

impl SendBack {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        offsets: Arc<ConsumerOffsetManager>,
        delays: Delays,
        store: Arc<MessageStore>,
    ) -> Self {
        Self { config, topics, groups, offsets, delays, store, turn: AtomicU32::new(0) }
    }

    /// Stores a copy for a later delivery, or as a dead letter when there were enough.
    pub(crate) fn process(&self, request: &CommandView<'_>) -> Answer {
        let header = ConsumerSendMsgBackRequestHeader::decode(request)?;
        let group = self
            .groups
            .find_or_create(&header.group)
            .ok_or_else(|| RequestError::SubscriptionGroupNotExist(header.group.clone()))?;
        if !perm::is_writeable(self.config.broker_permission) {
            return Err(RequestError::BrokerSendForbidden(self.config.broker_ip1.clone()));
        }
        // A group without retry queues wants failed messages dropped.
        if group.retry_queue_nums <= 0 {
            return Ok(success());
        }
        let unit_flag = if header.unit_mode { UNIT_SUB_FLAG } else { 0 };
        let retry_topic = topic_validator::retry_topic(&header.group);
        let retry = self.create(&retry_topic, group.retry_queue_nums, unit_flag)?;
        if !perm::is_writeable(retry.perm) {
            return Err(RequestError::BackTopicForbidden(retry_topic));
        }
        let message = self
            .store
            .look_message_by_offset(header.offset)
            .and_then(|record| MessageExt::decode(&record).ok())
            .ok_or(RequestError::LookMessageFailed(header.offset))?;

        let most = match header.max_reconsume_times {
            Some(times) if request.version >= version::V3_4_9 => times,
            _ => group.retry_max_times,
        };
        let is_dead = message.reconsume_times >= most || header.delay_level < 0;
        let destination = if is_dead {
            let topic = topic_validator::dlq_topic(&header.group);
            self.create(&topic, DLQ_QUEUES, 0)?;
            info!(group = header.group, %topic, times = message.reconsume_times, "dead letter");
            Destination { topic, queue_id: 0, level: 0 }
        } else {
            let level = match header.delay_level {
                0 => FIRST_LEVEL.saturating_add(message.reconsume_times),
                level => level,
            };
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            // The group may have been given another number since its topic was made.
            let queues = retry.read_queue_nums.min(retry.write_queue_nums);
            let queues = queues.min(group.retry_queue_nums).max(1);
            let queue_id = turn % queues.unsigned_abs();
            Destination { topic: retry_topic, queue_id: queue_id.cast_signed(), level }
        };
        let topic = message.property(properties::RETRY_TOPIC).map(<[u8]>::to_vec);
        let topic = topic.and_then(|topic| String::from_utf8(topic).ok());
        let topic = topic.unwrap_or_else(|| message.topic.clone());
        let bytes = self.put(message, &destination)?;
        self.offsets.note_sent_back(&header.group, &topic, bytes);
        Ok(success())
    }

    /// Returns a topic that is there now.
    fn create(&self, topic: &str, queues: i32, sys_flag: i32) -> Result<Arc<Topic>, RequestError> {
        let read_write = perm::READ | perm::WRITE;
        // Whether it is ordered is for the heartbeats to say.
        let order = self.topics.is_ordered(topic);
        self.topics
            .create_in_send_back(topic, queues, read_write, order, sys_flag)
            .ok_or_else(|| RequestError::BackTopicNotExist(topic.to_owned()))
    }

    /// Stores the copy and returns its bytes.
    fn put(&self, mut message: MessageExt, to: &Destination) -> Result<u64, RequestError> {
        let mut text = std::mem::take(&mut message.properties);
        if properties::property(&text, properties::RETRY_TOPIC).is_none() {
            properties::append(&mut text, properties::RETRY_TOPIC, message.topic.as_bytes());
        }
        if properties::property(&text, properties::ORIGIN_MESSAGE_ID).is_none() {
            let id = message_id::encode_offset_id(message.store_host, message.commit_log_offset);
            properties::append(&mut text, properties::ORIGIN_MESSAGE_ID, id.as_bytes());
        }
        properties::set(&mut text, properties::WAIT_STORE_MSG_OK, b"false");
        properties::set(&mut text, properties::DELAY_TIME_LEVEL, to.level.to_string().as_bytes());
        let (topic, queue_id) = self
            .delays
            .divert(&to.topic, to.queue_id, &mut text, now_ms())
            .map_err(|status| RequestError::PutBack(status_name(status)))?
            .unwrap_or((&to.topic, to.queue_id));
        let result = self.store.put_message(&Message {
            topic,
            queue_id,
            reconsume_times: message.reconsume_times.saturating_add(1),
            prepared_transaction_offset: 0,
            properties: &text,
            ..message.as_message()
        });
        match result.status {
            PutMessageStatus::PutOk if !self.store.flush_soon() => {
                Err(RequestError::PutBack(status_name(PutMessageStatus::ServiceNotAvailable)))
            }
            PutMessageStatus::PutOk => {
                self.delays.stored(topic);
                Ok(result.wrote_bytes.into())
            }
            status => Err(RequestError::PutBack(status_name(status))),
        }
    }
}

/// Reference: `PutMessageStatus` (store), 5.5.0.
fn status_name(status: PutMessageStatus) -> &'static str {
    use PutMessageStatus as Status;
    match status {
        Status::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
        Status::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        Status::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        Status::ServiceNotAvailable => "SERVICE_NOT_AVAILABLE",
        Status::CreateMappedFileFailed => "CREATE_MAPPED_FILE_FAILED",
        Status::MessageIllegal => "MESSAGE_ILLEGAL",
        Status::PropertiesSizeExceeded => "PROPERTIES_SIZE_EXCEEDED",
        Status::OsPageCacheBusy => "OS_PAGE_CACHE_BUSY",
        Status::InSyncReplicasNotEnough => "IN_SYNC_REPLICAS_NOT_ENOUGH",
        _ => "UNKNOWN_ERROR",
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::SubscriptionGroupConfig;

    use super::super::testing::{Managers, managers, request, with_view};
    use super::*;
    use crate::schedule::ScheduleMessageService;

    const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";

    fn processor(m: &Managers) -> SendBack {
        let schedule = ScheduleMessageService::load(Arc::clone(&m.store), m.store_root()).unwrap();
        SendBack::new(
            Arc::clone(&m.config),
            Arc::clone(&m.topics),
            Arc::clone(&m.groups),
            Arc::clone(&m.offsets),
            Delays { schedule: Arc::new(schedule), timers: None },
            Arc::clone(&m.store),
        )
    }

    fn back(m: &Managers, offset: i64, more: &[(&str, &str)]) -> Result<(), (i32, String)> {
        back_to(&processor(m), offset, more)
    }

    fn back_to(
        processor: &SendBack,
        offset: i64,
        more: &[(&str, &str)],
    ) -> Result<(), (i32, String)> {
        let offset = offset.to_string();
        let mut fields = vec![("offset", offset.as_str()), ("group", "g")];
        fields.extend(more);
        if !more.iter().any(|(name, _)| *name == "delayLevel") {
            fields.push(("delayLevel", "0"));
        }
        with_view(&request(&fields), |view| processor.process(view))
            .map(|_| ())
            .map_err(|error| (error.response_code().0, error.to_string()))
    }

    fn first(m: &Managers, topic: &str, queue_id: i32) -> Option<MessageExt> {
        let mut record = Vec::new();
        m.store.get_message(topic, queue_id, 0, 1, 1 << 20, |_, _| true, &mut record);
        (!record.is_empty()).then(|| MessageExt::decode(&record).unwrap())
    }

    fn text<'m>(message: &'m MessageExt, name: &str) -> &'m str {
        std::str::from_utf8(message.property(name).unwrap()).unwrap()
    }

    #[test]
    fn message_waits_at_the_level_of_its_redelivery_for_the_groups_retry_topic() {
        let m = managers(|_| ());
        let offset = m.put("t", 0, "body");
        back(&m, offset, &[]).unwrap();
        let message = first(&m, SCHEDULE, 2).unwrap();
        assert_eq!((message.body.as_slice(), message.reconsume_times), (&b"body"[..], 1));
        assert_eq!(text(&message, "REAL_TOPIC"), "%RETRY%g");
        assert_eq!(text(&message, "REAL_QID"), "0");
        assert_eq!(text(&message, "DELAY"), "3");
        assert_eq!(text(&message, "WAIT"), "false");
        assert_eq!(text(&message, "RETRY_TOPIC"), "t");
        let id = message_id::encode_offset_id(([192, 0, 2, 2], 10911).into(), offset);
        assert_eq!(text(&message, "ORIGIN_MESSAGE_ID"), id);

        // As if it had been delivered and failed again.
        back(&m, message.commit_log_offset, &[]).unwrap();
        let again = first(&m, SCHEDULE, 3).unwrap();
        assert_eq!((text(&again, "DELAY"), again.reconsume_times), ("4", 2));
        assert_eq!((text(&again, "RETRY_TOPIC"), text(&again, "ORIGIN_MESSAGE_ID")), ("t", &*id));
        back(&m, offset, &[("delayLevel", "1")]).unwrap();
        assert!(first(&m, SCHEDULE, 0).is_some());
    }

    #[test]
    fn message_that_failed_often_enough_is_a_dead_letter_without_delay() {
        for fields in [[("maxReconsumeTimes", "0")], [("delayLevel", "-1")]] {
            let m = managers(|_| ());
            let offset = m.put("t", 0, "body");
            back(&m, offset, &fields).unwrap();
            let message = first(&m, "%DLQ%g", 0).unwrap();
            assert_eq!((text(&message, "RETRY_TOPIC"), text(&message, "DELAY")), ("t", "0"));
            let topic = m.topics.get("%DLQ%g").unwrap();
            assert_eq!((topic.write_queue_nums, topic.perm), (1, 6));
        }
    }

    #[test]
    fn group_without_retry_queues_has_its_failed_messages_dropped() {
        let m = managers(|_| ());
        let group =
            SubscriptionGroupConfig { retry_queue_nums: 0, ..SubscriptionGroupConfig::new("g") };
        m.groups.update(group).unwrap();
        back(&m, 0, &[]).unwrap();
        assert!(m.topics.get("%RETRY%g").is_none());
    }

    #[test]
    fn refusals_have_the_codes_and_words_of_the_reference() {
        let m = managers(|config| config.auto_create_subscription_group = false);
        let refused = back(&m, 0, &[]).unwrap_err();
        assert_eq!(refused.0, 26);
        assert!(refused.1.starts_with("subscription group not exist, g \nSee "), "{}", refused.1);

        let m = managers(|config| {
            config.broker_permission = 4;
            config.broker_ip1 = "192.0.2.9".to_owned();
        });
        let words = "the broker[192.0.2.9] sending message is forbidden".to_owned();
        assert_eq!(back(&m, 0, &[]).unwrap_err(), (16, words));

        let m = managers(|_| ());
        let words = "look message by offset failed, 77".to_owned();
        assert_eq!(back(&m, 77, &[]).unwrap_err(), (1, words));
        m.topics.create_in_send_back("%RETRY%h", 1, 4, false, 0).unwrap();
        let words = "the topic[%RETRY%h] sending message is forbidden".to_owned();
        assert_eq!(back(&m, 0, &[("group", "h")]).unwrap_err(), (16, words));
    }

    #[test]
    fn message_goes_to_a_queue_that_the_retry_topic_has() {
        let m = managers(|_| ());
        let offset = m.put("t", 0, "body");
        back(&m, offset, &[]).unwrap();
        let group =
            SubscriptionGroupConfig { retry_queue_nums: 8, ..SubscriptionGroupConfig::new("g") };
        m.groups.update(group).unwrap();
        let processor = processor(&m);
        for _ in 0..8 {
            back_to(&processor, offset, &[("delayLevel", "1")]).unwrap();
        }
        let mut records = Vec::new();
        m.store.get_message(SCHEDULE, 0, 0, 32, 1 << 20, |_, _| true, &mut records);
        let messages = MessageExt::decode_all(&records).unwrap();
        assert_eq!((messages.len(), m.topics.get("%RETRY%g").unwrap().read_queue_nums), (8, 1));
        assert!(messages.iter().all(|message| text(message, "REAL_QID") == "0"));
    }
}
