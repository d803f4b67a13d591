//! Reads extended units as they are in their files.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::{ExtendedUnit, HEAD_BYTES};
use crate::consume_queue::{file_name, list_files};
use crate::error::{IoContext, StoreError};
use crate::fs::read_exact_at;
use crate::limits::READ_EXTENDED_BYTES_AT_ONCE;

/// Reads the extended units of one queue, usually one after the other.
#[derive(Debug)]
pub(crate) struct ExtendedReader {
    dir: PathBuf,
    file_bytes: u64,
    /// The open file, and where it begins.
    file: Option<(u64, File)>,
    window_start: u64,
    window: Vec<u8>,
}

impl ExtendedReader {
    /// The files of `file_bytes` each in `dir`, which need not exist.
    pub(crate) fn new(dir: PathBuf, file_bytes: u64) -> Self {
        Self { dir, file_bytes: file_bytes.max(1), file: None, window_start: 0, window: Vec::new() }
    }

    /// The unit at `position`, if a whole one is there.
    pub(crate) fn unit(&mut self, position: u64) -> Result<Option<ExtendedUnit>, StoreError> {
        let Some(bytes) = ExtendedUnit::length(self.bytes(position, HEAD_BYTES)?) else {
            return Ok(None);
        };
        Ok(ExtendedUnit::decode(self.bytes(position, bytes)?))
    }

    /// Position behind the last unit of the last file: each file begins with a unit.
    pub(crate) fn end(&mut self) -> Result<u64, StoreError> {
        let Some(mut at) = list_files(&self.dir)?.last().copied() else {
            return Ok(0);
        };
        while let Some(unit) = self.unit(at)? {
            at += unit.encoded_bytes() as u64;
        }
        Ok(at)
    }

    /// Up to `count` bytes from `position` on, all of one file.
    fn bytes(&mut self, position: u64, count: usize) -> Result<&[u8], StoreError> {
        let known = self.window_start + self.window.len() as u64;
        if position < self.window_start || position.saturating_add(count as u64) > known {
            self.fill(position, count)?;
        }
        let at = (position - self.window_start) as usize;
        let to = self.window.len().min(at + count);
        Ok(self.window.get(at..to).unwrap_or_default())
    }

    fn fill(&mut self, position: u64, count: usize) -> Result<(), StoreError> {
        self.window.clear();
        self.window_start = position;
        let in_file = position % self.file_bytes;
        let start = position - in_file;
        if self.file.as_ref().is_none_or(|(open, _)| *open != start) {
            let path = self.dir.join(file_name(start));
            self.file = match File::open(&path) {
                Ok(file) => Some((start, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error).doing("open", &path),
            };
        }
        let Some((_, file)) = &self.file else {
            return Ok(());
        };
        let path = self.dir.join(file_name(start));
        // The file may be shorter than it should be.
        let length = file.metadata().doing("look at", &path)?.len().min(self.file_bytes);
        let rest = usize::try_from(length.saturating_sub(in_file)).unwrap_or(usize::MAX);
        self.window.resize(rest.min(count.max(READ_EXTENDED_BYTES_AT_ONCE)), 0);
        read_exact_at(file, &path, &mut self.window, in_file).inspect_err(|_| self.window.clear())
    }
}
