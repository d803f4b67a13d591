//! A backlog that is larger than the page cache: how fast it is pulled while messages go on coming, and what
//! their senders notice of it.
//!
//! The server's page cache is limited from outside, by a memory cgroup; `scripts/bench-vs-reference --heavy`
//! makes one.

use std::fmt;
use std::thread;

use serde::Serialize;

use super::args::{BacklogArgs, PullArgs};
use super::drain::{self, Pulls};
use super::error::BenchError;
use super::filter::Filter;
use super::meter::Meter;
use super::open;
use super::report::{Latency, Report};
use super::setup::Setup;
use super::verify;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BacklogReport {
    /// Of the drain, its pulls and its messages.
    #[serde(flatten)]
    report: Report,
    fill: u64,
    backlog_mib: f64,
    /// Of sends, from when they were due, while nothing was pulled.
    sends_alone_us: Latency,
    /// The same beside the drain.
    sends_beside_us: Latency,
    /// How late the generator itself sent then, which is part of that.
    late_beside_us: Latency,
    sends_p99_factor: f64,
}

/// Runs `backlog`.
pub(super) fn run(args: &BacklogArgs) -> Result<BacklogReport, BenchError> {
    let common = &args.common;
    common.without_count("backlog")?;
    let mut setup = Setup::new(common)?;
    drain::fill(&setup, args.fill)?;
    setup.settle()?;
    setup.rest()?;
    let PullArgs { in_flight, pull } = args.pulls;
    let pulls = Pulls { in_flight, pull, filter: Filter::None };
    let lanes = drain::lanes(&mut setup, pulls, true)?;

    let senders = setup.connect(args.senders)?;
    let alone = open::drive(&setup, senders, args.rate, setup.window())?;
    let senders = setup.connect(args.senders)?;
    let window = setup.window();
    let meter = Meter::start(setup.clock, window, common.server_pid);
    let (drained, beside) = thread::scope(|scope| {
        let beside = scope.spawn(|| open::drive(&setup, senders, args.rate, window));
        let drained = drain::drive(&setup, lanes, window);
        let beside = beside.join().map_err(|_| BenchError::Usage("a thread panicked".into()))??;
        Ok::<_, BenchError>((drained?, beside))
    })?;
    let usage = meter.finish()?;

    let backlog_mib = args.fill as f64 * drained.record_bytes() / 1024.0 / 1024.0;
    let mut counts = drained.counts;
    for sends in [&alone, &beside] {
        for (code, count) in &sends.tally.refused {
            *counts.refused.entry(*code).or_default() += count;
        }
        counts.unanswered += sends.unanswered;
        counts.verified += verify::read_back(&mut setup, &sends.tally.samples, 1)?;
    }
    let sends_alone_us = Latency::of(&alone.tally.latency);
    let sends_beside_us = Latency::of(&beside.tally.latency);
    if counts.messages == 0 {
        return Err(BenchError::Wrong("nothing was pulled: was there time enough?".into()));
    }
    let mut shape = setup.shape("backlog");
    shape.in_flight = Some(in_flight);
    shape.batch = Some(pull);
    shape.rate = Some(args.rate);
    Ok(BacklogReport {
        report: Report::new(shape, counts, &usage).with_latency(&drained.latency),
        fill: args.fill,
        backlog_mib,
        sends_p99_factor: sends_beside_us.p99 / sends_alone_us.p99,
        late_beside_us: Latency::of(&beside.lateness),
        sends_alone_us,
        sends_beside_us,
    })
}

impl fmt::Display for BacklogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, fill, backlog_mib, .. } = self;
        writeln!(f, "{report}")?;
        writeln!(f, "  backlog    {fill} messages, {backlog_mib:.0} MiB")?;
        writeln!(f, "  sends us   {} alone", self.sends_alone_us)?;
        writeln!(
            f,
            "             {} beside the drain: p99 x {:.2}",
            self.sends_beside_us, self.sends_p99_factor
        )?;
        write!(f, "  sent late  {} beside the drain", self.late_beside_us)
    }
}
