//! Pulls from a part of a logical queue of a static topic.

use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::PullMessageView;

use super::PullMessage;
use crate::error::RequestError;
use crate::pull_hold::{PullRequest, PulledPart};
use crate::static_topic::LogicQueue;

/// What of a physical queue is wanted.
pub(super) struct Place {
    pub(super) queue_id: i32,
    pub(super) offset: i64,
    pub(super) max_messages: i32,
}

impl PulledPart {
    /// What is wanted of the part's queue: nothing behind its end.
    pub(super) fn place(&self, max_messages: i32) -> Place {
        let offset = self.item.queue_offset_of(self.logic_offset);
        let left = match self.item.has_ended() {
            true => self.item.end_offset.saturating_sub(offset).max(1),
            false => i64::MAX,
        };
        let max_messages = max_messages.min(i32::try_from(left).unwrap_or(i32::MAX));
        Place { queue_id: self.item.queue_id, offset, max_messages }
    }
}

impl PullMessage {
    /// The part of a logical queue that a pull goes to; `None` if it is about a physical queue.
    pub(super) fn part(
        &self,
        header: &PullMessageView<'_>,
        topic: &str,
        request: &CommandView<'_>,
    ) -> Result<Option<Box<PulledPart>>, RequestError> {
        let led = self.static_topics.led(request, topic, header.queue_id);
        let Some(queue) = led.map_err(RequestError::told_to_a_pull)? else {
            return Ok(None);
        };
        let item = queue.part(header.queue_offset)?.clone();
        Ok(Some(Box::new(PulledPart { queue, item, logic_offset: header.queue_offset })))
    }

    /// Stores an offset of a logical queue that comes with a pull, where that is here: what lies elsewhere is
    /// committed by a request of its own.
    pub(super) fn commit_logic(&self, pull: &PullRequest, queue: &LogicQueue, logic_offset: i64) {
        if let Some(item) = queue.find(logic_offset).filter(|item| queue.is_here(item)) {
            let offset = item.queue_offset_of(logic_offset);
            self.offsets.commit(&pull.group, &pull.topic, item.queue_id, offset);
        }
    }
}
