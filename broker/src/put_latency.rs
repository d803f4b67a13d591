//! How long puts take: the times that 99 % and 99.9 % of those of the last minute stayed below.
//!
//! Times are sorted into spans that grow with them, so that few counters tell any of them apart by a
//! sixteenth of itself.
//!
//! Reference: `StoreStatsService.findPutMessageEntireTimePX` (store), 5.5.0.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::lock;

/// Each power of two microseconds is divided into that many spans, as a power of two.
const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;
/// Everything from half a minute on is in the last span.
const LONGEST_US: u64 = 1 << 25;
const SPANS: usize = span_of(LONGEST_US) + 1;

/// Percentiles of the last minute, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PutPercentiles {
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

/// Times of the puts of this minute, and what those of the one before come to.
#[derive(Debug)]
pub(crate) struct PutLatency {
    counts: [AtomicU64; SPANS],
    last_minute: Mutex<PutPercentiles>,
}

impl Default for PutLatency {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; SPANS], last_minute: Mutex::default() }
    }
}

impl PutLatency {
    /// Counts puts.
    pub(crate) fn note(&self, puts: u64, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[span_of(us)].fetch_add(puts, Ordering::Relaxed);
    }

    /// Ends a minute.
    pub(crate) fn end_minute(&self) {
        let counts: Vec<u64> =
            self.counts.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect();
        let below = |share| below_ms(&counts, share);
        *lock(&self.last_minute) = PutPercentiles { p99_ms: below(0.99), p999_ms: below(0.999) };
    }

    /// Those of the last whole minute; 0 in the first one, and after one without puts.
    pub(crate) fn last_minute(&self) -> PutPercentiles {
        *lock(&self.last_minute)
    }
}

/// The span that a time is sorted into: up to [`STEPS`], each microsecond is one.
const fn span_of(us: u64) -> usize {
    let us = if us > LONGEST_US { LONGEST_US } else { us };
    if us < STEPS {
        return us as usize;
    }
    let power = us.ilog2() - STEP_BITS;
    // The bits below the highest say which step of the power it is.
    (power as u64 * STEPS + (us >> power)) as usize
}

/// Where a span ends, in microseconds.
fn end_of(span: usize) -> u64 {
    let span = span as u64;
    if span < STEPS {
        return span + 1;
    }
    let power = span / STEPS - 1;
    ((span % STEPS + STEPS) + 1) << power
}

/// The time that this share of the puts stayed below, ms.
fn below_ms(counts: &[u64], share: f64) -> f64 {
    let wanted = counts.iter().sum::<u64>() as f64 * share;
    let mut passed = 0;
    for (span, count) in counts.iter().enumerate() {
        passed += count;
        if *count > 0 && passed as f64 >= wanted {
            return end_of(span) as f64 / 1_000.0;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_span_that_ends_behind_it() {
        for us in (0..100_000).chain([LONGEST_US - 1]) {
            let span = span_of(us);
            assert!(us < end_of(span), "{us}");
            assert!(span == 0 || us >= end_of(span - 1), "{us}");
            assert!(end_of(span) as f64 <= (us as f64 * 17.0 / 16.0) + 1.0, "{us}");
        }
        assert_eq!(span_of(u64::MAX), SPANS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_last_whole_minute() {
        let latency = PutLatency::default();
        for hundredth in 0..1_000 {
            let ms = if hundredth < 985 { 0 } else { 20 };
            latency.note(1, Duration::from_millis(ms));
        }
        latency.note(1, Duration::from_millis(400));
        assert_eq!(latency.last_minute(), PutPercentiles::default());
        latency.end_minute();
        let PutPercentiles { p99_ms, p999_ms } = latency.last_minute();
        assert!((20.0..21.3).contains(&p99_ms), "{p99_ms}");
        assert!((20.0..21.3).contains(&p999_ms), "{p999_ms}");
        latency.end_minute();
        assert_eq!(latency.last_minute(), PutPercentiles::default());
    }
}
