//! Settings, attributes and properties of the messaging core that few use, each with its effect on
//! answers.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::server::BROKER_NAME;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, message_ops, wait};
use serde_json::{Value, json};

const GET_BROKER_RUNTIME_INFO: i32 = 28;
const LOCK_BATCH_MQ: i32 = 41;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
const UPDATE_COLD_DATA: i32 = 2001;
const REMOVE_COLD_DATA: i32 = 2002;
const GET_COLD_DATA: i32 = 2003;
const SET_COMMITLOG_READ_MODE: i32 = 2004;
/// Clients are looked at every ten seconds.
const SCAN_LIMIT: Duration = Duration::from_secs(30);

/// One server whose settings suit all tests here.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| {
        ServerUnderTest::setup()
            .broker_conf("lockInStrictMode", "true")
            .broker_conf("totalReplicas", "3")
            .broker_conf("slaveReadEnable", "true")
            .broker_conf("rejectTransactionMessage", "true")
            // Whatever is not the end of the log is far away.
            .broker_conf("accessMessageInMemoryMaxRatio", "0")
            .start()
    })
}

fn connect() -> Conn {
    Conn::connect(&server().broker_addr())
}

#[test]
fn a_replica_alone_locks_nothing_in_strict_mode() {
    let mut conn = connect();
    let mut lock = |only_this_broker: bool| {
        let body = json!({
            "consumerGroup": "strict", "clientId": "a", "onlyThisBroker": only_this_broker,
            "mqSet": [{"topic": "strict", "brokerName": BROKER_NAME, "queueId": 0}],
        });
        let answer = conn.call(Command::request(LOCK_BATCH_MQ, &[]).with_body(body.to_string()));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["lockOKMQSet"].as_array().unwrap().len()
    };
    assert_eq!(lock(false), 0, "one of three is not most of them");
    assert_eq!(lock(true), 1, "a replica that is asked for its own part answers for itself");
}

#[test]
fn a_group_that_is_behind_is_told_the_broker_that_its_settings_name() {
    let mut conn = connect();
    ops::create_topic(server(), "suggested", 1);
    let body = json!({
        "groupName": "suggested", "consumeEnable": true, "consumeFromMinEnable": true,
        "consumeBroadcastEnable": true, "retryQueueNums": 1, "retryMaxTimes": 16,
        "brokerId": 5, "whichBrokerWhenConsumeSlowly": 7, "notifyConsumerIdsChangedEnable": true,
    });
    let request = Command::request(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
    assert_eq!(conn.call(request.with_body(body.to_string())).code, response::SUCCESS);
    ops::send(&mut conn, "suggested", 0, "", b"1");
    ops::wait_for_max_offset(&mut conn, "suggested", 0, 1);
    let mut suggested = |group: &str, offset: i64| {
        let answer = conn.call(ops::pull_request(group, "suggested", 0, offset));
        (answer.code, answer.number("suggestWhichBrokerId"))
    };
    assert_eq!(suggested("suggested", 0), (response::SUCCESS, 7));
    assert_eq!(suggested("suggested", 1), (response::PULL_NOT_FOUND, 5));
    assert_eq!(suggested("not_told", 0), (response::SUCCESS, 1));
    assert_eq!(suggested("not_told", 1), (response::PULL_NOT_FOUND, 0));
}

#[test]
fn a_priority_is_the_number_of_a_queue_for_messages_that_are_nothing_else() {
    let mut conn = connect();
    ops::create_topic_with(server(), "priorities", 4, "+message.type=PRIORITY");
    let mut send = |properties: &str| {
        let answer = conn.call(ops::send_request("priorities", 1, properties, b"x"));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        answer.number("queueId")
    };
    let with = |priority: &str| format!("_SYS_MSG_PRIORITY_\u{1}{priority}\u{2}");
    let queues: Vec<i64> = ["0", "3", "9", "-1", "x"].map(|p| send(&with(p))).into();
    assert_eq!(queues, [0, 3, 3, 1, 1]);
    assert_eq!(send(&format!("__SHARDINGKEY\u{1}k\u{2}{}", with("0"))), 1);
    ops::wait_for_max_offset(&mut conn, "priorities", 1, 3);
    let stored = ops::walk_queue(&mut conn, "priorities", "priorities", 1, 0);
    let kept: Vec<Option<&str>> = stored
        .iter()
        .map(|record| record.properties.get("_SYS_MSG_PRIORITY_").map(String::as_str))
        .collect();
    assert_eq!(kept, [Some("-1"), Some("x"), None], "the ordered one has lost it");
}

#[test]
fn a_compacted_topic_takes_no_message_without_a_key() {
    let mut conn = connect();
    ops::create_topic_with(server(), "compacted", 1, "+cleanup.policy=COMPACTION");
    let mut send = |properties: &str| {
        let answer = conn.call(ops::send_request("compacted", 0, properties, b"x"));
        (answer.code, answer.remark)
    };
    let refused = (response::MESSAGE_ILLEGAL, Some("Required message key is missing".to_owned()));
    assert_eq!(send(""), refused);
    assert_eq!(send("KEYS\u{1} \u{2}"), refused);
    assert_eq!(send("KEYS\u{1}k\u{2}").0, response::SUCCESS);
}

#[test]
fn a_broker_may_take_no_half_messages() {
    ops::create_topic(server(), "no_halves", 1);
    let mut conn = connect();
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}no_halves\u{2}UNIQ_KEY\u{1}no-halves-1\u{2}";
    let answer = conn.call(ops::send_request("no_halves", 0, half, b"half"));
    assert_eq!(answer.code, response::NO_PERMISSION, "{answer:?}");
    let remark = "the broker[127.0.0.1] sending transaction message is forbidden";
    assert_eq!(answer.remark.as_deref(), Some(remark));
    assert_eq!(ops::send(&mut conn, "no_halves", 0, "", b"whole"), 0);
}

#[test]
fn a_topic_takes_messages_of_any_type_whatever_its_attribute_says() {
    let mut conn = connect();
    for kind in ["NORMAL", "FIFO", "DELAY", "TRANSACTION"] {
        let topic = format!("typed_{kind}");
        ops::create_topic_with(server(), &topic, 1, &format!("+message.type={kind}"));
        for properties in ["", "__SHARDINGKEY\u{1}k\u{2}", "DELAY\u{1}1\u{2}"] {
            let answer = conn.call(ops::send_request(&topic, 0, properties, b"x"));
            assert_eq!(answer.code, response::SUCCESS, "{kind} {properties:?}: {answer:?}");
        }
    }
}

#[test]
fn attributes_are_taken_or_refused_by_their_values() {
    let mut conn = connect();
    let mut topic = |attribute: &str| {
        let fields = [
            ("topic", "attributes"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", attribute),
        ];
        conn.call(Command::request(code::UPDATE_AND_CREATE_TOPIC, &fields))
    };
    for (attribute, remark) in [
        ("+lite.topic.expiration=43200", None),
        ("+lite.topic.expiration=43201", Some("value is not in range(-1, 43200)")),
        ("+message.type=OTHER", Some("value is not in set: [")),
        ("+queue.type=BatchCQ", Some("attempt to update an unchangeable attribute")),
        ("+priority.factor=1", Some("unsupported key: priority.factor")),
    ] {
        check(attribute, &topic(attribute), remark);
    }
    let mut group = |name: &str, value: &str| {
        let body = json!({
            "groupName": "attributes", "consumeEnable": true, "consumeFromMinEnable": true,
            "consumeBroadcastEnable": true, "retryQueueNums": 1, "retryMaxTimes": 16, "brokerId": 0,
            "whichBrokerWhenConsumeSlowly": 1, "attributes": {name: value},
        });
        let request = Command::request(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
        conn.call(request.with_body(body.to_string()))
    };
    for (name, value, remark) in [
        ("+priority.factor", "50", None),
        ("+priority.factor", "101", Some("value is not in range(0, 100)")),
        ("+priority.factor", "many", Some("For input string: \"many\"")),
        ("+lite.sub.model", "Exclusive", None),
        ("+lite.sub.model", "Own", Some("value is not in set: [")),
        ("+lite.sub.reset.offset.exclusive", "yes", Some("boolean attribute format is wrong.")),
        ("+lite.bind.topic", "any", None),
        ("-lite.bind.topic", "", None),
        ("-lite.bind.topic", "", Some("attempt to delete a nonexistent key: lite.bind.topic")),
        ("+message.type", "FIFO", Some("unsupported key: message.type")),
    ] {
        check(name, &group(name, value), remark);
    }
    let groups = message_ops::group_configs(&mut conn);
    let kept = &groups["attributes"]["attributes"];
    assert_eq!(kept, &json!({"priority.factor": "50", "lite.sub.model": "Exclusive"}));
}

#[test]
fn groups_have_thresholds_of_what_they_may_read_from_disk() {
    let mut conn = connect();
    let mut call = |code: i32, body: &str| conn.call(Command::request(code, &[]).with_body(body));
    assert_eq!(call(UPDATE_COLD_DATA, "cold_a=1024\ncold_b=x\ncold_c=7\n").code, 0);
    assert_eq!(call(REMOVE_COLD_DATA, "cold_c").code, 0);
    let answer = call(GET_COLD_DATA, "");
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let info: Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = json!({
        "configTable": {"cold_a": 1024}, "runtimeTable": {}, "cgColdReadThreshold": 3_145_728,
        "globalColdReadThreshold": 104_857_600, "globalAcc": 0,
    });
    assert_eq!(info, expected);
    for (mode, code, remark) in [
        ("1", response::SUCCESS, "set commitlog readahead mode success, mode: 1"),
        ("2", response::INVALID_PARAMETER, "set commitlog readahead mode param value error"),
        ("x", response::SYSTEM_ERROR, "set commitlog readahead mode failed"),
    ] {
        let request = Command::request(SET_COMMITLOG_READ_MODE, &[("READ_AHEAD_MODE", mode)]);
        let answer = conn.call(request);
        assert_eq!((answer.code, answer.remark.as_deref()), (code, Some(remark)));
    }
}

fn check(what: &str, answer: &Command, remark: Option<&str>) {
    let text = answer.remark.as_deref().unwrap_or_default();
    match remark {
        None => assert_eq!(answer.code, response::SUCCESS, "{what}: {text}"),
        Some(remark) => {
            assert_eq!(answer.code, response::SYSTEM_ERROR, "{what}");
            assert!(text.contains(remark), "{what}: {text}");
        }
    }
}

/// The reference has no such figure.
#[test]
fn members_with_different_subscriptions_are_counted() {
    if server().kind() != Kind::Ours {
        return;
    }
    ops::create_topic(server(), "different_a", 1);
    ops::create_topic(server(), "different_b", 1);
    let (mut one, mut two) = (connect(), connect());
    ops::heartbeat(&mut one, "one", "different", "different_a");
    ops::heartbeat(&mut two, "two", "different", "different_b");
    await_different(&mut one, "1");
    ops::heartbeat(&mut two, "two", "different", "different_a");
    await_different(&mut one, "0");
}

fn await_different(conn: &mut Conn, count: &str) {
    wait::until("the count of groups with different subscriptions", SCAN_LIMIT, || {
        let answer = conn.call(Command::request(GET_BROKER_RUNTIME_INFO, &[]));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (body["table"]["groupsWithDifferentSubscriptions"] == count).then_some(())
    });
}

/// Members of a group that broadcasts keep their offsets themselves. The broker keeps them for
/// those that come through a proxy, or have.
#[test]
fn a_broadcast_member_goes_on_where_it_was_when_it_moves_between_proxy_and_broker() {
    let (group, topic) = ("broadcasts", "broadcasts");
    let mut conn = connect();
    ops::create_topic(server(), topic, 2);
    ops::send(&mut conn, topic, 0, "", b"1");
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    let proxied = |client_id: &str, queue_id: i32, offset: i64| {
        let mut request = ops::pull_request(group, topic, queue_id, offset);
        request.ext.insert("requestSource".to_owned(), "1".to_owned());
        request.ext.insert("proxyFrowardClientId".to_owned(), client_id.to_owned());
        request
    };
    let moved = |answer: &Command, next: i64| {
        assert_eq!(answer.code, response::PULL_OFFSET_MOVED, "{answer:?}");
        assert_eq!(answer.remark.as_deref(), Some("OFFSET_RESET"));
        let bounds = (answer.number("minOffset"), answer.number("maxOffset"));
        assert_eq!((answer.number("nextBeginOffset"), bounds), (next, (0, 0)));
    };
    moved(&conn.call(proxied("p", 0, -1)), 0);
    moved(&conn.call(proxied("p", 1, -1)), 0);
    assert_eq!(conn.call(proxied("p", 0, 0)).code, response::SUCCESS);
    assert_eq!(conn.call(proxied("p", 0, 1)).code, response::PULL_NOT_FOUND);
    assert_eq!(conn.call(proxied("p", 0, 0)).code, response::SUCCESS, "it may ask for any offset");
    moved(&conn.call(proxied("p", 0, -1)), 1);

    ops::heartbeat_as(&mut conn, "p", group, topic, "BROADCASTING");
    let direct = || ops::pull_request(group, topic, 0, 0);
    moved(&conn.call(direct()), 1);
    assert_eq!(conn.call(direct()).code, response::SUCCESS, "it knows where it is now");
    moved(&conn.call(proxied("p", 0, 0)), 1);

    // What the slowest has pulled is where others begin, whatever there is.
    ops::send(&mut conn, topic, 0, "", b"2");
    ops::wait_for_max_offset(&mut conn, topic, 0, 2);
    let all = format!("{group}@broadcast");
    wait::until("the commit of what was pulled", SCAN_LIMIT, || {
        (ops::committed_offset(&mut conn, &all, topic, 0) == Some(1)).then_some(())
    });
    moved(&conn.call(proxied("q", 0, -1)), 1);
}
