//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// A longer wait is printed, to be seen with `--nocapture`.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// Calls `probe` until it answers `Some`, at most for `limit`.
///
/// # Panics
/// When the deadline passes; the message names `what`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    match try_until(limit, &mut probe) {
        Some(value) => {
            if began.elapsed() > WORTH_TELLING {
                println!("waited {:.1?} for: {what}", began.elapsed());
            }
            value
        }
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
