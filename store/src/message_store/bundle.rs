//! Messages that are put together: each is encoded when it comes, and all are appended under one lock.

use std::ops::Range;
use std::sync::Arc;

use oxmq_protocol::message::{Message, properties, sys_flag};

use super::put::{not_torn, refusal, status_of};
use super::scratch::Scratch;
use super::{Arrival, MessageStore};
use crate::commit_log::{AppendError, Appended};
use crate::consume_queue::ConsumeQueue;
use crate::limits::{
    MAX_BYTES_PUT_TOGETHER, MAX_PUT_TOGETHER, MAX_QUEUES_TOGETHER, PART_OF_FILE_PUT_TOGETHER,
};
use crate::status::{PutMessageResult, PutMessageStatus};

/// Messages that wait to be put together, in this order. They may go to different topics and queues.
#[derive(Debug, Default)]
pub struct Bundle {
    scratch: Scratch,
    /// Each queue once.
    queues: Vec<Arc<ConsumeQueue>>,
    /// Where in the encoded bytes the properties of each message are.
    properties: Vec<Range<usize>>,
}

impl Bundle {
    /// Whether there is no message in it.
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty()
    }

    /// Leaves out all messages in it.
    pub fn clear(&mut self) {
        self.scratch.clear();
        self.scratch.trim();
        self.queues.clear();
        self.properties.clear();
    }
}

/// A bundle that is empty in the end, also when somebody panics who hears of its messages.
struct Emptied<'a>(&'a mut Bundle);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl MessageStore {
    /// Whether `message` can be added to `bundle`: not if it is full, nor where a message may go into no queue of its
    /// own or into more than that.
    pub fn can_add(&self, bundle: &Bundle, message: &Message<'_>) -> bool {
        let part_of_file = self.log.file_bytes() / PART_OF_FILE_PUT_TOGETHER;
        let most_bytes = MAX_BYTES_PUT_TOGETHER.min(part_of_file as usize);
        !self.has_light_queues
            && sys_flag::has_queue_offset(message.sys_flag)
            && bundle.properties.len() < MAX_PUT_TOGETHER
            && bundle.scratch.bytes.len() + message.body.len() + message.properties.len()
                < most_bytes
            && (bundle.queues.len() < MAX_QUEUES_TOGETHER
                || bundle.queues.iter().any(|queue| is_queue_of(queue, message)))
    }

    /// Encodes `message` to be put with the others, of a bundle that it [can be added](Self::can_add) to.
    ///
    /// # Errors
    ///
    /// The status that it is refused with.
    pub fn add(&self, bundle: &mut Bundle, message: &Message<'_>) -> Result<(), PutMessageStatus> {
        self.check(message.topic)?;
        let (tags, keys) = self.tags_and_keys(message).ok_or(PutMessageStatus::MessageIllegal)?;
        let text = &*not_torn(message.properties);
        let message = &Message { properties: text, ..*message };
        let scratch = &mut bundle.scratch;
        let options = self.encode_options();
        scratch.add(message, &options, tags, self.indexed(&keys)).map_err(status_of)?;

        let known = bundle.queues.iter().position(|queue| is_queue_of(queue, message));
        let number = known.unwrap_or_else(|| {
            bundle.queues.push(self.queue_of(message.topic, message.queue_id));
            bundle.queues.len() - 1
        });
        if let Some(span) = scratch.spans.last_mut() {
            span.queue = number;
        }
        let mut end = scratch.bytes.len() - self.sealed_bytes();
        if self.sealed_bytes() > 0 && !text.ends_with(&[properties::PAIR_SEPARATOR]) {
            end -= usize::from(!text.is_empty());
        }
        bundle.properties.push(end - text.len()..end);
        Ok(())
    }

    /// Puts all messages of `bundle`, which is empty then. `each` gets what became of each, in their order: as
    /// [`Self::put_message`] says it.
    pub fn put_bundle(&self, bundle: &mut Bundle, mut each: impl FnMut(PutMessageResult)) {
        let emptied = Emptied(bundle);
        let bundle = &mut *emptied.0;
        if bundle.is_empty() {
            return;
        }
        match self.append_bundle(bundle) {
            Ok(appended) => {
                self.after_bundle(bundle, &appended);
                bundle.results(&appended).for_each(each);
            }
            Err(status) => {
                bundle.properties.iter().for_each(|_| each(PutMessageResult::refused(status)));
            }
        }
    }

    fn append_bundle(&self, bundle: &mut Bundle) -> Result<Appended, PutMessageStatus> {
        let now_ms = self.clock.now_ms();
        self.check_log(bundle.scratch.bytes.len(), now_ms)?;
        loop {
            let Bundle { scratch, queues, .. } = bundle;
            match self.append_once(scratch, queues, None, None, now_ms) {
                Ok(appended) => return Ok(appended),
                // Their successors are in the table already, or will be made.
                Err(AppendError::QueueDeleted) => {
                    for queue in queues {
                        *queue = self.queue_of(queue.topic(), queue.queue_id());
                    }
                }
                Err(error) => return Err(refusal(&error)),
            }
        }
    }

    fn queue_of(&self, topic: &str, queue_id: i32) -> Arc<ConsumeQueue> {
        self.queues.get_or_create(topic, queue_id, self.batch_topics.kind_of(topic))
    }

    /// Does what the pushes asked for, and tells the listener of messages that are not hidden.
    fn after_bundle(&self, bundle: &Bundle, appended: &Appended) {
        if self.flush_policy.sync && !self.hides_unflushed() {
            self.write_out();
        }
        for (queue, push) in bundle.queues.iter().zip(appended.pushes) {
            self.queue_writer.after_push(queue, push);
        }
        let listener = self.announcer.listener().filter(|_| !self.hides_unflushed());
        if let Some(listener) = listener {
            let records = bundle.scratch.spans.iter().zip(&bundle.properties);
            for ((span, properties), result) in records.zip(bundle.results(appended)) {
                let queue = &bundle.queues[span.queue];
                listener.arrived(&Arrival {
                    topic: queue.topic(),
                    queue_id: queue.queue_id(),
                    next_queue_offset: result.queue_offset + 1,
                    tags_code: span.tags.code(result.store_timestamp_ms),
                    store_timestamp_ms: result.store_timestamp_ms,
                    phy_offset: result.phy_offset,
                    properties: &bundle.scratch.bytes[properties.clone()],
                });
            }
        }
        if let Some(index) = &self.index {
            index.poke();
        }
    }
}

impl Bundle {
    /// What became of each message of one that was appended.
    fn results(&self, appended: &Appended) -> impl Iterator<Item = PutMessageResult> {
        let Appended { phy_offset, mut queue_offsets, store_timestamp_ms, .. } = *appended;
        let mut begin = 0;
        self.scratch.spans.iter().map(move |span| {
            let next: &mut i64 = &mut queue_offsets[span.queue];
            let (queue_offset, at) = (*next, begin);
            *next += 1;
            begin = span.end;
            PutMessageResult {
                status: PutMessageStatus::PutOk,
                phy_offset: phy_offset + at as i64,
                wrote_bytes: (span.end - at) as u32,
                queue_offset,
                store_timestamp_ms,
                message_count: 1,
            }
        })
    }
}

fn is_queue_of(queue: &ConsumeQueue, message: &Message<'_>) -> bool {
    queue.queue_id() == message.queue_id && &**queue.topic() == message.topic
}
