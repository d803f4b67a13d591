//! What is refused about lite topics.

use oxmq_protocol::code::ResponseCode;

use super::SEE_FAQ;

/// A request about lite topics that the broker refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiteError {
    /// The request names nobody.
    #[error("{0}")]
    Empty(&'static str),
    /// The subscription is not possible as things are.
    #[error("java.lang.IllegalStateException: {0}")]
    State(&'static str),
    /// There are too many subscriptions.
    #[error(
        "org.apache.rocketmq.broker.lite.LiteQuotaException: lite subscription quota exceeded {0}"
    )]
    Quota(i64),
    /// An entry says nothing about what is to be done, or names no lite topic.
    #[error("the subscription of {client} has no action or a lite topic without a name")]
    Subscription { client: String },
    /// The topic popped does not exist.
    #[error("topic [{0}] not exist, apply first please! {SEE_FAQ}")]
    PopTopicNotExist(String),
    /// The topic popped cannot be read.
    #[error("the topic [{0}] peeking message is forbidden")]
    PopForbidden(String),
    /// The topic popped has no lite topics.
    #[error("the topic [{0}] message type not match")]
    PopTopicType(String),
    /// The group that pops does not exist and may not be created.
    #[error("subscription group [{0}] not exist, {SEE_FAQ}")]
    PopGroupNotExist(String),
    /// The group that pops is for lite topics of another topic, or of none.
    #[error("subscription bind topic not match, {0}")]
    PopBind(String),
    /// The group that gives a message back is for lite topics of another topic, or of none.
    #[error("group type or bind topic not match.")]
    AckBind,
    /// A lite topic has no such message.
    #[error("ack offset illegal.")]
    AckOffset,
    /// A lite topic has one queue.
    #[error("ack queue illegal.")]
    AckQueue,
    /// No such message was given out.
    #[error("ack offset illegal.")]
    AckUnknown,
    /// The topic asked about does not exist.
    #[error("Topic [{0}] not exist.")]
    TopicNotExist(String),
    /// The topic asked about has no lite topics.
    #[error("Topic [{0}] type not match.")]
    TopicType(String),
    /// The group asked about does not exist.
    #[error("Group [{0}] not exist.")]
    GroupNotExist(String),
    /// The group asked about is for lite topics of another topic, or of none.
    #[error("Subscription [{group}]-[{topic}] not match.")]
    NotBound { group: String, topic: String },
    /// The group asked about is for no lite topics.
    #[error("Group [{0}] is not a LITE group.")]
    NotLiteGroup(String),
    /// So many cannot be named.
    #[error("[{0}] field invalid")]
    Count(&'static str),
}

impl LiteError {
    pub(super) fn response_code(&self) -> ResponseCode {
        match self {
            Self::Empty(_) | Self::State(_) => ResponseCode::ILLEGAL_OPERATION,
            Self::Quota(_) => ResponseCode::LITE_SUBSCRIPTION_QUOTA_EXCEEDED,
            Self::Subscription { .. } | Self::Count(_) => ResponseCode::SYSTEM_ERROR,
            Self::PopTopicNotExist(_) | Self::TopicNotExist(_) => ResponseCode::TOPIC_NOT_EXIST,
            Self::PopForbidden(_) => ResponseCode::NO_PERMISSION,
            Self::PopGroupNotExist(_) | Self::GroupNotExist(_) => {
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST
            }
            Self::PopTopicType(_)
            | Self::PopBind(_)
            | Self::AckBind
            | Self::AckQueue
            | Self::TopicType(_)
            | Self::NotBound { .. }
            | Self::NotLiteGroup(_) => ResponseCode::INVALID_PARAMETER,
            Self::AckOffset => ResponseCode::NO_MESSAGE,
            Self::AckUnknown => ResponseCode::MESSAGE_ILLEGAL,
        }
    }
}
