//! Keeps a second process off the store.
//!
//! The reference takes a POSIX record lock on byte 0 of `lock`; so do we, before anything is read.
//! Such a lock belongs to the process, so a second store of this process is kept off by a list.
//!
//! Reference: `DefaultMessageStore.start` (store), 5.5.0.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, fcntl_lock};

use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::sync::lock;

const FILE_NAME: &str = "lock";
const CONTENT: &[u8] = b"lock";

static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The right to work on one store directory, given up when dropped.
#[derive(Debug)]
pub(crate) struct ProcessLock {
    root: PathBuf,
    _file: File,
}

impl ProcessLock {
    /// Takes the lock of the store in `root`.
    pub(crate) fn take(fs: &Fs, root: &Path) -> Result<Self, StoreError> {
        let root = root.canonicalize().doing("find", root)?;
        let path = root.join(FILE_NAME);
        let mut held = lock(&HELD);
        if held.contains(&root) {
            return Err(StoreError::Locked(root));
        }
        let file = fs.create_sized(&path, CONTENT.len() as u64).doing("open", &path)?;
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StoreError::Locked(root));
        }
        fs.write_at(&file, &path, CONTENT, 0).doing("write", &path)?;
        held.push(root.clone());
        Ok(Self { root, _file: file })
    }

    /// Keeps others off the store in `root` without writing anything; nothing when the store has no
    /// lock file.
    pub(crate) fn look(root: &Path) -> Result<Option<Self>, StoreError> {
        let root = root.canonicalize().doing("find", root)?;
        let path = root.join(FILE_NAME);
        let mut held = lock(&HELD);
        if held.contains(&root) {
            return Err(StoreError::Locked(root));
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing("open", &path),
        };
        // A shared lock needs no right to write, and an exclusive one does not go with it.
        if fcntl_lock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            return Err(StoreError::Locked(root));
        }
        held.push(root.clone());
        Ok(Some(Self { root, _file: file }))
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        lock(&HELD).retain(|held| *held != self.root);
    }
}
