//! The end of a file that grows: what is appended, and when it may be read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use oxmq_protocol::message::record::SMALLEST_RECORD_BYTES;

use super::{MappedFile, cache};
use crate::error::IoContext;
use crate::fs::Fs;

/// Bytes that are stored before those behind them are: fewer than the shortest record has.
const PIECE_BYTES: usize = 64;
/// How far ahead of what is stored lines are fetched.
const FETCH_AHEAD_BYTES: usize = 1024;
const _: () = assert!(PIECE_BYTES < SMALLEST_RECORD_BYTES);

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

impl MappedFile {
    /// The right to append, once; nothing when it has been given away.
    pub(crate) fn writer(self: &Arc<Self>, way: Way) -> Option<MappedWriter> {
        let first = !self.has_writer.swap(true, Ordering::AcqRel);
        let position = self.wrote_position();
        let file = Arc::clone(self);
        let (unwritten, unwritten_at) = (Vec::new(), position);
        first.then(|| MappedWriter { file, way, position, unwritten, unwritten_at })
    }
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
                store_in_order(bytes, self.file.map.as_mut_ptr().add(self.position));
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

/// Copies `bytes` to `target` from the first to the last.
///
/// A process may be killed in the middle of it, and several records be copied at once. The system's own copy
/// stores the first bytes last: then what is left is a hole with whole records behind it, and no longer
/// something that a log may end with. A piece is shorter than any record, so that none is whole behind a hole.
///
/// # Safety
///
/// `target` has to be valid for as many bytes, which nobody else uses.
unsafe fn store_in_order(bytes: &[u8], target: *mut u8) {
    let (pieces, rest) = bytes.as_chunks::<PIECE_BYTES>();
    for (piece, at) in pieces.iter().zip((0..).step_by(PIECE_BYTES)) {
        // It was cleared by another thread a while ago, and is in no cache of this one.
        cache::fetch_line_to_write(target.wrapping_add(at + FETCH_AHEAD_BYTES));
        // SAFETY: a part of what the caller vouches for.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), target.add(at), PIECE_BYTES) };
        // The processor keeps the order for its own thread, which the end of that is part of.
        compiler_fence(Ordering::SeqCst);
    }
    // SAFETY: as above.
    unsafe {
        let target = target.add(bytes.len() - rest.len());
        std::ptr::copy_nonoverlapping(rest.as_ptr(), target, rest.len());
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
