//! What the timer's thread does: takes messages from the queue into slots, and delivers what is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use oxmq_protocol::message::{Message, RecordView, java_string_hash, properties};
use oxmq_store::{
    MessageStore, StoreError, TIMER_SLOTS, TimerCheckpoint, TimerSave, TimerStore, TimerUnit,
};
use tracing::{error, info, warn};

use super::delivered::Delivered;
use super::metrics::TimerMetrics;
use super::rebuild::{self, Rebuild};
use super::{TIMER_TOPIC, due};
use crate::again::{Again, Aside, Home, store_again};

/// Messages taken from the queue before others are delivered.
const TAKEN_PER_STEP: usize = 4_096;
/// Messages delivered before the thread lets others at the log: half a millisecond's.
const DELIVERED_PER_STEP: usize = 256;
/// Pause after the store or a file did not take something.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Times that reading a slot may fail before only what can be read is delivered, and others after it.
const READ_TRIES: u32 = 50;
/// Slots that are kept free between the oldest and the newest, as in the reference.
const BLANK_SLOTS: i64 = 60;
/// Slots after which progress without messages is saved.
const IDLE_SLOTS: i64 = 60;
/// Between two looks for files that are not needed any more.
const CLEAN_EVERY: Duration = Duration::from_secs(30);

/// A message of the slot that is being delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    due_ms: i64,
    /// Order of those that are due together.
    phy_offset: i64,
    write_time_ms: i64,
    rolls: bool,
}

#[derive(Debug)]
pub(super) struct Work {
    store: Arc<MessageStore>,
    metrics: Arc<TimerMetrics>,
    timers: TimerStore,
    precision_ms: i64,
    queue_offset: i64,
    rebuild: Rebuild,
    /// A message of the queue that has been delivered and is still to be noted, and where the log was before.
    unnoted: Option<(i64, i64)>,
    /// The slot that is being delivered; those before it are.
    read_time_ms: i64,
    /// Whether its messages are in `pending`.
    loaded: bool,
    /// Where the log was when the first of them may have been delivered.
    loaded_at: i64,
    /// Times that a slot could not be read since the start.
    failed_reads: u32,
    delivered_some: bool,
    /// None is begun after the one that is being delivered.
    is_last_slot: bool,
    pending: BinaryHeap<Reverse<Pending>>,
    /// What has been taken back of this slot.
    recalled: HashSet<Box<str>>,
    delivered: Delivered,
    /// Slots from here on were not begun before the start.
    fresh_from_ms: i64,
    /// So are messages of the queue.
    fresh_from: i64,
    /// Progress that is saved once the log is on disk up to a position.
    unsaved: Option<(TimerCheckpoint, i64)>,
    active: bool,
    next_clean: Instant,
}

impl Work {
    pub(super) fn load(
        store: Arc<MessageStore>,
        metrics: Arc<TimerMetrics>,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let mut timers = TimerStore::open(store.config())?;
        let precision_ms = timers.precision_ms();
        let now_slot_ms = now_ms.div_euclid(precision_ms) * precision_ms;
        let is_new = timers.is_new() && store.max_offset(TIMER_TOPIC, 0) == 0;
        let is_saved = timers.saved().read_time_ms != 0;
        // Otherwise it has been saved before the first message came.
        let saved = if is_saved || is_new { *timers.saved() } else { rebuild::progress(&store) };
        let (queue_offset, rebuild) = rebuild::queue_offset(&store, &mut timers, &saved);
        let oldest_ms = now_slot_ms - (TIMER_SLOTS - BLANK_SLOTS) * precision_ms;
        let read_time_ms = match (saved.read_time_ms, is_new) {
            (0, true) => now_slot_ms,
            (saved_ms, _) => saved_ms.max(oldest_ms),
        };
        let mut work = Self {
            delivered: saved
                .delivered_from
                .map_or_else(Delivered::default, |from| Delivered::since(&store, from)),
            fresh_from: store.max_offset(TIMER_TOPIC, 0),
            store,
            metrics,
            timers,
            precision_ms,
            queue_offset,
            rebuild,
            unnoted: None,
            read_time_ms,
            loaded: false,
            loaded_at: 0,
            failed_reads: 0,
            delivered_some: false,
            is_last_slot: false,
            pending: BinaryHeap::new(),
            recalled: HashSet::new(),
            fresh_from_ms: now_slot_ms + precision_ms,
            unsaved: None,
            active: false,
            next_clean: Instant::now() + CLEAN_EVERY,
        };
        info!(read_time_ms, queue_offset = work.queue_offset, "timer opened");
        // A crash before the first regular save would otherwise not know where to begin.
        if !is_saved {
            work.save(work.checkpoint());
        }
        Ok(work)
    }

    /// Does what is to be done now, and returns how long there is nothing more.
    pub(super) fn step(&mut self, now_ms: i64) -> Duration {
        // What is due does not wait for what cannot be taken.
        let taken = self.take(now_ms);
        let delivered = if self.is_rebuilding() { Ok(false) } else { self.deliver(now_ms) };
        let outcome = delivered.and_then(|more| Ok(more | taken?));
        let more = match outcome {
            Ok(more) => more,
            Err(error) => {
                error!(%error, "timer files cannot be used");
                return RETRY_PAUSE;
            }
        };
        if more {
            return Duration::ZERO;
        }
        let slot_end_ms = self.read_time_ms + if self.loaded { self.precision_ms } else { 0 };
        let next_ms = self.pending.peek().map_or(slot_end_ms, |Reverse(first)| first.due_ms);
        Duration::from_millis((next_ms - crate::clock::now_ms()).max(0).unsigned_abs())
    }

    /// How far it has got.
    pub(super) fn checkpoint(&self) -> TimerCheckpoint {
        let from = if self.loaded { self.loaded_at } else { self.store.max_phy_offset() };
        let from = self.unnoted.map_or(from, |(_, log_end)| log_end.min(from));
        // A second crash must not deliver again what the first one found delivered, as far as it may be asked
        // for: in slots that are not over, and by what has not been taken from the queue.
        let is_taken = self.queue_offset >= self.fresh_from;
        let needed =
            self.delivered.needed_from(if is_taken { self.read_time_ms } else { i64::MIN });
        TimerCheckpoint {
            read_time_ms: self.read_time_ms,
            queue_offset: self.queue_offset,
            timestamp_ms: crate::clock::now_ms(),
            delivered_from: Some(needed.map_or(from, |needed| needed.min(from))),
            ..*self.timers.saved()
        }
    }

    /// Goes on with a slot of which messages are delivered, and begins no other one: there may always be some at
    /// its very start. Returns how long there is nothing more to do; `None` when no slot is left in the middle.
    pub(super) fn finish_slot(&mut self, now_ms: i64) -> Option<Duration> {
        self.is_last_slot = true;
        self.delivered_some.then(|| self.step(now_ms))
    }

    /// Whether everything that was due by `time_ms` has been delivered, if it came into the queue
    /// before `queue_offset`.
    pub(super) fn has_delivered(&self, time_ms: i64, queue_offset: i64) -> bool {
        if self.queue_offset < queue_offset || self.read_time_ms > time_ms {
            return self.queue_offset >= queue_offset;
        }
        let slot_end_ms = self.read_time_ms + self.precision_ms;
        let first = self.pending.peek();
        self.loaded && time_ms < slot_end_ms && first.is_none_or(|first| first.0.due_ms > time_ms)
    }

    pub(super) fn waiting_in(&self, slot_ms: i64) -> io::Result<i32> {
        self.timers.count(slot_ms)
    }

    /// Saves how far it has got, whatever the log says: it has been closed.
    pub(super) fn save_last(&mut self) {
        self.save(self.checkpoint());
    }

    /// Whether slots lack messages, so that none can be delivered.
    fn is_rebuilding(&self) -> bool {
        self.rebuild.covers(self.queue_offset) && !self.store.config().timer_stop_enqueue
    }

    /// Takes new messages from the queue. Returns whether there are more.
    fn take(&mut self, now_ms: i64) -> io::Result<bool> {
        if self.store.config().timer_stop_enqueue {
            return Ok(false);
        }
        let store = Arc::clone(&self.store);
        let queue = Aside { store: &store, topic: TIMER_TOPIC, queue_id: 0 };
        let mut outcome = Ok(());
        let mut taken = 0;
        let next = queue.walk(self.queue_offset, |record| {
            if taken == TAKEN_PER_STEP {
                return false;
            }
            match self.take_one(record, now_ms) {
                Ok(true) => {
                    taken += 1;
                    self.queue_offset = record.queue_offset() + 1;
                    true
                }
                Ok(false) => false,
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            }
        });
        outcome?;
        self.queue_offset = if taken == 0 { self.rebuild.readable(&store, next) } else { next };
        self.active |= taken > 0;
        Ok(taken == TAKEN_PER_STEP)
    }

    /// Puts one message into its slot, or delivers it if that has passed. Returns whether the next
    /// one may follow.
    fn take_one(&mut self, record: RecordView<'_>, now_ms: i64) -> io::Result<bool> {
        let text = record.properties();
        let (Some(out_ms), Some(home)) = (due::slot_of(record), Home::of(text)) else {
            let queue_offset = record.queue_offset();
            warn!(queue_offset, "message of the timer does not say when or where and is skipped");
            return Ok(true);
        };
        let recalls = properties::property_str(text, properties::TIMER_DEL_UNIQKEY);
        let write_time_ms = now_ms.div_euclid(self.precision_ms) * self.precision_ms;
        let window = self.window_slots();
        let is_again = self.rebuild.covers(record.queue_offset());
        if is_again
            && self.rebuild.is_done(&self.store, record, out_ms, (window - 1) * self.precision_ms)
        {
            return Ok(true);
        }
        let slot_time_ms = due::slot_on_the_way(out_ms, write_time_ms, window, self.precision_ms);
        let unit = TimerUnit {
            write_time_ms,
            slot_time_ms,
            phy_offset: record.phy_offset(),
            record_bytes: record.total_bytes() as i32,
            topic_hash: java_string_hash(home.topic),
            rolls: slot_time_ms != out_ms,
            deletes: recalls.is_some(),
        };
        if out_ms < self.read_time_ms {
            let is_delivered = |(at, _)| at == record.queue_offset();
            if recalls.is_none() && !self.unnoted.is_some_and(is_delivered) {
                let log_end = self.store.max_phy_offset();
                if !self.store_as(record, None, false, now_ms) {
                    return Ok(false);
                }
                self.unnoted = Some((record.queue_offset(), log_end));
            }
            self.timers.note(&unit)?;
            self.unnoted = None;
            return Ok(true);
        }
        self.timers.put(&unit)?;
        if !is_again {
            self.metrics.taken();
            self.metrics.add(home.topic, if unit.deletes { -1 } else { 1 });
        }
        if self.loaded && slot_time_ms == self.read_time_ms {
            self.await_in_slot(record, &unit);
        }
        Ok(true)
    }

    /// Slots that a message may be ahead.
    fn window_slots(&self) -> i64 {
        let configured = i64::from(self.store.config().timer_roll_window_slot);
        let most = TIMER_SLOTS - BLANK_SLOTS;
        if (2..most).contains(&configured) { configured } else { most }
    }

    /// Delivers what is due. Returns whether there is more.
    fn deliver(&mut self, now_ms: i64) -> io::Result<bool> {
        let mut left = DELIVERED_PER_STEP;
        while self.read_time_ms <= now_ms {
            if !self.loaded {
                self.load_slot()?;
            }
            while let Some(Reverse(first)) = self.pending.peek().copied()
                && first.due_ms <= now_ms
            {
                if left == 0 {
                    return Ok(true);
                }
                left -= 1;
                self.pending.pop();
                if !self.deliver_one(first, now_ms) {
                    let due_ms = now_ms + RETRY_PAUSE.as_millis() as i64;
                    self.pending.push(Reverse(Pending { due_ms, ..first }));
                    return Ok(false);
                }
            }
            if !self.pending.is_empty() || now_ms < self.read_time_ms + self.precision_ms {
                break;
            }
            self.next_slot();
            if self.is_last_slot {
                break;
            }
        }
        Ok(false)
    }

    fn next_slot(&mut self) {
        self.active |= self.delivered_some;
        self.read_time_ms += self.precision_ms;
        self.loaded = false;
        self.delivered_some = false;
        self.recalled.clear();
        if self.read_time_ms > self.fresh_from_ms {
            self.delivered.forget();
        }
    }

    fn load_slot(&mut self) -> io::Result<()> {
        self.loaded_at = self.store.max_phy_offset();
        for unit in self.read_slot()? {
            let bytes = self.store.look_message_by_offset(unit.phy_offset);
            let record = bytes.as_deref().and_then(|bytes| RecordView::parse(bytes).ok());
            match record {
                Some(record) if record.topic() == TIMER_TOPIC => self.await_in_slot(record, &unit),
                _ => warn!(phy_offset = unit.phy_offset, "message of the timer is gone"),
            }
        }
        self.loaded = true;
        Ok(())
    }

    fn read_slot(&mut self) -> io::Result<Vec<TimerUnit>> {
        let slot_time_ms = self.read_time_ms;
        self.timers.slot(slot_time_ms).or_else(|error| {
            self.failed_reads = self.failed_reads.saturating_add(1);
            if self.failed_reads < READ_TRIES {
                return Err(error);
            }
            error!(slot_time_ms, %error, "only what can be read of a slot of the timer is delivered");
            Ok(self.timers.search(slot_time_ms))
        })
    }

    fn await_in_slot(&mut self, record: RecordView<'_>, unit: &TimerUnit) {
        if unit.deletes && !unit.rolls {
            let name = properties::TIMER_DEL_UNIQKEY;
            let recalled = properties::property_str(record.properties(), name);
            self.recalled.extend(recalled.map(Box::from));
            return;
        }
        let due_ms = if unit.rolls {
            unit.slot_time_ms
        } else {
            due::exact(record, unit.slot_time_ms, self.precision_ms)
        };
        self.pending.push(Reverse(Pending {
            due_ms,
            phy_offset: unit.phy_offset,
            write_time_ms: unit.write_time_ms,
            rolls: unit.rolls,
        }));
    }

    /// Returns false when it is to be tried again.
    fn deliver_one(&mut self, pending: Pending, now_ms: i64) -> bool {
        let Some(bytes) = self.store.look_message_by_offset(pending.phy_offset) else {
            return true;
        };
        let Ok(record) = RecordView::parse(&bytes) else { return true };
        if !pending.rolls && self.is_recalled(record) {
            return true;
        }
        if !self.store_as(record, Some(pending.write_time_ms), pending.rolls, now_ms) {
            return false;
        }
        self.delivered_some = true;
        self.metrics.delivered();
        if let Some(home) = Home::of(record.properties()) {
            self.metrics.add(home.topic, -1);
        }
        true
    }

    fn is_recalled(&self, record: RecordView<'_>) -> bool {
        if self.recalled.is_empty() {
            return false;
        }
        let text = record.properties();
        let Some(key) = properties::property_str(text, properties::UNIQ_KEY) else { return false };
        let topic = properties::property_str(text, properties::REAL_TOPIC).unwrap_or_default();
        self.recalled.contains(key) || self.recalled.contains(format!("{topic}+{key}").as_str())
    }

    /// Stores a message under its own topic, or in the timer's queue once more.
    fn store_as(
        &mut self,
        record: RecordView<'_>,
        write_time_ms: Option<i64>,
        rolls: bool,
        now_ms: i64,
    ) -> bool {
        if record.verify_body_crc().is_err() {
            warn!(phy_offset = record.phy_offset(), "message of the timer is damaged and skipped");
            return true;
        }
        if self.delivered.take(record) {
            return true;
        }
        let text = record.properties();
        let Some(home) = Home::of(text) else { return true };
        let Ok(message) = record.as_message() else { return true };
        let mut noted = text.to_vec();
        let enqueued_ms = write_time_ms.unwrap_or(i64::MAX).to_string();
        properties::set(&mut noted, properties::TIMER_ENQUEUE_MS, enqueued_ms.as_bytes());
        if rolls {
            let rolled = properties::property_str(text, properties::TIMER_ROLL_TIMES)
                .and_then(|times| times.parse::<i64>().ok())
                .map_or(1, |times| times.saturating_add(1));
            let name = properties::TIMER_ROLL_TIMES;
            properties::set(&mut noted, name, rolled.to_string().as_bytes());
        }
        let dequeued_ms = now_ms.to_string();
        properties::set(&mut noted, properties::TIMER_DEQUEUE_MS, dequeued_ms.as_bytes());
        let (topic, queue_id) = if rolls { (TIMER_TOPIC, 0) } else { (home.topic, home.queue_id) };
        let message = Message { topic, queue_id, properties: &noted, ..message };
        !matches!(store_again(&self.store, &message), Again::NotNow(_))
    }

    /// What is to be saved now, which waits for the disk; `finish_save` is to follow.
    pub(super) fn prepare_save(&mut self) -> Option<TimerSave> {
        if self.rebuild.covers(self.queue_offset) {
            return None;
        }
        let mut save = None;
        if let Some((checkpoint, log_end)) = self.unsaved
            && self.store.flushed_phy_offset() >= log_end
        {
            self.unsaved = None;
            save = self.timers.prepare_save(checkpoint).unwrap_or_else(|error| {
                error!(%error, "progress of the timer not saved");
                None
            });
        }
        let idle_ms = self.read_time_ms - self.timers.saved().read_time_ms;
        let is_worth_it = self.active || idle_ms >= IDLE_SLOTS * self.precision_ms;
        if is_worth_it && self.unsaved.is_none() {
            self.active = false;
            self.unsaved = Some((self.checkpoint(), self.store.max_phy_offset()));
        }
        let now = Instant::now();
        if now >= self.next_clean {
            self.next_clean = now + CLEAN_EVERY;
            if let Err(error) = self.timers.clean(self.store.min_phy_offset()) {
                warn!(%error, "files of the timer log not removed");
            }
        }
        save
    }

    pub(super) fn finish_save(&mut self, outcome: io::Result<TimerCheckpoint>) {
        self.active |= outcome.is_err();
        let saved = outcome.inspect_err(|error| {
            error!(%error, "progress of the timer not saved");
        });
        self.timers.finish_save(saved.ok());
    }

    fn save(&mut self, checkpoint: TimerCheckpoint) {
        if self.rebuild.covers(self.queue_offset) {
            return;
        }
        let outcome = match self.timers.prepare_save(checkpoint) {
            Ok(Some(save)) => save.run(),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        self.finish_save(outcome);
    }
}
