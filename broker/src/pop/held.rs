//! What pops and notifications ask for, and the handles to answer them by.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use oxmq_protocol::code::ResponseCode;

use crate::config::BrokerConfig;
use crate::filter::MessageFilter;
use crate::hold::{Asks, Held, Room};
use crate::limits::{MAX_HELD_POPS, MAX_SUSPEND_MS};
use crate::queue_key::QueueRef;

/// A request is answered this long before its time is up, as in the reference.
const AHEAD_MS: i64 = 50;

/// What a pop asks for, once its checks have passed.
#[derive(Debug)]
pub(crate) struct PopRequest {
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    /// [`super::ANY_QUEUE`] or one.
    pub(crate) queue_id: i32,
    pub(crate) max_messages: u32,
    pub(crate) invisible_ms: i64,
    pub(crate) poll_ms: i64,
    /// Whether a new group begins at the last message.
    pub(crate) from_last: bool,
    pub(crate) filter: MessageFilter,
    pub(crate) order: bool,
    pub(crate) attempt: Option<Box<str>>,
    /// How often it was looked after again at once.
    pub(crate) looks: AtomicU32,
}

impl Asks for PopRequest {
    fn queue(&self) -> QueueRef<'_> {
        QueueRef { topic: &self.topic, queue_id: self.queue_id }
    }

    fn group(&self) -> &str {
        &self.group
    }
}

/// A pop and where its answer goes.
pub(crate) type HeldPop = Held<Arc<PopRequest>>;

/// What a notification waits for.
#[derive(Clone, Debug)]
pub(crate) struct NoticeRequest {
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    pub(crate) queue_id: i32,
    pub(crate) filter: MessageFilter,
    pub(crate) order: bool,
    pub(crate) attempt: Option<Box<str>>,
}

impl Asks for NoticeRequest {
    fn queue(&self) -> QueueRef<'_> {
        QueueRef { topic: &self.topic, queue_id: self.queue_id }
    }

    fn group(&self) -> &str {
        &self.group
    }
}

/// A notification and where it goes.
pub(crate) type HeldNotice = Held<NoticeRequest>;

impl HeldNotice {
    pub(super) fn answer_found(self) {
        self.answer(true, false);
    }

    pub(super) fn answer(self, has_msg: bool, polling_full: bool) {
        self.reply.write(ResponseCode::SUCCESS, None, |mut writer| {
            let text = |yes| if yes { "true" } else { "false" };
            writer.text("hasMsg", text(has_msg));
            writer.text("pollingFull", text(polling_full));
            writer.finish(&[]);
        });
    }
}

/// How many pops may wait.
pub(super) fn room(config: &BrokerConfig) -> Room {
    let number = |number: i64| usize::try_from(number).unwrap_or(0).min(MAX_HELD_POPS);
    Room {
        in_all: number(config.max_pop_polling_size),
        // The reference looks before it adds.
        of_one_group: number(i64::from(config.pop_polling_size) + 1),
    }
}

/// Until when a request may wait that was made at `born_ms` for `poll_ms`.
///
/// A client whose clock is ahead waits no longer than it asks.
pub(crate) fn deadline(now: Instant, now_ms: i64, born_ms: i64, poll_ms: i64) -> Instant {
    let end_ms = born_ms.saturating_add(poll_ms);
    let left_ms = end_ms.saturating_sub(now_ms).min(poll_ms).saturating_sub(AHEAD_MS);
    now + Duration::from_millis(left_ms.clamp(0, MAX_SUSPEND_MS).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_waits_until_its_own_end_but_no_longer_than_it_asks() {
        let now = Instant::now();
        let waits = |born_ms, poll_ms| (deadline(now, 10_000, born_ms, poll_ms) - now).as_millis();
        assert_eq!(waits(10_000, 5_000), 4_950);
        assert_eq!(waits(8_000, 5_000), 2_950);
        assert_eq!(waits(60_000, 5_000), 4_950, "the client's clock is ahead");
        assert_eq!(waits(1_000, 5_000), 0);
        assert_eq!(waits(10_000, i64::MAX), MAX_SUSPEND_MS as u128);
        assert_eq!(waits(i64::MIN, i64::MIN), 0);
    }
}
