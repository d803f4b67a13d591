//! The body of a batch send: messages back to back, without topic, queue or hosts.
//!
//! ```text
//! i32 total size | i32 magic | i32 CRC | i32 flag | i32 body length, body | i16 properties length, properties
//! ```
//!
//! Reference: `MessageDecoder.encodeMessages` (common), 5.5.0. Total size, magic and CRC are not
//! read by the reference's broker, and clients send zeros there.

use byteorder::{BigEndian, ByteOrder};

const FLAG_AT: usize = 12;
const BODY_LENGTH_AT: usize = 16;
const BODY_AT: usize = 20;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body as sent.
    pub body: &'a [u8],
    /// Encoded properties text, stored as it is.
    pub properties: &'a [u8],
}

impl InnerMessage<'_> {
    /// Appends this message to a batch body.
    ///
    /// # Errors
    ///
    /// When the body or the properties do not fit their length field.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let properties_length =
            i16::try_from(self.properties.len()).map_err(|_| BatchError::BadLength)?;
        let total = BODY_AT + self.body.len() + 2 + self.properties.len();
        let total = i32::try_from(total).map_err(|_| BatchError::BadLength)?;
        for word in [total, 0, 0, self.flag, self.body.len() as i32] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(self.body);
        out.extend_from_slice(&properties_length.to_be_bytes());
        out.extend_from_slice(self.properties);
        Ok(())
    }
}

/// Why a batch body cannot be read. The sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body ends inside a message.
    #[error("batch body ends inside a message")]
    CutShort,
    /// A length inside the body is impossible.
    #[error("impossible length in a batch body")]
    BadLength,
}

/// The messages of a batch body, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct BatchMessages<'a> {
    rest: &'a [u8],
}

impl<'a> BatchMessages<'a> {
    /// Reads `body`, the body of a batch send.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes of the messages that are not read yet, as they were sent.
    pub fn bytes(&self) -> usize {
        self.rest.len()
    }

    fn read(&mut self) -> Result<InnerMessage<'a>, BatchError> {
        let bytes = self.rest;
        if bytes.len() < BODY_AT {
            return Err(BatchError::CutShort);
        }
        let body_length = BigEndian::read_i32(&bytes[BODY_LENGTH_AT..]);
        let body_bytes = usize::try_from(body_length).map_err(|_| BatchError::BadLength)?;
        let after = &bytes[BODY_AT..];
        let body = after.get(..body_bytes).ok_or(BatchError::CutShort)?;
        let after = &after[body_bytes..];
        let length = after.get(..2).map(BigEndian::read_i16).ok_or(BatchError::CutShort)?;
        let properties_bytes = usize::try_from(length).map_err(|_| BatchError::BadLength)?;
        let after = &after[2..];
        let properties = after.get(..properties_bytes).ok_or(BatchError::CutShort)?;
        self.rest = &after[properties_bytes..];
        Ok(InnerMessage { flag: BigEndian::read_i32(&bytes[FLAG_AT..]), body, properties })
    }
}

impl<'a> Iterator for BatchMessages<'a> {
    type Item = Result<InnerMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<u8> {
        let mut body = Vec::new();
        for (flag, text, properties) in [(1, "a", "K\u{1}v\u{2}"), (2, "", ""), (3, "ccc", "")] {
            InnerMessage { flag, body: text.as_bytes(), properties: properties.as_bytes() }
                .encode(&mut body)
                .unwrap();
        }
        body
    }

    #[test]
    fn batch_messages_come_back_in_order() {
        let body = batch();
        let messages: Vec<_> = BatchMessages::new(&body).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0].properties, b"K\x01v\x02");
        assert_eq!(messages[2], InnerMessage { flag: 3, body: b"ccc", properties: b"" });
    }

    #[test]
    fn batch_cut_at_any_byte_is_an_error_or_a_prefix() {
        let body = batch();
        let ends = [27, 49];
        for cut in 0..body.len() {
            let read: Vec<_> = BatchMessages::new(&body[..cut]).collect();
            let whole = cut == 0 || ends.contains(&cut);
            assert_eq!(read.iter().all(Result::is_ok), whole, "cut at {cut}");
        }
    }

    #[test]
    fn batch_with_a_negative_length_is_refused() {
        let mut body = batch();
        body[BODY_LENGTH_AT] = 0xFF;
        let read: Vec<_> = BatchMessages::new(&body).collect();
        assert_eq!(read, [Err(BatchError::BadLength)]);
    }
}
