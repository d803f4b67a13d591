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

/// Answer to `INVOKE_BROKER_TO_RESET_OFFSET` (222), and body of `RESET_CONSUMER_CLIENT_OFFSET` (220).
///
/// Reference: `ResetOffsetBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// Where the group goes on, by queue.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// Body of `RESET_CONSUMER_CLIENT_OFFSET` when a C++ client asked for the reset.
///
/// Reference: `ResetOffsetBodyForC` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBodyForC {
    /// Where the group goes on.
    pub offset_table: Vec<MessageQueueForC>,
}

/// A queue and where a group goes on in it.
///
/// Reference: `MessageQueueForC` (common), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueForC {
    /// Name of the broker that has it.
    pub broker_name: String,
    /// Next offset to consume.
    pub offset: i64,
    /// Number of the queue.
    pub queue_id: i32,
    /// Its topic.
    pub topic: String,
}

/// Answers to `GET_CONSUMER_STATUS_FROM_CLIENT` (221) and `INVOKE_BROKER_TO_GET_CONSUMER_STATUS` (223).
///
/// Reference: `GetConsumerStatusBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetConsumerStatusBody {
    /// Offsets by queue, by client id.
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// Offsets of the client that answers, by queue.
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}
