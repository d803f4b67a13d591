//! What a producer takes a waiting message back by: URL-safe Base64 of
//! `v1 <topic> <broker> <time> <unique key>`.
//!
//! Reference: `RecallMessageHandle` (common), 5.5.0.

use crate::base64;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VERSION: &str = "v1";
/// No handle is longer: names have 255 characters at most.
const MAX_BYTES: usize = 2_048;

/// Names a waiting message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    /// Topic that the message goes to.
    pub topic: String,
    /// Broker that it waits on.
    pub broker_name: String,
    /// A time in the moment that it waits in, ms since 1970.
    pub timestamp_ms: i64,
    /// Unique key of the message.
    pub unique_key: String,
}

impl RecallHandle {
    /// The handle as text.
    pub fn encode(&self) -> String {
        let Self { topic, broker_name, timestamp_ms, unique_key } = self;
        encode_base64(
            format!("{VERSION} {topic} {broker_name} {timestamp_ms} {unique_key}").as_bytes(),
        )
    }

    /// Reads a handle; `None` when it is none. A time that is no number is -1.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = decode_base64(text)?;
        let text = std::str::from_utf8(&bytes).ok()?;
        // As Java splits: what is empty at the end is no part. Further parts are left alone.
        let mut parts = text.trim_end_matches(' ').split(' ');
        if parts.next() != Some(VERSION) {
            return None;
        }
        Some(Self {
            topic: parts.next()?.to_owned(),
            broker_name: parts.next()?.to_owned(),
            timestamp_ms: parts.next()?.parse().unwrap_or(-1),
            unique_key: parts.next()?.to_owned(),
        })
    }
}

fn encode_base64(bytes: &[u8]) -> String {
    base64::encode_with(ALPHABET, bytes)
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    base64::decode_with(ALPHABET, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> RecallHandle {
        RecallHandle {
            topic: "orders".to_owned(),
            broker_name: "broker-a".to_owned(),
            timestamp_ms: 1_700_000_000_001,
            unique_key: "7F0000010A".to_owned(),
        }
    }

    #[test]
    fn handle_is_the_text_of_the_reference_and_reads_back() {
        let text = "djEgb3JkZXJzIGJyb2tlci1hIDE3MDAwMDAwMDAwMDEgN0YwMDAwMDEwQQ==";
        assert_eq!(handle().encode(), text);
        assert_eq!(RecallHandle::decode(text), Some(handle()));
        assert_eq!(RecallHandle::decode(text.trim_end_matches('=')), Some(handle()));
    }

    #[test]
    fn what_is_no_handle_is_not_read() {
        for text in ["", "v1", "djI=", "****", "djEgYSBiIDEg", "a====", &"A".repeat(4_000)] {
            assert_eq!(RecallHandle::decode(text), None, "{text}");
        }
    }

    #[test]
    fn every_length_of_base64_reads_back() {
        for length in 0..20 {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 37 + 200) as u8).collect();
            assert_eq!(decode_base64(&encode_base64(&bytes)), Some(bytes));
        }
    }
}
