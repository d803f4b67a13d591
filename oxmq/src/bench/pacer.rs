//! Sends at a fixed rate, whatever the broker does.
//!
//! A late send does not move those behind it: message `n` is due `n` intervals after the start, and
//! latencies count from there, so that a stall of the broker shows in every message that it delayed.

use std::io::Write;
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use rustix::thread::set_current_timer_slack;

use super::clock::{Clock, Nanos, Window, wall_clock_ms};
use super::error::{BenchError, io};
use super::payload::MAX_SEQUENCE;
use super::tally;
use super::template::SendTemplates;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// A sleeping thread wakes some 20 us late. That is the generator's own time, not the broker's, so
/// the last stretch before a message is due is spent awake, as long as this costs a core only
/// a few percent.
const AWAKE: Nanos = 50_000;
const SHORTEST_INTERVAL_TO_STAY_AWAKE: Nanos = 500_000;

/// When each message of a run is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) start: Nanos,
    /// Messages a second.
    pub(super) rate: u64,
}

impl Schedule {
    pub(super) fn due(&self, number: u64) -> Nanos {
        self.start + (u128::from(number) * NANOS_PER_SECOND / u128::from(self.rate)) as Nanos
    }
}

/// What the pacer has done so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sent: AtomicU64,
    refused: AtomicU64,
    finished: AtomicBool,
}

impl Progress {
    /// Messages sent, once no more will be.
    pub(super) fn total(&self) -> Option<u64> {
        self.finished.load(Ordering::Acquire).then(|| self.sent.load(Ordering::Acquire))
    }

    /// Counts an answer other than success.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::AcqRel);
    }

    /// Answers other than success so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Messages sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }
}

/// Says that no more will be sent, also when the pacer fails.
struct Finish<'a>(&'a Progress);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Release);
    }
}

/// Sends message `n` on connection `n` modulo their number until the window ends; returns how late
/// each left that counts.
pub(super) fn run(
    mut streams: Vec<TcpStream>,
    templates: &SendTemplates,
    schedule: Schedule,
    clock: Clock,
    window: Window,
    progress: &Progress,
) -> Result<Histogram<u64>, BenchError> {
    let _finish = Finish(progress);
    // The kernel may round sleeps up by 50 us unless told otherwise.
    set_current_timer_slack(NonZeroU64::new(1)).map_err(|e| io("set timer slack")(e.into()))?;
    let mut lateness = tally::histogram()?;
    let mut outs: Vec<Vec<u8>> = streams.iter().map(|_| Vec::new()).collect();
    let connections = streams.len() as u64;
    let mut number: u64 = 0;
    while schedule.due(number) < window.end && number / connections < u64::from(MAX_SEQUENCE) {
        wait_for(schedule, number, clock);
        let (now, born_ms) = (clock.now(), wall_clock_ms());
        // Everything that is due by now leaves in one write for each connection.
        while schedule.due(number) <= now && schedule.due(number) < window.end {
            let due = schedule.due(number);
            if window.counts(due) {
                lateness.saturating_record(now - due);
            }
            let (connection, sequence) = (number % connections, number / connections);
            let out = &mut outs[connection as usize];
            let queue = templates.queue(number);
            templates.append(out, connection as u32, sequence as u32, queue, born_ms);
            number += 1;
        }
        for (stream, out) in streams.iter_mut().zip(&mut outs) {
            if !out.is_empty() {
                stream.write_all(out).map_err(io("write to broker"))?;
                out.clear();
            }
        }
        progress.sent.store(number, Ordering::Release);
    }
    Ok(lateness)
}

/// Returns when message `number` is due, or at once when it is late.
fn wait_for(schedule: Schedule, number: u64, clock: Clock) {
    let due = schedule.due(number);
    if schedule.due(1) - schedule.due(0) < SHORTEST_INTERVAL_TO_STAY_AWAKE {
        return clock.sleep_until(due);
    }
    clock.sleep_until(due.saturating_sub(AWAKE));
    while clock.now() < due {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_even_intervals_without_drift() {
        let schedule = Schedule { start: 5, rate: 3 };
        let due: Vec<_> = (0..4).map(|number| schedule.due(number)).collect();
        assert_eq!(due, [5, 333_333_338, 666_666_671, 1_000_000_005]);
        assert_eq!(schedule.due(3_000_000_000), 1_000_000_000_000_000_005);
    }
}
