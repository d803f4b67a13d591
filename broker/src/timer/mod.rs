//! Messages that are sent for a time of their own: kept aside, and delivered at that time.
//!
//! They wait in slots of the timer's files. A slot is read when it begins, and its messages are delivered
//! each at its own time within it, to the millisecond; the reference delivers them when it is over. One
//! thread does that and sleeps until something is due or comes in; another one saves the progress.
//!
//! Reference: `TimerMessageStore` (store), `HookUtils` (broker), 5.5.0.

mod delivered;
mod due;
mod metrics;
mod rebuild;
mod work;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oxmq_protocol::message::properties;
use oxmq_store::{MessageStore, PutMessageStatus, StoreError, TimerCheckpoint};
use tracing::error;

pub(crate) use self::metrics::TimerFlow;
use self::metrics::TimerMetrics;
use self::work::Work;
use crate::again::Home;
use crate::clock::now_ms;
use crate::sync::lock;

/// Topic of messages that wait for a time of their own.
pub(crate) const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Properties by which a message asks for a time of its own.
pub(crate) const TIME_PROPERTIES: [&str; 3] =
    [properties::TIMER_DELAY_SEC, properties::TIMER_DELAY_MS, properties::TIMER_DELIVER_MS];
/// Between two steps that follow each other: whoever sends meanwhile is not behind all that is due.
const BREATH: Duration = Duration::from_millis(1);
/// Longest wait of the thread.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Longest that a stop waits for the end of a moment of which messages are delivered.
const LONGEST_STOP: Duration = Duration::from_secs(2);

/// Keeps messages aside until their time and delivers them.
#[derive(Debug)]
pub(crate) struct TimerService {
    store: Arc<MessageStore>,
    work: Mutex<Work>,
    metrics: Arc<TimerMetrics>,
    woken: Mutex<bool>,
    wake: Condvar,
    stopped: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl TimerService {
    /// Opens the timer's files and finds out what is waiting.
    ///
    /// # Errors
    /// When a file cannot be opened or has another size than configured.
    pub(crate) fn load(store: Arc<MessageStore>, store_root: &Path) -> Result<Self, StoreError> {
        let metrics = Arc::new(TimerMetrics::load(store_root));
        let work = Work::load(Arc::clone(&store), Arc::clone(&metrics), now_ms())?;
        Ok(Self {
            store,
            work: Mutex::new(work),
            metrics,
            woken: Mutex::new(false),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
            threads: Mutex::default(),
        })
    }

    /// Starts the threads that deliver and save.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let thread = |name: &str, run: fn(&Self)| {
            let service = Arc::clone(self);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&service))
        };
        // Saving waits for the disk, which delivering must not.
        let threads = [thread("timer", Self::run)?, thread("timer-save", Self::save_regularly)?];
        lock(&self.threads).extend(threads);
        Ok(())
    }

    /// Turns a message with a time of its own into one that is kept aside, if that time is ahead.
    ///
    /// # Errors
    /// The status that such a message is refused with.
    pub(crate) fn divert(
        &self,
        topic: &str,
        queue_id: i32,
        text: &mut Vec<u8>,
        now_ms: i64,
    ) -> Result<Option<(&'static str, i32)>, PutMessageStatus> {
        let Some(deliver_ms) = due::requested(text, now_ms)? else { return Ok(None) };
        if deliver_ms <= now_ms {
            let is_recall = properties::property(text, properties::TIMER_DEL_UNIQKEY).is_some();
            return match is_recall {
                true => Err(PutMessageStatus::WheelTimerMsgIllegal),
                false => Ok(None),
            };
        }
        let slot_ms = self.slot_within_reach(deliver_ms, now_ms)?;
        let config = self.store.config();
        if config.timer_congest_num_each_slot != i32::MAX && self.is_congested(slot_ms) {
            return Err(PutMessageStatus::WheelTimerFlowControl);
        }
        Ok(Some(keep_aside(topic, queue_id, text, slot_ms)))
    }

    /// The same for a message of the broker's own, which is never one too many.
    ///
    /// # Errors
    /// The status that such a message is refused with.
    pub(crate) fn divert_own(
        &self,
        topic: &str,
        queue_id: i32,
        text: &mut Vec<u8>,
        (deliver_ms, now_ms): (i64, i64),
    ) -> Result<Option<(&'static str, i32)>, PutMessageStatus> {
        properties::set(text, properties::TIMER_DELIVER_MS, deliver_ms.to_string().as_bytes());
        if deliver_ms <= now_ms {
            return Ok(None);
        }
        let slot_ms = self.slot_within_reach(deliver_ms, now_ms)?;
        Ok(Some(keep_aside(topic, queue_id, text, slot_ms)))
    }

    /// The slot for a message, unless that is too far away.
    fn slot_within_reach(&self, deliver_ms: i64, now_ms: i64) -> Result<i64, PutMessageStatus> {
        let config = self.store.config();
        if deliver_ms.saturating_sub(now_ms) > i64::from(config.timer_max_delay_sec) * 1_000 {
            return Err(PutMessageStatus::WheelTimerMsgIllegal);
        }
        Ok(due::slot_before(deliver_ms, config.timer_precision_ms.ms()))
    }

    /// Whether everything has been delivered that was put before `time_ms` and due by then.
    /// `queue_offset` is the end of the timer's queue at that time.
    pub(crate) fn has_delivered(&self, time_ms: i64, queue_offset: i64) -> bool {
        lock(&self.work).has_delivered(time_ms, queue_offset)
    }

    /// Notes that a message has come into the timer's queue.
    pub(crate) fn poke(&self) {
        *lock(&self.woken) = true;
        self.wake.notify_one();
    }

    /// Counts by topic.
    pub(crate) fn metrics(&self) -> &TimerMetrics {
        &self.metrics
    }

    /// How far the timer has got, and how many messages of its queue it has not looked at.
    pub(crate) fn progress(&self) -> (TimerCheckpoint, i64) {
        let checkpoint = lock(&self.work).checkpoint();
        let behind = self.store.max_offset(TIMER_TOPIC, 0) - checkpoint.queue_offset;
        (checkpoint, behind.max(0))
    }

    /// Ends the threads. A moment of which messages are delivered is brought to its end before, as
    /// the reference would deliver them again.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.poke();
        for thread in lock(&self.threads).drain(..) {
            thread.thread().unpark();
            // A panic of the thread was reported when it happened.
            drop(thread.join());
        }
        let began = Instant::now();
        while began.elapsed() < LONGEST_STOP {
            let Some(pause) = lock(&self.work).finish_slot(now_ms()) else { break };
            std::thread::sleep(pause.min(Duration::from_millis(10)));
        }
        self.metrics.save();
    }

    /// Saves how far it has got, once the store has been closed.
    pub(crate) fn save_last(&self) {
        lock(&self.work).save_last();
    }

    fn run(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            let pause = lock(&self.work).step(now_ms()).min(LONGEST_PAUSE);
            if pause.is_zero() {
                std::thread::park_timeout(BREATH);
                continue;
            }
            let mut woken = lock(&self.woken);
            if !*woken {
                woken = self
                    .wake
                    .wait_timeout_while(woken, pause, |woken| !*woken)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            *woken = false;
        }
    }

    fn save_regularly(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            let interval = self.store.config().timer_flush_interval_ms.max(1);
            std::thread::park_timeout(Duration::from_millis(interval));
            // Taken out of the lock before it runs.
            let save = lock(&self.work).prepare_save();
            if let Some(save) = save {
                let outcome = save.run();
                lock(&self.work).finish_save(outcome);
                self.metrics.save();
            }
        }
    }

    /// Above the configured number some messages are refused, above twice as many all.
    fn is_congested(&self, slot_ms: i64) -> bool {
        let most = f64::from(self.store.config().timer_congest_num_each_slot.max(0));
        let count = match lock(&self.work).waiting_in(slot_ms) {
            Ok(count) => f64::from(count),
            Err(error) => {
                error!(%error, "timer wheel cannot be read");
                return false;
            }
        };
        if count <= most {
            return false;
        }
        // The share that is taken falls from all to none between the two.
        let share = (2.0 * most - count) / (most + 0.1);
        let dice = f64::from((now_ms() & 0x3FF) as i32) / 1_024.0;
        dice >= share
    }
}

/// Notes in a message's properties where it belongs and in which slot it waits.
fn keep_aside(topic: &str, queue_id: i32, text: &mut Vec<u8>, slot_ms: i64) -> (&'static str, i32) {
    properties::set(text, properties::TIMER_OUT_MS, slot_ms.to_string().as_bytes());
    Home { topic, queue_id }.note(text);
    (TIMER_TOPIC, 0)
}

#[cfg(test)]
mod tests;
