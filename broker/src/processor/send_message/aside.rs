//! Messages that are kept aside first: delayed ones and half messages.

use std::time::Instant;

use oxmq_protocol::header::SendMessageView;
use oxmq_protocol::message::{Message, RecallHandle, properties};
use oxmq_store::PutMessageResult;

use super::SendMessage;
use super::answers::Stored;
use super::traits::Traits;
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::timer::TIMER_TOPIC;
use crate::topic::Topic;
use crate::topic_validator;
use crate::transaction::TransactionService;

impl SendMessage {
    /// Stores a message that is to be delivered later, or now if that time is over.
    pub(super) fn put_delayed(
        &self,
        at: &Topic,
        mut message: Message<'_>,
        queue_id: i32,
        text: &mut Vec<u8>,
        traits: &Traits,
    ) -> Stored {
        let to = message.topic;
        match self.delays.divert(to, message.queue_id, text, now_ms()) {
            Ok(Some(aside)) => (message.topic, message.queue_id) = aside,
            Ok(None) => {}
            Err(status) => {
                return Stored::single(PutMessageResult::refused(status), queue_id, false);
            }
        }
        let later = Message { properties: text, ..message };
        let result = self.count(at, || self.store.put_message(&later));
        if later.topic != to && result.status.is_stored() {
            self.topics.note_put(later.topic, &result);
        }
        self.delays.stored(later.topic);
        let recall_handle = self.recall_handle(to, later.topic, text);
        Stored { recall_handle, ..Stored::single(result, queue_id, !traits.no_wait) }
    }

    /// What the producer can take the message back by.
    fn recall_handle(&self, to: &str, stored_in: &str, text: &[u8]) -> Option<String> {
        if stored_in != TIMER_TOPIC || topic_validator::is_retry_topic(to) {
            return None;
        }
        let slot_ms: i64 =
            properties::property_str(text, properties::TIMER_OUT_MS)?.parse().ok()?;
        let handle = RecallHandle {
            topic: to.to_owned(),
            broker_name: self.config.broker_name.clone(),
            // Within the slot, which begins at this time.
            timestamp_ms: slot_ms + 1,
            unique_key: properties::property_str(text, properties::UNIQ_KEY)?.to_owned(),
        };
        Some(handle.encode())
    }

    /// Stores a message that waits for its producer's decision.
    pub(super) fn put_half(
        &self,
        mut message: Message<'_>,
        text: &mut Vec<u8>,
    ) -> Result<PutMessageResult, RequestError> {
        if self.config.reject_transaction_message {
            return Err(RequestError::TransactionForbidden(self.config.broker_ip1.clone()));
        }
        let topic = message.topic;
        // Its delay begins with the commit. One that makes no sense is refused now, while the
        // producer can still do something about it.
        let mut delayed = text.clone();
        let delay = self.delays.divert(topic, message.queue_id, &mut delayed, now_ms());
        if let Err(status) = delay {
            return Ok(PutMessageResult::refused(status));
        }
        (message.topic, message.queue_id) =
            TransactionService::divert(topic, message.queue_id, text);
        message.sys_flag = TransactionService::half_sys_flag(message.sys_flag);
        let half = Message { properties: text, ..message };
        let start = Instant::now();
        let result = self.store.put_message(&half);
        if result.status.is_stored() {
            // It is sent to its topic once it is committed.
            self.stats.put_aside(start.elapsed());
            self.topics.note_put(half.topic, &result);
            self.transactions.stored_half(topic);
        } else {
            self.stats.put_failed();
        }
        Ok(result)
    }
}

/// Clients before 4.6.1 give failed messages back with the properties that they were sent with.
pub(super) fn is_redelivery(header: &SendMessageView<'_>, text: &[u8]) -> bool {
    header.reconsume_times > 0
        && properties::property_str(text, properties::DELAY_TIME_LEVEL)
            .and_then(|level| level.parse::<i32>().ok())
            .is_some_and(|level| level > 0)
}
