//! The log's old bytes, of which the disk may not give back all.

use std::path::Path;
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};
use oxmq_protocol::message::RecordView;
use oxmq_protocol::message::record::{BLANK_HEAD_BYTES, MAGIC_AT, MAGIC_START};
use tracing::error;

use super::find_file;
use crate::mapped_file::MappedFile;

/// Bytes that are looked at at a time by who reads on, and by who does not.
const LOOK_BYTES: usize = 1 << 20;
const SMALL_LOOK_BYTES: usize = 4096;

/// Where the log cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The first such position.
    pub(crate) position: i64,
    /// What the system says.
    pub(crate) cause: String,
}

impl Unreadable {
    /// The file, and the byte in it.
    pub(crate) fn place<'a>(&self, files: &'a [Arc<MappedFile>]) -> Option<(&'a Path, u64)> {
        let file = find_file(files, self.position)?;
        Some((file.path(), (self.position - file.start()) as u64))
    }

    /// Tells the log of it.
    pub(crate) fn report(&self, files: &[Arc<MappedFile>], what: &str) {
        let Self { position: phy_offset, cause } = self;
        let (path, at) = self.place(files).unwrap_or((Path::new(""), 0));
        error!(path = %path.display(), at, phy_offset, error = %cause, "{what}");
    }
}

/// Reads the log, and looks at each part before it touches it: a page that the disk does not give back would end the
/// process.
pub(crate) struct Reader<'a> {
    files: &'a [Arc<MappedFile>],
    /// How much is looked at at a time; nothing where all is known to be in memory.
    step: Option<usize>,
    /// From where to where, in one file, all can be touched.
    looked: (i64, i64),
    /// Whether the last page could not be touched: those behind it are tried one by one, as a disk may take long to
    /// give up.
    is_bad_here: bool,
    unreadable: Option<Unreadable>,
}

impl<'a> Reader<'a> {
    /// For who reads on from where he begins.
    pub(crate) fn new(files: &'a [Arc<MappedFile>]) -> Self {
        Self { files, step: Some(LOOK_BYTES), looked: (0, 0), is_bad_here: false, unreadable: None }
    }

    /// For who reads one record here and one there.
    pub(crate) fn of_single_records(files: &'a [Arc<MappedFile>]) -> Self {
        Self { step: Some(SMALL_LOOK_BYTES), ..Self::new(files) }
    }

    /// For who reads what has just been written.
    pub(super) fn of_new_records(files: &'a [Arc<MappedFile>]) -> Self {
        Self { step: None, ..Self::new(files) }
    }

    pub(super) fn files(&self) -> &'a [Arc<MappedFile>] {
        self.files
    }

    /// The first part since the last call that could not be read.
    pub(crate) fn take_unreadable(&mut self) -> Option<Unreadable> {
        self.unreadable.take()
    }

    /// The bytes from `position` on, with a whole record if there is one; nothing where nothing is written.
    pub(crate) fn record_bytes(&mut self, position: i64) -> Result<Option<&'a [u8]>, CannotRead> {
        let Some(head) = self.bytes(position, BLANK_HEAD_BYTES)? else { return Ok(None) };
        let is_record = head.get(MAGIC_AT..).is_some_and(|magic| magic.starts_with(&MAGIC_START));
        if !is_record || self.step.is_none() {
            return Ok(Some(head));
        }
        let total = usize::try_from(BigEndian::read_i32(head)).unwrap_or(0);
        self.bytes(position, total)
    }

    /// The record at `position`; nothing where there is none, or it cannot be read.
    pub(crate) fn record(&mut self, position: i64) -> Option<RecordView<'a>> {
        RecordView::parse(self.record_bytes(position).ok()??).ok()
    }

    /// The bytes from `position` on, at least `count` of them as far as they are written.
    fn bytes(&mut self, position: i64, count: usize) -> Result<Option<&'a [u8]>, CannotRead> {
        let Some(file) = find_file(self.files, position) else { return Ok(None) };
        let at = (position - file.start()) as usize;
        let Some(bytes) = file.written_from(at) else { return Ok(None) };
        if self.step.is_none() {
            return Ok(Some(bytes));
        }
        let readable = self.readable_to(file, at, at + count.min(bytes.len())) - at;
        if readable < count.min(bytes.len()) {
            Err(CannotRead)
        } else {
            // More may have been written since.
            Ok(Some(&bytes[..readable.min(bytes.len())]))
        }
    }

    /// Up to where the written bytes of `file` from `at` on can be touched, at least up to `end` if they can.
    pub(super) fn readable_to(&mut self, file: &MappedFile, at: usize, end: usize) -> usize {
        let Some(step) = self.step else { return end };
        let (from, to) = self.looked;
        let in_file = |position: i64| (position - file.start()) as usize;
        let (position, end_position) = (file.start() + at as i64, file.start() + end as i64);
        if (from..=to).contains(&position) && end_position <= to {
            return in_file(to);
        }
        let mut until = end;
        if !self.is_bad_here {
            until = end.max(at + step).min(file.wrote_position().max(end));
            if until - at > SMALL_LOOK_BYTES {
                file.will_need(at, until - at);
            }
        }
        let readable = file.readable_to(at, until);
        self.is_bad_here = readable == at && at < end;
        self.looked = (position, file.start() + readable as i64);
        if readable < end {
            self.note(file, readable);
        }
        readable
    }

    fn note(&mut self, file: &MappedFile, at: usize) {
        self.unreadable.get_or_insert_with(|| Unreadable {
            position: file.start() + at as i64,
            cause: file.read_in(at, 1).err().map_or_else(String::new, |error| error.to_string()),
        });
    }
}

/// The disk does not give back what is asked for: [`Reader::take_unreadable`] says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CannotRead;
