//! What went through the broker: totals, and rates over the last seconds and minutes.
//!
//! Reference: `StoreStatsService` (store), `BrokerStats` (broker), 5.5.0.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oxmq_store::AppendTotals;

use crate::put_latency::{PutLatency, PutPercentiles};
use crate::sync::lock;
use crate::timer::TimerFlow;
use crate::traffic::Flow;

/// Rates are over at most ten minutes, from one sample a second.
const SAMPLES: usize = 601;
/// Spans that rates are told for, in seconds.
const RATE_SPANS: [usize; 3] = [10, 60, 600];
/// Upper ends of the spans that puts are sorted into by their time, ms, and the reference's names.
const PUT_TIMES: [(u128, &str); 13] = [
    (1, "<=0ms"),
    (10, "0~10ms"),
    (50, "10~50ms"),
    (100, "50~100ms"),
    (200, "100~200ms"),
    (500, "200~500ms"),
    (1_000, "500ms~1s"),
    (2_000, "1~2s"),
    (3_000, "2~3s"),
    (4_000, "3~4s"),
    (5_000, "4~5s"),
    (10_000, "5~10s"),
    (u128::MAX, "10s~"),
];
/// Samples of a minute.
const SAMPLES_PER_MINUTE: u64 = 60;
const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages stored.
    pub(crate) put_messages: u64,
    /// Bytes of their records.
    pub(crate) put_bytes: u64,
    /// Messages that the store did not take.
    pub(crate) put_failures: u64,
    /// Pulls that found messages.
    pub(crate) found_pulls: u64,
    /// Pulls that did not.
    pub(crate) missed_pulls: u64,
    /// Messages given to consumers.
    pub(crate) got_messages: u64,
    /// Messages of the timer.
    pub(crate) timers: TimerFlow,
    /// What is in the log: what the broker stores for itself as well.
    pub(crate) appended: AppendTotals,
}

/// Counts what goes through the broker. Counting is one addition.
#[derive(Debug)]
pub(crate) struct BrokerStats {
    put_messages: AtomicU64,
    put_bytes: AtomicU64,
    put_failures: AtomicU64,
    found_pulls: AtomicU64,
    missed_pulls: AtomicU64,
    got_messages: AtomicU64,
    put_times: [AtomicU64; PUT_TIMES.len()],
    put_latency: PutLatency,
    longest_put_ms: AtomicU64,
    longest_get_ms: AtomicU64,
    history: Mutex<History>,
    /// When counting began, ms since 1970.
    pub(crate) boot_timestamp_ms: i64,
}

#[derive(Debug)]
struct History {
    /// Newest last.
    samples: VecDeque<(Instant, Totals)>,
    /// Samples that were ever taken.
    taken: u64,
    /// Days since 1970, of the last sample.
    day: i64,
    /// Totals when this day and the one before began.
    this_morning: Totals,
    yesterday_morning: Totals,
}

impl BrokerStats {
    pub(crate) fn new(now_ms: i64) -> Self {
        let history = History {
            samples: VecDeque::new(),
            taken: 0,
            day: now_ms.div_euclid(MS_PER_DAY),
            this_morning: Totals::default(),
            yesterday_morning: Totals::default(),
        };
        Self {
            put_messages: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            put_failures: AtomicU64::new(0),
            found_pulls: AtomicU64::new(0),
            missed_pulls: AtomicU64::new(0),
            got_messages: AtomicU64::new(0),
            put_times: Default::default(),
            put_latency: PutLatency::default(),
            longest_put_ms: AtomicU64::new(0),
            longest_get_ms: AtomicU64::new(0),
            history: Mutex::new(history),
            boot_timestamp_ms: now_ms,
        }
    }

    /// Counts messages that were stored, each time in `took`.
    pub(crate) fn put(&self, stored: Flow, took: Duration) {
        self.note_times(stored.times, took);
        self.put_messages.fetch_add(stored.messages, Ordering::Relaxed);
        self.put_bytes.fetch_add(stored.bytes, Ordering::Relaxed);
    }

    /// Counts how long it took to store what does not count as sent yet.
    pub(crate) fn put_aside(&self, took: Duration) {
        self.note_times(1, took);
    }

    fn note_times(&self, times: u64, took: Duration) {
        let ms = took.as_millis();
        let span = PUT_TIMES.iter().position(|&(end, _)| ms < end).unwrap_or(PUT_TIMES.len() - 1);
        self.put_times[span].fetch_add(times, Ordering::Relaxed);
        longest(&self.longest_put_ms, ms);
        self.put_latency.note(times, took);
    }

    /// Counts a message that was not.
    pub(crate) fn put_failed(&self) {
        self.put_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a pull that found this many messages, in `took`.
    pub(crate) fn got(&self, messages: u64, took: Duration) {
        longest(&self.longest_get_ms, took.as_millis());
        if messages == 0 {
            self.missed_pulls.fetch_add(1, Ordering::Relaxed);
        } else {
            self.found_pulls.fetch_add(1, Ordering::Relaxed);
            self.got_messages.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// Totals since the broker started, without those of the timer and of the log.
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            put_messages: self.put_messages.load(Ordering::Relaxed),
            put_bytes: self.put_bytes.load(Ordering::Relaxed),
            put_failures: self.put_failures.load(Ordering::Relaxed),
            found_pulls: self.found_pulls.load(Ordering::Relaxed),
            missed_pulls: self.missed_pulls.load(Ordering::Relaxed),
            got_messages: self.got_messages.load(Ordering::Relaxed),
            timers: TimerFlow::default(),
            appended: AppendTotals::default(),
        }
    }

    /// Longest put and longest pull, ms.
    pub(crate) fn longest_ms(&self) -> (u64, u64) {
        let load = |longest: &AtomicU64| longest.load(Ordering::Relaxed);
        (load(&self.longest_put_ms), load(&self.longest_get_ms))
    }

    /// How long puts took in the last minute.
    pub(crate) fn put_percentiles(&self) -> PutPercentiles {
        self.put_latency.last_minute()
    }

    /// How many puts took how long, as the tools read it.
    pub(crate) fn put_times(&self) -> String {
        let spans = PUT_TIMES.iter().zip(&self.put_times);
        let spans: Vec<_> = spans
            .map(|((_, name), count)| format!("[{name}]:{}", count.load(Ordering::Relaxed)))
            .collect();
        spans.join(" ")
    }

    /// Totals when the day before and this day began, in universal time.
    pub(crate) fn mornings(&self) -> (Totals, Totals) {
        let history = lock(&self.history);
        (history.yesterday_morning, history.this_morning)
    }

    /// Takes the sample that is due once a second.
    pub(crate) fn sample(
        &self,
        now: Instant,
        now_ms: i64,
        timers: TimerFlow,
        appended: AppendTotals,
    ) {
        let totals = Totals { timers, appended, ..self.totals() };
        let mut history = lock(&self.history);
        history.taken += 1;
        if history.taken.is_multiple_of(SAMPLES_PER_MINUTE) {
            self.put_latency.end_minute();
        }
        if history.samples.len() == SAMPLES {
            history.samples.pop_front();
        }
        history.samples.push_back((now, totals));
        let day = now_ms.div_euclid(MS_PER_DAY);
        if day > history.day {
            history.day = day;
            history.yesterday_morning = history.this_morning;
            history.this_morning = totals;
        }
    }

    /// Rates per second over 10, 60 and 600 seconds, separated by blanks, as the tools read them. A
    /// span with too few samples has no figure.
    pub(crate) fn rates(&self, count: impl Fn(&Totals) -> u64) -> String {
        let rate = |span| self.rate(span, &count).map(|rate| format!("{rate:?}"));
        RATE_SPANS.map(|span| rate(span).unwrap_or_default()).join(" ")
    }

    /// [`Self::rates`], but 0 for a span with too few samples, as the reference writes sums of rates.
    pub(crate) fn rates_or_0(&self, count: impl Fn(&Totals) -> u64) -> String {
        let rate = |span| self.rate(span, &count).unwrap_or_default();
        RATE_SPANS.map(|span| format!("{:?}", rate(span))).join(" ")
    }

    /// The rate per second over the last `span` seconds; `None` with too few samples.
    pub(crate) fn rate(&self, span: usize, count: impl Fn(&Totals) -> u64) -> Option<f64> {
        let history = lock(&self.history);
        let newest = history.samples.len().checked_sub(1)?;
        let (begin, before) = history.samples.get(newest.checked_sub(span)?)?;
        let (end, after) = &history.samples[newest];
        let seconds = end.saturating_duration_since(*begin).as_secs_f64();
        let grown = count(after).saturating_sub(count(before)) as f64;
        (seconds > 0.0).then(|| grown / seconds)
    }
}

/// Most calls just look, as the longest time seldom grows.
fn longest(longest: &AtomicU64, ms: u128) {
    let ms = u64::try_from(ms).unwrap_or(u64::MAX);
    if ms > longest.load(Ordering::Relaxed) {
        longest.fetch_max(ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_samples_of_the_whole_span() {
        let stats = BrokerStats::new(0);
        let start = Instant::now();
        for second in 0..=60 {
            stats.put(Flow::once(second, 1), Duration::ZERO);
            stats.sample(
                start + Duration::from_secs(second),
                0,
                TimerFlow::default(),
                AppendTotals::default(),
            );
            let rates = stats.rates(|totals| totals.put_messages);
            match second {
                0..10 => assert_eq!(rates, "  "),
                10 => {
                    assert_eq!(rates, "5.5  ");
                    assert_eq!(stats.rates_or_0(|totals| totals.put_messages), "5.5 0.0 0.0");
                }
                60 => assert_eq!(rates, "55.5 30.5 "),
                _ => {}
            }
        }
    }

    #[test]
    fn mornings_move_when_a_day_begins() {
        let stats = BrokerStats::new(5);
        let now = Instant::now();
        stats.got(2, Duration::ZERO);
        stats.sample(now, MS_PER_DAY - 1, TimerFlow::default(), AppendTotals::default());
        assert_eq!(stats.mornings().1.got_messages, 0);
        stats.sample(now, MS_PER_DAY, TimerFlow::default(), AppendTotals::default());
        stats.got(3, Duration::ZERO);
        stats.got(0, Duration::ZERO);
        stats.sample(now, MS_PER_DAY * 2, TimerFlow::default(), AppendTotals::default());
        let (yesterday, today) = stats.mornings();
        assert_eq!((yesterday.got_messages, today.got_messages), (2, 5));
        assert_eq!((today.found_pulls, today.missed_pulls), (2, 1));
    }

    #[test]
    fn puts_are_sorted_by_their_time() {
        let stats = BrokerStats::new(0);
        for ms in [0, 0, 9, 10, 12_345] {
            stats.put(Flow::once(1, 1), Duration::from_millis(ms));
        }
        assert_eq!(
            stats.put_times(),
            "[<=0ms]:2 [0~10ms]:1 [10~50ms]:1 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 \
             [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:1"
        );
        assert_eq!(stats.longest_ms(), (12_345, 0));
    }

    #[test]
    fn history_is_bounded() {
        let stats = BrokerStats::new(0);
        for _ in 0..SAMPLES * 2 {
            stats.sample(Instant::now(), 0, TimerFlow::default(), AppendTotals::default());
        }
        assert_eq!(lock(&stats.history).samples.len(), SAMPLES);
    }
}
