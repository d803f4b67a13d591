//! Heartbeats, consumer lists and their notifications, committed offsets and held pulls, request by
//! request: what the official clients rely on without saying so.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, Record, ServerUnderTest, wait};
use serde_json::Value;

/// How long a push of the broker may take.
const NOTIFY_LIMIT: Duration = Duration::from_secs(10);
/// The broker looks at held pulls by itself every 5 s: an answer to a new message comes sooner.
const HELD_LIMIT: Duration = Duration::from_secs(3);

#[test]
fn a_heartbeat_lists_the_consumer_until_it_unregisters() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("list_group", "list_topic");
    ops::create_topic(server, topic, 1);
    let mut one = Conn::connect(&server.broker_addr());
    let mut two = Conn::connect(&server.broker_addr());
    assert_eq!(consumers(&mut one, group), None);
    ops::heartbeat(&mut one, "client-one", group, topic);
    ops::heartbeat(&mut two, "client-two", group, topic);
    assert_eq!(consumers(&mut one, group), Some(vec!["client-one".into(), "client-two".into()]));
    // Once more is once.
    ops::heartbeat(&mut two, "client-two", group, topic);
    assert_eq!(consumers(&mut one, group), Some(vec!["client-one".into(), "client-two".into()]));
    unregister(&mut one, "client-one", group);
    assert_eq!(consumers(&mut one, group), Some(vec!["client-two".into()]));
    unregister(&mut two, "client-two", group);
    assert_eq!(consumers(&mut one, group), None);
}

#[test]
fn the_rest_of_a_group_is_told_when_one_joins_leaves_or_dies() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("told_group", "told_topic");
    ops::create_topic(server, topic, 1);
    let mut stays = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut stays, "stays", group, topic);
    let mut listener = Listener::new(stays);

    let mut leaves = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut leaves, "leaves", group, topic);
    listener.assert_told(group, "one joined");
    unregister(&mut leaves, "leaves", group);
    listener.assert_told(group, "one left");

    let mut dies = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut dies, "dies", group, topic);
    listener.assert_told(group, "another joined");
    drop(dies);
    listener.assert_told(group, "its connection is closed");
    let mut conn = Conn::connect(&server.broker_addr());
    assert_eq!(consumers(&mut conn, group), Some(vec!["stays".into()]));
}

#[test]
fn a_new_subscription_of_a_known_consumer_is_told() {
    let server = ServerUnderTest::shared();
    let group = "subscribed_group";
    for topic in ["subscribed_first", "subscribed_second"] {
        ops::create_topic(server, topic, 1);
    }
    let mut stays = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut stays, "stays", group, "subscribed_first");
    let mut listener = Listener::new(stays);
    let mut changes = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut changes, "changes", group, "subscribed_first");
    listener.assert_told(group, "one joined");
    ops::heartbeat(&mut changes, "changes", group, "subscribed_second");
    listener.assert_told(group, "the subscription changed");
}

#[test]
fn a_consumer_gets_a_retry_topic_of_one_queue() {
    let server = ServerUnderTest::shared();
    ops::create_topic(server, "retried_topic", 1);
    let mut conn = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut conn, "retried", "retried_group", "retried_topic");
    let route = ops::wait_for_route(server, "%RETRY%retried_group");
    let queues = &route["queueDatas"][0];
    assert_eq!((&queues["readQueueNums"], &queues["perm"]), (&Value::from(1), &Value::from(6)));
}

#[test]
fn an_offset_that_was_never_committed_is_not_found_or_zero() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("offset_group", "offset_topic");
    ops::create_topic(server, topic, 2);
    let mut conn = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut conn, "offsets", group, topic);
    assert_eq!(ops::committed_offset(&mut conn, group, topic, 0), None);
    let fields = [("consumerGroup", group), ("topic", topic), ("queueId", "0")];
    let query = Command::request(code::QUERY_CONSUMER_OFFSET, &fields);
    // A client that is told so asks for the end of the queue and passes over what is sent in
    // between: ours says that an empty queue begins where it ends, as the releases before 5 do.
    let of_empty = conn.call(query.clone());
    if server.kind() == Kind::Ours {
        assert_eq!((of_empty.code, of_empty.number("offset")), (response::SUCCESS, 0));
    } else {
        assert_eq!(of_empty.code, response::QUERY_NOT_FOUND);
    }
    // The queue is complete and its head in memory: a new group may start at 0.
    ops::send(&mut conn, topic, 0, "", b"the head");
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    let answer = conn.call(query);
    assert_eq!((answer.code, answer.number("offset")), (response::SUCCESS, 0));
    assert_eq!(ops::committed_offset(&mut conn, group, topic, 0), None);

    ops::commit_offset(&mut conn, group, topic, 0, 7);
    assert_eq!(ops::committed_offset(&mut conn, group, topic, 0), Some(7));
    assert_eq!(ops::committed_offset(&mut conn, group, topic, 1), None);
    assert_eq!(ops::committed_offset(&mut conn, "another_group", topic, 0), None);
    // Backwards too: a reset is a commit.
    ops::commit_offset(&mut conn, group, topic, 0, 3);
    assert_eq!(ops::committed_offset(&mut conn, group, topic, 0), Some(3));
}

#[test]
fn a_pull_commits_the_offset_that_it_carries() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("carried_group", "carried_topic");
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut conn, "carried", group, topic);
    ops::send(&mut conn, topic, 0, "", b"one");
    ops::send(&mut conn, topic, 0, "", b"two");
    ops::wait_for_max_offset(&mut conn, topic, 0, 2);
    let mut pull = ops::pull_request(group, topic, 0, 1);
    // Flags: commit (1) and subscription (4).
    pull.ext.insert("sysFlag".to_owned(), "5".to_owned());
    pull.ext.insert("commitOffset".to_owned(), "1".to_owned());
    assert_eq!(conn.call(pull).code, response::SUCCESS);
    wait::until("the offset of the pull", NOTIFY_LIMIT, || {
        (ops::committed_offset(&mut conn, group, topic, 0) == Some(1)).then_some(())
    });
}

#[test]
fn a_pull_at_the_end_is_held_until_a_message_comes() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("held_group", "held_topic");
    ops::create_topic(server, topic, 2);
    let mut consumer = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut consumer, "held", group, topic);
    let mut producer = Conn::connect(&server.broker_addr());
    for round in 0..5 {
        let opaque = consumer.send(held_pull(group, topic, 1, round, 20_000)).unwrap();
        // Another queue wakes nobody; the connection goes on working while a pull is held.
        ops::send(&mut producer, topic, 0, "", b"elsewhere");
        assert_eq!(consumer.call(Command::request(9_999, &[])).code, 3);
        let began = Instant::now();
        let text = format!("message {round}");
        assert_eq!(ops::send(&mut producer, topic, 1, "", text.as_bytes()), round);
        let answer = consumer.receive().unwrap();
        assert!(began.elapsed() < HELD_LIMIT, "{:?}", began.elapsed());
        assert_eq!((answer.opaque, answer.code), (opaque, response::SUCCESS), "{answer:?}");
        let records = Record::decode_all(&answer.body);
        assert_eq!(records.iter().map(Record::text).collect::<Vec<_>>(), [text]);
        assert_eq!(answer.number("nextBeginOffset"), round + 1);
    }
}

#[test]
fn a_held_pull_ends_with_not_found() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("expired_group", "expired_topic");
    ops::create_topic(server, topic, 1);
    let mut consumer = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut consumer, "expired", group, topic);
    ops::send(&mut consumer, topic, 0, "", b"read already");
    ops::wait_for_max_offset(&mut consumer, topic, 0, 1);
    let began = Instant::now();
    let answer = consumer.call(held_pull(group, topic, 0, 1, 1_000));
    assert_eq!(answer.code, response::PULL_NOT_FOUND, "{answer:?}");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    let offsets = ["nextBeginOffset", "minOffset", "maxOffset"].map(|key| answer.number(key));
    assert_eq!(offsets, [1, 0, 1]);
    // Without the flag there is no waiting.
    let began = Instant::now();
    let answer = consumer.call(ops::pull_request(group, topic, 0, 1));
    assert_eq!(answer.code, response::PULL_NOT_FOUND);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn a_pull_returns_only_messages_of_its_tags() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("tags_group", "tags_topic");
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut conn, "tags", group, topic);
    for index in 0..12 {
        let tag = ["red", "green", "blue"][index % 3];
        ops::send(&mut conn, topic, 0, &format!("TAGS\u{1}{tag}\u{2}"), tag.as_bytes());
    }
    ops::wait_for_max_offset(&mut conn, topic, 0, 12);
    let mut pull = ops::pull_request(group, topic, 0, 0);
    pull.ext.insert("subscription".to_owned(), "red || blue".to_owned());
    let answer = conn.call(pull.clone());
    assert_eq!(answer.code, response::SUCCESS);
    let records = Record::decode_all(&answer.body);
    let bodies: Vec<&str> = records.iter().map(Record::text).collect();
    assert_eq!(bodies, ["red", "blue", "red", "blue", "red", "blue", "red", "blue"]);
    assert_eq!(answer.number("nextBeginOffset"), 12);
    // Nothing fits: the next pull begins after what was looked at.
    pull.ext.insert("subscription".to_owned(), "yellow".to_owned());
    let answer = conn.call(pull);
    assert_eq!(answer.code, response::PULL_RETRY_IMMEDIATELY, "{answer:?}");
    assert_eq!(answer.number("nextBeginOffset"), 12);
}

#[test]
fn the_second_port_takes_messages_and_no_pulls() {
    let server = ServerUnderTest::shared();
    let (group, topic) = ("vip_group", "vip_topic");
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.vip_addr());
    ops::heartbeat(&mut conn, "vip", group, topic);
    assert_eq!(ops::send(&mut conn, topic, 0, "", b"by the second port"), 0);
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    let answer = conn.call(ops::pull_request(group, topic, 0, 0));
    assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED, "{answer:?}");
    let mut main = Conn::connect(&server.broker_addr());
    assert_eq!(ops::walk_queue(&mut main, group, topic, 0, 0).len(), 1);
}

#[test]
fn a_send_without_the_long_form_is_the_same() {
    let server = ServerUnderTest::shared();
    let topic = "plain_send";
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    let send = Command::request(
        code::SEND_MESSAGE,
        &[
            ("producerGroup", "plain"),
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", "0"),
            ("sysFlag", "0"),
            ("bornTimestamp", "1700000000123"),
            ("flag", "42"),
            ("properties", "KEYS\u{1}k\u{2}"),
            ("reconsumeTimes", "0"),
            ("unitMode", "false"),
        ],
    )
    .with_body("plain");
    let answer = conn.call(send);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!((answer.number("queueId"), answer.number("queueOffset")), (0, 0));
    assert_eq!(answer.ext["MSG_REGION"], "DefaultRegion");
    assert_eq!(answer.ext["TRACE_ON"], "true");
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    let record = &ops::walk_queue(&mut conn, "plain_reader", topic, 0, 0)[0];
    assert_eq!(record.flag, 42);
    assert_eq!(record.born_timestamp_ms, 1_700_000_000_123);
    assert_eq!(record.properties["KEYS"], "k");
    // The id says where the message is: address, port, position in the log.
    let port: u16 = server.broker_addr().rsplit(':').next().unwrap().parse().unwrap();
    let id = format!("7F000001{:08X}{:016X}", port, record.phy_offset);
    assert_eq!(answer.ext["msgId"], id);
}

/// A pull that the broker may hold: flags hold (2) and subscription (4).
fn held_pull(group: &str, topic: &str, queue: i32, offset: i64, limit_ms: u64) -> Command {
    let mut pull = ops::pull_request(group, topic, queue, offset);
    pull.ext.insert("sysFlag".to_owned(), "6".to_owned());
    pull.ext.insert("suspendTimeoutMillis".to_owned(), limit_ms.to_string());
    pull
}

/// The client ids of a group in order, or `None` when it has no consumer.
fn consumers(conn: &mut Conn, group: &str) -> Option<Vec<String>> {
    let request = Command::request(code::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", group)]);
    let answer = conn.call(request);
    if answer.code != response::SUCCESS {
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{answer:?}");
        let remark = format!("no consumer for this group, {group}");
        assert_eq!(answer.remark.as_deref(), Some(remark.as_str()));
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let ids = body["consumerIdList"].as_array().unwrap();
    let mut ids: Vec<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    Some(ids)
}

fn unregister(conn: &mut Conn, client_id: &str, group: &str) {
    let fields = [("clientID", client_id), ("consumerGroup", group)];
    let answer = conn.call(Command::request(code::UNREGISTER_CLIENT, &fields));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// A consumer's connection, read for what the broker says by itself.
struct Listener {
    conn: Conn,
}

impl Listener {
    fn new(mut conn: Conn) -> Self {
        conn.set_answer_limit(NOTIFY_LIMIT);
        Self { conn }
    }

    /// Waits for a notification, then passes over more of the same: one event may be told twice.
    fn assert_told(&mut self, group: &str, what: &str) {
        let told = self.conn.receive().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(told.code, code::NOTIFY_CONSUMER_IDS_CHANGED, "{what}: {told:?}");
        assert_eq!(told.ext["consumerGroup"], group, "{what}");
        assert_eq!(told.flag & 1, 0, "{what}: {told:?}");
        self.conn.set_answer_limit(Duration::from_millis(200));
        while let Ok(again) = self.conn.receive() {
            assert_eq!(again.code, code::NOTIFY_CONSUMER_IDS_CHANGED, "{again:?}");
        }
        self.conn.set_answer_limit(NOTIFY_LIMIT);
    }
}
