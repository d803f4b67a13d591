//! A mapped file with one owner.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapMut, MmapOptions};

use crate::fs::Fs;

/// Bytes that are written by one call where blocks cannot be reserved otherwise.
const COPY_BYTES: usize = 256 << 10;

/// A mapped file with one owner, who may write anywhere in it.
#[derive(Debug)]
pub(crate) struct MappedTable {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) map: MmapMut,
}

impl MappedTable {
    /// Maps the file at `path`, making it, and making it `bytes` long, if need be.
    pub(crate) fn open(fs: &Fs, path: &Path, bytes: u64) -> io::Result<Self> {
        let file = fs.create_sized(path, bytes)?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the length is set, and the store's process lock keeps others off the file (1).
        let map = unsafe { MmapOptions::new().len(length).map_mut(&file)? };
        drop(map.advise(Advice::Random));
        let table = Self { path: path.to_owned(), file, map };
        #[cfg(test)]
        let table = table.with_bad_pages();
        Ok(table)
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

    /// Reserves disk blocks for `count` bytes from `at` on, where the file system cannot by writing what is there.
    pub(crate) fn allocate(&mut self, fs: &Fs, at: u64, count: u64) -> io::Result<()> {
        if fs.allocate(&self.file, &self.path, at, count)? {
            return Ok(());
        }
        let end = (at + count).min(self.map.len() as u64);
        for at in (at..end).step_by(COPY_BYTES) {
            // Out of the mapping first: nothing may change a slice of it while that is there.
            let piece = self.map[at as usize..end.min(at + COPY_BYTES as u64) as usize].to_vec();
            fs.write_at(&self.file, &self.path, &piece, at)?;
        }
        Ok(())
    }

    /// Makes all bytes durable.
    pub(crate) fn flush(&self, fs: &Fs) -> io::Result<()> {
        fs.flush_map(&self.path, || self.map.flush())
    }
}
