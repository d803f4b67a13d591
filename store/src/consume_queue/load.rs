//! Finds the queues that the files of an earlier run hold.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tracing::{error, warn};

use super::extended::{ExtendedReader, position_of};
use super::files::{QueueFiles, file_name, list_files};
use super::table::QueueTable;
use super::tail::QueueTail;
use super::unit::{BatchUnit, QueueKind, UNIT_BYTES, Unit};
use crate::error::{IoContext, StoreError};
use crate::fs::{entries, read_exact_at};
use crate::sync::lock;

/// Units that are looked at by one read; the first such read settles most queues.
const PROBE_UNITS: usize = 4096 / UNIT_BYTES;

/// Files from the end whose every unit is looked at after a crash.
///
/// Reference: `ConsumeQueue.recover` (store), 5.5.0.
const CHECKED_FILES: usize = 3;

/// Threads that look at queue files; the work is system calls.
const MAX_THREADS: usize = 8;

/// Fills `table` with the queues in `files`.
///
/// After a clean stop the end of a queue is searched for; otherwise (`check_all`) the newest files
/// are read through, because a file system may have lost any page of them.
///
/// A queue whose files the disk does not give back is empty afterwards, and they are out of the store.
pub(crate) fn load_queues(
    files: &QueueFiles,
    table: &QueueTable,
    check_all: bool,
) -> Result<Lacking, StoreError> {
    let mut dirs = Vec::new();
    for kind in QueueKind::ALL {
        dirs.extend(queue_dirs(files.root(kind))?.into_iter().map(|dir| (kind, dir)));
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let lacking = Mutex::new(Lacking::default());
    let threads = thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS);
    let work = || {
        while let Some((kind, dir)) = dirs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match load_queue(files, *kind, dir, check_all)
                .or_else(|error| set_aside(files, *kind, dir, check_all, error))
            {
                Ok(Loaded { tail, lacks_extended, lacks_all }) => {
                    let queue = table.new_queue(Arc::clone(&dir.topic), dir.queue_id, tail);
                    if lacks_extended {
                        lock(&lacking).extended.insert(queue.uid());
                    }
                    if let Some(end) = lacks_all {
                        lock(&lacking).all.insert(queue.uid(), end);
                    }
                    table.insert_loaded(queue);
                }
                Err(error) => {
                    lock(&failure).get_or_insert(error);
                    next.store(dirs.len(), Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(lacking.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// Numbers of queues that lack something, and have to be made anew from the log.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    /// Extended units.
    pub(crate) extended: HashSet<u64>,
    /// All that was in their files, and up to which offset that may have been.
    pub(crate) all: HashMap<u64, i64>,
}

/// What is known of a queue.
struct Loaded {
    tail: QueueTail,
    /// Whether some of its units lead to extended ones that are not there.
    lacks_extended: bool,
    /// Up to which offset there may have been units if all are out of the store, as the disk does not give them back.
    lacks_all: Option<i64>,
}

/// What is left of the queue in `dir` whose files cannot be read, for which there is `error`.
fn set_aside(
    files: &QueueFiles,
    kind: QueueKind,
    dir: &QueueDir,
    check_all: bool,
    error: StoreError,
) -> Result<Loaded, StoreError> {
    let StoreError::Unreadable { path, .. } = &error else { return Err(error) };
    let extended = dir.below(files.extended_root());
    if path.starts_with(&extended) {
        let kept = files.set_aside(kind, &extended)?;
        error!(%error, kept = %kept.display(), "extended units set aside, to be made anew from the log");
        return load_queue(files, kind, dir, check_all)
            .or_else(|error| set_aside(files, kind, dir, check_all, error));
    }
    let end = end_at_most(files, kind, dir)?;
    let kept = files.set_aside(kind, &dir.path)?;
    error!(%error, kept = %kept.display(), "consume queue set aside, to be made anew from the log");
    let tail = QueueTail::empty(kind);
    Ok(Loaded { tail, lacks_extended: false, lacks_all: Some(end) })
}

/// Behind the last unit that is there or may be where the disk does not give it back.
fn end_at_most(files: &QueueFiles, kind: QueueKind, dir: &QueueDir) -> Result<i64, StoreError> {
    let Some(last) = queue_files(files, kind, dir)?.pop() else { return Ok(0) };
    let per_file = files.file_bytes(kind) / kind.unit_bytes() as u64;
    let mut end = last.first;
    for from in (0..per_file).step_by(PROBE_UNITS) {
        let count = (PROBE_UNITS as u64).min(per_file - from);
        let may_be = match last.units(from, count as usize) {
            Ok(units) => units.iter().rposition(Unit::is_valid).map_or(0, |at| at as u64 + 1),
            Err(error) if error.is_unreadable() => count,
            Err(error) => return Err(error),
        };
        if may_be > 0 {
            end = last.first + from + may_be;
        }
    }
    Ok(end as i64)
}

fn queue_files(
    files: &QueueFiles,
    kind: QueueKind,
    dir: &QueueDir,
) -> Result<Vec<QueueFile>, StoreError> {
    let unit_bytes = kind.unit_bytes() as u64;
    let found = open_files(&dir.path, files.file_bytes(kind), "a consume-queue file")?.into_iter();
    let file = |(start, path, file)| QueueFile { file, path, kind, first: start / unit_bytes };
    Ok(found.map(file).collect())
}

/// The directory of one queue.
pub(crate) struct QueueDir {
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    pub(crate) path: PathBuf,
}

impl QueueDir {
    /// The directory of the same queue below another root.
    pub(crate) fn below(&self, root: &Path) -> PathBuf {
        root.join(&*self.topic).join(self.queue_id.to_string())
    }
}

/// The directories of all queues below `root`.
pub(crate) fn queue_dirs(root: &Path) -> Result<Vec<QueueDir>, StoreError> {
    let mut dirs = Vec::new();
    for topic_dir in sub_dirs(root)? {
        let Some(topic) = topic_dir.file_name().and_then(|name| name.to_str()) else {
            warn!(path = %topic_dir.display(), "topic directory skipped: its name is not UTF-8");
            continue;
        };
        dirs.extend(queue_dirs_of(root, topic)?);
    }
    Ok(dirs)
}

/// The directories of all queues of `topic` below `root`.
pub(crate) fn queue_dirs_of(root: &Path, topic: &str) -> Result<Vec<QueueDir>, StoreError> {
    let mut dirs = Vec::new();
    let name: Arc<str> = Arc::from(topic);
    for path in sub_dirs(&root.join(topic))? {
        let queue_id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(queue_id) = queue_id {
            dirs.push(QueueDir { topic: Arc::clone(&name), queue_id, path });
        }
    }
    Ok(dirs)
}

fn sub_dirs(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut dirs = Vec::new();
    for entry in entries(dir)? {
        if entry.file_type().doing("look at", dir)?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}

fn load_queue(
    files: &QueueFiles,
    kind: QueueKind,
    dir: &QueueDir,
    check_all: bool,
) -> Result<Loaded, StoreError> {
    let (unit_bytes, file_bytes) = (kind.unit_bytes() as u64, files.file_bytes(kind));
    let found = queue_files(files, kind, dir)?;
    let mut extended = None;
    if files.extends() && kind == QueueKind::Simple {
        let (dir, file_bytes) = (dir.below(files.extended_root()), files.extended_file_bytes());
        open_files(&dir, file_bytes, "a file of extended units")?;
        extended = Some(ExtendedReader::new(dir, file_bytes));
    }
    let per_file = file_bytes / unit_bytes;
    let mut extended = ExtendedCheck { reader: extended, lacks: false };
    let Some(end) = find_end(&found, per_file, check_all, &mut extended)? else {
        let tail = QueueTail::empty(kind);
        return Ok(Loaded { tail, lacks_extended: false, lacks_all: None });
    };
    // The next one is written behind it.
    extended.look(&end.last)?;
    let min = match found.first() {
        Some(first) => first.first + first.first_real_unit(per_file)?,
        None => 0,
    };
    let min = (min as i64).min(end.offset);
    let mut tail = QueueTail::loaded(kind, min, end.offset, end.last.end());
    if kind == QueueKind::Batch {
        let unit_at = |index: i64| -> Result<Option<BatchUnit>, StoreError> {
            let holds = |file: &&QueueFile| file.first <= index as u64;
            match found.iter().rev().find(holds) {
                Some(file) => file.batch_unit(index as u64 - file.first),
                None => Ok(None),
            }
        };
        let next = unit_at(end.offset - 1)?.map_or(0, |unit| unit.end_offset());
        tail.set_batch_offsets(unit_at(min)?.map_or(next, |unit| unit.base_offset), next);
    }
    Ok(Loaded { tail, lacks_extended: extended.lacks, lacks_all: None })
}

/// The files in `dir`, each of which has to have `bytes`; an empty last one is removed.
fn open_files(dir: &Path, bytes: u64, what: &str) -> Result<Vec<(u64, PathBuf, File)>, StoreError> {
    let mut found = Vec::new();
    let starts = list_files(dir)?;
    for (index, start) in starts.iter().enumerate() {
        let path = dir.join(file_name(*start));
        let file = File::open(&path).doing("open", &path)?;
        let length = file.metadata().doing("look at", &path)?.len();
        if length == 0 && index + 1 == starts.len() {
            std::fs::remove_file(&path).doing("remove", &path)?;
        } else if length != bytes {
            let what = format!("has {length} bytes, {what} {bytes}");
            return Err(StoreError::BadFile { path, what });
        } else {
            found.push((*start, path, file));
        }
    }
    Ok(found)
}

struct QueueFile {
    file: File,
    path: PathBuf,
    kind: QueueKind,
    /// Index of the file's first unit.
    first: u64,
}

struct QueueEnd {
    offset: i64,
    last: Unit,
}

/// Looks for extended units, until one is not there.
struct ExtendedCheck {
    reader: Option<ExtendedReader>,
    lacks: bool,
}

impl ExtendedCheck {
    fn look(&mut self, unit: &Unit) -> Result<(), StoreError> {
        if !self.lacks
            && let Some(reader) = &mut self.reader
            && let Some(position) = position_of(unit.tags_code)
        {
            self.lacks = reader.unit(position)?.is_none();
        }
        Ok(())
    }
}

/// Where the valid units end; nothing when there is none.
///
/// Where every unit is looked at, so is its extended one: the file system may have lost that instead.
fn find_end(
    files: &[QueueFile],
    per_file: u64,
    check_all: bool,
    extended: &mut ExtendedCheck,
) -> Result<Option<QueueEnd>, StoreError> {
    let checked = if check_all { files.len().saturating_sub(CHECKED_FILES) } else { files.len() };
    let (older, newest) = files.split_at(checked);
    let mut end = None;
    for file in newest {
        let count = file.count_by_reading(per_file, extended)?;
        end = file.end_at(count)?.or(end);
        if count < per_file {
            break;
        }
    }
    for file in older.iter().rev() {
        if end.is_some() {
            break;
        }
        end = file.end_at(file.count_by_searching(per_file)?)?;
    }
    Ok(end)
}

impl QueueFile {
    fn units(&self, from: u64, count: usize) -> Result<Vec<Unit>, StoreError> {
        Ok(self.kind.decode_all(&self.bytes(from, count)?).collect())
    }

    fn batch_unit(&self, at: u64) -> Result<Option<BatchUnit>, StoreError> {
        Ok(BatchUnit::decode(&self.bytes(at, 1)?))
    }

    fn bytes(&self, from: u64, count: usize) -> Result<Vec<u8>, StoreError> {
        let unit_bytes = self.kind.unit_bytes();
        let mut bytes = vec![0; count * unit_bytes];
        let at = from * unit_bytes as u64;
        read_exact_at(&self.file, &self.path, &mut bytes, at)?;
        Ok(bytes)
    }

    fn end_at(&self, count: u64) -> Result<Option<QueueEnd>, StoreError> {
        let Some(last) = count.checked_sub(1) else {
            return Ok(None);
        };
        let last = self.units(last, 1)?.first().copied();
        Ok(last.map(|last| QueueEnd { offset: (self.first + count) as i64, last }))
    }

    /// Valid units at the front, each looked at.
    fn count_by_reading(
        &self,
        per_file: u64,
        extended: &mut ExtendedCheck,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        while count < per_file {
            let step = (PROBE_UNITS as u64).min(per_file - count);
            let mut valid = 0;
            for unit in self.units(count, step as usize)? {
                if !unit.is_valid() {
                    break;
                }
                extended.look(&unit)?;
                valid += 1;
            }
            count += valid;
            if valid < step {
                break;
            }
        }
        Ok(count)
    }

    /// Valid units at the front, when all behind the last one are known to be zeros.
    fn count_by_searching(&self, per_file: u64) -> Result<u64, StoreError> {
        let step = (PROBE_UNITS as u64).min(per_file);
        let units = self.units(0, step as usize)?;
        let valid = units.iter().take_while(|unit| unit.is_valid()).count() as u64;
        let (mut low, mut high) = (valid, if valid < step { valid } else { per_file });
        while low < high {
            let middle = low + (high - low) / 2;
            if self.units(middle, 1)?.iter().all(Unit::is_valid) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Pre-blank units at the front.
    fn first_real_unit(&self, per_file: u64) -> Result<u64, StoreError> {
        let is_pre_blank = |at: u64| -> Result<bool, StoreError> {
            Ok(self.units(at, 1)?.iter().all(Unit::is_pre_blank))
        };
        if per_file == 0 || !is_pre_blank(0)? {
            return Ok(0);
        }
        let (mut low, mut high) = (1, per_file);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_pre_blank(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
