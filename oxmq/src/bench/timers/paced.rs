//! One request after the other at a fixed rate.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::clock::{Clock, wall_clock_ms};
use crate::bench::error::BenchError;
use crate::bench::pacer::Schedule;
use crate::bench::tally;

/// Calls `send` from the wall clock's `start_ms` on; returns the time of each call, from when it was due.
pub(super) fn run(
    clock: Clock,
    start_ms: i64,
    length: Duration,
    rate: u64,
    mut send: impl FnMut(u64) -> Result<(), BenchError>,
) -> Result<Histogram<u64>, BenchError> {
    let lead_ms = (start_ms - wall_clock_ms()).max(0).unsigned_abs();
    let schedule = Schedule { start: clock.now() + lead_ms * 1_000_000, rate };
    let end = schedule.start + length.as_nanos() as u64;
    let mut times = tally::histogram()?;
    let mut number = 0;
    while schedule.due(number) < end {
        let due = schedule.due(number);
        clock.sleep_until(due);
        send(number)?;
        times.saturating_record(clock.now().saturating_sub(due));
        number += 1;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_is_due_is_made_once() {
        let mut calls = Vec::new();
        let call = |number| {
            calls.push(number);
            Ok(())
        };
        let times = run(Clock::new(), 0, Duration::from_millis(10), 1_000, call).unwrap();
        assert_eq!((calls, times.len()), ((0..10).collect(), 10));
    }
}
