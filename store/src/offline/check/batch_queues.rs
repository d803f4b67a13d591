//! Batch queues against the log: their units say which messages a record has, so that they are
//! compared by the records' positions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use oxmq_protocol::message::{RecordView, sys_flag};

use super::super::StoreDir;
use super::super::report::{Kind, Report, Severity};
use super::super::units::QueueReader;
use super::queues::FOLLOWS;
use super::{REPAIR, START, unless_unreadable};
use crate::consume_queue::{BatchUnit, QueueKind, Unit};
use crate::error::StoreError;
use crate::message_store::{BatchTopics, batch_unit};

/// The batch queues of a store.
pub(super) struct BatchQueues {
    root: PathBuf,
    topics: BatchTopics,
    queues: BTreeMap<(String, i32), State>,
    crashed: bool,
}

struct State {
    reader: QueueReader,
    /// Index of the next unit to be looked at.
    next: i64,
    /// The disk does not give back all of it.
    is_unreadable: bool,
}

impl BatchQueues {
    pub(super) fn open(dir: &StoreDir) -> Result<Self, StoreError> {
        let mut queues = BTreeMap::new();
        for queue in dir.queue_dirs(QueueKind::Batch)? {
            let reader = dir.queue_reader(QueueKind::Batch, queue.path)?;
            let state = State { next: reader.first(), reader, is_unreadable: false };
            queues.insert((queue.topic.to_string(), queue.queue_id), state);
        }
        let topics = BatchTopics::of_store(&dir.root())?;
        let crashed = dir.root().join("abort").exists();
        Ok(Self { root: dir.queue_root(QueueKind::Batch), topics, queues, crashed })
    }

    /// Whether `record` belongs into a batch queue.
    pub(super) fn has(&self, record: &RecordView<'_>) -> bool {
        if record.sys_flag() & sys_flag::INNER_BATCH != 0 {
            // As recovery does, where nothing else tells the topic's kind.
            self.topics.insert(record.topic());
        }
        self.topics.contains(record.topic())
    }

    /// Compares the record at log position `at` with its unit.
    pub(super) fn visit(
        &mut self,
        record: &RecordView<'_>,
        at: i64,
        tags_code: i64,
        log_begin: i64,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let key = (record.topic().to_owned(), record.queue_id());
        let path = self.root.join(&key.0).join(key.1.to_string());
        let state = self.queues.entry(key).or_insert_with(|| State {
            reader: QueueReader::missing(path, QueueKind::Batch),
            next: 0,
            is_unreadable: false,
        });
        if !state.is_unreadable {
            let compared = state.compare(record, at, tags_code, (log_begin, self.crashed), report);
            state.is_unreadable = unless_unreadable(compared, report)?.is_none();
        }
        Ok(())
    }

    /// Looks at the units behind the last record of each queue. Returns whether any leads behind
    /// the log's end, and how many queues of deleted topics there are.
    pub(super) fn finish(
        &mut self,
        topics: Option<&BTreeSet<String>>,
        (log_begin, log_end): (i64, i64),
        report: &mut Report,
    ) -> Result<(bool, u64), StoreError> {
        let (mut ahead, mut deleted) = (false, 0);
        for ((topic, _), state) in &mut self.queues {
            if state.is_unreadable {
                continue;
            }
            if state.reader.has_files() {
                let passed = state.pass_to(i64::MAX, log_begin, log_end, report);
                ahead |= unless_unreadable(passed, report)?.unwrap_or(false);
            } else if topics.is_none_or(|topics| topics.contains(topic)) {
                let place = (state.reader.dir(), None);
                let what = "the queue has records, but no units";
                let (severity, advice) = if self.crashed {
                    (Severity::Warning, START)
                } else {
                    (Severity::Error, REPAIR)
                };
                report.add(severity, Kind::UnitMissing, place, what, advice);
            } else {
                deleted += 1;
            }
        }
        Ok((ahead, deleted))
    }
}

impl State {
    /// Compares the record at log position `at` with its unit.
    fn compare(
        &mut self,
        record: &RecordView<'_>,
        at: i64,
        tags_code: i64,
        (log_begin, crashed): (i64, bool),
        report: &mut Report,
    ) -> Result<(), StoreError> {
        self.pass_to(at, log_begin, i64::MAX, report)?;
        let unit = Unit { phy_offset: at, size: record.total_bytes() as i32, tags_code };
        let expected = batch_unit(record, unit);
        if expected.base_offset != record.queue_offset() {
            let (offset, base) = (record.queue_offset(), expected.base_offset);
            let what = format!("the record at {at} has queue offset {offset}, its property {base}");
            let place = (self.reader.dir(), None);
            report.add(Severity::Error, Kind::RecordQueueOffset, place, what, FOLLOWS);
        }
        let place = self.reader.place(self.next);
        let place = (&*place.0, Some(place.1));
        match self.reader.batch_unit(self.next)? {
            Some(found) if found.unit.phy_offset == at => {
                self.next += 1;
                report.counts.units += 1;
                if found != expected {
                    let what = format!("is {found:?}, by its record {expected:?}");
                    let kind = if is_same_but_tags(&found, &expected) {
                        Kind::UnitTags
                    } else {
                        Kind::UnitWrong
                    };
                    report.add(Severity::Error, kind, place, what, REPAIR);
                }
            }
            found if self.reader.has_files() => {
                let what = format!("there is no unit for the record at {at}");
                let (severity, advice) = if crashed && found.is_none() {
                    (Severity::Warning, START)
                } else {
                    (Severity::Error, REPAIR)
                };
                report.add(severity, Kind::UnitMissing, place, what, advice);
            }
            // Told when it is known whether the topic was deleted.
            _ => {}
        }
        Ok(())
    }

    /// Looks at the units of what is before log position `at`, none of which has a record.
    fn pass_to(
        &mut self,
        at: i64,
        log_begin: i64,
        log_end: i64,
        report: &mut Report,
    ) -> Result<bool, StoreError> {
        let mut ahead = false;
        while let Some(BatchUnit { unit, .. }) = self.reader.batch_unit(self.next)? {
            if unit.phy_offset >= at {
                break;
            }
            // Units of records that are deleted stay until their file is full of them.
            if unit.end() > log_begin {
                let (path, position) = self.reader.place(self.next);
                let is_ahead = unit.end() > log_end;
                let kind = if is_ahead { Kind::QueueAhead } else { Kind::UnitAstray };
                let what = format!("leads to {}, where no record of the queue is", unit.phy_offset);
                report.add(Severity::Error, kind, (&path, Some(position)), what, REPAIR);
                ahead |= is_ahead;
            }
            self.next += 1;
        }
        Ok(ahead)
    }
}

fn is_same_but_tags(found: &BatchUnit, expected: &BatchUnit) -> bool {
    let mut same = *found;
    same.unit.tags_code = expected.unit.tags_code;
    same == *expected
}
