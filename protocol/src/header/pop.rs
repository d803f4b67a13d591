//! Pop: taking messages for a while, and giving them back or not.

header! {
    /// `POP_MESSAGE` (200050).
    ///
    /// Reference: `PopMessageRequestHeader` (remoting), 5.5.0.
    pub struct PopMessageRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        /// -1 is any queue.
        queue_id: i32 = "queueId",
        max_msg_nums: i32 = "maxMsgNums",
        /// How long the messages are for this consumer alone, ms.
        invisible_time: i64 = "invisibleTime",
        /// How long the request may be held, ms.
        poll_time: i64 = "pollTime",
        /// When the request was made, ms since 1970; 0 is now.
        born_time: i64 = "bornTime" | 0,
        /// Where a new group begins: 0 at the first message, 1 at the last.
        init_mode: i32 = "initMode",
        exp_type: Option<String> = "expType",
        exp: Option<String> = "exp",
        order: Option<bool> = "order",
        /// One value for a request and its repetitions.
        attempt_id: Option<String> = "attemptId",
    }

    /// Answer to a pop.
    ///
    /// Reference: `PopMessageResponseHeader` (remoting), 5.5.0.
    pub struct PopMessageResponseHeader {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_qid: i32 = "reviveQid",
        rest_num: i64 = "restNum",
        start_offset_info: Option<String> = "startOffsetInfo",
        msg_offset_info: Option<String> = "msgOffsetInfo",
        order_count_info: Option<String> = "orderCountInfo",
    }

    /// `ACK_MESSAGE` (200051).
    ///
    /// Reference: `AckMessageRequestHeader` (remoting), 5.5.0.
    pub struct AckMessageRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        extra_info: String = "extraInfo",
        offset: i64 = "offset",
        /// The lite topic of `topic` that the message is of.
        lite_topic: Option<String> = "liteTopic",
    }

    /// `CHANGE_MESSAGE_INVISIBLETIME` (200053).
    ///
    /// Reference: `ChangeInvisibleTimeRequestHeader` (remoting), 5.5.0.
    pub struct ChangeInvisibleTimeRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        extra_info: String = "extraInfo",
        offset: i64 = "offset",
        invisible_time: i64 = "invisibleTime",
        /// The lite topic of `topic` that the message is of.
        lite_topic: Option<String> = "liteTopic",
        /// Whether the lite topic rests until then, without this counting as consumed.
        suspend: bool = "suspend" | false,
    }

    /// Answer to it: what a new receipt is made of.
    ///
    /// Reference: `ChangeInvisibleTimeResponseHeader` (remoting), 5.5.0.
    pub struct ChangeInvisibleTimeResponseHeader {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_qid: i32 = "reviveQid",
    }

    /// `NOTIFICATION` (200054): waits for a message without taking it.
    ///
    /// Reference: `NotificationRequestHeader` (remoting), 5.5.0.
    pub struct NotificationRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime" | 0,
        order: Option<bool> = "order",
        attempt_id: Option<String> = "attemptId",
        exp_type: Option<String> = "expType",
        exp: Option<String> = "exp",
    }

    /// Answer to it.
    ///
    /// Reference: `NotificationResponseHeader` (remoting), 5.5.0.
    pub struct NotificationResponseHeader {
        has_msg: bool = "hasMsg",
        polling_full: bool = "pollingFull" | false,
    }

    /// `POLLING_INFO` (200055): how many pops wait.
    ///
    /// Reference: `PollingInfoRequestHeader` (remoting), 5.5.0.
    pub struct PollingInfoRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
    }

    /// Answer to it.
    ///
    /// Reference: `PollingInfoResponseHeader` (remoting), 5.5.0.
    pub struct PollingInfoResponseHeader {
        polling_num: i32 = "pollingNum",
    }

    /// `PEEK_MESSAGE` (200052): reads what a pop would take.
    ///
    /// Reference: `PeekMessageRequestHeader` (remoting), 5.5.0.
    pub struct PeekMessageRequestHeader {
        topic: String = "topic",
        queue_id: i32 = "queueId",
        max_msg_nums: i32 = "maxMsgNums",
        consumer_group: String = "consumerGroup",
    }
}
