//! Reads a whole store and compares its parts with each other.
//!
//! One pass over the log, with the units of the queues and the entries of the index beside it: each
//! queue and each index file has its records in the order of the log, so that everything is read once.

mod batch_queues;
mod compaction;
pub(super) mod config;
mod files;
mod index;
pub(super) mod log;
mod queues;

use crate::delay_level::DelayLevels;
use crate::error::{StoreError, is_unreadable};

use super::report::{Kind, Report, Severity};
use super::{Progress, StoreDir};

/// What `repair` is there for.
const REPAIR: &str = "run `oxmq store repair`";
/// For fields without a checksum.
const NOT_MENDED: &str =
    "skip the message: what the field was is not known, and the others can still be read";
/// For what the disk does not give back: a repair could not keep what it replaces, and writes to a disk that fails.
const COPY: &str = "\
    copy the store to a sound disk, with zeros for what cannot be read (as `ddrescue` does), and run \
    `oxmq store repair` there";
/// For what a start of either broker mends.
const START: &str = "the next start mends it, and so does `oxmq store repair`";

/// Looks at everything in `dir`, and changes nothing.
///
/// # Errors
///
/// When files cannot be read at all; what they hold is never an error but a finding.
pub fn check(dir: &StoreDir, progress: Progress<'_>) -> Result<Report, StoreError> {
    check_into(Report::default(), dir, progress)
}

pub(super) fn check_into(
    mut report: Report,
    dir: &StoreDir,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    match look(dir, &mut report, progress) {
        // Of a file no more can be told than its name.
        Err(StoreError::Io { path, source, .. }) if is_unreadable(&source) => {
            let what = format!("cannot be read: {source}: what comes after it is not looked at");
            report.add(Severity::Error, Kind::Unreadable, (&path, None), what, COPY);
        }
        looked => looked?,
    }
    Ok(report)
}

/// Reports what the disk does not give back: all else is looked at. Returns nothing for that.
fn unless_unreadable<T>(
    looked: Result<T, StoreError>,
    report: &mut Report,
) -> Result<Option<T>, StoreError> {
    match looked {
        Err(StoreError::Unreadable { path, position, source }) => {
            let what = format!("cannot be read: {source}");
            report.add(Severity::Error, Kind::Unreadable, (&path, Some(position)), what, COPY);
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn look(dir: &StoreDir, report: &mut Report, progress: Progress<'_>) -> Result<(), StoreError> {
    let crashed = dir.root().join("abort").exists();
    if !dir.is_locked() {
        let what = "there is no lock file, so a broker could start during the check";
        report.add(
            Severity::Info,
            Kind::NoLock,
            (&dir.root().join("lock"), None),
            what,
            "make sure that no broker runs on the directory",
        );
    }
    if crashed {
        let what = "the store was not stopped cleanly";
        report.add(Severity::Info, Kind::Abort, (&dir.root().join("abort"), None), what, START);
    }
    let topics = config::check(dir, report)?;
    files::check(dir, report)?;
    compaction::check(dir, report)?;
    let Some(delay_levels) = DelayLevels::parse(&dir.config().message_delay_level) else {
        let what = format!("messageDelayLevel {:?}", dir.config().message_delay_level);
        return Err(StoreError::BadConfig(what));
    };
    let pass = log::Pass {
        queues: queues::Queues::open(dir, delay_levels, topics, crashed)?,
        index: index::Index::open(dir, report)?,
    };
    let newest_ms = pass.run(dir, report, progress)?;
    files::check_checkpoint(dir, newest_ms, report)
}
