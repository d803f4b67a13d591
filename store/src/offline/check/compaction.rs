//! Compacted logs and their queues, file by file.

use std::path::Path;

use oxmq_protocol::fastjson;
use serde_json::Value;

use super::super::StoreDir;
use super::super::report::{Kind, Report, Severity};
use super::{REPAIR, unless_unreadable};
use crate::compaction::{Place, Segment, Sizes, is_half_done};
use crate::consume_queue::{QueueKind, list_files, queue_dirs};
use crate::error::{IoContext, StoreError};
use crate::fs::read_all;
use crate::mapped_file::MappedFile;

const CONFIGURED: &str = "give the broker's settings with -c; if they are right, move the topic's \
    directories below `compaction` away: what the commit log has is copied again";
const START: &str = "the next start mends it";
const LOST: &str = "consumers do not get the message: send it again if it is still wanted";

/// Checks that each log file has its queue file, and that this leads to sound records.
pub(super) fn check(dir: &StoreDir, report: &mut Report) -> Result<(), StoreError> {
    let root = dir.root();
    let sizes = Sizes::of(dir.config());
    let mut queues = queue_dirs(&Place::log_root(&root))?;
    queues.extend(queue_dirs(&Place::queue_root(&root))?);
    queues.sort_by(|a, b| (&a.topic, a.queue_id).cmp(&(&b.topic, b.queue_id)));
    queues.dedup_by(|a, b| (&a.topic, a.queue_id) == (&b.topic, b.queue_id));
    // What was not on disk yet is copied again then.
    let lost = match root.join("abort").exists() {
        true => (Severity::Warning, START),
        false => (Severity::Error, LOST),
    };
    for queue in queues {
        let place = Place::of(&root, &queue.topic, queue.queue_id);
        if is_half_done(&place)? {
            let what = "a crash has left files that were to replace others";
            report.add(Severity::Warning, Kind::FileMissing, (&place.log, None), what, START);
        } else {
            check_queue(&place, sizes, lost, report)?;
        }
    }
    check_positions(&root.join("compaction/position-checkpoint"), report)
}

fn check_queue(
    place: &Place,
    sizes: Sizes,
    lost: (Severity, &'static str),
    report: &mut Report,
) -> Result<(), StoreError> {
    let (logs, queues) = (list_files(&place.log)?, list_files(&place.queue)?);
    let mut missing = |path: &Path, what| {
        report.add(Severity::Warning, Kind::FileMissing, (path, None), what, START);
    };
    for start in logs.iter().filter(|start| !queues.contains(start)) {
        missing(&place.paths(*start)[1], "is missing, though there is its log file");
    }
    for start in queues.iter().filter(|start| !logs.contains(start)) {
        missing(&place.paths(*start)[0], "is missing, though there is its queue file");
    }
    for start in logs.iter().filter(|start| queues.contains(start)) {
        let [log, queue] = place.paths(*start);
        let has_length =
            [has_length(&log, sizes.log, report)?, has_length(&queue, sizes.queue, report)?];
        if has_length == [true, true]
            && let Ok(start) = i64::try_from(*start)
        {
            let open =
                |path: &Path| MappedFile::open_read_only(path, start, u64::MAX).doing("map", path);
            check_records(&Segment::new(open(&log)?, open(&queue)?), [&log, &queue], lost, report);
        }
    }
    Ok(())
}

fn check_records(
    segment: &Segment,
    [log, queue]: [&Path; 2],
    (severity, advice): (Severity, &'static str),
    report: &mut Report,
) {
    let position = |index: usize| (index * QueueKind::Batch.unit_bytes()) as u64;
    if let Some(index) = segment.first_wrong_unit() {
        let what = format!("unit {index} is not that of the record in the log file");
        let place = (queue, Some(position(index)));
        report.add(severity, Kind::UnitWrong, place, what, REPAIR);
    }
    for index in 0..segment.count() {
        let Some(unit) = segment.unit(index) else { return };
        report.counts.units += 1;
        let is_sound = segment.record(&unit).is_some_and(|record| record.verify_body_crc().is_ok());
        if !is_sound {
            let what = format!("message {} has no sound record", unit.base_offset);
            let at = u64::try_from(unit.unit.phy_offset - segment.start()).ok();
            report.add(severity, Kind::UnitAstray, (log, at), what, advice);
        }
    }
}

fn has_length(path: &Path, bytes: u64, report: &mut Report) -> Result<bool, StoreError> {
    let length = path.metadata().doing("look at", path)?.len();
    if length != bytes {
        let what = format!("has {length} bytes instead of {bytes}");
        report.add(Severity::Error, Kind::FileLength, (path, None), what, CONFIGURED);
    }
    Ok(length == bytes)
}

fn check_positions(path: &Path, report: &mut Report) -> Result<(), StoreError> {
    let text = match read_all(path) {
        Err(error) if error.is_not_found() => return Ok(()),
        read => unless_unreadable(read, report)?,
    };
    let Some(text) = text else { return Ok(()) };
    if let Err(error) = fastjson::from_slice::<Value>(&text) {
        let what = format!("cannot be read: {error}");
        report.add(Severity::Warning, Kind::Config, (path, None), what, START);
    }
    Ok(())
}
