//! What the timer's files have said before they were taken out of the store, found out from the log and the queue.

use std::cell::OnceCell;

use hashbrown::HashSet;
use oxmq_protocol::message::{RecordView, properties};
use oxmq_store::{MessageStore, TimerCheckpoint, TimerStore};
use tracing::{error, warn};

use super::delivered::key;
use super::{TIMER_TOPIC, due};
use crate::again::Aside;

/// How far the timer has got, as what it delivered last says. Nobody knows what was taken from the queue: what came
/// before that part of the log counts as taken.
pub(super) fn progress(store: &MessageStore) -> TimerCheckpoint {
    let file_bytes = store.config().mapped_file_size_commit_log as i64;
    let min = store.min_phy_offset();
    let (mut from, mut slot_ms) = (store.max_phy_offset(), None);
    while slot_ms.is_none() && from > min {
        let to = from;
        from = ((from - 1) / file_bytes * file_bytes).max(min);
        slot_ms = newest_slot(store, from, to);
    }
    // Its first messages may have been delivered into the file before.
    from = (from - file_bytes).max(min);
    let (mut low, mut high) = store.bounds(TIMER_TOPIC, 0);
    while low < high {
        let middle = low + (high - low) / 2;
        match store.phy_offset_of(TIMER_TOPIC, 0, middle) {
            Some(phy_offset) if phy_offset >= from => high = middle,
            _ => low = middle + 1,
        }
    }
    // What came from there on is in these slots, and so is what takes it back.
    let mut first_ms = 0;
    store.for_each_record(from, |record| {
        first_ms = record.store_timestamp_ms();
        false
    });
    let first_slot_ms = first_ms - first_ms % store.config().timer_precision_ms.ms();
    let read_time_ms = slot_ms.map_or(0, |slot_ms| slot_ms.min(first_slot_ms));
    warn!(read_time_ms, queue_offset = low, "progress of the timer is taken from the log");
    TimerCheckpoint {
        read_time_ms,
        queue_offset: low,
        delivered_from: Some(from),
        ..TimerCheckpoint::default()
    }
}

/// The newest slot of which a message was delivered in a part of the log.
fn newest_slot(store: &MessageStore, from: i64, to: i64) -> Option<i64> {
    let mut newest = None;
    store.for_each_record(from, |record| {
        let of = |name| properties::property(record.properties(), name);
        // What has rolled is for a slot that is ahead of the one in which it has waited.
        if of(properties::TIMER_DEQUEUE_MS).is_some() && record.topic() != TIMER_TOPIC {
            let slot_ms = due::slot_of(record);
            newest = newest.max(slot_ms.filter(|slot_ms| *slot_ms <= record.store_timestamp_ms()));
        }
        record.phy_offset() < to
    });
    newest
}

/// Messages of the queue that were taken once and have no unit any more: they are taken again, but for those that are
/// not waiting.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    /// Behind the last one.
    until: i64,
    /// Slots before this one have been delivered.
    read_time_ms: i64,
    /// Those that have been put into the queue once more, as their slot was too far away.
    rolled: OnceCell<HashSet<String>>,
}

impl Rebuild {
    /// Whether the message at an offset of the queue is one of them.
    pub(super) fn covers(&self, queue_offset: i64) -> bool {
        queue_offset < self.until
    }

    /// The first of them from an offset on that can be read: the others are not to hold up all that waits.
    pub(super) fn readable(&self, store: &MessageStore, mut queue_offset: i64) -> i64 {
        let is_readable = |queue_offset| {
            let phy_offset = store.phy_offset_of(TIMER_TOPIC, 0, queue_offset);
            phy_offset.is_some_and(|at| store.look_message_by_offset(at).is_some())
        };
        while self.covers(queue_offset) && !is_readable(queue_offset) {
            error!(queue_offset, "message of the timer cannot be read and is not delivered");
            queue_offset += 1;
        }
        queue_offset
    }

    /// Whether a message of them, which goes to the slot of `out_ms`, is not waiting any more. Within
    /// `window_ms` it cannot have rolled.
    pub(super) fn is_done(
        &self,
        store: &MessageStore,
        record: RecordView<'_>,
        out_ms: i64,
        window_ms: i64,
    ) -> bool {
        if out_ms < self.read_time_ms {
            return true;
        }
        let may_have_rolled = out_ms - record.store_timestamp_ms() > window_ms;
        may_have_rolled
            && self
                .rolled
                .get_or_init(|| rolled_behind(store, record.queue_offset()))
                .contains(key(record, 0).as_str())
    }
}

/// What those in the queue behind an offset have been before they rolled.
fn rolled_behind(store: &MessageStore, queue_offset: i64) -> HashSet<String> {
    let mut rolled = HashSet::new();
    let queue = Aside { store, topic: TIMER_TOPIC, queue_id: 0 };
    queue.walk(queue_offset + 1, |record| {
        if properties::property(record.properties(), properties::TIMER_ROLL_TIMES).is_some() {
            rolled.insert(key(record, -1));
        }
        true
    });
    rolled
}

/// Where to go on in the queue: behind the message of the last unit. All before what was saved have had units.
pub(super) fn queue_offset(
    store: &MessageStore,
    timers: &mut TimerStore,
    saved: &TimerCheckpoint,
) -> (i64, Rebuild) {
    let (min, max) = store.bounds(TIMER_TOPIC, 0);
    let last = timers.last_unit().unwrap_or_else(|error| {
        error!(%error, "timer log cannot be read");
        None
    });
    let behind_last = last.and_then(|unit| {
        let bytes = store.look_message_by_offset(unit.phy_offset)?;
        let record = RecordView::parse(&bytes).ok()?;
        (record.topic() == TIMER_TOPIC).then(|| record.queue_offset() + 1)
    });
    let known = match (last, behind_last) {
        (None, _) => min,
        (Some(_), behind_last) => behind_last.unwrap_or(saved.queue_offset),
    };
    let queue_offset = known.clamp(min, max);
    let saved_offset = saved.queue_offset.clamp(min, max);
    // The reference makes no units of messages that come too late.
    let is_lost = queue_offset < saved_offset && (last.is_none() || saved.delivered_from.is_some());
    if !is_lost {
        return (queue_offset, Rebuild::default());
    }
    warn!(queue_offset, until = saved_offset, "units of the timer are made anew from its queue");
    let (until, read_time_ms) = (saved_offset, saved.read_time_ms);
    (queue_offset, Rebuild { until, read_time_ms, rolled: OnceCell::new() })
}
