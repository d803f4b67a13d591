//! `RECALL_MESSAGE` (370), `GET_TIMER_CHECK_POINT` (60) and `GET_TIMER_METRICS` (61).
//!
//! Reference: `RecallMessageProcessor`, `AdminBrokerProcessor` (broker), 5.5.0.

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{Header as _, RecallMessageRequestHeader, RecallMessageResponseHeader};
use oxmq_protocol::message::{Message, RecallHandle, properties};
use oxmq_remoting::Connection;
use oxmq_store::MessageStore;

use super::{Answer, success, success_with};
use crate::again::store_again;
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::error::RequestError;
use crate::perm;
use crate::timer::TimerService;
use crate::topic::TopicConfigManager;

/// Tag of the message that takes another one back.
const RECALL_TAG: &str = "_RECALL_TAG_";

/// Takes back what waits for its time, and tells how the timer is doing.
#[derive(Debug)]
pub(crate) struct Timer {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    delays: Delays,
    store_host: SocketAddr,
}

impl Timer {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        delays: Delays,
        store_host: SocketAddr,
    ) -> Self {
        Self { config, store, topics, delays, store_host }
    }

    /// Stores a message that takes another one back when both are due.
    pub(crate) fn recall(&self, request: &CommandView<'_>, connection: &Connection) -> Answer {
        let mut answer = self.recall_from(request, connection.peer())?;
        answer.ext_fields.insert(properties::MSG_REGION, self.config.region_id.as_str());
        Ok(answer)
    }

    fn recall_from(&self, request: &CommandView<'_>, peer: SocketAddr) -> Answer {
        let header = RecallMessageRequestHeader::decode(request)?;
        if !self.config.recall_message_enable {
            return Err(RequestError::RecallForbidden);
        }
        let now_ms = now_ms();
        let is_open = now_ms >= self.config.start_accept_send_request_timestamp
            && (perm::is_writeable(self.config.broker_permission)
                || self.config.allow_recall_when_broker_not_writeable);
        if !is_open {
            return Err(RequestError::RecallNotNow);
        }
        if self.topics.get(&header.topic).is_none() {
            return Err(RequestError::RecallTopicNotExist(header.topic));
        }
        let refuse = RequestError::RecallRefused;
        let handle = RecallHandle::decode(&header.recall_handle)
            .ok_or(refuse("recall handle is invalid"))?;
        if handle.topic != header.topic {
            return Err(refuse("recall failed, topic not match"));
        }
        if handle.broker_name != self.config.broker_name {
            return Err(refuse("recall failed, broker service not available"));
        }
        let left_ms = handle.timestamp_ms.saturating_sub(now_ms);
        let most_ms = i64::from(self.store.config().timer_max_delay_sec) * 1_000;
        if left_ms <= 0 || left_ms >= most_ms {
            return Err(refuse("recall failed, timestamp invalid"));
        }
        self.put(&handle, header.producer_group.as_deref(), peer, now_ms)?;
        let mut answer = success();
        RecallMessageResponseHeader { msg_id: handle.unique_key }.encode(&mut answer.ext_fields);
        Ok(answer)
    }

    fn put(
        &self,
        handle: &RecallHandle,
        group: Option<&str>,
        peer: SocketAddr,
        now_ms: i64,
    ) -> Result<(), RequestError> {
        let RecallHandle { topic, unique_key, timestamp_ms, .. } = handle;
        let recalled = match self.store.config().append_topic_for_timer_delete_key {
            true => format!("{topic}+{unique_key}"),
            false => unique_key.clone(),
        };
        let mut text = Vec::new();
        for (name, value) in [
            (properties::TAGS, RECALL_TAG),
            (properties::TIMER_DEL_UNIQKEY, &recalled),
            (properties::UNIQ_KEY, unique_key),
            (properties::TIMER_DELIVER_MS, &timestamp_ms.to_string()),
            (properties::BORN_TIMESTAMP, &now_ms.to_string()),
            (properties::PRODUCER_GROUP, group.unwrap_or_default()),
        ] {
            properties::append(&mut text, name, value.as_bytes());
        }
        let aside = self
            .delays
            .divert(topic, 0, &mut text, now_ms)
            .map_err(|_| RequestError::RecallFailed)?;
        let (topic, queue_id) = aside.ok_or(RequestError::RecallFailed)?;
        let message = Message {
            born_timestamp_ms: now_ms,
            born_host: peer,
            store_host: self.store_host,
            properties: &text,
            ..Message::new(topic, queue_id, b"0")
        };
        if !store_again(&self.store, &message).is_stored() {
            return Err(RequestError::RecallFailed);
        }
        self.delays.stored(topic);
        Ok(())
    }

    /// Answers with how far the timer has got.
    pub(crate) fn check_point(&self) -> Answer {
        let (checkpoint, _) = self.timers("The checkpoint is null")?.progress();
        Ok(success().with_body(checkpoint.encode().to_vec()))
    }

    /// Answers with the counts of waiting messages.
    pub(crate) fn metrics(&self) -> Answer {
        success_with(&self.timers("The timer message store is null")?.metrics().snapshot())
    }

    fn timers(&self, missing: &'static str) -> Result<&Arc<TimerService>, RequestError> {
        self.delays.timers.as_ref().ok_or(RequestError::NoTimer(missing))
    }
}
