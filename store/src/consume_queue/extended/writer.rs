//! Writes extended units for the units that are about to be written.

use std::fmt;
use std::sync::{Arc, OnceLock};

use oxmq_protocol::message::RecordView;

use super::{
    END_BYTES, END_OF_FILE, EXTENDED_DIR, ExtendedUnit, HEAD_BYTES, MAX_POSITION, address_of,
    position_of,
};
use crate::commit_log::{CommitLog, bytes_at};
use crate::consume_queue::unit::{UNIT_BYTES, Unit};
use crate::consume_queue::{ConsumeQueue, QueueFiles};
use crate::error::StoreError;
use crate::limits::WRITE_EXTENDED_BYTES_AT_ONCE;

/// Says which groups' filters a message matches, in the bits that the reference keeps of it;
/// nothing when nobody filters its topic.
pub type FilterBits = Arc<dyn Fn(&RecordView<'_>) -> Option<Vec<u8>> + Send + Sync>;

/// Gives units extended ones, in stores that have them.
pub(crate) struct Extender {
    log: Arc<CommitLog>,
    filter_bits: OnceLock<FilterBits>,
}

impl Extender {
    pub(crate) fn new(log: Arc<CommitLog>) -> Self {
        Self { log, filter_bits: OnceLock::new() }
    }

    /// Sets who looks at filters. Returns whether it was the first call, the only one that counts.
    pub(crate) fn set_filter_bits(&self, filter_bits: FilterBits) -> bool {
        self.filter_bits.set(filter_bits).is_ok()
    }

    /// Writes extended units for `units`, the first of which has index `first`, and puts their
    /// addresses into them. `end` is where the extended units end, if that is known.
    ///
    /// Returns where they end then, to be kept once the units are written. A unit keeps its tags
    /// code when it is not of a record of the queue's own topic, or when there is no room.
    pub(crate) fn extend(
        &self,
        queue: &ConsumeQueue,
        files: &QueueFiles,
        first: i64,
        end: Option<u64>,
        units: &mut [u8],
    ) -> Result<u64, StoreError> {
        let file_bytes = files.extended_file_bytes();
        let mut at = match end {
            Some(end) => end,
            None => find_end(queue, files, first)?,
        };
        let log_files = self.log.files();
        let mut start = at;
        let mut bytes = Vec::new();
        for encoded in units.as_chunks_mut::<UNIT_BYTES>().0 {
            let unit = Unit::decode(encoded);
            if unit.leads_nowhere() || unit.has_extended_address() {
                continue;
            }
            // Units of light queues lead to records of other topics, and have none.
            // It has just been written, or read by a recovery.
            let record = bytes_at(&log_files, unit.phy_offset, unit.size)
                .and_then(|bytes| RecordView::parse(bytes).ok())
                .filter(|record| record.topic() == &**queue.topic());
            let Some(record) = record else {
                continue;
            };
            let extended = ExtendedUnit {
                tags_code: unit.tags_code,
                store_timestamp_ms: record.store_timestamp_ms(),
                filter_bits: self.filter_bits(&record),
            };
            let needed = extended.encoded_bytes() as u64;
            if needed + END_BYTES > file_bytes || at + needed > MAX_POSITION {
                continue;
            }
            let room = file_bytes - at % file_bytes;
            if needed + END_BYTES > room {
                if room as usize >= size_of_val(&END_OF_FILE) {
                    bytes.extend_from_slice(&END_OF_FILE.to_be_bytes());
                }
                files.write_extended(queue, start, &bytes)?;
                bytes.clear();
                at += room;
                start = at;
            }
            if extended.encode(&mut bytes) {
                *encoded = Unit { tags_code: address_of(at), ..unit }.encode();
                at += needed;
            }
            if bytes.len() >= WRITE_EXTENDED_BYTES_AT_ONCE {
                files.write_extended(queue, start, &bytes)?;
                bytes.clear();
                start = at;
            }
        }
        files.write_extended(queue, start, &bytes)?;
        Ok(at)
    }

    fn filter_bits(&self, record: &RecordView<'_>) -> Vec<u8> {
        let bits = self.filter_bits.get().and_then(|filter_bits| filter_bits(record));
        let most = i16::MAX as usize - HEAD_BYTES;
        bits.filter(|bits| bits.len() <= most).unwrap_or_default()
    }
}

/// Finds out where the extended units of a queue end that has units before `first` in its files,
/// and clears what is behind: it is left of a run that crashed.
fn find_end(queue: &ConsumeQueue, files: &QueueFiles, first: i64) -> Result<u64, StoreError> {
    let mut reader = files.extended_reader(queue);
    let mut last = Vec::new();
    if first > 0 {
        files.read(queue, first - 1, 1, true, &mut last)?;
    }
    let last = Unit::decode_all(&last).next();
    let mut end = None;
    if let Some(position) = last.and_then(|unit| position_of(unit.tags_code)) {
        let unit = reader.unit(position)?;
        end = unit.map(|unit| position + unit.encoded_bytes() as u64);
    }
    let end = match end {
        Some(end) => end,
        None => reader.end()?,
    };
    files.cut_extended(queue, end)?;
    Ok(end)
}

impl fmt::Debug for Extender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extender")
            .field("dir", &EXTENDED_DIR)
            .field("filters", &self.filter_bits.get().is_some())
            .finish_non_exhaustive()
    }
}
