//! A record as a filter sees it.

use std::cell::Cell;

use oxmq_protocol::message::RecordView;
use oxmq_protocol::message::record::properties_of_record;

use crate::commit_log::{LogFiles, bytes_at};
use crate::consume_queue::Unit;

/// A record that a filter may look at; what it does not look at is not read from disk.
#[derive(Debug, Clone, Copy)]
pub struct LazyRecord<'a> {
    pub(super) files: &'a LogFiles,
    pub(super) unit: &'a Unit,
    pub(super) seen: &'a Cell<Seen>,
}

/// What a record was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody has looked.
    Not,
    /// It is sound, and has so many bytes of properties.
    Sound(usize),
    /// It is damaged or gone.
    Lost,
}

impl<'a> LazyRecord<'a> {
    /// The record; nothing when it is damaged or gone.
    pub fn view(&self) -> Option<RecordView<'a>> {
        let record = self.bytes().and_then(sound);
        self.note(record.map(|record| record.properties()));
        record
    }

    /// Its properties, for less than the whole record; nothing when it is damaged or gone.
    pub fn properties(&self) -> Option<&'a [u8]> {
        let properties = self.bytes().and_then(properties_of_record);
        self.note(properties);
        properties
    }

    fn bytes(&self) -> Option<&'a [u8]> {
        bytes_at(self.files, self.unit.phy_offset, self.unit.size)
    }

    fn note(&self, properties: Option<&[u8]>) {
        self.seen.set(properties.map_or(Seen::Lost, |properties| Seen::Sound(properties.len())));
    }
}

/// The record that `bytes` are, when they are a whole one and nothing else. A damaged one would make a client
/// give up on all that follows it.
pub(super) fn sound(bytes: &[u8]) -> Option<RecordView<'_>> {
    RecordView::parse(bytes).ok().filter(|record| record.total_bytes() == bytes.len())
}
