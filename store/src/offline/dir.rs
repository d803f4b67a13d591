//! The directory of a store, and the sizes of its files.

use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::path::{Path, PathBuf};

use super::units::QueueReader;
use crate::commit_log::LogDirs;
use crate::compaction::{Place, Sizes as CompactionSizes};
use crate::config::StoreConfig;
use crate::consume_queue::{
    EXTENDED_DIR, ExtendedReader, QueueDir, QueueKind, file_name, list_files, queue_dirs,
};
use crate::error::{IoContext, StoreError};
use crate::fs::{self, Fs};
use crate::index::file::{
    BEGIN_PHY_AT, END_PHY_AT, ENTRY_BYTES, ENTRY_COUNT_AT, ENTRY_PHY_AT, HEADER_BYTES, SLOT_BYTES,
};
use crate::index::{IndexGeometry, index_paths};
use crate::message_store::LIGHT_PREFIX;
use crate::process_lock::ProcessLock;

/// An index file up to this length may be searched for its geometry.
const MAX_SEARCHED_INDEX_BYTES: u64 = 64 << 20;

/// A store that is being looked at. While it exists, no broker can start on the directory.
#[derive(Debug)]
pub struct StoreDir {
    config: StoreConfig,
    lock: Option<ProcessLock>,
    index_geometry: Option<IndexGeometry>,
}

impl StoreDir {
    /// Opens the store in `root` to be read. Sizes and paths come from `config`; without one, sizes
    /// are found out from the files.
    ///
    /// # Errors
    ///
    /// When the directory does not exist or another process works on it.
    pub fn open(root: &Path, config: Option<StoreConfig>) -> Result<Self, StoreError> {
        if !root.is_dir() {
            let what = "is no directory".to_owned();
            return Err(StoreError::BadFile { path: root.to_owned(), what });
        }
        Self::new(root, config, ProcessLock::look(root)?)
    }

    /// [`Self::open`], for changes.
    pub(super) fn open_to_change(
        fs: &Fs,
        root: &Path,
        config: Option<StoreConfig>,
    ) -> Result<Self, StoreError> {
        Self::new(root, config, Some(ProcessLock::take(fs, root)?))
    }

    fn new(
        root: &Path,
        config: Option<StoreConfig>,
        lock: Option<ProcessLock>,
    ) -> Result<Self, StoreError> {
        let sizes_given = config.is_some();
        let mut config = config.unwrap_or_default();
        config.store_path_root_dir = root.to_string_lossy().into_owned();
        let configured =
            IndexGeometry { slots: config.max_hash_slot_num, entries: config.max_index_num };
        let mut dir = Self { config, lock, index_geometry: Some(configured) };
        if !sizes_given {
            dir.find_sizes()?;
        }
        Ok(dir)
    }

    /// The directories of the log.
    pub(super) fn log_dirs(&self) -> LogDirs {
        LogDirs::of(&self.config)
    }

    /// Directory of the store.
    pub fn root(&self) -> PathBuf {
        self.config.root_dir()
    }

    /// The settings with which a store opens this directory.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Whether others are kept off.
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Slots and entries of index files, if they are known.
    pub(super) fn index_geometry(&self) -> Option<IndexGeometry> {
        self.index_geometry
    }

    pub(super) fn queue_root(&self, kind: QueueKind) -> PathBuf {
        self.root().join(kind.dir_name())
    }

    /// Where the extended units of queues are.
    pub(super) fn extended_root(&self) -> PathBuf {
        self.root().join(EXTENDED_DIR)
    }

    /// Opens the extended units of `queue` to be read.
    pub(super) fn extended_reader(&self, queue: &QueueDir) -> ExtendedReader {
        let dir = queue.below(&self.extended_root());
        ExtendedReader::new(dir, self.config.mapped_file_size_consume_queue_ext)
    }

    pub(super) fn timer_log_dir(&self) -> PathBuf {
        self.root().join("timerlog")
    }

    pub(super) fn index_dir(&self) -> PathBuf {
        self.root().join("index")
    }

    /// Bytes of a file of queues of this kind.
    pub(super) fn queue_file_bytes(&self, kind: QueueKind) -> u64 {
        self.config.queue_file_bytes(kind)
    }

    /// The directories of all queues of this kind.
    pub(super) fn queue_dirs(&self, kind: QueueKind) -> Result<Vec<QueueDir>, StoreError> {
        queue_dirs(&self.queue_root(kind))
    }

    /// Opens the queue in `dir` to be read.
    pub(super) fn queue_reader(
        &self,
        kind: QueueKind,
        dir: PathBuf,
    ) -> Result<QueueReader, StoreError> {
        QueueReader::open(dir, kind, self.queue_file_bytes(kind))
    }

    fn find_sizes(&mut self) -> Result<(), StoreError> {
        if let Some(bytes) = size_of_sequence([self.log_dirs().files()?].into_iter())? {
            self.config.mapped_file_size_commit_log = bytes;
        }
        let timer_dir = self.timer_log_dir();
        let timer_log = list_files(&timer_dir)?.into_iter();
        let timer_log = timer_log.map(|start| (start, timer_dir.join(file_name(start)))).collect();
        if let Some(bytes) = size_of_sequence([timer_log].into_iter())? {
            self.config.mapped_file_size_timer_log = bytes;
        }
        if let Some(bytes) = size_of_queues(queue_dirs(&self.extended_root())?)? {
            self.config.enable_consume_queue_ext = true;
            self.config.mapped_file_size_consume_queue_ext = bytes;
        }
        // Where there are light queues, messages go into them.
        let queues = self.queue_dirs(QueueKind::Simple)?;
        let has_light = queues.iter().any(|queue| queue.topic.starts_with(LIGHT_PREFIX));
        (self.config.enable_lmq, self.config.enable_multi_dispatch) = (has_light, has_light);
        for kind in QueueKind::ALL {
            let Some(bytes) = size_of_queues(self.queue_dirs(kind)?)? else { continue };
            match kind {
                QueueKind::Simple => self.config.mapped_file_size_consume_queue = bytes,
                QueueKind::Batch => self.config.mapper_file_size_batch_consume_queue = bytes,
            }
        }
        let compacted = [Place::log_root(&self.root()), Place::queue_root(&self.root())];
        let [log, queue] = compacted.map(|root| queue_dirs(&root).and_then(length_of_files));
        if let (Some(log), Some(queue)) = (log?, queue?) {
            (self.config.compaction_mapped_file_size, self.config.compaction_cq_mapped_file_size) =
                CompactionSizes { log, queue }.settings();
        }
        let indexes = index_paths(&self.index_dir())?;
        if !indexes.is_empty() {
            // A damaged file does not tell it.
            let found = indexes.iter().rev().map(|path| find_index_geometry(path));
            self.index_geometry = found.filter_map(Result::transpose).next().transpose()?;
        }
        if let Some(geometry) = self.index_geometry {
            self.config.max_hash_slot_num = geometry.slots;
            self.config.max_index_num = geometry.entries;
        }
        Ok(())
    }
}

/// The files in `dir` that are none of its sequence: the reference does not start with them.
///
/// Reference: `MappedFileQueue.doLoad` (store), 5.5.0.
pub(super) fn foreign_files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let is_start = |name: &str| name.parse().is_ok_and(|start: u64| file_name(start) == name);
    let is_foreign = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        !name.is_some_and(is_start) && path.is_file()
    };
    Ok(entries(dir)?.into_iter().filter(is_foreign).collect())
}

/// What is in `dir`, in the order of names; nothing if there is no such directory.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths: Vec<_> = fs::entries(dir)?.iter().map(DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// The length of each file of the queues in `dirs`.
fn size_of_queues(dirs: Vec<QueueDir>) -> Result<Option<u64>, StoreError> {
    let mut queues = Vec::new();
    for QueueDir { path, .. } in dirs {
        let starts = list_files(&path)?.into_iter();
        queues.push(starts.map(|start| (start, path.join(file_name(start)))).collect());
    }
    size_of_sequence(queues.into_iter())
}

/// The length of most files of the queues in `dirs`.
fn length_of_files(dirs: Vec<QueueDir>) -> Result<Option<u64>, StoreError> {
    let mut lengths: BTreeMap<u64, u64> = BTreeMap::new();
    for QueueDir { path, .. } in dirs {
        for start in list_files(&path)? {
            let path = path.join(file_name(start));
            *lengths.entry(path.metadata().doing("look at", &path)?.len()).or_default() += 1;
        }
    }
    Ok(lengths.into_iter().max_by_key(|(_, count)| *count).map(|(bytes, _)| bytes))
}

/// The length of each file in sequences, as most distances between names and most files say.
fn size_of_sequence(
    sequences: impl Iterator<Item = Vec<(u64, PathBuf)>>,
) -> Result<Option<u64>, StoreError> {
    let mut votes: BTreeMap<u64, u64> = BTreeMap::new();
    for files in sequences {
        let distances = files.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let mut sizes: Vec<u64> = distances.collect();
        for (_, path) in files {
            sizes.push(path.metadata().doing("look at", &path)?.len());
        }
        for size in sizes.into_iter().filter(|size| *size > 0) {
            *votes.entry(size).or_default() += 1;
        }
    }
    Ok(votes.into_iter().max_by_key(|(_, count)| *count).map(|(bytes, _)| bytes))
}

/// Slots and entries of the index file at `path`: the default ones, or those with which its newest
/// entry is where its slot says.
fn find_index_geometry(path: &Path) -> Result<Option<IndexGeometry>, StoreError> {
    let default = StoreConfig::default();
    let default =
        IndexGeometry { slots: default.max_hash_slot_num, entries: default.max_index_num };
    let file = File::open(path).doing("open", path)?;
    let length = file.metadata().doing("look at", path)?.len();
    if length == default.file_bytes() {
        return Ok(Some(default));
    }
    if !(HEADER_BYTES as u64..=MAX_SEARCHED_INDEX_BYTES).contains(&length) {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    match fs::read_exact_at(&file, path, &mut bytes, 0) {
        Err(error) if error.is_unreadable() => Ok(None),
        read => read.map(|()| search_index_geometry(&bytes)),
    }
}

fn search_index_geometry(bytes: &[u8]) -> Option<IndexGeometry> {
    let i32_at = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i32::from_be_bytes(*chunk));
    let i64_at = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
    let (begin, end) = (i64_at(BEGIN_PHY_AT)?, i64_at(END_PHY_AT)?);
    let newest = i32_at(ENTRY_COUNT_AT)?.checked_sub(1).filter(|newest| *newest > 0)?;
    let room = bytes.len() - HEADER_BYTES;
    let fits = |geometry: &IndexGeometry| -> Option<bool> {
        let entry = |number: i32| geometry.entries_at() + number as usize * ENTRY_BYTES;
        let hash = i32_at(entry(newest))?;
        let slot = HEADER_BYTES + (hash.unsigned_abs() % geometry.slots) as usize * SLOT_BYTES;
        Some(
            i64_at(entry(1) + ENTRY_PHY_AT)? == begin
                && i64_at(entry(newest) + ENTRY_PHY_AT)? == end
                && i32_at(slot)? == newest,
        )
    };
    (1..=room / SLOT_BYTES)
        .filter(|slots| (room - slots * SLOT_BYTES).is_multiple_of(ENTRY_BYTES))
        .filter_map(|slots| {
            let entries = u32::try_from((room - slots * SLOT_BYTES) / ENTRY_BYTES).ok()?;
            Some(IndexGeometry { slots: u32::try_from(slots).ok()?, entries })
        })
        .filter(|geometry| geometry.entries > newest as u32)
        .find(|geometry| fits(geometry) == Some(true))
}
