//! Properties: what they ask for, and what the broker adds to them.

use oxmq_protocol::message::properties;

use super::SendMessage;

/// What the properties of a message ask for.
#[derive(Debug, Default)]
pub(super) struct Traits {
    pub(super) is_delayed: bool,
    pub(super) is_half: bool,
    /// The client has given it one, and again when it sends it again.
    pub(super) has_unique_key: bool,
    pub(super) has_priority: bool,
    pub(super) has_lite_topic: bool,
    pub(super) no_wait: bool,
}

impl SendMessage {
    /// Turns what the client sent into what is stored: stamps of this broker, a unique key, and
    /// none of the names that only a broker may set.
    pub(super) fn complete_properties(&self, text: &mut Vec<u8>, batch: bool) -> Traits {
        let mut traits = Traits::default();
        let mut has_stamps = false;
        for (name, value) in properties::pairs(text) {
            match name {
                b"UNIQ_KEY" => traits.has_unique_key = true,
                b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => has_stamps = true,
                b"TRAN_MSG" if value.eq_ignore_ascii_case(b"true") => {
                    traits.is_half = !batch;
                }
                // A batch is refused for a delay, and only for one.
                b"DELAY" => traits.is_delayed |= !batch || !is_no_delay(value),
                b"__LITE_TOPIC" => traits.has_lite_topic = !value.is_empty(),
                b"_SYS_MSG_PRIORITY_" => traits.has_priority = true,
                b"WAIT" => traits.no_wait = value.eq_ignore_ascii_case(b"false"),
                b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => {
                    traits.is_delayed |= !batch;
                }
                _ => {}
            }
        }
        if batch {
            // The envelope's properties never reach the stored messages.
            return traits;
        }
        if has_stamps {
            properties::retain(text, |name| {
                !matches!(name, b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK")
            });
        }
        if text.last().is_some_and(|last| *last != properties::PAIR_SEPARATOR) {
            text.push(properties::PAIR_SEPARATOR);
        }
        if !traits.has_unique_key {
            text.extend_from_slice(b"UNIQ_KEY\x01");
            self.unique_keys.append_next(text);
            text.push(properties::PAIR_SEPARATOR);
        }
        text.extend_from_slice(self.answers.stamps.of_messages());
        traits
    }
}

/// Tells whether a delay level is that of a message without delay.
fn is_no_delay(level: &[u8]) -> bool {
    let level = std::str::from_utf8(level).ok();
    level.and_then(|level| level.parse::<i32>().ok()).is_some_and(|level| level <= 0)
}
