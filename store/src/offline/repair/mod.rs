//! Mends a store, and destroys nothing.
//!
//! 1. The store is marked as crashed, and its checkpoint set aside. From here on every start reads
//!    the whole log, and a repair that has been interrupted can be repeated.
//! 2. Metadata files come back from their backups.
//! 3. Files of the log get their own names. The log is made sound where it is: a part without a sound record becomes a filler, a missing file
//!    one large filler, and what follows the last record is cut. The bytes that were there are kept.
//! 4. Damaged queues and the index are set aside, and the store is opened: its recovery makes them
//!    anew from the log.
//!
//! What is replaced stands under its own name in `damaged-<time>/`.

mod aside;
mod derived;
mod log;
mod metadata;
mod timer;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::aside::Aside;
use super::check::check_into;
use super::report::Report;
use super::{Progress, StoreDir};
use crate::config::StoreConfig;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::message_store::{Environment, MessageStore};

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
    repair_with(&Fs::default(), root, config, dry_run, tell, progress)
}

/// [`repair`], on a file system of the caller's.
///
/// # Errors
///
/// As there.
pub fn repair_with(
    fs: &Fs,
    root: &Path,
    config: Option<StoreConfig>,
    dry_run: bool,
    tell: &mut dyn FnMut(&Action),
    progress: Progress<'_>,
) -> Result<Repair, StoreError> {
    let dir = if dry_run {
        StoreDir::open(root, config)?
    } else {
        StoreDir::open_to_change(fs, root, config)?
    };
    let before = check_into(Report::default(), &dir, progress)?;
    // Without settings the log may be elsewhere, and nothing can be made anew from none.
    if before.counts.log_files == 0 && before.counts.queues > 0 {
        let what = "has queues, but there is no log: give the broker's settings with -c".to_owned();
        return Err(StoreError::BadFile { path: dir.root(), what });
    }
    if !before.is_to_mend() {
        return Ok(Repair { actions: Vec::new(), aside: None, before, after: None });
    }
    let mut aside = Aside::new(fs.clone(), dir.root(), dry_run, tell);
    prepare_recovery(&dir.root(), &mut aside)?;
    metadata::restore(&dir, &mut aside)?;
    let queues_with_records = log::mend(&dir, &mut aside)?;
    timer::mend(&dir, &mut aside)?;
    derived::set_aside(&dir, &before, &queues_with_records, &mut aside)?;
    let config = recovery_config(&dir);
    let root = dir.root();
    let what = "recover: what is missing is made anew from the log".to_owned();
    aside.act(&root, what, |fs| {
        // The store takes the lock itself.
        drop(dir);
        let environment = Environment { fs: fs.clone(), ..Environment::default() };
        MessageStore::open_with(config.clone(), environment)?.close()
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

/// Has the next start recover: after a crash the log is read from where the checkpoint says, which
/// is the start without one.
fn prepare_recovery(root: &Path, aside: &mut Aside<'_>) -> Result<(), StoreError> {
    let abort = root.join("abort");
    if !abort.exists() {
        aside.act(&abort, "made: the store counts as crashed".to_owned(), |fs| {
            let file = fs.create(&abort).doing("create", &abort)?;
            let id = std::process::id().to_string();
            fs.write_at(&file, &abort, id.as_bytes(), 0).doing("write", &abort)?;
            fs.sync_dir(root).doing("flush", root)
        })?;
    }
    let checkpoint = root.join("checkpoint");
    if checkpoint.exists() {
        aside.take(&checkpoint, "recovery reads the whole log without it")?;
    }
    Ok(())
}
