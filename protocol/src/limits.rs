//! Limits on every number that a peer sends in a frame, each beside its reason.

/// Largest frame, counting the four length bytes. The reference's
/// `com.rocketmq.remoting.frameMaxLength` has the same default.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Deepest nesting accepted in a JSON header; the reference's own are two levels deep.
pub(crate) const MAX_JSON_DEPTH: usize = 32;

/// Most ext fields in one header. The largest real header, a signed send with namespace and trace
/// fields, has about thirty.
pub(crate) const MAX_EXT_FIELDS: usize = 256;

/// Longest properties text that is read, from a file or a configuration request. The reference's
/// full broker configuration is about 20 KiB.
pub(crate) const MAX_PROPERTIES_FILE_BYTES: usize = 1024 * 1024;

/// Largest registration once inflated. A broker with 100 000 topics has about 5 MiB of them.
pub(crate) const MAX_INFLATED_REGISTRATION_BYTES: usize = 64 * 1024 * 1024;

/// Longest text of a log field or of an answer's remark; of a longer one the middle is left out.
/// Names have 255 bytes at most, and no remark of the reference is longer than this but for stack
/// traces.
pub const MAX_SHOWN_BYTES: usize = 4 * 1024;
