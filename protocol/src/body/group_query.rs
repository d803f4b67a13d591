//! What tools are told about groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MessageQueue, SubscriptionData};

/// Answer to `QUERY_TOPIC_CONSUME_BY_WHO` (300).
///
/// Reference: `GroupList` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// Names of groups.
    pub group_list: BTreeSet<String>,
}

/// Answer to `QUERY_SUBSCRIPTION_BY_CONSUMER` (345).
///
/// Reference: `QuerySubscriptionResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuerySubscriptionResponseBody {
    /// Subscription, when the group has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// Name of the group.
    pub group: String,
    /// Name of the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// Answer to `INVOKE_BROKER_TO_RESET_OFFSET` (222).
///
/// Reference: `ResetOffsetBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// Where the group goes on, by queue.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}
