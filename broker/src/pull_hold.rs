//! Pulls that wait for a message.
//!
//! Reference: `PullRequestHoldService` (broker), 5.5.0.

use oxmq_protocol::body::LogicQueueMappingItem;

use crate::broadcast_offset::Broadcaster;
use crate::filter::MessageFilter;
use crate::hold::{Asks, Held, Hold, Room, Take};
use crate::limits::MAX_HELD_PULLS;
use crate::queue_key::{GroupQueueRef, QueueRef};
use crate::static_topic::LogicQueue;

/// What a pull asks, once its checks have passed.
#[derive(Clone, Debug)]
pub(crate) struct PullRequest {
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) max_messages: i32,
    pub(crate) filter: MessageFilter,
    /// Whether that comes from the heartbeats of the group, and not from the pull itself.
    pub(crate) is_members: bool,
    pub(crate) topic_sys_flag: i32,
    pub(crate) group_sys_flag: i32,
    /// The broker that the group is to pull from, and the one when it is far behind.
    pub(crate) suggested_brokers: (i64, i64),
    /// Who pulls, if its group broadcasts and that is kept.
    pub(crate) broadcaster: Option<Broadcaster>,
    /// What the client knows the queue as, if it is a part of a logical one.
    pub(crate) part: Option<Box<PulledPart>>,
}

/// The part of a logical queue that is pulled from.
#[derive(Clone, Debug)]
pub(crate) struct PulledPart {
    pub(crate) queue: LogicQueue,
    pub(crate) item: LogicQueueMappingItem,
    /// First offset wanted, as the client knows it.
    pub(crate) logic_offset: i64,
}

/// What filters look at in a message that has just been stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrivedMessage<'a> {
    pub(crate) tags_code: i64,
    pub(crate) properties: &'a [u8],
}

impl ArrivedMessage<'_> {
    /// Whether the message passes `filter`.
    pub(crate) fn passes(self, filter: &MessageFilter) -> bool {
        filter.matches(self.tags_code, || Some(self.properties))
    }
}

impl PullRequest {
    pub(crate) fn broadcast_queue(&self) -> GroupQueueRef<'_> {
        GroupQueueRef { group: &self.group, topic: &self.topic, queue_id: self.queue_id }
    }
}

impl Asks for PullRequest {
    fn queue(&self) -> QueueRef<'_> {
        QueueRef { topic: &self.topic, queue_id: self.queue_id }
    }

    fn group(&self) -> &str {
        &self.group
    }
}

/// A pull that waits.
pub(crate) type HeldPull = Held<PullRequest>;

/// All waiting pulls.
pub(crate) type PullHold = Hold<HeldPull>;

/// How many pulls may wait.
pub(crate) const PULL_ROOM: Room = Room { in_all: MAX_HELD_PULLS, of_one_group: MAX_HELD_PULLS };

/// Takes the pulls of a queue that a message below `next_offset` satisfies; when it is not known,
/// every filter counts as satisfied.
pub(crate) fn take_satisfied(
    hold: &PullHold,
    queue: QueueRef<'_>,
    next_offset: i64,
    arrived: Option<ArrivedMessage<'_>>,
) -> Vec<HeldPull> {
    hold.take(queue, None, Take::Every, |pull| {
        pull.request.offset < next_offset
            && arrived.is_none_or(|message| message.passes(&pull.request.filter))
    })
}
