//! Topics of which only the latest message of each key is kept.

use std::sync::Arc;

use super::MessageStore;
use super::get::{Cold, empty};
use super::lazy_record::LazyRecord;
use super::pull::{Pull, Question, Room};
use super::put::is_storable_topic;
use crate::compaction::{View, has_key};
use crate::error::{IoContext, StoreError};
use crate::status::{GetMessageResult, GetMessageStatus};
use crate::sync::lock;
use crate::worker::Worker;

impl MessageStore {
    /// Keeps only the latest message of each key of `topic` from now on, and until it is deleted. Without
    /// `enableCompaction` it does nothing.
    ///
    /// # Errors
    ///
    /// When files of the topic cannot be used, or a thread cannot be started.
    pub fn use_compaction(&self, topic: &str) -> Result<(), StoreError> {
        if !is_storable_topic(topic) || !self.compaction.add_topic(topic)? {
            return Ok(());
        }
        let mut workers = lock(&self.workers);
        if !self.is_closed() {
            let compaction = Arc::clone(&self.compaction);
            let worker =
                Worker::spawn("compaction", Arc::default(), move |signal| compaction.run(signal));
            workers.push(worker.doing("start the threads of", &self.config.root_dir())?);
        }
        Ok(())
    }

    /// Answers out of what is left of a queue, and out of the commit log behind that. An offset that is not
    /// left means the next one that is.
    ///
    /// Reference: `CompactionLog.getMessage` (store), 5.5.0.
    pub(super) fn pull_compacted(
        &self,
        view: &View,
        question: Question<'_>,
        mut filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<GetMessageResult, Cold> {
        let (offset, max) = (question.offset, question.bounds.1);
        // What is ahead of its queue is that of another topic, and goes when something is copied.
        let mut from = offset;
        let first = view.first_offset().filter(|_| view.next() <= max);
        if let Some(min) = first {
            let range_status = if offset == max {
                Some((GetMessageStatus::OffsetOverflowOne, offset))
            } else if offset > max {
                let next = if min == 0 { 0 } else { max };
                Some((GetMessageStatus::OffsetOverflowBadly, next))
            } else {
                None
            };
            if let Some((status, next)) = range_status {
                return Ok(empty(status, next, min, max));
            }
            // What the commit log does not have any more is in these files only.
            let end_of_view = view.next().max(question.bounds.0);
            if offset < end_of_view {
                let files = view.logs();
                let end =
                    files.last().map_or(0, |file| file.start() + file.wrote_position() as i64);
                let mut pull =
                    Pull::new(self, question.from(offset, min), &files, end, out).with_old_end();
                let room =
                    pull.run_units(view.units_between(offset, end_of_view), &mut filter, out)?;
                let next = pull.result.next_begin_offset.max(end_of_view);
                if room == Room::Full || pull.result.message_count > 0 {
                    return Ok(pull.result);
                }
                if next >= max {
                    return Ok(GetMessageResult { next_begin_offset: next, ..pull.result });
                }
                from = next;
            }
        }
        // What has no key is not copied, so that nobody may see it before either.
        let filter = |tags_code, record: LazyRecord<'_>| {
            record.properties().is_some_and(has_key) && filter(tags_code, record)
        };
        let result = self.pull_queue(question.from(from, question.bounds.0), filter, out)?;
        Ok(GetMessageResult { min_offset: first.unwrap_or(result.min_offset), ..result })
    }
}
