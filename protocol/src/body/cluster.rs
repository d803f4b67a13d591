//! Which brokers there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::BrokerData;

/// All clusters, their broker names, and the addresses of those.
///
/// Reference: `ClusterInfo` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// By broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

/// The addresses of one broker name.
///
/// Reference: `BrokerMemberGroup` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroup {
    /// By broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Broker name asked for.
    pub broker_name: String,
    /// Cluster asked for.
    pub cluster: String,
}

/// Answer to `GET_BROKER_MEMBER_GROUP`.
///
/// Reference: `GetBrokerMemberGroupResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetBrokerMemberGroupResponseBody {
    /// The group; without addresses when the name is not known.
    pub broker_member_group: BrokerMemberGroup,
}
