//! The messages that one connection sends, a fixed number of them in flight.

use std::sync::Arc;

use super::clock::{Nanos, wall_clock_ms};
use super::error::BenchError;
use super::slots::Slots;
use super::template::SendTemplates;

/// Fills a connection with sends, queue after queue.
pub(super) struct Sender {
    connection: u32,
    templates: Arc<SendTemplates>,
    slots: Slots,
    /// Decides the queue of the next request.
    turn: u64,
}

impl Sender {
    pub(super) fn new(connection: u32, templates: &Arc<SendTemplates>, in_flight: u32) -> Self {
        Self {
            connection,
            templates: Arc::clone(templates),
            slots: Slots::new(in_flight),
            turn: connection.into(),
        }
    }

    /// Appends requests to `out` until enough are in flight or `may_send` says no.
    pub(super) fn fill(
        &mut self,
        now: Nanos,
        out: &mut Vec<u8>,
        mut may_send: impl FnMut() -> bool,
    ) {
        let born_ms = wall_clock_ms();
        while self.slots.has_free() && may_send() {
            let Some(sequence) = self.slots.take(now) else { return };
            let queue = self.templates.queue(self.turn);
            self.turn += 1;
            self.templates.append(out, self.connection, sequence, queue, born_ms);
        }
    }

    /// Takes note of the last answer to a request, and returns when that was sent.
    ///
    /// # Errors
    /// When no such request is in flight.
    pub(super) fn answered(&mut self, sequence: u32) -> Result<Nanos, BenchError> {
        self.slots
            .release(sequence)
            .ok_or_else(|| BenchError::Unexpected(format!("answer to request {sequence}")))
    }

    /// Identity of the first message of a request.
    pub(super) fn identity(&self, sequence: u32) -> u64 {
        let first = u64::from(sequence) * self.templates.messages();
        super::payload::identity(self.connection, first)
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }
}
