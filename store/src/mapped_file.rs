//! Files seen as memory: the only `unsafe` of the workspace is here and in this file's folder.
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

#[cfg(test)]
pub(crate) mod bad;
mod cache;
mod look;
mod table;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::{SeekFrom, seek};

pub(crate) use self::table::MappedTable;
pub(crate) use self::writer::{MappedWriter, Unwritten, Way};
use crate::fs::Fs;
use crate::limits::{ALLOCATE_STEP_BYTES, PAGE_PIECE_BYTES};

/// Bytes that are searched for a magic at a time: a page, so that zeros are passed quickly.
const SEARCH_BYTES: usize = 4096;

/// Pages that the kernel is asked about by one call.
const PAGES_AT_ONCE: usize = 64;

/// A record's length and magic: with these cleared, a scan stops at a truncation point.
const CLEARED_BYTES: usize = 8;

/// One fixed-size file of a sequence, mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    map: MmapRaw,
    start: i64,
    wrote: AtomicUsize,
    /// Disk blocks are reserved from where somebody began up to here.
    reserved_to: AtomicU64,
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
        Ok(Self::new(path, file, map, start, false))
    }

    /// Maps up to `most` bytes of the file at `path` as it is, only to be read; its first byte is
    /// `start` of the sequence.
    pub(crate) fn open_read_only(path: &Path, start: i64, most: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len().min(most)).map_err(io::Error::other)?;
        let map = MmapOptions::new().len(length).map_raw_read_only(&file)?;
        // Whoever asked for a writer would store into pages that cannot be written.
        Ok(Self::new(path, file, map, start, true))
    }

    fn new(path: &Path, file: File, map: MmapRaw, start: i64, has_writer: bool) -> Self {
        let file = Self {
            path: path.to_owned(),
            file,
            wrote: AtomicUsize::new(map.len()),
            map,
            start,
            reserved_to: AtomicU64::new(0),
            has_writer: AtomicBool::new(has_writer),
            #[cfg(test)]
            cold_from: std::sync::OnceLock::new(),
        };
        #[cfg(test)]
        let file = file.with_bad_pages();
        file
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
    /// looked at: that would fill them, on some file systems. Of a part, from where to where,
    /// `readable_to` says up to where it may be touched; what may not is passed over.
    pub(crate) fn next_magic(
        &self,
        at: usize,
        magic: &[u8],
        mut readable_to: impl FnMut(usize, usize) -> usize,
    ) -> Option<usize> {
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
            if readable_to(at, page_end) < page_end {
                at = page_end;
                continue;
            }
            let page = self.written(at, page_end);
            let found = (page.iter().any(|byte| *byte != 0))
                .then(|| page.iter().position(|byte| *byte == first))
                .flatten();
            let Some(found) = found.map(|found| at + found) else {
                at = page_end;
                continue;
            };
            let found_end = found + magic.len();
            if readable_to(found, found_end) >= found_end
                && self.read(found, magic.len()) == Some(magic)
            {
                return Some(found);
            }
            at = found + 1;
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
        // What cannot be read is no head either, and storing into it would end the process.
        if self.read_in(at, clear).is_err() || self.written_is_zero(at, clear) {
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

    /// Reserves disk blocks for `count` bytes from `at` on, by writing zeros where the file system cannot otherwise:
    /// they have to be behind everything that is or may be appended meanwhile.
    pub(crate) fn allocate(&self, fs: &Fs, at: u64, count: u64) -> io::Result<()> {
        match fs.allocate(&self.file, &self.path, at, count)? {
            true => Ok(()),
            false => self.write_zeros(fs, at, count),
        }
    }

    /// Sees to it that disk blocks are reserved for the bytes `at..end`. For whoever goes through the file in order,
    /// and under the conditions of [`Self::allocate`].
    pub(crate) fn reserve(&self, fs: &Fs, at: u64, end: u64) -> io::Result<()> {
        let from = self.reserved_to().max(at);
        if from < end && !self.reserve_more(fs, at, end)? {
            self.write_zeros(fs, from, end - from)?;
            self.reserved_to.fetch_max(end, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same without writing anything, and for some more behind `end`. Returns false where the file system
    /// cannot do that.
    pub(crate) fn reserve_more(&self, fs: &Fs, at: u64, end: u64) -> io::Result<bool> {
        let from = self.reserved_to().max(at);
        let until = end.max(from + ALLOCATE_STEP_BYTES).min(self.map.len() as u64);
        let can = from >= until || fs.allocate(&self.file, &self.path, from, until - from)?;
        if can {
            self.reserved_to.fetch_max(until, Ordering::Relaxed);
        }
        Ok(can)
    }

    /// Where [`Self::reserve`] has got to.
    pub(crate) fn reserved_to(&self) -> u64 {
        self.reserved_to.load(Ordering::Relaxed)
    }

    /// Writes `count` zeros at `at`, which has to be behind everything that is or may be appended meanwhile.
    pub(crate) fn write_zeros(&self, fs: &Fs, at: u64, count: u64) -> io::Result<()> {
        static ZEROS: [u8; PAGE_PIECE_BYTES] = [0; PAGE_PIECE_BYTES];
        let end = at + count;
        let mut at = at;
        while at < end {
            let piece = &ZEROS[..(end - at).min(PAGE_PIECE_BYTES as u64) as usize];
            fs.write_at(&self.file, &self.path, piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
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

    /// Has the processor fetch the bytes `at..end`, as far as they are written and mapped, before they
    /// are read. Waits for nothing, least of all for the disk.
    pub(crate) fn prefetch(&self, at: usize, end: usize) {
        let end = end.min(self.wrote_position());
        // The mapping begins with a line.
        let first = at - at % cache::LINE_BYTES;
        for line in (first..end).step_by(cache::LINE_BYTES) {
            cache::fetch_line(self.written(line, end));
        }
    }

    /// Whether the bytes `at..end` can be read without waiting for the disk. Where the kernel does not tell, they
    /// are taken to be so. Looking has nothing read.
    pub(crate) fn is_cached(&self, at: usize, end: usize) -> bool {
        #[cfg(test)]
        if self.cold_from.get().is_some_and(|cold_from| end as u64 > *cold_from) {
            return false;
        }
        let page_bytes = rustix::param::page_size();
        let end = end.min(self.map.len());
        let mut pages = [0; PAGES_AT_ONCE];
        (at - at % page_bytes..end).step_by(PAGES_AT_ONCE * page_bytes).all(|first| {
            let bytes = (end - first).min(PAGES_AT_ONCE * page_bytes);
            let pages = &mut pages[..bytes.div_ceil(page_bytes)];
            // SAFETY: the pages are of the mapping (1), whose first is at the start of one, and there is a byte for each.
            let told = unsafe {
                let first = self.map.as_mut_ptr().add(first);
                libc::mincore(first.cast(), bytes, pages.as_mut_ptr())
            };
            told != 0 || pages.iter().all(|page| page & 1 != 0)
        })
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

#[cfg(test)]
mod tests;
