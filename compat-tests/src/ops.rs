//! What a client asks of the servers, one function per request code.

use std::time::Duration;

use serde_json::{Value, json};

use crate::wait;
use crate::wire::{Command, Conn};
use crate::{Record, ServerUnderTest};

/// How long metadata may take from the broker to the name server.
pub const ROUTE_LIMIT: Duration = Duration::from_secs(30);
/// Messages asked for in one pull.
const PULL_BATCH: &str = "32";
/// Pull flag: the subscription is in the request.
const PULL_FLAG_SUBSCRIPTION: &str = "4";

/// Request codes, by the reference's names.
#[expect(missing_docs, reason = "the reference's names")]
pub mod code {
    pub const SEND_MESSAGE: i32 = 10;
    pub const PULL_MESSAGE: i32 = 11;
    pub const QUERY_CONSUMER_OFFSET: i32 = 14;
    pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
    pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
    pub const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
    pub const GET_MAX_OFFSET: i32 = 30;
    pub const GET_MIN_OFFSET: i32 = 31;
    pub const GET_EARLIEST_MSG_STORETIME: i32 = 32;
    pub const HEART_BEAT: i32 = 34;
    pub const CONSUMER_SEND_MSG_BACK: i32 = 36;
    pub const UNREGISTER_CLIENT: i32 = 35;
    pub const END_TRANSACTION: i32 = 37;
    pub const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
    pub const CHECK_TRANSACTION_STATE: i32 = 39;
    pub const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
    pub const GET_ALL_DELAY_OFFSET: i32 = 45;
    pub const GET_TIMER_CHECK_POINT: i32 = 60;
    pub const GET_TIMER_METRICS: i32 = 61;
    pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
    pub const GET_BROKER_CLUSTER_INFO: i32 = 106;
    pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
    pub const DELETE_SUBSCRIPTIONGROUP: i32 = 207;
    pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
    pub const SEND_MESSAGE_V2: i32 = 310;
    pub const RESUME_CHECK_HALF_MESSAGE: i32 = 323;
    pub const RECALL_MESSAGE: i32 = 370;
    pub const SET_MESSAGE_REQUEST_MODE: i32 = 401;
    pub const GET_TOPIC_CONFIG: i32 = 351;
    pub const UPDATE_AND_CREATE_STATIC_TOPIC: i32 = 513;
    pub const POP_MESSAGE: i32 = 200_050;
    pub const ACK_MESSAGE: i32 = 200_051;
    pub const PEEK_MESSAGE: i32 = 200_052;
    pub const CHANGE_MESSAGE_INVISIBLETIME: i32 = 200_053;
    pub const NOTIFICATION: i32 = 200_054;
    pub const POLLING_INFO: i32 = 200_055;
    pub const POP_LITE_MESSAGE: i32 = 200_070;
    pub const LITE_SUBSCRIPTION_CTL: i32 = 200_071;
    pub const ACK_LITE_MESSAGE: i32 = 200_072;
    pub const NOTIFY_UNSUBSCRIBE_LITE: i32 = 200_073;
    pub const GET_BROKER_LITE_INFO: i32 = 200_074;
    pub const GET_PARENT_TOPIC_INFO: i32 = 200_075;
    pub const GET_LITE_TOPIC_INFO: i32 = 200_076;
    pub const GET_LITE_CLIENT_INFO: i32 = 200_077;
    pub const GET_LITE_GROUP_INFO: i32 = 200_078;
    pub const TRIGGER_LITE_DISPATCH: i32 = 200_079;
    pub const BATCH_ACK_MESSAGE: i32 = 200_151;
}

/// Response codes, by the reference's names.
#[expect(missing_docs, reason = "the reference's names")]
pub mod response {
    pub const SUCCESS: i32 = 0;
    pub const SYSTEM_ERROR: i32 = 1;
    pub const SYSTEM_BUSY: i32 = 2;
    pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
    pub const MESSAGE_ILLEGAL: i32 = 13;
    pub const NO_PERMISSION: i32 = 16;
    pub const TOPIC_NOT_EXIST: i32 = 17;
    pub const PULL_NOT_FOUND: i32 = 19;
    pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
    pub const PULL_OFFSET_MOVED: i32 = 21;
    pub const QUERY_NOT_FOUND: i32 = 22;
    pub const SUBSCRIPTION_PARSE_FAILED: i32 = 23;
    pub const INVALID_PARAMETER: i32 = 29;
    pub const NO_MESSAGE: i32 = 208;
    pub const POLLING_TIMEOUT: i32 = 210;
    pub const NOT_LEADER_FOR_QUEUE: i32 = 501;
    pub const ILLEGAL_OPERATION: i32 = 604;
}

/// The cluster table as the name server writes it, or `None` while it does not answer.
#[must_use]
pub fn cluster_info(namesrv: &str) -> Option<String> {
    let mut conn = Conn::try_connect(namesrv).ok()?;
    let answer = conn.try_call(Command::request(code::GET_BROKER_CLUSTER_INFO, &[])).ok()?;
    (answer.code == response::SUCCESS).then(|| String::from_utf8(answer.body).unwrap())
}

/// The route of a topic, or `None` when there is none.
#[must_use]
pub fn route(namesrv: &str, topic: &str) -> Option<Value> {
    let mut conn = Conn::connect(namesrv);
    let answer = conn.call(Command::request(code::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]));
    (answer.code == response::SUCCESS).then(|| serde_json::from_slice(&answer.body).unwrap())
}

/// Creates a topic on the broker and waits until the name server routes to it.
pub fn create_topic(server: &ServerUnderTest, topic: &str, queues: u32) {
    create_topic_with(server, topic, queues, "");
}

/// [`create_topic`], with attributes such as `+name=value`.
pub fn create_topic_with(server: &ServerUnderTest, topic: &str, queues: u32, attributes: &str) {
    let answer =
        Conn::connect(&server.broker_addr()).call(topic_request(topic, queues, attributes));
    assert_eq!(answer.code, response::SUCCESS, "create {topic}: {answer:?}");
    wait_for_route(server, topic);
}

/// The request of [`create_topic_with`].
#[must_use]
pub fn topic_request(topic: &str, queues: u32, attributes: &str) -> Command {
    let queues = queues.to_string();
    Command::request(
        code::UPDATE_AND_CREATE_TOPIC,
        &[
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", attributes),
        ],
    )
}

/// Waits until the name server routes to the topic.
pub fn wait_for_route(server: &ServerUnderTest, topic: &str) -> Value {
    wait::until(&format!("a route to {topic}"), ROUTE_LIMIT, || {
        route(&server.namesrv_addr(), topic)
    })
}

/// A send in the short form, the properties written as the wire has them.
#[must_use]
pub fn send_request(topic: &str, queue_id: i32, properties: &str, body: &[u8]) -> Command {
    let queue_id = queue_id.to_string();
    let born = now_ms().to_string();
    let fields = [
        ("a", "compat_producer"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue_id.as_str()),
        ("f", "0"),
        ("g", born.as_str()),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("l", "0"),
        ("m", "false"),
    ];
    Command::request(code::SEND_MESSAGE_V2, &fields).with_body(body)
}

/// Sends one message and answers its queue offset. A busy server is asked again.
///
/// # Panics
/// When the server refuses it for another reason.
pub fn send(conn: &mut Conn, topic: &str, queue_id: i32, properties: &str, body: &[u8]) -> i64 {
    let answer = wait::until("a server that is not busy", ROUTE_LIMIT, || {
        let answer = conn.call(send_request(topic, queue_id, properties, body));
        (answer.code != response::SYSTEM_BUSY).then_some(answer)
    });
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.number("queueOffset")
}

/// A pull that is answered at once.
#[must_use]
pub fn pull_request(group: &str, topic: &str, queue_id: i32, offset: i64) -> Command {
    Command::request(
        code::PULL_MESSAGE,
        &[
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue_id.to_string()),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", PULL_BATCH),
            ("sysFlag", PULL_FLAG_SUBSCRIPTION),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ],
    )
}

/// Every message of a queue from `offset` to its end, as [`max_offset`] has it now.
///
/// # Panics
/// When the answers have a gap, a repeat, or an unexpected code.
pub fn walk_queue(
    conn: &mut Conn,
    group: &str,
    topic: &str,
    queue_id: i32,
    offset: i64,
) -> Vec<Record> {
    let mut records = Vec::new();
    let mut next = offset;
    let end = max_offset(conn, topic, queue_id);
    while next < end {
        let answer = conn.call(pull_request(group, topic, queue_id, next));
        match answer.code {
            response::SUCCESS => {
                for record in Record::decode_all(&answer.body) {
                    assert_eq!(record.queue_offset, next, "{topic} queue {queue_id}");
                    assert_eq!(record.queue_id, queue_id);
                    assert_eq!(record.topic, topic);
                    next += record.messages();
                    records.push(record);
                }
                assert_eq!(answer.number("nextBeginOffset"), next);
            }
            // The reference answers so once in a while when it rolls to the next file.
            response::PULL_RETRY_IMMEDIATELY => next = answer.number("nextBeginOffset"),
            _ => panic!("pull of {topic} queue {queue_id} at {next} of {end}: {answer:?}"),
        }
    }
    records
}

/// The offsets of all messages of a queue that has gaps, as a consumer finds them.
///
/// # Panics
/// When a pull is refused.
pub fn offsets_left(conn: &mut Conn, group: &str, topic: &str, queue_id: i32) -> Vec<i64> {
    let mut offsets = Vec::new();
    let mut next = 0;
    loop {
        let answer = conn.call(pull_request(group, topic, queue_id, next));
        match answer.code {
            response::SUCCESS => offsets
                .extend(Record::decode_all(&answer.body).iter().map(|record| record.queue_offset)),
            response::PULL_NOT_FOUND => return offsets,
            response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED => {}
            _ => panic!("pull of {topic} queue {queue_id} at {next}: {answer:?}"),
        }
        next = answer.number("nextBeginOffset");
    }
}

/// The offset after the last message of a queue.
pub fn max_offset(conn: &mut Conn, topic: &str, queue_id: i32) -> i64 {
    offset_of(conn, code::GET_MAX_OFFSET, topic, queue_id)
}

/// Waits until a queue serves `count` messages: the reference makes a message visible a moment
/// after it acknowledged it.
pub fn wait_for_max_offset(conn: &mut Conn, topic: &str, queue_id: i32, count: i64) {
    wait::until(&format!("{count} messages in {topic} queue {queue_id}"), ROUTE_LIMIT, || {
        (max_offset(conn, topic, queue_id) >= count).then_some(())
    });
}

/// The offset of the oldest message of a queue.
pub fn min_offset(conn: &mut Conn, topic: &str, queue_id: i32) -> i64 {
    offset_of(conn, code::GET_MIN_OFFSET, topic, queue_id)
}

fn offset_of(conn: &mut Conn, code: i32, topic: &str, queue_id: i32) -> i64 {
    let fields = [("topic", topic), ("queueId", &queue_id.to_string())];
    let answer = conn.call(Command::request(code, &fields));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.number("offset")
}

/// The first offset stored at or after a time.
pub fn search_offset(conn: &mut Conn, topic: &str, queue_id: i32, timestamp_ms: i64) -> i64 {
    let answer = conn.call(Command::request(
        code::SEARCH_OFFSET_BY_TIMESTAMP,
        &[
            ("topic", topic),
            ("queueId", &queue_id.to_string()),
            ("timestamp", &timestamp_ms.to_string()),
        ],
    ));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.number("offset")
}

/// Where a group resumes on a queue; `None` when it never committed and must not start at 0.
pub fn committed_offset(conn: &mut Conn, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    let answer = conn.call(Command::request(
        code::QUERY_CONSUMER_OFFSET,
        &[
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue_id.to_string()),
            ("setZeroIfNotFound", "false"),
        ],
    ));
    match answer.code {
        response::SUCCESS => Some(answer.number("offset")),
        response::QUERY_NOT_FOUND => None,
        _ => panic!("{answer:?}"),
    }
}

/// Commits where a group resumes on a queue.
pub fn commit_offset(conn: &mut Conn, group: &str, topic: &str, queue_id: i32, offset: i64) {
    let answer = conn.call(commit_request(group, topic, queue_id, offset));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// The request of [`commit_offset`].
#[must_use]
pub fn commit_request(group: &str, topic: &str, queue_id: i32, offset: i64) -> Command {
    Command::request(
        code::UPDATE_CONSUMER_OFFSET,
        &[
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue_id.to_string()),
            ("commitOffset", &offset.to_string()),
        ],
    )
}

/// Says hello as a consumer of one topic.
pub fn heartbeat(conn: &mut Conn, client_id: &str, group: &str, topic: &str) {
    heartbeat_as(conn, client_id, group, topic, "CLUSTERING");
}

/// [`heartbeat`], of a group with another message model.
pub fn heartbeat_as(conn: &mut Conn, client_id: &str, group: &str, topic: &str, model: &str) {
    let subscription = json!({
        "topic": topic, "subString": "*", "tagsSet": [], "codeSet": [],
        "subVersion": now_ms(), "expressionType": "TAG", "classFilterMode": false,
    });
    subscribe(conn, client_id, group, model, &subscription);
}

/// [`heartbeat_as`], with a subscription of any kind.
pub fn subscribe(conn: &mut Conn, client_id: &str, group: &str, model: &str, subscription: &Value) {
    let body = json!({
        "clientID": client_id,
        "producerDataSet": [],
        "consumerDataSet": [{
            "groupName": group,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": model,
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
            "subscriptionDataSet": [subscription],
            "unitMode": false,
        }],
    });
    let answer = conn.call(Command::request(code::HEART_BEAT, &[]).with_body(body.to_string()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// Wall-clock time as the protocol counts it.
#[must_use]
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as i64
}
