//! How far groups have consumed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DataVersion;

/// `consumerOffset.json` or `lmqConsumerOffset.json`, and answer to `GET_ALL_CONSUMER_OFFSET` (43).
///
/// Reference: `ConsumerOffsetSerializeWrapper` (remoting), `ConsumerOffsetManager`,
/// `LmqConsumerOffsetManager` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Topics of each group, as `offset_table` has them.
    pub group_topic_map: BTreeMap<String, Vec<String>>,
    /// Next offset to consume by `topic@group`, of groups that are named like light queues; only in
    /// brokers that have those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmq_offset_table: Option<BTreeMap<String, i64>>,
    /// Next offset to consume by `topic@group` and queue id.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}
