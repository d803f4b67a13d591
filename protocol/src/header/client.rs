//! Clients and the groups that they belong to.

header! {
    /// `UNREGISTER_CLIENT` (35): a client leaves its groups.
    ///
    /// Reference: `UnregisterClientRequestHeader` (remoting), 5.5.0.
    pub struct UnregisterClientRequestHeader {
        /// The .NET client spells it `ClientId`, which the reference refuses.
        client_id: Option<String> = "clientID",
        producer_group: Option<String> = "producerGroup",
        consumer_group: Option<String> = "consumerGroup",
    }

    /// `GET_CONSUMER_LIST_BY_GROUP` (38): who shares a group's queues.
    ///
    /// Reference: `GetConsumerListByGroupRequestHeader` (remoting), 5.5.0.
    pub struct GetConsumerListByGroupRequestHeader {
        consumer_group: String = "consumerGroup",
    }

    /// `NOTIFY_CONSUMER_IDS_CHANGED` (40): the members of a group have changed.
    ///
    /// Reference: `NotifyConsumerIdsChangedRequestHeader` (remoting), 5.5.0.
    pub struct NotifyConsumerIdsChangedRequestHeader {
        consumer_group: String = "consumerGroup",
    }

    /// `GET_CONSUMER_CONNECTION_LIST` (203): members and subscriptions of a group.
    ///
    /// Reference: `GetConsumerConnectionListRequestHeader` (remoting), 5.5.0.
    pub struct GetConsumerConnectionListRequestHeader {
        consumer_group: String = "consumerGroup",
    }

    /// `GET_PRODUCER_CONNECTION_LIST` (204): members of a producer group.
    ///
    /// Reference: `GetProducerConnectionListRequestHeader` (remoting), 5.5.0.
    pub struct GetProducerConnectionListRequestHeader {
        producer_group: String = "producerGroup",
    }

    /// `GET_CONSUME_STATS` (208): how far a group is behind.
    ///
    /// Reference: `GetConsumeStatsRequestHeader` (remoting), 5.5.0.
    pub struct GetConsumeStatsRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: Option<String> = "topic",
        /// Topics separated by `;`; wins over `topic`.
        topic_list: Option<String> = "topicList",
    }

    /// `CONSUMER_SEND_MSG_BACK` (36): a message is to be delivered again later.
    ///
    /// Reference: `ConsumerSendMsgBackRequestHeader` (remoting), 5.5.0.
    pub struct ConsumerSendMsgBackRequestHeader {
        /// Commit-log offset of the message.
        offset: i64 = "offset",
        group: String = "group",
        delay_level: i32 = "delayLevel",
        origin_msg_id: Option<String> = "originMsgId",
        origin_topic: Option<String> = "originTopic",
        unit_mode: bool = "unitMode" | false,
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }

    /// `VIEW_MESSAGE_BY_ID` (33): one message by its place in the commit log.
    ///
    /// Reference: `ViewMessageRequestHeader` (remoting), 5.5.0.
    pub struct ViewMessageRequestHeader {
        topic: Option<String> = "topic",
        offset: i64 = "offset",
    }
}
