//! Closed loop: each connection keeps a fixed number of sends in flight, one by one or in batches.

use std::net::TcpStream;
use std::sync::Arc;

use oxmq_protocol::command::CommandView;
use oxmq_protocol::frame::Frame;
use oxmq_protocol::header::{Header, SendMessageResponseHeader};

use super::answer::Answer;
use super::args::{BatchArgs, SendArgs};
use super::clock::{Nanos, Window};
use super::error::BenchError;
use super::lane::{Line, Traffic};
use super::meter::{Meter, Usage};
use super::payload::FIRST_OPAQUE;
use super::report::{Counts, Report};
use super::sender::Sender;
use super::setup::{Setup, run_lanes};
use super::tally::{Sample, Tally};
use super::{oneway, verify};

/// Runs `send`.
pub(super) fn run(args: &SendArgs) -> Result<Report, BenchError> {
    let mut setup = Setup::new(&args.common)?;
    if args.oneway {
        return oneway::run(&mut setup);
    }
    let load = Load { in_flight: args.in_flight, batch: None, count: args.common.count };
    let report = closed_loop(&mut setup, load, "send")?;
    Ok(report)
}

/// Runs `batch`.
pub(super) fn run_batch(args: &BatchArgs) -> Result<Report, BenchError> {
    let mut setup = Setup::new(&args.common)?;
    let load =
        Load { in_flight: args.in_flight, batch: Some(args.batch), count: args.common.count };
    closed_loop(&mut setup, load, "batch")
}

/// Shape of a closed loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests in flight on each connection.
    pub(super) in_flight: u32,
    /// Messages of a request; `None` sends single messages.
    pub(super) batch: Option<u32>,
    /// Requests to send after the warm-up; `None` sends until the time is over.
    pub(super) count: Option<u64>,
}

/// Sends as `load` says, reads some of it back, and reports.
pub(super) fn closed_loop(
    setup: &mut Setup<'_>,
    load: Load,
    mode: &'static str,
) -> Result<Report, BenchError> {
    let streams = setup.connect(setup.common.connections)?;
    // Opening many connections takes seconds: time starts after it.
    let window = setup.window();
    let outcome = drive(setup, load, streams, window)?;
    let messages = load.batch.unwrap_or(1);
    let verified = verify::read_back(setup, &outcome.tally.samples, messages)?;
    // With a count the run ends with its last answer, not with its time.
    let seconds = match load.count {
        Some(_) => outcome.tally.last_at.saturating_sub(window.warm) as f64 / 1e9,
        None => window.seconds(),
    };
    let counts = Counts {
        messages: outcome.tally.succeeded * u64::from(messages),
        seconds: Some(seconds),
        refused: outcome.tally.refused,
        unanswered: outcome.unanswered,
        verified,
    };
    let mut shape = setup.shape(mode);
    shape.in_flight = Some(load.in_flight);
    shape.batch = load.batch;
    Ok(Report::new(shape, counts, &outcome.usage).with_latency(&outcome.tally.latency))
}

/// What a closed loop left.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) unanswered: u64,
    pub(super) usage: Usage,
}

/// Sends on `streams` within `window`.
pub(super) fn drive(
    setup: &Setup<'_>,
    load: Load,
    streams: Vec<TcpStream>,
    window: Window,
) -> Result<Outcome, BenchError> {
    let common = setup.common;
    let templates = Arc::new(setup.templates(false, load.batch)?);
    let threads = common.threads(load.in_flight);
    let connections = streams.len() as u32;
    let lines = (0..)
        .zip(streams)
        .map(|(connection, stream)| {
            let count = load.count.map(|count| share(count, connection, connections));
            Line::new(
                stream,
                ClosedLoop {
                    sender: Sender::new(connection, &templates, load.in_flight),
                    quota: Quota { left: count, window },
                },
            )
        })
        .collect();
    let meter = Meter::start(setup.clock, window, common.server_pid);
    let samples = (common.verify as usize).div_ceil(threads);
    let (traffic, tallies) =
        run_lanes(lines, threads, setup.clock, window, || Tally::new(window, samples))?;
    let usage = meter.finish()?;
    let tally = Tally::sum(window, tallies)?;
    let unanswered = traffic.iter().map(|line| line.sender.in_flight() as u64).sum();
    Ok(Outcome { tally, unanswered, usage })
}

/// Requests of `connection` when `total` are shared among all.
fn share(total: u64, connection: u32, connections: u32) -> u64 {
    let (connection, connections) = (u64::from(connection), u64::from(connections));
    total / connections + u64::from(connection < total % connections)
}

struct ClosedLoop {
    sender: Sender,
    quota: Quota,
}

/// How long requests leave.
struct Quota {
    /// Requests that may still leave after the warm-up.
    left: Option<u64>,
    window: Window,
}

impl Quota {
    fn take(&mut self, now: Nanos) -> bool {
        if now >= self.window.end {
            return false;
        }
        match &mut self.left {
            Some(left) if now >= self.window.warm => {
                let may = *left > 0;
                *left = left.saturating_sub(1);
                may
            }
            _ => true,
        }
    }

    fn is_over(&self, now: Nanos) -> bool {
        now >= self.window.end || self.left == Some(0)
    }
}

impl Traffic for ClosedLoop {
    type Tally = Tally;

    fn fill(&mut self, now: Nanos, out: &mut Vec<u8>) {
        self.sender.fill(now, out, || self.quota.take(now));
    }

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let answer = Answer::read(frame)?;
        let sequence = answer.opaque.wrapping_sub(FIRST_OPAQUE) as u32;
        let sent_at = self.sender.answered(sequence)?;
        tally.count(answer.code, sent_at, now);
        if answer.code == 0 && tally.wants_sample() {
            let header = SendMessageResponseHeader::decode(&CommandView::decode(frame)?)?;
            tally.keep(Sample {
                queue: header.queue_id,
                offset: header.queue_offset,
                identity: self.sender.identity(sequence),
            });
        }
        Ok(())
    }

    fn is_done(&self, now: Nanos) -> bool {
        self.sender.in_flight() == 0 && self.quota.is_over(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_count() {
        for connections in [1, 3, 7] {
            let shares: Vec<_> = (0..connections).map(|n| share(20, n, connections)).collect();
            assert_eq!(shares.iter().sum::<u64>(), 20);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
