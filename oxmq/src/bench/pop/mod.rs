//! Consumers that pop a filled topic and acknowledge what they get, each message on its own as the
//! official consumers do; and how soon a pop that waits is answered when a message comes.

mod consumer;
mod wait;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::PopMessageRequestHeader;
use oxmq_protocol::message::{ReceiptHandle, TopicKind};
use serde::Serialize;

use self::consumer::Consumer;
use super::args::PopArgs;
use super::clock::wall_clock_ms;
use super::control::Control;
use super::drain;
use super::error::BenchError;
use super::lane::Line;
use super::meter::Meter;
use super::report::{Counts, Latency, Report};
use super::setup::{Setup, run_lanes};
use super::tally::Tally;

/// How long pops wait, as those of the official consumers.
const POLL_MS: i64 = 15_000;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PopReport {
    #[serde(flatten)]
    report: Report,
    waits: u32,
    /// From the send of a message to the answer of the pop that waits for it.
    wait_us: Latency,
}

/// Runs `pop`.
pub(super) fn run(args: &PopArgs) -> Result<PopReport, BenchError> {
    let common = &args.common;
    common.without_count("pop")?;
    let mut setup = Setup::new(common)?;
    let broker_name: Arc<str> = broker_name(&mut setup.control)?.into();
    drain::fill(&setup, args.fill)?;
    let filled = setup.settle()?.unsigned_abs();
    // A group that has been given something before would not begin at the first message.
    let group = format!("oxmq-bench-pop-{}", wall_clock_ms());
    let done = Arc::new(AtomicU64::new(0));
    let window = setup.window();
    let line = |stream| {
        let header = pop_header(&group, &common.topic, args.pop, args.invisible_seconds);
        let consumer = Consumer::new(header, &broker_name, common.form(), window, filled, &done);
        Line::new(stream, consumer)
    };
    let lines = setup.connect(common.connections)?.into_iter().map(line).collect();
    let meter = Meter::start(setup.clock, window, common.server_pid);
    let threads = common.threads(args.pop);
    let (consumers, tallies) =
        run_lanes(lines, threads, setup.clock, window, || Tally::new(window, 0))?;
    let usage = meter.finish()?;
    let tally = Tally::sum(window, tallies)?;
    let popped = consumer::popped_once(&consumers)?;
    let unanswered = consumers.iter().map(Consumer::unanswered).sum();
    // It may have ended before its time.
    let is_empty = popped >= filled;
    let ended = if is_empty { tally.last_at } else { window.end };
    let counts = Counts {
        messages: tally.succeeded,
        seconds: Some(ended.saturating_sub(window.warm) as f64 / 1e9),
        refused: tally.refused,
        unanswered,
        verified: consumers.iter().map(|consumer| consumer.checked).sum(),
    };
    let mut shape = setup.shape("pop");
    shape.batch = Some(args.pop);
    let report = Report::new(shape, counts, &usage).with_latency(&tally.latency);
    if report.is_empty() {
        return Err(BenchError::Wrong("all was popped in the warm-up: use a larger --fill".into()));
    }
    // The disk and the server still have the acknowledgements to deal with.
    setup.rest()?;
    let wait_us = wait::run(args, &mut setup, &broker_name)?;
    Ok(PopReport { report, waits: args.waits, wait_us })
}

fn pop_header(group: &str, topic: &str, count: u32, seconds: u32) -> PopMessageRequestHeader {
    PopMessageRequestHeader {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: -1,
        max_msg_nums: count as i32,
        invisible_time: i64::from(seconds) * 1_000,
        poll_time: POLL_MS,
        born_time: 0,
        init_mode: 0,
        exp_type: Some("TAG".into()),
        exp: Some("*".into()),
        order: None,
        attempt_id: None,
    }
}

/// Receipts name the broker.
fn broker_name(control: &mut Control) -> Result<String, BenchError> {
    let request = RemotingCommand::request(RequestCode::GET_BROKER_CONFIG);
    let answer = control.demand("broker config", request)?;
    let text = String::from_utf8_lossy(&answer.body);
    let mut names = text.lines().filter_map(|line| line.strip_prefix("brokerName="));
    let name = names.next().map(|name| name.trim().to_owned());
    name.ok_or_else(|| BenchError::Unexpected("a configuration without brokerName".into()))
}

/// What the answer to a pop says about the messages in it.
#[derive(Debug)]
struct Given<'a> {
    pop_time_ms: i64,
    invisible_ms: i64,
    revive_queue_id: i32,
    /// Where the pop of each queue began.
    starts: &'a str,
}

impl Given<'_> {
    /// What a message of the topic itself is acknowledged by.
    fn receipt(
        &self,
        broker_name: &str,
        queue_id: i32,
        queue_offset: i64,
    ) -> Result<String, BenchError> {
        let wanted = format!("{} {queue_id} ", TopicKind::Normal.digit());
        let start_offset = self.starts.split(';').find_map(|start| start.strip_prefix(&wanted));
        let start_offset =
            start_offset.and_then(|offset| offset.parse().ok()).ok_or_else(|| {
                BenchError::Unexpected(format!("queue {queue_id} is not in {:?}", self.starts))
            })?;
        let receipt = ReceiptHandle {
            start_offset,
            pop_time_ms: self.pop_time_ms,
            invisible_ms: self.invisible_ms,
            revive_queue_id: self.revive_queue_id,
            kind: TopicKind::Normal,
            broker_name,
            queue_id,
            queue_offset,
        };
        Ok(receipt.to_string())
    }
}

impl fmt::Display for PopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, waits, wait_us } = self;
        writeln!(f, "{report}")?;
        write!(f, "  waits us   {wait_us}, {waits} of them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_begins_where_the_pop_of_its_queue_began() {
        let given = Given {
            pop_time_ms: 5,
            invisible_ms: 60,
            revive_queue_id: 2,
            starts: "0 3 40;1 13 7;0 13 41",
        };
        assert_eq!(given.receipt("b", 13, 44).unwrap(), "41 5 60 2 0 b 13 44");
        assert!(given.receipt("b", 1, 44).is_err());
    }
}
