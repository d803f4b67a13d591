//! Settings of consumer groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DataVersion;
use super::java_enum::lenient;

/// Settings of one consumer group.
///
/// Reference: `SubscriptionGroupConfig` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupConfig {
    /// Name of the group.
    pub group_name: String,
    /// Whether the group may consume.
    pub consume_enable: bool,
    /// Whether the group may start at the oldest message.
    pub consume_from_min_enable: bool,
    /// Whether every member may get every message.
    pub consume_broadcast_enable: bool,
    /// Whether pops keep the order of a queue.
    pub consume_message_orderly: bool,
    /// Queues of the group's retry topic.
    pub retry_queue_nums: i32,
    /// Deliveries after the first before a message is a dead letter.
    pub retry_max_times: i32,
    /// How long a redelivery waits.
    pub group_retry_policy: GroupRetryPolicy,
    /// Broker to read from.
    pub broker_id: i64,
    /// Broker to read from when the group is far behind.
    pub which_broker_when_consume_slowly: i64,
    /// Whether members hear when one joins or leaves.
    pub notify_consumer_ids_changed_enable: bool,
    /// Bits for units.
    pub group_sys_flag: i32,
    /// Minutes after which a delivery counts as failed.
    pub consume_timeout_minute: i32,
    /// Subscriptions fixed on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
    /// Further settings.
    pub attributes: BTreeMap<String, String>,
}

impl SubscriptionGroupConfig {
    /// A group with the default settings.
    pub fn new(group_name: impl Into<String>) -> Self {
        Self { group_name: group_name.into(), ..Self::default() }
    }
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            group_name: String::new(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            group_retry_policy: GroupRetryPolicy::default(),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            subscription_data_set: None,
            attributes: BTreeMap::new(),
        }
    }
}

java_enum! {
    /// How the waits between redeliveries grow.
    ///
    /// Reference: `GroupRetryPolicyType` (remoting), 5.5.0.
    pub enum GroupRetryPolicyType {
        /// By a factor.
        Exponential = "EXPONENTIAL",
        /// By a list.
        Customized = "CUSTOMIZED",
    }
}

/// How long redeliveries wait.
///
/// Reference: `GroupRetryPolicy` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupRetryPolicy {
    /// Which of the two policies counts.
    #[serde(
        rename = "type",
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub policy_type: Option<GroupRetryPolicyType>,
    /// Waits that grow by a factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Waits of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        Self {
            policy_type: Some(GroupRetryPolicyType::Customized),
            exponential_retry_policy: None,
            customized_retry_policy: None,
        }
    }
}

/// Waits that grow by a factor.
///
/// Reference: `ExponentialRetryPolicy` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    /// First wait, ms.
    pub initial: i64,
    /// Longest wait, ms.
    pub max: i64,
    /// Factor.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// Waits of a list.
///
/// Reference: `CustomizedRetryPolicy` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    /// Waits in ms, one per delivery.
    pub next: Vec<i64>,
}

/// A subscription fixed on the server.
///
/// Reference: `SimpleSubscriptionData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimpleSubscriptionData {
    /// Subscribed topic.
    pub topic: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// Filter expression.
    pub expression: String,
    /// Version, ms.
    pub version: i64,
}

/// Body of `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST` (225).
///
/// Reference: `SubscriptionGroupList` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// Groups to create or change.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// Answer to `UPDATE_AND_GET_GROUP_FORBIDDEN` (353).
///
/// Reference: `GroupForbidden` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupForbidden {
    /// Name of the group.
    pub group: String,
    /// Name of the topic.
    pub topic: String,
    /// Whether the group may consume the topic.
    pub readable: bool,
}

/// Every group: answer to `GET_ALL_SUBSCRIPTIONGROUP_CONFIG` (201), and `subscriptionGroup.json`.
///
/// Reference: `SubscriptionGroupWrapper` (remoting), `SubscriptionGroupManager` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupWrapper {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Bits that forbid a group a topic, by group and topic.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Settings by group.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson::{self, Dialect};

    #[test]
    fn group_is_written_like_the_reference_writes_it() {
        let text = fastjson::to_vec(&SubscriptionGroupConfig::new("g"), Dialect::Raw).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#
        );
    }

    #[test]
    fn group_keeps_its_policies_and_subscriptions() {
        let text = br#"{"groupName":"g","groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1}},"subscriptionDataSet":[{"topic":"t","expression":"a"}],"retryMaxTimes":3}"#;
        let group: SubscriptionGroupConfig = fastjson::from_slice(text).unwrap();
        let policy = group.group_retry_policy;
        assert_eq!(policy.policy_type, Some(GroupRetryPolicyType::Exponential));
        let waits = ExponentialRetryPolicy { initial: 1, ..ExponentialRetryPolicy::default() };
        assert_eq!(policy.exponential_retry_policy, Some(waits));
        assert_eq!(group.subscription_data_set.unwrap()[0].expression, "a");
        assert_eq!((group.retry_max_times, group.consume_enable), (3, true));
    }
}
