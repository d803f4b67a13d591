//! A record as a filter sees it.

use std::cell::Cell;

use oxmq_protocol::message::RecordView;
use oxmq_protocol::message::record::{properties_at_end, properties_of_record};

use crate::commit_log::{LogFiles, bytes_at};
use crate::consume_queue::Unit;

/// A record that a filter may look at; what it does not look at is not read from disk.
#[derive(Debug, Clone, Copy)]
pub struct LazyRecord<'a> {
    pub(super) files: &'a LogFiles,
    pub(super) unit: &'a Unit,
    /// The topic of the queue, and bytes of the properties of the record before it if somebody looked: this one
    /// most likely has that topic and about as many.
    pub(super) like: Option<(&'a [u8], usize)>,
    pub(super) seen: &'a Cell<Seen>,
}

/// What a record was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody has looked.
    Not,
    /// It is sound as far as somebody has looked.
    Sound {
        /// Bytes of its properties.
        properties_bytes: usize,
        /// Whether its head had to be read.
        head: bool,
    },
    /// It is damaged or gone.
    Lost,
}

impl<'a> LazyRecord<'a> {
    /// The record; nothing when it is damaged or gone.
    pub fn view(&self) -> Option<RecordView<'a>> {
        let record = self.bytes().and_then(sound);
        self.note(record.map(|record| record.properties()), true);
        record
    }

    /// Its properties, for less than the whole record; nothing when they are damaged or gone.
    pub fn properties(&self) -> Option<&'a [u8]> {
        let bytes = self.bytes();
        let at_end = self.like.and_then(|(topic, count)| properties_at_end(bytes?, topic, count));
        let properties = at_end.or_else(|| bytes.and_then(properties_of_record));
        self.note(properties, at_end.is_none());
        properties
    }

    fn bytes(&self) -> Option<&'a [u8]> {
        bytes_at(self.files, self.unit.phy_offset, self.unit.size)
    }

    fn note(&self, properties: Option<&[u8]>, head: bool) {
        let sound = |properties: &[u8]| Seen::Sound { properties_bytes: properties.len(), head };
        self.seen.set(properties.map_or(Seen::Lost, sound));
    }
}

/// The record that `bytes` are, when they are a whole one and nothing else. A damaged one would make a client
/// give up on all that follows it.
pub(super) fn sound(bytes: &[u8]) -> Option<RecordView<'_>> {
    RecordView::parse(bytes).ok().filter(|record| record.total_bytes() == bytes.len())
}
