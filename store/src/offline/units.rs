//! Units of one queue, read from its files as they are.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::consume_queue::{BatchUnit, QueueKind, Unit, file_name, list_files};
use crate::error::{IoContext, StoreError};
use crate::fs::read_exact_at;

/// Units read at a time: queues are many, and usually read a unit after the other.
const WINDOW_UNITS: i64 = 64;

/// Reads units of a queue, whatever state its files are in.
#[derive(Debug)]
pub(super) struct QueueReader {
    dir: PathBuf,
    kind: QueueKind,
    file_bytes: u64,
    starts: Vec<u64>,
    window_start: i64,
    window: Vec<u8>,
}

impl QueueReader {
    /// The queue whose files of `file_bytes` each are in `dir`.
    pub(super) fn open(dir: PathBuf, kind: QueueKind, file_bytes: u64) -> Result<Self, StoreError> {
        let starts = list_files(&dir)?;
        Ok(Self { dir, kind, file_bytes, starts, window_start: 0, window: Vec::new() })
    }

    /// A queue without files.
    pub(super) fn missing(dir: PathBuf, kind: QueueKind) -> Self {
        let (starts, window) = (Vec::new(), Vec::new());
        Self { dir, kind, file_bytes: 1, starts, window_start: 0, window }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn has_files(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Index of the first unit that there is room for.
    pub(super) fn first(&self) -> i64 {
        let unit_bytes = self.kind.unit_bytes() as u64;
        self.starts.first().map_or(0, |start| (*start / unit_bytes) as i64)
    }

    /// The unit at index `offset`; nothing where no valid one is.
    pub(super) fn unit(&mut self, offset: i64) -> Result<Option<Unit>, StoreError> {
        let kind = self.kind;
        let bytes = self.bytes(offset)?;
        Ok(kind.decode_all(bytes).next().filter(Unit::is_valid))
    }

    /// The unit at `index` of a batch queue; nothing where no valid one is.
    pub(super) fn batch_unit(&mut self, index: i64) -> Result<Option<BatchUnit>, StoreError> {
        Ok(BatchUnit::decode(self.bytes(index)?))
    }

    fn bytes(&mut self, offset: i64) -> Result<&[u8], StoreError> {
        let unit_bytes = self.kind.unit_bytes();
        let count = (self.window.len() / unit_bytes) as i64;
        if !(self.window_start..self.window_start + count).contains(&offset) {
            self.fill(offset)?;
        }
        let at = (offset - self.window_start) as usize * unit_bytes;
        Ok(self.window.get(at..at + unit_bytes).unwrap_or_default())
    }

    /// The offset itself, when there is no unit at `offset` although a later file exists.
    pub(super) fn hole_at(&self, offset: i64) -> Option<i64> {
        let at = u64::try_from(offset).ok()?.checked_mul(self.kind.unit_bytes() as u64)?;
        self.starts.last().is_some_and(|last| *last > at).then_some(offset)
    }

    /// The file and the byte in it where the unit of `offset` is, or would be.
    pub(super) fn place(&self, offset: i64) -> (PathBuf, u64) {
        let at = offset.max(0) as u64 * self.kind.unit_bytes() as u64;
        match self.start_of(at) {
            Some(start) => (self.dir.join(file_name(start)), at - start),
            None => (self.dir.clone(), at),
        }
    }

    fn start_of(&self, at: u64) -> Option<u64> {
        let behind = self.starts.partition_point(|start| *start <= at);
        self.starts[..behind].last().copied().filter(|start| at - start < self.file_bytes)
    }

    fn fill(&mut self, offset: i64) -> Result<(), StoreError> {
        self.window.clear();
        self.window_start = offset;
        let unit_bytes = self.kind.unit_bytes();
        let at =
            u64::try_from(offset).ok().and_then(|offset| offset.checked_mul(unit_bytes as u64));
        let Some((at, start)) = at.and_then(|at| Some((at, self.start_of(at)?))) else {
            return Ok(());
        };
        let path = self.dir.join(file_name(start));
        let room = (self.file_bytes - (at - start)) as usize / unit_bytes;
        let file = File::open(&path).doing("open", &path)?;
        // The file may be shorter than it should be.
        let length = file.metadata().doing("look at", &path)?.len();
        let there = length.saturating_sub(at - start) as usize / unit_bytes;
        let count = room.min(there).min(WINDOW_UNITS as usize);
        let mut bytes = vec![0; count * unit_bytes];
        read_exact_at(&file, &path, &mut bytes, at - start)?;
        self.window = bytes;
        Ok(())
    }
}
