//! Reads a sample of what was acknowledged back and compares it byte for byte.

use std::thread;
use std::time::{Duration, Instant};

use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::message::RecordView;

use super::control::Control;
use super::error::BenchError;
use super::payload::{Payload, topic_name, topic_number};
use super::setup::Setup;
use super::tally::Sample;

/// The reference answers a send before its queue knows the message; this long it may take.
pub(super) const CATCH_UP: Duration = Duration::from_secs(20);
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Reads the samples back, each with `messages` messages, and returns how many messages were equal.
///
/// # Errors
/// When one is not there, or differs, or does not match its checksum.
pub(super) fn read_back(
    setup: &mut Setup<'_>,
    samples: &[Sample],
    messages: u32,
) -> Result<u64, BenchError> {
    let Setup { common, control, payload, topics, .. } = setup;
    for sample in samples {
        let topic = match topics {
            Some(topics) => &topic_name(&common.topic, topic_number(sample.identity, *topics)),
            None => &common.topic,
        };
        let mut found = 0;
        while found < i64::from(messages) {
            let wanted = i64::from(messages) - found;
            found += compare(control, payload, topic, *sample, found, wanted)?;
        }
    }
    Ok(samples.len() as u64 * u64::from(messages))
}

/// Pulls once from the sample's message `skip` on; returns how many messages came and were right.
fn compare(
    control: &mut Control,
    payload: &Payload,
    topic: &str,
    sample: Sample,
    skip: i64,
    wanted: i64,
) -> Result<i64, BenchError> {
    let from = sample.offset + skip;
    let answer = pull(control, topic, sample.queue, from, wanted as i32)?;
    let mut bytes = &answer.body[..];
    let mut offset = from;
    while !bytes.is_empty() && offset < from + wanted {
        let record = RecordView::parse(bytes)?;
        record.verify_body_crc()?;
        let identity = sample.identity + (offset - sample.offset) as u64;
        let keys = format!("order-{identity:016X}");
        let equal = record.queue_offset() == offset
            && record.topic() == topic
            && record.property("KEYS") == Some(keys.as_bytes())
            && payload.is_body_of(identity, record.body());
        if !equal {
            return Err(BenchError::Wrong(format!(
                "queue {} offset {offset} does not hold the message that was acknowledged there",
                sample.queue
            )));
        }
        bytes = &bytes[record.total_bytes()..];
        offset += 1;
    }
    if offset == from {
        return Err(BenchError::Wrong(format!(
            "queue {} offset {from} was acknowledged but is empty",
            sample.queue
        )));
    }
    Ok(offset - from)
}

/// Pulls until the queue holds `offset`.
fn pull(
    control: &mut Control,
    topic: &str,
    queue: i32,
    offset: i64,
    count: i32,
) -> Result<RemotingCommand, BenchError> {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        match control.pull(topic, queue, offset, count) {
            Err(BenchError::Refused { .. }) if Instant::now() < deadline => {
                thread::sleep(RETRY_AFTER);
            }
            outcome => return outcome,
        }
    }
}
