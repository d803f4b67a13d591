//! New files taking the place of others, all or none.
//!
//! The new ones are made in a directory of their own, and once they are durable a file there says which
//! they replace. From then on a crash only delays it: the next start goes on. Their names are those of the
//! first old ones, as their positions begin with 0 again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::place::{Place, Sizes};
use crate::consume_queue::list_files;
use crate::error::{IoContext, StoreError};
use crate::fs::{Fs, entries};
use crate::json_file::JsonFile;

/// The file that says what is replaced. The reference passes directories by, and nothing is in this
/// one when it compacts.
const NAME: &str = "replacement";

/// What the reference puts behind the name of a file that is to go.
const DELETED: &str = "delete";

/// What is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replacement {
    /// How many new files there are.
    pub(super) files: u64,
    /// Where the first file begins that is not replaced.
    pub(super) keep_from: u64,
}

/// Begins it: from here on it happens, even if this run ends.
pub(super) fn begin(fs: &Fs, place: &Place, replacement: &Replacement) -> Result<(), StoreError> {
    let compacting = place.compacting();
    compacting.create(fs)?;
    compacting.sync(fs)?;
    Ok(file(fs, place).save(replacement)?)
}

/// Whether a crash has left it half done.
pub(crate) fn is_half_done(place: &Place) -> Result<bool, StoreError> {
    let is_begun = place.compacting().log.join(NAME).exists();
    Ok(is_begun || !set_aside(&place.log)?.is_empty() || !set_aside(&place.queue)?.is_empty())
}

/// Ends what was begun, and removes what was not.
pub(super) fn complete(fs: &Fs, place: &Place, sizes: Sizes) -> Result<(), StoreError> {
    let compacting = place.compacting();
    settle(fs, place)?;
    if !compacting.log.is_dir() && !compacting.queue.is_dir() {
        return Ok(());
    }
    match file(fs, place).load() {
        Ok(Some(replacement)) => {
            info!(path = %place.log.display(), "compacted files replace older ones");
            carry_out(fs, place, sizes, &replacement)
        }
        Ok(None) => compacting.remove(fs),
        // It is written in one step: another program's, or a damaged disk.
        Err(error) => {
            warn!(%error, path = %place.log.display(), "compacted files are given up");
            compacting.remove(fs)
        }
    }
}

/// Ends what the reference began before a crash, or undoes it.
///
/// It gives all old log files another name, moves the new ones, removes the old ones, and does the same with
/// the queue files, which can be made anew. While any log file has not been moved, all old ones are there.
///
/// Reference: `CompactionLog.replaceFiles` (store), 5.5.0.
fn settle(fs: &Fs, place: &Place) -> Result<(), StoreError> {
    let is_undone = !list_files(&place.compacting().log)?.is_empty();
    for (dir, is_queue) in [(&place.log, false), (&place.queue, true)] {
        for path in set_aside(dir)? {
            if is_queue || !is_undone {
                fs.remove_file(&path).doing("remove", &path)?;
            } else {
                warn!(path = %path.display(), "compacted file takes its place again");
                fs.rename(&path, &path.with_extension("")).doing("rename", &path)?;
            }
        }
    }
    Ok(())
}

/// The files in `dir` that the reference meant to delete.
fn set_aside(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let paths = entries(dir)?.into_iter().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|extension| extension == DELETED))
        .collect())
}

/// Does it; doing it again does no harm.
pub(super) fn carry_out(
    fs: &Fs,
    place: &Place,
    sizes: Sizes,
    replacement: &Replacement,
) -> Result<(), StoreError> {
    let compacting = place.compacting();
    let end_of_new = replacement.files * sizes.log;
    for start in (0..replacement.files).map(|number| number * sizes.log) {
        for (from, to) in compacting.paths(start).iter().zip(place.paths(start)) {
            if from.exists() {
                fs.rename(from, &to).doing("rename", from)?;
            }
        }
    }
    for (dir, which) in [(&place.log, 0), (&place.queue, 1)] {
        for start in list_files(dir)? {
            if (end_of_new..replacement.keep_from).contains(&start) {
                let path = &place.paths(start)[which];
                fs.remove_file(path).doing("remove", path)?;
            }
        }
    }
    place.sync(fs)?;
    compacting.remove(fs)
}

fn file(fs: &Fs, place: &Place) -> JsonFile<Replacement> {
    JsonFile::with_fs(fs.clone(), place.compacting().log.join(NAME))
}
