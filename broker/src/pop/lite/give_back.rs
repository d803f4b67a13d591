//! Giving messages of lite topics back: done, or to be given out again at another time.
//!
//! Reference: `AckMessageProcessor.ackLite`, `ChangeInvisibleTimeProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::message::ReceiptHandle;

use super::{LiteService, QUEUE_ID, queue_name, queue_ref};
use crate::clock::now_ms;
use crate::error::{LiteError, RequestError};
use crate::pop::Changed;
use crate::pop::order::Acknowledged;

/// A message of a lite topic that is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenBack<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) lite_topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) receipt: &'a str,
}

impl LiteService {
    /// A message is done. Nothing is returned, and nothing was done, when its queue is in use and that must not
    /// be waited for.
    pub(crate) fn acknowledge(
        self: &Arc<Self>,
        given: GivenBack<'_>,
        may_wait: bool,
    ) -> Result<Option<()>, RequestError> {
        let GivenBack { group, offset, .. } = given;
        if self.bound_topic(group).as_deref() != Some(given.topic) {
            return Err(LiteError::AckBind.into());
        }
        let queue = self.queue_of(given)?;
        let receipt = ReceiptHandle::parse(given.receipt)?;
        if given.queue_id != QUEUE_ID || receipt.revive_queue_id != ReceiptHandle::ORDERLY {
            return Err(LiteError::AckQueue.into());
        }
        let queue_ref = queue_ref(group, &queue);
        let Some(turn) = self.take_turn(queue_ref, may_wait) else { return Ok(None) };
        if self.offsets.query(group, &queue, QUEUE_ID).is_some_and(|next| offset < next) {
            return Ok(Some(()));
        }
        let commit = |next| {
            if !self.offsets.has_reset(group, &queue, QUEUE_ID) {
                self.offsets.commit(group, &queue, QUEUE_ID, next);
            }
        };
        let outcome =
            self.order.acknowledge(queue_ref, offset, receipt.pop_time_ms, now_ms(), commit);
        // Whoever is woken takes its turn.
        drop(turn);
        match outcome {
            Acknowledged::Next { blocked: false, .. } => self.arrived(&queue, Some(group)),
            Acknowledged::Next { .. } | Acknowledged::Stale => {}
            Acknowledged::Unknown => return Err(LiteError::AckUnknown.into()),
        }
        Ok(Some(()))
    }

    /// Has a message given out again at another time, or with `suspend` all that was given out with it,
    /// without that counting as consumed. Nothing is returned, and nothing was done, when its queue is in use and
    /// that must not be waited for.
    pub(crate) fn change_invisible_time(
        &self,
        given: GivenBack<'_>,
        invisible_ms: i64,
        suspend: bool,
        may_wait: bool,
    ) -> Result<Option<Changed>, RequestError> {
        let GivenBack { group, offset, .. } = given;
        let queue = self.queue_of(given).map_err(|_| RequestError::ChangeOffsetIllegal)?;
        let receipt = ReceiptHandle::parse(given.receipt)?;
        let queue_ref = queue_ref(group, &queue);
        let Some(_turn) = self.take_turn(queue_ref, may_wait) else { return Ok(None) };
        if self.offsets.query(group, &queue, QUEUE_ID).is_some_and(|next| offset < next) {
            return Ok(Some(Changed::default()));
        }
        let visible_ms = now_ms().saturating_add(invisible_ms);
        if suspend {
            self.order.suspend(queue_ref, receipt.pop_time_ms, visible_ms);
        } else {
            self.order.set_next_visible(queue_ref, offset, receipt.pop_time_ms, visible_ms);
        }
        Ok(Some(Changed {
            pop_time_ms: receipt.pop_time_ms,
            invisible_ms: visible_ms.saturating_sub(receipt.pop_time_ms),
            revive_queue_id: receipt.revive_queue_id,
            durable_at: 0,
        }))
    }

    /// The queue of the lite topic, unless that cannot have the message.
    fn queue_of(&self, given: GivenBack<'_>) -> Result<String, LiteError> {
        queue_name(given.topic, given.lite_topic)
            .filter(|queue| given.offset <= self.store.max_offset(queue, QUEUE_ID))
            .ok_or(LiteError::AckOffset)
    }
}
