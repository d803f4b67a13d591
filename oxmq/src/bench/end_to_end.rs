//! From the intended send of a message to its receipt by a consumer that waits for it.
//!
//! Producers send at a fixed rate. Each group has one connection and keeps one pull waiting at the
//! broker for each queue, as the official consumers do.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use hdrhistogram::Histogram;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::header::{Header, PullMessageResponseHeader, pull_sys_flag};
use oxmq_protocol::message::RecordView;

use super::args::EndToEndArgs;
use super::clock::{Nanos, Window};
use super::control::pull_header;
use super::error::BenchError;
use super::lane::{Line, Traffic};
use super::meter::Meter;
use super::open::{Acks, ack_lines};
use super::pacer::{self, Progress, Schedule};
use super::payload::{FIRST_OPAQUE, Payload, split_identity};
use super::records::records;
use super::report::{Counts, Report};
use super::setup::{Setup, run_lanes};
use super::tally::{self, Tally};
use super::verify;

/// How long the official push consumers let a pull wait.
const SUSPEND_MS: i64 = 15_000;
/// Most messages of a pull, as the official consumers ask for.
const PULL_MESSAGES: i32 = 32;
/// Pulls that are refused end the run after so many.
const MAX_REFUSALS: u64 = 1_000;

/// Runs `e2e`.
pub(super) fn run(args: &EndToEndArgs) -> Result<Report, BenchError> {
    let common = &args.common;
    common.without_count("e2e")?;
    let mut setup = Setup::new(common)?;
    let templates = setup.templates(false, None)?;
    let producers = setup.connect(common.connections)?;
    let consumers = setup.connect(args.groups)?;
    let starts = (0..common.queues)
        .map(|queue| setup.control.max_offset(&common.topic, queue))
        .collect::<Result<Vec<_>, _>>()?;
    let window = setup.window();
    let clock = setup.clock;
    let schedule = Schedule { start: window.start, rate: args.rate };
    let progress = Arc::new(Progress::default());
    let acks = ack_lines(&producers, schedule, &progress)?;
    let consumers = consumer_lines(&setup, consumers, schedule, window, &progress, &starts);

    let meter = Meter::start(clock, window, common.server_pid);
    let samples = common.verify as usize;
    let threads = common.threads.map_or(1, |threads| threads.min(args.groups)) as usize;
    let (lateness, acks, received) = thread::scope(|scope| {
        let pacer =
            scope.spawn(|| pacer::run(producers, &templates, schedule, clock, window, &progress));
        let acks =
            scope.spawn(|| run_lanes(acks, 1, clock, window, || Tally::new(window, samples)));
        let received = run_lanes(consumers, threads, clock, window, tally::histogram);
        let panicked = |_| BenchError::Usage("a thread panicked".into());
        let lateness = pacer.join().map_err(panicked)??;
        let acks = acks.join().map_err(panicked)??;
        Ok::<_, BenchError>((lateness, acks, received?))
    })?;
    let usage = meter.finish()?;

    let sends = Tally::sum(window, acks.1)?;
    let mut latency = tally::histogram()?;
    for other in &received.1 {
        // All have the same bounds, so this cannot fail.
        let _ = latency.add(other);
    }
    let answered: u64 = acks.0.iter().map(Acks::answered).sum();
    let stored = progress.sent().saturating_sub(progress.refused());
    let missing: u64 = received.0.iter().map(|group| stored.saturating_sub(group.seen.count)).sum();
    let counts = Counts {
        messages: latency.len(),
        seconds: Some(window.seconds()),
        verified: verify::read_back(&mut setup, &sends.samples, 1)?,
        refused: sends.refused,
        unanswered: missing + (progress.sent() - answered),
    };
    let mut shape = setup.shape("e2e");
    shape.rate = Some(args.rate);
    shape.groups = Some(args.groups);
    let report = Report::new(shape, counts, &usage);
    Ok(report.with_latency(&latency).with_lateness(&lateness))
}

/// Lines that receive everything from the queue offsets `starts` on, one group each.
fn consumer_lines(
    setup: &Setup<'_>,
    streams: Vec<TcpStream>,
    schedule: Schedule,
    window: Window,
    progress: &Arc<Progress>,
    starts: &[i64],
) -> Vec<Line<Consumer>> {
    let common = setup.common;
    let payload = Arc::new(setup.payload.clone());
    let consumer = |group| Consumer {
        group: format!("oxmq-bench-group-{group}"),
        topic: common.topic.clone(),
        form: common.form(),
        payload: Arc::clone(&payload),
        producers: common.connections.into(),
        schedule,
        window,
        progress: Arc::clone(progress),
        next: starts.to_vec(),
        idle: (0..common.queues).rev().collect(),
        seen: Seen::default(),
        refused: 0,
    };
    let lines = streams.into_iter().enumerate();
    lines.map(|(group, stream)| Line::new(stream, consumer(group))).collect()
}

/// One group on one connection.
struct Consumer {
    group: String,
    topic: String,
    form: HeaderForm,
    payload: Arc<Payload>,
    /// Connections that the pacer deals its messages to.
    producers: u64,
    schedule: Schedule,
    window: Window,
    progress: Arc<Progress>,
    /// Offset to pull next, for each queue.
    next: Vec<i64>,
    /// Queues that no pull waits for.
    idle: Vec<u32>,
    seen: Seen,
    refused: u64,
}

impl Consumer {
    /// Takes the messages of one pull of `queue`.
    fn take(
        &mut self,
        now: Nanos,
        queue: usize,
        body: &[u8],
        latency: &mut Histogram<u64>,
    ) -> Result<(), BenchError> {
        for record in records(body) {
            let record = record?;
            if record.queue_offset < self.next[queue] {
                return Err(BenchError::Wrong(format!(
                    "queue {queue} gave offset {} again",
                    record.queue_offset
                )));
            }
            self.next[queue] = record.queue_offset + 1;
            let record = RecordView::parse(record.bytes)?;
            // What other runs left in the topic is not counted.
            let Some(identity) = self.payload.identity_of(record.body()) else { continue };
            let (producer, sequence) = split_identity(identity);
            let number = sequence * self.producers + u64::from(producer);
            if !self.seen.insert(number) {
                return Err(BenchError::Wrong(format!("message {number} came twice")));
            }
            let due = self.schedule.due(number);
            if self.window.counts(due) {
                latency.saturating_record(now.saturating_sub(due));
            }
        }
        Ok(())
    }
}

impl Traffic for Consumer {
    type Tally = Histogram<u64>;

    fn fill(&mut self, _: Nanos, out: &mut Vec<u8>) {
        while let Some(queue) = self.idle.pop() {
            let offset = self.next[queue as usize];
            let mut header =
                pull_header(&self.group, &self.topic, queue as i32, offset, PULL_MESSAGES);
            header.sys_flag |= pull_sys_flag::SUSPEND;
            header.suspend_timeout_millis = SUSPEND_MS;
            let opaque = FIRST_OPAQUE + queue as i32;
            let code = RequestCode::PULL_MESSAGE;
            let mut writer = CommandWriter::request(out, self.form, code, opaque, false);
            header.encode(&mut writer);
            writer.finish(&[]);
        }
    }

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        latency: &mut Histogram<u64>,
    ) -> Result<(), BenchError> {
        let view = CommandView::decode(frame)?;
        let queue = view.opaque.wrapping_sub(FIRST_OPAQUE) as usize;
        if queue >= self.next.len() {
            return Err(BenchError::Unexpected(format!("opaque {}", view.opaque)));
        }
        self.idle.push(queue as u32);
        match view.response_code() {
            ResponseCode::SUCCESS => self.take(now, queue, view.body, latency)?,
            ResponseCode::PULL_NOT_FOUND
            | ResponseCode::PULL_RETRY_IMMEDIATELY
            | ResponseCode::PULL_OFFSET_MOVED => {
                self.next[queue] = PullMessageResponseHeader::decode(&view)?.next_begin_offset;
            }
            code => {
                self.refused += 1;
                if self.refused > MAX_REFUSALS {
                    return Err(BenchError::Wrong(format!("pulls are refused with {code}")));
                }
            }
        }
        Ok(())
    }

    fn is_done(&self, _: Nanos) -> bool {
        self.progress
            .total()
            .is_some_and(|sent| self.seen.count >= sent.saturating_sub(self.progress.refused()))
    }
}

/// Which messages have come.
#[derive(Debug, Default)]
struct Seen {
    bits: Vec<u64>,
    count: u64,
}

impl Seen {
    /// Marks a message; false when it was marked before.
    fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        self.count += u64::from(new);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.insert(130) && seen.insert(0) && !seen.insert(130) && seen.insert(131));
        assert_eq!(seen.count, 3);
    }
}
