//! A mapped file with one owner.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapMut, MmapOptions};

use crate::fs::Fs;

/// A mapped file with one owner, who may write anywhere in it.
#[derive(Debug)]
pub(crate) struct MappedTable {
    path: PathBuf,
    file: File,
    map: MmapMut,
}

impl MappedTable {
    /// Maps the file at `path`, making it, and making it `bytes` long, if need be.
    pub(crate) fn open(fs: &Fs, path: &Path, bytes: u64) -> io::Result<Self> {
        let file = fs.create_sized(path, bytes)?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the length is set, and the store's process lock keeps others off the file (1).
        let map = unsafe { MmapOptions::new().len(length).map_mut(&file)? };
        drop(map.advise(Advice::Random));
        Ok(Self { path: path.to_owned(), file, map })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// Reserves disk blocks for `count` bytes from `at` on.
    pub(crate) fn allocate(&self, fs: &Fs, at: u64, count: u64) -> io::Result<()> {
        fs.allocate(&self.file, &self.path, at, count)
    }

    /// Makes all bytes durable.
    pub(crate) fn flush(&self, fs: &Fs) -> io::Result<()> {
        fs.flush_map(&self.path, || self.map.flush())
    }
}
