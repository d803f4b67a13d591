//! Lengths and sequences of files, and the checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use super::super::StoreDir;
use super::super::dir::foreign_files;
use super::super::log_sequence::Misplaced;
use super::super::report::{Kind, Report, Severity};
use super::{REPAIR, unless_unreadable};
use crate::checkpoint::{self, CheckpointValues};
use crate::consume_queue::{QueueKind, file_name, list_files, queue_dirs};
use crate::error::{IoContext, StoreError};
use crate::fs::{Fs, read_all};

/// Bytes of the file of the timer wheel: two for each second of a week.
///
/// Reference: `TimerWheel`, `TimerMessageStore.TIMER_WHEEL_TTL_DAY` (store), 5.5.0.
const TIMER_WHEEL_BYTES: u64 = 7 * 86_400 * 2 * 32;
const TIMER_CHECKPOINT_BYTES: u64 = 4096;

const CONFIGURED: &str =
    "give the broker's settings with -c; if they are right, run `oxmq store repair`";

const FOREIGN: &str = "move it away; `oxmq store repair` sets it aside";

/// Checks the lengths of all files of fixed length, and that none of a sequence is missing.
pub(super) fn check(dir: &StoreDir, report: &mut Report) -> Result<(), StoreError> {
    let (log_dirs, log_bytes) = (dir.log_dirs(), dir.config().mapped_file_size_commit_log);
    let log = dir.log_sequence()?;
    for Misplaced { path, home, .. } in &log.misplaced {
        let (kind, what, advice) = match home {
            Some(home) => {
                (Kind::FileForeign, format!("is the log's file {}", file_name(*home)), REPAIR)
            }
            None => {
                (Kind::FileLength, format!("its name is no multiple of {log_bytes}"), CONFIGURED)
            }
        };
        report.add(Severity::Error, kind, (path, None), what, advice);
    }
    let new_path = |start| log_dirs.new_path(&Fs::default(), start);
    files(&log.files, new_path, log_bytes, report)?;
    for log_dir in log_dirs.all() {
        foreign(log_dir, report)?;
    }
    for kind in QueueKind::ALL {
        let mut topic_dirs = dir.queue_dirs(kind)?;
        report.counts.queues += topic_dirs.len() as u64;
        topic_dirs.sort_by(|a, b| a.path.cmp(&b.path));
        for queue in &topic_dirs {
            sequence(&queue.path, dir.queue_file_bytes(kind), report)?;
            foreign(&queue.path, report)?;
        }
    }
    let mut extended = queue_dirs(&dir.extended_root())?;
    extended.sort_by(|a, b| a.path.cmp(&b.path));
    for queue in &extended {
        let bytes = dir.config().mapped_file_size_consume_queue_ext;
        sequence(&queue.path, bytes, report)?;
    }
    sequence(&dir.timer_log_dir(), dir.config().mapped_file_size_timer_log, report)?;
    fixed(&dir.root().join("timerwheel"), TIMER_WHEEL_BYTES, true, report)?;
    fixed(&dir.root().join("config/timercheck"), TIMER_CHECKPOINT_BYTES, true, report)
}

/// Checks that the checkpoint can be that of a log whose newest record has store time `newest_ms`.
pub(super) fn check_checkpoint(
    dir: &StoreDir,
    newest_ms: Option<i64>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let path = dir.root().join("checkpoint");
    let bytes = match read_all(&path) {
        Err(error) if error.is_not_found() => {
            if newest_ms.is_some() {
                let what = "is missing: after a crash the whole log would be read";
                report.add(Severity::Warning, Kind::Checkpoint, (&path, None), what, REPAIR);
            }
            return Ok(());
        }
        read => unless_unreadable(read, report)?,
    };
    let Some(bytes) = bytes else { return Ok(()) };
    let mut wrong = |severity, position, what: String| {
        report.add(severity, Kind::Checkpoint, (&path, position), what, REPAIR);
    };
    if bytes.len() as u64 != checkpoint::FILE_BYTES {
        let what = format!("has {} bytes instead of {}", bytes.len(), checkpoint::FILE_BYTES);
        wrong(Severity::Error, None, what);
    }
    let Some(values) = CheckpointValues::read(&bytes) else {
        return Ok(());
    };
    let times = [
        ("log", values.physic_msg_timestamp),
        ("consume queues", values.logics_msg_timestamp),
        ("index", values.index_msg_timestamp),
    ];
    for (index, (of, time_ms)) in times.into_iter().enumerate() {
        let position = Some(index as u64 * 8);
        if time_ms < 0 {
            wrong(Severity::Error, position, format!("the time of the {of} is {time_ms}"));
        } else if let Some(newest_ms) = newest_ms.filter(|newest_ms| time_ms > *newest_ms) {
            let what =
                format!("the time of the {of} is {time_ms}, the newest record's {newest_ms}");
            wrong(Severity::Error, position, what);
        }
    }
    if values.confirm_phy_offset < 0 {
        let what = format!("the confirmed position is {}", values.confirm_phy_offset);
        wrong(Severity::Error, Some(32), what);
    }
    Ok(())
}

/// Names the files in `dir` that do not belong there.
fn foreign(dir: &Path, report: &mut Report) -> Result<(), StoreError> {
    for path in foreign_files(dir)? {
        let what = "is no file of the store: a broker of the reference does not start with it";
        report.add(Severity::Warning, Kind::FileForeign, (&path, None), what, FOREIGN);
    }
    Ok(())
}

/// Checks that the files in `dir` follow each other and have `bytes` each.
fn sequence(dir: &Path, bytes: u64, report: &mut Report) -> Result<(), StoreError> {
    let path_of = |start: u64| -> PathBuf { dir.join(file_name(start)) };
    let starts = list_files(dir)?.into_iter();
    let all: Vec<_> = starts.map(|start| (start, path_of(start))).collect();
    files(&all, path_of, bytes, report)
}

/// [`sequence`] for files in several directories; `path_of` is where one would be that is missing.
fn files(
    all: &[(u64, PathBuf)],
    path_of: impl Fn(u64) -> PathBuf,
    bytes: u64,
    report: &mut Report,
) -> Result<(), StoreError> {
    for (index, (start, path)) in all.iter().enumerate() {
        let length = path.metadata().doing("look at", path)?.len();
        if length == 0 && index + 1 == all.len() {
            let what = "is empty";
            report.add(Severity::Warning, Kind::FileLength, (path, None), what, super::START);
        } else if length != bytes {
            let what = format!("has {length} bytes instead of {bytes}");
            let place = (path.as_path(), Some(length.min(bytes)));
            report.add(Severity::Error, Kind::FileLength, place, what, CONFIGURED);
        }
        if !start.is_multiple_of(bytes.max(1)) {
            let what = format!("its name is no multiple of {bytes}");
            report.add(Severity::Error, Kind::FileLength, (path, None), what, CONFIGURED);
        }
        if let Some((next, other)) = all.get(index + 1)
            && next == start
        {
            let what = "begins where another file of the log does";
            report.add(Severity::Error, Kind::FileMissing, (other, None), what, CONFIGURED);
        } else if let Some((next, _)) = all.get(index + 1)
            && *next != start + bytes
        {
            let missing = path_of(start + bytes);
            let what = format!("is missing: the next file begins at {next}");
            report.add(Severity::Error, Kind::FileMissing, (&missing, None), what, REPAIR);
        }
    }
    Ok(())
}

fn fixed(
    path: &Path,
    bytes: u64,
    may_be_empty: bool,
    report: &mut Report,
) -> Result<(), StoreError> {
    match path.metadata() {
        Ok(metadata) if metadata.len() != bytes && !(may_be_empty && metadata.len() == 0) => {
            let what = format!("has {} bytes instead of {bytes}", metadata.len());
            let advice = "`oxmq store repair` sets it aside; it is made anew from the timer log";
            report.add(Severity::Error, Kind::FileLength, (path, None), what, advice);
            Ok(())
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("look at", path),
        _ => Ok(()),
    }
}
