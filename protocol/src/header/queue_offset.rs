//! Offsets of one queue.

header! {
    /// `GET_MAX_OFFSET` (30).
    ///
    /// Reference: `GetMaxOffsetRequestHeader` (remoting), 5.5.0.
    pub struct GetMaxOffsetRequestHeader {
        topic: String = "topic",
        queue_id: i32 = "queueId",
        committed: bool = "committed" | true,
    }

    /// `GET_MIN_OFFSET` (31).
    ///
    /// Reference: `GetMinOffsetRequestHeader` (remoting), 5.5.0.
    pub struct GetMinOffsetRequestHeader {
        topic: String = "topic",
        queue_id: i32 = "queueId",
    }

    /// `SEARCH_OFFSET_BY_TIMESTAMP` (29).
    ///
    /// Reference: `SearchOffsetRequestHeader` (remoting), 5.5.0.
    pub struct SearchOffsetRequestHeader {
        topic: String = "topic",
        queue_id: i32 = "queueId",
        timestamp: i64 = "timestamp",
        /// `upper` in any case; anything else, also absent, is the lower boundary.
        boundary_type: Option<String> = "boundaryType",
        /// The lite topic of `topic` that is asked about.
        lite_topic: Option<String> = "liteTopic",
    }

    /// `GET_EARLIEST_MSG_STORETIME` (32).
    ///
    /// Reference: `GetEarliestMsgStoretimeRequestHeader` (remoting), 5.5.0.
    pub struct GetEarliestMsgStoretimeRequestHeader {
        topic: String = "topic",
        queue_id: i32 = "queueId",
    }

    /// Answer to `GET_EARLIEST_MSG_STORETIME`.
    ///
    /// Reference: `GetEarliestMsgStoretimeResponseHeader` (remoting), 5.5.0.
    pub struct GetEarliestMsgStoretimeResponseHeader {
        timestamp: i64 = "timestamp",
    }

    /// Answer to the three requests for an offset.
    ///
    /// Reference: `GetMaxOffsetResponseHeader`, `GetMinOffsetResponseHeader`,
    /// `SearchOffsetResponseHeader` (remoting), 5.5.0.
    pub struct OffsetResponseHeader {
        offset: i64 = "offset",
    }
}
