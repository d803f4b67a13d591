//! Many pulls that wait: what they cost while nothing comes, whom a message wakes, and what it costs when
//! their time runs out, again and again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::header::{Header, pull_sys_flag};
use serde::Serialize;

use super::args::HeldArgs;
use super::clock::{Nanos, Window};
use super::control::pull_header;
use super::error::BenchError;
use super::lane::{Line, Traffic};
use super::meter::{self, Footprint, Meter, cpu_percent, footprint};
use super::payload::FIRST_OPAQUE;
use super::records::records;
use super::report::Latency;
use super::setup::{Setup, run_lanes};
use super::{tally, topics};

/// Longer than any run: what waits that long is woken by a message or not at all.
const LONG_SUSPEND_MS: i64 = 600_000;
const MAX_RUN: Duration = Duration::from_secs(600);
/// A message wakes its pulls within this time, or the run ends.
const WAKE_LIMIT: Duration = Duration::from_secs(10);
/// Who was woken by mistake has said so by then; pulls that were just sent are registered.
const SETTLED: Duration = Duration::from_millis(500);
/// Messages asked for in one pull.
const PULL_MESSAGES: i32 = 32;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HeldReport {
    mode: &'static str,
    note: String,
    broker: String,
    held: u64,
    connections: u32,
    idle_cpu_percent: f64,
    messages: u32,
    woken: u64,
    wake_us: Latency,
    expired_per_minute: f64,
    expire_cpu_percent: f64,
    before: Footprint,
    after: Footprint,
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    asked: AtomicU64,
    /// Answers with the messages that were waited for.
    woken: AtomicU64,
    /// Answers without any.
    empty: AtomicU64,
    stop: AtomicBool,
}

/// Runs `held`.
pub(super) fn run(args: &HeldArgs) -> Result<HeldReport, BenchError> {
    let common = &args.common;
    common.without_count("held")?;
    let Some(pid) = common.server_pid else {
        return Err(BenchError::Usage("held needs --server-pid".into()));
    };
    let mut setup = Setup::new(common)?;
    let (idle_cpu_percent, woken, wake_us) = wait_and_wake(args, &mut setup, pid)?;
    let (expired_per_minute, expire_cpu_percent, before, after) = run_out(args, &mut setup, pid)?;
    Ok(HeldReport {
        mode: "held",
        note: common.note.clone(),
        broker: setup.broker.to_string(),
        held: u64::from(common.queues) * u64::from(args.groups),
        connections: common.connections,
        idle_cpu_percent,
        messages: args.messages,
        woken,
        wake_us,
        expired_per_minute,
        expire_cpu_percent,
        before,
        after,
    })
}

/// Lets all wait, looks at what that costs, and sends messages one by one.
fn wait_and_wake(
    args: &HeldArgs,
    setup: &mut Setup<'_>,
    pid: u32,
) -> Result<(f64, u64, Latency), BenchError> {
    let (clock, common) = (setup.clock, setup.common);
    let shared = Arc::new(Shared::default());
    let window = Window::new(clock.now(), Duration::ZERO, MAX_RUN);
    let lines = lines(args, setup, LONG_SUSPEND_MS, &shared)?;
    let held = u64::from(common.queues) * u64::from(args.groups);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run_lanes(lines, 1, clock, window, || Ok(())));
        let outcome = (|| {
            until("all pulls to be sent", || shared.asked.load(Ordering::Acquire) >= held)?;
            thread::sleep(SETTLED);
            let idle = Window::new(clock.now(), Duration::ZERO, common.length());
            let cpu = meter::watch(clock, idle, pid)?;
            let mut latency = tally::histogram()?;
            for number in 0..args.messages {
                // Neighbours in another order than their numbers.
                let queue = number.wrapping_mul(7_919) % common.queues;
                let due = u64::from(number + 1) * u64::from(args.groups);
                let begin = Instant::now();
                topics::send(&mut setup.control, &common.topic, queue)?;
                until("a message to wake its pulls", || {
                    shared.woken.load(Ordering::Acquire) >= due
                })?;
                latency.saturating_record(begin.elapsed().as_nanos() as u64);
            }
            thread::sleep(SETTLED);
            let woken = shared.woken.load(Ordering::Acquire);
            let due = u64::from(args.messages) * u64::from(args.groups);
            let empty = shared.empty.load(Ordering::Acquire);
            if woken != due || empty != 0 {
                return Err(BenchError::Wrong(format!(
                    "{woken} pulls were woken by their messages instead of {due}, {empty} by others"
                )));
            }
            Ok((cpu, woken, Latency::of(&latency)))
        })();
        shared.stop.store(true, Ordering::Release);
        waiting.join().map_err(|_| BenchError::Usage("a thread panicked".into()))??;
        outcome
    })
}

/// Lets all run out again and again, and looks whether the server grows.
fn run_out(
    args: &HeldArgs,
    setup: &mut Setup<'_>,
    pid: u32,
) -> Result<(f64, f64, Footprint, Footprint), BenchError> {
    let clock = setup.clock;
    let shared = Arc::new(Shared::default());
    let length = Duration::from_secs_f64(args.churn_seconds);
    let warmup = length / 4;
    let lines = lines(args, setup, args.suspend_ms.into(), &shared)?;
    let window = Window::new(clock.now(), warmup, length);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run_lanes(lines, 1, clock, window, || Ok(())));
        let outcome = (|| {
            clock.sleep_until(window.warm);
            let (before, count) = (footprint(pid)?, shared.empty.load(Ordering::Acquire));
            let meter = Meter::start(clock, window, Some(pid));
            clock.sleep_until(window.end);
            let count = shared.empty.load(Ordering::Acquire) - count;
            let per_minute = count as f64 / window.seconds() * 60.0;
            Ok((per_minute, cpu_percent(meter)?, before, footprint(pid)?))
        })();
        shared.stop.store(true, Ordering::Release);
        waiting.join().map_err(|_| BenchError::Usage("a thread panicked".into()))??;
        outcome
    })
}

fn until(what: &str, is_so: impl Fn() -> bool) -> Result<(), BenchError> {
    let deadline = Instant::now() + WAKE_LIMIT;
    while !is_so() {
        if Instant::now() >= deadline {
            return Err(BenchError::Wrong(format!("waited {WAKE_LIMIT:?} for {what}")));
        }
        thread::yield_now();
    }
    Ok(())
}

/// A pull of each group for each queue, dealt to the connections, from the end of the queue on.
fn lines(
    args: &HeldArgs,
    setup: &mut Setup<'_>,
    suspend_ms: i64,
    shared: &Arc<Shared>,
) -> Result<Vec<Line<Waiter>>, BenchError> {
    let common = setup.common;
    let streams = setup.connect(common.connections)?;
    let mut waiters: Vec<_> = streams
        .iter()
        .map(|_| Waiter {
            topic: common.topic.clone(),
            form: common.form(),
            suspend_ms,
            pulls: Vec::new(),
            idle: Vec::new(),
            shared: Arc::clone(shared),
        })
        .collect();
    let count = waiters.len();
    for queue in 0..common.queues {
        let next = setup.control.max_offset(&common.topic, queue)?;
        for group in 0..args.groups {
            let waiter = &mut waiters[(queue * args.groups + group) as usize % count];
            waiter.idle.push(waiter.pulls.len());
            waiter.pulls.push(Pull { group, queue: queue as i32, next });
        }
    }
    Ok(streams.into_iter().zip(waiters).map(|(stream, w)| Line::new(stream, w)).collect())
}

#[derive(Clone, Copy, Debug)]
struct Pull {
    group: u32,
    queue: i32,
    next: i64,
}

/// One connection.
#[derive(Debug)]
struct Waiter {
    topic: String,
    form: HeaderForm,
    suspend_ms: i64,
    pulls: Vec<Pull>,
    /// Pulls that have been answered.
    idle: Vec<usize>,
    shared: Arc<Shared>,
}

impl Traffic for Waiter {
    type Tally = ();

    fn fill(&mut self, _: Nanos, out: &mut Vec<u8>) {
        if self.shared.stop.load(Ordering::Acquire) {
            return;
        }
        for index in self.idle.drain(..) {
            let pull = self.pulls[index];
            let group = format!("oxmq-bench-held-{}", pull.group);
            let mut header = pull_header(&group, &self.topic, pull.queue, pull.next, PULL_MESSAGES);
            header.sys_flag |= pull_sys_flag::SUSPEND;
            header.suspend_timeout_millis = self.suspend_ms;
            let (code, opaque) = (RequestCode::PULL_MESSAGE, FIRST_OPAQUE + index as i32);
            let mut writer = CommandWriter::request(out, self.form, code, opaque, false);
            header.encode(&mut writer);
            writer.finish(&[]);
            self.shared.asked.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn receive(&mut self, _: Nanos, frame: Frame<'_>, (): &mut ()) -> Result<(), BenchError> {
        let view = CommandView::decode(frame)?;
        let index = view.opaque.wrapping_sub(FIRST_OPAQUE) as usize;
        let Some(pull) = self.pulls.get_mut(index) else {
            return Err(BenchError::Unexpected(format!("opaque {}", view.opaque)));
        };
        self.idle.push(index);
        match view.response_code() {
            ResponseCode::SUCCESS => {
                for record in records(view.body) {
                    let offset = record?.queue_offset;
                    if offset != pull.next {
                        return Err(BenchError::Wrong(format!(
                            "queue {} gave offset {offset} instead of {}",
                            pull.queue, pull.next
                        )));
                    }
                    pull.next += 1;
                }
                self.shared.woken.fetch_add(1, Ordering::AcqRel);
            }
            ResponseCode::PULL_NOT_FOUND => {
                self.shared.empty.fetch_add(1, Ordering::AcqRel);
            }
            code => return Err(BenchError::Wrong(format!("a pull was refused with {code}"))),
        }
        Ok(())
    }

    fn is_done(&self, _: Nanos) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }
}

impl fmt::Display for HeldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker, held, connections, before, after, .. } = self;
        writeln!(f, "held  {broker}  {held} pulls on {connections} connections")?;
        writeln!(f, "  waiting    {:.2} % of a core", self.idle_cpu_percent)?;
        writeln!(f, "  woken      {} by {} messages, no other", self.woken, self.messages)?;
        writeln!(f, "             {} us from the send to the last of them", self.wake_us)?;
        writeln!(
            f,
            "  run out    {:.0} a minute, {:.1} % of a core",
            self.expired_per_minute, self.expire_cpu_percent
        )?;
        write!(
            f,
            "  server     RSS {:.1} MiB before and {:.1} after, anonymous {:.1} and {:.1}",
            before.rss_mib, after.rss_mib, before.rss_anon_mib, after.rss_anon_mib
        )
    }
}
