//! One pull under way: units of a queue, and the records that they lead to.

use std::cell::Cell;

use tracing::{error, warn};

use super::ahead::Needs;
use super::get::{Cold, empty};
use super::lazy_record::{LazyRecord, Seen, sound};
use super::{MessageStore, tags_code_of_record};
use crate::commit_log::{LogFiles, bytes_at, find_file};
use crate::consume_queue::{BatchUnit, ConsumeQueue, QueueKind, UNIT_BYTES, Unit};
use crate::limits::{
    CHECK_BYTES_AT_ONCE, CHECK_UNITS_AT_ONCE, READ_AHEAD_BYTES, READ_MORE_UNITS_AT_ONCE,
    READ_UNITS_AT_ONCE, SURELY_CACHED_BYTES,
};
use crate::status::{GetMessageResult, GetMessageStatus};

/// What one pull asks for.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) queue: &'a ConsumeQueue,
    pub(super) offset: i64,
    /// First offset of the queue, and the offset behind its last readable message.
    pub(super) bounds: (i64, i64),
    pub(super) budget: Budget,
    /// Whether the disk may be waited for.
    pub(super) may_wait: bool,
}

impl Question<'_> {
    /// The same, of messages from `offset` on in a queue that begins with `min`.
    pub(super) fn from(self, offset: i64, min: i64) -> Self {
        Self { offset, bounds: (min, self.bounds.1), ..self }
    }
}

/// What one pull may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) messages: u32,
    pub(super) bytes: usize,
    pub(super) units: i64,
}

/// One pull under way.
pub(super) struct Pull<'a> {
    store: &'a MessageStore,
    question: Question<'a>,
    files: &'a LogFiles,
    log_end: i64,
    /// Where what was appended since the log was opened begins. Of what is older the disk may not give back a page
    /// though it has given those around it.
    new_from: i64,
    /// Position from which on records are not looked for in the page cache.
    surely_cached_from: i64,
    pub(super) result: GetMessageResult,
    /// Length of the output before this pull.
    begin: usize,
    last_phy_offset: i64,
    /// Records before this position are known to be deleted.
    skip_before: i64,
    /// The log is in the page cache up to here, or the kernel has been asked to read it.
    ahead_to: i64,
    /// What the last record was needed for.
    needs: Needs,
    /// Whether a record has been looked for in the page cache.
    has_checked: bool,
}

/// Whether a pull may take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    Full,
}

impl<'a> Pull<'a> {
    /// Of a log with `files` that ends at `log_end`, into `out`.
    pub(super) fn new(
        store: &'a MessageStore,
        question: Question<'a>,
        files: &'a LogFiles,
        log_end: i64,
        out: &[u8],
    ) -> Self {
        let Question { offset, bounds: (min, max), .. } = question;
        let new_from = store.log.opened_at();
        Self {
            store,
            question,
            files,
            log_end,
            new_from,
            surely_cached_from: new_from.max(log_end.saturating_sub(SURELY_CACHED_BYTES)),
            result: empty(GetMessageStatus::NoMatchedMessage, offset, min, max),
            begin: out.len(),
            last_phy_offset: 0,
            skip_before: i64::MIN,
            ahead_to: 0,
            needs: Needs::Copy,
            has_checked: false,
        }
    }

    /// The same, of a log that may have been written long ago up to its end.
    pub(super) fn with_old_end(self) -> Self {
        Self { new_from: i64::MAX, surely_cached_from: i64::MAX, ..self }
    }

    pub(super) fn run(
        &mut self,
        mut filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        units: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Cold> {
        let Question { queue, offset, bounds: (_, max), budget, .. } = self.question;
        let stop_at = max.min(offset.saturating_add(budget.units));
        let mut at_once = READ_UNITS_AT_ONCE;
        let wanted = budget.messages.max(1);
        while self.result.next_begin_offset < stop_at && self.result.message_count < wanted {
            let first = self.result.next_begin_offset;
            let count = (stop_at - first).min(at_once as i64) as usize;
            // Who does not find enough at once looks at many.
            at_once = READ_MORE_UNITS_AT_ONCE;
            units.clear();
            let (files, may_wait) = (&self.store.queue_files, self.question.may_wait);
            if let Err(error) = queue.read_units(files, first, count, may_wait, units) {
                if error.would_wait() {
                    return if self.result.message_count > 0 { Ok(()) } else { Err(Cold) };
                }
                let (topic, queue_id) = (queue.topic(), queue.queue_id());
                warn!(%topic, queue_id, queue_offset = first, %error, "units not read");
                units.clear();
                if !error.is_cut_short() {
                    // What is there, but cannot be opened or read at the moment, must not be passed over.
                    self.note(GetMessageStatus::OffsetFoundNull);
                    break;
                }
            }
            if units.is_empty() {
                self.unreadable(first);
                break;
            }
            match self.take_all(units.as_chunks().0, &mut filter, out) {
                Ok(Room::Left) => {}
                Ok(Room::Full) => break,
                // What was found so far need not wait for the rest.
                Err(Cold) if self.result.message_count > 0 => break,
                Err(Cold) => return Err(Cold),
            }
        }
        self.note_distance();
        Ok(())
    }

    /// Takes what `units` lead to, as long as it fits and need not be waited for.
    fn take_all(
        &mut self,
        units: &[[u8; UNIT_BYTES]],
        filter: &mut impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<Room, Cold> {
        let (mut checked, mut fetched) = (0, 0);
        for (index, unit) in units.iter().enumerate() {
            let unit = Unit::decode(unit);
            if self.is_full(&unit, 1, out) {
                return Ok(Room::Full);
            }
            // It comes while the kernel is asked.
            fetched = self.needs.fetch(self.files, units, index, fetched);
            if index == checked && !self.question.may_wait {
                checked += self.check_cached(&units[index..])?;
            }
            if self.cannot_read(&unit) {
                return Ok(Room::Full);
            }
            self.result.next_begin_offset += 1;
            self.take(&unit, 1, filter, out);
        }
        Ok(Room::Left)
    }

    fn note_distance(&mut self) {
        self.result.suggest_slave = !self.store.is_hot(self.last_phy_offset, self.log_end);
        self.result.behind_bytes = self.log_end.saturating_sub(self.last_phy_offset).max(0);
    }

    /// [`Self::run`] for a queue whose records hold many messages: the first is the one that has
    /// the message at `offset`, though others may be before that in it.
    pub(super) fn run_batch(
        &mut self,
        filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Cold> {
        let Question { queue, offset, bounds: (_, max), .. } = self.question;
        let files = &self.store.queue_files;
        let (_, end) = queue.bounds();
        let mut index = queue.index_of(files, offset).unwrap_or(i64::MAX);
        // Damaged units are passed over, and with them the record before one that has the message.
        let units = std::iter::from_fn(|| match queue.batch_unit_from(files, index, end) {
            Ok(found) => found.map(|(at, unit)| {
                index = at + 1;
                unit
            }),
            Err(error) => {
                let (topic, queue_id) = (queue.topic(), queue.queue_id());
                warn!(%topic, queue_id, index, %error, "unit not read");
                None
            }
        });
        let units = units
            .skip_while(|unit| unit.end_offset() <= offset)
            .take_while(|unit| unit.base_offset < max);
        self.run_units(units, filter, out).map(drop)
    }

    /// Takes what `units` lead to, as many as may be looked at. There is room left when there are no more.
    pub(super) fn run_units(
        &mut self,
        units: impl Iterator<Item = BatchUnit>,
        mut filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<Room, Cold> {
        let mut room = Room::Left;
        for (number, unit) in units.enumerate() {
            let is_cold = !self.question.may_wait && self.check_cached_one(&unit.unit).is_err();
            if is_cold && self.result.message_count == 0 {
                return Err(Cold);
            }
            let messages = u32::from(unit.count.unsigned_abs());
            if is_cold
                || number as i64 >= self.question.budget.units
                || self.is_full(&unit.unit, messages, out)
                || self.cannot_read(&unit.unit)
            {
                room = Room::Full;
                break;
            }
            self.result.next_begin_offset = unit.end_offset();
            self.take(&unit.unit, messages, &mut filter, out);
        }
        self.note_distance();
        Ok(room)
    }

    /// Looks whether records that may be taken next are in the page cache. Returns how many units that
    /// holds for.
    fn check_cached(&mut self, units: &[[u8; UNIT_BYTES]]) -> Result<usize, Cold> {
        let goes_on = std::mem::replace(&mut self.has_checked, true);
        // Who has not found enough among the first looks at all.
        let wanted =
            if goes_on { usize::MAX } else { self.question.budget.messages.max(1) as usize };
        let most = units.len().min(wanted);
        let count = most.min(CHECK_UNITS_AT_ONCE);
        let Some((first, last)) = units.first().zip(units[..count].last()) else { return Ok(0) };
        let (first, last) = (Unit::decode(first), Unit::decode(last));
        let is_new = first.phy_offset >= self.new_from;
        if is_new
            && self.files.first().is_none_or(|file| self.store.is_hot(file.start(), self.log_end))
        {
            // Nothing has been pushed out, so what comes before a record that is there most likely is there, too.
            let last_is_cached =
                |count: &usize| self.check_cached_one(&Unit::decode(&units[count - 1])).is_ok();
            return [most, count].into_iter().find(last_is_cached).ok_or(Cold);
        }
        if last.end().saturating_sub(first.phy_offset) <= CHECK_BYTES_AT_ONCE {
            self.check_cached_between(first.phy_offset, last.end())?;
            return Ok(count);
        }
        self.check_cached_one(&first)?;
        if !is_new || !self.store.is_hot(first.phy_offset, self.log_end) {
            // Any of them may be on its way.
            return Ok(1);
        }
        self.check_cached_one(&last).map(|()| count)
    }

    fn check_cached_one(&self, unit: &Unit) -> Result<(), Cold> {
        self.check_cached_between(unit.phy_offset, unit.end())
    }

    /// The bytes are those of one file, or of the end of one and of the next.
    fn check_cached_between(&self, begin: i64, end: i64) -> Result<(), Cold> {
        if begin >= self.surely_cached_from {
            return Ok(());
        }
        let mut at = begin;
        while at < end
            && let Some(file) = find_file(self.files, at)
        {
            let until = end.min(file.end());
            if !file.is_cached((at - file.start()) as usize, (until - file.start()) as usize) {
                return Err(Cold);
            }
            at = until;
        }
        Ok(())
    }

    fn is_full(&self, unit: &Unit, messages: u32, out: &[u8]) -> bool {
        let count = self.result.message_count;
        if count == 0 {
            return false;
        }
        let size = usize::try_from(unit.size).unwrap_or(0);
        let bytes = (out.len() - self.begin).saturating_add(size);
        let config = &self.store.config;
        let (most, most_bytes) = if self.store.is_hot(unit.phy_offset, self.log_end) {
            (
                config.max_transfer_count_on_message_in_memory,
                config.max_transfer_bytes_on_message_in_memory,
            )
        } else {
            (
                config.max_transfer_count_on_message_in_disk,
                config.max_transfer_bytes_on_message_in_disk,
            )
        };
        count + messages > self.question.budget.messages.min(most)
            || bytes > self.question.budget.bytes.min(most_bytes)
    }

    fn take(
        &mut self,
        unit: &Unit,
        messages: u32,
        filter: &mut impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) {
        self.last_phy_offset = unit.phy_offset;
        if unit.phy_offset < self.skip_before {
            return;
        }
        let seen = Cell::new(Seen::Not);
        let topic = self.question.queue.topic().as_bytes();
        let like = self.needs.properties_bytes().map(|count| (topic, count));
        let record = || LazyRecord { files: self.files, unit, like, seen: &seen };
        if !filter(self.tags_code_of(unit, &record()), record()) {
            // The log is not touched for what the queue alone tells to be another's.
            self.needs = match seen.get() {
                Seen::Not => Needs::Nothing,
                Seen::Sound { properties_bytes, head } => Needs::Look { properties_bytes, head },
                Seen::Lost => return self.removed(),
            };
            return self.note(GetMessageStatus::NoMatchedMessage);
        }
        if seen.get() == Seen::Not {
            self.needs = Needs::Copy;
        }
        let Some(bytes) = bytes_at(self.files, unit.phy_offset, unit.size) else {
            return self.removed();
        };
        let begin = out.len();
        out.extend_from_slice(bytes);
        // Copied as a stream and then looked at, as the log is in no cache and the copy is.
        if sound(&out[begin..]).is_none() {
            out.truncate(begin);
            return self.removed();
        }
        self.result.message_count += messages;
        self.result.status = GetMessageStatus::Found;
        self.skip_before = i64::MIN;
    }

    /// There is no record any more where a unit points to.
    fn removed(&mut self) {
        // What is before the log's start need not be looked for one by one.
        self.skip_before = self.files.first().map_or(0, |file| file.start());
        self.note(GetMessageStatus::MessageWasRemoving);
    }

    /// The tags code of the record that `unit` points to.
    ///
    /// Where the reference kept an extended queue, the unit holds an address in that instead, which
    /// neither a hash nor a time can be; the record knows as much.
    fn tags_code_of(&self, unit: &Unit, record: &LazyRecord<'_>) -> i64 {
        if !unit.has_extended_address() {
            return unit.tags_code;
        }
        record.view().map_or(0, |record| tags_code_of_record(&record, &self.store.delay_levels))
    }

    /// Whether the disk does not give the record of `unit` back. It must not be passed over then, and reading it
    /// through the mapping would end the process.
    fn cannot_read(&mut self, unit: &Unit) -> bool {
        if !self.question.may_wait || unit.phy_offset < self.skip_before {
            return false;
        }
        self.read_ahead(unit);
        let is_cached = self.check_cached_between(unit.phy_offset, unit.end()).is_ok();
        let file = find_file(self.files, unit.phy_offset).filter(|_| !is_cached);
        let Some(Err(error)) = file.map(|file| {
            let begin = (unit.phy_offset - file.start()) as usize;
            file.read_in(begin, usize::try_from(unit.size).unwrap_or(0))
        }) else {
            return false;
        };
        let (topic, queue_id) = (self.question.queue.topic(), self.question.queue.queue_id());
        error!(%topic, queue_id, phy_offset = unit.phy_offset, %error, "record not read");
        self.note(GetMessageStatus::OffsetFoundNull);
        true
    }

    /// Has the kernel read what this pull and the next ones will want, in one go rather than page by page.
    ///
    /// Who may not wait does not ask for it either: making room for it may take as long as reading it.
    fn read_ahead(&mut self, unit: &Unit) {
        if !self.question.may_wait || unit.end() <= self.ahead_to {
            return;
        }
        let looked_to =
            unit.end().max(unit.phy_offset.saturating_add(CHECK_BYTES_AT_ONCE)).min(self.log_end);
        if self.check_cached_between(unit.phy_offset, looked_to).is_ok() {
            self.ahead_to = looked_to;
        } else if let Some(file) = find_file(self.files, unit.phy_offset) {
            file.will_need((unit.phy_offset - file.start()) as usize, READ_AHEAD_BYTES);
            self.ahead_to = unit.phy_offset + READ_AHEAD_BYTES as i64;
        }
    }

    /// What the status is while nothing has been found.
    fn note(&mut self, status: GetMessageStatus) {
        if self.result.message_count == 0 {
            self.result.status = status;
        }
    }

    /// Goes on at the next queue file when there is no unit where one should be, or where the queue begins by now.
    fn unreadable(&mut self, first: i64) {
        let (min, _) = self.question.queue.bounds();
        if self.result.message_count == 0 && min > first {
            self.result.status = GetMessageStatus::MessageWasRemoving;
            self.result.next_begin_offset = min;
        } else if self.result.message_count == 0 {
            let file_bytes = self.store.queue_files.file_bytes(QueueKind::Simple);
            let per_file = (file_bytes / UNIT_BYTES as u64) as i64;
            self.result.status = GetMessageStatus::OffsetFoundNull;
            self.result.next_begin_offset = (first / per_file + 1) * per_file;
        }
    }
}
