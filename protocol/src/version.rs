//! Client and server versions, as ordinals of the reference's version list.
//!
//! Reference: `MQVersion` (common), 5.5.0. Each release is preceded by its snapshot, so releases are
//! odd numbers.

/// Adds a grace suffix to topics and honours `maxReconsumeTimes` from here on.
pub const V3_4_9: i32 = 121;
/// Oldest client that can be told where to go on, and asked where it is.
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// Oldest client that answers relayed requests (`GET_CONSUMER_RUNNING_INFO`).
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// First client that reads standard JSON in route answers.
pub const V4_9_4: i32 = 401;
/// Last client that does not understand `GO_AWAY`.
pub const V5_3_1: i32 = 475;
/// The version that this server says it has.
pub const CURRENT: i32 = 513;
/// Text of [`CURRENT`], as tools print it.
pub const CURRENT_NAME: &str = "V5_5_0";
