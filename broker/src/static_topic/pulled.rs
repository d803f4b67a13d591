//! What a pull from a part of a logical queue found, in logical offsets.
//!
//! Reference: `PullMessageProcessor.rewriteResponseForStaticTopic` (broker), 5.5.0.

use oxmq_protocol::body::LogicQueueMappingItem;
use oxmq_protocol::code::ResponseCode;

use super::LogicQueue;

/// What the broker of a part answers, in offsets of its physical queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) code: ResponseCode,
    pub(crate) next_begin_offset: i64,
    pub(crate) min_offset: i64,
    pub(crate) max_offset: i64,
    /// The group has been sent to another offset, wherever the queue begins and ends.
    pub(crate) is_reset: bool,
}

/// What a pull is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) code: ResponseCode,
    pub(crate) next_begin_offset: i64,
    pub(crate) min_offset: i64,
    pub(crate) max_offset: i64,
    /// What the client has to add to the offsets of the messages; `None` where they are what it knows.
    pub(crate) offset_delta: Option<i64>,
}

impl From<Seen> for Pulled {
    fn from(seen: Seen) -> Self {
        let Seen { code, next_begin_offset, min_offset, max_offset, .. } = seen;
        Self { code, next_begin_offset, min_offset, max_offset, offset_delta: None }
    }
}

impl LogicQueue {
    /// Turns what the pull of `offset` from the part `item` found into what the client knows. At the end of a
    /// part the client is sent to the next one.
    pub(crate) fn pulled(&self, item: &LogicQueueMappingItem, offset: i64, seen: Seen) -> Pulled {
        let is_last = self.leader().is_some_and(|it| it.generation == item.generation);
        let first = self.begun_items().next();
        let is_first = first.is_some_and(|it| it.generation == item.generation);
        let mut at = item;
        let mut found = Pulled::from(seen);
        if seen.code != ResponseCode::SUCCESS && !seen.is_reset {
            let (min, max) = (seen.min_offset, seen.max_offset);
            if is_last && offset > max && seen.code == ResponseCode::PULL_OFFSET_MOVED {
                found.next_begin_offset = max;
            } else if offset < min {
                found.next_begin_offset = min;
                found.code = match is_first {
                    true => ResponseCode::PULL_OFFSET_MOVED,
                    false => ResponseCode::PULL_RETRY_IMMEDIATELY,
                };
            }
            // Of the part that grows its end is no end, unless there is no other.
            if offset >= min && offset >= max && (is_first || !is_last) {
                if let Some(next) = self.next(item) {
                    at = next;
                    found.next_begin_offset = next.start_offset;
                    (found.min_offset, found.max_offset) = (next.start_offset, next.start_offset);
                    found.code = ResponseCode::PULL_RETRY_IMMEDIATELY;
                } else {
                    found.code = ResponseCode::PULL_NOT_FOUND;
                }
            }
        }
        if at.has_ended() {
            found.next_begin_offset = found.next_begin_offset.min(at.end_offset);
        }
        let settled = self.leader().map_or(-1, LogicQueueMappingItem::settled_logic_offset);
        Pulled {
            code: found.code,
            next_begin_offset: at.logic_offset_of(found.next_begin_offset),
            min_offset: at.logic_offset_of(found.min_offset),
            max_offset: at.logic_offset_of(found.max_offset).max(settled),
            offset_delta: Some(at.offset_delta()),
        }
    }
}
