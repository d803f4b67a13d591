//! What is undecided at the start: read from the queues of half messages and decisions, and from
//! the end of the log after a crash.

use hashbrown::HashMap;
use oxmq_protocol::message::{RecordView, properties, sys_flag};
use tracing::info;

use super::decisions::Decisions;
use oxmq_store::Boundary;

use super::{GROUP, TransactionService, op_queue};
use crate::again::Aside;
use crate::sync::lock;
use crate::topic_validator::{TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};

/// Batches that were written so long before the last one have every decision that was carried out before them:
/// no thread takes longer from one to the other.
const DOUBT_MS: i64 = 10_000;

impl TransactionService {
    /// Reads what is known of half messages from the first undecided one on.
    pub(super) fn recover(&self) {
        let mut decisions = Decisions::from(self.progress_in(TRANS_HALF_TOPIC));
        let op = Aside { store: &self.store, topic: TRANS_OP_HALF_TOPIC, queue_id: 0 };
        let op_offset = self.progress_in(TRANS_OP_HALF_TOPIC);
        self.op_queue.start_at(op_offset);
        let half_end = self.store.max_offset(TRANS_HALF_TOPIC, 0);
        op.walk(op_offset, |record| {
            let mut offsets = op_queue::offsets(record);
            // A decision on what is to come would be one on another message, and a bit is kept for all before it.
            offsets.retain(|offset| *offset < half_end);
            let greatest = offsets.iter().copied().max().unwrap_or(-1);
            self.op_queue.found(record.queue_offset(), greatest);
            offsets.into_iter().for_each(|offset| decisions.set_over(offset));
            true
        });
        let undecided = self.find_undecided(&mut decisions);
        let lost = self.find_lost_commits(&undecided);
        for (key, offset) in &lost {
            decisions.finish(*offset, Some(key));
            self.op_queue.add(*offset);
        }
        let (undecided, lost) = (undecided.by_key.len() - lost.len(), lost.len());
        if undecided + lost > 0 {
            info!(undecided, lost, "half messages found");
        }
        *lock(&self.decisions) = decisions;
    }

    /// Where the group goes on in one of the two queues.
    fn progress_in(&self, topic: &str) -> i64 {
        let (min, max) = self.store.bounds(topic, 0);
        self.offsets.query(GROUP, topic, 0).unwrap_or(min).clamp(min, max)
    }

    /// Finds the undecided messages. Of one that was put back only the newest copy counts, whatever
    /// the crash that came between has left.
    fn find_undecided(&self, decisions: &mut Decisions) -> Undecided {
        let mut undecided = Undecided::default();
        self.half_queue().walk(decisions.low(), |record| {
            let offset = record.queue_offset();
            let is_over = decisions.is_over(offset);
            let is_copy = [
                properties::TRANSACTION_CHECK_TIMES,
                properties::TRANSACTION_PREPARED_QUEUE_OFFSET,
            ]
            .iter()
            .any(|name| properties::property(record.properties(), name).is_some());
            let Some(key) = unique_key(record).filter(|_| is_copy || !is_over) else {
                return true;
            };
            if let Some(older) = undecided.by_key.remove(key) {
                decisions.set_over(older);
            }
            if is_over {
                decisions.finish(offset, Some(key));
                return true;
            }
            undecided.by_key.insert(key.into(), offset);
            if is_copy {
                decisions.found_copy(key, offset);
            }
            let begin = undecided.first_phy_offset.get_or_insert(record.phy_offset());
            *begin = record.phy_offset().min(*begin);
            true
        });
        undecided
    }

    /// Finds messages that were committed before a crash without a note of it: the notes are
    /// written some time later. Without this they would be asked about, and committed again.
    fn find_lost_commits(&self, undecided: &Undecided) -> Vec<(String, i64)> {
        let mut lost = Vec::new();
        let Some(first) = undecided.first_phy_offset else { return lost };
        self.store.for_each_record(self.noted_to().max(first), |record| {
            let kind = sys_flag::transaction_type(record.sys_flag());
            if kind == sys_flag::TRANSACTION_COMMIT
                && let Some(key) = unique_key(record)
                && let Some(offset) = undecided.by_key.get(key)
            {
                lost.push((key.to_owned(), *offset));
            }
            true
        });
        lost
    }

    /// The position in the log before which every commit has been noted.
    fn noted_to(&self) -> i64 {
        let (store, topic) = (&self.store, TRANS_OP_HALF_TOPIC);
        let last_ms = store.message_store_timestamp(topic, 0, store.max_offset(topic, 0) - 1);
        let noted_to = last_ms.and_then(|last_ms| {
            let doubtful = store.offset_by_time(topic, 0, last_ms - DOUBT_MS, Boundary::Lower);
            store.phy_offset_of(topic, 0, doubtful - 1)
        });
        noted_to.unwrap_or(0)
    }
}

/// Half messages without a decision.
#[derive(Debug, Default)]
struct Undecided {
    /// Newest copy by unique key.
    by_key: HashMap<Box<str>, i64>,
    /// Where the first of them lies in the log.
    first_phy_offset: Option<i64>,
}

/// The key that all copies of a message have.
pub(super) fn unique_key(record: RecordView<'_>) -> Option<&str> {
    properties::property_str(record.properties(), properties::UNIQ_KEY)
}
