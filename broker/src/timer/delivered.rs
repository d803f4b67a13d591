//! What was delivered after the last save of the progress, found in the commit log after a crash.

use hashbrown::HashMap;
use oxmq_protocol::message::{RecordView, properties};
use oxmq_store::MessageStore;

use super::TIMER_TOPIC;

/// Messages that are not to be delivered once more.
#[derive(Debug, Default)]
pub(super) struct Delivered(HashMap<Box<str>, u32>);

impl Delivered {
    /// Looks through the log from a position on.
    pub(super) fn since(store: &MessageStore, phy_offset: i64) -> Self {
        let mut found: HashMap<Box<str>, u32> = HashMap::new();
        store.for_each_record(phy_offset.max(store.min_phy_offset()), |record| {
            let name = properties::TIMER_DEQUEUE_MS;
            if properties::property(record.properties(), name).is_some() {
                // A roll has counted itself.
                let rolls = if record.topic() == TIMER_TOPIC { -1 } else { 0 };
                *found.entry(key(record, rolls).into()).or_default() += 1;
            }
            true
        });
        Self(found)
    }

    /// Whether the waiting message was delivered; of several that are alike each is asked once.
    pub(super) fn take(&mut self, waiting: RecordView<'_>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let key = key(waiting, 0);
        let Some(left) = self.0.get_mut(key.as_str()) else { return false };
        *left -= 1;
        if *left == 0 {
            self.0.remove(key.as_str());
        }
        true
    }

    /// Forgets everything: whatever comes now was not delivered.
    pub(super) fn forget(&mut self) {
        self.0 = HashMap::new();
    }
}

/// What a waiting message and the one that was made of it have in common.
fn key(record: RecordView<'_>, more_rolls: i64) -> String {
    let of = |name| properties::property_str(record.properties(), name).unwrap_or_default();
    let rolls = of(properties::TIMER_ROLL_TIMES).parse::<i64>().unwrap_or(0) + more_rolls;
    let (unique_key, slot) = (of(properties::UNIQ_KEY), of(properties::TIMER_OUT_MS));
    format!("{unique_key} {slot} {rolls}")
}
