//! What the properties of a message and the attributes of its topic say about each other.
//!
//! That a topic says `message.type=FIFO` keeps no other message out: brokers of the reference take
//! them all, too, and leave it to the proxy to refuse.
//!
//! Reference: `SendMessageProcessor.sendMessage` (broker), `TopicMessageType` (common), 5.5.0.

use oxmq_protocol::message::properties;

use crate::attributes::{Attributes, CLEANUP_POLICY, COMPACTION, MESSAGE_TYPE};
use crate::pop::lite::queue_name;

/// Name of the property that holds a priority.
const PRIORITY: &str = "_SYS_MSG_PRIORITY_";

/// Name of the property that names a lite topic.
const LITE_TOPIC: &str = "__LITE_TOPIC";

/// Names of properties that make a message something else than one with a priority.
const OTHER_TYPES: [&str; 5] =
    ["DELAY", "TIMER_DELIVER_MS", "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "__SHARDINGKEY"];

/// Where a message with a priority goes: its priority is the number of its queue, and the highest
/// ones share the last queue. A message that is also something else loses its priority. A topic that is not
/// to be written any more has no such queues.
pub(crate) fn queue_of_priority(text: &mut Vec<u8>, write_queue_nums: i32) -> Option<i32> {
    let priority: i32 = properties::property_str(text, PRIORITY)?.parse().ok()?;
    if priority < 0 {
        return None;
    }
    let has = |name| properties::property_str(text, name);
    let is_half = has("TRAN_MSG").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_half || OTHER_TYPES.iter().any(|name| has(name).is_some()) {
        properties::remove(text, PRIORITY);
        return None;
    }
    (write_queue_nums > 0).then(|| priority.min(write_queue_nums - 1))
}

/// Has a message of a lite topic of `topic` put into the queue of that as well.
pub(crate) fn to_lite_topic(text: &mut Vec<u8>, topic: &str) {
    let lite_topic = properties::property_str(text, LITE_TOPIC).unwrap_or_default();
    if let Some(queue) = queue_name(topic, lite_topic) {
        properties::set(text, properties::INNER_MULTI_DISPATCH, queue.as_bytes());
    }
}

/// Whether the queues of a topic stand for priorities.
pub(crate) fn has_priorities(topic: &Attributes) -> bool {
    topic.get(MESSAGE_TYPE).is_some_and(|kind| kind == "PRIORITY")
}

/// Whether a topic that keeps the last message of each key is sent one without a key.
pub(crate) fn lacks_key(topic: &Attributes, text: &[u8]) -> bool {
    topic.get(CLEANUP_POLICY).is_some_and(|policy| policy == COMPACTION)
        && properties::property_str(text, properties::KEYS)
            .is_none_or(|keys| keys.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(text: &str) -> (Option<i32>, String) {
        let mut text = text.replace('=', "\u{1}").replace(';', "\u{2}").into_bytes();
        let queue = queue_of_priority(&mut text, 4);
        let text = String::from_utf8(text).unwrap();
        (queue, text.replace('\u{1}', "=").replace('\u{2}', ";"))
    }

    #[test]
    fn a_priority_is_a_queue_unless_the_message_is_something_else() {
        assert_eq!(queue("a=b;"), (None, "a=b;".to_owned()));
        for (priority, expected) in [("0", Some(0)), ("3", Some(3)), ("9", Some(3)), ("x", None)] {
            let text = format!("_SYS_MSG_PRIORITY_={priority};");
            assert_eq!(queue(&text), (expected, text));
        }
        let text = "_SYS_MSG_PRIORITY_=-1;".to_owned();
        assert_eq!(queue(&text), (None, text));
        for other in ["DELAY=3;", "TRAN_MSG=true;", "__SHARDINGKEY=k;", "TIMER_DELAY_MS=9;"] {
            assert_eq!(queue(&format!("{other}_SYS_MSG_PRIORITY_=2;")), (None, other.to_owned()));
        }
    }

    #[test]
    fn a_priority_is_no_queue_where_nothing_is_written_any_more() {
        let mut text = b"_SYS_MSG_PRIORITY_\x013\x02".to_vec();
        assert_eq!(queue_of_priority(&mut text, 0), None);
    }

    #[test]
    fn compacted_topics_want_keys() {
        let compacted = Attributes::from([(CLEANUP_POLICY.to_owned(), COMPACTION.to_owned())]);
        for (text, lacks) in [("", true), ("KEYS\u{1} \u{2}", true), ("KEYS\u{1}k\u{2}", false)] {
            assert_eq!(lacks_key(&compacted, text.as_bytes()), lacks, "{text}");
            assert!(!lacks_key(&Attributes::new(), text.as_bytes()));
        }
    }
}
