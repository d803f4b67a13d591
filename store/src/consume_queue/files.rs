//! The files of all queues, through a bounded set of open ones.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::queue::ConsumeQueue;
use super::unit::{QueueKind, Unit};
use crate::config::StoreConfig;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::limits::{MAX_OPEN_QUEUE_FILES, SYNC_FILES_ONE_BY_ONE};

/// Digits of the name of a file in a sequence.
pub(crate) const FILE_NAME_DIGITS: usize = 20;

/// Reads and writes units of queues in their files.
#[derive(Debug)]
pub(crate) struct QueueFiles {
    fs: Fs,
    simple: Place,
    batch: Place,
    open: Mutex<OpenFiles>,
    /// Held alone while queues are deleted, and shared while one is written: a queue's successor has the
    /// same directory, and must not write there before it is empty.
    deleting: RwLock<()>,
}

/// Where the queues of one kind are, and the bytes of each of their files.
#[derive(Debug)]
struct Place {
    root: PathBuf,
    file_bytes: u64,
}

/// A file: its queue's uid, and the position of its first byte in the queue.
type FileKey = (u64, u64);

#[derive(Debug, Default)]
struct OpenFiles {
    files: HashMap<FileKey, OpenFile>,
    clock: u64,
    /// Files written since the last sync; nothing when they are too many to count.
    unsynced: Option<HashMap<FileKey, Arc<File>>>,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<File>,
    used: u64,
}

impl QueueFiles {
    /// The queue files of a store, each as large as the configuration says, in whole units.
    pub(crate) fn new(fs: Fs, config: &StoreConfig) -> Self {
        let place = |kind: QueueKind| Place {
            root: config.root_dir().join(kind.dir_name()),
            file_bytes: config.queue_file_bytes(kind),
        };
        let (simple, batch) = (place(QueueKind::Simple), place(QueueKind::Batch));
        let open = OpenFiles { unsynced: Some(HashMap::new()), ..OpenFiles::default() };
        Self { fs, simple, batch, open: Mutex::new(open), deleting: RwLock::new(()) }
    }

    pub(crate) fn root(&self, kind: QueueKind) -> &Path {
        &self.place(kind).root
    }

    pub(crate) fn file_bytes(&self, kind: QueueKind) -> u64 {
        self.place(kind).file_bytes
    }

    fn place(&self, kind: QueueKind) -> &Place {
        match kind {
            QueueKind::Simple => &self.simple,
            QueueKind::Batch => &self.batch,
        }
    }

    /// Keeps queues from being written. Taken before any queue's own locks.
    pub(crate) fn begin_deleting(&self) -> RwLockWriteGuard<'_, ()> {
        self.deleting.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps queues from being deleted. Taken before any queue's own locks.
    pub(crate) fn begin_writing(&self) -> RwLockReadGuard<'_, ()> {
        self.deleting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue_dir(&self, queue: &ConsumeQueue) -> PathBuf {
        self.root(queue.kind()).join(&**queue.topic()).join(queue.queue_id().to_string())
    }

    /// Writes encoded units, the first of which has index `offset`.
    ///
    /// With `begins_late` the queue has no file yet, and what lies before `offset` in its first file
    /// is filled with pre-blank units, as a reader of the reference expects.
    pub(crate) fn write(
        &self,
        queue: &ConsumeQueue,
        offset: i64,
        begins_late: bool,
        units: &[u8],
    ) -> Result<(), StoreError> {
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let mut at = offset as u64 * unit_bytes;
        if begins_late && !at.is_multiple_of(file_bytes) {
            let start = at - at % file_bytes;
            let (file, path) = self.file_for_writing(queue, start)?;
            let blanks = Unit::PRE_BLANK.encode().repeat(((at - start) / unit_bytes) as usize);
            self.fs.write_at(&file, &path, &blanks, 0).doing("write", &path)?;
        }
        let mut rest = units;
        while !rest.is_empty() {
            let in_file = at % file_bytes;
            let (file, path) = self.file_for_writing(queue, at - in_file)?;
            let count = rest.len().min((file_bytes - in_file) as usize);
            self.fs.write_at(&file, &path, &rest[..count], in_file).doing("write", &path)?;
            at += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Appends up to `count` encoded units from `offset` on, all of one file, to `out`.
    pub(crate) fn read(
        &self,
        queue: &ConsumeQueue,
        offset: i64,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let at = offset as u64 * unit_bytes;
        let in_file = at % file_bytes;
        let key = (queue.uid(), at - in_file);
        let Some(file) = self.file_for_reading(queue, key)? else {
            return Ok(());
        };
        let bytes = (count * unit_bytes as usize).min((file_bytes - in_file) as usize);
        let begin = out.len();
        out.resize(begin + bytes, 0);
        let read = file.read_exact_at(&mut out[begin..], in_file);
        if let Err(error) = read {
            out.truncate(begin);
            let path = self.path_of(queue, key.1);
            return Err(error).doing("read", &path);
        }
        Ok(())
    }

    /// Makes durable what was written since the last call.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let unsynced = self.lock().unsynced.replace(HashMap::new());
        match unsynced {
            Some(files) => {
                for file in files.values() {
                    self.fs.sync(file, &self.simple.root).doing("sync", &self.simple.root)?;
                }
                Ok(())
            }
            // Both are below the store's directory.
            None => match [&self.simple.root, &self.batch.root].iter().find(|root| root.is_dir()) {
                Some(root) => self.fs.sync_file_system(root).doing("sync", root),
                None => Ok(()),
            },
        }
    }

    /// Removes the directory of a queue.
    pub(crate) fn delete_queue(&self, queue: &ConsumeQueue) -> Result<(), StoreError> {
        self.forget(|key| key.0 == queue.uid());
        let dir = self.queue_dir(queue);
        self.fs.remove_dir_all(&dir).doing("remove", &dir)
    }

    /// Removes files from the front while their last unit is before `min_phy`; keeps the last file.
    pub(crate) fn delete_expired(
        &self,
        queue: &ConsumeQueue,
        min_phy: i64,
    ) -> Result<usize, StoreError> {
        let dir = self.queue_dir(queue);
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let starts = list_files(&dir)?;
        let mut deleted = 0;
        for start in starts.iter().rev().skip(1).rev() {
            let last_unit = ((start + file_bytes) / unit_bytes) as i64 - 1;
            let mut bytes = Vec::new();
            self.read(queue, last_unit, 1, &mut bytes)?;
            let expired = queue.kind().decode_all(&bytes).all(|unit| unit.phy_offset < min_phy);
            if !expired {
                break;
            }
            self.forget(|key| key == (queue.uid(), *start));
            let path = self.path_of(queue, *start);
            self.fs.remove_file(&path).doing("remove", &path)?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Removes the files of a queue that begin at or behind `offset`, and clears units from there on
    /// in the file before them.
    pub(crate) fn cut(&self, queue: &ConsumeQueue, offset: i64) -> Result<(), StoreError> {
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let at = offset as u64 * unit_bytes;
        let dir = self.queue_dir(queue);
        for start in list_files(&dir)? {
            let path = self.path_of(queue, start);
            if start >= at {
                self.forget(|key| key == (queue.uid(), start));
                self.fs.remove_file(&path).doing("remove", &path)?;
            } else if at < start + file_bytes {
                // Shortening and lengthening is the cheapest way to clear the rest of a file.
                let (file, path) = self.file_for_writing(queue, start)?;
                file.set_len(at - start).doing("shorten", &path)?;
                file.set_len(file_bytes).doing("lengthen", &path)?;
            }
        }
        Ok(())
    }

    fn file_for_reading(
        &self,
        queue: &ConsumeQueue,
        key: FileKey,
    ) -> Result<Option<Arc<File>>, StoreError> {
        if let Some(file) = self.lock().get(key) {
            return Ok(Some(file));
        }
        let path = self.path_of(queue, key.1);
        match self.fs.open(&path) {
            Ok(file) => Ok(Some(self.lock().insert(key, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("open", &path),
        }
    }

    fn file_for_writing(
        &self,
        queue: &ConsumeQueue,
        start: u64,
    ) -> Result<(Arc<File>, PathBuf), StoreError> {
        let key = (queue.uid(), start);
        let path = self.path_of(queue, start);
        let open = self.lock().get(key);
        let file = match open {
            Some(file) => file,
            None => {
                let file = self.create(&path, self.file_bytes(queue.kind()))?;
                self.lock().insert(key, file)
            }
        };
        self.lock().note_unsynced(key, &file);
        Ok((file, path))
    }

    fn create(&self, path: &Path, file_bytes: u64) -> Result<File, StoreError> {
        match self.fs.create_sized(path, file_bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    self.fs.create_dir_all(dir).doing("create", dir)?;
                }
                self.fs.create_sized(path, file_bytes)
            }
            other => other,
        }
        .doing("create", path)
    }

    /// Bytes of a unit and of a file of `queue`.
    fn sizes(&self, queue: &ConsumeQueue) -> (u64, u64) {
        (queue.kind().unit_bytes() as u64, self.file_bytes(queue.kind()))
    }

    fn path_of(&self, queue: &ConsumeQueue, start: u64) -> PathBuf {
        self.queue_dir(queue).join(file_name(start))
    }

    fn forget(&self, which: impl Fn(FileKey) -> bool) {
        let mut open = self.lock();
        open.files.retain(|key, _| !which(*key));
        if let Some(unsynced) = &mut open.unsynced {
            unsynced.retain(|key, _| !which(*key));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFiles {
    fn get(&mut self, key: FileKey) -> Option<Arc<File>> {
        self.clock += 1;
        let clock = self.clock;
        self.files.get_mut(&key).map(|open| {
            open.used = clock;
            Arc::clone(&open.file)
        })
    }

    fn insert(&mut self, key: FileKey, file: File) -> Arc<File> {
        if self.files.len() >= MAX_OPEN_QUEUE_FILES {
            self.close_oldest();
        }
        self.clock += 1;
        let file = Arc::new(file);
        self.files.insert(key, OpenFile { file: Arc::clone(&file), used: self.clock });
        file
    }

    /// Closes an eighth of the files at a time, so that looking for the oldest is paid rarely.
    fn close_oldest(&mut self) {
        let mut ages: Vec<u64> = self.files.values().map(|open| open.used).collect();
        let rank = ages.len() / 8;
        let (_, limit, _) = ages.select_nth_unstable(rank);
        let limit = *limit;
        self.files.retain(|_, open| open.used > limit);
    }

    fn note_unsynced(&mut self, key: FileKey, file: &Arc<File>) {
        let Some(unsynced) = &mut self.unsynced else {
            return;
        };
        unsynced.entry(key).or_insert_with(|| Arc::clone(file));
        if unsynced.len() > SYNC_FILES_ONE_BY_ONE {
            self.unsynced = None;
        }
    }
}

/// The name of the file that begins at `start`.
pub(crate) fn file_name(start: u64) -> String {
    format!("{start:0width$}", width = FILE_NAME_DIGITS)
}

/// Where the files in `dir` begin, in order. Names that are no positions are skipped.
pub(crate) fn list_files(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing("list", dir),
    };
    let mut starts = Vec::new();
    for entry in entries {
        let entry = entry.doing("list", dir)?;
        let name = entry.file_name();
        let start = name.to_str().filter(|name| name.len() == FILE_NAME_DIGITS);
        if let Some(start) = start.and_then(|name| name.parse().ok()) {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}
