//! Keeps a worker awake for a moment after a request.
//!
//! Whoever wakes a sleeping worker pays for an interrupt of another core, and the worker begins
//! some tens of microseconds later. A peer in conversation with it asks again sooner than that, so
//! the worker looks for events a little longer before it sleeps. Meanwhile it gives its core to
//! every other thread that has something to do, and so takes no time from them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use crate::limits::SPIN;
use crate::workers;

thread_local! {
    /// Turns on this thread.
    static TURNS: Cell<u64> = const { Cell::new(0) };
    /// The worker's own task, while it waits for a turn.
    static WAITING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A connection had a turn on this thread.
pub(crate) fn note_turn() {
    TURNS.set(TURNS.get().wrapping_add(1));
    if let Some(waker) = WAITING.take() {
        waker.wake();
    }
}

/// The worker's own task: after a turn, has it look for events rather than sleep.
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
        while TURNS.get() != seen {
            seen = TURNS.get();
            workers::end_long_round();
            let start = Instant::now();
            while TURNS.get() == seen && start.elapsed() < SPIN {
                thread::yield_now();
                tokio::task::yield_now().await;
                if TURNS.get() == seen {
                    workers::end_round();
                }
            }
        }
        workers::end_round();
    }
}
