//! How late messages were delivered, by what is stored in their records.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use oxmq_protocol::message::{RecordView, properties};

use crate::bench::control::Control;
use crate::bench::error::BenchError;
use crate::bench::records::records;
use crate::bench::tally;

/// A message that has not come by then, after its time, does not come.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PULL_MESSAGES: i32 = 1_024;

/// Where each queue ends.
pub(super) fn ends(
    control: &mut Control,
    topic: &str,
    queues: u32,
) -> Result<Vec<i64>, BenchError> {
    (0..queues).map(|queue| control.max_offset(topic, queue)).collect()
}

/// Waits for `count` messages behind `before`; returns how late each was, nanoseconds.
pub(super) fn of(
    control: &mut Control,
    topic: &str,
    before: &[i64],
    count: u64,
) -> Result<Histogram<u64>, BenchError> {
    let queues = before.len() as u32;
    let deadline = Instant::now() + DELIVERY_LIMIT;
    let expected = before.iter().sum::<i64>() + count as i64;
    loop {
        let stored = control.stored(topic, queues)?;
        if stored == expected {
            break;
        }
        if stored > expected || Instant::now() >= deadline {
            let delivered = stored - (expected - count as i64);
            return Err(BenchError::Wrong(format!("{delivered} of {count} timers delivered")));
        }
        thread::sleep(LOOK_EVERY);
    }
    let mut late = tally::histogram()?;
    for (queue, from) in (0..).zip(before) {
        let (mut next, end) = (*from, control.max_offset(topic, queue)?);
        while next < end {
            let answer = control.pull(topic, queue as i32, next, PULL_MESSAGES)?;
            for record in records(&answer.body) {
                let record = RecordView::parse(record?.bytes)?;
                let ms = late_ms(record)?;
                late.saturating_record((ms as u64).saturating_mul(1_000_000).max(1));
                next = record.queue_offset() + 1;
            }
        }
    }
    Ok(late)
}

/// Milliseconds from the time of a message to its delivery.
fn late_ms(record: RecordView<'_>) -> Result<i64, BenchError> {
    let due = properties::property_str(record.properties(), properties::TIMER_DELIVER_MS);
    let due_ms: i64 = due.and_then(|due| due.parse().ok()).ok_or_else(|| {
        BenchError::Unexpected("a delivered message without its TIMER_DELIVER_MS".into())
    })?;
    let late_ms = record.store_timestamp_ms() - due_ms;
    if late_ms < 0 {
        return Err(BenchError::Wrong(format!("a message came {} ms early", -late_ms)));
    }
    Ok(late_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxmq_protocol::message::record::patch;
    use oxmq_protocol::message::{EncodeOptions, Message, encode_record};

    #[test]
    fn message_is_late_from_its_time_to_its_storage_and_never_early() {
        let mut bytes = Vec::new();
        let message =
            Message { properties: b"TIMER_DELIVER_MS\x011000\x02", ..Message::new("t", 0, b"x") };
        encode_record(&message, &EncodeOptions::default(), &mut bytes).unwrap();
        for (stored_ms, late) in [(1_000, Some(0)), (1_007, Some(7)), (999, None)] {
            patch(&mut bytes, 0, 0, stored_ms);
            let found = late_ms(RecordView::parse(&bytes).unwrap());
            assert_eq!(found.ok(), late, "{stored_ms}");
        }
    }
}
