//! Where a topic is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TopicQueueMappingInfo;

/// Id of the broker that takes writes.
///
/// Reference: `MixAll.MASTER_ID` (common), 5.5.0.
pub const MASTER_ID: i64 = 0;

/// The route of one topic.
///
/// Reference: `TopicRouteData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRouteData {
    /// Brokers that have the topic.
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address; nearly always empty, but never absent.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker:queues;broker:queues` of an ordered topic.
    pub order_topic_conf: Option<String>,
    /// Queues by broker.
    pub queue_datas: Vec<QueueData>,
    /// Of a static topic.
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
}

/// The addresses of one broker name.
///
/// Reference: `BrokerData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// By broker id; [`MASTER_ID`] is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name.
    pub broker_name: String,
    /// Cluster.
    pub cluster: String,
    /// Whether a slave may stand in for the master.
    pub enable_acting_master: bool,
    /// Zone, for clients that stay in theirs.
    pub zone_name: Option<String>,
}

/// The queues of a topic on one broker name.
///
/// Reference: `QueueData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Broker name.
    pub broker_name: String,
    /// As [`TopicConfig::perm`](super::TopicConfig::perm).
    pub perm: i32,
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// As [`TopicConfig::topic_sys_flag`](super::TopicConfig::topic_sys_flag).
    pub topic_sys_flag: i32,
    /// Queues to write to.
    pub write_queue_nums: i32,
}
