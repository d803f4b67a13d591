//! Property names that brokers and clients reserve.
//!
//! Reference: `MessageConst` (common), 5.5.0.

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: &str = $name;)*
    };
}

names! {
    /// Index keys, separated by blanks.
    KEYS = "KEYS";
    /// The tag (or tags) that consumers subscribe by.
    TAGS = "TAGS";
    /// `false` when the sender does not wait for flush or replication.
    WAIT_STORE_MSG_OK = "WAIT";
    /// Delay level, from 1.
    DELAY_TIME_LEVEL = "DELAY";
    /// Delay in seconds.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// Delay in milliseconds.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// Delivery time in milliseconds since 1970.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// Timer internal: aligned delivery time.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// Timer internal: when the message entered the timer.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// Timer internal: when the message left the timer.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// Timer internal: how often the message was put back for a later round.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// Timer internal: unique key of the timer message to delete.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// Timer internal: delay level of the message.
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    /// Topic to which a delayed, timer or half message really goes.
    REAL_TOPIC = "REAL_TOPIC";
    /// Queue to which a delayed, timer or half message really goes.
    REAL_QUEUE_ID = "REAL_QID";
    /// Topic that a retried message came from.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// Offset id of the first delivery of a retried message.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// Group that a retried message was given to.
    ORIGIN_GROUP = "ORIGIN_GROUP";
    /// Client-side copy of the reconsume times.
    RECONSUME_TIME = "RECONSUME_TIME";
    /// Most deliveries before the message goes to the dead-letter queue.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// Topic that a dead letter came from.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// Offset id that a dead letter came from.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
    /// Id that the client gave the message.
    UNIQ_KEY = "UNIQ_KEY";
    /// `true` on a half message.
    TRANSACTION_PREPARED = "TRAN_MSG";
    /// Producer group, asked about the outcome of a transaction.
    PRODUCER_GROUP = "PGROUP";
    /// Transaction id, the unique key.
    TRANSACTION_ID = "__transactionId__";
    /// How often the producer was asked about a half message.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Seconds before the producer is first asked about a half message.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Queue offset of the half message that a rewritten one stands for.
    TRANSACTION_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// Region, for traces.
    MSG_REGION = "MSG_REGION";
    /// Whether traces are on.
    TRACE_SWITCH = "TRACE_ON";
    /// Cluster that stored the message.
    CLUSTER = "CLUSTER";
    /// Set by the client from the pull response.
    MIN_OFFSET = "MIN_OFFSET";
    /// Set by the client from the pull response.
    MAX_OFFSET = "MAX_OFFSET";
    /// Client-side start of consumption.
    CONSUME_START_TIMESTAMP = "CONSUME_START_TIME";
    /// Request/reply: ties a reply to its request.
    CORRELATION_ID = "CORRELATION_ID";
    /// Request/reply: client that waits for the reply.
    MESSAGE_REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// Request/reply: time to live in milliseconds.
    MESSAGE_TTL = "TTL";
    /// Request/reply: `reply` on replies.
    MESSAGE_TYPE = "MSG_TYPE";
    /// Request/reply: when a reply reached the broker.
    REPLY_MESSAGE_ARRIVE_TIME = "ARRIVE_TIME";
    /// Request/reply: when a reply was pushed to the client.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// Pop: checkpoint of the delivery.
    POP_CK = "POP_CK";
    /// Pop: offset of the checkpoint.
    POP_CK_OFFSET = "POP_CK_OFFSET";
    /// Pop: when the message was first popped.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// Key by which ordered messages choose their queue.
    SHARDING_KEY = "__SHARDINGKEY";
    /// Messages in an inner batch.
    INNER_NUM = "INNER_NUM";
    /// First queue offset of an inner batch.
    INNER_BASE = "INNER_BASE";
    /// Queues of a multi-dispatch message, separated by commas.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    /// Offsets in the queues of a multi-dispatch message, separated by commas.
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
    /// Namespace instance.
    INSTANCE_ID = "INSTANCE_ID";
    /// Born host, set by proxies.
    BORN_HOST = "__BORNHOST";
    /// Born timestamp, set by proxies.
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    /// Trace context.
    TRACE_CONTEXT = "TRACE_CONTEXT";
    /// Checksum of the whole record, the last property.
    CRC32 = "__CRC32#";
    /// Historic.
    BUYER_ID = "BUYER_ID";
    /// Historic.
    TRANSFER_FLAG = "TRANSFER_FLAG";
    /// Historic.
    CORRECTION_FLAG = "CORRECTION_FLAG";
    /// Historic.
    MQ2_FLAG = "MQ2_FLAG";
    /// Historic.
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
    /// Store-internal: duplication mode.
    DUP_INFO = "DUP_INFO";
    /// Store-internal.
    REDIRECT = "REDIRECT";
    /// Store-internal: queue to which a relayed message goes.
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
}
