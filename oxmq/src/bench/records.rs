//! Walks the records in the body of a pull.

use byteorder::{BigEndian, ByteOrder};

use super::error::BenchError;

const QUEUE_OFFSET_AT: usize = 20;
const SMALLEST: usize = QUEUE_OFFSET_AT + 8;

/// One record, found by its length; the rest of it is not looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) queue_offset: i64,
}

/// The records of a pull's body.
pub(super) fn records(body: &[u8]) -> impl Iterator<Item = Result<RawRecord<'_>, BenchError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = first(rest);
        rest = match &record {
            Ok(record) => &rest[record.bytes.len()..],
            Err(_) => &[],
        };
        Some(record)
    })
}

fn first(bytes: &[u8]) -> Result<RawRecord<'_>, BenchError> {
    let total = bytes
        .first_chunk()
        .and_then(|length| usize::try_from(i32::from_be_bytes(*length)).ok())
        .filter(|total| *total >= SMALLEST);
    let record = total
        .and_then(|total| bytes.get(..total))
        .ok_or_else(|| BenchError::Unexpected("body of a pull is not made of records".into()))?;
    let queue_offset = BigEndian::read_i64(&record[QUEUE_OFFSET_AT..]);
    Ok(RawRecord { bytes: record, queue_offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(total: i32, offset: i64) -> Vec<u8> {
        let mut bytes = vec![0; total as usize];
        BigEndian::write_i32(&mut bytes, total);
        BigEndian::write_i64(&mut bytes[QUEUE_OFFSET_AT..], offset);
        bytes
    }

    #[test]
    fn records_are_walked_by_their_lengths() {
        let body = [record(30, 7), record(28, 8)].concat();
        let found: Vec<_> = records(&body).map(Result::unwrap).collect();
        let offsets: Vec<_> = found.iter().map(|record| record.queue_offset).collect();
        assert_eq!((offsets.as_slice(), found[0].bytes.len()), (&[7, 8][..], 30));
        assert!(records(&body[..57]).last().unwrap().is_err());
        assert!(records(&[0; 40]).next().unwrap().is_err());
    }
}
