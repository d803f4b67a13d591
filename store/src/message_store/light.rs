//! Light queues: further queues of a message, which name themselves in its properties.
//!
//! `INNER_MULTI_DISPATCH` has their names with commas between them, `INNER_MULTI_QUEUE_OFFSET`,
//! which the store adds, the message's offset in each. A light queue has id 0 and units like any
//! other; its name is no topic's.
//!
//! A message is in all the queues that it names or in none: the reference cannot read what it
//! writes where only some are light.
//!
//! Reference: `LmqDispatch`, `ConsumeQueue.multiDispatchLmqQueue` (store), `MixAll` (common), 5.5.0.

use std::sync::{Arc, MutexGuard};

use oxmq_protocol::message::{RecordView, properties};

use super::put::{is_schedule_topic, is_storable_topic};
use crate::commit_log::AppendError;
use crate::config::StoreConfig;
use crate::consume_queue::{ConsumeQueue, PushOutcome, QueueTail, Unit};
use crate::limits::MAX_QUEUE_OFFSET;

/// What the names of light queues begin with.
pub const LIGHT_PREFIX: &str = "%LMQ%";

/// Id of every light queue.
pub(crate) const LIGHT_QUEUE_ID: i32 = 0;

const SEPARATOR: char = ',';

/// Digits of an offset in the property: every offset has as many, so that a record's length is
/// known before its offsets are.
const OFFSET_DIGITS: usize = 19;

/// Topics whose messages wait here for another one, to be put again: only then do their light
/// queues count.
const WAITING_PREFIXES: [&str; 3] = ["%RETRY%", "rmq_sys_", "RMQ_SYS_TRANS_HALF_TOPIC"];

impl StoreConfig {
    /// Whether messages go into light queues.
    pub(crate) fn has_light_queues(&self) -> bool {
        self.enable_lmq && self.enable_multi_dispatch
    }
}

/// Whether messages of `topic` may be in light queues.
pub(crate) fn may_be_light(topic: &str) -> bool {
    !is_schedule_topic(topic) && !WAITING_PREFIXES.iter().any(|prefix| topic.starts_with(prefix))
}

/// The names in a message's properties: nothing when there are none, or one is not that of a light queue.
pub(crate) fn names(text: &[u8]) -> Option<Vec<&str>> {
    let names = properties::property_str(text, properties::INNER_MULTI_DISPATCH)?;
    let names: Vec<_> = names.trim_end_matches(SEPARATOR).split(SEPARATOR).collect();
    let is_light = |name: &&str| name.starts_with(LIGHT_PREFIX) && is_storable_topic(name);
    names.iter().all(is_light).then_some(names)
}

/// The light queues of a record besides its own queue, and its offset in each.
pub(crate) fn places<'r>(record: &RecordView<'r>) -> Vec<(&'r str, i64)> {
    let text = record.properties();
    let offsets = properties::property_str(text, properties::INNER_MULTI_QUEUE_OFFSET);
    let (true, Some(offsets), Some(names)) =
        (may_be_light(record.topic()), offsets, offsets.and_then(|_| names(text)))
    else {
        return Vec::new();
    };
    let offsets: Vec<_> = offsets.trim_end_matches(SEPARATOR).split(SEPARATOR).collect();
    if names.len() != offsets.len() {
        return Vec::new();
    }
    let mut places: Vec<(&str, i64)> = Vec::with_capacity(names.len());
    for (name, offset) in names.into_iter().zip(offsets) {
        let offset = offset.parse().ok().filter(|offset| (0..MAX_QUEUE_OFFSET).contains(offset));
        let is_own = name == record.topic() && record.queue_id() == LIGHT_QUEUE_ID;
        if let Some(offset) = offset
            && !is_own
            && !places.iter().any(|(other, _)| *other == name)
        {
            places.push((name, offset));
        }
    }
    places
}

/// The offset of a record in a queue of its own topic, or in a light one.
pub fn offset_in(record: &RecordView<'_>, topic: &str, queue_id: i32) -> Option<i64> {
    if record.topic() == topic && record.queue_id() == queue_id {
        return Some(record.queue_offset());
    }
    let place = places(record).into_iter().find(|(name, _)| *name == topic)?;
    (queue_id == LIGHT_QUEUE_ID).then_some(place.1)
}

/// Properties of a message for its light queues, with room for its offsets at the end.
pub(crate) fn with_room_for_offsets(text: &[u8], names: &[&str]) -> Vec<u8> {
    let mut text = text.to_vec();
    let zeros = "0".repeat(OFFSET_DIGITS);
    let offsets = vec![zeros.as_str(); names.len()].join(",");
    properties::set(&mut text, properties::INNER_MULTI_QUEUE_OFFSET, offsets.as_bytes());
    text
}

/// The properties without offsets that somebody else made up.
pub(crate) fn without_offsets(text: &[u8]) -> Option<Vec<u8>> {
    properties::property(text, properties::INNER_MULTI_QUEUE_OFFSET)?;
    let mut text = text.to_vec();
    properties::remove(&mut text, properties::INNER_MULTI_QUEUE_OFFSET);
    Some(text)
}

/// What the store makes of properties that name light queues: how many, with room for offsets, and
/// without.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_names(text: &[u8]) -> Option<(usize, Vec<u8>, Vec<u8>)> {
    let names = names(text)?;
    let with_room = with_room_for_offsets(text, &names);
    let without = without_offsets(&with_room)?;
    Some((names.len(), with_room, without))
}

/// The light queues of one record that is appended.
#[derive(Debug)]
pub(crate) struct LightQueues {
    /// Each queue once.
    queues: Vec<Arc<ConsumeQueue>>,
    /// Which of them each name is.
    names: Vec<usize>,
    /// Where in the record the first offset stands.
    digits_at: usize,
    /// The record's offset in each queue, and what is to be done for it, once it is appended.
    appended: Appended,
}

/// Where a record went, and what is to be done for it; nothing for the record's own queue.
pub(crate) type Appended = Vec<Option<(i64, PushOutcome)>>;

/// Tails of queues, held while a record is appended; nothing for the record's own queue.
pub(crate) type LightTails<'a> = Vec<Option<MutexGuard<'a, QueueTail>>>;

impl LightQueues {
    /// The queues that `queue_of` has for `names`. The record is `record_bytes` long, of which the
    /// last `tail_bytes` follow the offsets and the separator behind them.
    pub(crate) fn new(
        names: &[&str],
        record_bytes: usize,
        tail_bytes: usize,
        mut queue_of: impl FnMut(&str) -> Arc<ConsumeQueue>,
    ) -> Self {
        let mut queues: Vec<Arc<ConsumeQueue>> = Vec::with_capacity(names.len());
        let mut index_of = |name: &str| {
            queues.iter().position(|queue| &**queue.topic() == name).unwrap_or_else(|| {
                queues.push(queue_of(name));
                queues.len() - 1
            })
        };
        let names: Vec<usize> = names.iter().map(|name| index_of(name)).collect();
        let digits = names.len() * (OFFSET_DIGITS + 1);
        Self { queues, names, digits_at: record_bytes - tail_bytes - digits, appended: Vec::new() }
    }

    /// The queues besides the record's own, the record's offset in each, and what is to be done for it.
    pub(crate) fn appended(&self) -> impl Iterator<Item = (&Arc<ConsumeQueue>, i64, PushOutcome)> {
        let appended = self.queues.iter().zip(&self.appended);
        appended.filter_map(|(queue, appended)| appended.map(|(at, push)| (queue, at, push)))
    }

    /// Holds the tails. Only who has the append lock holds several at a time.
    pub(crate) fn lock(&self, own: Option<&ConsumeQueue>) -> Result<LightTails<'_>, AppendError> {
        let mut tails = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            if own.is_some_and(|own| own.uid() == queue.uid()) {
                tails.push(None);
                continue;
            }
            let tail = queue.lock();
            if tail.is_deleted() {
                return Err(AppendError::QueueDeleted);
            }
            tails.push(Some(tail));
        }
        Ok(tails)
    }

    /// Writes the offsets that the record gets into it. `own_offset` is that in its own queue.
    pub(crate) fn fill_in(&self, tails: &LightTails<'_>, own_offset: i64, record: &mut [u8]) {
        for (at, &queue) in self.names.iter().enumerate() {
            let offset = tails[queue].as_ref().map_or(own_offset, |tail| tail.max());
            let digits = format!("{offset:0OFFSET_DIGITS$}");
            let at = self.digits_at + at * (OFFSET_DIGITS + 1);
            record[at..at + OFFSET_DIGITS].copy_from_slice(digits.as_bytes());
        }
    }

    /// What [`Self::appended`] gives, after pushing `unit` onto all `tails`.
    pub(crate) fn push(tails: &mut LightTails<'_>, unit: &Unit) -> Appended {
        let push = |tail: &mut MutexGuard<'_, QueueTail>| (tail.max(), tail.push(unit));
        tails.iter_mut().map(|tail| tail.as_mut().map(push)).collect()
    }

    /// Notes what [`Self::push`] returned.
    pub(crate) fn note_appended(&mut self, appended: Appended) {
        self.appended = appended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_light_queues_counts() {
        let names_of = |text: &str| {
            let text = format!("INNER_MULTI_DISPATCH\x01{text}\x02");
            names(text.as_bytes()).map(|names| names.join(" "))
        };
        assert_eq!(names_of("%LMQ%a").as_deref(), Some("%LMQ%a"));
        assert_eq!(names_of("%LMQ%a,%LMQ%b,,").as_deref(), Some("%LMQ%a %LMQ%b"));
        for none in ["a", "%LMQ%a,b", "%LMQ%a,,%LMQ%b", "%LMQ%a/b", ",", " "] {
            assert_eq!(names_of(none), None, "{none}");
        }
        assert_eq!(names(b"INNER_MULTI\x01%LMQ%a\x02"), None);
        assert!(may_be_light("orders"));
        for topic in ["%RETRY%g", "rmq_sys_wheel_timer", "SCHEDULE_TOPIC_XXXX"] {
            assert!(!may_be_light(topic), "{topic}");
        }
    }
}
