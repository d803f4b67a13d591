//! A broker that makes neither topics nor groups by itself, stops groups that are too slow and tells
//! clients of reset offsets; and what becomes of subscriptions by classes, which filter servers once
//! served.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::server::BROKER_NAME;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Record, ServerUnderTest, message_ops, wait};
use serde_json::{Value, json};

const RESET_CONSUMER_CLIENT_OFFSET: i32 = 220;
const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
const REGISTER_FILTER_SERVER: i32 = 301;
const REGISTER_MESSAGE_FILTER_CLASS: i32 = 302;
const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
const CONSUMER_NOT_ONLINE: i32 = 206;
/// The end of a queue, as a time.
const TO_THE_END: i64 = -1;
/// Bytes; far more than a group of another test is behind.
const MOST_BEHIND: usize = 512 << 10;
const LARGE: &[u8] = &[b'x'; 64 << 10];
/// The broker looks at slow groups every three minutes.
const SLOW_LIMIT: Duration = Duration::from_secs(400);

/// One server whose settings suit all tests here.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| {
        ServerUnderTest::setup()
            .broker_conf("autoCreateTopicEnable", "false")
            .broker_conf("autoCreateSubscriptionGroup", "false")
            .broker_conf("useServerSideResetOffset", "false")
            .broker_conf("disableConsumeIfConsumerReadSlowly", "true")
            .broker_conf("consumerFallbehindThreshold", &MOST_BEHIND.to_string())
            .start()
    })
}

fn connect() -> Conn {
    Conn::connect(&server().broker_addr())
}

fn refused(answer: &Command, code: i32, remark: &str) {
    let text = answer.remark.as_deref().unwrap_or_default();
    assert_eq!(answer.code, code, "{text}");
    assert!(text.contains(remark), "{text}");
}

#[test]
fn no_topic_is_made_by_a_send_or_a_pull() {
    let mut conn = connect();
    message_ops::create_group(&mut conn, "no_topics", 16);
    let not_there = "topic[not_made] not exist, apply first please!";
    for properties in ["", "KEYS\u{1}k\u{2}"] {
        let answer = conn.call(ops::send_request("not_made", 0, properties, b"x"));
        refused(&answer, response::TOPIC_NOT_EXIST, not_there);
    }
    let messages = ["a", "b"].map(|body| (String::new(), body.into()));
    let answer = conn.call(message_ops::batch_request("not_made", 0, "", &messages));
    refused(&answer, response::TOPIC_NOT_EXIST, not_there);
    let answer = conn.call(ops::pull_request("no_topics", "not_made", 0, 0));
    refused(&answer, response::TOPIC_NOT_EXIST, not_there);
    assert_eq!(ops::route(&server().namesrv_addr(), "not_made"), None);
    // What clients ask for before a first send is not there either.
    assert_eq!(ops::route(&server().namesrv_addr(), "TBW102"), None);
    ops::create_topic(server(), "made", 1);
    assert_eq!(ops::send(&mut conn, "made", 0, "", b"x"), 0);
}

#[test]
fn no_group_is_made_by_a_pull_a_heartbeat_or_a_message_sent_back() {
    let mut conn = connect();
    ops::create_topic(server(), "grouped", 1);
    let not_there = "subscription group [not_made] does not exist";
    let pull = |group: &str| ops::pull_request(group, "grouped", 0, 0);
    refused(&conn.call(pull("not_made")), SUBSCRIPTION_GROUP_NOT_EXIST, not_there);
    ops::heartbeat(&mut conn, "member", "not_made", "grouped");
    refused(&conn.call(pull("not_made")), SUBSCRIPTION_GROUP_NOT_EXIST, not_there);
    assert_eq!(ops::route(&server().namesrv_addr(), "%RETRY%not_made"), None);
    ops::send(&mut conn, "grouped", 0, "", b"x");
    ops::wait_for_max_offset(&mut conn, "grouped", 0, 1);
    message_ops::create_group(&mut conn, "made", 16);
    let record = &ops::walk_queue(&mut conn, "made", "grouped", 0, 0)[0];
    let fields = [
        ("group", "not_made"),
        ("offset", &record.phy_offset.to_string()),
        ("delayLevel", "1"),
        ("originMsgId", ""),
        ("originTopic", "grouped"),
        ("unitMode", "false"),
        ("maxReconsumeTimes", "16"),
    ];
    let answer = conn.call(Command::request(code::CONSUMER_SEND_MSG_BACK, &fields));
    refused(&answer, SUBSCRIPTION_GROUP_NOT_EXIST, "subscription group not exist, not_made");
    let groups = message_ops::group_configs(&mut conn);
    assert!(groups["made"].is_object() && groups["not_made"].is_null(), "{groups}");
}

#[test]
fn members_are_told_where_a_group_goes_on() {
    let (group, topic) = ("reset", "reset");
    let (mut tool, mut member) = (connect(), connect());
    ops::create_topic(server(), topic, 2);
    message_ops::create_group(&mut tool, group, 16);
    for queue in 0..2 {
        for _ in 0..3 {
            ops::send(&mut tool, topic, queue, "", b"x");
        }
        ops::wait_for_max_offset(&mut tool, topic, queue, 3);
    }
    let reset = |time: i64, is_forced: &str| {
        let time = time.to_string();
        let fields =
            [("topic", topic), ("group", group), ("timestamp", &*time), ("isForce", is_forced)];
        Command::request(INVOKE_BROKER_TO_RESET_OFFSET, &fields)
    };
    let answer = tool.call(reset(0, "true"));
    refused(&answer, response::SYSTEM_ERROR, "THe consumer group <reset> not exist");
    ops::commit_offset(&mut tool, group, topic, 0, 2);
    ops::commit_offset(&mut tool, group, topic, 1, 1);
    let offline =
        "Consumer not online, so can not reset offset, Group: reset Topic: reset Timestamp: 0";
    refused(&tool.call(reset(0, "true")), CONSUMER_NOT_ONLINE, offline);
    ops::heartbeat(&mut member, "member", group, topic);
    for (time, is_forced, offsets) in
        [(0, "true", [0, 0]), (TO_THE_END, "false", [2, 1]), (TO_THE_END, "true", [3, 3])]
    {
        let answer = tool.call(reset(time, is_forced));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        assert_eq!(offsets_of(&answer.body), offsets);
        let told = told(&mut member);
        assert_eq!((&*told.ext["topic"], &*told.ext["group"]), (topic, group));
        assert_eq!(told.ext["timestamp"], time.to_string());
        assert_eq!(offsets_of(&told.body), offsets);
    }
    // The members commit what they were told, nobody else does.
    assert_eq!(ops::committed_offset(&mut tool, group, topic, 0), Some(2));
}

/// The next reset that the broker tells a member of.
fn told(member: &mut Conn) -> Command {
    loop {
        let told = member.receive().unwrap();
        if told.code == RESET_CONSUMER_CLIENT_OFFSET && told.flag & 1 == 0 {
            return told;
        }
    }
}

/// The offsets of the two queues. Queues are keys of this table, as objects.
fn offsets_of(body: &[u8]) -> [i64; 2] {
    let text = String::from_utf8(body.to_vec()).unwrap();
    [0, 1].map(|queue| {
        let entry = text.split('{').find(|it| it.contains(&format!("\"queueId\":{queue}")));
        let entry = entry.unwrap_or_else(|| panic!("{text}"));
        assert!(entry.contains(&format!("\"brokerName\":\"{BROKER_NAME}\"")), "{text}");
        let offset = entry.split_once("}:").unwrap_or_else(|| panic!("{text}")).1;
        let digits = offset.find(|c: char| !c.is_ascii_digit()).unwrap();
        offset[..digits].parse().unwrap()
    })
}

#[test]
fn no_class_filters_and_a_group_that_has_one_gets_everything() {
    let (group, topic) = ("classes", "classes");
    let mut conn = connect();
    ops::create_topic(server(), topic, 1);
    message_ops::create_group(&mut conn, group, 16);
    for tag in ["red", "green"] {
        ops::send(&mut conn, topic, 0, &format!("TAGS\u{1}{tag}\u{2}"), tag.as_bytes());
    }
    ops::wait_for_max_offset(&mut conn, topic, 0, 2);
    let mut by_class = ops::pull_request(group, topic, 0, 0);
    by_class.ext.insert("subscription".to_owned(), "com.example.Filter".to_owned());
    by_class.ext.insert("expressionType".to_owned(), "CLASS".to_owned());
    let unsupported = "The broker does not support consumer to filter message by CLASS";
    refused(&conn.call(by_class), response::SYSTEM_ERROR, unsupported);
    // As old clients subscribe to what a filter server is to look at.
    let subscription = json!({
        "topic": topic, "subString": "com.example.Filter", "tagsSet": [], "codeSet": [],
        "subVersion": ops::now_ms(), "expressionType": "TAG", "classFilterMode": true,
    });
    ops::subscribe(&mut conn, "member", group, "CLUSTERING", &subscription);
    let mut pull = ops::pull_request(group, topic, 0, 0);
    // The flag of class filters alone: the subscription is the heartbeat's.
    pull.ext.insert("sysFlag".to_owned(), "8".to_owned());
    pull.ext.insert("subscription".to_owned(), String::new());
    let answer = conn.call(pull);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let records = Record::decode_all(&answer.body);
    assert_eq!(records.iter().map(Record::text).collect::<Vec<_>>(), ["red", "green"]);
    // No filter server says hello, and none takes a class.
    for request in [REGISTER_FILTER_SERVER, REGISTER_MESSAGE_FILTER_CLASS] {
        let answer = conn.call(Command::request(request, &[]));
        let remark = format!("request type {request} not supported");
        refused(&answer, response::REQUEST_CODE_NOT_SUPPORTED, &remark);
    }
    let route: Value = ops::wait_for_route(server(), topic);
    assert_eq!(route["filterServerTable"], json!({}));
}

#[test]
fn a_group_that_is_too_far_behind_may_consume_nothing_any_more() {
    let (slow, quick, topic) = ("too_slow", "quick_enough", "slowly_read");
    let mut conn = connect();
    ops::create_topic(server(), topic, 1);
    for group in [slow, quick] {
        message_ops::create_group(&mut conn, group, 16);
    }
    let count = (MOST_BEHIND / LARGE.len() + 2) as i64;
    for _ in 0..count {
        ops::send(&mut conn, topic, 0, "", LARGE);
    }
    ops::wait_for_max_offset(&mut conn, topic, 0, count);
    let pull_one = |group: &str, offset: i64| {
        let mut pull = ops::pull_request(group, topic, 0, offset);
        pull.ext.insert("maxMsgNums".to_owned(), "1".to_owned());
        pull
    };
    assert_eq!(conn.call(pull_one(quick, count - 1)).code, response::SUCCESS);
    let stopped = wait::until("the slow group to be stopped", SLOW_LIMIT, || {
        let answer = conn.call(pull_one(slow, 0));
        (answer.code != response::SUCCESS).then_some(answer)
    });
    refused(&stopped, response::NO_PERMISSION, "subscription group no permission, too_slow");
    let groups = message_ops::group_configs(&mut conn);
    let enabled = [slow, quick].map(|group| groups[group]["consumeEnable"].as_bool());
    assert_eq!(enabled, [Some(false), Some(true)]);
}
