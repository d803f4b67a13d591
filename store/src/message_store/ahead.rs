//! Has the processor fetch records before a pull reads them.
//!
//! The log is in none of its caches, and the records of a queue lie apart: reading them one by one would be
//! one wait for memory after the other.

use crate::commit_log::{LogFiles, find_file};
use crate::consume_queue::{UNIT_BYTES, Unit};

/// Bytes at the start of a record that lead to its properties.
const HEAD_BYTES: usize = 96;
/// Bytes between the body of a record and its properties, of most: the topic and the lengths of both.
const TOPIC_BYTES: usize = 64;
/// Bytes at the end of a record that are fetched for a filter, at most.
const TAIL_BYTES: usize = 1024;
/// Bytes of a record that are fetched before it is copied. More would push others out.
const COPY_BYTES: usize = 2048;

/// What a record was needed for. The next ones most likely are for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The queue alone told that it is another's.
    Nothing,
    /// A filter read its properties, of so many bytes. Those of the next ones will be about as long.
    Look {
        /// Bytes of the properties.
        properties_bytes: usize,
        /// Whether its head was read, too.
        head: bool,
    },
    /// It was given.
    Copy,
}

impl Needs {
    /// How many records are fetched ahead: a copy takes long enough for one, a look for hardly any.
    fn records_ahead(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Look { .. } => 8,
            Self::Copy => 1,
        }
    }

    /// Of the record that was looked at.
    pub(super) fn properties_bytes(self) -> Option<usize> {
        match self {
            Self::Look { properties_bytes, .. } => Some(properties_bytes),
            Self::Nothing | Self::Copy => None,
        }
    }

    /// Fetches what will be needed of the records of `units` at and behind `index`, from unit `fetched`
    /// on; returns the unit to go on with.
    pub(super) fn fetch(
        self,
        files: &LogFiles,
        units: &[[u8; UNIT_BYTES]],
        index: usize,
        fetched: usize,
    ) -> usize {
        let ahead = self.records_ahead();
        if ahead == 0 {
            return fetched;
        }
        let until = units.len().min(index + 1 + ahead);
        for unit in units.get(fetched..until).unwrap_or_default() {
            let unit = Unit::decode(unit);
            let Some(file) = find_file(files, unit.phy_offset) else { continue };
            let begin = (unit.phy_offset - file.start()) as usize;
            let end = begin.saturating_add(usize::try_from(unit.size).unwrap_or(0));
            if let Self::Look { properties_bytes, head } = self {
                let head_end = if head { end.min(begin + HEAD_BYTES) } else { begin };
                let tail_bytes = (properties_bytes + TOPIC_BYTES).min(TAIL_BYTES);
                file.prefetch(begin, head_end);
                file.prefetch(end.saturating_sub(tail_bytes).max(head_end), end);
            } else {
                file.prefetch(begin, end.min(begin + COPY_BYTES));
            }
        }
        until.max(fetched)
    }
}
