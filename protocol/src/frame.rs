//! One frame on the wire.
//!
//! ```text
//! 0       4               5               8        8+n
//! +-------+---------------+---------------+--------+------+
//! | i32   | u8            | u24           | n      | m    |
//! | length| header form   | header length | header | body |
//! +-------+---------------+---------------+--------+------+
//! length = 4 + n + m
//! ```
//!
//! Reference: `RemotingCommand`, `NettyDecoder`, `NettyEncoder` (remoting), 5.5.0.

use crate::limits::MAX_FRAME_BYTES;

/// Bytes in front of the header: length, header form and header length.
pub const PREFIX_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
const MAX_HEADER_BYTES: usize = 0x00FF_FFFF;

/// How the header of a frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HeaderForm {
    /// A JSON object.
    #[default]
    Json,
    /// The binary form named ROCKETMQ.
    RocketMq,
}

impl HeaderForm {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::RocketMq => 1,
        }
    }
}

/// A frame whose bytes still lie in the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Form of `header`.
    pub form: HeaderForm,
    /// Header bytes, not yet decoded.
    pub header: &'a [u8],
    /// Body bytes; empty when the frame has none.
    pub body: &'a [u8],
}

/// A frame that cannot be read; the connection has to be closed, as its end is unknown.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length is negative, smaller than the prefix or over the limit.
    #[error("frame length {length} is outside 4..={limit}")]
    Length {
        /// Length as sent.
        length: i32,
        /// Largest length accepted.
        limit: usize,
    },
    /// The header would end behind the frame.
    #[error("header of {header} bytes does not fit in a frame of {frame} bytes")]
    HeaderLength {
        /// Header length as sent.
        header: usize,
        /// Frame length as sent.
        frame: usize,
    },
    /// Neither JSON nor ROCKETMQ.
    #[error("unknown header form {0}")]
    Form(u8),
}

/// Splits the first frame off `buffer`: the frame and the bytes it takes, or `None` while it is
/// incomplete.
///
/// # Errors
/// When the prefix contradicts itself or the limits; nothing behind it can be trusted then.
pub fn split(buffer: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(total) = total_bytes(buffer)? else { return Ok(None) };
    let Some(word) = buffer.get(LENGTH_BYTES..PREFIX_BYTES) else { return Ok(None) };
    let header_bytes =
        usize::from(word[1]) << 16 | usize::from(word[2]) << 8 | usize::from(word[3]);
    let frame_bytes = total - LENGTH_BYTES;
    if header_bytes > frame_bytes - LENGTH_BYTES {
        return Err(FrameError::HeaderLength { header: header_bytes, frame: frame_bytes });
    }
    let form = match word[0] {
        0 => HeaderForm::Json,
        1 => HeaderForm::RocketMq,
        other => return Err(FrameError::Form(other)),
    };
    let Some(frame) = buffer.get(PREFIX_BYTES..total) else { return Ok(None) };
    let (header, body) = frame.split_at(header_bytes);
    Ok(Some((Frame { form, header, body }, total)))
}

/// Bytes of the first frame in `buffer`, prefix included, as soon as its length can be read.
///
/// # Errors
/// When the length is outside the limits.
pub fn total_bytes(buffer: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let limit = MAX_FRAME_BYTES - LENGTH_BYTES;
    match usize::try_from(length) {
        Ok(bytes) if (LENGTH_BYTES..=limit).contains(&bytes) => Ok(Some(bytes + LENGTH_BYTES)),
        _ => Err(FrameError::Length { length, limit }),
    }
}

/// Starts a frame at the end of `out`; [`end_header`] and [`end`] fill in what is not known yet.
pub(crate) fn begin(out: &mut Vec<u8>, form: HeaderForm) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, form.to_byte(), 0, 0, 0]);
    start
}

/// Fills in the header length of the frame that starts at `start` and whose header ends `out`.
pub(crate) fn end_header(out: &mut [u8], start: usize) {
    // A header over 16 MiB is over the frame limit too; the receiver refuses it by its length.
    let bytes = (out.len() - start - PREFIX_BYTES).min(MAX_HEADER_BYTES) as u32;
    out[start + 5..start + PREFIX_BYTES].copy_from_slice(&bytes.to_be_bytes()[1..]);
}

/// Fills in the length of the frame that starts at `start` and ends `out`.
pub(crate) fn end(out: &mut [u8], start: usize) {
    let length = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(length: i32, form: u8, header: u32) -> Vec<u8> {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.push(form);
        bytes.extend_from_slice(&header.to_be_bytes()[1..]);
        bytes
    }

    #[test]
    fn frame_splits_into_header_and_body() {
        let mut bytes = prefix(4 + 2 + 3, 1, 2);
        bytes.extend_from_slice(b"hhbbb-next");
        let (frame, used) = split(&bytes).unwrap().unwrap();
        assert_eq!((frame.header, frame.body, used), (&b"hh"[..], &b"bbb"[..], 13));
        assert_eq!(frame.form, HeaderForm::RocketMq);
    }

    #[test]
    fn incomplete_frame_asks_for_more() {
        let mut bytes = prefix(4 + 2, 0, 2);
        bytes.extend_from_slice(b"{}");
        for cut in 0..bytes.len() {
            assert!(split(&bytes[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        assert!(split(&bytes).unwrap().is_some());
    }

    #[test]
    fn lengths_outside_the_limits_are_errors() {
        for length in [-1, 0, 3, i32::MIN, i32::MAX, 16_777_213] {
            let error = split(&prefix(length, 0, 0)).unwrap_err();
            assert!(matches!(error, FrameError::Length { .. }), "{length}");
        }
        assert!(split(&prefix(16_777_212, 0, 0)).unwrap().is_none());
        let error = split(&prefix(10, 0, 7)).unwrap_err();
        assert_eq!(error, FrameError::HeaderLength { header: 7, frame: 10 });
        assert_eq!(split(&prefix(4, 9, 0)).unwrap_err(), FrameError::Form(9));
    }
}
