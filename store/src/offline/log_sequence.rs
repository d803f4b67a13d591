//! The files of the log, each where its records say that it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreDir;
use crate::commit_log::{LogFiles, RecordCheck, first_record, record_at};
use crate::error::{IoContext, StoreError};
use crate::mapped_file::MappedFile;

/// The files of a log.
pub(super) struct LogSequence {
    /// Position and path of each, in order.
    pub(super) files: Vec<(u64, PathBuf)>,
    /// Those with a name that is not theirs.
    pub(super) misplaced: Vec<Misplaced>,
}

/// A file that has another's name, or none that a file of the log can have.
pub(super) struct Misplaced {
    pub(super) path: PathBuf,
    /// Where its records say that they are; nothing where no record says it.
    pub(super) home: Option<u64>,
    /// Whether no other file is there, so that it is one of the sequence.
    pub(super) is_used: bool,
}

impl StoreDir {
    /// The files of the log. Nothing in them is looked at but the first two records.
    pub(super) fn log_sequence(&self) -> Result<LogSequence, StoreError> {
        let bytes = self.config().mapped_file_size_commit_log.max(1);
        let all = self.log_dirs().files()?;
        let is_odd = |start: u64| !start.is_multiple_of(bytes);
        if all.iter().filter(|(start, _)| is_odd(*start)).count() * 2 >= all.len() {
            // The size is none of this log's.
            return Ok(LogSequence { files: all, misplaced: Vec::new() });
        }
        let (mut files, mut misplaced) = (Vec::new(), Vec::new());
        for (start, path) in all {
            match home(start, &path)?.filter(|home| !is_odd(*home)) {
                None if !is_odd(start) => files.push((start, path)),
                home => misplaced.push(Misplaced { path, home, is_used: false }),
            }
        }
        for file in &mut misplaced {
            if let Some(home) = file.home
                && files.iter().all(|(start, _)| *start != home)
            {
                file.is_used = true;
                files.push((home, file.path.clone()));
            }
        }
        files.sort();
        Ok(LogSequence { files, misplaced })
    }

    /// The files of the log, mapped to be read, whatever their lengths; none reaches into the next.
    pub(super) fn log_files(&self) -> Result<LogFiles, StoreError> {
        let sequence = self.log_sequence()?.files;
        let mut files = Vec::new();
        for (index, (start, path)) in sequence.iter().enumerate() {
            let metadata = path.metadata().doing("look at", path)?;
            let Ok(begin) = i64::try_from(*start) else {
                continue;
            };
            let room = sequence.get(index + 1).map_or(u64::MAX, |(next, _)| next - start);
            if metadata.is_file() && metadata.len() > 0 && room > 0 {
                let file = MappedFile::open_read_only(path, begin, room).doing("map", path)?;
                files.push(Arc::new(file));
            }
        }
        Ok(Arc::new(files))
    }
}

/// Where the file at `path` belongs, if two of its records say that this is not `start`: one may be
/// damaged.
fn home(start: u64, path: &Path) -> Result<Option<u64>, StoreError> {
    let metadata = path.metadata().doing("look at", path)?;
    let Some(begin) =
        i64::try_from(start).ok().filter(|_| metadata.is_file() && metadata.len() > 0)
    else {
        return Ok(None);
    };
    let file = Arc::new(MappedFile::open_read_only(path, begin, u64::MAX).doing("map", path)?);
    let Some(first) = first_record(&file, RecordCheck::BodyCrc) else {
        return Ok(None);
    };
    let second = record_at(std::slice::from_ref(&file), begin + first.total_bytes() as i64);
    let says = first.phy_offset();
    let agrees = says != begin
        && second.is_some_and(|second| {
            says.checked_add(first.total_bytes() as i64) == Some(second.phy_offset())
        });
    Ok(u64::try_from(says).ok().filter(|_| agrees))
}
