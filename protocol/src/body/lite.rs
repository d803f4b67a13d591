//! Lite topics: who subscribes which, and what tools are told of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::java_enum::lenient;
use super::{OffsetWrapper, TopicOffset};

java_enum! {
    /// What is done about a client's lite topics.
    ///
    /// Reference: `LiteSubscriptionAction` (common), 5.5.0.
    pub enum LiteSubscriptionAction {
        /// It has these as well.
        PartialAdd = "PARTIAL_ADD",
        /// It does not have these any more.
        PartialRemove = "PARTIAL_REMOVE",
        /// It has these and no others.
        CompleteAdd = "COMPLETE_ADD",
        /// It has none any more.
        CompleteRemove = "COMPLETE_REMOVE",
    }
}

java_enum! {
    /// What the value of an [`OffsetOption`] is.
    ///
    /// Reference: `OffsetOption.Type` (common), 5.5.0.
    pub enum OffsetOptionType {
        /// [`OffsetOption::LAST`], [`OffsetOption::MIN`] or [`OffsetOption::MAX`].
        Policy = "POLICY",
        /// An offset.
        Offset = "OFFSET",
        /// Messages before the present offset.
        TailN = "TAIL_N",
        /// ms since 1970.
        Timestamp = "TIMESTAMP",
    }
}

/// Where a group goes on in lite topics that a client begins to subscribe.
///
/// Reference: `OffsetOption` (common), 5.5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OffsetOption {
    /// What the value is.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: Option<OffsetOptionType>,
    /// The value.
    pub value: i64,
}

impl OffsetOption {
    /// A policy: where it is.
    pub const LAST: i64 = 0;
    /// A policy: at the first message.
    pub const MIN: i64 = 1;
    /// A policy: behind the last message.
    pub const MAX: i64 = 2;
}

/// Body of `LITE_SUBSCRIPTION_CTL` (200071).
///
/// Reference: `LiteSubscriptionCtlRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteSubscriptionCtlRequestBody {
    /// One entry for each client.
    pub subscription_set: Vec<LiteSubscriptionDTO>,
}

/// Lite topics of one client.
///
/// Reference: `LiteSubscriptionDTO` (common), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteSubscriptionDTO {
    /// What is done about them.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub action: Option<LiteSubscriptionAction>,
    /// The client.
    pub client_id: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_set: Option<BTreeSet<String>>,
    /// Where the group goes on in those that are new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_option: Option<OffsetOption>,
    /// The topic that they are of.
    pub topic: Option<String>,
    /// Number of this state of the client; nothing in the reference reads it.
    pub version: i64,
}

/// Answer to `GET_BROKER_LITE_INFO` (200074).
///
/// Reference: `GetBrokerLiteInfoResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetBrokerLiteInfoResponseBody {
    /// Topics that have queues.
    pub cq_table_size: i32,
    /// Light queues.
    pub current_lmq_num: i32,
    /// Clients that were told of messages.
    pub event_map_size: i32,
    /// Groups, by the topic whose lite topics they consume.
    pub group_meta: BTreeMap<String, BTreeSet<String>>,
    /// Subscriptions of lite topics by clients.
    pub lite_subscription_count: i32,
    /// Most light queues.
    pub max_lmq_num: i32,
    /// Topics and groups with offsets.
    pub offset_table_size: i32,
    /// Lite topics and groups of which something was given out.
    pub order_info_count: i32,
    /// How queues are kept.
    pub store_type: String,
    /// Minutes that lite topics are kept without use, by topic.
    pub topic_meta: BTreeMap<String, i32>,
}

/// Answer to `GET_PARENT_TOPIC_INFO` (200075).
///
/// Reference: `GetParentTopicInfoResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetParentTopicInfoResponseBody {
    /// Groups that consume its lite topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// How many lite topics it has.
    pub lite_topic_count: i32,
    /// Light queues of all topics.
    pub lmq_num: i32,
    /// The topic.
    pub topic: String,
    /// Minutes that they are kept without use; -1 is for ever.
    pub ttl: i32,
}

/// Answer to `GET_LITE_TOPIC_INFO` (200076).
///
/// Reference: `GetLiteTopicInfoResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetLiteTopicInfoResponseBody {
    /// Name of the lite topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
    /// The topic that it is of.
    pub parent_topic: String,
    /// Whether this broker is the one that it is sent to.
    pub sharding_to_broker: bool,
    /// Who subscribes it.
    pub subscriber: BTreeSet<ClientGroup>,
    /// What it holds.
    pub topic_offset: TopicOffset,
}

/// A client of a group; `*` is any.
///
/// Reference: `ClientGroup` (common), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientGroup {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub group: String,
}

/// Answer to `GET_LITE_CLIENT_INFO` (200077).
///
/// Reference: `GetLiteClientInfoResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetLiteClientInfoResponseBody {
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its group.
    pub group: String,
    /// When it popped last, ms since 1970; -1 when it never has.
    pub last_access_time: i64,
    /// Nothing in the reference sets it.
    pub last_consume_time: i64,
    /// How many lite topics it subscribes; -1 when nothing is known of it.
    pub lite_topic_count: i32,
    /// Light queues of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_set: Option<BTreeSet<String>>,
    /// The topic that they are of.
    pub parent_topic: String,
}

/// Answer to `GET_LITE_GROUP_INFO` (200078).
///
/// Reference: `GetLiteGroupInfoResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetLiteGroupInfoResponseBody {
    /// Store time of the oldest message that is not consumed, ms since 1970; -1 when it is not known.
    pub earliest_unconsumed_timestamp: i64,
    /// The group.
    pub group: String,
    /// Lite topics with the most messages to consume, most first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_count_top_k: Option<Vec<LiteLagInfo>>,
    /// Lite topics with the oldest messages to consume, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_timestamp_top_k: Option<Vec<LiteLagInfo>>,
    /// The lite topic that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
    /// Progress in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_offset_wrapper: Option<OffsetWrapper>,
    /// The topic whose lite topics the group consumes.
    pub parent_topic: String,
    /// Messages to consume.
    pub total_lag_count: i64,
}

/// What a group has left of a lite topic.
///
/// Reference: `LiteLagInfo` (common), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteLagInfo {
    /// Store time of the oldest message that is not consumed, ms since 1970.
    pub earliest_unconsumed_timestamp: i64,
    /// Messages to consume.
    pub lag_count: i64,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
}
