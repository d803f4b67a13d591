//! Queues, index and checkpoint: what is damaged makes room for what recovery makes anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::StoreDir;
use super::super::dir::foreign_files;
use super::super::report::{Kind, Report};
use super::aside::Aside;
use super::log::QueueKey;
use crate::compaction::Place;
use crate::consume_queue::{QueueKind, file_name, list_files};
use crate::error::{IoContext, StoreError};

/// Sets aside what `report` finds damaged, so that recovery makes it anew.
pub(super) fn set_aside(
    dir: &StoreDir,
    report: &Report,
    with_records: &BTreeSet<QueueKey>,
    aside: &mut Aside<'_>,
) -> Result<(), StoreError> {
    let bad = report.bad();
    let extended_root = dir.extended_root();
    let extended = queues_below(&extended_root, bad);
    for kind in QueueKind::ALL {
        let queue_root = dir.queue_root(kind);
        let mut queues = queues_below(&queue_root, bad);
        if kind == QueueKind::Simple {
            queues.extend(extended.iter().cloned());
        }
        for queue in queues {
            let path = queue_root.join(&queue);
            if has_records(&path, with_records) {
                if path.is_dir() {
                    aside.take(&path, "the queue is made anew from the log")?;
                }
                let extended = extended_root.join(&queue);
                if kind == QueueKind::Simple && extended.is_dir() {
                    aside.take(&extended, "it belongs to the queue that is made anew")?;
                }
            } else if path.is_dir() {
                cut(dir, kind, &path, report.min_phy_offset, aside)?;
            }
        }
    }
    let is_compacted = |path: &Path| path.starts_with(Place::queue_root(&dir.root()));
    let wrong = report.findings.iter().filter(|found| found.kind == Kind::UnitWrong);
    let wrong: BTreeSet<_> = wrong.map(|found| &found.path).filter(|p| is_compacted(p)).collect();
    for path in wrong {
        aside.take(path, "the next start makes it anew from its log file")?;
    }
    for name in ["timerwheel", "config/timercheck"] {
        let path = dir.root().join(name);
        if bad.contains(&path) {
            aside.take(&path, "its length is wrong; it is made anew")?;
        }
    }
    // After a crash, which recovery is told there was, an index without checkpoint is made anew.
    if dir.index_geometry().is_some() && dir.index_dir().is_dir() {
        aside.take(&dir.index_dir(), "the index is made anew from the log")?;
    }
    Ok(())
}

/// The queues, each as a topic and an id, whose directories below `root` have any of the paths in `bad`.
fn queues_below(root: &Path, bad: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let queue = |path: &PathBuf| {
        let mut below = path.strip_prefix(root).ok()?.components();
        Some(Path::new(below.next()?.as_os_str()).join(below.next()?))
    };
    bad.iter().filter_map(queue).collect()
}

fn has_records(path: &Path, with_records: &BTreeSet<QueueKey>) -> bool {
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let key = || Some((name(path.parent()?)?, name(path)?.parse().ok()?));
    key().is_some_and(|key| with_records.contains(&key))
}

/// Cuts a queue none of whose records is left in the log to its sound units: they say which offset
/// the next message gets.
fn cut(
    dir: &StoreDir,
    kind: QueueKind,
    queue: &Path,
    log_begin: i64,
    aside: &mut Aside<'_>,
) -> Result<(), StoreError> {
    let file_bytes = dir.queue_file_bytes(kind);
    let mut reader = dir.queue_reader(kind, queue.to_owned())?;
    let mut offset = reader.first();
    while let Some(unit) = reader.unit(offset)? {
        if !unit.leads_nowhere() && unit.end() > log_begin {
            break;
        }
        offset += 1;
    }
    for path in foreign_files(queue)? {
        aside.take(&path, "it is no file of the queue")?;
    }
    let end = offset as u64 * kind.unit_bytes() as u64;
    for start in list_files(queue)? {
        let path = queue.join(file_name(start));
        if start >= end {
            aside.take(&path, "it has no units of deleted records")?;
            continue;
        }
        let keep = (end - start).min(file_bytes);
        aside.keep_file(&path)?;
        aside.act(&path, format!("cut behind byte {keep}"), |fs| {
            // Zeros behind a short file would make half a unit look whole.
            let file = fs.open(&path).doing("open", &path)?;
            let length = file.metadata().doing("look at", &path)?.len();
            fs.clear(&file, &path, keep, length).doing("clear", &path)?;
            fs.create_sized(&path, file_bytes).doing("change the length of", &path)?;
            fs.sync(&file, &path).doing("flush", &path)
        })?;
    }
    Ok(())
}
