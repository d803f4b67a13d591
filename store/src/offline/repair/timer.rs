//! The timer log: what cannot be read of it is taken from the timer's queue again.

use super::super::StoreDir;
use super::aside::Aside;
use crate::consume_queue::{file_name, list_files};
use crate::error::{IoContext, StoreError};
use crate::timer::UNIT_BYTES;

/// Gives files the length of all, and sets those aside that are behind a missing one or none of the log.
pub(super) fn mend(dir: &StoreDir, aside: &mut Aside<'_>) -> Result<(), StoreError> {
    let bytes = dir.config().mapped_file_size_timer_log;
    let mut files = Vec::new();
    for start in list_files(&dir.timer_log_dir())? {
        let path = dir.timer_log_dir().join(file_name(start));
        let length = path.metadata().doing("look at", &path)?.len();
        files.push((start, path, length));
    }
    if files.iter().filter(|(.., length)| *length != bytes).count() * 2 > files.len().max(2) {
        // The size is none of this log's.
        return Ok(());
    }
    let mut next = None;
    for (start, path, length) in files {
        let is_odd = !start.is_multiple_of(bytes.max(1));
        if is_odd || !path.is_file() || next.is_some_and(|next| next != start) {
            aside.take(&path, "it follows no other file of the timer log")?;
            continue;
        }
        next = start.checked_add(bytes);
        if length == bytes {
            continue;
        }
        aside.keep_file(&path)?;
        aside.act(&path, format!("length changed from {length} to {bytes}"), |fs| {
            let file = fs.open(&path).doing("open", &path)?;
            // Zeros behind a part of a unit would make it look whole.
            let whole = length - length % UNIT_BYTES as u64;
            fs.clear(&file, &path, whole, length).doing("clear", &path)?;
            fs.create_sized(&path, bytes).doing("change the length of", &path)?;
            fs.sync(&file, &path).doing("flush", &path)
        })?;
    }
    Ok(())
}
