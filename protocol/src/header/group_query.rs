//! What tools ask about groups and messages.

header! {
    /// `QUERY_MESSAGE` (12): messages of a topic by key.
    ///
    /// Reference: `QueryMessageRequestHeader` (remoting), 5.5.0.
    pub struct QueryMessageRequestHeader {
        topic: String = "topic",
        key: String = "key",
        max_num: i32 = "maxNum",
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        /// `true` when the key is a unique one; the broker decides how many to look for then.
        unique_key_query: Option<String> = "_UNIQUE_KEY_QUERY",
    }

    /// Answer to `QUERY_MESSAGE`, found or not.
    ///
    /// Reference: `QueryMessageResponseHeader` (remoting), 5.5.0.
    pub struct QueryMessageResponseHeader {
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }

    /// `QUERY_TOPIC_CONSUME_BY_WHO` (300): groups that consume a topic.
    ///
    /// Reference: `QueryTopicConsumeByWhoRequestHeader` (remoting), 5.5.0.
    pub struct QueryTopicConsumeByWhoRequestHeader {
        topic: String = "topic",
    }

    /// `QUERY_TOPICS_BY_CONSUMER` (343): topics that a group has offsets of.
    ///
    /// Reference: `QueryTopicsByConsumerRequestHeader` (remoting), 5.5.0.
    pub struct QueryTopicsByConsumerRequestHeader {
        group: String = "group",
    }

    /// `QUERY_SUBSCRIPTION_BY_CONSUMER` (345): what a group wants of a topic.
    ///
    /// Reference: `QuerySubscriptionByConsumerRequestHeader` (remoting), 5.5.0.
    pub struct QuerySubscriptionByConsumerRequestHeader {
        group: String = "group",
        topic: Option<String> = "topic",
    }

    /// `GET_SUBSCRIPTIONGROUP_CONFIG` (352): one group's settings.
    ///
    /// Reference: `GetSubscriptionGroupConfigRequestHeader` (remoting), 5.5.0.
    pub struct GetSubscriptionGroupConfigRequestHeader {
        group: String = "group",
    }

    /// `INVOKE_BROKER_TO_RESET_OFFSET` (222): a group is to go on elsewhere.
    ///
    /// Reference: `ResetOffsetRequestHeader` (remoting), 5.5.0.
    pub struct ResetOffsetRequestHeader {
        group: String = "group",
        topic: String = "topic",
        /// Negative for every queue of the topic.
        queue_id: i32 = "queueId" | -1,
        /// Absent or -1 to go by time.
        offset: Option<i64> = "offset",
        /// Milliseconds since 1970; negative for the end of the queue.
        timestamp: i64 = "timestamp",
        is_force: bool = "isForce" | false,
    }

    /// `GET_CONSUMER_RUNNING_INFO` (307): what a client says of itself, asked through the broker.
    ///
    /// Reference: `GetConsumerRunningInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetConsumerRunningInfoRequestHeader {
        consumer_group: String = "consumerGroup",
        client_id: String = "clientId",
        jstack_enable: bool = "jstackEnable" | false,
    }

    /// `CONSUME_MESSAGE_DIRECTLY` (309): a client is to consume one message now.
    ///
    /// Reference: `ConsumeMessageDirectlyResultRequestHeader` (remoting), 5.5.0.
    pub struct ConsumeMessageDirectlyResultRequestHeader {
        consumer_group: String = "consumerGroup",
        client_id: Option<String> = "clientId",
        /// Offset id of the message.
        msg_id: Option<String> = "msgId",
        topic: Option<String> = "topic",
    }

    /// Answer to `GET_BROKER_CONFIG` (26).
    ///
    /// Reference: `GetBrokerConfigResponseHeader` (remoting), 5.5.0.
    pub struct GetBrokerConfigResponseHeader {
        /// Version of the settings, as JSON.
        version: String = "version",
    }
}
