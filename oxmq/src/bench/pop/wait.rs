//! A pop that waits at an empty queue, and the message that it is answered with.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::{AckMessageRequestHeader, Header, PopMessageResponseHeader};
use oxmq_protocol::message::RecordView;

use super::{Given, pop_header};
use crate::bench::args::PopArgs;
use crate::bench::clock::{Nanos, wall_clock_ms};
use crate::bench::control::Control;
use crate::bench::error::BenchError;
use crate::bench::records::records;
use crate::bench::report::Latency;
use crate::bench::setup::Setup;
use crate::bench::{tally, topics};

const GROUP: &str = "oxmq-bench-pop-wait";
/// Waits that do not count: the first ones of a topic make its files.
const UNCOUNTED: u32 = 100;
/// From the time when a pop is written to the send of its message: it waits by then.
const HELD: Duration = Duration::from_millis(2);

/// Has pops wait, one after the other, and measures how long a message takes to each.
pub(super) fn run(
    args: &PopArgs,
    setup: &mut Setup<'_>,
    broker_name: &str,
) -> Result<Latency, BenchError> {
    let (common, clock) = (setup.common, setup.clock);
    let topic = format!("{}-wait", common.topic);
    setup.control.create_topic(&topic, 1)?;
    let mut waiter = Waiter {
        control: Control::connect(setup.broker, common.form())?,
        topic: &topic,
        broker_name,
        seconds: args.invisible_seconds,
    };
    // What an earlier run has left.
    while waiter.pop(0)? {}
    let mut latency = tally::histogram()?;
    let waits = UNCOUNTED + args.waits;
    thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel::<()>();
        let (got, has_got) = mpsc::channel::<Nanos>();
        let waiting = scope.spawn(move || -> Result<(), BenchError> {
            for _ in 0..waits {
                // Nobody listens any more once the other side has failed.
                let _ = ready.send(());
                while !waiter.pop_then(super::POLL_MS, || {
                    let _ = got.send(clock.now());
                })? {}
            }
            Ok(())
        });
        for number in 0..waits {
            if is_ready.recv().is_err() {
                break;
            }
            thread::sleep(HELD);
            let sent_at = clock.now();
            topics::send(&mut setup.control, &topic, 0)?;
            let Ok(got_at) = has_got.recv() else { break };
            if number >= UNCOUNTED {
                latency.saturating_record(got_at.saturating_sub(sent_at));
            }
        }
        waiting.join().map_err(|_| BenchError::Usage("a thread panicked".into()))?
    })?;
    Ok(Latency::of(&latency))
}

struct Waiter<'a> {
    control: Control,
    topic: &'a str,
    broker_name: &'a str,
    seconds: u32,
}

impl Waiter<'_> {
    /// Pops and acknowledges one message. Returns whether there was one.
    fn pop(&mut self, poll_ms: i64) -> Result<bool, BenchError> {
        self.pop_then(poll_ms, || {})
    }

    /// The same, and says so before the acknowledgement.
    fn pop_then(&mut self, poll_ms: i64, popped: impl FnOnce()) -> Result<bool, BenchError> {
        let mut pop = pop_header(GROUP, self.topic, 1, self.seconds);
        pop.poll_time = poll_ms;
        pop.born_time = wall_clock_ms();
        let request = RemotingCommand::request(RequestCode::POP_MESSAGE).with_header(&pop);
        let answer = self.control.call(request)?;
        match answer.response_code() {
            ResponseCode::SUCCESS => popped(),
            ResponseCode::PULL_NOT_FOUND | ResponseCode::POLLING_TIMEOUT => return Ok(false),
            code => return Err(BenchError::Wrong(format!("a pop was refused with {code}"))),
        }
        let header = PopMessageResponseHeader::decode(&answer.ext_fields)?;
        let given = Given {
            pop_time_ms: header.pop_time,
            invisible_ms: header.invisible_time,
            revive_queue_id: header.revive_qid,
            starts: header.start_offset_info.as_deref().unwrap_or_default(),
        };
        for record in records(&answer.body) {
            let record = RecordView::parse(record?.bytes)?;
            let (queue_id, offset) = (record.queue_id(), record.queue_offset());
            let ack = AckMessageRequestHeader {
                consumer_group: GROUP.into(),
                topic: self.topic.into(),
                queue_id,
                extra_info: given.receipt(self.broker_name, queue_id, offset)?,
                offset,
                lite_topic: None,
            };
            let request = RemotingCommand::request(RequestCode::ACK_MESSAGE).with_header(&ack);
            self.control.demand("acknowledgement", request)?;
        }
        Ok(true)
    }
}
