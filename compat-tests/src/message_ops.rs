//! Sends beyond the plain one, lookups, and tables of metadata.

use serde_json::{Value, json};

use crate::Record;
use crate::ops::{self, response};
use crate::wire::{Command, Conn};

const QUERY_MESSAGE: i32 = 12;
const GET_ALL_TOPIC_CONFIG: i32 = 21;
const VIEW_MESSAGE_BY_ID: i32 = 33;
const CONSUMER_SEND_MSG_BACK: i32 = 36;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i32 = 201;
const SEND_BATCH_MESSAGE: i32 = 320;
/// More than any lookup of the tests finds.
const QUERY_COUNT: &str = "64";
/// System flag of a half message.
const TRANSACTION_PREPARED: &str = "4";

/// One message of a batch, as the body of the request holds it.
fn push_inner(body: &mut Vec<u8>, properties: &str, text: &[u8]) {
    let total = 22 + text.len() + properties.len();
    for word in [total as i32, 0, 0, 0, text.len() as i32] {
        body.extend_from_slice(&word.to_be_bytes());
    }
    body.extend_from_slice(text);
    body.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    body.extend_from_slice(properties.as_bytes());
}

/// Sends messages, each with its properties, as one batch; answers the queue offset of the first.
///
/// `envelope` are the properties of the batch itself.
///
/// # Panics
/// When the server refuses it.
pub fn send_batch(
    conn: &mut Conn,
    topic: &str,
    queue_id: i32,
    envelope: &str,
    messages: &[(String, Vec<u8>)],
) -> i64 {
    let answer = conn.call(batch_request(topic, queue_id, envelope, messages));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.number("queueOffset")
}

/// The request of [`send_batch`].
#[must_use]
pub fn batch_request(
    topic: &str,
    queue_id: i32,
    envelope: &str,
    messages: &[(String, Vec<u8>)],
) -> Command {
    let mut body = Vec::new();
    for (properties, text) in messages {
        push_inner(&mut body, properties, text);
    }
    let mut request = ops::send_request(topic, queue_id, envelope, &body);
    request.code = SEND_BATCH_MESSAGE;
    request.ext.insert("m".to_owned(), "true".to_owned());
    request
}

/// Sends a message whose transaction nobody decides; answers its place in the log.
///
/// # Panics
/// When the server refuses it.
pub fn send_half(conn: &mut Conn, topic: &str, queue_id: i32, body: &[u8]) -> i64 {
    let properties = format!(
        "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}takeover_half\u{2}UNIQ_KEY\u{1}{:032X}\u{2}",
        body.len()
    );
    let mut request = ops::send_request(topic, queue_id, &properties, body);
    request.ext.insert("f".to_owned(), TRANSACTION_PREPARED.to_owned());
    let answer = conn.call(request);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    // Its id is the broker's address and the position, in hexadecimal digits.
    let id = &answer.ext["msgId"];
    i64::from_str_radix(&id[id.len() - 16..], 16).unwrap()
}

/// Gives a message back that a group could not consume: to be delivered again after the delay of
/// `level`, or never when that is negative.
///
/// # Panics
/// When the server refuses it.
pub fn send_back(conn: &mut Conn, group: &str, record: &Record, level: i32) {
    let answer = conn.call(Command::request(
        CONSUMER_SEND_MSG_BACK,
        &[
            ("offset", &record.phy_offset.to_string()),
            ("group", group),
            ("delayLevel", &level.to_string()),
            ("originMsgId", record.properties.get("UNIQ_KEY").map_or("none", String::as_str)),
            ("originTopic", &record.topic),
            ("unitMode", "false"),
            ("maxReconsumeTimes", "16"),
        ],
    ));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// The messages of a topic with a key, sorted by their place in the log.
///
/// # Panics
/// When the server answers neither with messages nor that there are none.
pub fn query_by_key(conn: &mut Conn, topic: &str, key: &str, unique: bool) -> Vec<Record> {
    let mut fields = vec![
        ("topic", topic),
        ("key", key),
        ("maxNum", QUERY_COUNT),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
    ];
    if unique {
        fields.push(("_UNIQUE_KEY_QUERY", "true"));
    }
    let answer = conn.call(Command::request(QUERY_MESSAGE, &fields));
    let mut records = match answer.code {
        response::SUCCESS => Record::decode_all(&answer.body),
        response::QUERY_NOT_FOUND => Vec::new(),
        _ => panic!("{answer:?}"),
    };
    records.sort_by_key(|record| record.phy_offset);
    records
}

/// The message at a place in the log.
///
/// # Panics
/// When there is none.
pub fn view_message(conn: &mut Conn, phy_offset: i64) -> Record {
    let request = Command::request(VIEW_MESSAGE_BY_ID, &[("offset", &phy_offset.to_string())]);
    let answer = conn.call(request);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    Record::decode_all(&answer.body).remove(0)
}

/// Makes a consumer group with settings of its own.
///
/// # Panics
/// When the server refuses it.
pub fn create_group(conn: &mut Conn, group: &str, retry_max_times: i32) {
    let body = json!({
        "groupName": group, "consumeEnable": true, "consumeFromMinEnable": true,
        "consumeBroadcastEnable": false, "retryQueueNums": 1, "retryMaxTimes": retry_max_times,
        "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": false,
    });
    let request = Command::request(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
    let answer = conn.call(request.with_body(body.to_string()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// The table of all topics of a broker, by name.
///
/// # Panics
/// When the server refuses it.
pub fn topic_configs(conn: &mut Conn) -> Value {
    table(conn, GET_ALL_TOPIC_CONFIG, "topicConfigTable")
}

/// The table of all groups of a broker, by name.
///
/// # Panics
/// When the server refuses it.
pub fn group_configs(conn: &mut Conn) -> Value {
    table(conn, GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "subscriptionGroupTable")
}

fn table(conn: &mut Conn, code: i32, name: &str) -> Value {
    let answer = conn.call(Command::request(code, &[]));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body[name].clone()
}
