//! Putting batches: many messages in one request, each as a record of its own or all as one.

use oxmq_protocol::message::{BatchMessages, Message, properties, sys_flag};

use super::put::{Extra, not_torn, status_of, tags_code_of};
use super::scratch::with_scratch;
use super::{MessageStore, light};
use crate::commit_log::{INNER_BASE_DIGITS, InnerBatch, Tags};
use crate::index::Keys;
use crate::status::{PutMessageResult, PutMessageStatus};

impl MessageStore {
    /// Stores the messages of a batch as one record of a topic with batch queues.
    ///
    /// `envelope` is the record but for the body, which is `inner`, and what says that it holds many.
    ///
    /// Reference: `SendMessageProcessor.sendBatchMessage` (broker), `MessageExtBatch` (common), 5.5.0.
    pub fn put_inner_batch(
        &self,
        envelope: &Message<'_>,
        inner: &BatchMessages<'_>,
    ) -> PutMessageResult {
        if let Err(status) = self.check(envelope.topic) {
            return PutMessageResult::refused(status);
        }
        let count = inner.clone().take_while(Result::is_ok).count();
        let is_sound = inner.clone().all(|message| message.is_ok());
        let count = i16::try_from(count).ok().filter(|count| *count > 0 && is_sound);
        let transaction = sys_flag::transaction_type(envelope.sys_flag);
        let (Some(count), 0, true) = (count, transaction, self.has_batch_queues(envelope.topic))
        else {
            return PutMessageResult::refused(PutMessageStatus::MessageIllegal);
        };
        let mut text = envelope.properties.to_vec();
        let own =
            [properties::INNER_NUM, properties::INNER_BASE, properties::INNER_MULTI_QUEUE_OFFSET];
        for name in own {
            properties::remove(&mut text, name);
        }
        properties::append(&mut text, properties::INNER_NUM, count.to_string().as_bytes());
        properties::append(&mut text, properties::INNER_BASE, &[b'0'; INNER_BASE_DIGITS]);
        let message = Message {
            sys_flag: envelope.sys_flag | sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP,
            prepared_transaction_offset: 0,
            properties: &text,
            ..*envelope
        };
        with_scratch(|scratch| {
            let (keys, options) = (Keys::of(&text), self.encode_options());
            let tags = Tags::Code(tags_code_of(&keys));
            if let Err(error) = scratch.add(&message, &options, tags, self.indexed(&keys)) {
                return PutMessageResult::refused(status_of(error));
            }
            // The digits end the properties, but for a separator and the room for a checksum.
            let base_at = scratch.bytes.len() - self.sealed_bytes() - 1 - INNER_BASE_DIGITS;
            let extra = Extra { inner: Some(InnerBatch { count, base_at }), light_names: None };
            self.append(&message, scratch, extra, std::iter::once(&text[..]))
        })
    }

    /// Makes the queues of `topic` batch queues, which they stay until the topic is deleted.
    pub fn use_batch_queues(&self, topic: &str) {
        self.batch_topics.insert(topic);
    }

    /// Whether the queues of `topic` are batch queues.
    pub fn has_batch_queues(&self, topic: &str) -> bool {
        self.batch_topics.contains(topic)
    }

    /// Stores the messages of a batch with consecutive queue offsets, all or none.
    ///
    /// Everything but flag, body and properties comes from `envelope`, whose own body and
    /// properties are not stored. `phy_offsets` gets where each record begins.
    pub fn put_batch(
        &self,
        envelope: &Message<'_>,
        inner: BatchMessages<'_>,
        phy_offsets: &mut Vec<i64>,
    ) -> PutMessageResult {
        if let Err(status) = self.check(envelope.topic) {
            return PutMessageResult::refused(status);
        }
        let refused = sys_flag::TRANSACTION_MASK | sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
        let is_counted = properties::property(envelope.properties, properties::INNER_NUM).is_some();
        if envelope.sys_flag & refused != 0 || is_counted {
            return PutMessageResult::refused(PutMessageStatus::MessageIllegal);
        }
        // As it was sent: what becomes of many small messages takes several times as much.
        if inner.bytes() > self.config.max_message_size {
            return PutMessageResult::refused(PutMessageStatus::UnknownError);
        }
        with_scratch(|scratch| {
            let options = self.encode_options();
            for message in inner.clone() {
                let Ok(message) = message else {
                    return PutMessageResult::refused(PutMessageStatus::MessageIllegal);
                };
                let whole = Message {
                    flag: message.flag,
                    prepared_transaction_offset: 0,
                    body: message.body,
                    properties: message.properties,
                    ..*envelope
                };
                // Batches go into no light queues.
                let text = match self.has_light_queues {
                    true => light::without_offsets(message.properties),
                    false => None,
                };
                let properties = &*not_torn(text.as_deref().unwrap_or(message.properties));
                let whole = Message { properties, ..whole };
                let keys = Keys::of(message.properties);
                let tags = Tags::Code(tags_code_of(&keys));
                if let Err(error) = scratch.add(&whole, &options, tags, self.indexed(&keys)) {
                    return PutMessageResult::refused(status_of(error));
                }
            }
            if scratch.spans.is_empty() {
                return PutMessageResult::refused(PutMessageStatus::MessageIllegal);
            }
            // They were read without an error before.
            let properties = inner.filter_map(Result::ok).map(|message| message.properties);
            let result = self.append(envelope, scratch, Extra::default(), properties);
            if result.status.is_stored() {
                let ends = scratch.spans.iter().map(|span| result.phy_offset + span.end as i64);
                let begins = std::iter::once(result.phy_offset).chain(ends);
                phy_offsets.extend(begins.take(scratch.spans.len()));
            }
            result
        })
    }
}
