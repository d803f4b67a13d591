//! Consume queues against the log, unit by unit, in the order of the log.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use oxmq_protocol::message::record::SMALLEST_RECORD_BYTES;
use oxmq_protocol::message::{RecordView, sys_flag};

use super::super::StoreDir;
use super::super::report::{Finding, Kind, Report, Severity};
use super::super::units::QueueReader;
use super::batch_queues::BatchQueues;
use super::{REPAIR, START, unless_unreadable};
use crate::consume_queue::{ExtendedReader, ExtendedUnit, QueueKind, Unit, position_of};
use crate::delay_level::DelayLevels;
use crate::error::StoreError;
use crate::limits::MAX_QUEUE_OFFSET;
use crate::message_store::{
    LIGHT_QUEUE_ID, is_schedule_topic, is_storable_topic, light_places, tags_code_of_record,
};

/// Findings of one kind that one queue adds to a report.
const MAX_PER_QUEUE: usize = 5;

pub(super) const FOLLOWS: &str = "`oxmq store repair` mends it where the records on both sides tell what it \
    was; else skip the message";

/// All queues of a store.
pub(super) struct Queues {
    root: PathBuf,
    delay_levels: DelayLevels,
    topics: Option<BTreeSet<String>>,
    crashed: bool,
    batch: BatchQueues,
    by_topic: HashMap<Box<str>, Vec<QueueState>>,
}

struct QueueState {
    queue_id: i32,
    reader: QueueReader,
    /// Nothing in a queue without files.
    extended: Option<ExtendedReader>,
    /// Offset that the next record should have; nothing before the first record.
    next: Option<i64>,
    /// Offset of the next unit to be looked at.
    next_unit: i64,
    /// Where the last record was.
    last_at: i64,
    /// Offsets without a unit, and where the first one's record is.
    missing: Option<Missing>,
    findings: Vec<Finding>,
    /// The disk does not give back all of it: what else there may be to find is not looked for.
    is_unreadable: bool,
}

#[derive(Clone, Copy)]
struct Missing {
    from: i64,
    to: i64,
    record_at: i64,
}

impl Queues {
    pub(super) fn open(
        dir: &StoreDir,
        delay_levels: DelayLevels,
        topics: Option<BTreeSet<String>>,
        crashed: bool,
    ) -> Result<Self, StoreError> {
        let mut by_topic: HashMap<Box<str>, Vec<QueueState>> = HashMap::new();
        for queue in dir.queue_dirs(QueueKind::Simple)? {
            let extended = dir.extended_reader(&queue);
            let reader = dir.queue_reader(QueueKind::Simple, queue.path)?;
            let state = QueueState::new(queue.queue_id, reader, Some(extended));
            by_topic.entry(Box::from(&*queue.topic)).or_default().push(state);
        }
        Ok(Self {
            root: dir.queue_root(QueueKind::Simple),
            delay_levels,
            topics,
            crashed,
            batch: BatchQueues::open(dir)?,
            by_topic,
        })
    }

    /// Compares the record at log position `at` with its units.
    pub(super) fn visit(
        &mut self,
        record: &RecordView<'_>,
        at: i64,
        log_begin: i64,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if !sys_flag::has_queue_offset(record.sys_flag()) || !is_storable_topic(record.topic()) {
            return Ok(());
        }
        let tags_code = tags_code_of_record(record, &self.delay_levels);
        for (name, offset) in light_places(record) {
            // Without the queue, light queues were not in use.
            if self.by_topic.contains_key(name) {
                let place = (name, LIGHT_QUEUE_ID, offset);
                self.compare(place, record, at, tags_code, log_begin, report)?;
            }
        }
        if self.batch.has(record) {
            return self.batch.visit(record, at, tags_code, log_begin, report);
        }
        let place = (record.topic(), record.queue_id(), record.queue_offset());
        self.compare(place, record, at, tags_code, log_begin, report)
    }

    /// Compares a record with the unit that one of its queues, in which it has `offset`, has for it.
    fn compare(
        &mut self,
        (topic, queue_id, offset): (&str, i32, i64),
        record: &RecordView<'_>,
        at: i64,
        tags_code: i64,
        log_begin: i64,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let state = self.state_of(topic, queue_id);
        if !state.is_unreadable && state.accept_offset(offset, at, report) {
            let compared = state.compare(offset, record, at, tags_code, log_begin, report);
            state.is_unreadable = unless_unreadable(compared, report)?.is_none();
        }
        Ok(())
    }

    /// Looks at the units behind the last record of each queue. Returns whether any leads behind
    /// `log_end`.
    pub(super) fn finish(
        mut self,
        log_begin: i64,
        log_end: i64,
        report: &mut Report,
    ) -> Result<bool, StoreError> {
        let mut topics: Vec<_> = self.by_topic.drain().collect();
        topics.sort_by(|a, b| a.0.cmp(&b.0));
        let mut deleted = 0;
        let mut ahead = false;
        for (topic, mut queues) in topics {
            queues.sort_by_key(|state| state.queue_id);
            let is_known = self.topics.as_ref().is_none_or(|topics| topics.contains(&*topic));
            for mut state in queues {
                if !is_known && !state.reader.has_files() {
                    deleted += 1;
                    continue;
                }
                if !state.is_unreadable {
                    let finished = state.finish(log_begin, log_end, self.crashed);
                    ahead |= unless_unreadable(finished, report)?.unwrap_or(false);
                }
                for finding in state.findings {
                    report.push(finding);
                }
            }
        }
        let (batch_ahead, batch_deleted) =
            self.batch.finish(self.topics.as_ref(), (log_begin, log_end), report)?;
        ahead |= batch_ahead;
        deleted += batch_deleted;
        if deleted > 0 {
            let what = format!("the log has records of {deleted} queues of deleted topics");
            let place = (&*self.root, None);
            report.add(Severity::Info, Kind::QueueSkipped, place, what, "nothing to do");
        }
        Ok(ahead)
    }

    fn state_of(&mut self, topic: &str, queue_id: i32) -> &mut QueueState {
        if !self.by_topic.contains_key(topic) {
            self.by_topic.insert(Box::from(topic), Vec::new());
        }
        let queues = self.by_topic.entry(Box::from(topic)).or_default();
        let index = match queues.iter().position(|state| state.queue_id == queue_id) {
            Some(index) => index,
            None => {
                let path = self.root.join(topic).join(queue_id.to_string());
                let reader = QueueReader::missing(path, QueueKind::Simple);
                queues.push(QueueState::new(queue_id, reader, None));
                queues.len() - 1
            }
        };
        &mut queues[index]
    }
}

impl QueueState {
    fn new(queue_id: i32, reader: QueueReader, extended: Option<ExtendedReader>) -> Self {
        let next_unit = reader.first();
        Self {
            queue_id,
            reader,
            extended,
            next: None,
            next_unit,
            last_at: 0,
            missing: None,
            findings: Vec::new(),
            is_unreadable: false,
        }
    }

    /// Compares a record with the unit of its `offset`.
    fn compare(
        &mut self,
        offset: i64,
        record: &RecordView<'_>,
        at: i64,
        tags_code: i64,
        log_begin: i64,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let tags_may_differ = is_schedule_topic(record.topic());
        self.pass_to(offset, log_begin, i64::MAX)?;
        self.next = Some(offset + 1);
        self.next_unit = offset + 1;
        self.last_at = at;
        let Some(unit) = self.reader.unit(offset)? else {
            self.note_missing(offset, at);
            return Ok(());
        };
        report.counts.units += 1;
        let size = record.total_bytes() as i32;
        if unit.phy_offset != at || unit.size != size {
            let what = format!(
                "unit {offset} leads to {} ({} bytes), its record is at {at} ({size} bytes)",
                unit.phy_offset, unit.size
            );
            self.find(Severity::Error, Kind::UnitWrong, offset, what, REPAIR);
            return Ok(());
        }
        let found = match self.extended_of(&unit)? {
            Some(Some(extended)) if extended.store_timestamp_ms != record.store_timestamp_ms() => {
                let what =
                    format!("the extended unit of {offset} has another time than its record");
                self.find(Severity::Error, Kind::ExtendedUnit, offset, what, REPAIR);
                return Ok(());
            }
            Some(Some(extended)) => extended.tags_code,
            Some(None) => {
                let what = format!("unit {offset} leads to an extended unit that is not there");
                self.find(Severity::Error, Kind::ExtendedUnit, offset, what, REPAIR);
                return Ok(());
            }
            None => unit.tags_code,
        };
        if found != tags_code {
            let what =
                format!("unit {offset} has tags code {found}, its record at {at} {tags_code}");
            // Delay levels may have been others when the message came.
            let severity = if tags_may_differ { Severity::Warning } else { Severity::Error };
            self.find(severity, Kind::UnitTags, offset, what, REPAIR);
        }
        Ok(())
    }

    /// The extended unit of `unit`, when that leads to one; nothing in that where there is none.
    #[expect(clippy::option_option, reason = "whether one is named, and whether it is there")]
    fn extended_of(&mut self, unit: &Unit) -> Result<Option<Option<ExtendedUnit>>, StoreError> {
        let (Some(position), Some(reader)) = (position_of(unit.tags_code), &mut self.extended)
        else {
            return Ok(None);
        };
        reader.unit(position).map(Some)
    }

    /// Whether a record at log position `at` can have this offset; if not, it is reported.
    fn accept_offset(&mut self, offset: i64, at: i64, report: &mut Report) -> bool {
        if offset == 0 && self.next.is_some() {
            // The topic was deleted and made anew: nothing of the first one is in the files.
            self.findings.clear();
            self.missing = None;
            self.next_unit = self.reader.first();
            return true;
        }
        // Each message before took a record of its own: a larger offset is a damaged one.
        let next = self.next.unwrap_or(0);
        let most = match self.next {
            Some(next) => next + (at - self.last_at) / SMALLEST_RECORD_BYTES as i64,
            None => MAX_QUEUE_OFFSET,
        };
        if offset >= next && offset <= most {
            return true;
        }
        let what = format!("the record at {at} has queue offset {offset}, {next} should follow");
        let path = self.reader.dir();
        report.add(Severity::Error, Kind::RecordQueueOffset, (path, None), what, FOLLOWS);
        false
    }

    /// Looks at the units up to `offset`, none of which has a record.
    fn pass_to(&mut self, offset: i64, log_begin: i64, log_end: i64) -> Result<(), StoreError> {
        let mut lost = 0;
        let from = self.next_unit;
        while self.next_unit < offset {
            let at = self.next_unit;
            let Some(unit) = self.reader.unit(at)? else {
                break;
            };
            self.next_unit += 1;
            if unit.leads_nowhere() {
                lost += 1;
            } else if unit.end() > log_begin {
                self.astray(at, &unit, log_end);
            }
        }
        if self.next.is_some() && lost > 0 {
            let what = format!("the records of {lost} messages from offset {from} on are lost");
            self.find(Severity::Info, Kind::MessagesLost, from, what, "nothing to do");
        }
        if let Some(next) = self.next.filter(|next| *next < offset && self.next_unit < offset) {
            let what = format!("offsets {next}..{offset} have neither records nor units");
            self.find(Severity::Error, Kind::MessagesLost, next, what, REPAIR);
        }
        Ok(())
    }

    fn astray(&mut self, offset: i64, unit: &Unit, log_end: i64) {
        let (kind, why) = if unit.end() > log_end {
            (Kind::QueueAhead, format!("behind the end of the log at {log_end}"))
        } else {
            (Kind::UnitAstray, "where no record with its offset is".to_owned())
        };
        let what = format!("unit {offset} leads to {}, {why}", unit.phy_offset);
        self.find(Severity::Error, kind, offset, what, REPAIR);
    }

    fn note_missing(&mut self, offset: i64, at: i64) {
        match &mut self.missing {
            Some(missing) if missing.to == offset => missing.to = offset + 1,
            _ => {
                self.report_missing(Severity::Error);
                self.missing = Some(Missing { from: offset, to: offset + 1, record_at: at });
            }
        }
    }

    fn report_missing(&mut self, severity: Severity) {
        if let Some(Missing { from, to, record_at }) = self.missing.take() {
            let what = format!(
                "offsets {from}..{to} have no units; the record of the first is at {record_at}"
            );
            let advice = if severity == Severity::Warning { START } else { REPAIR };
            self.find(severity, Kind::UnitMissing, from, what, advice);
        }
    }

    /// Looks at what is behind the last record.
    fn finish(&mut self, log_begin: i64, log_end: i64, crashed: bool) -> Result<bool, StoreError> {
        let is_newest = |missing: &Missing| Some(missing.to) == self.next;
        let severity = match &self.missing {
            Some(missing) if crashed && is_newest(missing) => Severity::Warning,
            _ => Severity::Error,
        };
        self.report_missing(severity);
        let before = self.findings.len();
        self.pass_behind(log_begin, log_end)?;
        let ahead = self.findings[before..].iter().any(|found| found.kind == Kind::QueueAhead);
        if let Some(hole) = self.reader.hole_at(self.next_unit) {
            let what = format!("unit {} is none, but a file follows", self.next_unit);
            self.find(Severity::Error, Kind::UnitMissing, hole, what, REPAIR);
        }
        Ok(ahead)
    }

    fn pass_behind(&mut self, log_begin: i64, log_end: i64) -> Result<(), StoreError> {
        while let Some(unit) = self.reader.unit(self.next_unit)? {
            let at = self.next_unit;
            self.next_unit += 1;
            if !unit.leads_nowhere() && unit.end() > log_begin {
                self.astray(at, &unit, log_end);
            }
        }
        Ok(())
    }

    /// Notes a finding at the unit of `offset`.
    fn find(
        &mut self,
        severity: Severity,
        kind: Kind,
        offset: i64,
        what: String,
        advice: &'static str,
    ) {
        let same = self.findings.iter().filter(|found| found.kind == kind).count();
        if same < MAX_PER_QUEUE {
            let (path, position) = self.reader.place(offset);
            let position = Some(position);
            self.findings.push(Finding { severity, kind, path, position, what, advice });
        }
    }
}
