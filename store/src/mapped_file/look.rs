//! Looking at old pages before they are touched: one that the disk does not give back ends the process that does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::Advice;

use super::{MappedFile, MappedTable};

/// Bytes in which a bad sector is looked for: the smallest page.
const PAGE_BYTES: usize = 4096;

/// Bytes that the kernel is asked to read by one call: its usual limit for one of the disk's.
const WILL_NEED_BYTES: usize = 128 << 10;

impl MappedFile {
    /// Waits for the `count` bytes from `at` on to be read from disk, as far as the file has them.
    ///
    /// # Errors
    ///
    /// When the disk does not give them back: touching them would end the process.
    pub(crate) fn read_in(&self, at: usize, count: usize) -> io::Result<()> {
        let count = count.min(self.map.len().saturating_sub(at));
        let populated = self.populate_read(at, count);
        populated.map_err(|error| cause(&self.file, at, count, error))
    }

    /// Has the kernel read `count` bytes from `at` on before they are touched.
    pub(crate) fn will_need(&self, at: usize, count: usize) {
        let end = at.saturating_add(count).min(self.map.len());
        will_need(at, end, |at, count| self.map.advise_range(Advice::WillNeed, at, count));
    }

    fn populate_read(&self, at: usize, count: usize) -> io::Result<()> {
        if count == 0 {
            Ok(())
        } else {
            told(self.map.advise_range(Advice::PopulateRead, at, count))
        }
    }

    /// Up to where the bytes `at..end` can be touched: to the start of a page that cannot, or to `end`.
    pub(crate) fn readable_to(&self, at: usize, end: usize) -> usize {
        let end = end.min(self.map.len());
        let end_of_page = |at: usize| (at + 1).next_multiple_of(PAGE_BYTES).min(end);
        if end_of_page(at) < end && self.populate_read(at, end - at).is_ok() {
            return end;
        }
        let mut at = at;
        while at < end {
            if self.populate_read(at, end_of_page(at) - at).is_err() {
                return at;
            }
            at = end_of_page(at);
        }
        end
    }
}

impl MappedTable {
    /// As [`MappedFile::read_in`].
    pub(crate) fn read_in(&self, at: usize, count: usize) -> io::Result<()> {
        let count = count.min(self.map.len().saturating_sub(at));
        if count == 0 {
            return Ok(());
        }
        if count > PAGE_BYTES {
            will_need(at, at + count, |at, count| {
                self.map.advise_range(Advice::WillNeed, at, count)
            });
        }
        let populated = told(self.map.advise_range(Advice::PopulateRead, at, count));
        populated.map_err(|error| cause(&self.file, at, count, error))
    }
}

/// Of a larger piece the kernel reads no more than the disk takes at once.
fn will_need(at: usize, end: usize, advise: impl Fn(usize, usize) -> io::Result<()>) {
    for at in (at..end).step_by(WILL_NEED_BYTES) {
        drop(advise(at, (end - at).min(WILL_NEED_BYTES)));
    }
}

/// What a kernel has told that may not be able to: before Linux 5.14 there is no way to know.
fn told(populated: io::Result<()>) -> io::Result<()> {
    match populated {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Why pages are bad, which only a call tells.
fn cause(file: &File, at: usize, count: usize, error: io::Error) -> io::Error {
    file.read_exact_at(&mut vec![0; count], at as u64).err().unwrap_or(error)
}
