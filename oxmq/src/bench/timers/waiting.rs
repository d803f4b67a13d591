//! Sends of messages that are to wait, as fast as the broker takes them.

use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::CommandWriter;
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::header::{Header, SendMessageRequestHeaderV2};
use oxmq_protocol::message::properties;

use crate::bench::answer::Answer;
use crate::bench::clock::{Nanos, Window, wall_clock_ms};
use crate::bench::error::BenchError;
use crate::bench::lane::{Line, Traffic};
use crate::bench::payload::{FIRST_OPAQUE, PRODUCER_GROUP, identity};
use crate::bench::setup::{Setup, run_lanes};
use crate::bench::slots::Slots;
use crate::bench::tally::Tally;

const CONNECTIONS: u32 = 8;
const IN_FLIGHT: u32 = 32;
const LIMIT: Duration = Duration::from_secs(600);

/// When messages are due, ms since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// All at once.
    At(i64),
    /// At even intervals.
    Spread { from_ms: i64, over_ms: i64 },
}

impl Due {
    fn of(self, number: u64, count: u64) -> i64 {
        match self {
            Self::At(due_ms) => due_ms,
            Self::Spread { from_ms, over_ms } => {
                from_ms + (i128::from(over_ms) * i128::from(number) / i128::from(count)) as i64
            }
        }
    }
}

/// Sends `count` messages, and returns when all are stored.
pub(super) fn send(setup: &Setup<'_>, topic: &str, due: Due, count: u64) -> Result<(), BenchError> {
    let common = setup.common;
    let shape = Arc::new(Shape {
        topic: topic.to_owned(),
        form: common.form(),
        queues: u64::from(common.queues),
        body: vec![b'x'; common.size as usize],
        due,
        count,
        run: wall_clock_ms(),
    });
    let line = |(connection, stream)| {
        let next = u64::from(connection);
        let slots = Slots::new(IN_FLIGHT);
        Line::new(stream, Waiting { shape: Arc::clone(&shape), connection, slots, next })
    };
    let lines = (0..).zip(setup.connect(CONNECTIONS)?).map(line).collect();
    let window = Window::new(setup.clock.now(), Duration::ZERO, LIMIT);
    let threads = common.threads.unwrap_or(1) as usize;
    let (lines, tallies) =
        run_lanes(lines, threads, setup.clock, window, || Tally::new(window, 0))?;
    let tally = Tally::sum(window, tallies)?;
    let unanswered: usize = lines.iter().map(|line| line.slots.in_flight()).sum();
    if unanswered > 0 || !tally.refused.is_empty() || tally.succeeded != count {
        let (stored, refused) = (tally.succeeded, &tally.refused);
        return Err(BenchError::Wrong(format!(
            "{stored} of {count} timers stored, {unanswered} unanswered, refused {refused:?}"
        )));
    }
    Ok(())
}

/// What all connections share.
#[derive(Debug)]
struct Shape {
    topic: String,
    form: HeaderForm,
    queues: u64,
    body: Vec<u8>,
    due: Due,
    count: u64,
    run: i64,
}

/// One connection, which sends every so many messages.
#[derive(Debug)]
struct Waiting {
    shape: Arc<Shape>,
    connection: u32,
    slots: Slots,
    /// Number of its next message.
    next: u64,
}

impl Waiting {
    fn append(&self, number: u64, sequence: u32, out: &mut Vec<u8>) {
        let shape = &*self.shape;
        let mut text = Vec::with_capacity(96);
        let due_ms = shape.due.of(number, shape.count).to_string();
        properties::append(&mut text, properties::TIMER_DELIVER_MS, due_ms.as_bytes());
        let unique = format!("{:016X}{:016X}", shape.run, identity(self.connection, number));
        properties::append(&mut text, properties::UNIQ_KEY, unique.as_bytes());
        let header = SendMessageRequestHeaderV2 {
            producer_group: PRODUCER_GROUP.into(),
            topic: shape.topic.clone(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: (number % shape.queues) as i32,
            sys_flag: 0,
            born_timestamp: wall_clock_ms(),
            flag: 0,
            properties: Some(String::from_utf8_lossy(&text).into_owned()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: None,
        };
        let (code, opaque) =
            (RequestCode::SEND_MESSAGE_V2, FIRST_OPAQUE.wrapping_add_unsigned(sequence));
        let mut writer = CommandWriter::request(out, shape.form, code, opaque, false);
        header.encode(&mut writer);
        writer.finish(&shape.body);
    }
}

impl Traffic for Waiting {
    type Tally = Tally;

    fn fill(&mut self, now: Nanos, out: &mut Vec<u8>) {
        while self.next < self.shape.count
            && let Some(sequence) = self.slots.take(now)
        {
            self.append(self.next, sequence, out);
            self.next += u64::from(CONNECTIONS);
        }
    }

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let answer = Answer::read(frame)?;
        let sequence = answer.opaque.wrapping_sub(FIRST_OPAQUE).cast_unsigned();
        let sent_at = self.slots.release(sequence).ok_or_else(|| {
            BenchError::Unexpected(format!("answer to request {}", answer.opaque))
        })?;
        tally.count(answer.code, sent_at, now);
        Ok(())
    }

    fn is_done(&self, _: Nanos) -> bool {
        self.next >= self.shape.count && self.slots.in_flight() == 0
    }
}

#[test]
fn messages_are_spread_evenly_over_their_time() {
    let due = Due::Spread { from_ms: 1_000, over_ms: 3_000 };
    let all: Vec<_> = (0..4).map(|number| due.of(number, 4)).collect();
    assert_eq!(all, [1_000, 1_750, 2_500, 3_250]);
    assert_eq!(Due::At(7).of(3, 4), 7);
}
