//! Reading the log from front to back.

use std::sync::Arc;

use oxmq_protocol::message::record::is_blank;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanStop {
    /// Position behind the last sound record, or of the blank that ends the last file.
    pub(crate) end: i64,
    /// Where the last sound record begins.
    pub(crate) last_record: Option<i64>,
    /// Store time of the last sound record.
    pub(crate) last_timestamp_ms: i64,
    /// What is wrong at `end`; nothing when the files end there.
    pub(crate) why: Option<RecordError>,
}

/// Hands every sound record of `files` from position `from` on to `visit`, up to the first bad one.
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
    let mut stop = ScanStop { end: from, last_record: None, last_timestamp_ms: 0, why: None };
    let mut position = from;
    while let Some(file) = find_file(files, position) {
        let at = (position - file.start()) as usize;
        let Some(bytes) = file.written_from(at) else {
            break;
        };
        if is_blank(bytes) {
            // The blank's own size is not trusted for the jump.
            position = file.end();
            if find_file(files, position).is_some() {
                stop.end = position;
            }
            continue;
        }
        let record = match RecordView::parse(bytes).and_then(|record| {
            check.check(&record)?;
            Ok(record)
        }) {
            Ok(record) => record,
            Err(why) => {
                stop.why = Some(why);
                break;
            }
        };
        visit(&record, position)?;
        stop.last_record = Some(position);
        stop.last_timestamp_ms = record.store_timestamp_ms();
        position += record.total_bytes() as i64;
        stop.end = position;
    }
    Ok(stop)
}

/// The first record of `file`, if it is sound.
pub(crate) fn first_record(file: &MappedFile, check: RecordCheck) -> Option<RecordView<'_>> {
    let record = RecordView::parse(file.written_from(0)?).ok()?;
    check.check(&record).ok()?;
    Some(record)
}
