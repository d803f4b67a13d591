//! Files seen as memory: the only `unsafe` of the workspace.
//!
//! A [`MappedFile`] is written by one [`MappedWriter`] at its end, in one of two [`Way`]s, and read
//! by anyone before the position up to which it is written:
//!
//! ```text
//! 0 ............ wrote_position ............ length
//! | never changes again | the writer's alone |
//! ```
//!
//! Invariants that the `SAFETY` comments name:
//!
//! 1. The mapping covers `0..length` of an open file whose length was set to `length` before it was
//!    mapped. The store's process lock keeps other brokers from shortening it, and we never do.
//! 2. There is at most one `MappedWriter` of a file, and its methods take `&mut self`: bytes at and
//!    behind `wrote_position` have one user. Either it stores into the mapping, or what it gives away
//!    as [`Unwritten`] is written by calls; never both.
//! 3. `wrote_position` only grows while the file is shared. It is stored (release) after the bytes
//!    before it, and loaded (acquire) before they are read: bytes before it never change.
//! 4. The mapping lives as long as the `MappedFile`; every slice borrows from it.
//!
//! A [`MappedTable`] is the other kind: a mapping with one owner, read and written through plain
//! references, so that Rust's own rules are enough.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::{SeekFrom, seek};
use rustix::io::ReadWriteFlags;

use crate::error::IoContext;
use crate::fs::Fs;

/// One fixed-size file of a sequence, mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    map: MmapRaw,
    start: i64,
    wrote: AtomicUsize,
    has_writer: AtomicBool,
    /// Where a test has it that the disk would be waited for.
    #[cfg(test)]
    pub(crate) cold_from: std::sync::OnceLock<u64>,
}

impl MappedFile {
    /// Maps the file at `path`, making it if need be; its first byte is `start` of the sequence.
    ///
    /// All its bytes count as written until [`Self::truncate`] says otherwise.
    pub(crate) fn open(fs: &Fs, path: &Path, start: i64, bytes: u64) -> io::Result<Self> {
        let file = fs.create_sized(path, bytes)?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let map = MmapOptions::new().len(length).map_raw(&file)?;
        // Reading around a page fault only pays when somebody reads in order; those say so.
        drop(map.advise(Advice::Random));
        Ok(Self {
            path: path.to_owned(),
            file,
            map,
            start,
            wrote: AtomicUsize::new(length),
            has_writer: AtomicBool::new(false),
            #[cfg(test)]
            cold_from: std::sync::OnceLock::new(),
        })
    }

    /// Maps the file at `path` as it is, only to be read; its first byte is `start` of the sequence.
    pub(crate) fn open_read_only(path: &Path, start: i64) -> io::Result<Self> {
        let file = File::open(path)?;
        let map = MmapOptions::new().map_raw_read_only(&file)?;
        let wrote = AtomicUsize::new(map.len());
        // Whoever asked for a writer would store into pages that cannot be written.
        let has_writer = AtomicBool::new(true);
        Ok(Self {
            path: path.to_owned(),
            file,
            map,
            start,
            wrote,
            has_writer,
            #[cfg(test)]
            cold_from: std::sync::OnceLock::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Position of the first byte in the sequence.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// Position behind the last byte in the sequence.
    pub(crate) fn end(&self) -> i64 {
        self.start + self.map.len() as i64
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Bytes that are written and readable.
    pub(crate) fn wrote_position(&self) -> usize {
        self.wrote.load(Ordering::Acquire)
    }

    /// The written bytes from `at` on; nothing when `at` is not before the write position.
    pub(crate) fn written_from(&self, at: usize) -> Option<&[u8]> {
        let end = self.wrote_position();
        (at < end).then(|| self.written(at, end))
    }

    /// `count` written bytes from `at` on, if there are that many.
    pub(crate) fn read(&self, at: usize, count: usize) -> Option<&[u8]> {
        let end = at.checked_add(count)?;
        (end <= self.wrote_position()).then(|| self.written(at, end))
    }

    /// Where `magic` next appears in the written bytes from `at` on. Holes of the file are not
    /// looked at: that would fill them, on some file systems.
    pub(crate) fn next_magic(&self, at: usize, magic: &[u8]) -> Option<usize> {
        let first = *magic.first()?;
        let end = self.wrote_position();
        let mut at = at;
        let mut data_end = at;
        while at < end {
            if at >= data_end {
                (at, data_end) = self.next_data(at)?;
                continue;
            }
            let page_end = (at + 1).next_multiple_of(SEARCH_BYTES).min(data_end).min(end);
            let page = self.written(at, page_end);
            let found = (page.iter().any(|byte| *byte != 0))
                .then(|| page.iter().position(|byte| *byte == first))
                .flatten();
            match found.map(|found| at + found) {
                Some(found) if self.read(found, magic.len()) == Some(magic) => return Some(found),
                Some(found) => at = found + 1,
                None => at = page_end,
            }
        }
        None
    }

    /// The next part of the file that is no hole, from `at` on; all of it where holes cannot be told.
    fn next_data(&self, at: usize) -> Option<(usize, usize)> {
        let begin = match seek(&self.file, SeekFrom::Data(at as u64)) {
            Ok(begin) => usize::try_from(begin).ok()?,
            Err(rustix::io::Errno::NXIO) => return None,
            Err(_) => return Some((at, self.map.len())),
        };
        let end = seek(&self.file, SeekFrom::Hole(begin as u64)).ok();
        let end = end.and_then(|end| usize::try_from(end).ok()).unwrap_or(self.map.len());
        Some((begin.max(at), end.max(begin + 1)))
    }

    /// Bytes `at..end`; `end` has been read from the write position.
    fn written(&self, at: usize, end: usize) -> &[u8] {
        debug_assert!(at <= end && end <= self.map.len());
        // SAFETY: in bounds by (1); nobody writes there any more by (3); alive by (4).
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), end - at) }
    }

    /// Forgets the bytes from `at` on, and clears as many as could look like the head of a record.
    pub(crate) fn truncate(&mut self, at: usize) {
        let at = at.min(self.map.len());
        *self.wrote.get_mut() = at;
        let clear = (self.map.len() - at).min(CLEARED_BYTES);
        if self.written_is_zero(at, clear) {
            return;
        }
        // SAFETY: in bounds by (1), and `&mut self` proves that nobody else uses the file.
        unsafe { std::ptr::write_bytes(self.map.as_mut_ptr().add(at), 0, clear) };
    }

    /// Whether `count` bytes at `at` are zero already: looking does not make a page dirty.
    fn written_is_zero(&mut self, at: usize, count: usize) -> bool {
        self.written(at, at + count).iter().all(|byte| *byte == 0)
    }

    /// Clears everything behind the write position, which nobody may take for records later.
    pub(crate) fn clear_rest(&mut self, fs: &Fs) -> io::Result<()> {
        let at = *self.wrote.get_mut() as u64;
        fs.punch_hole(&self.file, &self.path, at, self.map.len() as u64 - at)
    }

    /// The right to append, once; nothing when it has been given away.
    pub(crate) fn writer(self: &Arc<Self>, way: Way) -> Option<MappedWriter> {
        let first = !self.has_writer.swap(true, Ordering::AcqRel);
        let position = self.wrote_position();
        let file = Arc::clone(self);
        let (unwritten, unwritten_at) = (Vec::new(), position);
        first.then(|| MappedWriter { file, way, position, unwritten, unwritten_at })
    }

    /// Lets readers see everything before `position`.
    fn publish(&self, position: usize) {
        self.wrote.store(position, Ordering::Release);
    }

    /// Makes the bytes `from..to` durable.
    pub(crate) fn flush(&self, fs: &Fs, from: usize, to: usize) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        fs.flush_map(&self.path, || self.map.flush_range(from, to - from))
    }

    /// Reserves disk blocks for `count` bytes from `at` on.
    pub(crate) fn allocate(&self, fs: &Fs, at: u64, count: u64) -> io::Result<()> {
        fs.allocate(&self.file, &self.path, at, count)
    }

    /// Writes `zeros` at `at`, which has to be behind everything that is or may be appended meanwhile.
    pub(crate) fn write_zeros(&self, fs: &Fs, at: u64, zeros: &[u8]) -> io::Result<()> {
        fs.write_at(&self.file, &self.path, zeros, at)
    }

    /// Makes durable what has been written by calls, without being told of what [`Self::flush`] has to
    /// be told: an error of an earlier write is reported once for each time the file has been opened.
    pub(crate) fn sync_apart(&self, fs: &Fs) -> io::Result<()> {
        fs.sync(&fs.open(&self.path)?, &self.path)
    }

    /// Maps the pages of `count` bytes from `at` on, writable, without changing them.
    ///
    /// # Errors
    ///
    /// Where the kernel cannot (before Linux 5.14), or where there is no disk space.
    pub(crate) fn populate(&self, at: usize, count: usize) -> io::Result<()> {
        let count = count.min(self.map.len().saturating_sub(at));
        if count == 0 { Ok(()) } else { self.map.advise_range(Advice::PopulateWrite, at, count) }
    }

    /// Has the kernel read `count` bytes from `at` on before they are touched.
    pub(crate) fn will_need(&self, at: usize, count: usize) {
        let count = count.min(self.map.len().saturating_sub(at));
        if count > 0 {
            drop(self.map.advise_range(Advice::WillNeed, at, count));
        }
    }

    /// Has the processor fetch the bytes `at..end`, as far as they are written and mapped, before they
    /// are read. Waits for nothing, least of all for the disk.
    pub(crate) fn prefetch(&self, at: usize, end: usize) {
        let end = end.min(self.wrote_position());
        // The mapping begins with a line.
        let first = at - at % CACHE_LINE_BYTES;
        for line in (first..end).step_by(CACHE_LINE_BYTES) {
            prefetch_line(self.written(line, end));
        }
    }

    /// Whether the byte at `at` can be read without waiting for the disk. Where the kernel does not
    /// tell, it is taken to be so.
    pub(crate) fn is_cached(&self, at: u64) -> bool {
        #[cfg(test)]
        if self.cold_from.get().is_some_and(|cold_from| at >= *cold_from) {
            return false;
        }
        let mut byte = [0];
        let mut buffers = [io::IoSliceMut::new(&mut byte)];
        let read = rustix::io::preadv2(&self.file, &mut buffers, at, ReadWriteFlags::NOWAIT);
        read != Err(rustix::io::Errno::AGAIN)
    }

    /// Lets go of the pages of `count` bytes from `at` on: they stay in the page cache and come
    /// back when they are touched.
    pub(crate) fn release(&self, at: usize, count: usize) {
        let count = count.min(self.map.len().saturating_sub(at));
        if count > 0 {
            // SAFETY: the mapping is shared and has a file behind it (1), so dropping its pages
            // loses nothing and changes no byte that a slice shows.
            drop(unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, at, count) });
        }
    }
    /// When the file was last modified.
    pub(crate) fn modified(&self) -> io::Result<std::time::SystemTime> {
        self.file.metadata()?.modified()
    }
}

/// Has the processor fetch the cache line in which `bytes` begin.
#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_line(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which neither reads nor faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

/// There is no such hint in stable Rust.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_line(_: &[u8]) {}

/// Bytes that the processor fetches at a time.
const CACHE_LINE_BYTES: usize = 64;

/// Bytes that are searched for a magic at a time: a page, so that zeros are passed quickly.
const SEARCH_BYTES: usize = 4096;

/// A record's length and magic: with these cleared, a scan stops at a truncation point.
const CLEARED_BYTES: usize = 8;

/// How bytes get into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are stored into the mapping, which is the quickest way unless the file is flushed all
    /// the time: a flush protects the pages that it writes, for which every core that runs this
    /// process is interrupted, and the next store into such a page faults.
    Mapping,
    /// They are collected in memory, for one call that writes them all.
    Later,
}

/// The one writer of a [`MappedFile`].
#[derive(Debug)]
pub(crate) struct MappedWriter {
    file: Arc<MappedFile>,
    way: Way,
    position: usize,
    /// What has been appended from `unwritten_at` on and is not in the file.
    unwritten: Vec<u8>,
    unwritten_at: usize,
}

/// Bytes that have been appended to a file and are not in it.
#[derive(Debug)]
pub(crate) struct Unwritten {
    file: Arc<MappedFile>,
    /// Where they go.
    at: usize,
    bytes: Vec<u8>,
    /// How far the file counts as written once they are in it.
    until: usize,
}

impl MappedWriter {
    pub(crate) fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Bytes that still fit.
    pub(crate) fn remaining(&self) -> usize {
        self.file.map.len() - self.position
    }

    /// Appends `bytes` and, where they are in the file then, publishes them.
    ///
    /// # Errors
    ///
    /// When they do not fit.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.remaining() {
            return Err(io::Error::other("the file is full"));
        }
        match self.way {
            // SAFETY: in bounds by (1) and the check above; ours alone by (2).
            Way::Mapping => unsafe {
                let target = self.file.map.as_mut_ptr().add(self.position);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
            },
            Way::Later => self.unwritten.extend_from_slice(bytes),
        }
        self.advance(self.position + bytes.len());
        Ok(())
    }

    /// Appends `head` and counts the rest of the file as written.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub(crate) fn finish(&mut self, head: &[u8]) -> io::Result<()> {
        self.append(head)?;
        self.advance(self.file.map.len());
        Ok(())
    }

    /// Gives away what is not in the file, and goes on collecting in `empty`; nothing when all is.
    /// What is given away first has to be written first.
    pub(crate) fn take_unwritten(&mut self, empty: &mut Vec<u8>) -> Option<Unwritten> {
        if self.unwritten.is_empty() {
            return None;
        }
        debug_assert!(empty.is_empty());
        let bytes = std::mem::replace(&mut self.unwritten, std::mem::take(empty));
        let at = std::mem::replace(&mut self.unwritten_at, self.position);
        Some(Unwritten { file: Arc::clone(&self.file), at, bytes, until: self.position })
    }

    fn advance(&mut self, position: usize) {
        self.position = position;
        if self.way == Way::Mapping {
            self.file.publish(position);
        }
    }
}

impl Unwritten {
    /// Position in the sequence up to which the file is written once this is.
    pub(crate) fn end(&self) -> i64 {
        self.file.start + self.until as i64
    }

    /// Writes the bytes and publishes them.
    ///
    /// # Errors
    ///
    /// When they cannot be written. Nothing is published then, and they may be written again.
    pub(crate) fn write(&self, fs: &Fs) -> io::Result<()> {
        let MappedFile { file, path, .. } = &*self.file;
        fs.write_at(file, path, &self.bytes, self.at as u64).at(path)?;
        // What comes behind this has not been written: it is given away later, and written later.
        self.file.publish(self.until.max(self.file.wrote_position()));
        Ok(())
    }

    /// Room for the next bytes.
    pub(crate) fn into_buffer(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(bytes: u64) -> (tempfile::TempDir, Arc<MappedFile>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000000");
        let mut file = MappedFile::open(&Fs::default(), &path, 0, bytes).unwrap();
        file.truncate(0);
        (dir, Arc::new(file))
    }

    #[test]
    fn appended_bytes_are_readable_and_in_the_file() {
        let (_dir, file) = mapped(64);
        let mut writer = file.writer(Way::Mapping).unwrap();
        writer.append(b"hello").unwrap();
        assert_eq!(file.read(0, 5), Some(&b"hello"[..]));
        assert_eq!(file.read(0, 6), None);
        assert_eq!(file.written_from(4), Some(&b"o"[..]));
        assert_eq!(file.written_from(5), None);
        assert_eq!(&std::fs::read(file.path()).unwrap()[..6], b"hello\0");
    }

    #[test]
    fn bytes_that_are_written_later_are_readable_once_they_are() {
        let (_dir, file) = mapped(64);
        let mut writer = file.writer(Way::Later).unwrap();
        writer.append(b"he").unwrap();
        writer.append(b"l").unwrap();
        let mut spare = Vec::with_capacity(100);
        let first = writer.take_unwritten(&mut spare).unwrap();
        assert!(writer.take_unwritten(&mut Vec::new()).is_none());
        writer.finish(b"lo").unwrap();
        let second = writer.take_unwritten(&mut spare).unwrap();
        assert_eq!((first.end(), second.end(), writer.remaining()), (3, 64, 0));
        assert_eq!(file.read(0, 1), None);
        let full = Fs::with_fault(|_, _| Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(first.write(&full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.read(0, 1), None);
        first.write(&Fs::default()).unwrap();
        assert_eq!((file.read(0, 3), file.read(0, 4)), (Some(&b"hel"[..]), None));
        second.write(&Fs::default()).unwrap();
        assert_eq!(file.read(0, 64).unwrap()[..6], *b"hello\0");
        assert_eq!(first.into_buffer(), b"");
        assert!(second.into_buffer().capacity() >= 100);
    }

    #[test]
    fn file_has_one_writer_only() {
        let (_dir, file) = mapped(64);
        assert!(file.writer(Way::Mapping).is_some());
        assert!(file.writer(Way::Mapping).is_none());
    }

    #[test]
    fn append_beyond_the_end_does_nothing() {
        let (_dir, file) = mapped(8);
        let mut writer = file.writer(Way::Mapping).unwrap();
        assert!(writer.append(&[1; 9]).is_err());
        assert_eq!(file.wrote_position(), 0);
        writer.finish(&[1; 8]).unwrap();
        assert_eq!(writer.remaining(), 0);
    }

    #[test]
    fn truncation_clears_the_next_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [7; 20]).unwrap();
        let mut file = MappedFile::open(&Fs::default(), &path, 0, 20).unwrap();
        file.truncate(3);
        let mut expected = [7; 20];
        expected[3..11].fill(0);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        file.truncate(20);
        assert_eq!(file.wrote_position(), 20);
    }

    #[test]
    fn magic_is_found_behind_holes_and_across_pages() {
        let (_dir, file) = mapped(1 << 20);
        file.writer(Way::Mapping).unwrap().finish(b"MA").unwrap();
        let write = |at: u64, bytes: &[u8]| {
            use std::os::unix::fs::FileExt;
            file.file.write_all_at(bytes, at).unwrap();
        };
        assert_eq!(file.next_magic(0, b"MAG"), None);
        write(500_000, b"MAG");
        write(4_095, b"MAG");
        write(4_000, b"MMMAMAG");
        assert_eq!(file.next_magic(0, b"MAG"), Some(4_004));
        assert_eq!(file.next_magic(4_005, b"MAG"), Some(4_095));
        assert_eq!(file.next_magic(4_096, b"MAG"), Some(500_000));
        assert_eq!(file.next_magic(500_001, b"MAG"), None);
    }

    #[test]
    fn prefetch_stops_where_nothing_is_written() {
        let (_dir, file) = mapped(1 << 16);
        file.prefetch(0, usize::MAX);
        file.writer(Way::Mapping).unwrap().append(&[9; 100]).unwrap();
        for (at, end) in [(0, 100), (0, usize::MAX), (99, 100), (100, 200), (200, 100)] {
            file.prefetch(at, end);
        }
        assert_eq!(file.read(0, 100), Some(&[9; 100][..]));
    }

    #[test]
    fn released_pages_come_back() {
        let (_dir, file) = mapped(1 << 16);
        let mut writer = file.writer(Way::Mapping).unwrap();
        writer.append(&[9; 1 << 15]).unwrap();
        file.release(0, 1 << 16);
        assert_eq!(file.read(0, 1 << 15), Some(&[9; 1 << 15][..]));
    }
}
