//! Telling a listener of messages that become visible.

use std::sync::atomic::{AtomicI64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};

use oxmq_protocol::message::{RecordView, properties, sys_flag, tags_code_of_properties};
use tracing::warn;

use super::light::{LIGHT_QUEUE_ID, places as light_places};
use crate::commit_log::{CommitLog, RecordCheck, scan_new};
use crate::sync::lock;

/// A message that has become visible in its queue.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Topic of the queue.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// Queue offset behind the message.
    pub next_queue_offset: i64,
    /// Hash of the message's tags.
    pub tags_code: i64,
    /// When the store took the message, in milliseconds since 1970.
    pub store_timestamp_ms: i64,
    /// Position of the record in the commit log.
    pub phy_offset: i64,
    /// Encoded properties text of the message.
    pub properties: &'a [u8],
}

/// Is told of every message that becomes visible, by the thread that makes it so. No lock that a
/// sender needs is held meanwhile, but the thread waits: it has to be quick.
pub trait ArrivalListener: Send + Sync {
    /// A message has become visible.
    fn arrived(&self, arrival: &Arrival<'_>);

    /// Whether it has to hear of messages at the moment. Whoever begins to wait for one looks for
    /// it once more after this would answer yes.
    fn is_waiting(&self) -> bool {
        true
    }
}

impl<F: Fn(&Arrival<'_>) + Send + Sync> ArrivalListener for F {
    fn arrived(&self, arrival: &Arrival<'_>) {
        self(arrival);
    }
}

/// The listener, and what it has heard.
pub(super) struct Announcer {
    listener: OnceLock<Arc<dyn ArrivalListener>>,
    /// Where messages are hidden until they are flushed: those before this position were announced.
    announced_to: Mutex<i64>,
    /// Where a record begins of which only a part has come; beyond all where none does.
    whole_to: AtomicI64,
    /// Whether messages are in light queues, too.
    has_light_queues: bool,
}

impl Announcer {
    /// Tells nobody yet.
    pub(super) fn new(has_light_queues: bool) -> Self {
        Self {
            listener: OnceLock::new(),
            announced_to: Mutex::new(0),
            whole_to: AtomicI64::new(i64::MAX),
            has_light_queues,
        }
    }

    /// Has nothing announced from the record at `incomplete_from` on, if there is one.
    pub(super) fn hold(&self, incomplete_from: Option<i64>) {
        self.whole_to.store(incomplete_from.unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Tells the listener of a record that is visible in its queues.
    pub(super) fn announce(&self, record: &RecordView<'_>, phy_offset: i64) {
        let Some(listener) = self.listener() else { return };
        let arrival = arrival_of(record, phy_offset);
        listener.arrived(&arrival);
        if self.has_light_queues {
            for (topic, offset) in light_places(record) {
                let (queue_id, next_queue_offset) = (LIGHT_QUEUE_ID, offset + 1);
                listener.arrived(&Arrival { topic, queue_id, next_queue_offset, ..arrival });
            }
        }
    }

    /// Sets the listener, once, for what is appended from `position` on.
    pub(super) fn set(&self, listener: Arc<dyn ArrivalListener>, position: i64) {
        *lock(&self.announced_to) = position;
        if self.listener.set(listener).is_err() {
            warn!("arrival listener set twice: the first one stays");
        }
    }

    pub(super) fn listener(&self) -> Option<&dyn ArrivalListener> {
        self.listener.get().map(AsRef::as_ref)
    }

    /// Announces the messages that a flush has made visible, if they were hidden until now.
    pub(super) fn flushed(&self, log: &CommitLog, were_hidden: bool) {
        let Some(listener) = self.listener() else { return };
        let mut announced_to = lock(&self.announced_to);
        let (from, to) = (*announced_to, log.flushed().min(self.whole_to.load(Ordering::SeqCst)));
        if from >= to {
            return;
        }
        *announced_to = to;
        // What was flushed is visible to whoever begins to wait after this.
        fence(Ordering::SeqCst);
        if !were_hidden || !listener.is_waiting() {
            return;
        }
        // A record behind the last one ends the scan; it has nothing else to fail for.
        let _ = scan_new(&log.files(), from, RecordCheck::Lengths, |record, phy_offset| {
            if phy_offset >= to {
                return Err(());
            }
            if sys_flag::has_queue_offset(record.sys_flag()) {
                self.announce(record, phy_offset);
            }
            Ok(())
        });
    }
}

/// What the record at `phy_offset` is announced as.
fn arrival_of<'a>(record: &RecordView<'a>, phy_offset: i64) -> Arrival<'a> {
    let inner = record.sys_flag() & sys_flag::INNER_BATCH != 0;
    let number = properties::property_str(record.properties(), properties::INNER_NUM);
    let messages = number.filter(|_| inner).and_then(|number| number.parse().ok()).unwrap_or(1);
    Arrival {
        topic: record.topic(),
        queue_id: record.queue_id(),
        next_queue_offset: record.queue_offset() + messages,
        tags_code: tags_code_of_properties(record.properties()),
        store_timestamp_ms: record.store_timestamp_ms(),
        phy_offset,
        properties: record.properties(),
    }
}
