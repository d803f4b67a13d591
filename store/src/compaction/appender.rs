//! Appending records to the files of a queue.

use std::io;

use oxmq_protocol::message::record::{BLANK_HEAD_BYTES, blank_head, patch};
use oxmq_protocol::message::{RecordView, sys_flag, tags_code_of_properties};
use tracing::error;

use super::place::{Place, Sizes};
use super::segment::{Segment, UNIT_BYTES, end_unit};
use crate::consume_queue::{BatchUnit, Unit};
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::limits::COMPACTION_ALLOCATE_STEP_BYTES;
use crate::mapped_file::{MappedFile, MappedWriter, Way};
use crate::message_store::batch_unit;

/// The end of the files of a queue.
#[derive(Debug)]
pub(super) struct Appender {
    fs: Fs,
    place: Place,
    sizes: Sizes,
    end: Option<End>,
    /// Files that have been begun, and that nobody has asked for.
    begun: Option<Segment>,
    scratch: Vec<u8>,
    /// Why what was written may not be on disk, however often it is flushed again.
    failure: Option<String>,
}

/// The files that are written.
#[derive(Debug)]
struct End {
    log: Reserved,
    queue: Reserved,
}

impl Appender {
    /// Goes on behind `last`; with none, at position 0.
    pub(super) fn new(fs: &Fs, place: Place, sizes: Sizes, last: Option<&Segment>) -> Self {
        let end = last.and_then(|last| {
            let log = last.log.writer(Way::Mapping)?;
            Some(End { log: log.into(), queue: last.queue.writer(Way::Mapping)?.into() })
        });
        Self { fs: fs.clone(), place, sizes, end, begun: None, scratch: Vec::new(), failure: None }
    }

    /// Whether what has been written can still be trusted.
    ///
    /// # Errors
    ///
    /// When a flush has failed: the system tells of an error once, and what was to be written may be gone.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.failure {
            Some(failure) => {
                let failure = io::Error::other(format!("failed before: {failure}"));
                Err(failure).doing("flush", &self.place.log)
            }
            None => Ok(()),
        }
    }

    /// Appends a copy of `record`. Whether or not that fails, files may have been begun for it.
    pub(super) fn append(&mut self, record: &RecordView<'_>) -> Result<(), StoreError> {
        let bytes = record.total_bytes();
        if (bytes + BLANK_HEAD_BYTES) as u64 > self.sizes.log {
            error!(
                topic = record.topic(),
                queue_id = record.queue_id(),
                queue_offset = record.queue_offset(),
                "message is larger than compactionMappedFileSize and is not kept"
            );
            return Ok(());
        }
        if self.end.as_ref().is_none_or(|end| !end.fits(bytes)) {
            self.roll()?;
        }
        let Some(end) = &mut self.end else {
            return Ok(());
        };
        let phy_offset = end.log.writer.file().start() + end.log.writer.position() as i64;
        self.scratch.clear();
        self.scratch.extend_from_slice(record.bytes());
        patch(&mut self.scratch, record.queue_offset(), phy_offset, record.store_timestamp_ms());
        let unit = unit_of(record, phy_offset);
        // Nobody looks for a record without its unit.
        end.log.append(&self.fs, &self.scratch)?;
        end.queue.append(&self.fs, &unit.encode())
    }

    /// Gives away the files that were begun since the last call, which others have to see from now on.
    pub(super) fn take_begun(&mut self) -> Option<Segment> {
        self.begun.take()
    }

    /// Ends the files and begins the next ones.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.finish()?;
        let next = self.end.as_ref().map_or(0, |end| end.log.writer.file().end());
        self.place.create(&self.fs)?;
        let [log, queue] = self.place.paths(next as u64);
        let open = |path: &std::path::Path, bytes| {
            let mut file = MappedFile::open(&self.fs, path, next, bytes).doing("create", path)?;
            file.truncate(0);
            Ok::<_, StoreError>(file)
        };
        let segment = Segment::new(open(&log, self.sizes.log)?, open(&queue, self.sizes.queue)?);
        self.place.sync(&self.fs)?;
        self.end = Self::new(&self.fs, self.place.clone(), self.sizes, Some(&segment)).end;
        self.begun = Some(segment);
        Ok(())
    }

    /// Ends the files, if there are any, and makes them durable.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        self.check()?;
        let Some(end) = &mut self.end else {
            return Ok(());
        };
        if end.queue.writer.remaining() >= UNIT_BYTES {
            end.queue.append(&self.fs, &end_unit())?;
        }
        let remaining = end.log.writer.remaining();
        if remaining >= BLANK_HEAD_BYTES {
            end.log.reserve(&self.fs, BLANK_HEAD_BYTES)?;
            let head = blank_head(remaining as u32);
            let path = end.log.writer.file().path().to_owned();
            end.log.writer.finish(&head).doing("end", &path)?;
        }
        self.flush()
    }

    /// Makes durable what has been appended.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.check()?;
        let Some(end) = &mut self.end else {
            return Ok(());
        };
        let flushed = end.log.flush(&self.fs).and_then(|()| end.queue.flush(&self.fs));
        flushed.inspect_err(|error| self.failure = Some(error.to_string()))
    }
}

impl End {
    /// Whether a record fits, and the blank and the unit that end the files behind it.
    fn fits(&self, bytes: usize) -> bool {
        self.queue.writer.remaining() > UNIT_BYTES
            && self.log.writer.remaining() >= bytes + BLANK_HEAD_BYTES
    }
}

/// The unit of a record at `phy_offset`.
///
/// It says how many messages the record has, so that who asks for a later one of them gets it. The reference
/// always writes one, and passes by the record then.
pub(super) fn unit_of(record: &RecordView<'_>, phy_offset: i64) -> BatchUnit {
    let tags_code = tags_code_of_properties(record.properties());
    let unit = Unit { phy_offset, size: record.total_bytes() as i32, tags_code };
    let base_offset = record.queue_offset();
    let of_many = batch_unit(record, unit);
    let is_of_many = record.sys_flag() & sys_flag::INNER_BATCH != 0;
    let count = if is_of_many && of_many.base_offset == base_offset { of_many.count } else { 1 };
    BatchUnit { base_offset, count, ..of_many }
}

/// A file that is written where disk blocks have been reserved: storing into a mapping of a full disk would
/// end the process.
#[derive(Debug)]
struct Reserved {
    writer: MappedWriter,
    reserved: usize,
    flushed: usize,
}

impl From<MappedWriter> for Reserved {
    fn from(writer: MappedWriter) -> Self {
        let position = writer.position();
        Self { writer, reserved: position, flushed: 0 }
    }
}

impl Reserved {
    fn append(&mut self, fs: &Fs, bytes: &[u8]) -> Result<(), StoreError> {
        self.reserve(fs, bytes.len())?;
        let appended = self.writer.append(bytes);
        self.done("write", appended)
    }

    fn reserve(&mut self, fs: &Fs, bytes: usize) -> Result<(), StoreError> {
        let until = self.writer.position() + bytes;
        if until <= self.reserved {
            return Ok(());
        }
        let file = self.writer.file();
        let step = until.next_multiple_of(COMPACTION_ALLOCATE_STEP_BYTES).min(file.len());
        let (at, count) = (self.reserved as u64, (step - self.reserved) as u64);
        let allocated = file.allocate(fs, at, count);
        self.done("allocate", allocated)?;
        self.reserved = step;
        Ok(())
    }

    fn flush(&mut self, fs: &Fs) -> Result<(), StoreError> {
        let position = self.writer.position();
        let flushed = self.writer.file().flush(fs, self.flushed, position);
        self.done("flush", flushed)?;
        self.flushed = position;
        Ok(())
    }

    fn done(&self, doing: &'static str, outcome: io::Result<()>) -> Result<(), StoreError> {
        outcome.doing(doing, self.writer.file().path())
    }
}
