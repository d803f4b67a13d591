//! Expressions that groups filter with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `consumerFilter.json`.
///
/// Reference: `ConsumerFilterManager` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerFilterTable {
    /// Filters by topic.
    pub filter_data_by_topic: BTreeMap<String, FilterDataOfTopic>,
}

/// The filters of one topic.
///
/// Reference: `ConsumerFilterManager.FilterDataMapByTopic` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterDataOfTopic {
    /// Filters by group.
    pub group_filter_data: BTreeMap<String, ConsumerFilterData>,
    /// The topic.
    pub topic: String,
}

/// How one group filters one topic.
///
/// Reference: `ConsumerFilterData` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerFilterData {
    /// Where the group stands in a bitmap of all that match a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bloom_filter_data: Option<BloomFilterData>,
    /// When the broker first heard of it, ms since 1970.
    pub born_time: i64,
    /// Version of the subscription.
    pub client_version: i64,
    /// The group.
    pub consumer_group: String,
    /// Whether the group has gone.
    pub dead: bool,
    /// When the group went, ms since 1970; 0 while it is there.
    pub dead_time: i64,
    /// The expression.
    pub expression: String,
    /// `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
}

/// Bits of a Bloom filter.
///
/// Reference: `BloomFilterData` (filter), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BloomFilterData {
    /// Bits of the whole filter.
    pub bit_num: i32,
    /// Those that are set for this group.
    pub bit_pos: Vec<i32>,
}
