//! How many requests of each code there were, and how many bytes they and their answers took.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use oxmq_protocol::code::RequestCode;
use tracing::info;

use crate::limits::{LOG_REQUESTS_EVERY, MAX_LOGGED_CODES};

/// Copies of the counters: a thread counts in one of them, so that few threads share any.
const SHARDS: usize = 8;
/// Codes are below the first number, or less than the second above [`HIGH_CODES`].
const LOW: usize = 1024;
const HIGH: usize = 256;
/// Where the codes of POP begin.
const HIGH_CODES: i32 = 200_000;
/// Where all other codes are counted.
const OTHER: usize = LOW + HIGH;

/// Counts requests by code. Counting is some additions to memory that hardly any other thread touches.
#[derive(Default)]
pub struct RequestCounters {
    shards: [OnceLock<Box<[Counters]>>; SHARDS],
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What was counted for one code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCount {
    /// Requests, also those that were refused.
    pub requests: u64,
    /// Bytes of their frames.
    pub bytes_in: u64,
    /// Bytes of the frames that answered them.
    pub bytes_out: u64,
}

/// A code, `None` for all that are none, and its requests.
type Entry = (Option<RequestCode>, RequestCount);

impl RequestCounters {
    /// Counts a request that came in.
    #[inline]
    pub(crate) fn request(&self, code: RequestCode, bytes: usize) {
        let counters = self.of(code);
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts the answer to a request of `code`.
    #[inline]
    pub(crate) fn answer(&self, code: RequestCode, bytes: usize) {
        self.of(code).bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn of(&self, code: RequestCode) -> &Counters {
        let counters =
            self.shards[shard()].get_or_init(|| (0..=OTHER).map(|_| Counters::default()).collect());
        &counters[index(code)]
    }

    /// What was counted for each code that was asked for; `None` stands for all codes that are none.
    pub fn totals(&self) -> Vec<Entry> {
        let total = |index: usize| {
            let mut total = RequestCount::default();
            for counters in self.shards.iter().filter_map(OnceLock::get) {
                let counters = &counters[index];
                total.requests += counters.requests.load(Ordering::Relaxed);
                total.bytes_in += counters.bytes_in.load(Ordering::Relaxed);
                total.bytes_out += counters.bytes_out.load(Ordering::Relaxed);
            }
            total
        };
        let codes = (0..=OTHER).map(|index| (code(index), total(index)));
        codes.filter(|(_, count)| count.requests > 0).collect()
    }

    /// Logs every minute what requests there were in it, for as long as it is polled.
    pub async fn log(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOG_REQUESTS_EVERY);
        let mut before = Vec::new();
        loop {
            ticks.tick().await;
            let now = self.totals();
            let line = Line::since(&before, &now);
            if !line.0.is_empty() {
                info!(requests = %line, "requests of the last minute");
            }
            before = now;
        }
    }
}

/// The requests of a time, as a log line has them.
struct Line(Vec<Entry>);

impl Line {
    /// What came on top of `earlier`, the most frequent codes first.
    fn since(earlier: &[Entry], now: &[Entry]) -> Self {
        let before = |code: &Option<RequestCode>| {
            earlier.iter().find(|(of, _)| of == code).map_or_else(Default::default, |found| found.1)
        };
        let mut codes: Vec<_> =
            now.iter().map(|(code, count)| (*code, count.since(before(code)))).collect();
        codes.retain(|(_, count)| count.requests > 0);
        codes.sort_by_key(|(_, count)| std::cmp::Reverse(count.requests));
        Self(codes)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (code, count)) in self.0.iter().take(MAX_LOGGED_CODES).enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let name = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            let RequestCount { requests, bytes_in, bytes_out } = count;
            write!(f, "{comma}{name} {requests} ({bytes_in} bytes in, {bytes_out} out)")?;
        }
        match self.0.len().saturating_sub(MAX_LOGGED_CODES) {
            0 => Ok(()),
            more => write!(f, " and {more} codes more"),
        }
    }
}

impl fmt::Debug for RequestCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.totals()).finish()
    }
}

impl RequestCount {
    /// What came on top of an earlier count.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
        }
    }
}

fn index(code: RequestCode) -> usize {
    let low = usize::try_from(code.0).ok().filter(|code| *code < LOW);
    let high = || usize::try_from(code.0.checked_sub(HIGH_CODES)?).ok().filter(|code| *code < HIGH);
    low.or_else(|| Some(LOW + high()?)).unwrap_or(OTHER)
}

fn code(index: usize) -> Option<RequestCode> {
    match index {
        OTHER => None,
        LOW.. => Some(RequestCode(HIGH_CODES + (index - LOW) as i32)),
        low => Some(RequestCode(low as i32)),
    }
}

/// The shard of this thread.
#[inline]
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
    }
    SHARD.get().unwrap_or_else(|| {
        let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        SHARD.set(Some(shard));
        shard
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_counters_of_its_own_and_strangers_share_one() {
        for code in [0, 310, 1023, HIGH_CODES, 200_050, HIGH_CODES + 255] {
            assert_eq!(super::code(index(RequestCode(code))), Some(RequestCode(code)));
        }
        for code in [-1, 1024, HIGH_CODES - 1, HIGH_CODES + 256, i32::MIN, i32::MAX] {
            assert_eq!(index(RequestCode(code)), OTHER);
        }
        for (code, _) in RequestCode::ALL.iter().filter(|(code, _)| *code < 1000) {
            assert_ne!(index(RequestCode(*code)), OTHER);
        }
    }

    #[test]
    fn threads_count_together() {
        let counters = RequestCounters::default();
        std::thread::scope(|scope| {
            for _ in 0..SHARDS + 1 {
                scope.spawn(|| {
                    counters.request(RequestCode::SEND_MESSAGE_V2, 100);
                    counters.answer(RequestCode::SEND_MESSAGE_V2, 10);
                    counters.request(RequestCode(-1), 1);
                });
            }
        });
        let times = SHARDS as u64 + 1;
        let sends = RequestCount { requests: times, bytes_in: 100 * times, bytes_out: 10 * times };
        let others = RequestCount { requests: times, bytes_in: times, bytes_out: 0 };
        assert_eq!(
            counters.totals(),
            [(Some(RequestCode::SEND_MESSAGE_V2), sends), (None, others)]
        );
        let line = |before: &[Entry]| Line::since(before, &counters.totals()).to_string();
        assert_eq!(
            line(&[(Some(RequestCode::SEND_MESSAGE_V2), RequestCount { requests: 8, ..sends })]),
            "unknown 9 (9 bytes in, 0 out), SEND_MESSAGE_V2(310) 1 (0 bytes in, 0 out)"
        );
        assert_eq!(line(&counters.totals()), "");
    }
}
