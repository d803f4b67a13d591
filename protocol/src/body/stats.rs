//! Figures for the tools.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageQueue, SubscriptionData};

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

/// Answer to `VIEW_BROKER_STATS_DATA` (315).
///
/// Reference: `BrokerStatsData` (remoting), 5.5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStatsData {
    /// The last day.
    pub stats_day: BrokerStatsItem,
    /// The last hour.
    pub stats_hour: BrokerStatsItem,
    /// The last minute.
    pub stats_minute: BrokerStatsItem,
}

/// What was counted in one span of time.
///
/// Reference: `BrokerStatsItem` (remoting), 5.5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Average of one time.
    pub avgpt: f64,
    /// All of it.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
}

/// Answer to `GET_BROKER_CONSUME_STATS` (317).
///
/// Reference: `ConsumeStatsList` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsList {
    /// `host:port` of the broker.
    pub broker_addr: String,
    /// One map with one group for each group, with one entry for each of its topics.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages that all groups together have not consumed.
    pub total_diff: i64,
    /// Messages that all groups together have pulled and not consumed.
    pub total_inflight_diff: i64,
}

/// Answer to `QUERY_CONSUME_TIME_SPAN` (303).
///
/// Reference: `QueryConsumeTimeSpanBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeTimeSpanBody {
    /// Each queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Store times in one queue, ms since 1970.
///
/// Reference: `QueueTimeSpan` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Of the last message consumed.
    pub consume_time_stamp: i64,
    /// How long the next message to consume has waited, ms.
    pub delay_time: i64,
    /// Of the newest message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Of the oldest message.
    pub min_time_stamp: i64,
}

/// Answer to `QUERY_CORRECTION_OFFSET` (308).
///
/// Reference: `QueryCorrectionOffsetBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryCorrectionOffsetBody {
    /// By queue id.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// Answer to `QUERY_CONSUME_QUEUE` (321).
///
/// Reference: `QueryConsumeQueueResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeQueueResponseBody {
    /// How the group filters, as JSON, or that it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Offset that the next message gets.
    pub max_queue_index: i64,
    /// Oldest offset.
    pub min_queue_index: i64,
    /// The units asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_data: Option<Vec<ConsumeQueueData>>,
    /// What the group subscribes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// One unit of a queue.
///
/// Reference: `ConsumeQueueData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// The filter bits of the extended unit, the last one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_map: Option<String>,
    /// Whether the group's filter may match, as far as the extended unit says.
    pub eval: bool,
    /// The extended unit, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_data_json: Option<String>,
    /// That the extended unit is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Position of the record in the log.
    pub physic_offset: i64,
    /// Bytes of the record.
    pub physic_size: i32,
    /// Hash of the tags.
    pub tags_code: i64,
}
