//! Whether and where a message may be stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use oxmq_protocol::header::SendMessageView;
use oxmq_protocol::version;
use oxmq_remoting::Connection;

use super::SendMessage;
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::perm;
use crate::topic::{Topic, TopicConfig};
use crate::topic_validator;

impl SendMessage {
    /// Whether a message may go where it is sent, in the reference's order of checks: its topic,
    /// which may be made for it, and its queue.
    pub(in crate::processor) fn check(
        &self,
        header: &SendMessageView<'_>,
        connection: &Connection,
    ) -> Result<(Arc<Topic>, i32), RequestError> {
        if self.config.start_accept_send_request_timestamp > 0 {
            self.check_open()?;
        }
        let topic_text = header.topic.text();
        // A broker that may not be written only refuses ordered topics: the others are drained by
        // routes that do not name it.
        if !perm::is_writeable(self.config.broker_permission) && self.topics.is_ordered(&topic_text)
        {
            return Err(RequestError::BrokerSendForbidden(self.config.broker_ip1.clone()));
        }
        topic_validator::validate_topic(&topic_text)?;
        if topic_validator::is_topic_not_allowed_to_send(&topic_text) {
            return Err(RequestError::TopicSendForbidden(topic_text.into_owned()));
        }
        let topic = match self.topics.get(&topic_text) {
            Some(topic) => topic,
            None => self.create_topic(header, &topic_text, connection)?,
        };
        let queue_id = self.choose_queue(header, &topic, connection)?;
        Ok((topic, queue_id))
    }

    fn check_open(&self) -> Result<(), RequestError> {
        let opens_at_ms = self.config.start_accept_send_request_timestamp;
        if now_ms() < opens_at_ms {
            return Err(RequestError::NotServingYet { opens_at_ms });
        }
        Ok(())
    }

    fn create_topic(
        &self,
        header: &SendMessageView<'_>,
        topic: &str,
        connection: &Connection,
    ) -> Result<Arc<Topic>, RequestError> {
        self.topics
            .create_in_send(
                topic,
                &header.default_topic.text(),
                header.default_topic_queue_nums,
                header.unit_mode,
                connection.peer(),
            )
            .ok_or_else(|| RequestError::TopicNotExist(topic.to_owned()))
    }

    fn choose_queue(
        &self,
        header: &SendMessageView<'_>,
        topic: &TopicConfig,
        connection: &Connection,
    ) -> Result<i32, RequestError> {
        let queue_id = header.queue_id;
        if queue_id >= topic.write_queue_nums.max(topic.read_queue_nums) {
            return Err(RequestError::QueueIdIllegal {
                queue_id,
                topic: topic.to_string(),
                producer: connection.peer(),
            });
        }
        if queue_id >= 0 {
            return Ok(queue_id);
        }
        let turn = self.next_queue.fetch_add(1, Ordering::Relaxed);
        Ok((turn % topic.write_queue_nums.max(1).unsigned_abs()).cast_signed())
    }

    /// A message that a client sends to its own retry topic after it was consumed too often, or by
    /// a group that consumes in order, becomes a dead letter.
    pub(super) fn dead_letter_topic(
        &self,
        retry_topic: &str,
        header: &SendMessageView<'_>,
        client_version: i32,
    ) -> Result<Option<Arc<Topic>>, RequestError> {
        let group_name = topic_validator::group_of_retry_topic(retry_topic);
        let group = self
            .groups
            .find_or_create(group_name)
            .ok_or_else(|| RequestError::SubscriptionGroupNotExist(group_name.to_owned()))?;
        let most = match header.max_reconsume_times {
            Some(times) if client_version >= version::V3_4_9 => times,
            _ => group.retry_max_times,
        };
        let is_dead =
            header.reconsume_times > most || self.locks.is_any_held(group_name, Instant::now());
        if !is_dead {
            return Ok(None);
        }
        let topic = topic_validator::dlq_topic(group_name);
        let perm = perm::READ | perm::WRITE;
        match self.topics.create_in_send_back(&topic, 1, perm, false, 0) {
            Some(topic) => Ok(Some(topic)),
            None => Err(RequestError::BackTopicNotExist(topic)),
        }
    }
}
