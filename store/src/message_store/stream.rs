//! The log as a stream, for replication: raw slices out on a master, raw slices in on a replica.
//!
//! A replica dispatches records as they become whole, with the offsets that the master gave them.

use oxmq_protocol::message::RecordView;

use super::MessageStore;
use super::dispatch::{Dispatcher, Mode};
use super::recover::Recovery;
use crate::commit_log::{LogStreamError, RecordCheck, scan_new};
use crate::error::StoreError;
use crate::sync::lock;

impl MessageStore {
    /// Appends to `out` up to `at_most` bytes of the log from `phy_offset` on, all of one log file.
    ///
    /// Returns how many; none at the end of the log.
    ///
    /// # Errors
    ///
    /// When `phy_offset` is not in the log.
    pub fn read_log(
        &self,
        phy_offset: i64,
        at_most: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, LogStreamError> {
        self.log.read_stream(phy_offset, at_most, out)
    }

    /// Appends raw bytes of a master's log at `phy_offset`, which has to be the end of this log; an
    /// empty log may begin with any file. Records that are whole then become readable.
    ///
    /// # Errors
    ///
    /// When the bytes do not go there, or cannot be stored. They may be in the log then, and become
    /// readable with what comes next.
    pub fn append_log(&self, phy_offset: i64, bytes: &[u8]) -> Result<(), LogStreamError> {
        // Held over both steps: slices are dispatched in their order.
        let mut incomplete_from = lock(&self.incomplete_from);
        if let Some(refusal) = self.refusal() {
            return Err(LogStreamError::Refused(refusal.to_string()));
        }
        // What is flushed meanwhile may end within a record.
        self.announcer.hold(Some(incomplete_from.unwrap_or_else(|| self.log.max_offset())));
        let outcome = self.append_and_dispatch(phy_offset, bytes, &mut incomplete_from);
        self.announcer.hold(*incomplete_from);
        self.announcer.flushed(&self.log, self.hides_unflushed());
        outcome
    }

    fn append_and_dispatch(
        &self,
        phy_offset: i64,
        bytes: &[u8],
        incomplete_from: &mut Option<i64>,
    ) -> Result<(), LogStreamError> {
        let from = incomplete_from.unwrap_or(phy_offset);
        let (end_before, end) = (self.log.max_offset(), phy_offset + bytes.len() as i64);
        let appended = self.log.append_stream(phy_offset, bytes, || !self.is_closed());
        if end_before < end && self.log.max_offset() == end {
            // Until it is dispatched.
            *incomplete_from = Some(from);
        }
        appended?;
        let end = self.dispatch_from(from).map_err(std::io::Error::other)?;
        *incomplete_from = (end < self.log.max_offset()).then_some(end);
        if let Some(index) = &self.index {
            index.poke();
        }
        Ok(())
    }

    /// Position up to which the log is confirmed by replication, as kept in the checkpoint.
    pub fn confirm_offset(&self) -> i64 {
        self.checkpoint.values().confirm_phy_offset
    }

    /// Moves the confirmed position; it is written with the next checkpoint.
    pub fn set_confirm_offset(&self, phy_offset: i64) {
        self.checkpoint.update(|values| values.confirm_phy_offset = phy_offset);
    }

    /// Dispatches the whole records from position `from` on; returns where they end.
    fn dispatch_from(&self, from: i64) -> Result<i64, StoreError> {
        let context = Recovery {
            config: &self.config,
            delay_levels: &self.delay_levels,
            log: &self.log,
            queues: &self.queues,
            queue_files: &self.queue_files,
            queue_writer: &self.queue_writer,
            checkpoint: &self.checkpoint,
            batch_topics: &self.batch_topics,
            clean: true,
        };
        let mut dispatcher = Dispatcher::new(&context, Mode::Follow);
        let mut newest_ms = 0;
        let stop =
            scan_new(&self.log.files(), from, RecordCheck::Lengths, |record, phy_offset| {
                newest_ms = newest_ms.max(record.store_timestamp_ms());
                if dispatcher.visit(record, phy_offset)? {
                    self.announce_record(record, phy_offset);
                }
                Ok::<_, StoreError>(())
            })?;
        self.log.note_store_timestamp(newest_ms);
        Ok(stop.end)
    }

    fn announce_record(&self, record: &RecordView<'_>, phy_offset: i64) {
        // Others are announced by the flush that makes them visible.
        if !self.hides_unflushed() {
            self.announcer.announce(record, phy_offset);
        }
    }
}
