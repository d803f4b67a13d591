//! Getting messages of one queue.

use std::cell::{Cell, RefCell};

use oxmq_protocol::message::RecordView;
use oxmq_protocol::message::record::properties_of_record;
use tracing::warn;

use super::ahead::Needs;
use super::{MessageStore, tags_code_of_record};
use crate::commit_log::{LogFiles, bytes_at, find_file};
use crate::consume_queue::{BatchUnit, ConsumeQueue, QueueKind, UNIT_BYTES, Unit};
use crate::limits::{
    CHECK_UNITS_AT_ONCE, MAX_PULL_BYTES, READ_MORE_UNITS_AT_ONCE, READ_UNITS_AT_ONCE,
    SURELY_CACHED_BYTES,
};
use crate::status::{GetMessageResult, GetMessageStatus};

/// Reference: `DefaultMessageStore.getMessage` (store), 5.5.0, takes at least this.
const MIN_PULL_BYTES: usize = 100;

/// A record that a filter may look at; what it does not look at is not read from disk.
#[derive(Debug, Clone, Copy)]
pub struct LazyRecord<'a> {
    files: &'a LogFiles,
    unit: &'a Unit,
    seen: &'a Cell<Seen>,
}

/// What a record was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
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

/// Reading would wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cold;

thread_local! {
    /// Units of the queue that this thread reads.
    static UNITS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What one pull may take.
#[derive(Debug, Clone, Copy)]
struct Budget {
    messages: u32,
    bytes: usize,
    units: i64,
}

impl MessageStore {
    /// Appends records of a queue from `offset` on to `out`, back to back.
    ///
    /// At most `max_num` records and about `max_bytes` bytes (the first record always fits), and
    /// never more than the configured limits of one pull. `filter` gets the tags code of each
    /// message and may look at the record.
    ///
    /// Reference: `DefaultMessageStore.getMessage` (store), 5.5.0.
    #[expect(
        clippy::too_many_arguments,
        reason = "the question, the limits, the filter, the output"
    )]
    pub fn get_message(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_num: u32,
        max_bytes: usize,
        filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> GetMessageResult {
        let limits = (max_num, max_bytes);
        self.pull(topic, queue_id, offset, limits, true, filter, out)
            .unwrap_or_else(|Cold| empty(GetMessageStatus::OffsetFoundNull, offset, 0, 0))
    }

    /// As [`Self::get_message`], unless that would wait for the disk: then nothing is read, and the
    /// caller had better call `get_message` from a thread that may wait.
    ///
    /// # Errors
    ///
    /// When records that are wanted are not in the page cache.
    #[expect(
        clippy::too_many_arguments,
        reason = "the question, the limits, the filter, the output"
    )]
    pub fn get_cached_message(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_num: u32,
        max_bytes: usize,
        filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<GetMessageResult, Cold> {
        self.pull(topic, queue_id, offset, (max_num, max_bytes), false, filter, out)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the question, the limits, the filter, the output"
    )]
    fn pull(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        (max_num, max_bytes): (u32, usize),
        may_wait: bool,
        filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<GetMessageResult, Cold> {
        let Some(queue) = self.queues.get(topic, queue_id) else {
            let min = self.min_of_nothing(topic);
            return Ok(empty(GetMessageStatus::NoMatchedLogicQueue, 0, min, 0));
        };
        // Before the bounds, which it is never ahead of then.
        let compacted = self.compaction.view(topic, queue_id);
        let mut bounds = self.visible_bounds(&queue);
        if bounds.1 == 0 {
            bounds.0 = self.min_of_nothing(topic);
        }
        let question = Question {
            queue: &queue,
            offset,
            bounds,
            budget: Budget {
                messages: max_num,
                bytes: max_bytes.clamp(MIN_PULL_BYTES, MAX_PULL_BYTES),
                units: self.units_per_pull(max_num),
            },
            may_wait,
        };
        match compacted {
            Some(view) if queue.kind() == QueueKind::Simple => {
                self.pull_compacted(&view, question, filter, out)
            }
            _ => self.pull_queue(question, filter, out),
        }
    }

    /// Answers out of the commit log.
    pub(super) fn pull_queue(
        &self,
        question: Question<'_>,
        filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<GetMessageResult, Cold> {
        let Question { queue, offset, bounds: (min, max), .. } = question;
        let range_status = if max == 0 {
            Some((GetMessageStatus::NoMessageInQueue, 0))
        } else if offset < min {
            Some((GetMessageStatus::OffsetTooSmall, min))
        } else if offset == max {
            Some((GetMessageStatus::OffsetOverflowOne, offset))
        } else if offset > max {
            Some((GetMessageStatus::OffsetOverflowBadly, max))
        } else {
            None
        };
        if let Some((status, next)) = range_status {
            return Ok(empty(status, next, min, max));
        }
        UNITS.with_borrow_mut(|units| {
            let files = self.log.files();
            let mut pull = Pull::new(self, question, &files, self.log.max_offset(), out);
            match queue.kind() {
                QueueKind::Simple => pull.run(offset, filter, units, out)?,
                QueueKind::Batch => pull.run_batch(offset, filter, out)?,
            }
            Ok(pull.result)
        })
    }

    /// First offset of a queue, and the offset behind its last readable message.
    pub(super) fn visible_bounds(&self, queue: &ConsumeQueue) -> (i64, i64) {
        let until = if self.flush_policy.sync { self.visible_end() } else { i64::MAX };
        queue.lock().visible_offsets(until)
    }

    /// Whether a record is recent enough to be taken to be in memory.
    pub(super) fn is_hot(&self, phy_offset: i64, log_end: i64) -> bool {
        log_end - phy_offset <= self.hot_bytes
    }

    fn units_per_pull(&self, max_num: u32) -> i64 {
        let configured = (self.config.max_filter_message_size / UNIT_BYTES) as i64;
        configured.max(i64::from(max_num))
    }
}

/// What one pull asks for.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    queue: &'a ConsumeQueue,
    pub(super) offset: i64,
    /// First offset of the queue, and the offset behind its last readable message.
    pub(super) bounds: (i64, i64),
    budget: Budget,
    /// Whether the disk may be waited for.
    may_wait: bool,
}

impl Question<'_> {
    /// The same, of messages from `offset` on in a queue that begins with `min`.
    pub(super) fn from(self, offset: i64, min: i64) -> Self {
        Self { offset, bounds: (min, self.bounds.1), ..self }
    }
}

/// One pull under way.
pub(super) struct Pull<'a> {
    store: &'a MessageStore,
    queue: &'a ConsumeQueue,
    files: &'a LogFiles,
    max: i64,
    log_end: i64,
    /// Distance from the log's end within which records are not looked for in the page cache.
    surely_cached_bytes: i64,
    budget: Budget,
    may_wait: bool,
    pub(super) result: GetMessageResult,
    /// Length of the output before this pull.
    begin: usize,
    last_phy_offset: i64,
    /// Records before this position are known to be deleted.
    skip_before: i64,
    /// The kernel has been asked to read the log up to here.
    advised_to: i64,
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
        let Question { queue, offset, bounds: (min, max), budget, may_wait } = question;
        Self {
            store,
            queue,
            files,
            max,
            log_end,
            surely_cached_bytes: SURELY_CACHED_BYTES,
            budget,
            may_wait,
            result: empty(GetMessageStatus::NoMatchedMessage, offset, min, max),
            begin: out.len(),
            last_phy_offset: 0,
            skip_before: i64::MIN,
            advised_to: 0,
            needs: Needs::Copy,
            has_checked: false,
        }
    }

    /// The same, of a log that may have been written long ago up to its end.
    pub(super) fn with_old_end(self) -> Self {
        Self { surely_cached_bytes: 0, ..self }
    }

    fn run(
        &mut self,
        offset: i64,
        mut filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        units: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Cold> {
        let stop_at = self.max.min(offset.saturating_add(self.budget.units));
        let mut at_once = READ_UNITS_AT_ONCE;
        let wanted = self.budget.messages.max(1);
        while self.result.next_begin_offset < stop_at && self.result.message_count < wanted {
            let first = self.result.next_begin_offset;
            let count = (stop_at - first).min(at_once as i64) as usize;
            // Who does not find enough at once looks at many.
            at_once = READ_MORE_UNITS_AT_ONCE;
            units.clear();
            if let Err(error) = self.queue.read_units(&self.store.queue_files, first, count, units)
            {
                let (topic, queue_id) = (self.queue.topic(), self.queue.queue_id());
                warn!(%topic, queue_id, queue_offset = first, %error, "units not read");
                units.clear();
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
            if index == checked && !self.may_wait {
                checked += self.check_cached(&units[index..])?;
            }
            self.result.next_begin_offset += 1;
            self.take(&unit, 1, filter, out);
        }
        Ok(Room::Left)
    }

    fn note_distance(&mut self) {
        self.result.suggest_slave = !self.store.is_hot(self.last_phy_offset, self.log_end);
        self.result.behind_bytes = (self.log_end - self.last_phy_offset).max(0);
    }

    /// [`Self::run`] for a queue whose records hold many messages: the first is the one that has
    /// the message at `offset`, though others may be before that in it.
    fn run_batch(
        &mut self,
        offset: i64,
        filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Cold> {
        let (queue, files, max) = (self.queue, &self.store.queue_files, self.max);
        let first = queue.index_of(files, offset).unwrap_or(i64::MAX);
        let units = (first..i64::MAX).map_while(|index| match queue.batch_unit(files, index) {
            Ok(unit) => unit.filter(|unit| unit.base_offset < max),
            Err(error) => {
                let (topic, queue_id) = (queue.topic(), queue.queue_id());
                warn!(%topic, queue_id, index, %error, "unit not read");
                None
            }
        });
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
            let is_cold = !self.may_wait && self.check_cached_one(&unit.unit).is_err();
            if is_cold && self.result.message_count == 0 {
                return Err(Cold);
            }
            let messages = u32::from(unit.count.unsigned_abs());
            if is_cold
                || number as i64 >= self.budget.units
                || self.is_full(&unit.unit, messages, out)
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

    /// Looks whether the first and the last record that may be taken next are in the page cache. What
    /// lies between them was written between them, so it most likely is as well. Returns how many
    /// units that holds for.
    fn check_cached(&mut self, units: &[[u8; UNIT_BYTES]]) -> Result<usize, Cold> {
        let goes_on = std::mem::replace(&mut self.has_checked, true);
        // Who has not found enough among the first looks at all.
        let wanted = if goes_on { usize::MAX } else { self.budget.messages.max(1) as usize };
        let count = units.len().min(CHECK_UNITS_AT_ONCE).min(wanted);
        // The record in front of those that come later was the last of the others.
        let first = units.first().filter(|_| !goes_on && count > 1);
        for unit in first.into_iter().chain(units[..count].last()) {
            self.check_cached_one(&Unit::decode(unit))?;
        }
        Ok(count)
    }

    fn check_cached_one(&self, unit: &Unit) -> Result<(), Cold> {
        if self.log_end - unit.phy_offset <= self.surely_cached_bytes {
            return Ok(());
        }
        match find_file(self.files, unit.phy_offset) {
            Some(file) if !file.is_cached((unit.phy_offset - file.start()) as u64) => Err(Cold),
            _ => Ok(()),
        }
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
        count + messages > self.budget.messages.min(most)
            || bytes > self.budget.bytes.min(most_bytes)
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
        self.read_ahead(unit);
        let seen = Cell::new(Seen::Not);
        let record = || LazyRecord { files: self.files, unit, seen: &seen };
        if !filter(self.tags_code_of(unit, &record()), record()) {
            // The log is not touched for what the queue alone tells to be another's.
            self.needs = match seen.get() {
                Seen::Not => Needs::Nothing,
                Seen::Sound(properties_bytes) => Needs::Look { properties_bytes },
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

    /// Has the kernel read what this pull will want, in one go rather than page by page.
    fn read_ahead(&mut self, unit: &Unit) {
        if unit.end() <= self.advised_to || self.store.is_hot(unit.phy_offset, self.log_end) {
            return;
        }
        if let Some(file) = find_file(self.files, unit.phy_offset) {
            let bytes = self.store.config.max_transfer_bytes_on_message_in_disk;
            file.will_need((unit.phy_offset - file.start()) as usize, bytes);
            self.advised_to = unit.phy_offset + bytes as i64;
        }
    }

    /// What the status is while nothing has been found.
    fn note(&mut self, status: GetMessageStatus) {
        if self.result.message_count == 0 {
            self.result.status = status;
        }
    }

    /// Goes on at the next queue file when a unit cannot be read.
    fn unreadable(&mut self, first: i64) {
        if self.result.message_count == 0 {
            let file_bytes = self.store.queue_files.file_bytes(QueueKind::Simple);
            let per_file = (file_bytes / UNIT_BYTES as u64) as i64;
            self.result.status = GetMessageStatus::OffsetFoundNull;
            self.result.next_begin_offset = (first / per_file + 1) * per_file;
        }
    }
}

/// The record that `bytes` are, when they are a whole one and nothing else. A damaged one would make a client
/// give up on all that follows it.
fn sound(bytes: &[u8]) -> Option<RecordView<'_>> {
    RecordView::parse(bytes).ok().filter(|record| record.total_bytes() == bytes.len())
}

pub(super) fn empty(status: GetMessageStatus, next: i64, min: i64, max: i64) -> GetMessageResult {
    GetMessageResult {
        status,
        next_begin_offset: next,
        min_offset: min,
        max_offset: max,
        message_count: 0,
        suggest_slave: false,
        behind_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreConfig;
    use crate::limits::SURELY_CACHED_BYTES;
    use oxmq_protocol::message::Message;

    #[test]
    fn pull_gives_what_it_found_before_the_first_cold_record_and_goes_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let file_bytes = 2 * SURELY_CACHED_BYTES as u64;
        let store = MessageStore::open(StoreConfig {
            mapped_file_size_commit_log: file_bytes,
            ..StoreConfig::in_dir(dir.path())
        })
        .unwrap();
        for number in 0_i32..100 {
            store.put_message(&Message { flag: number, ..Message::new("t", 0, b"small") });
        }
        let cold = store.queues.get("t", 0).unwrap();
        let cold = cold.unit(&store.queue_files, 64).unwrap().unwrap();
        // Far from the log's end, so that the kernel is asked.
        let large = vec![0; 1 << 20];
        while store.max_phy_offset() <= SURELY_CACHED_BYTES + cold.end() {
            store.put_message(&Message::new("other", 0, &large));
        }
        store.log.files()[0].cold_from.set(cold.phy_offset as u64).unwrap();

        let pull = |offset| {
            let wanted = |_, record: LazyRecord<'_>| record.view().unwrap().flag() % 10 == 0;
            let mut out = Vec::new();
            store.get_cached_message("t", 0, offset, 32, usize::MAX, wanted, &mut out)
        };
        let result = pull(0).unwrap();
        assert_eq!((result.message_count, result.next_begin_offset), (7, 64));
        let result = pull(31).unwrap();
        assert_eq!((result.message_count, result.next_begin_offset), (3, 63));
        assert_eq!(pull(64), Err(Cold));
        assert_eq!(pull(61), Err(Cold));
    }

    #[test]
    fn a_filter_sees_properties_and_nothing_of_a_damaged_record() {
        let dir = tempfile::tempdir().unwrap();
        let store = MessageStore::open(StoreConfig::in_dir(dir.path())).unwrap();
        for name in ["a", "b", "c"] {
            let text = format!("name\u{1}{name}\u{2}");
            let properties = text.as_bytes();
            store.put_message(&Message { properties, ..Message::new("t", 0, b"small") });
        }
        let second =
            store.queues.get("t", 0).unwrap().unit(&store.queue_files, 1).unwrap().unwrap();
        let log =
            std::fs::OpenOptions::new().write(true).open(store.log.files()[0].path()).unwrap();
        // Its length.
        std::os::unix::fs::FileExt::write_all_at(&log, &[0; 4], second.phy_offset as u64).unwrap();

        let mut seen = Vec::new();
        let mut wanted = |_, record: LazyRecord<'_>| {
            let properties = record.properties();
            assert_eq!(properties, record.view().map(|record| record.properties()));
            seen.push(properties.map(<[u8]>::to_vec));
            false
        };
        let result = store.get_message("t", 0, 0, 32, usize::MAX, &mut wanted, &mut Vec::new());
        assert_eq!((result.message_count, result.next_begin_offset), (0, 3));
        let text = |name: &str| Some(format!("name\u{1}{name}\u{2}").into_bytes());
        assert_eq!(seen, [text("a"), None, text("c")]);
    }
}
