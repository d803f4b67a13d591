//! Sends of one turn that are stored together.
//!
//! What all of them need is done once: the log's lock, the clock, counting. A peer that sends one message after the
//! other has turns of one.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::message::{Message, properties};
use oxmq_remoting::Reply;
use oxmq_store::{Bundle, PutMessageResult, PutMessageStatus};

use super::SendMessage;
use super::answers::Stored;
use crate::topic::Topic;
use crate::traffic::Flow;

/// A message that is stored with others.
pub(super) struct Added {
    pub(super) topic: Arc<Topic>,
    pub(super) queue_id: i32,
    pub(super) waits_for_disk: bool,
}

/// The sends of the turn that are not stored yet, in their order.
#[derive(Default)]
pub(super) struct Sends {
    bundle: Bundle,
    waiting: Vec<Waiting>,
    unique_keys: String,
}

struct Waiting {
    added: Added,
    reply: Reply,
    /// Where it is among all of them.
    unique_key: Option<Range<usize>>,
}

impl Sends {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes who sent the message that was added last, and with which properties.
    pub(super) fn note(&mut self, added: Added, text: &[u8], reply: Reply) {
        let unique_key = properties::property_str(text, properties::UNIQ_KEY).map(|key| {
            let begin = self.unique_keys.len();
            self.unique_keys.push_str(key);
            begin..self.unique_keys.len()
        });
        self.waiting.push(Waiting { added, reply, unique_key });
    }
}

impl SendMessage {
    /// Has a message stored with the others of its turn.
    ///
    /// # Errors
    ///
    /// What became of one that is stored alone or not at all.
    pub(super) fn add_send(
        &self,
        sends: &mut Sends,
        message_id: &mut String,
        topic: &Topic,
        message: &Message<'_>,
    ) -> Result<(), PutMessageResult> {
        if !self.store.can_add(&sends.bundle, message) {
            self.store_sends(sends, message_id);
            if !self.store.can_add(&sends.bundle, message) {
                let busy = |_| PutMessageResult::refused(PutMessageStatus::OsPageCacheBusy);
                self.await_turn().map_err(busy)?;
                return Err(self.count(topic, || self.store.put_message(message)));
            }
        }
        self.store.add(&mut sends.bundle, message).map_err(|status| {
            self.stats.put_failed();
            PutMessageResult::refused(status)
        })
    }

    /// Stores what has been sent, and answers it.
    pub(super) fn store_sends(&self, sends: &mut Sends, message_id: &mut String) {
        let Sends { bundle, waiting, unique_keys } = sends;
        if waiting.is_empty() {
            return;
        }
        if let Err(busy) = self.await_turn() {
            bundle.clear();
            unique_keys.clear();
            let (code, remark) = (busy.response_code(), busy.to_string());
            return waiting.drain(..).for_each(|it| self.refuse(code, &remark, it.reply));
        }
        let begin = Instant::now();
        let mut took = None;
        let (mut all, mut of_topic) = (Flow::default(), Flow::default());
        let mut sent = waiting.drain(..).peekable();
        self.store.put_bundle(bundle, |result| {
            let took = *took.get_or_insert_with(|| begin.elapsed());
            let Some(Waiting { added, reply, unique_key }) = sent.next() else { return };
            let Added { topic, queue_id, waits_for_disk } = added;
            if result.status.is_stored() {
                of_topic.add(result.message_count.into(), result.wrote_bytes.into());
            } else {
                self.stats.put_failed();
            }
            if sent.peek().is_none_or(|next| !Arc::ptr_eq(&next.added.topic, &topic)) {
                topic.put.join(of_topic);
                all.join(std::mem::take(&mut of_topic));
            }
            if sent.peek().is_none() && all.times > 0 {
                self.stats.put(all, took);
            }
            let unique_key = unique_key.and_then(|key| unique_keys.get(key));
            self.answer(
                Stored::single(result, queue_id, waits_for_disk),
                unique_key,
                message_id,
                reply,
            );
        });
        drop(sent);
        unique_keys.clear();
    }
}
