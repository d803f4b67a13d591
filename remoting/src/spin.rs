//! Keeps a worker awake for a moment after a request.
//!
//! Whoever wakes a sleeping worker pays for an interrupt of another core, and the worker begins
//! some tens of microseconds later. A peer in conversation with it asks again sooner than that, so
//! the worker looks for events a little longer before it sleeps. Meanwhile it gives its core to
//! every other thread that has something to do, and so takes no time from them.
//!
//! Where peers ask less often, looking longer finds nothing: the worker then does so after one turn in
//! some only, to see whether that has changed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::{SPIN, SPIN_IN_VAIN, SPIN_ONCE_IN};
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
    workers::note_turn();
    if let Some(waker) = WAITING.take() {
        waker.wake();
    }
}

/// The worker's own task: after a turn, has it look for events rather than sleep.
pub(crate) async fn stay_awake() {
    let mut seen = TURNS.get();
    let mut worth = Worth::default();
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
            let limit = if worth.is_worth_it() { SPIN } else { Duration::ZERO };
            loop {
                tokio::task::yield_now().await;
                if TURNS.get() != seen {
                    break;
                }
                workers::end_round();
                if start.elapsed() >= limit {
                    break;
                }
                thread::yield_now();
            }
            worth.note(TURNS.get() != seen);
        }
        workers::end_round();
    }
}

/// Whether staying awake has been of use.
#[derive(Debug, Default)]
struct Worth {
    /// Turns since the last one that another followed at once.
    in_vain: u32,
}

impl Worth {
    fn is_worth_it(&self) -> bool {
        self.in_vain < SPIN_IN_VAIN || self.in_vain.is_multiple_of(SPIN_ONCE_IN)
    }

    fn note(&mut self, came: bool) {
        self.in_vain = if came { 0 } else { self.in_vain.wrapping_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_stays_awake_while_it_pays_and_tries_again_now_and_then() {
        let mut worth = Worth::default();
        let mut tried = |came| {
            let tried = worth.is_worth_it();
            worth.note(came && tried);
            tried
        };
        for _ in 0..100 {
            assert!(tried(true));
        }
        let in_vain = (0..10 * SPIN_ONCE_IN).filter(|_| tried(false)).count() as u32;
        assert!((SPIN_IN_VAIN..SPIN_IN_VAIN + 11).contains(&in_vain), "{in_vain}");
        // Peers are in a hurry again.
        let until_found = (0..SPIN_ONCE_IN).position(|_| tried(true));
        assert!(until_found.is_some());
        assert!(tried(true));
    }
}
