//! All that clients saw, in one order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// A message: who sent it, and its number among those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Message {
    /// The producer.
    pub(super) producer: u32,
    /// Counts up within the producer.
    pub(super) index: u32,
}

impl Message {
    /// Reads the body of a message.
    #[must_use]
    pub(super) fn parse(body: &str) -> Option<Self> {
        let (producer, index) = body.split(' ').next()?.split_once(':')?;
        Some(Self { producer: producer.parse().ok()?, index: index.parse().ok()? })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.index)
    }
}

/// A queue of the one topic that groups share.
pub(super) type Queue = i32;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A producer is about to send, for the first time or again.
    Sent { message: Message },
    /// The broker has it, at this place.
    Acked { message: Message, queue: Queue, offset: i64 },
    /// A consumer took a queue over, where the broker said that its group is.
    Began { session: u32, group: &'static str, queue: Queue, offset: i64 },
    /// It was given a message.
    Delivered { session: u32, offset: i64, message: Message },
    /// It gave the queue up, or lost it.
    Ended { session: u32 },
    /// A consumer is about to commit.
    CommitSent { commit: u32, group: &'static str, queue: Queue, offset: i64 },
    /// The broker has the offset.
    CommitAcked { commit: u32 },
    /// A consumer is about to ask where its group is.
    QuerySent { query: u32 },
    /// The broker said where the group is; `None` for nowhere yet.
    QueryAnswered { query: u32, group: &'static str, queue: Queue, offset: Option<i64> },
    /// The broker was killed; these offsets were in its file.
    Killed { persisted: BTreeMap<(&'static str, Queue), i64> },
    /// The broker was stopped in peace.
    Stopped,
    /// The broker runs again.
    Started,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Milliseconds since the list began.
    pub(super) at_ms: u64,
    /// What was seen.
    pub(super) what: What,
}

/// A message in a queue at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) queue: Queue,
    pub(super) offset: i64,
    pub(super) message: Message,
}

/// All that was seen, and what was found in the queues afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// In order.
    pub(super) events: Vec<Event>,
    /// By queue and offset.
    pub(super) stored: Vec<Stored>,
}

/// The list while it is written.
pub(super) struct Log {
    began: Instant,
    events: Mutex<Vec<Event>>,
    next: AtomicU32,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), events: Mutex::default(), next: AtomicU32::new(0) }
    }

    /// A number for a session, commit or query.
    pub(super) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn note(&self, what: What) {
        let mut events = self.lock();
        // Within the lock, so that times and order agree.
        let at_ms = self.began.elapsed().as_millis() as u64;
        events.push(Event { at_ms, what });
    }

    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap()
    }
}
