//! What is sent: numbered messages, and the topics that they go to.
//!
//! A body starts with the run and the message's identity (connection and sequence number), so that
//! what was stored can be compared byte for byte with what was sent:
//!
//! ```text
//! 0      8          16
//! +------+----------+----------------------------+
//! | run  | identity | bytes that depend on the run |
//! +------+----------+----------------------------+
//! ```

use oxmq_protocol::message::properties;

use super::clock::wall_clock_ms;

/// Bytes in front of a body: run and identity.
pub(super) const HEAD_BYTES: usize = 16;
/// First opaque. All opaques of a run have ten digits, so a request keeps its length.
pub(super) const FIRST_OPAQUE: i32 = 1_000_000_000;
/// Sequence numbers of one connection.
pub(super) const MAX_SEQUENCE: u32 = (i32::MAX - FIRST_OPAQUE) as u32;
/// Group of all sends.
pub(super) const PRODUCER_GROUP: &str = "oxmq-bench-producer";

/// Stands for the identity until it is known; as text in the properties, as bytes in the body.
pub(super) const IDENTITY_PLACEHOLDER: u64 = 0xF0E1_D2C3_B4A5_9687;
/// Bits of an identity that hold the number within the connection.
const SEQUENCE_BITS: u32 = 48;
/// Digits of a numbered topic.
pub(super) const TOPIC_DIGITS: usize = 6;
/// How far connections are apart in the topics. Not odd, so that they are apart in the queues, too.
const TOPIC_STRIDE: u64 = 7_918;

/// Number of a message in its run: connection and number within the connection.
pub(super) fn identity(connection: u32, number: u64) -> u64 {
    u64::from(connection) << SEQUENCE_BITS | number
}

/// Connection and number within the connection of an identity.
pub(super) fn split_identity(identity: u64) -> (u32, u64) {
    ((identity >> SEQUENCE_BITS) as u32, identity & ((1 << SEQUENCE_BITS) - 1))
}

/// Name of one of many topics.
pub(super) fn topic_name(topic: &str, number: u32) -> String {
    format!("{topic}-{number:0TOPIC_DIGITS$}")
}

/// Which of `topics` a message goes to: those of one connection go to one after the other.
pub(super) fn topic_number(identity: u64, topics: u32) -> u32 {
    let (connection, number) = split_identity(identity);
    ((u64::from(connection) * TOPIC_STRIDE + number) % u64::from(topics)) as u32
}

/// The bodies of one run.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    run: u64,
    body: Vec<u8>,
}

impl Payload {
    /// Makes the bodies of a new run.
    pub(super) fn new(size: usize) -> Self {
        let run = (wall_clock_ms() as u64) << 16 | u64::from(std::process::id() & 0xFFFF);
        Self::of_run(run, size)
    }

    pub(super) fn of_run(run: u64, size: usize) -> Self {
        let mut body = Vec::with_capacity(size + 8);
        body.extend_from_slice(&run.to_be_bytes());
        body.extend_from_slice(&IDENTITY_PLACEHOLDER.to_be_bytes());
        let mut state = run | 1;
        while body.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.extend_from_slice(&state.to_be_bytes());
        }
        body.truncate(size);
        Self { run, body }
    }

    /// The identity in a body of this run; `None` for any other body.
    pub(super) fn identity_of(&self, body: &[u8]) -> Option<u64> {
        let (run, rest) = body.split_first_chunk()?;
        let (identity, _) = rest.split_first_chunk()?;
        (u64::from_be_bytes(*run) == self.run).then(|| u64::from_be_bytes(*identity))
    }

    /// Tells whether `body` is the one that was sent under `identity`.
    pub(super) fn is_body_of(&self, identity: u64, body: &[u8]) -> bool {
        self.identity_of(body) == Some(identity)
            && body.get(HEAD_BYTES..) == self.body.get(HEAD_BYTES..)
    }

    /// A body, with an identity that no message has.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The properties of its message.
    pub(super) fn properties(&self, tag: &str) -> Vec<u8> {
        let mut text = Vec::new();
        let identity = format!("{IDENTITY_PLACEHOLDER:016X}");
        properties::append(&mut text, "KEYS", format!("order-{identity}").as_bytes());
        properties::append(&mut text, "TAGS", tag.as_bytes());
        let unique = format!("{:016X}{identity}", self.run);
        properties::append(&mut text, "UNIQ_KEY", unique.as_bytes());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_body_is_not_the_body_that_was_sent() {
        let payload = Payload::of_run(9, 64);
        let mut body = payload.body.clone();
        assert!(payload.is_body_of(IDENTITY_PLACEHOLDER, &body));
        body[63] ^= 1;
        assert!(!payload.is_body_of(IDENTITY_PLACEHOLDER, &body));
        assert!(!payload.is_body_of(IDENTITY_PLACEHOLDER, &body[..63]));
        assert_eq!(payload.identity_of(&body[..15]), None);
    }
}
