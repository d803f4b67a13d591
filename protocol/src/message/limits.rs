//! Named limits of message parts, each beside the reason for it.

/// Body limit when nothing else is configured (`maxMessageSize`), in bytes.
pub(crate) const DEFAULT_MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a record may add to its body limit: headers, topic and properties, in bytes.
///
/// Reference: `MessageExtEncoder` (store), 5.5.0.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 64 * 1024;

/// Longest properties text: its length is stored as a signed 16-bit number.
pub(crate) const MAX_PROPERTIES_BYTES: usize = i16::MAX as usize;

/// Longest topic of a version 1 record, whose length is one signed byte.
pub(crate) const MAX_TOPIC_V1_BYTES: usize = i8::MAX as usize;

/// Longest topic a broker stores; only retry topics may be longer than [`MAX_TOPIC_V1_BYTES`].
///
/// Reference: `HookUtils.checkBeforePutMessage` (broker), 5.5.0.
pub const MAX_TOPIC_BYTES: usize = 255;
