//! When a message is due.

use oxmq_protocol::message::{RecordView, properties};
use oxmq_store::PutMessageStatus;

/// The time that a message asks for; `None` when it has none, or has waited for it already.
///
/// # Errors
/// When it is no number.
pub(super) fn requested(text: &[u8], now_ms: i64) -> Result<Option<i64>, PutMessageStatus> {
    let number = |name| {
        properties::property_str(text, name)
            .map(|number| number.parse().map_err(|_| PutMessageStatus::WheelTimerMsgIllegal))
            .transpose()
    };
    if properties::property(text, properties::TIMER_OUT_MS).is_some() {
        return Ok(None);
    }
    if let Some(seconds) = number(properties::TIMER_DELAY_SEC)? {
        let ms: i64 = i64::saturating_mul(seconds, 1_000);
        return Ok(Some(now_ms.saturating_add(ms)));
    }
    if let Some(ms) = number(properties::TIMER_DELAY_MS)? {
        return Ok(Some(now_ms.saturating_add(ms)));
    }
    number(properties::TIMER_DELIVER_MS)
}

/// The slot in which a message waits: the last one that begins before its time.
pub(super) fn slot_before(deliver_ms: i64, precision_ms: i64) -> i64 {
    (deliver_ms - 1).div_euclid(precision_ms) * precision_ms
}

/// The slot that is noted in a message.
pub(super) fn slot_of(record: RecordView<'_>) -> Option<i64> {
    properties::property_str(record.properties(), properties::TIMER_OUT_MS)?.parse().ok()
}

/// The slot for a message: its own, or one on the way there when that is more than `slots` away.
pub(super) fn slot_on_the_way(
    out_ms: i64,
    write_time_ms: i64,
    slots: i64,
    precision_ms: i64,
) -> i64 {
    let window_ms = slots * precision_ms;
    let beyond_ms = out_ms - write_time_ms - window_ms;
    if beyond_ms < 0 {
        out_ms
    } else if beyond_ms < slots / 3 * precision_ms {
        // Leaves enough for the next one.
        write_time_ms + slots / 2 * precision_ms
    } else {
        write_time_ms + window_ms
    }
}

/// The very time within its slot. A message that does not tell it any more waits until the end.
pub(super) fn exact(record: RecordView<'_>, slot_ms: i64, precision_ms: i64) -> i64 {
    let text = record.properties();
    let end_ms = slot_ms + precision_ms;
    // Delays count from the time when the message came; a roll has stored it again since.
    let has_rolled = properties::property(text, properties::TIMER_ROLL_TIMES).is_some();
    let has_delay = [properties::TIMER_DELAY_SEC, properties::TIMER_DELAY_MS]
        .iter()
        .any(|name| properties::property(text, name).is_some());
    if has_rolled && has_delay {
        return end_ms;
    }
    let text = without_slot(text);
    match requested(&text, record.store_timestamp_ms()) {
        Ok(Some(due_ms)) if due_ms > slot_ms && due_ms <= end_ms => due_ms,
        _ => end_ms,
    }
}

fn without_slot(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    properties::remove(&mut text, properties::TIMER_OUT_MS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_begins_before_the_time_and_a_time_on_the_edge_belongs_to_the_one_before() {
        for (deliver_ms, slot_ms) in [(2_000, 1_000), (2_001, 2_000), (2_999, 2_000), (1, 0)] {
            assert_eq!(slot_before(deliver_ms, 1_000), slot_ms, "{deliver_ms}");
        }
    }

    #[test]
    fn forms_are_looked_at_in_the_order_of_the_reference() {
        let all = b"TIMER_DELIVER_MS\x015\x02TIMER_DELAY_MS\x0120\x02TIMER_DELAY_SEC\x013\x02";
        assert_eq!(requested(all, 1_000), Ok(Some(4_000)));
        assert_eq!(requested(&all[..37], 1_000), Ok(Some(1_020)));
        assert_eq!(requested(&all[..19], 1_000), Ok(Some(5)));
        assert_eq!(requested(b"KEYS\x01k\x02", 1_000), Ok(None));
        let waited = b"TIMER_DELAY_MS\x0120\x02TIMER_OUT_MS\x011000\x02";
        assert_eq!(requested(waited, 1_000), Ok(None));
        let words = b"TIMER_DELAY_MS\x01soon\x02";
        assert_eq!(requested(words, 1_000), Err(PutMessageStatus::WheelTimerMsgIllegal));
        let far = format!("TIMER_DELAY_SEC\u{1}{}\u{2}", i64::MAX);
        assert_eq!(requested(far.as_bytes(), 1_000), Ok(Some(i64::MAX)));
    }
}
