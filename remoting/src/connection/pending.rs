//! Requests of ours that wait for the peer's answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use hashbrown::HashMap;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use tokio::sync::oneshot;

use crate::limits::MAX_PENDING_REQUESTS;
use crate::sync::lock;

/// Waiting requests of one connection, by opaque.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Mutex<Waiting>,
    next_opaque: AtomicI32,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<i32, oneshot::Sender<RemotingCommand>>,
    closed: bool,
}

impl Pending {
    pub(super) fn next_opaque(&self) -> i32 {
        self.next_opaque.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes room for an answer; `None` when too many are owed. Once the connection has ended, the
    /// receiver fails at once.
    pub(super) fn register(&self) -> Option<(i32, oneshot::Receiver<RemotingCommand>)> {
        let opaque = self.next_opaque();
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if waiting.answers.len() >= MAX_PENDING_REQUESTS {
            return None;
        }
        if !waiting.closed {
            waiting.answers.insert(opaque, sender);
        }
        Some((opaque, receiver))
    }

    pub(super) fn forget(&self, opaque: i32) {
        lock(&self.waiting).answers.remove(&opaque);
    }

    /// Hands an answer to its request; one that nobody waits for any more is dropped as it lies.
    pub(super) fn answer(&self, response: &CommandView<'_>) {
        let sender = lock(&self.waiting).answers.remove(&response.opaque);
        if let Some(sender) = sender {
            let _ = sender.send(response.to_command());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.waiting).answers.is_empty()
    }

    /// Fails every waiting request.
    pub(super) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        waiting.answers.clear();
    }
}
