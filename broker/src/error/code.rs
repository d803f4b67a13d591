//! The response code of each refusal.

use oxmq_protocol::code::ResponseCode;

use super::RequestError;
use crate::config::change::ChangeError;
use crate::put_status;

impl RequestError {
    /// The code that the client sees. No `_` arm: whoever adds a variant decides its code here.
    pub(crate) fn response_code(&self) -> ResponseCode {
        match self {
            Self::Change(ChangeError::Closed) => ResponseCode::NO_PERMISSION,
            Self::Change(_) => ResponseCode::SYSTEM_ERROR,
            Self::Lite(error) => error.response_code(),
            Self::NotCommitted { status, .. } => put_status::commit_code(*status),
            // The reference fails over the missing body before it looks at the message.
            Self::EmptyBody => ResponseCode::SYSTEM_ERROR,
            Self::Header(_)
            | Self::Body(_)
            | Self::NotProperties
            | Self::KeepConfig(_)
            | Self::BackTopicNotExist(_)
            | Self::LookMessageFailed(_)
            | Self::PutBack(_)
            | Self::HalfMessageNotFound
            | Self::WrongTransaction(_)
            | Self::NotResumed(_)
            | Self::RecallFailed
            | Self::NoTimer(_)
            | Self::FilterTypeNotSupported(_)
            | Self::NoConsumer(_)
            | Self::TooMany { .. }
            | Self::Unchangeable(_)
            | Self::MessageNotFound(_)
            | Self::NoStats { .. }
            | Self::NoQueue { .. }
            | Self::ResetOutOfRange { .. }
            | Self::NoQueuesToReset
            | Self::ClientNotOnline { .. }
            | Self::ToldGroupNotExist(_)
            | Self::NoMembers(_)
            | Self::ClientLacksFeature { .. }
            | Self::ClientTooOld { .. }
            | Self::ClientFailed { .. }
            | Self::ProducerGroupNotExist(_)
            | Self::ColdDataThresholds
            | Self::ReadMode
            | Self::NotServingYet { .. }
            | Self::PopWithoutTimer(_)
            | Self::AckKindIllegal
            | Self::Receipt(_)
            | Self::NoReviveQueue { .. }
            | Self::PopNotNoted
            | Self::OtherBroker { .. }
            | Self::UnknownAnswer(_)
            | Self::Mapping(_) => ResponseCode::SYSTEM_ERROR,
            Self::NotLeader { .. } | Self::NotLeaderToPull { .. } | Self::NotLeaderOfMin { .. } => {
                ResponseCode::NOT_LEADER_FOR_QUEUE
            }
            Self::Busy(_) | Self::Overload | Self::ColdData => ResponseCode::SYSTEM_BUSY,
            Self::ReadModeValue
            | Self::PopTooMany(_)
            | Self::InvisibleTooLong { .. }
            | Self::InvalidName(_)
            | Self::QueueIdIllegal { .. }
            | Self::PullQueueIdIllegal { .. }
            | Self::CommitWithoutQueue(_)
            | Self::CommitWithoutOffset(_)
            | Self::BlankTopic
            | Self::SystemTopic(_)
            | Self::MixedMessageType
            | Self::QueueNums { .. } => ResponseCode::INVALID_PARAMETER,
            Self::KeyMissing
            | Self::AckQueueIdIllegal { .. }
            | Self::OrderOffsetIllegal { .. }
            | Self::BatchToRetryTopic(_) => ResponseCode::MESSAGE_ILLEGAL,
            Self::PopTooLate(_) => ResponseCode::POLLING_TIMEOUT,
            Self::AckOffsetIllegal { .. } | Self::ChangeOffsetIllegal | Self::NothingToAck => {
                ResponseCode::NO_MESSAGE
            }
            Self::TopicSendForbidden(_)
            | Self::BrokerSendForbidden(_)
            | Self::TransactionForbidden(_)
            | Self::RecallForbidden
            | Self::BackTopicForbidden(_)
            | Self::BrokerPullForbidden(_)
            | Self::BrokerPopForbidden(_)
            | Self::BrokerPeekForbidden(_)
            | Self::TopicPeekForbidden(_)
            | Self::LitePullForbidden(_)
            | Self::GroupNotPermitted(_)
            | Self::TopicPullForbidden(_)
            | Self::BroadcastForbidden(_)
            | Self::RetryTopicMode
            | Self::TopicForbiddenForGroup { .. } => ResponseCode::NO_PERMISSION,
            Self::EndedTooLate | Self::RecallRefused(_) => ResponseCode::ILLEGAL_OPERATION,
            Self::RecallNotNow => ResponseCode::SERVICE_NOT_AVAILABLE,
            Self::TopicNotExist(_)
            | Self::PullTopicNotExist(_)
            | Self::CommitTopicNotExist(_)
            | Self::ResetTopicNotExist(_)
            | Self::ToldTopicNotExist(_)
            | Self::NoTopic(_)
            | Self::RecallTopicNotExist(_)
            | Self::StatsTopicNotExist(_) => ResponseCode::TOPIC_NOT_EXIST,
            Self::SubscriptionGroupNotExist(_)
            | Self::PullGroupNotExist(_)
            | Self::ResetGroupNotExist(_)
            | Self::NoGroup
            | Self::ModeGroupNotExist
            | Self::CommitGroupNotExist(_) => ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
            Self::GroupInfoNotExist | Self::SubscriptionNotExist | Self::PullConsumerRejected => {
                ResponseCode::SUBSCRIPTION_NOT_EXIST
            }
            Self::SubscriptionParse | Self::Sql(_) => ResponseCode::SUBSCRIPTION_PARSE_FAILED,
            Self::FilterDataNotExist => ResponseCode::FILTER_DATA_NOT_EXIST,
            Self::SubscriptionNotLatest => ResponseCode::SUBSCRIPTION_NOT_LATEST,
            Self::OffsetNotFound | Self::OffsetNotFoundNorZero => ResponseCode::QUERY_NOT_FOUND,
            Self::ClientTimeout { .. } => ResponseCode::CONSUME_MSG_TIMEOUT,
            Self::ConsumerNotOnline(_) | Self::ToldGroupNotOnline { .. } => {
                ResponseCode::CONSUMER_NOT_ONLINE
            }
        }
    }

    /// The field that tells a pulling client what forbids it to.
    ///
    /// Reference: `ForbiddenType` (common), 5.5.0.
    pub(crate) fn forbidden_type(&self) -> Option<i64> {
        match self {
            Self::BrokerPullForbidden(_) | Self::LitePullForbidden(_) => Some(1),
            Self::GroupNotPermitted(_) => Some(2),
            Self::TopicPullForbidden(_) => Some(3),
            Self::BroadcastForbidden(_) => Some(4),
            Self::TopicForbiddenForGroup { .. } => Some(5),
            _ => None,
        }
    }
}
