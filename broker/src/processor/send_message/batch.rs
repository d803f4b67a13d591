//! Batches: many messages in one request.

use oxmq_protocol::message::{BatchMessages, Message, properties};
use oxmq_store::{PutMessageResult, PutMessageStatus};

use super::SendMessage;
use super::answers::Stored;
use super::traits::Traits;
use crate::topic::Topic;

impl SendMessage {
    /// Stores a batch, whose `envelope` says what all its messages have in common.
    pub(super) fn put_batch(&self, at: &Topic, envelope: &Message<'_>, traits: &Traits) -> Stored {
        let queue_id = envelope.queue_id;
        if traits.is_delayed {
            let result = PutMessageResult::refused(PutMessageStatus::MessageIllegal);
            return Stored::single(result, queue_id, false);
        }
        let inner = BatchMessages::new(envelope.body);
        if self.store.has_batch_queues(envelope.topic)
            && properties::property_str(envelope.properties, properties::UNIQ_KEY).is_some()
        {
            return self.put_inner_batch(at, envelope, &inner, traits);
        }
        let mut phy_offsets = Vec::new();
        let result = self.count(at, || self.store.put_batch(envelope, inner, &mut phy_offsets));
        Stored { batch: Some(phy_offsets), ..Stored::single(result, queue_id, !traits.no_wait) }
    }

    /// Stores a batch for a topic with batch queues: one record with the properties of the envelope.
    fn put_inner_batch(
        &self,
        at: &Topic,
        envelope: &Message<'_>,
        inner: &BatchMessages<'_>,
        traits: &Traits,
    ) -> Stored {
        let mut text = envelope.properties.to_vec();
        properties::remove(&mut text, properties::CLUSTER);
        let cluster = self.config.broker_cluster_name.as_bytes();
        properties::append(&mut text, properties::CLUSTER, cluster);
        let message = Message { properties: &text, ..*envelope };
        let result = self.count(at, || self.store.put_inner_batch(&message, inner));
        let single = Stored::single(result, message.queue_id, !traits.no_wait);
        Stored { is_inner_batch: true, ..single }
    }
}
