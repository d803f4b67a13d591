//! The pass over the log.

use oxmq_protocol::message::record::{BLANK_HEAD_BYTES, is_blank};
use oxmq_protocol::message::{RecordView, properties};

use super::super::report::{Kind, Report, Severity};
use super::super::{Progress, StoreDir};
use super::index::Index;
use super::queues::Queues;
use super::{COPY, NOT_MENDED, REPAIR, START};
use crate::commit_log::{
    Damage, LogFiles, Reader, RecordCheck, ScanStop, Unreadable, find_file, scan,
};
use crate::error::StoreError;

const NO_LOG: &str = "if it is elsewhere, give the broker's settings with -c";

/// Progress is told after so many bytes.
const PROGRESS_STEP: i64 = 4 << 20;

/// What is compared with the log.
pub(super) struct Pass {
    pub(super) queues: Queues,
    pub(super) index: Index,
}

impl Pass {
    /// Returns the largest store time; nothing when the log has no record.
    pub(super) fn run(
        mut self,
        dir: &StoreDir,
        report: &mut Report,
        progress: Progress<'_>,
    ) -> Result<Option<i64>, StoreError> {
        let files = dir.log_files()?;
        let (Some(first), Some(last)) = (files.first(), files.last()) else {
            let (severity, advice) = match report.counts.queues {
                0 => (Severity::Info, "nothing to do"),
                _ => (Severity::Error, NO_LOG),
            };
            let place = (&*dir.config().commit_log_dir(), None);
            report.add(severity, Kind::LogTail, place, "there is no log", advice);
            self.queues.finish(0, 0, report)?;
            self.index.finish(0, report)?;
            return Ok(None);
        };
        let (begin, total) = (first.start(), last.end() - first.start());
        self.index.begin(begin, last.end(), report)?;
        let mut newest_ms = None;
        let mut told = begin;
        let stop = scan(&files, begin, RecordCheck::BodyCrc, |record, at| {
            if at - told >= PROGRESS_STEP {
                told = at;
                progress((at - begin) as u64, total as u64);
            }
            report.counts.records += 1;
            newest_ms = newest_ms.max(Some(record.store_timestamp_ms()));
            if record.phy_offset() != at {
                let what = format!("the record at {at} says it is at {}", record.phy_offset());
                let place = place(&files, at);
                report.add(Severity::Error, Kind::RecordPosition, place, what, REPAIR);
            }
            if let Err(error) = record.born_host().and_then(|_| record.store_host()) {
                let what = format!("the record at {at}: {error}, so clients cannot read it");
                let place = place(&files, at);
                report.add(Severity::Error, Kind::RecordField, place, what, NOT_MENDED);
            }
            if record.property(properties::CRC32).is_some()
                && let Err(error) = record.verify_property_crc()
            {
                let what = format!("the record at {at}: {error}");
                // A message may have the checksum of the record that it was in before.
                let severity = match dir.config().enabled_append_prop_crc {
                    true => Severity::Error,
                    false => Severity::Warning,
                };
                report.add(severity, Kind::RecordField, place(&files, at), what, NOT_MENDED);
            }
            self.queues.visit(record, at, begin, report)?;
            self.index.visit(record, at, report)
        })?;
        report.counts.log_files = files.len() as u64;
        report.counts.log_bytes = (stop.end - begin) as u64;
        report.min_phy_offset = begin;
        report.max_phy_offset = stop.end;
        for Damage { from, to, unreadable } in &stop.damaged {
            let what = format!("log {from} to {to} holds no sound record");
            if let Some(unreadable) = unreadable {
                add_unreadable(&files, unreadable, &what, report);
                continue;
            }
            let what = format!("{}: {what}", why(&files, *from));
            report.add(Severity::Error, Kind::LogDamaged, place(&files, *from), what, REPAIR);
        }
        let ahead = self.queues.finish(begin, stop.end, report)?;
        tail(&files, &stop, ahead, report);
        self.index.finish(stop.end, report)?;
        progress(total as u64, total as u64);
        Ok(newest_ms)
    }
}

/// The file and the byte in it that log position `at` means.
fn place(files: &LogFiles, at: i64) -> (&std::path::Path, Option<u64>) {
    let file = find_file(files, at).or_else(|| {
        // The position is in a gap between files, or behind the last one.
        files[..files.partition_point(|file| file.start() <= at)].last()
    });
    match file.or(files.first()) {
        Some(file) => (file.path(), Some((at - file.start()).max(0) as u64)),
        None => (std::path::Path::new(""), None),
    }
}

/// What is wrong with the record at `at`.
pub(in super::super) fn why(files: &LogFiles, at: i64) -> String {
    let mut log = Reader::of_single_records(files);
    let Ok(bytes) = log.record_bytes(at) else {
        let cause = log.take_unreadable().map_or_else(String::new, |unreadable| unreadable.cause);
        return format!("cannot be read: {cause}");
    };
    let Some(bytes) = bytes else {
        return "a file is missing or too short".to_owned();
    };
    if bytes.iter().take(BLANK_HEAD_BYTES).all(|byte| *byte == 0) {
        return "zeros where a record should begin".to_owned();
    }
    if is_blank(bytes) {
        return "a filler that ends no file".to_owned();
    }
    match RecordView::parse(bytes).and_then(|record| record.verify_body_crc()) {
        Ok(()) => "a record that is out of place".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn add_unreadable(files: &LogFiles, unreadable: &Unreadable, what: &str, report: &mut Report) {
    let place = place(files, unreadable.position);
    let what = format!("cannot be read: {}: {what}", unreadable.cause);
    report.add(Severity::Error, Kind::Unreadable, place, what, COPY);
}

/// Reports what stands behind the last sound record, if that is not zeros.
fn tail(files: &LogFiles, stop: &ScanStop, queues_ahead: bool, report: &mut Report) {
    if let Some(unreadable) = &stop.unreadable {
        let what = format!("no record is found behind log {}", stop.end);
        return add_unreadable(files, unreadable, &what, report);
    }
    let holds = |at: i64| {
        let rest = Reader::of_single_records(files).record_bytes(at).ok().flatten();
        rest.is_some_and(|rest| rest.iter().take(BLANK_HEAD_BYTES).any(|byte| *byte != 0))
    };
    let behind = files.iter().map(|file| file.start()).filter(|start| *start > stop.end);
    let mut places = std::iter::once(stop.end).chain(behind);
    let Some(at) = places.find(|at| holds(*at)).filter(|_| stop.why.is_some()) else {
        return;
    };
    let what = format!("{}: no record follows behind log {}", why(files, at), stop.end);
    // Leftovers of an earlier recovery stay behind the end in logs of the reference.
    let (severity, advice) =
        if queues_ahead { (Severity::Error, REPAIR) } else { (Severity::Warning, START) };
    report.add(severity, Kind::LogTail, place(files, at), what, advice);
}
