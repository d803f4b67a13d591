//! What was delivered after the last save of the progress, found in the commit log after a crash.

use hashbrown::HashMap;
use oxmq_protocol::message::{RecordView, properties};
use oxmq_store::MessageStore;

use super::TIMER_TOPIC;

/// Messages that are not to be delivered once more.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    left: HashMap<Box<str>, u32>,
    /// Slot of each, and where in the log it was delivered.
    places: Vec<(i64, i64)>,
}

impl Delivered {
    /// Looks through the log from a position on.
    pub(super) fn since(store: &MessageStore, phy_offset: i64) -> Self {
        let mut found = Self::default();
        store.for_each_record(phy_offset.max(store.min_phy_offset()), |record| {
            let name = properties::TIMER_DEQUEUE_MS;
            if properties::property(record.properties(), name).is_some() {
                // A roll has counted itself.
                let rolls = if record.topic() == TIMER_TOPIC { -1 } else { 0 };
                *found.left.entry(key(record, rolls).into()).or_default() += 1;
                let slot = properties::property_str(record.properties(), properties::TIMER_OUT_MS);
                // A slot that cannot be read is never over. That of a roll is ahead of where it waited.
                let slot_ms = slot.and_then(|slot| slot.parse().ok()).unwrap_or(i64::MAX);
                found.places.push((slot_ms, record.phy_offset()));
            }
            true
        });
        found
    }

    /// Where the log has to be looked through from for those that belong to a slot from `slot_ms` on.
    pub(super) fn needed_from(&self, slot_ms: i64) -> Option<i64> {
        let needed = self.places.iter().filter(|(slot, _)| *slot >= slot_ms);
        needed.map(|(_, phy_offset)| *phy_offset).min()
    }

    /// Whether the waiting message was delivered; of several that are alike each is asked once.
    pub(super) fn take(&mut self, waiting: RecordView<'_>) -> bool {
        if self.left.is_empty() {
            return false;
        }
        let key = key(waiting, 0);
        let Some(left) = self.left.get_mut(key.as_str()) else { return false };
        *left -= 1;
        if *left == 0 {
            self.left.remove(key.as_str());
        }
        true
    }

    /// Forgets everything: whatever comes now was not delivered.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What a waiting message and the one that was made of it have in common.
pub(super) fn key(record: RecordView<'_>, more_rolls: i64) -> String {
    let of = |name| properties::property_str(record.properties(), name).unwrap_or_default();
    let rolls = of(properties::TIMER_ROLL_TIMES).parse::<i64>().unwrap_or(0) + more_rolls;
    let (unique_key, slot) = (of(properties::UNIQ_KEY), of(properties::TIMER_OUT_MS));
    format!("{unique_key} {slot} {rolls}")
}
