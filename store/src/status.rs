//! Outcomes of putting and getting.

/// How putting a message went.
///
/// Reference: `PutMessageStatus` (store), 5.5.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PutMessageStatus {
    /// Stored, and as durable as configured.
    PutOk,
    /// Stored, but not flushed in time.
    FlushDiskTimeout,
    /// Stored, but not replicated in time.
    FlushSlaveTimeout,
    /// Stored; no replica can take it.
    SlaveNotAvailable,
    /// Refused: closed, poisoned, disk full, not written, or not the master.
    ServiceNotAvailable,
    /// Refused: the next log file could not be made.
    CreateMappedFileFailed,
    /// Refused: a part of the message is over a limit, or the topic cannot be stored.
    MessageIllegal,
    /// Refused: the properties are too long.
    PropertiesSizeExceeded,
    /// Refused: the log has been locked for too long.
    OsPageCacheBusy,
    /// Refused for a reason without a status of its own.
    UnknownError,
    /// Refused: too few replicas are in sync.
    InSyncReplicasNotEnough,
    /// Refused by the remote broker that the message was meant for.
    PutToRemoteBrokerFail,
    /// Refused: too many light message queues.
    LmqConsumeQueueNumExceeded,
    /// Refused: too many timer messages for one moment.
    WheelTimerFlowControl,
    /// Refused: the timer properties make no sense.
    WheelTimerMsgIllegal,
    /// Refused: the timer is off.
    WheelTimerNotEnable,
}

impl PutMessageStatus {
    /// Whether the message is in the log.
    pub const fn is_stored(self) -> bool {
        matches!(
            self,
            Self::PutOk
                | Self::FlushDiskTimeout
                | Self::FlushSlaveTimeout
                | Self::SlaveNotAvailable
        )
    }
}

/// How putting a message went, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutMessageResult {
    /// How it went; the other fields are zero unless the message is stored.
    pub status: PutMessageStatus,
    /// Position of the (first) record in the commit log.
    pub phy_offset: i64,
    /// Bytes of the record, or of all records of a batch.
    pub wrote_bytes: u32,
    /// Index of the (first) message in its queue.
    pub queue_offset: i64,
    /// When the store took the message, in milliseconds since 1970.
    pub store_timestamp_ms: i64,
    /// Messages stored.
    pub message_count: u32,
}

impl PutMessageResult {
    /// The result of a message that is not stored.
    pub const fn refused(status: PutMessageStatus) -> Self {
        Self {
            status,
            phy_offset: 0,
            wrote_bytes: 0,
            queue_offset: 0,
            store_timestamp_ms: 0,
            message_count: 0,
        }
    }

    /// Log position behind the stored bytes: what has to be flushed before they are durable.
    pub const fn end_phy_offset(&self) -> i64 {
        self.phy_offset + self.wrote_bytes as i64
    }
}

/// How getting messages went.
///
/// Reference: `GetMessageStatus` (store), 5.5.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GetMessageStatus {
    /// At least one message.
    Found,
    /// The filter passed none of the messages looked at.
    NoMatchedMessage,
    /// The messages have been deleted from the log meanwhile.
    MessageWasRemoving,
    /// The offset is in range, but its unit cannot be read.
    OffsetFoundNull,
    /// The offset is beyond the end of the queue.
    OffsetOverflowBadly,
    /// The offset is the end of the queue: the next message will have it.
    OffsetOverflowOne,
    /// The offset is before the start of the queue.
    OffsetTooSmall,
    /// There is no such queue.
    NoMatchedLogicQueue,
    /// The queue is empty.
    NoMessageInQueue,
    /// The broker moved the group to another offset.
    OffsetReset,
}

impl GetMessageStatus {
    /// The reference's name, which responses carry as their remark.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Self::OffsetReset => "OFFSET_RESET",
        }
    }
}

/// How getting messages went, and where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetMessageResult {
    /// How it went.
    pub status: GetMessageStatus,
    /// Queue offset to ask for next.
    pub next_begin_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Offset behind the last message of the queue.
    pub max_offset: i64,
    /// Messages appended to the output.
    pub message_count: u32,
    /// Whether the reader is so far behind that it should read from a replica.
    pub suggest_slave: bool,
    /// Bytes of the log behind the last message that was looked at; 0 if none was.
    pub behind_bytes: i64,
}
