//! One clock for all threads of a run, and the part of the run that counts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the clock was made.
pub(super) type Nanos = u64;

/// Monotonic time in nanoseconds, comparable between threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(super) fn now(&self) -> Nanos {
        self.origin.elapsed().as_nanos() as Nanos
    }

    /// Sleeps until `at`; returns at once when it has passed.
    pub(super) fn sleep_until(&self, at: Nanos) {
        let now = self.now();
        if at > now {
            std::thread::sleep(Duration::from_nanos(at - now));
        }
    }
}

/// Wall clock, ms since 1970, as messages carry it.
pub(super) fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The part of a run that counts: after the warm-up, before the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When the first request leaves.
    pub(super) start: Nanos,
    /// When counting starts.
    pub(super) warm: Nanos,
    /// When nothing new is sent any more.
    pub(super) end: Nanos,
    /// When answers are waited for no longer.
    pub(super) give_up: Nanos,
}

/// How long answers are waited for after the last request.
const GRACE: Duration = Duration::from_secs(10);

impl Window {
    pub(super) fn new(start: Nanos, warmup: Duration, length: Duration) -> Self {
        let warm = start + warmup.as_nanos() as Nanos;
        let end = warm + length.as_nanos() as Nanos;
        Self { start, warm, end, give_up: end + GRACE.as_nanos() as Nanos }
    }

    /// Length of the part that counts.
    pub(super) fn seconds(&self) -> f64 {
        (self.end - self.warm) as f64 / 1e9
    }

    pub(super) fn counts(&self, at: Nanos) -> bool {
        (self.warm..self.end).contains(&at)
    }
}
