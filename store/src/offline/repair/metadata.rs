//! Metadata files, and files of the timer that are made anew when they are missing.

use super::super::StoreDir;
use super::super::check::config::{BACKUP, State, names, state};
use super::aside::Aside;
use crate::error::{IoContext, StoreError};

/// Brings back what has a backup, and sets backups aside that would stop a start.
///
/// A damaged file without a backup stays: a start without it would forget what it holds.
pub(super) fn restore(dir: &StoreDir, aside: &mut Aside<'_>) -> Result<(), StoreError> {
    let config_dir = dir.root().join("config");
    for name in names(&config_dir)? {
        let path = config_dir.join(&name);
        let backup = config_dir.join(format!("{name}{BACKUP}"));
        match (state(&path)?, state(&backup)?) {
            (State::Bad, State::Good) => {
                aside.take(&path, "it is damaged")?;
            }
            (State::Absent, State::Good) => {}
            (State::Good, State::Bad) => {
                aside.take(&backup, "the backup is damaged")?;
                continue;
            }
            _ => continue,
        }
        aside.act(&path, format!("restored from {}", backup.display()), |fs| {
            fs.copy(&backup, &path).doing("restore", &path)
        })?;
    }
    Ok(())
}
