//! Putting messages that name light queues.

use oxmq_protocol::message::{EncodeOptions, Message, sys_flag};

use super::light::{self, LIGHT_QUEUE_ID, LightQueues};
use super::{Arrival, MessageStore};
use crate::commit_log::{Appended, RecordSpan, Tags};
use crate::index::Keys;
use crate::limits::MAX_LIGHT_QUEUES;
use crate::status::{PutMessageResult, PutMessageStatus};

impl MessageStore {
    /// [`Self::put_message`] in a store whose messages may be in light queues.
    pub(super) fn put_light(
        &self,
        message: &Message<'_>,
        tags: Tags,
        keys: &Keys<'_>,
        options: &EncodeOptions,
    ) -> PutMessageResult {
        let has_queue = sys_flag::has_queue_offset(message.sys_flag);
        let names = light::names(message.properties)
            .filter(|_| has_queue && light::may_be_light(message.topic));
        let Some(names) = names else {
            // Nobody but the store says what offsets a message has.
            let text = light::without_offsets(message.properties);
            let properties = text.as_deref().unwrap_or(message.properties);
            let message = Message { properties, ..*message };
            return self.put_single(&message, tags, keys, options, None);
        };
        if !self.may_have_light_queues(&names) {
            return PutMessageResult::refused(PutMessageStatus::LmqConsumeQueueNumExceeded);
        }
        let text = light::with_room_for_offsets(message.properties, &names);
        let message = Message { properties: &text, ..*message };
        self.put_single(&message, tags, keys, options, Some(&names))
    }

    fn may_have_light_queues(&self, names: &[&str]) -> bool {
        let configured = self.config.max_lmq_consume_queue_num as usize;
        let most = if self.config.enable_lmq_quota { configured } else { MAX_LIGHT_QUEUES };
        let is_new = |name: &&&str| self.queues.get(name, LIGHT_QUEUE_ID).is_none();
        let new = || names.iter().filter(is_new).count();
        self.queues.light_queues() + names.len() <= most
            || self.queues.light_queues() + new() <= most
    }

    /// Does what the pushes onto light queues asked for, and tells the listener.
    pub(super) fn after_light(
        &self,
        message: &Message<'_>,
        appended: &Appended,
        spans: &[RecordSpan],
        light: &LightQueues,
    ) {
        let [RecordSpan { tags, .. }] = spans else {
            return;
        };
        // Others are announced by the flush that makes them visible.
        let listener = self.announcer.listener().filter(|_| !self.hides_unflushed());
        for (queue, offset, push) in light.appended() {
            self.queue_writer.after_push(queue, push);
            let arrival = Arrival {
                topic: queue.topic(),
                queue_id: LIGHT_QUEUE_ID,
                next_queue_offset: offset + 1,
                tags_code: tags.code(appended.store_timestamp_ms),
                store_timestamp_ms: appended.store_timestamp_ms,
                phy_offset: appended.phy_offset,
                properties: message.properties,
            };
            if let Some(listener) = listener {
                listener.arrived(&arrival);
            }
        }
    }
}
