//! Waiting for one's turn to append, no longer than it makes sense.
//!
//! One thread appends at a time, for a millionth of a second, so nobody waits for it: unless memory
//! or disk is so short that this thread is stuck in the kernel. Then all threads would get stuck
//! behind it, and with them every request of every client. So whoever wants to append looks first
//! how long the log has been held.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::MessageStore;

/// Looks before the first sleep: several times as long as an append takes.
const SPINS: u32 = 200;
/// Between two looks after that.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// The log takes nothing for too long already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// How long the caller has waited.
    pub waited: Duration,
    /// How long one thread has been appending.
    pub held: Duration,
    /// How many others wait.
    pub waiting: usize,
}

impl MessageStore {
    /// Returns when no other thread has been appending for long.
    ///
    /// # Errors
    ///
    /// When one has for `limit`. If it has already, nothing is waited for.
    #[inline]
    pub fn await_turn(&self, limit: Duration) -> Result<(), Stuck> {
        if !self.log.is_locked() { Ok(()) } else { self.await_other(limit) }
    }

    #[cold]
    fn await_other(&self, limit: Duration) -> Result<(), Stuck> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if !self.log.is_locked() {
                return Ok(());
            }
        }
        let began = Instant::now();
        let place = Place::take(&self.waiting);
        while self.log.is_locked() {
            let held_ms = self.log.locked_for_ms(self.clock.now_ms()).unsigned_abs();
            let held = Duration::from_millis(held_ms);
            if held >= limit {
                let waited = began.elapsed();
                return Err(Stuck { waited, held, waiting: place.others() });
            }
            // One after the other has its turn: the lock itself is where to wait then.
            if began.elapsed() > limit {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// One of those that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }

    fn others(&self) -> usize {
        self.0.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
