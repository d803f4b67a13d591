//! Pulls a filled topic as fast as it comes.
//!
//! The queues are cut into as many ranges as pulls are in flight, and each range is pulled by one
//! connection: every message is read once by one of them. A run with a time starts over at the end.

use std::net::TcpStream;
use std::time::Duration;

use hdrhistogram::Histogram;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::header::{Header, PullMessageResponseHeader};
use oxmq_protocol::message::RecordView;

use super::args::{DrainArgs, PullArgs};
use super::clock::{Nanos, Window};
use super::control::pull_header;
use super::error::BenchError;
use super::filter::Filter;
use super::lane::{Line, Traffic};
use super::meter::Meter;
use super::payload::FIRST_OPAQUE;
use super::records::records;
use super::report::{Counts, Report};
use super::send::{self, Load};
use super::setup::{Setup, run_lanes};
use super::tally::Tally;

/// One record in so many is checked against its CRC.
const CHECK_STRIDE: u64 = 64;
/// Connections and requests in flight of the fill.
const FILL: (u32, u32) = (8, 32);
/// A topic that nothing can be pulled from ends the run after so many refusals.
const MAX_REFUSALS: u64 = 1_000;

const FILL_LIMIT: Duration = Duration::from_secs(600);

/// Runs `drain`.
pub(super) fn run(args: &DrainArgs) -> Result<Report, BenchError> {
    let common = &args.common;
    common.without_count("drain")?;
    let mut setup = Setup::new(common)?;
    setup.rare = args.filter.chooses().then_some(args.one_in);
    if args.fill > 0 {
        fill(&setup, args.fill)?;
        setup.settle()?;
    }
    args.filter.subscribe(&mut setup.control, &common.topic)?;
    let DrainArgs { pulls: PullArgs { in_flight, pull }, filter, one_in, .. } = *args;
    let lanes = lanes(&mut setup, Pulls { in_flight, pull, filter }, args.fill > 0)?;
    let window = setup.window();
    let meter = Meter::start(setup.clock, window, common.server_pid);
    let outcome = drive(&setup, lanes, window)?;
    let usage = meter.finish()?;
    if filter.chooses() {
        let (seen, due) = (outcome.seen, outcome.looked_at / one_in);
        // Each connection of the fill begins with one of them, and ranges end anywhere.
        if seen.abs_diff(due) > due / 4 + u64::from(FILL.0) {
            return Err(BenchError::Wrong(format!("{seen} messages came instead of {due}")));
        }
    }
    let mut shape = setup.shape("drain");
    shape.in_flight = Some(in_flight);
    shape.batch = Some(pull);
    Ok(Report::new(shape, outcome.counts, &usage).with_latency(&outcome.latency))
}

/// How a topic is pulled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulls {
    /// On each connection.
    pub(super) in_flight: u32,
    /// Messages asked for by each.
    pub(super) pull: u32,
    pub(super) filter: Filter,
}

/// A connection, and the ranges that are pulled on it.
pub(super) struct Lane {
    stream: TcpStream,
    pulls: Pulls,
    ranges: Vec<Range>,
}

/// Connects, and deals out what the topic holds.
pub(super) fn lanes(
    setup: &mut Setup<'_>,
    pulls: Pulls,
    filled: bool,
) -> Result<Vec<Lane>, BenchError> {
    let connections = setup.common.connections;
    let ranges = ranges(setup, connections * pulls.in_flight, filled)?;
    let streams = setup.connect(connections)?;
    let mut lanes: Vec<_> =
        streams.into_iter().map(|stream| Lane { stream, pulls, ranges: Vec::new() }).collect();
    let count = lanes.len();
    for (index, range) in ranges.into_iter().enumerate() {
        lanes[index % count].ranges.push(range);
    }
    // A connection without a range has nothing to ask.
    lanes.retain(|lane| !lane.ranges.is_empty());
    Ok(lanes)
}

/// What a drain left.
pub(super) struct Outcome {
    pub(super) counts: Counts,
    /// Of each pull.
    pub(super) latency: Histogram<u64>,
    /// Offsets that were gone over, also where nothing was found.
    looked_at: u64,
    seen: u64,
    bytes: u64,
}

impl Outcome {
    /// Bytes of a record, on the average.
    pub(super) fn record_bytes(&self) -> f64 {
        self.bytes as f64 / self.seen.max(1) as f64
    }
}

/// Pulls within `window`.
pub(super) fn drive(
    setup: &Setup<'_>,
    lanes: Vec<Lane>,
    window: Window,
) -> Result<Outcome, BenchError> {
    let common = setup.common;
    let in_flight = lanes.first().map_or(0, |lane| lane.pulls.in_flight * lane.pulls.pull);
    let threads = common.threads(in_flight).min(lanes.len());
    let lines = lanes
        .into_iter()
        .map(|Lane { stream, pulls, ranges }| {
            let drain = Drain {
                topic: common.topic.clone(),
                form: common.form(),
                pull: pulls.pull as i32,
                filter: pulls.filter,
                window,
                ranges,
                in_flight: pulls.in_flight as usize,
                turn: 0,
            };
            Line::new(stream, drain)
        })
        .collect();
    let (traffic, tallies) = run_lanes(lines, threads, setup.clock, window, || {
        let pulls = Tally::new(window, 0)?;
        Ok(Drained { pulls, messages: 0, looked_at: 0, seen: 0, bytes: 0, checked: 0 })
    })?;
    let mut pulls = Tally::new(window, 0)?;
    let (mut looked_at, mut seen, mut bytes) = (0, 0, 0);
    let mut counts = Counts { seconds: Some(window.seconds()), ..Counts::default() };
    for drained in tallies {
        pulls.merge(drained.pulls);
        counts.messages += drained.messages;
        counts.verified += drained.checked;
        looked_at += drained.looked_at;
        seen += drained.seen;
        bytes += drained.bytes;
    }
    counts.refused = pulls.refused;
    counts.unanswered = traffic.iter().map(|drain| drain.outstanding() as u64).sum();
    Ok(Outcome { counts, latency: pulls.latency, looked_at, seen, bytes })
}

/// Sends `count` messages, not measured.
pub(super) fn fill(setup: &Setup<'_>, count: u64) -> Result<(), BenchError> {
    let (connections, in_flight) = FILL;
    let streams = setup.connect(connections)?;
    let window = Window::new(setup.clock.now(), Duration::ZERO, FILL_LIMIT);
    let load = Load { in_flight, batch: None, count: Some(count) };
    let outcome = send::drive(setup, load, streams, window)?;
    if outcome.unanswered > 0 {
        return Err(BenchError::Wrong(format!("{} sends were not answered", outcome.unanswered)));
    }
    Ok(())
}

/// Cuts what the topic holds into at least `pulls` ranges, as far as there are messages enough.
fn ranges(setup: &mut Setup<'_>, pulls: u32, filled: bool) -> Result<Vec<Range>, BenchError> {
    let (topic, queues) = (&setup.common.topic, setup.common.queues);
    let parts = i64::from(pulls.div_ceil(queues));
    let mut ranges = Vec::new();
    for queue in 0..queues {
        let min = setup.control.min_offset(topic, queue)?;
        let max = setup.control.max_offset(topic, queue)?;
        for part in 0..parts {
            let cut = |part: i64| min + (max - min) * part / parts;
            let (from, to) = (cut(part), cut(part + 1));
            if from < to {
                ranges.push(Range { queue: queue as i32, from, to, next: from, asked_at: None });
            }
        }
    }
    match ranges.is_empty() {
        true if filled => Err(BenchError::Wrong("the topic is empty after the fill".into())),
        true => Err(BenchError::Usage("the topic is empty: use --fill".into())),
        false => Ok(ranges),
    }
}

/// A part of a queue.
#[derive(Debug)]
struct Range {
    queue: i32,
    from: i64,
    to: i64,
    next: i64,
    /// When the pull left that is in flight.
    asked_at: Option<Nanos>,
}

/// Counts of one thread.
struct Drained {
    pulls: Tally,
    messages: u64,
    /// Offsets that were gone over, also where nothing was found.
    looked_at: u64,
    seen: u64,
    bytes: u64,
    checked: u64,
}

struct Drain {
    topic: String,
    form: HeaderForm,
    pull: i32,
    filter: Filter,
    window: Window,
    ranges: Vec<Range>,
    in_flight: usize,
    /// Decides the range of the next pull.
    turn: usize,
}

impl Drain {
    fn outstanding(&self) -> usize {
        self.ranges.iter().filter(|range| range.asked_at.is_some()).count()
    }
}

impl Traffic for Drain {
    type Tally = Drained;

    fn fill(&mut self, now: Nanos, out: &mut Vec<u8>) {
        if now >= self.window.end {
            return;
        }
        let mut free = self.in_flight.min(self.ranges.len()) - self.outstanding();
        while free > 0 {
            // All ranges in turn, so that every queue is pulled.
            let index = self.turn % self.ranges.len();
            self.turn += 1;
            let Some(range) = self.ranges.get_mut(index).filter(|r| r.asked_at.is_none()) else {
                continue;
            };
            free -= 1;
            let count = i64::from(self.pull).min(range.to - range.next) as i32;
            let group = self.filter.group();
            let mut header = pull_header(group, &self.topic, range.queue, range.next, count);
            self.filter.apply(&mut header);
            let opaque = FIRST_OPAQUE + index as i32;
            let code = RequestCode::PULL_MESSAGE;
            let mut writer = CommandWriter::request(out, self.form, code, opaque, false);
            header.encode(&mut writer);
            writer.finish(&[]);
            range.asked_at = Some(now);
        }
    }

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        drained: &mut Drained,
    ) -> Result<(), BenchError> {
        let view = CommandView::decode(frame)?;
        let index = view.opaque.wrapping_sub(FIRST_OPAQUE) as usize;
        let asked = self.ranges.get_mut(index).and_then(|r| Some((r.asked_at.take()?, r)));
        let Some((asked_at, range)) = asked else {
            return Err(BenchError::Unexpected(format!("opaque {}", view.opaque)));
        };
        let is_empty =
            self.filter.chooses() && view.response_code() == ResponseCode::PULL_RETRY_IMMEDIATELY;
        let code = if is_empty { ResponseCode::SUCCESS.0 } else { view.code };
        drained.pulls.count(code, asked_at, now);
        if code != ResponseCode::SUCCESS.0 {
            let refused: u64 = drained.pulls.refused.values().sum();
            if refused > MAX_REFUSALS {
                let code = view.response_code();
                return Err(BenchError::Wrong(format!("{refused} pulls refused, now with {code}")));
            }
            return Ok(());
        }
        let first = range.next;
        for record in records(if is_empty { &[] } else { view.body }) {
            let record = record?;
            let is_next = match self.filter {
                Filter::None => record.queue_offset == range.next,
                _ => record.queue_offset >= range.next,
            };
            if !is_next {
                return Err(BenchError::Wrong(format!(
                    "queue {} gave offset {} instead of {}",
                    range.queue, record.queue_offset, range.next
                )));
            }
            drained.seen += 1;
            drained.bytes += record.bytes.len() as u64;
            let wants_check = drained.seen.is_multiple_of(CHECK_STRIDE);
            if wants_check || self.filter.chooses() {
                let view = RecordView::parse(record.bytes)?;
                if !self.filter.gives(view.properties()) {
                    return Err(BenchError::Wrong("a message came that was not asked for".into()));
                }
                if wants_check {
                    view.verify_body_crc()?;
                    drained.checked += 1;
                }
            }
            range.next = record.queue_offset + 1;
        }
        if self.filter.chooses() {
            range.next = PullMessageResponseHeader::decode(&view)?.next_begin_offset;
        }
        let passed = range.next.saturating_sub(first).unsigned_abs();
        drained.looked_at += passed;
        if asked_at >= self.window.warm && now < self.window.end {
            drained.messages += passed;
        }
        if range.next >= range.to {
            range.next = range.from;
        }
        Ok(())
    }

    fn is_done(&self, now: Nanos) -> bool {
        now >= self.window.end && self.outstanding() == 0
    }
}
