//! One queue of the revive topic: its notes, and what they leave to be given out again.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use oxmq_protocol::body::{AckMsg, PopCheckPoint};
use oxmq_protocol::fastjson;
use oxmq_protocol::message::{RecordView, properties};
use tracing::warn;

use super::give::give_again;
use crate::again::Aside;
use crate::limits::{MAX_MESSAGES_PER_CHECK_POINT, MAX_OPEN_CHECK_POINTS};
use crate::pop::PopService;
use crate::pop::journal::{ACK_TAG, BATCH_ACK_TAG, CHECK_POINT_TAG};

/// Group whose offsets say how far each queue has been worked off.
const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// How much later than it was due a message may still be acknowledged.
const GRACE_MS: i64 = 1_000;
/// By how much notes may come out of order while a queue is not read to its end.
const DISORDER_MS: i64 = 2_000;
/// Notes that are read in each round even when there is hardly room for them.
const NOTES_PER_ROUND: usize = 4_096;

/// One queue of the revive topic.
#[derive(Debug)]
pub(super) struct Lane {
    queue_id: i32,
    /// Next offset to read.
    next: i64,
    /// End of the queue at the start: what is before it may have been worked off before a crash.
    end_at_start: i64,
    /// By offset in the revive topic.
    open: BTreeMap<i64, Open>,
    by_key: HashMap<Key, i64>,
    early: HashMap<Key, Early>,
    /// When the last note that was read was due, ms since 1970.
    read_to_ms: i64,
    committed: i64,
    /// An offset that can be committed once the log is on disk up to a position.
    committable: Option<(i64, i64)>,
}

/// The first note of a queue of the revive topic that may not have been worked off.
pub(in crate::pop) fn first_left(pop: &PopService, queue_id: i32) -> i64 {
    let topic = pop.journal.topic();
    let committed = pop.offsets.query(REVIVE_GROUP, topic, queue_id).unwrap_or(-1);
    let (min, max) = pop.store.bounds(topic, queue_id);
    (committed + 1).clamp(min, max)
}

impl Lane {
    pub(super) fn new(pop: &PopService, queue_id: i32) -> Self {
        let next = first_left(pop, queue_id);
        let (_, end_at_start) = pop.store.bounds(pop.journal.topic(), queue_id);
        Self {
            queue_id,
            next,
            end_at_start,
            open: BTreeMap::new(),
            by_key: HashMap::new(),
            early: HashMap::new(),
            read_to_ms: 0,
            committed: next - 1,
            committable: None,
        }
    }

    /// Whether everything there is has been read, worked off and committed.
    pub(super) fn is_worked_off(&self, pop: &PopService) -> bool {
        let (_, max) = pop.store.bounds(pop.journal.topic(), self.queue_id);
        self.next >= max
            && self.open.is_empty()
            && self.early.is_empty()
            && self.committable.is_none()
            && self.committed >= self.worked_off()
    }

    pub(super) fn round(&mut self, pop: &Arc<PopService>, horizon_ms: i64) {
        let is_at_end = self.read(pop);
        // Until its end has been read, an acknowledgement may lie there.
        let ripe_ms = match is_at_end {
            true => horizon_ms - GRACE_MS,
            false => horizon_ms.min(self.read_to_ms) - DISORDER_MS,
        };
        let ripe = self.open.iter().filter(|(_, open)| open.due_ms() <= ripe_ms);
        let ripe: Vec<i64> = ripe.map(|(revive_offset, _)| *revive_offset).collect();
        for revive_offset in ripe {
            let Some(open) = self.open.get_mut(&revive_offset) else { continue };
            let is_old = revive_offset < self.end_at_start;
            if !give_again(pop, &open.point, &mut open.left, is_old) {
                // The store takes nothing at the moment.
                break;
            }
            if let Some(open) = self.open.remove(&revive_offset) {
                self.by_key.remove(&open.key);
            }
        }
        // Their check points would have come in, too.
        self.early.retain(|_, early| !is_at_end || early.due_ms > horizon_ms);
        self.commit_when_durable(pop);
    }

    /// Reads on, and returns whether that was to the end.
    fn read(&mut self, pop: &PopService) -> bool {
        let topic = pop.journal.topic();
        let (min, max) = pop.store.bounds(topic, self.queue_id);
        self.next = self.next.max(min);
        if self.next >= max {
            return true;
        }
        let queue = Aside { store: &pop.store, topic, queue_id: self.queue_id };
        // Some are always read: what makes others ripe may be among them.
        let mut room = MAX_OPEN_CHECK_POINTS.saturating_sub(self.open.len()).max(NOTES_PER_ROUND);
        let next = queue.walk(self.next, |record| {
            if record.queue_offset() >= max || room == 0 {
                return false;
            }
            room -= 1;
            self.take(record, &pop.config.broker_name);
            true
        });
        self.next = next;
        next >= max
    }

    fn take(&mut self, record: RecordView<'_>, own_name: &str) {
        let text = record.properties();
        let due_ms = properties::property_str(text, properties::TIMER_DELIVER_MS)
            .and_then(|time| time.parse().ok())
            .unwrap_or(0);
        self.read_to_ms = self.read_to_ms.max(due_ms);
        let queue_offset = record.queue_offset();
        let outcome = match properties::property_str(text, properties::TAGS) {
            Some(CHECK_POINT_TAG) => fastjson::from_slice::<PopCheckPoint>(record.body())
                .map(|point| self.take_check_point(point, queue_offset, own_name)),
            Some(ACK_TAG | BATCH_ACK_TAG) => fastjson::from_slice::<AckMsg>(record.body())
                .map(|ack| self.take_ack(ack, queue_offset, due_ms, own_name)),
            _ => return,
        };
        if let Err(error) = outcome {
            let queue_id = self.queue_id;
            warn!(queue_id, queue_offset, %error, "note on popped messages cannot be read");
        }
    }

    fn take_check_point(&mut self, point: PopCheckPoint, revive_offset: i64, own_name: &str) {
        if point.topic.is_empty() || point.consumer_group.is_empty() {
            return;
        }
        let mut left = point.offsets();
        left.truncate(MAX_MESSAGES_PER_CHECK_POINT);
        let mut at = 0;
        left.retain(|_| {
            at += 1;
            point.bit_map >> (at - 1) & 1 == 0
        });
        let key = Key::of_check_point(&point, own_name);
        if let Some(early) = self.early.remove(&key) {
            left.retain(|offset| !early.offsets.contains(offset));
        }
        self.by_key.insert(key.clone(), revive_offset);
        self.open.insert(revive_offset, Open { key, point, left });
    }

    fn take_ack(&mut self, ack: AckMsg, revive_offset: i64, due_ms: i64, own_name: &str) {
        let key = Key::of_ack(&ack, own_name);
        let single = [ack.ack_offset];
        let offsets = ack.ack_offset_list.as_deref().unwrap_or(&single);
        if let Some(open) = self.by_key.get(&key).and_then(|at| self.open.get_mut(at)) {
            open.left.retain(|offset| !offsets.contains(offset));
        } else if self.early.len() < MAX_OPEN_CHECK_POINTS {
            let early = self.early.entry(key);
            let early =
                early.or_insert_with(|| Early { revive_offset, due_ms, offsets: Vec::new() });
            if early.offsets.len() < MAX_MESSAGES_PER_CHECK_POINT {
                early.offsets.extend_from_slice(offsets);
            }
        }
    }

    /// The last offset before which everything is worked off.
    pub(super) fn worked_off(&self) -> i64 {
        let first_open = self.open.keys().next().copied();
        let first_early = self.early.values().map(|early| early.revive_offset).min();
        first_open.into_iter().chain(first_early).min().unwrap_or(self.next) - 1
    }

    fn commit_when_durable(&mut self, pop: &PopService) {
        if let Some((log_end, offset)) = self.committable
            && pop.store.flushed_phy_offset() >= log_end
        {
            self.commit(pop, offset);
            self.committable = None;
        }
        let worked_off = self.worked_off();
        if self.committable.is_none() && worked_off > self.committed {
            self.committable = Some((pop.store.max_phy_offset(), worked_off));
        }
    }

    pub(super) fn commit(&mut self, pop: &PopService, offset: i64) {
        if offset > self.committed {
            pop.offsets.commit(REVIVE_GROUP, pop.journal.topic(), self.queue_id, offset);
            self.committed = offset;
        }
    }
}

/// What names a check point: topic, group, queue, start, pop time, broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(Box<str>);

impl Key {
    fn of_check_point(point: &PopCheckPoint, own_name: &str) -> Self {
        let PopCheckPoint { topic, consumer_group, queue_id, start_offset, pop_time, .. } = point;
        let broker = point.broker_name.as_deref().unwrap_or(own_name);
        Self(
            format!("{topic}@{consumer_group}@{queue_id}@{start_offset}@{pop_time}@{broker}")
                .into(),
        )
    }

    fn of_ack(ack: &AckMsg, own_name: &str) -> Self {
        let AckMsg { topic, consumer_group, queue_id, start_offset, pop_time, .. } = ack;
        let named = ack.broker_name.as_deref().filter(|name| !name.trim().is_empty());
        let broker = named.unwrap_or(own_name);
        Self(
            format!("{topic}@{consumer_group}@{queue_id}@{start_offset}@{pop_time}@{broker}")
                .into(),
        )
    }
}

/// A check point that is not worked off.
#[derive(Debug)]
struct Open {
    key: Key,
    point: PopCheckPoint,
    /// Offsets that are not acknowledged.
    left: Vec<i64>,
}

impl Open {
    fn due_ms(&self) -> i64 {
        self.point.pop_time.saturating_add(self.point.invisible_time)
    }
}

/// Acknowledgements that came before their check point.
#[derive(Debug)]
struct Early {
    /// Of the first of them.
    revive_offset: i64,
    /// When what they acknowledge is due.
    due_ms: i64,
    offsets: Vec<i64>,
}

#[cfg(test)]
pub(in crate::pop) mod testing {
    use super::*;

    /// One queue of the revive topic and what is made of it, without the timer.
    pub(in crate::pop) struct Reviver {
        pop: Arc<PopService>,
        lane: Lane,
    }

    impl Reviver {
        pub(in crate::pop) fn new(pop: &Arc<PopService>) -> Self {
            Self { pop: Arc::clone(pop), lane: Lane::new(pop, 0) }
        }

        /// A round after all notes have come in that were due by `horizon_ms`.
        pub(in crate::pop) fn round(&mut self, horizon_ms: i64) {
            self.lane.round(&self.pop, horizon_ms);
        }

        /// Passes over the notes that there are.
        pub(in crate::pop) fn forget_notes(&mut self) {
            self.lane.next = self.pop.store.max_offset(self.pop.journal.topic(), 0);
        }

        /// Reads all notes once more, behind those that have been read.
        pub(in crate::pop) fn read_again(&mut self) {
            self.lane.next = 0;
        }

        pub(in crate::pop) fn committed(&self, pop: &PopService) -> Option<i64> {
            pop.offsets.query(REVIVE_GROUP, pop.journal.topic(), 0)
        }
    }
}
