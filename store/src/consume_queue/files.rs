//! The files of all queues, through a bounded set of open ones.

mod remove;

use std::collections::HashMap;
use std::fs::{DirEntry, File};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::{Resource, getrlimit};

use self::remove::Remains;
use super::extended::{EXTENDED_DIR, ExtendedReader};
use super::queue::ConsumeQueue;
use super::unit::{QueueKind, Unit};
use crate::config::StoreConfig;
use crate::error::{IoContext, StoreError};
use crate::fs::{Fs, entries};
use crate::limits::{MAX_OPEN_QUEUE_FILES, PART_OF_DESCRIPTORS_FOR_QUEUES, SYNC_FILES_ONE_BY_ONE};
use crate::sync::{lock, read, write};

/// Digits of the name of a file in a sequence.
pub(crate) const FILE_NAME_DIGITS: usize = 20;

/// Reads and writes units of queues in their files.
#[derive(Debug)]
pub(crate) struct QueueFiles {
    fs: Fs,
    simple: Place,
    batch: Place,
    extended: Place,
    /// Whether units get extended ones.
    extends: bool,
    open: Mutex<OpenFiles>,
    /// Held alone while queues are deleted, and shared while one is written: a queue's successor
    /// has the same directory, and must not write there before it is empty.
    deleting: RwLock<()>,
    remains: Remains,
}

/// Where the queues of one kind are, and the bytes of each of their files.
#[derive(Debug)]
struct Place {
    root: PathBuf,
    file_bytes: u64,
}

/// A file of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileKey {
    /// That of the queue.
    uid: u64,
    /// Whether it has the extended units.
    extended: bool,
    /// Position of its first byte.
    start: u64,
}

#[derive(Debug)]
struct OpenFiles {
    files: HashMap<FileKey, OpenFile>,
    /// How many there may be.
    most: usize,
    clock: u64,
    /// Files written since the last sync; nothing when they are too many to count.
    unsynced: Option<HashMap<FileKey, Arc<File>>>,
    /// Why what was written may not be on disk, however often it is synced again.
    failure: Option<String>,
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
        let extended = Place {
            root: config.root_dir().join(EXTENDED_DIR),
            file_bytes: config.mapped_file_size_consume_queue_ext,
        };
        Self {
            fs,
            simple: place(QueueKind::Simple),
            batch: place(QueueKind::Batch),
            extended,
            extends: config.enable_consume_queue_ext,
            open: Mutex::new(OpenFiles::new()),
            deleting: RwLock::new(()),
            remains: Remains::default(),
        }
    }

    /// Whether units get extended ones.
    pub(crate) fn extends(&self) -> bool {
        self.extends
    }

    pub(crate) fn extended_root(&self) -> &Path {
        &self.extended.root
    }

    pub(crate) fn extended_file_bytes(&self) -> u64 {
        self.extended.file_bytes
    }

    /// Opens the extended units of a queue to be read.
    pub(crate) fn extended_reader(&self, queue: &ConsumeQueue) -> ExtendedReader {
        ExtendedReader::new(self.extended_dir(queue), self.extended.file_bytes)
    }

    fn extended_dir(&self, queue: &ConsumeQueue) -> PathBuf {
        self.extended.root.join(&**queue.topic()).join(queue.queue_id().to_string())
    }

    pub(crate) fn root(&self, kind: QueueKind) -> &Path {
        &self.place(kind).root
    }

    /// Moves the files of a queue of `kind` that are in `dir` out of the store, as they cannot be read.
    pub(super) fn set_aside(&self, kind: QueueKind, dir: &Path) -> Result<PathBuf, StoreError> {
        self.fs.set_aside(self.root(kind).parent().unwrap_or(dir), dir)
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
        write(&self.deleting)
    }

    /// Keeps queues from being deleted. Taken before any queue's own locks.
    pub(crate) fn begin_writing(&self) -> RwLockReadGuard<'_, ()> {
        read(&self.deleting)
    }

    /// Where the files of `queue` are, or would be if it were of another kind.
    fn queue_dir(&self, queue: &ConsumeQueue, kind: QueueKind) -> PathBuf {
        self.root(kind).join(&**queue.topic()).join(queue.queue_id().to_string())
    }

    /// Writes encoded units, the first of which has index `offset`.
    ///
    /// With `begins_late` the queue has no file yet, and what lies before `offset` in its first
    /// file is filled with pre-blank units, as a reader of the reference expects.
    pub(crate) fn write(
        &self,
        queue: &ConsumeQueue,
        offset: i64,
        begins_late: bool,
        units: &[u8],
    ) -> Result<(), StoreError> {
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let key = |start| FileKey { uid: queue.uid(), extended: false, start };
        let mut at = offset as u64 * unit_bytes;
        if begins_late && !at.is_multiple_of(file_bytes) {
            let start = at - at % file_bytes;
            let (file, path) = self.file_for_writing(queue, key(start))?;
            let blanks = Unit::PRE_BLANK.encode().repeat(((at - start) / unit_bytes) as usize);
            self.fs.write_at(&file, &path, &blanks, 0).doing("write", &path)?;
        }
        let mut rest = units;
        while !rest.is_empty() {
            let in_file = at % file_bytes;
            let (file, path) = self.file_for_writing(queue, key(at - in_file))?;
            let count = rest.len().min((file_bytes - in_file) as usize);
            self.fs.write_at(&file, &path, &rest[..count], in_file).doing("write", &path)?;
            at += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Appends up to `count` encoded units from `offset` on, all of one file, to `out`; without `may_wait`
    /// only if that needs no waiting for the disk, see [`StoreError::would_wait`].
    pub(crate) fn read(
        &self,
        queue: &ConsumeQueue,
        offset: i64,
        count: usize,
        may_wait: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let (unit_bytes, file_bytes) = self.sizes(queue);
        let at = offset as u64 * unit_bytes;
        let in_file = at % file_bytes;
        let key = FileKey { uid: queue.uid(), extended: false, start: at - in_file };
        let Some(file) = self.file_for_reading(queue, key)? else {
            return Ok(());
        };
        let bytes = (count * unit_bytes as usize).min((file_bytes - in_file) as usize);
        let begin = out.len();
        out.resize(begin + bytes, 0);
        let read = match may_wait {
            true => file.read_exact_at(&mut out[begin..], in_file),
            false => read_cached(&file, &mut out[begin..], in_file),
        };
        if let Err(error) = read {
            out.truncate(begin);
            let path = self.path_of(queue, key);
            return Err(error).doing("read", &path);
        }
        Ok(())
    }

    /// Makes durable what was written since the last call.
    ///
    /// # Errors
    ///
    /// When that fails, or has failed before: the system tells of an error once, and what was to be written then
    /// may be gone. The next open reads it from the log.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let unsynced = {
            let mut open = self.lock();
            if let Some(failure) = &open.failure {
                return Err(io::Error::other(failure.clone())).doing("sync", &self.simple.root);
            }
            open.unsynced.replace(HashMap::new())
        };
        self.sync_files(unsynced)
            .inspect_err(|error| self.lock().failure = Some(format!("failed before: {error}")))
    }

    fn sync_files(&self, unsynced: Option<HashMap<FileKey, Arc<File>>>) -> Result<(), StoreError> {
        match unsynced {
            Some(files) => {
                for file in files.values() {
                    self.fs.sync(file, &self.simple.root).doing("sync", &self.simple.root)?;
                }
                Ok(())
            }
            // All are below the store's directory.
            None => {
                let roots = [&self.simple.root, &self.batch.root, &self.extended.root];
                match roots.iter().find(|root| root.is_dir()) {
                    Some(root) => self.fs.sync_file_system(root).doing("sync", root),
                    None => Ok(()),
                }
            }
        }
    }

    /// Writes encoded extended units from `position` on, all into one file.
    pub(super) fn write_extended(
        &self,
        queue: &ConsumeQueue,
        position: u64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let in_file = position % self.extended.file_bytes;
        let key = FileKey { uid: queue.uid(), extended: true, start: position - in_file };
        let (file, path) = self.file_for_writing(queue, key)?;
        self.fs.write_at(&file, &path, bytes, in_file).doing("write", &path)
    }

    fn file_for_reading(
        &self,
        queue: &ConsumeQueue,
        key: FileKey,
    ) -> Result<Option<Arc<File>>, StoreError> {
        if let Some(file) = self.lock().get(key) {
            return Ok(Some(file));
        }
        let path = self.path_of(queue, key);
        match self.fs.open(&path) {
            Ok(file) => Ok(Some(self.lock().insert(key, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("open", &path),
        }
    }

    fn file_for_writing(
        &self,
        queue: &ConsumeQueue,
        key: FileKey,
    ) -> Result<(Arc<File>, PathBuf), StoreError> {
        let path = self.path_of(queue, key);
        let open = self.lock().get(key);
        let file = match open {
            Some(file) => file,
            None => {
                let file_bytes = match key.extended {
                    true => self.extended.file_bytes,
                    false => self.file_bytes(queue.kind()),
                };
                let file = self.create(&path, file_bytes)?;
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

    fn path_of(&self, queue: &ConsumeQueue, key: FileKey) -> PathBuf {
        let dir = match key.extended {
            true => self.extended_dir(queue),
            false => self.queue_dir(queue, queue.kind()),
        };
        dir.join(file_name(key.start))
    }

    fn forget(&self, which: impl Fn(FileKey) -> bool) {
        let mut open = self.lock();
        open.files.retain(|key, _| !which(*key));
        if let Some(unsynced) = &mut open.unsynced {
            unsynced.retain(|key, _| !which(*key));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        lock(&self.open)
    }
}

impl OpenFiles {
    fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let part = usize::try_from(limit / PART_OF_DESCRIPTORS_FOR_QUEUES).unwrap_or(usize::MAX);
        Self {
            files: HashMap::new(),
            most: part.clamp(1, MAX_OPEN_QUEUE_FILES),
            clock: 0,
            unsynced: Some(HashMap::new()),
            failure: None,
        }
    }

    fn get(&mut self, key: FileKey) -> Option<Arc<File>> {
        self.clock += 1;
        let clock = self.clock;
        self.files.get_mut(&key).map(|open| {
            open.used = clock;
            Arc::clone(&open.file)
        })
    }

    fn insert(&mut self, key: FileKey, file: File) -> Arc<File> {
        if self.files.len() >= self.most {
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
        // Each of them stays open until then.
        if unsynced.len() > SYNC_FILES_ONE_BY_ONE.min(self.most) {
            self.unsynced = None;
        }
    }
}

/// Fills `out` from `at` on with what is in the page cache, or fails with `WouldBlock`.
fn read_cached(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    let mut buffers = [IoSliceMut::new(out)];
    match rustix::io::preadv2(file, &mut buffers, at, ReadWriteFlags::NOWAIT) {
        Ok(count) if count == out.len() => Ok(()),
        Ok(_) | Err(Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
        // There are file systems that cannot tell.
        Err(_) => file.read_exact_at(out, at),
    }
}

/// The name of the file that begins at `start`.
pub(crate) fn file_name(start: u64) -> String {
    format!("{start:0width$}", width = FILE_NAME_DIGITS)
}

/// Where the files in `dir` begin, in order. Names that are no positions are skipped.
pub(crate) fn list_files(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let start_of = |entry: DirEntry| {
        let name = entry.file_name();
        name.to_str().filter(|name| name.len() == FILE_NAME_DIGITS)?.parse().ok()
    };
    let mut starts: Vec<u64> = entries(dir)?.into_iter().filter_map(start_of).collect();
    starts.sort_unstable();
    Ok(starts)
}
