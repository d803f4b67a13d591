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

    /// `GET_CONSUMER_STATUS_FROM_CLIENT` (221) and `INVOKE_BROKER_TO_GET_CONSUMER_STATUS` (223):
    /// where each member of a group is in its queues.
    ///
    /// Reference: `GetConsumerStatusRequestHeader` (remoting), 5.5.0.
    pub struct GetConsumerStatusRequestHeader {
        topic: String = "topic",
        group: String = "group",
        /// Id of the one member that is meant.
        client_addr: Option<String> = "clientAddr",
    }

    /// `QUERY_CONSUME_TIME_SPAN` (303): how old the messages are that a group consumes.
    ///
    /// Reference: `QueryConsumeTimeSpanRequestHeader` (remoting), 5.5.0.
    pub struct QueryConsumeTimeSpanRequestHeader {
        topic: String = "topic",
        group: String = "group",
    }

    /// `QUERY_CORRECTION_OFFSET` (308): the lowest offset of all groups.
    ///
    /// Reference: `QueryCorrectionOffsetHeader` (remoting), 5.5.0.
    pub struct QueryCorrectionOffsetHeader {
        /// Groups that are left out, separated by commas.
        filter_groups: Option<String> = "filterGroups",
        compare_group: String = "compareGroup",
        topic: String = "topic",
    }

    /// `VIEW_BROKER_STATS_DATA` (315): what was counted.
    ///
    /// Reference: `ViewBrokerStatsDataRequestHeader` (remoting), 5.5.0.
    pub struct ViewBrokerStatsDataRequestHeader {
        /// Such as `TOPIC_PUT_NUMS`.
        stats_name: String = "statsName",
        /// Such as a topic.
        stats_key: String = "statsKey",
    }

    /// `GET_BROKER_CONSUME_STATS` (317): the progress of every group.
    ///
    /// Reference: `GetConsumeStatsInBrokerHeader` (remoting), 5.5.0.
    pub struct GetConsumeStatsInBrokerHeader {
        /// Leaves out topics that are not ordered.
        is_order: bool = "isOrder" | false,
    }

    /// `QUERY_CONSUME_QUEUE` (321): units of a queue.
    ///
    /// Reference: `QueryConsumeQueueRequestHeader` (remoting), 5.5.0.
    pub struct QueryConsumeQueueRequestHeader {
        topic: Option<String> = "topic",
        queue_id: i32 = "queueId" | 0,
        /// Offset of the first unit.
        index: i64 = "index" | 0,
        count: i32 = "count" | 0,
        consumer_group: Option<String> = "consumerGroup",
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
