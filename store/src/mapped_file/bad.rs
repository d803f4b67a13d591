//! Bad sectors for tests: pages of a mapping that end whoever touches them, as those of a file do that the disk does
//! not give back.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{MappedFile, MappedTable};
use crate::sync::lock;

/// The parts of files, as they are mapped from now on.
static SECTORS: Mutex<Vec<(PathBuf, Range<usize>)>> = Mutex::new(Vec::new());

/// Has the pages of `bytes` of the file at `path` be bad wherever it is mapped from now on.
pub(crate) fn break_pages(path: &Path, bytes: Range<usize>) {
    lock(&SECTORS).push((path.to_owned(), bytes));
}

/// Fails as a call does that reads any of them.
pub(crate) fn check(path: &Path, at: usize, count: usize) -> io::Result<()> {
    let sectors = lock(&SECTORS);
    let is_bad = sectors
        .iter()
        .any(|(broken, bytes)| broken == path && bytes.start < at + count && at < bytes.end);
    if is_bad { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
}

/// Has them go with a file, or a directory, that gets another name.
pub(crate) fn rename(from: &Path, to: &Path) {
    let mut sectors = lock(&SECTORS);
    sectors.retain(|(broken, _)| broken != to);
    for (broken, _) in sectors.iter_mut() {
        if let Ok(below) = broken.strip_prefix(from) {
            *broken = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
        }
    }
}

/// Has all of them be good again.
pub(crate) fn mend_pages(path: &Path) {
    lock(&SECTORS).retain(|(broken, _)| broken != path);
}

impl MappedFile {
    pub(super) fn with_bad_pages(self) -> Self {
        break_mapped(&self.path, self.map.as_mut_ptr(), self.map.len());
        self
    }
}

impl MappedTable {
    pub(super) fn with_bad_pages(mut self) -> Self {
        break_mapped(&self.path, self.map.as_mut_ptr(), self.map.len());
        self
    }
}

/// Puts pages of an empty file in the place of those of the mapping of `length` bytes that begins at `map`.
fn break_mapped(path: &Path, map: *mut u8, length: usize) {
    use std::os::fd::AsRawFd;

    let page_bytes = rustix::param::page_size();
    let sectors = lock(&SECTORS);
    for (_, bytes) in sectors.iter().filter(|(broken, _)| broken == path) {
        let at = bytes.start - bytes.start % page_bytes;
        let count = bytes.end.next_multiple_of(page_bytes).min(length) - at;
        let empty = tempfile::tempfile().expect("an empty file");
        // SAFETY: the pages are of the mapping, which nobody uses yet, and are unmapped with it.
        let mapped = unsafe {
            libc::mmap(
                map.add(at).cast(),
                count,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED,
                empty.as_raw_fd(),
                0,
            )
        };
        assert_ne!(mapped, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    }
}
