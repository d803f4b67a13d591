//! Reading the log from front to back.

use std::sync::Arc;

use oxmq_protocol::message::record::{MAGIC_AT, MAGIC_START, is_blank};
use oxmq_protocol::message::{RecordError, RecordView};

use super::find_file;
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
    /// What is wrong at `end`; nothing when the files end there.
    pub(crate) why: Option<RecordError>,
    /// Parts, from position to position, that hold no sound record but have sound ones behind them.
    pub(crate) damaged: Vec<(i64, i64)>,
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
    mut visit: impl FnMut(&RecordView<'_>, i64) -> Result<(), E>,
) -> Result<ScanStop, E> {
    let mut stop = ScanStop {
        end: from,
        last_record: None,
        last_timestamp_ms: 0,
        why: None,
        damaged: Vec::new(),
    };
    let mut position = from;
    // The smaller of the last two store times: no checksum covers them, and one that lies ahead must not make
    // all that follows look old.
    let mut not_before_ms = 0;
    loop {
        let why = match step(files, position, check) {
            Step::Record(record) => {
                let next = position + record.total_bytes() as i64;
                not_before_ms = stop.last_timestamp_ms.min(record.store_timestamp_ms());
                if check == RecordCheck::BodyCrc
                    && record.properties().last() == Some(&0)
                    && is_end(files, next, check, not_before_ms)
                {
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
                if find_file(files, position).is_some() {
                    stop.end = position;
                }
                continue;
            }
            Step::Nothing => None,
            Step::Bad(why) => Some(why),
        };
        match resume(files, position, check, not_before_ms) {
            Some(next) => {
                stop.damaged.push((position, next));
                position = next;
            }
            None => {
                stop.why = why;
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
    /// The written part ends, or the file is missing.
    Nothing,
}

fn step(files: &[Arc<MappedFile>], position: i64, check: RecordCheck) -> Step<'_> {
    let Some(file) = find_file(files, position) else {
        return Step::Nothing;
    };
    let Some(bytes) = file.written_from((position - file.start()) as usize) else {
        return Step::Nothing;
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
fn is_end(
    files: &[Arc<MappedFile>],
    position: i64,
    check: RecordCheck,
    not_before_ms: i64,
) -> bool {
    matches!(step(files, position, check), Step::Nothing | Step::Bad(_))
        && resume(files, position, check, not_before_ms).is_none()
}

/// The next position behind `position` at which a record is sound beyond doubt: its checksums fit,
/// it says that it is where it is, and it is not older than what precedes it, as leftovers behind
/// an earlier end of the log would be.
fn resume(
    files: &[Arc<MappedFile>],
    position: i64,
    check: RecordCheck,
    not_before_ms: i64,
) -> Option<i64> {
    let is_sound = |bytes: &[u8], at: i64| {
        RecordView::parse(bytes).is_ok_and(|record| {
            record.phy_offset() == at
                && record.store_timestamp_ms() >= not_before_ms
                && record.verify_body_crc().is_ok()
                && check.check(&record).is_ok()
        })
    };
    let in_file = find_file(files, position).and_then(|file| {
        let mut at = (position - file.start()) as usize + 1;
        loop {
            at = file.next_magic(at + MAGIC_AT, &MAGIC_START)?.checked_sub(MAGIC_AT)?;
            let here = file.start() + at as i64;
            if is_sound(file.written_from(at)?, here) {
                return Some(here);
            }
            at += 1;
        }
    });
    in_file.or_else(|| {
        let later = files.iter().filter(|file| file.start() > position);
        later
            .filter(|file| file.written_from(0).is_some_and(|bytes| is_sound(bytes, file.start())))
            .map(|file| file.start())
            .next()
    })
}

/// The first record of `file`, if it is sound.
pub(crate) fn first_record(file: &MappedFile, check: RecordCheck) -> Option<RecordView<'_>> {
    let record = RecordView::parse(file.written_from(0)?).ok()?;
    check.check(&record).ok()?;
    Some(record)
}
