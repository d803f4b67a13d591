//! Where a consumer group resumes.

header! {
    /// `QUERY_CONSUMER_OFFSET` (14): where a consumer group resumes on one queue.
    ///
    /// Reference: `QueryConsumerOffsetRequestHeader` (remoting), 5.5.0.
    pub struct QueryConsumerOffsetRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        /// `Some(false)` forbids the fallback to offset 0. 4.x clients do not send it.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    /// Answer to `QUERY_CONSUMER_OFFSET`.
    ///
    /// Reference: `QueryConsumerOffsetResponseHeader` (remoting), 5.5.0.
    pub struct QueryConsumerOffsetResponseHeader {
        offset: i64 = "offset",
    }

    /// `UPDATE_CONSUMER_OFFSET` (15): a group has consumed up to an offset of one queue.
    ///
    /// Reference: `UpdateConsumerOffsetRequestHeader` (remoting), 5.5.0.
    pub struct UpdateConsumerOffsetRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        /// Absent is an `INVALID_PARAMETER` of its own in the reference, not a decoding failure.
        queue_id: Option<i32> = "queueId",
        /// As `queue_id`.
        commit_offset: Option<i64> = "commitOffset",
    }
}
