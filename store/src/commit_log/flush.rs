//! Making the log durable, and telling those who wait for it.
//!
//! Durability is a watermark: everything before [`CommitLog::flushed`] is on disk. At most one
//! flush runs at a time; whoever waits for a position at or below the new watermark is told at
//! once. A failed flush is final: what the disk holds is unknown then, so the store stops. What is only
//! in memory is written first; that this fails is not final, see [`super::unwritten`], but whoever
//! waits is refused.
//!
//! The flusher's thread flushes for everybody, one flush after the other while somebody waits. Who
//! is alone does it better without: two threads have not to wake each other then.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use oxmq_protocol::live::Live;
use tracing::error;

use super::CommitLog;
use crate::config::{FlushDiskType, StoreConfig};
use crate::error::IoContext;
use crate::limits::QUICK_FLUSH;
use crate::status::PutMessageStatus;
use crate::sync::{lock, try_lock};
use crate::worker::Signal;

const PAGE_BYTES: i64 = 4096;

/// How often a flusher with impatient waiters looks for those that are over their time.
const TIMEOUT_INTERVAL: Duration = Duration::from_millis(100);

/// When the log is flushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy {
    /// Whether senders wait for the disk.
    pub(crate) sync: bool,
    interval: Duration,
    thorough_interval: Duration,
    least_pages: i64,
}

impl FlushPolicy {
    pub(crate) fn of(config: &StoreConfig) -> Self {
        Self {
            sync: config.flush_disk_type == FlushDiskType::SyncFlush,
            interval: Duration::from_millis(config.flush_interval_commit_log.max(1)),
            thorough_interval: Duration::from_millis(config.flush_commit_log_thorough_interval),
            least_pages: i64::try_from(config.flush_commit_log_least_pages).unwrap_or(i64::MAX),
        }
    }
}

/// Called with the outcome for a log position.
type Callback = Box<dyn FnOnce(PutMessageStatus) + Send>;

struct Waiter {
    position: i64,
    deadline: Instant,
    callback: Callback,
}

/// State of the flusher.
#[derive(Default)]
pub(super) struct Flush {
    signal: Arc<Signal>,
    /// Everything before this position is on disk.
    flushed: AtomicI64,
    /// Store time of the newest record that is known to be on disk.
    flushed_timestamp_ms: AtomicI64,
    /// Held while a flush runs.
    running: Mutex<()>,
    /// Flushes that have been done.
    count: AtomicU64,
    /// How long one usually takes, in nanoseconds; zero before the first.
    usual_ns: AtomicU64,
    waiters: Mutex<Vec<Waiter>>,
    /// The flusher sleeps for long: a waiter has to wake it.
    asleep: AtomicBool,
    /// Nothing is flushed any more: a waiter has to look for itself.
    has_ended: AtomicBool,
    /// Somebody wants what is before this position flushed, and does not wait for it.
    wanted: AtomicI64,
    after: OnceLock<AfterFlush>,
    failure: OnceLock<String>,
}

/// What is done after each flush, by the thread that flushed.
type AfterFlush = Box<dyn Fn(&CommitLog) + Send + Sync>;

impl CommitLog {
    /// Everything before this position is on disk.
    pub(crate) fn flushed(&self) -> i64 {
        self.flush.flushed.load(Ordering::Acquire)
    }

    /// How many flushes there have been.
    pub(super) fn flush_count(&self) -> u64 {
        self.flush.count.load(Ordering::Relaxed)
    }

    /// Store time of the newest record that is known to be on disk.
    pub(crate) fn flushed_timestamp_ms(&self) -> i64 {
        self.flush.flushed_timestamp_ms.load(Ordering::Relaxed)
    }

    /// Why the log takes nothing any more, if a flush failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.flush.failure.get().map(String::as_str)
    }

    /// The signal of the flusher's thread.
    pub(crate) fn flush_signal(&self) -> &Arc<Signal> {
        &self.flush.signal
    }

    /// Calls `callback` once everything before `position` is on disk, or when it will not be in time.
    pub(crate) fn when_flushed(&self, position: i64, timeout: Duration, callback: Callback) {
        if self.flushed() >= position {
            return callback(PutMessageStatus::PutOk);
        }
        if self.failure().is_some() {
            return callback(PutMessageStatus::ServiceNotAvailable);
        }
        let deadline = Instant::now() + timeout;
        self.lock_waiters().push(Waiter { position, deadline, callback });
        if self.flush.asleep.swap(false, Ordering::AcqRel) {
            self.flush.signal.wake();
        }
        if self.flush.has_ended.load(Ordering::SeqCst) {
            self.release_rest();
        }
    }

    /// Answers those who wait, and whoever will, as nothing is flushed any more.
    pub(crate) fn release_rest(&self) {
        self.flush.has_ended.store(true, Ordering::SeqCst);
        self.release_waiters();
        self.release_all(PutMessageStatus::ServiceNotAvailable);
    }

    /// Has everything that is in the log now flushed, without waiting for it.
    pub(crate) fn flush_soon(&self) {
        self.flush.wanted.fetch_max(self.max_offset(), Ordering::AcqRel);
        if self.flush.asleep.swap(false, Ordering::AcqRel) {
            self.flush.signal.wake();
        }
    }

    /// Has `job` done after each flush. Only the first one is taken.
    pub(crate) fn after_flush(&self, job: AfterFlush) {
        drop(self.flush.after.set(job));
    }

    /// Makes durable everything that is in the log now.
    pub(crate) fn flush_all(&self) -> io::Result<()> {
        self.flush_to(|end| end)
    }

    /// Makes durable the pages that are full.
    ///
    /// Flushing write-protects a page; on the one that is being filled, the next append would fault
    /// and might wait for the file system's journal.
    fn flush_full_pages(&self) -> io::Result<()> {
        self.flush_to(|end| end - end % PAGE_BYTES)
    }

    /// Makes durable everything that is in the log now, on the caller's thread: whether it did. It
    /// does not when somebody else is at it or waits for it, or when it would take long.
    pub(crate) fn flush_if_quick(&self) -> bool {
        let usually = Duration::from_nanos(self.flush.usual_ns.load(Ordering::Relaxed));
        if usually > QUICK_FLUSH || !self.lock_waiters().is_empty() {
            return false;
        }
        try_lock(&self.flush.running)
            .is_some_and(|running| self.flush_now(running, |end| end).is_ok())
    }

    fn flush_to(&self, limit: impl FnOnce(i64) -> i64) -> io::Result<()> {
        let running = lock(&self.flush.running);
        self.flush_now(running, limit)
    }

    fn flush_now(
        &self,
        running: MutexGuard<'_, ()>,
        limit: impl FnOnce(i64) -> i64,
    ) -> io::Result<()> {
        if let Some(failure) = self.failure() {
            return Err(io::Error::other(failure.to_owned()));
        }
        let begin = Instant::now();
        let (end, timestamp_ms) = self.write_out()?;
        let (from, to) = (self.flushed(), limit(end));
        for file in self.files().iter().filter(|file| file.end() > from && file.start() < to) {
            let begin = (from.max(file.start()) - file.start()) as usize;
            let end = (to.min(file.end()) - file.start()) as usize;
            let flushed = file.flush(&self.fs, begin, end);
            flushed.at(file.path()).inspect_err(|error| self.fail(error))?;
        }
        self.note_duration(begin.elapsed());
        self.flush.count.fetch_add(1, Ordering::Relaxed);
        self.flush.flushed.fetch_max(to, Ordering::AcqRel);
        if to == end {
            self.flush.flushed_timestamp_ms.fetch_max(timestamp_ms, Ordering::Relaxed);
        }
        drop(running);
        if let Some(job) = self.flush.after.get() {
            job(self);
        }
        Ok(())
    }

    /// Has the store take nothing any more. To be called by whoever runs a flush: at most once.
    fn fail(&self, error: &io::Error) {
        error!(%error, "commit log flush failed: the store stops");
        drop(self.flush.failure.set(error.to_string()));
    }

    /// Moves the usual time towards `took`. One that was interrupted counts as twice the usual.
    fn note_duration(&self, took: Duration) {
        let took = took.as_nanos() as u64;
        let usual = match self.flush.usual_ns.load(Ordering::Relaxed) {
            0 => took,
            usual => usual - usual / 8 + took.min(usual * 2) / 8,
        };
        self.flush.usual_ns.store(usual.max(1), Ordering::Relaxed);
    }

    /// Runs the flusher until `signal` says stop.
    pub(crate) fn run_flush(&self, signal: &Signal, config: &Live<StoreConfig>, sync: bool) {
        let mut last_thorough = Instant::now();
        loop {
            let policy = &FlushPolicy { sync, ..FlushPolicy::of(config) };
            let waited_for = !self.lock_waiters().is_empty();
            let pages = self.max_offset() / PAGE_BYTES - self.flushed() / PAGE_BYTES;
            let thorough = policy.sync || last_thorough.elapsed() >= policy.thorough_interval;
            if waited_for || pages >= policy.least_pages || thorough {
                let everything = waited_for || thorough || policy.least_pages == 0;
                if self.max_offset() > self.flushed() {
                    // A failure is kept, logged, and told to every waiter below.
                    drop(if everything { self.flush_all() } else { self.flush_full_pages() });
                }
                if everything {
                    last_thorough = Instant::now();
                }
            }
            self.release_waiters();
            if !self.sleep(signal, policy) {
                return self.release_all(PutMessageStatus::ServiceNotAvailable);
            }
        }
    }

    /// Waits for work. Returns false when the flusher is to end.
    fn sleep(&self, signal: &Signal, policy: &FlushPolicy) -> bool {
        self.flush.asleep.store(true, Ordering::Release);
        let earliest = {
            let waiters = self.lock_waiters();
            let unflushed = waiters.iter().any(|waiter| waiter.position <= self.max_offset());
            let wanted = self.flush.wanted.load(Ordering::Acquire) > self.flushed();
            if (unflushed || wanted) && !self.cannot_flush() {
                self.flush.asleep.store(false, Ordering::Release);
                return !signal.is_stopped();
            }
            (!waiters.is_empty()).then_some(TIMEOUT_INTERVAL)
        };
        signal.wait(earliest.unwrap_or(policy.interval).min(policy.interval))
    }

    fn release_waiters(&self) {
        let flushed = self.flushed();
        let failed = self.cannot_flush();
        let now = Instant::now();
        let ready: Vec<(Waiter, PutMessageStatus)> = self
            .lock_waiters()
            .extract_if(.., |waiter| failed || waiter.position <= flushed || waiter.deadline <= now)
            .map(|waiter| {
                let status = if waiter.position <= flushed {
                    PutMessageStatus::PutOk
                } else if failed {
                    PutMessageStatus::ServiceNotAvailable
                } else {
                    PutMessageStatus::FlushDiskTimeout
                };
                (waiter, status)
            })
            .collect();
        for (waiter, status) in ready {
            (waiter.callback)(status);
        }
    }

    /// Whether the last flush failed, for good or before anything was flushed.
    fn cannot_flush(&self) -> bool {
        self.failure().is_some() || self.write_out.has_failed()
    }

    fn release_all(&self, status: PutMessageStatus) {
        let waiters = std::mem::take(&mut *self.lock_waiters());
        for waiter in waiters {
            (waiter.callback)(status);
        }
    }

    fn lock_waiters(&self) -> std::sync::MutexGuard<'_, Vec<Waiter>> {
        lock(&self.flush.waiters)
    }

    pub(super) fn set_flushed(&self, position: i64, timestamp_ms: i64) {
        self.flush.flushed.store(position, Ordering::Release);
        self.flush.flushed_timestamp_ms.store(timestamp_ms, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush").field("flushed", &self.flushed).finish_non_exhaustive()
    }
}
