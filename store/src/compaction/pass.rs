//! What is left of files that are closed.

use std::collections::HashMap;

use oxmq_protocol::message::{RecordView, properties};

use super::segment::Segment;

/// Bytes of an entry of the table besides its key.
const ENTRY_BYTES: u64 = 64;

/// What compacting has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Offset of the last message whose key was looked at.
    pub(crate) until: i64,
    /// Messages that there were in closed files.
    pub(crate) before: usize,
    /// Messages that are left of them.
    pub(crate) left: usize,
}

/// The latest message of each key, of messages up to one of them.
#[derive(Debug, Default)]
pub(super) struct Latest {
    offsets: HashMap<Box<[u8]>, i64>,
    /// Offset of the last message that was looked at.
    pub(super) until: i64,
}

impl Latest {
    /// Of the messages in `segments` behind offset `after`, as many as fit into `room` bytes; those
    /// that do not are looked at the next time.
    pub(super) fn find(
        segments: &[Segment],
        after: i64,
        room: u64,
        is_stopped: &impl Fn() -> bool,
    ) -> Self {
        let mut latest = Self { offsets: HashMap::new(), until: after };
        let mut taken = 0;
        for segment in segments {
            for index in segment.index_behind(after)..segment.count() {
                let Some(unit) = segment.unit(index) else { break };
                if is_stopped() {
                    return latest;
                }
                if let Some(key) = segment.record(&unit).and_then(key_of) {
                    match latest.offsets.get_mut(key) {
                        Some(offset) => *offset = unit.base_offset,
                        None => {
                            taken += ENTRY_BYTES + key.len() as u64;
                            if taken > room && !latest.offsets.is_empty() {
                                return latest;
                            }
                            latest.offsets.insert(key.into(), unit.base_offset);
                        }
                    }
                }
                latest.until = unit.base_offset;
            }
        }
        latest
    }

    /// Whether a message is kept: it may be the latest of its key, and it does not delete that.
    ///
    /// Reference: `CompactionLog.shouldRetainMsg` (store), 5.5.0.
    pub(super) fn keeps(&self, record: &RecordView<'_>) -> bool {
        let offset = record.queue_offset();
        if offset > self.until {
            return true;
        }
        key_of(*record).is_some_and(|key| {
            self.offsets.get(key).is_none_or(|latest| offset >= *latest)
                && !record.body().is_empty()
        })
    }
}

/// The keys of a message, which count as one; nothing when there is none.
fn key_of(record: RecordView<'_>) -> Option<&[u8]> {
    properties::property(record.properties(), properties::KEYS).filter(|keys| !is_blank(keys))
}

/// Whether the properties of a message name a key.
pub(crate) fn has_key(text: &[u8]) -> bool {
    properties::property(text, properties::KEYS).is_some_and(|keys| !is_blank(keys))
}

fn is_blank(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.trim().is_empty())
}
