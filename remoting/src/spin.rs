//! Keeps a worker awake for a moment after a request.
//!
//! A worker that sleeps is woken by the kernel some tens of microseconds after the next request came. A
//! peer in conversation with it asks again sooner than that, so the worker looks for events a little
//! longer before it sleeps. Where several requests come at a time it is busy anyway, and the time is
//! worth more to whoever sends them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::limits::SPIN;

/// Connections of a thread up to which it stays awake: more of them keep it so by themselves, and the
/// time is worth more to whoever else is on the machine.
const MOST_CONNECTIONS: usize = 4;

thread_local! {
    /// Connections on this thread.
    static CONNECTIONS: Cell<usize> = const { Cell::new(0) };
    /// Turns on this thread.
    static TURNS: Cell<u64> = const { Cell::new(0) };
    /// The worker's own task, while it waits for a turn.
    static WAITING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A connection of this thread, as long as it lives.
pub(crate) struct Present(());

impl Present {
    pub(crate) fn new() -> Self {
        CONNECTIONS.set(CONNECTIONS.get() + 1);
        Self(())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        CONNECTIONS.set(CONNECTIONS.get().saturating_sub(1));
    }
}

/// A connection had a turn on this thread.
pub(crate) fn note_turn() {
    TURNS.set(TURNS.get().wrapping_add(1));
    if let Some(waker) = WAITING.take() {
        waker.wake();
    }
}

/// The worker's own task: after a single turn, has it look for events rather than sleep.
pub(crate) async fn stay_awake() {
    let mut seen = TURNS.get();
    loop {
        poll_fn(|context| {
            if TURNS.get() != seen {
                return Poll::Ready(());
            }
            WAITING.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        while TURNS.get().wrapping_sub(seen) == 1 && CONNECTIONS.get() <= MOST_CONNECTIONS {
            seen = TURNS.get();
            let start = Instant::now();
            while TURNS.get() == seen && start.elapsed() < SPIN {
                tokio::task::yield_now().await;
            }
        }
        seen = TURNS.get();
    }
}
