//! Open loop: a fixed rate, latency from the intended time of each send to its answer.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use hdrhistogram::Histogram;
use oxmq_protocol::command::CommandView;
use oxmq_protocol::frame::Frame;
use oxmq_protocol::header::{Header, SendMessageResponseHeader};

use super::answer::Answer;
use super::args::OpenArgs;
use super::clock::{Nanos, Window};
use super::error::{BenchError, io};
use super::lane::{Line, Traffic};
use super::meter::Meter;
use super::pacer::{self, Progress, Schedule};
use super::payload::{FIRST_OPAQUE, identity};
use super::report::{Counts, Report};
use super::setup::{Setup, run_lanes};
use super::tally::{Sample, Tally};
use super::verify;

/// Runs `open`.
pub(super) fn run(args: &OpenArgs) -> Result<Report, BenchError> {
    let common = &args.common;
    common.without_count("open")?;
    let mut setup = Setup::new(common)?;
    let streams = setup.connect(common.connections)?;
    let window = setup.window();
    let meter = Meter::start(setup.clock, window, common.server_pid);
    let Outcome { lateness, tally, unanswered } = drive(&setup, streams, args.rate, window)?;
    let usage = meter.finish()?;
    let counts = Counts {
        messages: tally.succeeded,
        seconds: Some(window.seconds()),
        verified: verify::read_back(&mut setup, &tally.samples, 1)?,
        refused: tally.refused,
        unanswered,
    };
    let mut shape = setup.shape("open");
    shape.rate = Some(args.rate);
    let report = Report::new(shape, counts, &usage);
    Ok(report.with_latency(&tally.latency).with_lateness(&lateness))
}

/// What an open loop left.
pub(super) struct Outcome {
    pub(super) lateness: Histogram<u64>,
    pub(super) tally: Tally,
    pub(super) unanswered: u64,
}

/// Sends `rate` messages a second on `streams` within `window`.
pub(super) fn drive(
    setup: &Setup<'_>,
    streams: Vec<TcpStream>,
    rate: u64,
    window: Window,
) -> Result<Outcome, BenchError> {
    let clock = setup.clock;
    let templates = setup.templates(false, None)?;
    let schedule = Schedule { start: window.start, rate };
    let progress = Arc::new(Progress::default());
    let lines = ack_lines(&streams, schedule, &progress)?;
    let samples = setup.common.verify as usize;
    let (lateness, answers) = thread::scope(|scope| {
        let pacer =
            scope.spawn(|| pacer::run(streams, &templates, schedule, clock, window, &progress));
        let answers = run_lanes(lines, 1, clock, window, || Tally::new(window, samples));
        let lateness =
            pacer.join().map_err(|_| BenchError::Usage("the pacer panicked".into()))??;
        Ok::<_, BenchError>((lateness, answers?))
    })?;
    let (traffic, tallies) = answers;
    let answered: u64 = traffic.iter().map(Acks::answered).sum();
    let unanswered = progress.sent() - answered;
    Ok(Outcome { lateness, tally: Tally::sum(window, tallies)?, unanswered })
}

/// Lines that take the answers to what the pacer sends on `streams`.
pub(super) fn ack_lines(
    streams: &[TcpStream],
    schedule: Schedule,
    progress: &Arc<Progress>,
) -> Result<Vec<Line<Acks>>, BenchError> {
    let connections = streams.len() as u64;
    (0..)
        .zip(streams)
        .map(|(connection, stream)| {
            let stream = stream.try_clone().map_err(io("share a socket"))?;
            let progress = Arc::clone(progress);
            let acks = Acks { connection, connections, schedule, progress, answered: 0 };
            Ok(Line::new(stream, acks))
        })
        .collect()
}

/// Takes the answers to what the pacer sends on one connection.
pub(super) struct Acks {
    connection: u64,
    connections: u64,
    schedule: Schedule,
    progress: Arc<Progress>,
    answered: u64,
}

impl Acks {
    /// Answers received, of whatever code.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// How many of the first `total` messages go over this connection.
    fn share(&self, total: u64) -> u64 {
        (total + self.connections - 1 - self.connection) / self.connections
    }
}

impl Traffic for Acks {
    type Tally = Tally;

    fn fill(&mut self, _: Nanos, _: &mut Vec<u8>) {}

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let answer = Answer::read(frame)?;
        let sequence = u64::try_from(answer.opaque.wrapping_sub(FIRST_OPAQUE))
            .map_err(|_| BenchError::Unexpected(format!("opaque {}", answer.opaque)))?;
        self.answered += 1;
        if answer.code != 0 {
            self.progress.count_refused();
        }
        let due = self.schedule.due(sequence * self.connections + self.connection);
        tally.count_due(answer.code, due, now);
        if answer.code == 0 && tally.wants_sample() {
            let header = SendMessageResponseHeader::decode(&CommandView::decode(frame)?)?;
            tally.keep(Sample {
                queue: header.queue_id,
                offset: header.queue_offset,
                identity: identity(self.connection as u32, sequence),
            });
        }
        Ok(())
    }

    fn is_done(&self, _: Nanos) -> bool {
        self.progress.total().is_some_and(|total| self.answered >= self.share(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_connections_add_up() {
        let schedule = Schedule { start: 0, rate: 1 };
        for total in 0..10 {
            let share = |connection| {
                let progress = Arc::default();
                Acks { connection, connections: 4, schedule, progress, answered: 0 }.share(total)
            };
            assert_eq!((0..4).map(share).sum::<u64>(), total);
        }
    }
}
