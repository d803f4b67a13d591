//! Lite topics: queues of a topic that appear when they are sent to, each for who subscribes it.

header! {
    /// `POP_LITE_MESSAGE` (200070): messages of the lite topics that a client subscribes.
    ///
    /// Reference: `PopLiteMessageRequestHeader` (remoting), 5.5.0.
    pub struct PopLiteMessageRequestHeader {
        client_id: String = "clientId",
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        max_msg_num: i32 = "maxMsgNum",
        /// How long the messages are for this client alone, ms.
        invisible_time: i64 = "invisibleTime",
        /// How long the request may be held, ms.
        poll_time: i64 = "pollTime",
        /// When the request was made, ms since 1970; 0 is now.
        born_time: i64 = "bornTime" | 0,
        /// One value for a request and its repetitions.
        attempt_id: Option<String> = "attemptId",
    }

    /// Answer to it.
    ///
    /// Reference: `PopLiteMessageResponseHeader` (remoting), 5.5.0.
    pub struct PopLiteMessageResponseHeader {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_qid: i32 = "reviveQid",
        start_offset_info: Option<String> = "startOffsetInfo",
        msg_offset_info: Option<String> = "msgOffsetInfo",
        order_count_info: Option<String> = "orderCountInfo",
    }

    /// `NOTIFY_UNSUBSCRIBE_LITE` (200073): a broker tells a client that another one has taken over.
    ///
    /// Reference: `NotifyUnsubscribeLiteRequestHeader` (remoting), 5.5.0.
    pub struct NotifyUnsubscribeLiteRequestHeader {
        lite_topic: String = "liteTopic",
        consumer_group: String = "consumerGroup",
        client_id: String = "clientId",
    }

    /// `GET_PARENT_TOPIC_INFO` (200075).
    ///
    /// Reference: `GetParentTopicInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetParentTopicInfoRequestHeader {
        topic: String = "topic",
    }

    /// `GET_LITE_TOPIC_INFO` (200076).
    ///
    /// Reference: `GetLiteTopicInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetLiteTopicInfoRequestHeader {
        parent_topic: Option<String> = "parentTopic",
        lite_topic: Option<String> = "liteTopic",
    }

    /// `GET_LITE_CLIENT_INFO` (200077).
    ///
    /// Reference: `GetLiteClientInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetLiteClientInfoRequestHeader {
        parent_topic: Option<String> = "parentTopic",
        group: Option<String> = "group",
        client_id: Option<String> = "clientId",
        /// Most lite topics that are named.
        max_count: i32 = "maxCount" | 1_000,
    }

    /// `GET_LITE_GROUP_INFO` (200078).
    ///
    /// Reference: `GetLiteGroupInfoRequestHeader` (remoting), 5.5.0.
    pub struct GetLiteGroupInfoRequestHeader {
        group: String = "group",
        /// Nothing is all of them.
        lite_topic: Option<String> = "liteTopic",
        /// Most lite topics that are named.
        top_k: i32 = "topK" | 0,
    }

    /// `TRIGGER_LITE_DISPATCH` (200079).
    ///
    /// Reference: `TriggerLiteDispatchRequestHeader` (remoting), 5.5.0.
    pub struct TriggerLiteDispatchRequestHeader {
        group: String = "group",
        /// Nothing is every client of the group.
        client_id: Option<String> = "clientId",
    }
}
