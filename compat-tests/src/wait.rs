//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// Calls `probe` until it answers `Some`, at most for `limit`.
///
/// # Panics
/// When the deadline passes; the message names `what`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    match try_until(limit, &mut probe) {
        Some(value) => value,
        None => panic!("still waiting after {limit:?} for: {what}"),
    }
}

/// Like [`until`], but answers `None` when the deadline passes.
pub fn try_until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL);
    }
}
