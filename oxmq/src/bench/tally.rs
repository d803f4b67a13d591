//! What is counted while a load runs, and the sample that is read back after it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::clock::{Nanos, Window};
use super::error::BenchError;

/// Longest latency told apart from longer ones.
const MAX_LATENCY_NS: u64 = 120_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// One answer in so many is a candidate for reading back.
const FIRST_STRIDE: u64 = 16;

/// Makes an empty histogram of nanoseconds.
pub(super) fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, SIGNIFICANT_DIGITS)
        .map_err(|error| BenchError::Usage(error.to_string()))
}

/// A stored message, or the first of a stored batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) queue: i32,
    pub(super) offset: i64,
    pub(super) identity: u64,
}

/// Counts of one thread.
#[derive(Debug)]
pub(super) struct Tally {
    window: Window,
    /// Nanoseconds of each success that counts.
    pub(super) latency: Histogram<u64>,
    /// Successes that count.
    pub(super) succeeded: u64,
    /// Answers other than success, by code, warm-up included.
    pub(super) refused: BTreeMap<i32, u64>,
    /// When the last success came that counts.
    pub(super) last_at: Nanos,
    /// Stored messages to read back.
    pub(super) samples: Vec<Sample>,
    max_samples: usize,
    stride: u64,
    seen: u64,
}

impl Tally {
    pub(super) fn new(window: Window, max_samples: usize) -> Result<Self, BenchError> {
        Ok(Self {
            window,
            latency: histogram()?,
            succeeded: 0,
            refused: BTreeMap::new(),
            last_at: 0,
            samples: Vec::new(),
            max_samples,
            stride: FIRST_STRIDE,
            seen: 0,
        })
    }

    /// Counts an answer with `code`, received `now` to what was due `since`. Both have to lie in
    /// the part of the run that counts; a refusal counts whenever it comes.
    pub(super) fn count(&mut self, code: i32, since: Nanos, now: Nanos) {
        if code != 0 {
            *self.refused.entry(code).or_default() += 1;
        } else if since >= self.window.warm && now < self.window.end {
            self.succeeded += 1;
            self.last_at = now;
            self.latency.saturating_record(now.saturating_sub(since));
        }
    }

    /// Counts an answer by when it was due alone: what comes late counts, however late.
    pub(super) fn count_due(&mut self, code: i32, due: Nanos, now: Nanos) {
        if code != 0 {
            *self.refused.entry(code).or_default() += 1;
        } else if self.window.counts(due) {
            self.succeeded += 1;
            self.last_at = now;
            self.latency.saturating_record(now.saturating_sub(due));
        }
    }

    /// Tells whether the success that came now should be kept by [`Self::keep`].
    pub(super) fn wants_sample(&mut self) -> bool {
        self.seen += 1;
        self.max_samples > 0 && self.seen.is_multiple_of(self.stride)
    }

    /// Keeps a sample, and every other of the earlier ones when there are too many: so they spread
    /// over the whole run, however long it is.
    pub(super) fn keep(&mut self, sample: Sample) {
        if self.samples.len() >= self.max_samples {
            let mut odd = false;
            self.samples.retain(|_| {
                odd = !odd;
                odd
            });
            self.stride *= 2;
        }
        self.samples.push(sample);
    }

    /// The counts of all threads.
    pub(super) fn sum(window: Window, tallies: Vec<Self>) -> Result<Self, BenchError> {
        let mut sum = Self::new(window, 0)?;
        tallies.into_iter().for_each(|tally| sum.merge(tally));
        Ok(sum)
    }

    /// Adds the counts of another thread.
    pub(super) fn merge(&mut self, other: Self) {
        // Both have the same bounds, so this cannot fail.
        let _ = self.latency.add(&other.latency);
        self.succeeded += other.succeeded;
        self.last_at = self.last_at.max(other.last_at);
        self.samples.extend(other.samples);
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tally(max_samples: usize) -> Tally {
        let window = Window::new(0, Duration::from_nanos(100), Duration::from_nanos(900));
        Tally::new(window, max_samples).unwrap()
    }

    #[test]
    fn refusals_and_what_is_outside_the_window_are_not_successes() {
        let mut tally = tally(0);
        tally.count(0, 50, 150);
        tally.count(0, 150, 250);
        tally.count(0, 950, 1050);
        tally.count(2, 150, 250);
        assert_eq!((tally.succeeded, tally.latency.len()), (1, 1));
        assert_eq!(tally.refused, BTreeMap::from([(2, 1)]));
        tally.count_due(0, 950, 10_000);
        assert_eq!((tally.succeeded, tally.last_at), (2, 10_000));
        assert!(tally.latency.max() >= 9_000);
    }

    #[test]
    fn samples_stay_few_and_spread_over_the_run() {
        let mut tally = tally(10);
        for offset in 0..10_000 {
            if tally.wants_sample() {
                tally.keep(Sample { queue: 0, offset, identity: 0 });
            }
        }
        let offsets: Vec<_> = tally.samples.iter().map(|sample| sample.offset).collect();
        assert!((5..=11).contains(&offsets.len()), "{offsets:?}");
        assert!(offsets[0] < 1_000 && offsets[offsets.len() - 1] > 8_000, "{offsets:?}");
    }
}
