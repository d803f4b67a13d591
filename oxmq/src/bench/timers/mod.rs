//! Messages that wait for a time of their own: what many that wait cost, how soon many are delivered that
//! are due together and what plain sends notice of it, and how late single ones are.
//!
//! A message's lateness is the time at which the broker stored it for consumers, less the time at which it
//! was due. One that is early fails the run.

mod lateness;
mod paced;
mod waiting;

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use oxmq_protocol::message::properties;
use serde::Serialize;

use self::waiting::Due;
use super::args::TimersArgs;
use super::clock::{Window, wall_clock_ms};
use super::control::Control;
use super::error::BenchError;
use super::meter::{self, Footprint, footprint};
use super::report::Latency;
use super::setup::Setup;
use super::topics;

/// How long plain sends are looked at, each time.
const PLAIN_FOR: Duration = Duration::from_secs(3);
/// Plain sends a second.
const PLAIN_RATE: u64 = 1_000;
/// From the last send of those that are due together to the plain sends before they are.
const SETTLED: Duration = Duration::from_secs(1);

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TimersReport {
    mode: &'static str,
    note: String,
    broker: String,
    pending: u64,
    idle_cpu_percent: f64,
    held: Footprint,
    together: u64,
    /// Of those that were due together.
    together_late_us: Latency,
    plain_before_us: Latency,
    plain_meanwhile_us: Latency,
    rate: u64,
    singles: u64,
    /// Of those that were due one after the other.
    late_us: Latency,
}

/// Runs `timers`.
pub(super) fn run(args: &TimersArgs) -> Result<TimersReport, BenchError> {
    let common = &args.common;
    common.without_count("timers")?;
    let Some(pid) = common.server_pid else {
        return Err(BenchError::Usage("timers needs --server-pid".into()));
    };
    let mut setup = Setup::new(common)?;
    let (idle_cpu_percent, held) = wait(args, &mut setup, pid)?;
    let together = deliver_together(args, &mut setup)?;
    let late = deliver_singly(args, &mut setup)?;
    Ok(TimersReport {
        mode: "timers",
        note: common.note.clone(),
        broker: setup.broker.to_string(),
        pending: args.pending,
        idle_cpu_percent,
        held,
        together: together.late.len(),
        together_late_us: Latency::of(&together.late),
        plain_before_us: Latency::of(&together.plain_before),
        plain_meanwhile_us: Latency::of(&together.plain_meanwhile),
        rate: args.rate,
        singles: late.len(),
        late_us: Latency::of(&late),
    })
}

/// Has many wait, none of which is due before the end of the run, and looks at what that costs.
fn wait(
    args: &TimersArgs,
    setup: &mut Setup<'_>,
    pid: u32,
) -> Result<(f64, Footprint), BenchError> {
    let from_ms = wall_clock_ms() + i64::from(args.ahead_seconds) * 1_000;
    let due = Due::Spread { from_ms, over_ms: i64::from(args.spread_seconds) * 1_000 };
    waiting::send(setup, &setup.common.topic, due, args.pending)?;
    let (clock, common) = (setup.clock, setup.common);
    // What the sends have left to do is not waiting.
    let window = Window::new(clock.now(), common.warmup(), common.length());
    Ok((meter::watch(clock, window, pid)?, footprint(pid)?))
}

struct Together {
    late: Histogram<u64>,
    plain_before: Histogram<u64>,
    plain_meanwhile: Histogram<u64>,
}

/// Has many delivered that are due in the same moment.
fn deliver_together(args: &TimersArgs, setup: &mut Setup<'_>) -> Result<Together, BenchError> {
    let common = setup.common;
    let topic = format!("{}-together", common.topic);
    let plain_topic = format!("{}-plain", common.topic);
    setup.control.create_topic(&topic, common.queues)?;
    setup.control.create_topic(&plain_topic, common.queues)?;
    let before = lateness::ends(&mut setup.control, &topic, common.queues)?;
    let due_ms = wall_clock_ms() + i64::from(args.lead_seconds) * 1_000;
    waiting::send(setup, &topic, Due::At(due_ms), args.together)?;
    std::thread::sleep(SETTLED);
    if due_ms - wall_clock_ms() < PLAIN_FOR.as_millis() as i64 + 500 {
        let message = "the sends took until the messages were due: use a longer --lead-seconds";
        return Err(BenchError::Usage(message.into()));
    }
    let mut control = Control::connect(setup.broker, common.form())?;
    let mut plain = |start_ms| {
        paced::run(setup.clock, start_ms, PLAIN_FOR, PLAIN_RATE, |number| {
            topics::send(&mut control, &plain_topic, (number % u64::from(common.queues)) as u32)
        })
    };
    let plain_before = plain(wall_clock_ms())?;
    let plain_meanwhile = plain(due_ms)?;
    let late = lateness::of(&mut setup.control, &topic, &before, args.together)?;
    Ok(Together { late, plain_before, plain_meanwhile })
}

/// Sends messages at a fixed rate, each due a while later.
fn deliver_singly(args: &TimersArgs, setup: &mut Setup<'_>) -> Result<Histogram<u64>, BenchError> {
    let common = setup.common;
    let topic = format!("{}-singly", common.topic);
    setup.control.create_topic(&topic, common.queues)?;
    let before = lateness::ends(&mut setup.control, &topic, common.queues)?;
    let mut control = Control::connect(setup.broker, common.form())?;
    let sent = paced::run(setup.clock, wall_clock_ms(), common.length(), args.rate, |number| {
        let due_ms = wall_clock_ms() + i64::from(args.delay_ms);
        let mut text = Vec::new();
        properties::append(&mut text, "TIMER_DELIVER_MS", due_ms.to_string().as_bytes());
        properties::append(&mut text, "UNIQ_KEY", format!("{due_ms:X}{number:016X}").as_bytes());
        let text = String::from_utf8_lossy(&text);
        topics::send_with(&mut control, &topic, (number % u64::from(common.queues)) as u32, &text)
    })?;
    lateness::of(&mut setup.control, &topic, &before, sent.len())
}

impl fmt::Display for TimersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker, pending, held, together, rate, singles, .. } = self;
        writeln!(f, "timers  {broker}")?;
        writeln!(
            f,
            "  waiting    {pending}: {:.2} % of a core, RSS {:.1} MiB ({:.1} anonymous)",
            self.idle_cpu_percent, held.rss_mib, held.rss_anon_mib
        )?;
        writeln!(f, "  together   {together}, late us {}", self.together_late_us)?;
        writeln!(f, "             plain sends before    us {}", self.plain_before_us)?;
        writeln!(f, "             plain sends meanwhile us {}", self.plain_meanwhile_us)?;
        write!(f, "  singly     {singles} at {rate}/s, late us {}", self.late_us)
    }
}
