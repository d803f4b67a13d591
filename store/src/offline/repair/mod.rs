//! Mends a store, and destroys nothing.
//!
//! 1. The log is made sound where it is: a part without a sound record becomes a filler, a missing file
//!    one large filler, and what follows the last record is cut. The bytes that were there are kept.
//! 2. Metadata files come back from their backups.
//! 3. Damaged queues, the index and the checkpoint are set aside, and the store is opened as after a
//!    crash: its recovery makes them anew from the log.
//!
//! What is replaced stands under its own name in `damaged-<time>/`.

mod aside;
mod derived;
mod log;
mod metadata;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::aside::Aside;
use super::check::check_into;
use super::report::{Report, Severity};
use super::{Progress, StoreDir};
use crate::config::StoreConfig;
use crate::error::{IoContext, StoreError};
use crate::message_store::MessageStore;

/// No file gets old enough to be deleted while a store is open for its recovery only.
const NO_CLEANING_MS: u64 = 24 * 3_600_000;

/// Something that was done to mend a store, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// The file or directory.
    pub path: PathBuf,
    /// What was done to it.
    pub what: String,
}

/// What a repair did.
#[derive(Debug, Serialize)]
pub struct Repair {
    /// What was done, or would be done.
    pub actions: Vec<Action>,
    /// Where damaged files and bytes are now; nothing when none had to be kept.
    pub aside: Option<PathBuf>,
    /// What was found before.
    pub before: Report,
    /// What is found now; nothing when nothing was done.
    pub after: Option<Report>,
}

/// Mends the store in `root`, or with `dry_run` says what would be done. Each action is told to
/// `tell` before it happens.
///
/// # Errors
///
/// When the store is in use, its sizes cannot be right, or a file operation fails. What was
/// replaced until then is still kept.
pub fn repair(
    root: &Path,
    config: Option<StoreConfig>,
    dry_run: bool,
    tell: &mut dyn FnMut(&Action),
    progress: Progress<'_>,
) -> Result<Repair, StoreError> {
    let dir = if dry_run {
        StoreDir::open(root, config)?
    } else {
        StoreDir::open_to_change(root, config)?
    };
    let before = check_into(Report::of_all(), &dir, progress)?;
    if before.worst().is_none_or(|worst| worst < Severity::Warning) {
        return Ok(Repair { actions: Vec::new(), aside: None, before, after: None });
    }
    let mut aside = Aside::new(dir.root(), dry_run, tell);
    metadata::restore(&dir, &mut aside)?;
    let queues_with_records = log::mend(&dir, &mut aside)?;
    derived::set_aside(&dir, &before, &queues_with_records, &mut aside)?;
    let config = recovery_config(&dir);
    let root = dir.root();
    let what = "recover: what is missing is made anew from the log".to_owned();
    aside.act(&root, what, || {
        mark_as_crashed(&root)?;
        // The store takes the lock itself.
        drop(dir);
        MessageStore::open(config.clone())?.close()
    })?;
    let (actions, aside) = aside.into_parts();
    let after = if dry_run {
        None
    } else {
        let dir = StoreDir::open(&root, Some(config))?;
        Some(check_into(Report::default(), &dir, progress)?)
    };
    Ok(Repair { actions, aside, before, after })
}

/// The settings of the store, in which nothing happens but recovery.
fn recovery_config(dir: &StoreDir) -> StoreConfig {
    let config = dir.config().clone();
    StoreConfig {
        clean_resource_interval: NO_CLEANING_MS,
        message_index_enable: config.message_index_enable && dir.index_geometry().is_some(),
        ..config
    }
}

/// After a crash the log is read from where the checkpoint says, which is the start without one.
fn mark_as_crashed(root: &Path) -> Result<(), StoreError> {
    let path = root.join("abort");
    if path.exists() {
        return Ok(());
    }
    std::fs::write(&path, std::process::id().to_string()).doing("write", &path)
}
