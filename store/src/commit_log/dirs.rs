//! The directories that a log is in: usually one. With several, files take turns, and those of all
//! directories make one sequence.
//!
//! Reference: `MultiPathMappedFileQueue` (store), 5.5.0.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clean::Thresholds;
use crate::config::StoreConfig;
use crate::consume_queue::{file_name, list_files};
use crate::disk::DiskSpace;
use crate::error::StoreError;
use crate::fs::Fs;
use crate::limits::RESERVED_DISK_BYTES;

/// Between the directories of a setting.
///
/// Reference: `MixAll.MULTI_PATH_SPLITTER` (common), 5.5.0.
const SPLITTER: char = ',';

/// The directories of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogDirs {
    /// In the order of their names, at least one.
    writable: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    file_bytes: u64,
    /// Percent of disk use above which new files go elsewhere.
    full_percent: Arc<AtomicU32>,
}

impl LogDirs {
    pub(crate) fn of(config: &StoreConfig) -> Self {
        let read_only = split(&config.read_only_commit_log_store_paths);
        let mut writable = split(&config.store_path_commit_log);
        if writable.is_empty() {
            writable.push(config.root_dir().join("commitlog"));
        }
        let first = writable[0].clone();
        writable.retain(|dir| !read_only.contains(dir));
        writable.sort();
        writable.dedup();
        if writable.is_empty() {
            writable.push(first);
        }
        Self {
            writable,
            read_only,
            file_bytes: config.mapped_file_size_commit_log.max(1),
            full_percent: Arc::new(AtomicU32::new(Thresholds::of(config).forcibly)),
        }
    }

    /// Where files are made.
    pub(crate) fn writable(&self) -> &[PathBuf] {
        &self.writable
    }

    /// Every directory.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.writable.iter().chain(&self.read_only)
    }

    /// The first position and the path of every file, in order. Two files of one position are both there.
    ///
    /// # Errors
    ///
    /// When a directory cannot be listed; one that is not there is empty.
    pub(crate) fn files(&self) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let mut files = Vec::new();
        for dir in self.all() {
            let starts = list_files(dir)?.into_iter();
            files.extend(starts.map(|start| (start, dir.join(file_name(start)))));
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Changes above which percent of disk use new files go elsewhere.
    pub(crate) fn set_full_percent(&self, percent: u32) {
        self.full_percent.store(percent, Ordering::Relaxed);
    }

    /// Where the file that begins at `start` is made.
    pub(crate) fn new_path(&self, fs: &Fs, start: u64) -> PathBuf {
        self.new_paths(fs, start).swap_remove(0)
    }

    /// Where the file that begins at `start` may be made, at best in the first place.
    pub(crate) fn new_paths(&self, fs: &Fs, start: u64) -> Vec<PathBuf> {
        let has_room = |dir: &&PathBuf| self.writable.len() == 1 || self.has_room(fs, dir);
        let (mut with_room, mut full): (Vec<_>, Vec<_>) = self.writable.iter().partition(has_room);
        let first = if with_room.is_empty() { &mut full } else { &mut with_room };
        let turn = (start / self.file_bytes) as usize % first.len();
        first.rotate_left(turn);
        let dirs = with_room.into_iter().chain(full);
        dirs.map(|dir| dir.join(file_name(start))).collect()
    }

    /// Whether the log should go on in another directory than that of `file`: there is room, and here is none.
    pub(crate) fn is_better_elsewhere(&self, fs: &Fs, file: &Path) -> bool {
        let is_own = |dir: &Path| file.parent() == Some(dir);
        let (mut own, others): (Vec<_>, Vec<_>) = self.writable.iter().partition(|dir| is_own(dir));
        own.retain(|dir| self.has_room(fs, dir));
        own.is_empty() && others.into_iter().any(|dir| self.has_room(fs, dir))
    }

    fn has_room(&self, fs: &Fs, dir: &Path) -> bool {
        let full_percent = self.full_percent.load(Ordering::Relaxed);
        fs.space(dir).is_none_or(|space| {
            space.used_percent() <= full_percent && space.available_bytes >= RESERVED_DISK_BYTES
        })
    }

    /// Where the file that begins at `start` is, or would be made.
    ///
    /// # Errors
    ///
    /// As [`Self::files`].
    pub(crate) fn path_of(&self, start: u64) -> Result<PathBuf, StoreError> {
        let found = self.files()?.into_iter().find(|(at, _)| *at == start);
        Ok(found.map_or_else(|| self.new_path(&Fs::default(), start), |(_, path)| path))
    }

    /// Space of the directory that has most of it left: as long as there is room in one, the log grows.
    pub(crate) fn roomiest(&self, fs: &Fs) -> Option<DiskSpace> {
        let spaces = self.writable.iter().filter_map(|dir: &PathBuf| fs.space(dir));
        spaces.min_by_key(DiskSpace::used_percent)
    }
}

fn split(text: &str) -> Vec<PathBuf> {
    text.split(SPLITTER).map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(all: &str, read_only: &str) -> LogDirs {
        LogDirs::of(&StoreConfig {
            store_path_commit_log: all.to_owned(),
            read_only_commit_log_store_paths: read_only.to_owned(),
            mapped_file_size_commit_log: 100,
            ..StoreConfig::in_dir("/store")
        })
    }

    #[test]
    fn one_directory_is_the_default() {
        assert_eq!(dirs("", "").writable(), [PathBuf::from("/store/commitlog")]);
        assert_eq!(dirs("/a", "").writable(), [PathBuf::from("/a")]);
    }

    #[test]
    fn files_take_turns_in_the_order_of_the_names_and_none_is_made_where_it_must_not() {
        let dirs = dirs("/b, /a,/c", "/c");
        let places: Vec<_> = [0, 100, 200].map(|start| dirs.new_path(&Fs::default(), start)).into();
        let parents: Vec<_> = places.iter().map(|path| path.parent().unwrap()).collect();
        assert_eq!(parents, ["/a", "/b", "/a"].map(Path::new));
        assert_eq!(places[2].file_name().unwrap(), "00000000000000000200");
    }
}
