//! What the broker refuses, with the reference's codes and words.

mod code;
mod lite;
mod not_leader;

use std::net::SocketAddr;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::fastjson::FastjsonError;
use oxmq_protocol::header::HeaderError;
use oxmq_protocol::message::ReceiptHandleError;
use oxmq_remoting::InvokeError;
use oxmq_store::{PutMessageStatus, Stuck};

pub(crate) use self::lite::LiteError;
use crate::config::change::ChangeError;
use crate::filter::SqlError;
use crate::static_topic::MappingError;
use crate::topic_validator::InvalidName;

/// What the reference puts behind some remarks.
pub(crate) const SEE_FAQ: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A request that the broker refuses. Every variant has one response code and one remark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// A field is missing or no number. The client has to be mended.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body is not what the code asks for. The client has to be mended.
    #[error("request body: {0}")]
    Body(#[from] FastjsonError),
    /// A topic or group cannot have this name.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),

    /// It is about lite topics.
    #[error(transparent)]
    Lite(#[from] LiteError),

    // Settings.
    /// The body is not a property file.
    #[error("string2Properties error")]
    NotProperties,
    /// Settings that may not change so.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The file of the settings cannot be written.
    #[error("settings cannot be kept: {0}")]
    KeepConfig(String),
    /// Thresholds are not lines of `group=bytes`.
    #[error("string2Properties error")]
    ColdDataThresholds,
    /// The way to read ahead is missing or no number.
    #[error("set commitlog readahead mode failed")]
    ReadMode,
    /// There is no such way to read ahead.
    #[error("set commitlog readahead mode param value error")]
    ReadModeValue,

    // Sending.
    /// The broker is configured to take no messages before a point in time.
    #[error("broker unable to service, until {opens_at_ms} ms since 1970")]
    NotServingYet { opens_at_ms: i64 },
    /// Clients may not send to the topic.
    #[error("Sending message to topic[{0}] is forbidden.")]
    TopicSendForbidden(String),
    /// The broker takes no messages for ordered topics.
    #[error("the broker[{0}] sending message is forbidden")]
    BrokerSendForbidden(String),
    /// The topic does not exist and may not be created.
    #[error("topic[{0}] not exist, apply first please!{SEE_FAQ}")]
    TopicNotExist(String),
    /// The topic has no such queue.
    #[error("request queueId[{queue_id}] is illegal, {topic} Producer: {producer}")]
    QueueIdIllegal {
        queue_id: i32,
        /// The topic in the reference's notation.
        topic: String,
        producer: SocketAddr,
    },
    /// The group of a retry topic does not exist and may not be created.
    #[error("subscription group not exist, {0} {SEE_FAQ}")]
    SubscriptionGroupNotExist(String),
    /// A message without a body.
    #[error(
        "the message is illegal, maybe msg body or properties length not matched. its body is empty"
    )]
    EmptyBody,
    /// Another sender has been stuck in the log for too long: this one may try another broker.
    #[error(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {}ms, \
         size of queue: {}, the log has taken no message for {}ms as memory or disk is short",
        .0.waited.as_millis(), .0.waiting, .0.held.as_millis()
    )]
    Busy(Stuck),
    /// Too much waits, or is kept, already: the client goes elsewhere or tries again.
    #[error("[OVERLOAD]system busy, start flow control for a while")]
    Overload,
    /// A topic that keeps the last message of each key takes none without a key.
    #[error("Required message key is missing")]
    KeyMissing,
    /// A batch may not be sent to a retry topic.
    #[error("batch request does not support retry group {0}")]
    BatchToRetryTopic(String),
    /// The broker takes no half messages.
    #[error("the broker[{0}] sending transaction message is forbidden")]
    TransactionForbidden(String),

    // Static topics.
    /// Another broker leads the logical queue: the client looks for a newer route.
    #[error("{topic}-{queue_id} does not exit in request process of current broker {broker}")]
    NotLeader { topic: String, queue_id: i32, broker: String },
    /// The same, in the words of the reference for a pull.
    #[error(
        "{topic}-{queue_id} cannot find mapping item in request process of current broker {broker}"
    )]
    NotLeaderToPull { topic: String, queue_id: i32, broker: String },
    /// The same, in its words for the oldest offset.
    #[error(
        "{topic}-{queue_id} is not leader in broker {broker}, request code {}",
        RequestCode::GET_MIN_OFFSET.0
    )]
    NotLeaderOfMin { topic: String, queue_id: i32, broker: String },
    /// The broker of a part of the logical queue does not answer: the client tries again.
    #[error("broker {name} not asked: {reason}")]
    OtherBroker { name: String, reason: String },
    /// It answers with what it should not.
    #[error("Unknown response code {0}")]
    UnknownAnswer(i32),
    /// The mapping of a static topic that is refused.
    #[error(transparent)]
    Mapping(#[from] MappingError),

    // Transactions.
    /// There is no half message at this place of the log.
    #[error("Find prepared transaction message failed")]
    HalfMessageNotFound,
    /// The decision names another message than the one at its place of the log.
    #[error("{0}")]
    WrongTransaction(&'static str),
    /// The time that the message gives its producer is over; it is going to be asked.
    #[error("")]
    EndedTooLate,
    /// The store did not take a committed message.
    #[error("{remark}")]
    NotCommitted {
        status: PutMessageStatus,
        /// The same in the reference's words.
        remark: String,
    },
    /// The half message could not be put back.
    #[error("{0}")]
    NotResumed(&'static str),

    // Taking back.
    /// Nothing may be taken back.
    #[error("recall failed, operation is forbidden")]
    RecallForbidden,
    /// Nothing may be taken back at the moment.
    #[error("recall failed, broker service not available")]
    RecallNotNow,
    /// The topic does not exist.
    #[error("recall failed, the topic[{0}] not exist")]
    RecallTopicNotExist(String),
    /// The handle names nothing that waits here.
    #[error("{0}")]
    RecallRefused(&'static str),
    /// The store did not take it.
    #[error("recall failed, execute error")]
    RecallFailed,
    /// The timer is switched off.
    #[error("{0}")]
    NoTimer(&'static str),

    // Sending back.
    /// The retry or dead-letter topic could not be created.
    #[error("topic[{0}] not exist")]
    BackTopicNotExist(String),
    /// The retry topic takes no messages.
    #[error("the topic[{0}] sending message is forbidden")]
    BackTopicForbidden(String),
    /// There is no message at this place of the log.
    #[error("look message by offset failed, {0}")]
    LookMessageFailed(i64),
    /// The store did not take the message; the reference answers with the status' name.
    #[error("{0}")]
    PutBack(&'static str),

    // Pulling.
    /// The broker gives no messages.
    #[error("the broker[{0}] pulling message is forbidden")]
    BrokerPullForbidden(String),
    /// The broker serves no lite pulls.
    #[error("the broker[{0}] for lite pull consumer is forbidden")]
    LitePullForbidden(String),
    /// The group does not exist and may not be created.
    #[error("subscription group [{0}] does not exist, {SEE_FAQ}")]
    PullGroupNotExist(String),
    /// The group may not consume.
    #[error("subscription group no permission, {0}")]
    GroupNotPermitted(String),
    /// The topic does not exist.
    #[error("topic[{0}] not exist, apply first please! {SEE_FAQ}")]
    PullTopicNotExist(String),
    /// The topic gives no messages.
    #[error("the topic[{0}] pulling message is forbidden")]
    TopicPullForbidden(String),
    /// The topic has no such queue.
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] \
         topicConfig.readQueueNums:[{read_queue_nums}] consumer:[/{consumer}]"
    )]
    PullQueueIdIllegal { queue_id: i32, topic: String, read_queue_nums: i32, consumer: SocketAddr },
    /// No heartbeat has named the group.
    #[error("the consumer's group info not exist{SEE_FAQ}")]
    GroupInfoNotExist,
    /// Consumers that pull on their own account are left out, and this one is nobody else.
    #[error(
        "the consumer's group info not exist, or the pull consumer is rejected by server.{SEE_FAQ}"
    )]
    PullConsumerRejected,
    /// The group may not give every member every message.
    #[error("the consumer group[{0}] can not consume by broadcast way")]
    BroadcastForbidden(String),
    /// The group may not consume the topic.
    #[error("the consumer group[{group}] is forbidden for topic[{topic}]")]
    TopicForbiddenForGroup { group: String, topic: String },
    /// The group's heartbeats do not name the topic.
    #[error("the consumer's subscription not exist{SEE_FAQ}")]
    SubscriptionNotExist,
    /// The consumer's subscription is newer than the group's last heartbeat.
    #[error("the consumer's subscription not latest")]
    SubscriptionNotLatest,
    /// A kind of filter that the broker does not support.
    #[error("The broker does not support consumer to filter message by {0}")]
    FilterTypeNotSupported(String),
    /// The expression of the group cannot be compiled.
    #[error("The broker's consumer filter data is not exist!Your expression may be wrong!")]
    FilterDataNotExist,
    /// The expression that a pull brings along cannot be compiled.
    #[error("parse the consumer's subscription failed")]
    SubscriptionParse,
    /// An expression that a client wants checked cannot be compiled.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The group has read too much from disk: it may go on in a moment.
    #[error("This consumer group is reading cold data. It has been flow control")]
    ColdData,

    // Popping.
    /// The request comes after the end of its own time.
    #[error("the broker[{0}] pop message is timeout too much")]
    PopTooLate(String),
    /// The broker gives no messages.
    #[error("the broker[{0}] pop message is forbidden")]
    BrokerPopForbidden(String),
    /// The broker shows no messages.
    #[error("the broker[{0}] peeking message is forbidden")]
    BrokerPeekForbidden(String),
    /// More messages than a check point is about.
    #[error("the broker[{0}] pop message's num is greater than 32")]
    PopTooMany(String),
    /// Nothing would bring unacknowledged messages back.
    #[error("the broker[{0}] pop message is forbidden because timerWheelEnable is false")]
    PopWithoutTimer(String),
    /// Unacknowledged messages would come back later than a message can be delayed.
    #[error("invisibleTime is longer than timerMaxDelaySec allows, {longest_ms} ms")]
    InvisibleTooLong { longest_ms: i64 },
    /// The topic gives no messages.
    #[error("the topic[{0}] peeking message is forbidden")]
    TopicPeekForbidden(String),
    /// The topic has no such queue.
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] \
         topicConfig.readQueueNums:[{read_queue_nums}] consumer:[/{consumer}]"
    )]
    AckQueueIdIllegal { queue_id: i32, topic: String, read_queue_nums: i32, consumer: SocketAddr },
    /// The queue has no such message.
    #[error("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}")]
    AckOffsetIllegal {
        topic: String,
        queue_id: i32,
        offset: i64,
        min: i64,
        /// Offset that the next message gets.
        max: i64,
    },
    /// The queue has no such message, whose time is to be changed.
    #[error("")]
    ChangeOffsetIllegal,
    /// No such message was given out in order.
    #[error("offset is illegal, key:{key}, old:{committed}, commit:{offset}, next:-1, {client}")]
    OrderOffsetIllegal {
        /// Topic, group and queue.
        key: String,
        /// Where the group goes on.
        committed: i64,
        offset: i64,
        client: SocketAddr,
    },
    /// A request that acknowledges nothing.
    #[error("")]
    NothingToAck,
    /// An entry of a batch does not say which topic it is about.
    #[error("getRetry fail, format is wrong")]
    AckKindIllegal,
    /// The message is not named as this broker names them.
    #[error(transparent)]
    Receipt(#[from] ReceiptHandleError),
    /// The message is named with a queue that no unacknowledged messages are noted in.
    #[error("revive queue {queue_id} is illegal, there are {count}")]
    NoReviveQueue { queue_id: i32, count: i32 },
    /// The store does not take notes on popped messages at the moment. The client may try again.
    #[error("the message's state could not be stored")]
    PopNotNoted,

    // Consumer management.
    /// The group has no members.
    #[error("no consumer for this group, {0}")]
    NoConsumer(String),
    /// The group is new and the queue is not young enough to start at its first message.
    #[error("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")]
    OffsetNotFound,
    /// The group is new and does not want to start at offset 0.
    #[error("Not found, do not set to zero, maybe this group boot first")]
    OffsetNotFoundNorZero,
    /// A commit of a group that does not exist.
    #[error("Group {0} not exist!")]
    CommitGroupNotExist(String),
    /// A commit for a topic that does not exist.
    #[error("Topic {0} not exist!")]
    CommitTopicNotExist(String),
    /// A commit without a queue.
    #[error("QueueId is null, topic is {0}")]
    CommitWithoutQueue(String),
    /// A commit without an offset.
    #[error("Offset is null, topic is {0}")]
    CommitWithoutOffset(String),
    /// One request names more than it may.
    #[error("too many {what} in one request: {count}, at most {limit}")]
    TooMany { what: &'static str, count: usize, limit: usize },

    /// A retry topic is always pulled.
    #[error("retry topic is not allowed to set mode")]
    RetryTopicMode,
    /// The group does not exist.
    #[error("subscription group does not exist")]
    ModeGroupNotExist,

    // Resetting offsets.
    /// The topic does not exist.
    #[error("Topic {0} does not exist")]
    ResetTopicNotExist(String),
    /// The group does not exist.
    #[error("Group {0} does not exist")]
    ResetGroupNotExist(String),
    /// The queue has no such offset.
    #[error("Target offset {offset} not in consume queue range [{min}-{max}]")]
    ResetOutOfRange {
        offset: i64,
        min: i64,
        /// Offset that the next message gets.
        max: i64,
    },
    /// The topic has no queues to read.
    #[error("No queues to reset.")]
    NoQueuesToReset,

    /// The topic does not exist, when members are to be told.
    #[error("[reset-offset] reset offset failed, no topic in this broker. topic={0}")]
    ToldTopicNotExist(String),
    /// The group has committed nothing, when members are to be told.
    #[error("THe consumer group <{0}> not exist")]
    ToldGroupNotExist(String),
    /// Nobody is there to be told.
    #[error(
        "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: \
         {timestamp}"
    )]
    ToldGroupNotOnline {
        group: String,
        topic: String,
        /// What was asked for, ms since 1970.
        timestamp: i64,
    },

    // Relays to a client.
    /// Nobody is there to be asked.
    #[error("No Any Consumer online in the consumer group: [{0}]")]
    NoMembers(String),
    /// A member does not know such requests.
    #[error("the client does not support this feature. version={version}")]
    ClientLacksFeature { version: i32 },
    /// The client is not there.
    #[error("The Consumer <{group}> <{client_id}> not online")]
    ClientNotOnline { group: String, client_id: String },
    /// The client does not know such requests.
    #[error(
        "The Consumer <{client_id}> Version <{version}> too low to finish, please upgrade it to \
         V3_1_8_SNAPSHOT"
    )]
    ClientTooOld { client_id: String, version: i32 },
    /// The client did not answer in time.
    #[error("consumer <{group}> <{client_id}> Timeout: {cause}")]
    ClientTimeout { group: String, client_id: String, cause: InvokeError },
    /// The client could not be asked.
    #[error("invoke consumer <{group}> <{client_id}> Exception: {cause}")]
    ClientFailed { group: String, client_id: String, cause: InvokeError },

    // Tools.
    /// Nothing was counted under this name and key.
    #[error("The stats <{name}> <{key}> not exist")]
    NoStats { name: String, key: String },
    /// The queue asked about does not exist.
    #[error("{queue_id}@{topic} is not exist!")]
    NoQueue { topic: String, queue_id: i32 },
    /// The group asked about does not exist and may not be created.
    #[error("No group in this broker")]
    NoGroup,
    /// A blank name of a topic to delete.
    #[error("The specified topic is blank.")]
    BlankTopic,
    /// A system topic may not be changed.
    #[error("The topic[{0}] is conflict with system topic.")]
    SystemTopic(String),
    /// Topics may not hold every type of message.
    #[error("MIXED message type is not supported.")]
    MixedMessageType,
    /// The change is not possible; the text says why.
    #[error("{0}")]
    Unchangeable(String),
    /// A number of queues that no topic can have.
    #[error("{what} must be between 0 and {limit}, not {value}")]
    QueueNums {
        /// Which number.
        what: &'static str,
        value: i32,
        limit: i32,
    },
    /// The topic asked about does not exist.
    #[error("No topic in this broker. topic: {0}")]
    NoTopic(String),
    /// The topic asked about does not exist.
    #[error("topic[{0}] not exist")]
    StatsTopicNotExist(String),
    /// There is no message at this place of the log.
    #[error("can not find message by the offset, {0}")]
    MessageNotFound(i64),
    /// The group asked about has no members.
    #[error("the consumer group[{0}] not online")]
    ConsumerNotOnline(String),
    /// The producer group asked about has no members.
    #[error("the producer group[{0}] not exist")]
    ProducerGroupNotExist(String),
}
