//! Where pops go on after a crash.
//!
//! How far groups have come is saved every few seconds. What was popped after the last save is noted in the
//! log all the same, so that the next pops go on behind it and nothing is given out that is not due again.
//! The reference goes on where it has last saved. So it is with check points: those from the first on that was not
//! worked off at the last save are read once more, but what was stored again for them is in the log.

use std::sync::Mutex;

use hashbrown::HashMap;
use oxmq_protocol::body::PopCheckPoint;
use oxmq_protocol::fastjson;
use oxmq_protocol::message::{Message, RecordView, TopicKind, properties};
use oxmq_store::Boundary;
use tracing::info;

use super::PopService;
use super::journal::CHECK_POINT_TAG;
use super::revive::first_left;
use crate::again::Aside;
use crate::sync::lock;
use crate::timer::TIMER_TOPIC;

/// Messages that were stored again before a crash for check points that are read once more.
#[derive(Debug, Default)]
pub(super) struct GivenAgain(Mutex<HashMap<String, u32>>);

impl GivenAgain {
    fn note(&self, record: RecordView<'_>) {
        let text = record.properties();
        if properties::property(text, properties::FIRST_POP_TIME).is_some()
            && let Some(key) = key(record.topic(), record.reconsume_times(), text)
        {
            *lock(&self.0).entry(key).or_default() += 1;
        }
    }

    /// Whether a message was stored again; of several that are alike each is asked once.
    pub(super) fn take(&self, again: &Message<'_>) -> bool {
        let mut left = lock(&self.0);
        if left.is_empty() {
            return false;
        }
        let Some(key) = key(again.topic, again.reconsume_times, again.properties) else {
            return false;
        };
        let Some(count) = left.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            left.remove(&key);
        }
        true
    }
}

/// What names a message that is stored again; nothing without a key of its own.
fn key(topic: &str, reconsume_times: i32, text: &[u8]) -> Option<String> {
    let unique_key = properties::property_str(text, properties::UNIQ_KEY)?;
    Some(format!("{topic} {reconsume_times} {unique_key}"))
}

impl PopService {
    /// Moves groups on behind what they have been given since their offsets were saved, after a crash, and looks
    /// for what has been stored again since.
    pub(crate) fn recover(&self) {
        let Some(saved_at_ms) = self.offsets.saved_at_ms().filter(|_| !self.store.was_closed())
        else {
            return;
        };
        let notes = Aside { store: &self.store, topic: TIMER_TOPIC, queue_id: 0 };
        let first = self.store.offset_by_time(TIMER_TOPIC, 0, saved_at_ms, Boundary::Lower);
        let mut pops = 0;
        notes.walk(first, |note| {
            pops += usize::from(self.go_on_behind(note));
            true
        });
        if pops > 0 {
            info!(pops, "pops found that were not in the saved offsets");
        }
        let again_from_ms = self.left_since_ms(saved_at_ms);
        let mut queues = self.store.queues();
        queues.retain(|topic, _| TopicKind::of(topic) != TopicKind::Normal);
        for (topic, queue_ids) in &queues {
            for queue_id in queue_ids.iter().copied() {
                let store = &self.store;
                let first = store.offset_by_time(topic, queue_id, again_from_ms, Boundary::Lower);
                Aside { store, topic, queue_id }.walk(first, |record| {
                    self.given_again.note(record);
                    true
                });
            }
        }
    }

    /// When the first check point was stored that may not have been worked off at the last save, at the latest
    /// `saved_at_ms`.
    fn left_since_ms(&self, saved_at_ms: i64) -> i64 {
        let topic = self.journal.topic();
        let stored_at_ms = |queue_id| {
            self.store.message_store_timestamp(topic, queue_id, first_left(self, queue_id))
        };
        let queues = self.store.queues().remove(topic).unwrap_or_default();
        queues.into_iter().filter_map(stored_at_ms).fold(saved_at_ms, i64::min)
    }

    /// Moves a group on if this is a note of what it has been given next.
    fn go_on_behind(&self, note: RecordView<'_>) -> bool {
        let property = |name| properties::property_str(note.properties(), name);
        let is_check_point = property(properties::TAGS) == Some(CHECK_POINT_TAG)
            && property(properties::REAL_TOPIC) == Some(self.journal.topic())
            // One that waits for long is put once more now and then.
            && property(properties::TIMER_ROLL_TIMES).is_none();
        if !is_check_point {
            return false;
        }
        let Ok(point) = fastjson::from_slice::<PopCheckPoint>(note.body()) else { return false };
        let Some(last) = point.offsets().into_iter().max() else { return false };
        let PopCheckPoint { topic, consumer_group: group, queue_id, start_offset, .. } = &point;
        let committed = self.offsets.query(group, topic, *queue_id).unwrap_or(-1);
        // A single message may be an old one whose time was changed, and is not behind what was passed over.
        let is_next = *start_offset <= committed || point.num > 1;
        // A topic that was deleted and made anew has other messages there.
        let is_there = || {
            let given_at = self.store.phy_offset_of(topic, *queue_id, last);
            given_at.is_some_and(|given_at| given_at < note.phy_offset())
        };
        if last < committed || !is_next || !is_there() {
            return false;
        }
        self.offsets.commit(group, topic, *queue_id, last + 1);
        true
    }
}
