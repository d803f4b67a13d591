//! Waiting for a message without taking it.
//!
//! Reference: `NotificationProcessor` (broker), 5.5.0.

use std::time::Instant;

use super::held::{HeldNotice, NoticeRequest};
use super::{ANY_QUEUE, PopService};
use crate::clock::now_ms;
use crate::filter::MessageFilter;
use crate::queue_key::GroupQueueRef;

impl PopService {
    /// Says whether there is a message; when there is none, waits for one.
    pub(crate) fn notify(&self, notice: HeldNotice) {
        if self.has_message(&notice.request) {
            return notice.answer_found();
        }
        if notice.deadline <= Instant::now() {
            return notice.answer(false, false);
        }
        let request = notice.request.clone();
        if let Err(full) = self.notices.register(notice, super::held::room(&self.config)) {
            return full.answer(false, true);
        }
        // A message may have come between the look and the registration.
        if self.has_message(&request) {
            self.wake_notices(&request.topic, &request.group, request.queue_id);
        }
    }

    /// Answers a notification that has waited long enough.
    pub(super) fn answer_notice(&self, notice: HeldNotice) {
        let has_message = self.has_message(&notice.request);
        notice.answer(has_message, false);
    }

    pub(super) fn has_message(&self, request: &NoticeRequest) -> bool {
        let topic = &*request.topic;
        let any_normal = match request.queue_id {
            ANY_QUEUE => self.any_in_topic(request, topic),
            queue_id => self.any_in_queue(request, topic, queue_id),
        };
        let any_retry = || {
            let (retry, other) = self.retry_kinds(0);
            let mut kinds = [retry].into_iter().chain(other);
            kinds.any(|kind| self.any_in_topic(request, &kind.topic(topic, &request.group)))
        };
        any_normal || any_retry()
    }

    fn any_in_topic(&self, request: &NoticeRequest, topic: &str) -> bool {
        let queues = self.topics.get(topic).map_or(0, |topic| topic.read_queue_nums);
        (0..queues).any(|queue_id| self.any_in_queue(request, topic, queue_id))
    }

    fn any_in_queue(&self, request: &NoticeRequest, topic: &str, queue_id: i32) -> bool {
        let group = &*request.group;
        let queue_ref = GroupQueueRef { topic, group, queue_id };
        let attempt = request.attempt.as_deref();
        if request.order && self.order.is_blocked(queue_ref, attempt, 0, now_ms()) {
            return false;
        }
        let (min, max) = self.store.bounds(topic, queue_id);
        let committed = self.offsets.query(group, topic, queue_id).unwrap_or(min);
        let next = self.queues.get(queue_ref).next_offset();
        let offset = next.map_or(committed, |next| next.max(committed));
        let looked_at = i64::from(self.config.max_message_filter_num_for_notification);
        max > offset
            && (max - offset >= looked_at
                || self.may_pass(&request.filter, topic, queue_id, offset))
    }

    /// Whether a message from `offset` on may be one of those that are wanted; only what would have
    /// to be read from disk is not looked at.
    fn may_pass(&self, filter: &MessageFilter, topic: &str, queue_id: i32, offset: i64) -> bool {
        if matches!(filter, MessageFilter::All) {
            return true;
        }
        let mut found = false;
        let mut records = Vec::new();
        let result = self.store.get_cached_message(
            topic,
            queue_id,
            offset,
            1,
            usize::MAX,
            |tags_code, record| {
                found |= filter.matches(tags_code, || record.properties());
                found
            },
            &mut records,
        );
        result.map_or(true, |result| found || result.next_begin_offset < result.max_offset)
    }
}
