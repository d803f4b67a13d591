//! Figures for the tools.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MessageQueue;

/// Answer to `GET_TOPIC_STATS_INFO` (202).
///
/// Reference: `TopicStatsTable` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStatsTable {
    /// Messages put per second over the last minute.
    pub topic_put_tps: f64,
    /// Extent of each queue.
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
}

/// Extent of one queue.
///
/// Reference: `TopicOffset` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Oldest offset.
    pub min_offset: i64,
    /// Offset that the next message gets.
    pub max_offset: i64,
    /// Store time of the newest message, ms; 0 when there is none.
    pub last_update_timestamp: i64,
}

/// Answer to `GET_CONSUME_STATS` (208).
///
/// Reference: `ConsumeStats` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages consumed per second over the last minute.
    pub consume_tps: f64,
    /// Progress in each queue.
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

/// Progress of a group in one queue.
///
/// Reference: `OffsetWrapper` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetWrapper {
    /// Offset that the next message gets.
    pub broker_offset: i64,
    /// Next offset to consume, as committed.
    pub consumer_offset: i64,
    /// Next offset to pull.
    pub pull_offset: i64,
    /// Store time of the last consumed message, ms; 0 when there is none.
    pub last_timestamp: i64,
}
