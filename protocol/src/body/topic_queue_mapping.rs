//! Static topics: logical queues and where their parts are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which logical queues of a static topic a broker serves now.
///
/// Reference: `TopicQueueMappingInfo` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingInfo {
    /// Broker.
    pub bname: Option<String>,
    /// Logical queue to physical queue.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the mapping is under way.
    pub dirty: bool,
    /// Grows with each remapping.
    pub epoch: i64,
    /// Always `__global__`.
    pub scope: String,
    /// Topic.
    pub topic: Option<String>,
    /// Logical queues in all.
    pub total_queues: i32,
}

/// Where logical queues live when nothing else is said.
const GLOBAL_SCOPE: &str = "__global__";

impl Default for TopicQueueMappingInfo {
    fn default() -> Self {
        Self {
            bname: None,
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            scope: GLOBAL_SCOPE.to_owned(),
            topic: None,
            total_queues: 0,
        }
    }
}

/// The mapping of a static topic on one broker, in full.
///
/// Reference: `TopicQueueMappingDetail` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingDetail {
    /// Broker.
    pub bname: Option<String>,
    /// Logical queue to physical queue.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the mapping is under way.
    pub dirty: bool,
    /// Grows with each remapping.
    pub epoch: i64,
    /// The parts of each logical queue.
    pub hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
    /// Always `__global__`.
    pub scope: String,
    /// Topic.
    pub topic: Option<String>,
    /// Logical queues in all.
    pub total_queues: i32,
}

impl Default for TopicQueueMappingDetail {
    fn default() -> Self {
        Self {
            bname: None,
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            hosted_queues: BTreeMap::new(),
            scope: GLOBAL_SCOPE.to_owned(),
            topic: None,
            total_queues: 0,
        }
    }
}

/// One part of a logical queue.
///
/// Reference: `LogicQueueMappingItem` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogicQueueMappingItem {
    /// Broker of the part.
    pub bname: Option<String>,
    /// Physical offset behind the last; -1 while it grows.
    pub end_offset: i64,
    /// Number of the part.
    #[serde(rename = "gen")]
    pub generation: i32,
    /// Logical offset of its first message.
    pub logic_offset: i64,
    /// Physical queue.
    pub queue_id: i32,
    /// Physical offset of its first message.
    pub start_offset: i64,
    /// When it ended, ms; -1 while it grows.
    pub time_of_end: i64,
    /// When it began, ms; -1 unknown.
    pub time_of_start: i64,
}

impl Default for LogicQueueMappingItem {
    fn default() -> Self {
        Self {
            bname: None,
            end_offset: -1,
            generation: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}
