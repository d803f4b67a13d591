//! Lite topics: queues of a topic that appear when they are sent to, each for who subscribes it.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod expiry;
mod info;
mod subscriptions;

use std::sync::OnceLock;

use oxmq_compat_tests::lite::LiteClient;
use oxmq_compat_tests::ops::{self, code, now_ms, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, Setup};
use serde_json::Value;

/// Long enough that nothing comes back within a test.
const LONG_MS: i64 = 120_000;
/// Messages that are not given back come again after this.
const SHORT_MS: i64 = 2_000;
/// A pop that is sure to find something waits for it so long at most.
const PATIENT_MS: i64 = 25_000;

/// One server for the tests that need no settings of their own.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| setup().start())
}

fn setup() -> Setup {
    ServerUnderTest::setup()
        .broker_conf("enableLmq", "true")
        .broker_conf("enableMultiDispatch", "true")
        .broker_conf("liteEventCheckInterval", "200")
}

#[test]
fn messages_are_given_in_order_and_no_more_until_all_are_done() {
    let mut client = LiteClient::create(server(), "order", &[]);
    client.send("a", &["a0", "a1", "a2"]);
    client.send("b", &["b0"]);
    client.subscribe_from_first(&["a"]);
    let begin = now_ms();
    let answer = client.pop(LONG_MS, 0);
    assert_eq!(answer.bodies(), ["a0", "a1", "a2"]);
    let command = &answer.command;
    assert_eq!(command.remark.as_deref(), Some("FOUND"));
    assert!((begin..=now_ms()).contains(&command.number("popTime")), "{command:?}");
    assert_eq!((command.number("invisibleTime"), command.number("reviveQid")), (LONG_MS, 999));
    assert_eq!(command.ext["orderCountInfo"], "0;0;0");
    let record = &answer.records[2];
    assert_eq!((record.topic.as_str(), record.queue_id), (client.topic.as_str(), 0));
    assert_eq!(record.properties["__LITE_TOPIC"], "a");
    assert_eq!(record.properties["INNER_MULTI_DISPATCH"], client.queue("a"));
    let offset: i64 = record.properties["INNER_MULTI_QUEUE_OFFSET"].parse().unwrap();
    assert_eq!(offset, 2);

    client.send("a", &["a3"]);
    client.ack("a", &[2, 0], &answer);
    let nothing = client.pop(LONG_MS, 0).command;
    assert_eq!(nothing.code, response::POLLING_TIMEOUT);
    assert_eq!(nothing.remark.as_deref(), Some("NO_MESSAGE_IN_QUEUE"));
    assert_eq!((nothing.number("reviveQid"), nothing.ext["orderCountInfo"].as_str()), (999, ""));
    let queue = client.queue("a");
    let committed = ops::committed_offset(&mut client.conn, &client.group, &queue, 0);
    assert_eq!(committed, Some(1));
    client.ack("a", &[1], &answer);
    let answer = client.pop(LONG_MS, PATIENT_MS);
    assert_eq!(answer.bodies(), ["a3"]);
    client.ack("a", &[3], &answer);
    assert_eq!(client.pop(LONG_MS, 0).command.code, response::POLLING_TIMEOUT);
}

#[test]
fn one_pop_takes_from_several_lite_topics() {
    let mut client = LiteClient::create(server(), "several", &[]);
    for (lite_topic, bodies) in [("a", &["a0", "a1"][..]), ("b", &["b0"]), ("c", &["c0"])] {
        client.send(lite_topic, bodies);
    }
    client.subscribe_from_first(&["a", "b", "c"]);
    let mut request = client.request(LONG_MS, 0);
    request.ext.insert("maxMsgNum".to_owned(), "3".to_owned());
    let first = LiteClient::read(client.conn.call(request));
    assert_eq!(first.records.len(), 3, "{first:?}");
    let rest = client.pop(LONG_MS, 0);
    let mut bodies = [first.bodies(), rest.bodies()].concat();
    bodies.sort_unstable();
    // Of a lite topic that was only begun the rest comes when that is done.
    let expected: &[&str] = match first.bodies().contains(&"a1") {
        true => &["a0", "a1", "b0", "c0"],
        false => &["a0", "b0", "c0"],
    };
    assert_eq!(bodies, expected);
    assert_eq!(first.command.ext["orderCountInfo"], "0;0;0");
}

#[test]
fn a_pop_waits_for_a_message_and_no_longer_than_it_asks() {
    let mut client = LiteClient::create(server(), "waits", &[]);
    let begin = now_ms();
    let nothing = client.pop(LONG_MS, 1_000).command;
    assert_eq!(nothing.code, response::POLLING_TIMEOUT);
    assert!(now_ms() - begin >= 500);
    client.subscribe("COMPLETE_ADD", &["a"], Value::Null);
    let mut sender = client.again(server(), "sender");
    let waiting = client.request(LONG_MS, PATIENT_MS);
    let opaque = client.conn.send(waiting).unwrap();
    sender.send("b", &["of nobody"]);
    sender.send("a", &["a0"]);
    let answer = client.conn.receive().unwrap();
    assert_eq!(answer.opaque, opaque);
    assert_eq!(LiteClient::read(answer).bodies(), ["a0"]);
}

#[test]
fn what_is_not_done_comes_again_and_is_counted() {
    let mut client = LiteClient::create(server(), "again", &[]);
    client.send("a", &["a0", "a1"]);
    client.subscribe_from_first(&["a"]);
    assert_eq!(client.pop(SHORT_MS, 0).command.ext["orderCountInfo"], "0;0");
    let again = client.pop(SHORT_MS, PATIENT_MS);
    assert_eq!(again.bodies(), ["a0", "a1"]);
    assert_eq!(again.command.ext["orderCountInfo"], "0 qo0%0 1;0 qo0%1 1");
    client.ack("a", &[0], &again);
    let rest = client.pop(LONG_MS, PATIENT_MS);
    assert_eq!(rest.bodies(), ["a1"]);
    assert_eq!(rest.command.ext["orderCountInfo"], "0 qo0%1 2");
}

#[test]
fn a_changed_time_counts_instead_of_the_first_and_to_suspend_is_not_to_consume() {
    let mut client = LiteClient::create(server(), "change", &[]);
    client.send("a", &["a0", "a1"]);
    client.subscribe_from_first(&["a"]);
    let first = client.pop(LONG_MS, 0);
    for offset in [0, 1] {
        let changed = client.conn.call(client.change_request("a", offset, &first, SHORT_MS));
        assert_eq!(changed.code, response::SUCCESS, "{changed:?}");
        assert_eq!(changed.number("popTime"), first.command.number("popTime"));
        assert!(changed.number("invisibleTime") >= SHORT_MS, "{changed:?}");
        assert_eq!(changed.number("reviveQid"), 999);
    }
    let second = client.pop(LONG_MS, PATIENT_MS);
    assert_eq!(second.command.ext["orderCountInfo"], "0 qo0%0 1;0 qo0%1 1");
    let mut suspend = client.change_request("a", 0, &second, SHORT_MS);
    suspend.ext.insert("suspend".to_owned(), "true".to_owned());
    let suspended = client.conn.call(suspend);
    assert_eq!(suspended.code, response::SUCCESS, "{suspended:?}");
    let third = client.pop(LONG_MS, PATIENT_MS);
    assert_eq!(third.bodies(), ["a0", "a1"]);
    assert_eq!(third.command.ext["orderCountInfo"], "0 qo0%0 1;0 qo0%1 1");

    client.ack("a", &[0, 1], &third);
    let done = client.conn.call(client.change_request("a", 0, &third, SHORT_MS));
    assert_eq!((done.code, done.ext.get("popTime")), (response::SUCCESS, Some(&"0".to_owned())));
    let beyond = client.conn.call(client.change_request("a", 3, &third, SHORT_MS));
    assert_eq!(beyond.code, response::NO_MESSAGE, "{beyond:?}");
}

#[test]
fn a_repetition_of_an_attempt_is_given_the_same_again() {
    let mut client = LiteClient::create(server(), "attempt", &[]);
    client.send("a", &["a0"]);
    client.subscribe_from_first(&["a"]);
    let attempt = |client: &mut LiteClient, id: &str, poll_ms: i64| {
        let mut request = client.request(LONG_MS, poll_ms);
        request.ext.insert("attemptId".to_owned(), id.to_owned());
        LiteClient::read(client.conn.call(request))
    };
    assert_eq!(attempt(&mut client, "one", 0).bodies(), ["a0"]);
    // It has to be looked at again first.
    client.send("a", &["a1"]);
    let again = attempt(&mut client, "one", PATIENT_MS);
    assert_eq!(again.bodies(), ["a0", "a1"]);
    assert_eq!(again.command.ext["orderCountInfo"], "0;0");
    client.send("a", &["a2"]);
    assert_eq!(attempt(&mut client, "two", 0).command.code, response::POLLING_TIMEOUT);
}

#[test]
fn pops_are_checked() {
    let mut client = LiteClient::create(server(), "checks", &[]);
    ops::create_topic(server(), "lite_checks_plain", 1);
    let mut refused = |name: &str, value: &str| {
        let mut request = client.request(LONG_MS, 0);
        request.ext.insert(name.to_owned(), value.to_owned());
        let answer = client.conn.call(request);
        (answer.code, answer.remark.unwrap_or_default().lines().next().unwrap_or("").to_owned())
    };
    let ip = "127.0.0.1";
    for (name, value, code, remark) in [
        ("bornTime", "1000", 210, format!("the broker[{ip}] pop message is timeout too much")),
        ("maxMsgNum", "33", 29, format!("the broker[{ip}] pop message's num is greater than 32")),
        (
            "topic",
            "lite_checks_none",
            17,
            "topic [lite_checks_none] not exist, apply first please! ".to_owned(),
        ),
        (
            "topic",
            "lite_checks_plain",
            29,
            "the topic [lite_checks_plain] message type not match".to_owned(),
        ),
        (
            "consumerGroup",
            "lite_checks_none",
            29,
            "subscription bind topic not match, lite_checks_none".to_owned(),
        ),
    ] {
        assert_eq!(refused(name, value), (code, remark), "{name}={value}");
    }
}

#[test]
fn acknowledgements_are_checked() {
    let mut client = LiteClient::create(server(), "acks", &[]);
    client.send("a", &["a0", "a1"]);
    client.subscribe_from_first(&["a"]);
    let answer = client.pop(LONG_MS, 0);
    let pop_time = answer.command.number("popTime");
    let mut refused = |lite_topic: &str, offset, change: &[(&str, &str)]| {
        let mut request = client.ack_request(lite_topic, offset, pop_time);
        for (name, value) in change {
            request.ext.insert((*name).to_owned(), (*value).to_owned());
        }
        let answer = client.conn.call(request);
        (answer.code, answer.remark.unwrap_or_default())
    };
    let bind = "group type or bind topic not match.".to_owned();
    let offset = "ack offset illegal.".to_owned();
    assert_eq!(refused("a", 0, &[("consumerGroup", "lite_acks_other")]), (29, bind));
    assert_eq!(refused("a", 3, &[]), (208, offset.clone()));
    assert_eq!(refused("none", 1, &[]), (208, offset.clone()));
    let receipt = format!("0 {pop_time} 60000 3 0 b 0 0");
    let queue = "ack queue illegal.".to_owned();
    assert_eq!(refused("a", 0, &[("extraInfo", &receipt)]), (29, queue));
    assert_eq!(refused("a", 2, &[]), (13, offset));
    // From another pop it means nothing.
    let stale = format!("0 {} 60000 999 0 b 0 0", pop_time - 1);
    assert_eq!(refused("a", 0, &[("extraInfo", &stale)]).0, 0);
    let queue = client.queue("a");
    assert_eq!(ops::committed_offset(&mut client.conn, &client.group, &queue, 0), Some(0));
    // No broker serves it, whatever it is called.
    let request = client.ack_request("a", 0, pop_time);
    let unknown = client.conn.call(Command { code: code::ACK_LITE_MESSAGE, ..request });
    assert_eq!(unknown.code, response::REQUEST_CODE_NOT_SUPPORTED);
}

#[test]
fn offsets_of_a_lite_topic_are_found_by_time() {
    let mut client = LiteClient::create(server(), "search", &[]);
    client.send("a", &["a0", "a1"]);
    let search = |conn: &mut Conn, lite_topic: &str, timestamp: i64| {
        let answer = conn.call(Command::request(
            code::SEARCH_OFFSET_BY_TIMESTAMP,
            &[
                ("topic", client.topic.as_str()),
                ("liteTopic", lite_topic),
                ("queueId", "0"),
                ("timestamp", &timestamp.to_string()),
            ],
        ));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        answer.number("offset")
    };
    let later = now_ms() + 60_000;
    assert_eq!(search(&mut client.conn, "a", 0), 0);
    assert_eq!(search(&mut client.conn, "a", later), 2);
    assert_eq!(search(&mut client.conn, "none", later), 0);
}

#[test]
fn a_lite_topic_can_be_pulled_from() {
    let mut client = LiteClient::create(server(), "pull", &[]);
    client.send("a", &["a0", "a1"]);
    client.send("b", &["b0"]);
    let mut request = ops::pull_request(&client.group, &client.topic, 0, 1);
    request.ext.insert("liteTopic".to_owned(), "a".to_owned());
    let answer = client.conn.call(request);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!((answer.number("nextBeginOffset"), answer.number("maxOffset")), (2, 2));
    assert_eq!(LiteClient::read(answer).bodies(), ["a1"]);
}
