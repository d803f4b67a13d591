//! Reading the log from front to back.

use std::sync::Arc;

use oxmq_protocol::message::record::{MAGIC_AT, MAGIC_START, is_blank};
use oxmq_protocol::message::{RecordError, RecordView};

use super::find_file;
use super::reader::{CannotRead, Reader, Unreadable};
use crate::mapped_file::MappedFile;

/// Which checksums of a record are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordCheck {
    /// None: the record was checked before.
    Lengths,
    /// That of the body.
    BodyCrc,
    /// That of the whole record, which has to be there.
    PropertyCrc,
}

impl RecordCheck {
    fn check(self, record: &RecordView<'_>) -> Result<(), RecordError> {
        match self {
            Self::Lengths => Ok(()),
            Self::BodyCrc => record.verify_body_crc(),
            Self::PropertyCrc => record.verify_property_crc(),
        }
    }
}

/// Where a scan ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScanStop {
    /// Position behind the last sound record, or of the blank that ends the last file.
    pub(crate) end: i64,
    /// Where the last sound record begins.
    pub(crate) last_record: Option<i64>,
    /// Store time of the last sound record.
    pub(crate) last_timestamp_ms: i64,
    /// What is wrong at `end`; nothing when the files end there, or cannot be read.
    pub(crate) why: Option<RecordError>,
    /// Parts that hold no sound record but have sound ones behind them.
    pub(crate) damaged: Vec<Damage>,
    /// What cannot be read at or behind `end`: there may be records, other than where an append was not finished.
    pub(crate) unreadable: Option<Unreadable>,
}

/// A part of the log that holds no sound record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// What of it cannot be read, so that nothing may be put in its place.
    pub(crate) unreadable: Option<Unreadable>,
}

/// Hands every sound record of `files` from position `from` on to `visit`.
///
/// A part that holds no sound record is stepped over when sound ones follow, in the file or at the start
/// of a later one: one bad sector must not cost all that came after it. The scan ends where none follow.
///
/// # Errors
///
/// Only those of `visit`.
pub(crate) fn scan<E>(
    files: &[Arc<MappedFile>],
    from: i64,
    check: RecordCheck,
    visit: impl FnMut(&RecordView<'_>, i64) -> Result<(), E>,
) -> Result<ScanStop, E> {
    scan_with(Reader::new(files), from, check, visit)
}

/// [`scan`] of records that have just been written, so that the disk is not asked for them.
///
/// # Errors
///
/// Only those of `visit`.
pub(crate) fn scan_new<E>(
    files: &[Arc<MappedFile>],
    from: i64,
    check: RecordCheck,
    visit: impl FnMut(&RecordView<'_>, i64) -> Result<(), E>,
) -> Result<ScanStop, E> {
    scan_with(Reader::of_new_records(files), from, check, visit)
}

fn scan_with<E>(
    mut log: Reader<'_>,
    from: i64,
    check: RecordCheck,
    mut visit: impl FnMut(&RecordView<'_>, i64) -> Result<(), E>,
) -> Result<ScanStop, E> {
    let log = &mut log;
    let mut stop = ScanStop {
        end: from,
        last_record: None,
        last_timestamp_ms: 0,
        why: None,
        damaged: Vec::new(),
        unreadable: None,
    };
    let mut position = from;
    // The smaller of the last two store times: no checksum covers them, and one that lies ahead must not make
    // all that follows look old.
    let mut not_before_ms = 0;
    loop {
        let why = match step(log, position, check) {
            Step::Record(record) => {
                let next = position + record.total_bytes() as i64;
                not_before_ms = stop.last_timestamp_ms.min(record.store_timestamp_ms());
                if check == RecordCheck::BodyCrc
                    && record.properties().last() == Some(&0)
                    && is_end(log, next, check, not_before_ms)
                {
                    stop.unreadable = log.take_unreadable();
                    stop.why = Some(RecordError::TornProperties);
                    return Ok(stop);
                }
                visit(&record, position)?;
                stop.last_record = Some(position);
                stop.last_timestamp_ms = record.store_timestamp_ms();
                position = next;
                stop.end = position;
                continue;
            }
            Step::NextFile(start) => {
                position = start;
                if find_file(log.files(), position).is_some() {
                    stop.end = position;
                }
                continue;
            }
            Step::Nothing | Step::Unreadable => None,
            Step::Bad(why) => Some(why),
        };
        match resume(log, position, check, not_before_ms) {
            Some(next) => {
                let unreadable = log.take_unreadable();
                stop.damaged.push(Damage { from: position, to: next, unreadable });
                position = next;
            }
            None => {
                stop.why = why;
                stop.unreadable = log.take_unreadable();
                return Ok(stop);
            }
        }
    }
}

/// What is at a position of the log.
enum Step<'a> {
    Record(RecordView<'a>),
    /// A blank; its own size is not trusted for the jump.
    NextFile(i64),
    Bad(RecordError),
    Unreadable,
    /// The written part ends, or the file is missing.
    Nothing,
}

fn step<'a>(log: &mut Reader<'a>, position: i64, check: RecordCheck) -> Step<'a> {
    let Some(file) = find_file(log.files(), position) else {
        return Step::Nothing;
    };
    let bytes = match log.record_bytes(position) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Step::Nothing,
        Err(CannotRead) => return Step::Unreadable,
    };
    if is_blank(bytes) {
        return Step::NextFile(file.end());
    }
    let record = RecordView::parse(bytes).and_then(|record| {
        check.check(&record)?;
        Ok(record)
    });
    record.map_or_else(Step::Bad, Step::Record)
}

/// Whether no sound record is at `position` or behind it. The properties of the last record, which no checksum
/// covers, end with a zero where a process was killed while it stored them.
fn is_end(log: &mut Reader<'_>, position: i64, check: RecordCheck, not_before_ms: i64) -> bool {
    matches!(step(log, position, check), Step::Nothing | Step::Bad(_))
        && resume(log, position, check, not_before_ms).is_none()
}

/// The next position behind `position` at which a record is sound beyond doubt: its checksums fit,
/// it says that it is where it is, and it is not older than what precedes it, as leftovers behind
/// an earlier end of the log would be.
fn resume(
    log: &mut Reader<'_>,
    position: i64,
    check: RecordCheck,
    not_before_ms: i64,
) -> Option<i64> {
    let files = log.files();
    let is_sound = |log: &mut Reader<'_>, at: i64| {
        log.record(at).is_some_and(|record| {
            record.phy_offset() == at
                && record.store_timestamp_ms() >= not_before_ms
                && record.verify_body_crc().is_ok()
                && check.check(&record).is_ok()
        })
    };
    if let Some(file) = find_file(files, position) {
        let mut at = (position - file.start()) as usize + 1;
        while let Some(found) = file
            .next_magic(at + MAGIC_AT, &MAGIC_START, |at, end| log.readable_to(file, at, end))
            .and_then(|magic| magic.checked_sub(MAGIC_AT))
        {
            let here = file.start() + found as i64;
            if is_sound(log, here) {
                return Some(here);
            }
            at = found + 1;
        }
    }
    let later = files.iter().map(|file| file.start()).filter(|start| *start > position);
    later.into_iter().find(|start| is_sound(log, *start))
}

/// The first record of `file`, if it is sound.
pub(crate) fn first_record(file: &Arc<MappedFile>, check: RecordCheck) -> Option<RecordView<'_>> {
    let files = std::slice::from_ref(file);
    let record = Reader::of_single_records(files).record(file.start())?;
    check.check(&record).ok()?;
    Some(record)
}
