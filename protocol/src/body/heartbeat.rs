//! What clients say about themselves, and what the tools are told about them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::java_enum::lenient;

java_enum! {
    /// How a group takes its messages.
    ///
    /// Reference: `ConsumeType` (remoting), 5.5.0.
    pub enum ConsumeType {
        /// The application pulls.
        ConsumeActively = "CONSUME_ACTIVELY",
        /// The client pulls and pushes to the application.
        ConsumePassively = "CONSUME_PASSIVELY",
        /// The client pops.
        ConsumePop = "CONSUME_POP",
    }
}

java_enum! {
    /// Who of a group gets a message.
    ///
    /// Reference: `MessageModel` (remoting), 5.5.0.
    pub enum MessageModel {
        /// Every member.
        Broadcasting = "BROADCASTING",
        /// One member.
        Clustering = "CLUSTERING",
    }
}

java_enum! {
    /// Where a group without offsets starts.
    ///
    /// Reference: `ConsumeFromWhere` (common), 5.5.0.
    pub enum ConsumeFromWhere {
        /// Behind the last message.
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated, as `LastOffset`.
        LastOffsetOrMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated, as `LastOffset`.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated, as `LastOffset`.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the first message.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At the first message of a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// Body of `HEART_BEAT` (34).
///
/// Reference: `HeartbeatData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// `ip@instance`.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Groups that it produces for.
    pub producer_data_set: Vec<ProducerData>,
    /// Groups that it consumes for.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Digest of the subscriptions; 0 from clients that always send them in full.
    pub heartbeat_fingerprint: i32,
    /// Whether the subscriptions are left out, as they have not changed.
    #[serde(alias = "isWithoutSub")]
    pub without_sub: bool,
}

/// One group that a client produces for.
///
/// Reference: `ProducerData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// Name of the group.
    pub group_name: String,
}

/// One group that a client consumes for.
///
/// Reference: `ConsumerData` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Name of the group.
    pub group_name: String,
    /// How the group takes its messages.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub consume_type: Option<ConsumeType>,
    /// Who of the group gets a message.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub message_model: Option<MessageModel>,
    /// Where the group starts without offsets.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub consume_from_where: Option<ConsumeFromWhere>,
    /// What the group wants of which topics.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Whether the client belongs to a unit.
    pub unit_mode: bool,
}

/// What a group wants of one topic.
///
/// Reference: `SubscriptionData` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// Whether the expression names a filter class.
    pub class_filter_mode: bool,
    /// Subscribed topic.
    pub topic: String,
    /// Filter expression.
    pub sub_string: String,
    /// Tags of the expression.
    pub tags_set: BTreeSet<String>,
    /// Hash codes of these tags.
    pub code_set: BTreeSet<i32>,
    /// Time of the subscription in ms; the highest of a group counts.
    pub sub_version: i64,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            topic: String::new(),
            sub_string: String::new(),
            tags_set: BTreeSet::new(),
            code_set: BTreeSet::new(),
            sub_version: 0,
            expression_type: EXPRESSION_TYPE_TAG.to_owned(),
        }
    }
}

/// The type of an expression that names tags.
///
/// Reference: `ExpressionType` (common), 5.5.0.
pub(crate) const EXPRESSION_TYPE_TAG: &str = "TAG";

/// Tells whether an expression of this type, perhaps absent, names tags.
pub fn is_tag_type(expression_type: &str) -> bool {
    expression_type.is_empty() || expression_type == EXPRESSION_TYPE_TAG
}

/// Body of `CHECK_CLIENT_CONFIG` (46).
///
/// Reference: `CheckClientRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientRequestBody {
    /// `ip@instance`.
    pub client_id: String,
    /// Consumer group.
    pub group: String,
    /// Subscription to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// Namespace of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Answer to `GET_CONSUMER_LIST_BY_GROUP` (38).
///
/// Reference: `GetConsumerListByGroupResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetConsumerListByGroupResponseBody {
    /// Client ids, one per connection.
    pub consumer_id_list: Vec<String>,
}

/// One client in an answer to the tools.
///
/// Reference: `Connection` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientConnection {
    /// `ip:port` that the client connected from.
    pub client_addr: String,
    /// `ip@instance`.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Its version, see [`crate::version`].
    pub version: i32,
}

/// Answer to `GET_CONSUMER_CONNECTION_LIST` (203).
///
/// Reference: `ConsumerConnection` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnection {
    /// Members of the group.
    pub connection_set: Vec<ClientConnection>,
    /// What the group wants of which topics.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
    /// How the group takes its messages.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub consume_type: Option<ConsumeType>,
    /// Who of the group gets a message.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub message_model: Option<MessageModel>,
    /// Where the group starts without offsets.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub consume_from_where: Option<ConsumeFromWhere>,
}

/// Answer to `GET_PRODUCER_CONNECTION_LIST` (204).
///
/// Reference: `ProducerConnection` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnection {
    /// Members of the group.
    pub connection_set: Vec<ClientConnection>,
}

/// Answer to `GET_ALL_PRODUCER_INFO` (328).
///
/// Reference: `ProducerTableInfo` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTableInfo {
    /// Members by group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// One producer in an answer to the tools.
///
/// Reference: `ProducerInfo` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// `ip@instance`.
    pub client_id: String,
    /// `/ip:port` that it connected from.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Name of its language.
    pub language: String,
    /// Its version, see [`crate::version`].
    pub version: i32,
    /// When it was last heard of, ms since 1970.
    pub last_update_timestamp: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson::{self, Dialect};

    fn read(text: &str) -> HeartbeatData {
        fastjson::from_slice(text.as_bytes()).unwrap()
    }

    fn expected() -> HeartbeatData {
        HeartbeatData {
            client_id: "192.0.2.1@7".into(),
            producer_data_set: vec![ProducerData { group_name: "CLIENT_INNER_PRODUCER".into() }],
            consumer_data_set: vec![ConsumerData {
                group_name: "g".into(),
                consume_type: Some(ConsumeType::ConsumePassively),
                message_model: Some(MessageModel::Clustering),
                consume_from_where: Some(ConsumeFromWhere::FirstOffset),
                subscription_data_set: vec![SubscriptionData {
                    topic: "t".into(),
                    sub_string: "*".into(),
                    sub_version: 1_700_000_000_000,
                    ..SubscriptionData::default()
                }],
                unit_mode: false,
            }],
            heartbeat_fingerprint: 0,
            without_sub: false,
        }
    }

    #[test]
    fn heartbeat_of_a_java_client_is_read() {
        let text = r#"{"clientID":"192.0.2.1@7","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,"tagsSet":[],"topic":"t"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"withoutSub":false}"#;
        assert_eq!(read(text), expected());
        let written = fastjson::to_vec(&expected(), Dialect::Raw).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    }

    #[test]
    fn heartbeat_with_numbers_for_enums_and_text_for_numbers_is_read() {
        // As the C++ client sends it.
        let text = r#"{"clientID":"192.0.2.1@7","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g","messageModel":1,"subscriptionDataSet":[{"subString":"*","subVersion":"1700000000000","topic":"t"}]}],"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}]}"#;
        assert_eq!(read(text), expected());
    }

    #[test]
    fn heartbeat_in_pascal_case_is_read() {
        // As the .NET client sends it.
        let text = r#"{"ClientID":"192.0.2.1@7","ConsumerDataSet":[{"ConsumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","ConsumeType":"CONSUME_PASSIVELY","GroupName":"g","MessageModel":"CLUSTERING","SubscriptionDataSet":[{"SubString":"*","SubVersion":1700000000000,"Topic":"t","TagsSet":null}]}],"ProducerDataSet":[{"GroupName":"CLIENT_INNER_PRODUCER"}]}"#;
        assert_eq!(read(text), expected());
    }

    #[test]
    fn constants_are_read_in_letters_of_any_case() {
        let text = r#"{"consumerDataSet":[{"consumeFromWhere":"consume_from_first_offset","consumeType":"Consume_Actively","messageModel":"broadcasting"}]}"#;
        let consumer = &read(text).consumer_data_set[0];
        assert_eq!(consumer.consume_from_where, Some(ConsumeFromWhere::FirstOffset));
        assert_eq!(consumer.consume_type, Some(ConsumeType::ConsumeActively));
        assert_eq!(consumer.message_model, Some(MessageModel::Broadcasting));
    }

    #[test]
    fn unknown_constant_reads_as_none_and_costs_nothing_else() {
        let text = r#"{"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_LITE","messageModel":9}]}"#;
        let consumer = &read(text).consumer_data_set[0];
        assert_eq!((consumer.consume_type, consumer.message_model), (None, None));
        assert_eq!(consumer.group_name, "g");
    }

    #[test]
    fn heartbeat_without_subscriptions_is_read_under_either_name() {
        for name in ["withoutSub", "isWithoutSub"] {
            let data = read(&format!(r#"{{"{name}":true,"heartbeatFingerprint":-5}}"#));
            assert!(data.without_sub, "{name}");
            assert_eq!(data.heartbeat_fingerprint, -5);
        }
    }
}
