//! Getting messages of one queue.

use std::cell::RefCell;

use super::MessageStore;
use super::lazy_record::LazyRecord;
use super::pull::{Budget, Pull, Question};
use crate::consume_queue::{ConsumeQueue, QueueKind, UNIT_BYTES};
use crate::limits::MAX_PULL_BYTES;
use crate::status::{GetMessageResult, GetMessageStatus};

/// Reference: `DefaultMessageStore.getMessage` (store), 5.5.0, takes at least this.
const MIN_PULL_BYTES: usize = 100;

/// Reading would wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cold;

thread_local! {
    /// Units of the queue that this thread reads.
    static UNITS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
            Some(view) => self.pull_compacted(&view, question, filter, out),
            None => self.pull_queue(question, filter, out),
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
                QueueKind::Simple => pull.run(filter, units, out)?,
                QueueKind::Batch => pull.run_batch(filter, out)?,
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
        let percent = u64::from(self.config.access_message_in_memory_max_ratio.min(100));
        let hot_bytes = i64::try_from(self.memory_bytes / 100 * percent).unwrap_or(i64::MAX);
        log_end.saturating_sub(phy_offset) <= hot_bytes
    }

    fn units_per_pull(&self, max_num: u32) -> i64 {
        let configured = (self.config.max_filter_message_size / UNIT_BYTES) as i64;
        configured.max(i64::from(max_num))
    }
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
    use oxmq_protocol::message::{Message, RecordView};

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
    fn what_the_disk_does_not_give_back_is_waited_for_and_ends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = MessageStore::open(StoreConfig {
            mapped_file_size_commit_log: 2 * SURELY_CACHED_BYTES as u64,
            ..StoreConfig::in_dir(dir.path())
        })
        .unwrap();
        let body = vec![7; 20 << 10];
        for _ in 0..8 {
            store.put_message(&Message::new("t", 0, &body));
        }
        let lost = store.queues.get("t", 0).unwrap();
        let lost = lost.unit(&store.queue_files, 5).unwrap().unwrap();
        let large = vec![0; 1 << 20];
        while store.max_phy_offset() <= SURELY_CACHED_BYTES + lost.end() {
            store.put_message(&Message::new("other", 0, &large));
        }
        let file = &store.log.files()[0];
        file.cold_from.set(0).unwrap();
        let pull = |offset| {
            let mut out = Vec::new();
            let result = store.get_message("t", 0, offset, 32, usize::MAX, |_, _| true, &mut out);
            (result.status, result.message_count, result.next_begin_offset)
        };
        assert_eq!(pull(0), (GetMessageStatus::Found, 8, 8));
        // Nothing is written behind its end meanwhile.
        store.workers.lock().unwrap().clear();
        // As of bytes that cannot be read, the kernel has no page to give of those behind the end of a file.
        let whole = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
        whole.set_len(lost.phy_offset as u64).unwrap();
        assert_eq!(pull(0), (GetMessageStatus::Found, 5, 5));
        assert_eq!(pull(5), (GetMessageStatus::OffsetFoundNull, 0, 5));
        whole.set_len(file.len() as u64).unwrap();
    }

    #[test]
    fn a_record_with_a_damaged_head_is_not_given_whatever_a_filter_makes_of_it() {
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
        let mut out = Vec::new();
        let mut pull = |offset, wants| {
            seen.clear();
            let filter = |_, record: LazyRecord<'_>| {
                seen.push(record.properties().map(<[u8]>::to_vec));
                wants
            };
            let result = store.get_message("t", 0, offset, 32, usize::MAX, filter, &mut out);
            (seen.clone(), result.message_count, result.next_begin_offset)
        };
        let text = |name: &str| Some(format!("name\u{1}{name}\u{2}").into_bytes());
        // Behind one like it the end of the record is enough.
        assert_eq!(pull(0, false), (vec![text("a"), text("b"), text("c")], 0, 3));
        assert_eq!(pull(1, false), (vec![None, text("c")], 0, 3));
        assert_eq!(pull(0, true), (vec![text("a"), None, text("c")], 2, 3));
        let first = RecordView::parse(&out).unwrap();
        let second = RecordView::parse(&out[first.total_bytes()..]).unwrap();
        assert_eq!((first.queue_offset(), second.queue_offset()), (0, 2));
    }
}
