//! The one seam through which the store creates, writes, flushes and removes files.
//!
//! Tests make the n-th operation fail here; nothing else in the store touches the file system in a
//! way that changes it, except by storing into a mapped file.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::disk::DiskSpace;
use crate::error::{IoContext, StoreError, is_unreadable};
use crate::index::name::next_name;

/// Bytes that are cleared by one call where holes cannot be made.
const CLEAR_BYTES_AT_ONCE: usize = 256 << 10;

/// Bytes in which a bad sector is looked for: the smallest page.
const PAGE_BYTES: u64 = 4096;

const PUNCH_HOLE: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// A kind of operation that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsOp {
    /// A file or directory is made.
    Create,
    /// Disk blocks are reserved. One that fails as unsupported is of a file system that cannot.
    Allocate,
    /// Bytes are written.
    Write,
    /// Bytes are made durable.
    Flush,
    /// A file or directory is removed.
    Remove,
    /// A file gets another or a second name.
    Rename,
}

type Fault = dyn Fn(FsOp, &Path) -> io::Result<()> + Send + Sync;
type Space = dyn Fn(&Path) -> Option<DiskSpace> + Send + Sync;

/// The file system, or a file system with faults.
#[derive(Clone, Default)]
pub struct Fs {
    fault: Option<Arc<Fault>>,
    space: Option<Arc<Space>>,
}

impl Fs {
    /// A file system in which an operation fails when `fault` says so.
    pub fn with_fault(
        fault: impl Fn(FsOp, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { fault: Some(Arc::new(fault)), space: None }
    }

    /// A file system that has as much space as `space` says.
    pub fn with_space(space: impl Fn(&Path) -> Option<DiskSpace> + Send + Sync + 'static) -> Self {
        Self { fault: None, space: Some(Arc::new(space)) }
    }

    /// Space of the file system of `dir`.
    pub(crate) fn space(&self, dir: &Path) -> Option<DiskSpace> {
        self.space.as_ref().map_or_else(|| DiskSpace::of(dir), |space| space(dir))
    }

    fn check(&self, op: FsOp, path: &Path) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault(op, path))
    }

    /// Makes `path` and the directories above it.
    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::Create, path)?;
        fs::create_dir_all(path)
    }

    /// Opens `path` for reading and writing, making it if need be, with exactly `bytes` length.
    ///
    /// New bytes are zeros that take no disk space yet.
    pub(crate) fn create_sized(&self, path: &Path, bytes: u64) -> io::Result<File> {
        self.check(FsOp::Create, path)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() != bytes {
            file.set_len(bytes)?;
        }
        Ok(file)
    }

    /// Makes an empty file at `path`, or empties the one that is there.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.check(FsOp::Create, path)?;
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Opens a file that exists.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Reserves disk blocks for a part of `file`, so that storing there cannot run out of space. Returns false
    /// where the file system cannot: only what has been written has blocks there.
    pub(crate) fn allocate(
        &self,
        file: &File,
        path: &Path,
        at: u64,
        bytes: u64,
    ) -> io::Result<bool> {
        match self.check(FsOp::Allocate, path) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
            other => other?,
        }
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            other => other.map(|()| true).map_err(io::Error::from),
        }
    }

    /// Makes a part of `file` read as zeros again, where the file system can.
    pub(crate) fn punch_hole(
        &self,
        file: &File,
        path: &Path,
        at: u64,
        bytes: u64,
    ) -> io::Result<()> {
        self.check(FsOp::Write, path)?;
        if bytes == 0 {
            return Ok(());
        }
        fallocate_if_it_can(file, PUNCH_HOLE, at, bytes)
    }

    /// Makes the part of `file` behind `at` zeros, up to its length of `bytes`.
    ///
    /// The length stays the same all the time: a crash must not leave a file that is too short.
    pub(crate) fn clear_from(
        &self,
        file: &File,
        path: &Path,
        at: u64,
        bytes: u64,
    ) -> io::Result<()> {
        self.check(FsOp::Write, path)?;
        if at >= bytes {
            return Ok(());
        }
        fallocate_if_it_can(file, PUNCH_HOLE, at, bytes - at)?;
        write_zeros(file, at, bytes)
    }

    /// Makes what `file` has between `at` and `end` zeros, which need no disk space where the file
    /// system can do without. The length stays the same.
    pub(crate) fn clear(&self, file: &File, path: &Path, at: u64, end: u64) -> io::Result<()> {
        self.check(FsOp::Write, path)?;
        clear(file, at, end)
    }

    /// Makes `to` a copy of the file at `from`.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.create(to)?;
        self.check(FsOp::Write, to)?;
        fs::copy(from, to)?;
        self.sync(&file, to)
    }

    /// Writes `bytes` at position `at`.
    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        at: u64,
    ) -> io::Result<()> {
        if let Err(fault) = self.check(FsOp::Write, path) {
            // As in life, a part has been written.
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(fault);
        }
        file.write_all_at(bytes, at)
    }

    /// Moves `path`, of which the disk does not give back all, out of the store in `root`; returns where it is then.
    pub(crate) fn set_aside(&self, root: &Path, path: &Path) -> Result<PathBuf, StoreError> {
        let mut name = next_name(None);
        let kept = loop {
            let dir = root.join(format!("damaged-{name}"));
            let kept = dir.join(path.strip_prefix(root).unwrap_or(path));
            if !kept.exists() {
                break kept;
            }
            name = next_name(Some(Path::new(&name)));
        };
        if let Some(dir) = kept.parent() {
            self.create_dir_all(dir).doing("create", dir)?;
        }
        self.rename(path, &kept).doing("move", path)?;
        Ok(kept)
    }

    /// Makes the bytes of `file` durable.
    pub(crate) fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.check(FsOp::Flush, path)?;
        file.sync_data()
    }

    /// Makes everything durable that was written to the file system of `dir`.
    pub(crate) fn sync_file_system(&self, dir: &Path) -> io::Result<()> {
        self.check(FsOp::Flush, dir)?;
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    /// Makes the names in `dir` durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(FsOp::Flush, dir)?;
        File::open(dir)?.sync_all()
    }

    /// Runs `flush` on a mapped file.
    pub(crate) fn flush_map(
        &self,
        path: &Path,
        flush: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.check(FsOp::Flush, path)?;
        flush()
    }

    /// Removes a file; that it does not exist is no error.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::Remove, path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Gives a file another name, in place of what has it.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(FsOp::Rename, from)?;
        fs::rename(from, to)?;
        #[cfg(test)]
        crate::mapped_file::bad::rename(from, to);
        Ok(())
    }

    /// Gives a file a second name, which nothing has.
    pub(crate) fn link(&self, path: &Path, second: &Path) -> io::Result<()> {
        self.check(FsOp::Rename, path)?;
        fs::hard_link(path, second)
    }

    /// Removes a directory and all in it; that it does not exist is no error.
    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::Remove, path)?;
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Reads what may have been written long ago.
pub(crate) fn read_exact_at(
    file: &File,
    path: &Path,
    bytes: &mut [u8],
    at: u64,
) -> Result<(), StoreError> {
    read_piece(file, path, bytes, at).or_else(|source| {
        if !is_unreadable(&source) {
            return Err(source).doing("read", path);
        }
        let position = bad_pages(file, path, bytes, at).next().unwrap_or(at);
        Err(StoreError::Unreadable { path: path.to_owned(), position, source })
    })
}

/// Bytes of a file, and where the first one is that the disk does not give back and why.
pub(crate) type ThereIs = (Vec<u8>, Option<(u64, io::Error)>);

/// What there is of the file at `path`, with zeros in the place of pages that the disk does not give back.
pub(crate) fn read_all_there_is(path: &Path) -> io::Result<ThereIs> {
    let file = File::open(path)?;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
    match read_piece(&file, path, &mut bytes, 0) {
        Err(error) if is_unreadable(&error) => {
            let position = bad_pages(&file, path, &mut bytes, 0).reduce(u64::min).unwrap_or(0);
            Ok((bytes, Some((position, error))))
        }
        read => read.map(|()| (bytes, None)),
    }
}

/// What is in the file at `path`.
pub(crate) fn read_all(path: &Path) -> Result<Vec<u8>, StoreError> {
    match read_all_there_is(path).doing("read", path)? {
        (bytes, None) => Ok(bytes),
        (_, Some((position, source))) => {
            Err(StoreError::Unreadable { path: path.to_owned(), position, source })
        }
    }
}

/// Reads page by page and tells where those are that the disk does not give back; they are zeros in `bytes`.
fn bad_pages(file: &File, path: &Path, bytes: &mut [u8], at: u64) -> impl Iterator<Item = u64> {
    let end = at + bytes.len() as u64;
    let mut from = at;
    std::iter::from_fn(move || {
        while from < end {
            let (begin, to) = (from, (from + 1).next_multiple_of(PAGE_BYTES).min(end));
            let page = &mut bytes[(begin - at) as usize..(to - at) as usize];
            from = to;
            if read_piece(file, path, page, begin).is_err() {
                page.fill(0);
                return Some(begin);
            }
        }
        None
    })
}

/// Reads from a file that has bad sectors in tests.
pub(crate) fn read_piece(file: &File, path: &Path, bytes: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    crate::mapped_file::bad::check(path, at as usize, bytes.len())?;
    #[cfg(not(test))]
    let _ = path;
    file.read_exact_at(bytes, at)
}

/// What is in `dir`, in no order; nothing if there is no such directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<DirEntry>, StoreError> {
    match fs::read_dir(dir).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.doing("list", dir),
    }
}

/// Makes what `file` has between `at` and `end` zeros.
///
/// The length stays the same all the time: a crash must not leave a file that is too short.
pub(crate) fn clear(file: &File, at: u64, end: u64) -> io::Result<()> {
    if at >= end {
        return Ok(());
    }
    match rustix::fs::fallocate(file, PUNCH_HOLE, at, end - at) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        other => return other.map_err(io::Error::from),
    }
    write_zeros(file, at, end)
}

fn write_zeros(file: &File, mut at: u64, end: u64) -> io::Result<()> {
    let most = usize::try_from(end - at).unwrap_or(usize::MAX);
    let zeros = vec![0; CLEAR_BYTES_AT_ONCE.min(most)];
    while at < end {
        let count = zeros.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Frees blocks, unless the file system has no way to.
fn fallocate_if_it_can(file: &File, flags: FallocateFlags, at: u64, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, flags, at, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

impl std::fmt::Debug for Fs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fs").field("faulty", &self.fault.is_some()).finish()
    }
}
