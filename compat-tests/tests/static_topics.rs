//! Static topics: logical queues, made and moved by `mqadmin`, that clients see as one.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oxmq_compat_tests::admin::mqadmin;
use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::server::BROKER_NAME;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, client, wait};
use serde_json::{Value, json};

const OTHER_BROKER: &str = "broker-b";
const GROUP: &str = "static_group";
const QUEUES: usize = 4;
const COUNT: usize = 40;
/// Brokers register every 30 s at the latest.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);

/// Queue 0 is the physical queue 1 from offset 100 on, queue 1 the physical queue 0.
fn static_request(topic: &str, epoch: i64) -> Command {
    let item = |queue: i32, logic_offset: i64| {
        json!([{
            "bname": BROKER_NAME, "gen": 0, "queueId": queue, "logicOffset": logic_offset,
            "startOffset": 0, "endOffset": -1, "timeOfStart": -1, "timeOfEnd": -1,
        }])
    };
    let mapping = json!({
        "topic": topic, "scope": "__global__", "totalQueues": 2, "bname": BROKER_NAME,
        "epoch": epoch, "dirty": false, "currIdMap": {},
        "hostedQueues": {"0": item(1, 100), "1": item(0, 0)},
    });
    let mut request = ops::topic_request(topic, 2, "");
    request.code = code::UPDATE_AND_CREATE_STATIC_TOPIC;
    request.ext.insert("force".to_owned(), "false".to_owned());
    request.with_body(mapping.to_string())
}

fn physical(mut request: Command) -> Command {
    request.ext.insert("lo".to_owned(), "false".to_owned());
    request
}

#[test]
fn logical_queue_is_served_with_its_own_numbers_also_after_a_restart() {
    let mut server = ServerUnderTest::start();
    let topic = "numbered";
    let mut conn = Conn::connect(&server.broker_addr());
    let made = conn.call(static_request(topic, 7));
    assert_eq!(made.code, response::SUCCESS, "{made:?}");
    let old = conn.call(static_request(topic, 6));
    let remark = old.remark.as_deref();
    assert_eq!((old.code, remark), (1, Some("Can't accept data with small epoch 6 < 7")));

    let asked = [("topic", topic), ("lo", "true")];
    let config = conn.call(Command::request(code::GET_TOPIC_CONFIG, &asked));
    let text = String::from_utf8(config.body).unwrap();
    assert!(text.contains(r#""mappingDetail":{"bname":"broker-a","currIdMap":{},"dirty":false,"#));
    let route = wait::until("the mapping in the route", REGISTER_LIMIT, || {
        let route = ops::route(&server.namesrv_addr(), topic)?;
        route["topicQueueMappingByBroker"].is_object().then_some(route)
    });
    assert_eq!(
        route["topicQueueMappingByBroker"],
        json!({BROKER_NAME: {
            "bname": BROKER_NAME, "currIdMap": {"0": 1, "1": 0}, "dirty": false, "epoch": 7,
            "scope": "__global__", "topic": topic, "totalQueues": 2,
        }})
    );

    ops::heartbeat(&mut conn, "static", GROUP, topic);
    assert_eq!(ops::send(&mut conn, topic, 0, "", b"first"), 100);
    let sent = conn.call(ops::send_request(topic, 0, "", b"second"));
    assert_eq!((sent.number("queueId"), sent.number("queueOffset")), (0, 101));
    assert_eq!(ops::send(&mut conn, topic, 1, "", b"other"), 0);
    ops::wait_for_max_offset(&mut conn, topic, 0, 102);
    ops::wait_for_max_offset(&mut conn, topic, 1, 1);
    ops::commit_offset(&mut conn, GROUP, topic, 0, 101);
    check_numbers(&mut conn, topic);

    server.stop();
    assert!(server.store_dir().join("config/topicQueueMapping.json").exists());
    server.restart();
    let mut conn = Conn::connect(&server.broker_addr());
    check_numbers(&mut conn, topic);
    assert_eq!(ops::send(&mut conn, topic, 0, "", b"third"), 102);
    assert_eq!(conn.call(static_request(topic, 6)).code, 1, "the epoch is known still");
}

fn check_numbers(conn: &mut Conn, topic: &str) {
    assert_eq!((ops::min_offset(conn, topic, 0), ops::max_offset(conn, topic, 0)), (100, 102));
    let found = conn.call(ops::pull_request(GROUP, topic, 0, 100));
    assert_eq!(found.code, response::SUCCESS, "{found:?}");
    let numbers = ["nextBeginOffset", "minOffset", "maxOffset", "offsetDelta"];
    assert_eq!(numbers.map(|name| found.number(name)), [102, 100, 102, 100]);
    let end = conn.call(ops::pull_request(GROUP, topic, 0, 102));
    assert_eq!((end.code, end.number("nextBeginOffset")), (response::PULL_NOT_FOUND, 102));

    assert_eq!(ops::committed_offset(conn, GROUP, topic, 0), Some(101));
    let query = Command::request(
        code::QUERY_CONSUMER_OFFSET,
        &[("consumerGroup", GROUP), ("topic", topic), ("queueId", "1")],
    );
    assert_eq!(conn.call(physical(query)).number("offset"), 1);
    let max = Command::request(code::GET_MAX_OFFSET, &[("topic", topic), ("queueId", "1")]);
    assert_eq!(conn.call(physical(max)).number("offset"), 2);
    let found = conn.call(physical(ops::pull_request(GROUP, topic, 1, 0)));
    assert_eq!((found.code, found.number("nextBeginOffset")), (response::SUCCESS, 2));

    for request in [
        ops::send_request(topic, 2, "", b"nowhere"),
        ops::pull_request(GROUP, topic, 2, 0),
        ops::commit_request(GROUP, topic, 2, 0),
        Command::request(code::GET_MAX_OFFSET, &[("topic", topic), ("queueId", "2")]),
        Command::request(code::GET_MIN_OFFSET, &[("topic", topic), ("queueId", "2")]),
    ] {
        let refused = conn.call(request);
        assert_eq!(refused.code, response::NOT_LEADER_FOR_QUEUE, "{refused:?}");
    }
}

/// Which broker leads each logical queue, as the name server says, once each has a leader and just one.
fn leaders(server: &ServerUnderTest, topic: &str) -> Option<BTreeMap<String, String>> {
    let route = ops::route(&server.namesrv_addr(), topic)?;
    let mappings = route["topicQueueMappingByBroker"].as_object()?;
    let of = |(broker, mapping): (&String, &Value)| -> Vec<(String, String)> {
        let ids = mapping["currIdMap"].as_object().unwrap().keys();
        ids.map(|id| (id.clone(), broker.clone())).collect()
    };
    let all: Vec<_> = mappings.iter().flat_map(of).collect();
    let leaders: BTreeMap<_, _> = all.iter().cloned().collect();
    (all.len() == QUEUES && leaders.len() == QUEUES).then_some(leaders)
}

fn assert_all_of(prefix: &str, bodies: impl Iterator<Item = String>) {
    let indexes: BTreeSet<usize> = bodies
        .filter(|text| text.starts_with(&format!("{prefix}:")))
        .map(|text| client::index_of(prefix, &text))
        .collect();
    assert_eq!(indexes, (0..COUNT).collect(), "of {prefix}");
}

#[test]
fn logical_queues_are_moved_to_another_broker_without_a_message_lost() {
    let topic = "moved";
    let mut first = ServerUnderTest::start();
    let mut second = ServerUnderTest::setup().joining(&first, OTHER_BROKER).start();
    let made = mqadmin(
        &first,
        "updateStaticTopic",
        &["-b", &format!("{BROKER_NAME},{OTHER_BROKER}"), "-t", topic, "-qn", "4"],
    );
    made.assert_no_error();
    let spread = wait::until("a leader of each queue", REGISTER_LIMIT, || leaders(&first, topic));
    let brokers: BTreeSet<&String> = spread.values().collect();
    assert_eq!(brokers.len(), 2, "{spread:?}");

    let mut java = Client::start(ClientKind::Java550, &first);
    java.consume("all", topic, GROUP);
    let sent = java.send("sync", topic, "before", COUNT);
    let queues: BTreeSet<i64> = sent.iter().map(|sent| sent.queue_id).collect();
    assert_eq!(queues, (0..QUEUES as i64).collect());
    java.await_received("all", COUNT);

    let moved = mqadmin(&first, "remappingStaticTopic", &["-b", OTHER_BROKER, "-t", topic]);
    moved.assert_no_error();
    wait::until("all queues at the other broker", REGISTER_LIMIT, || {
        leaders(&first, topic).filter(|it| it.values().all(|broker| broker == OTHER_BROKER))
    });
    let mut fresh = Client::start(ClientKind::Java550, &first);
    let sent = fresh.send("sync", topic, "after", COUNT);
    // A part that has been moved begins behind all that its predecessor can have.
    let is_moved = |queue: i64| spread[&queue.to_string()] == BROKER_NAME;
    for sent in sent {
        assert_eq!(sent.queue_offset >= 10_000, is_moved(sent.queue_id), "{sent:?}");
    }
    // Who was there goes on, who is new gets everything, with what the first broker has of it.
    fresh.consume("new", topic, "static_new_group");
    for (client, id) in [(&mut java, "all"), (&mut fresh, "new")] {
        let received = client.await_received(id, 2 * COUNT);
        for prefix in ["before", "after"] {
            assert_all_of(prefix, received.iter().map(|message| message.body.clone()));
        }
    }

    second.stop();
    second.restart();
    let mut conn = Conn::connect(&second.broker_addr());
    // A broker of the reference does not know others in its first ten seconds.
    for queue in 0..QUEUES as i32 {
        wait::until("an answer of the other broker", REGISTER_LIMIT, || {
            let fields = [("topic", topic), ("queueId", &queue.to_string())];
            let answer = conn.call(Command::request(code::GET_MIN_OFFSET, &fields));
            (answer.code == response::SUCCESS).then_some(())
        });
        assert_eq!(ops::min_offset(&mut conn, topic, queue), 0);
        let max = ops::max_offset(&mut conn, topic, queue);
        assert_eq!(max > 10_000, is_moved(queue.into()), "{queue}: {max}");
        let done = wait::until("a committed offset", REGISTER_LIMIT, || {
            ops::committed_offset(&mut conn, GROUP, topic, queue).filter(|done| *done == max)
        });
        assert_eq!(done, max);
    }

    // What the first broker has cannot be had without it; what has come since can.
    first.stop();
    let moved = (0..QUEUES as i32).find(|queue| is_moved((*queue).into())).unwrap();
    let min = [("topic", topic), ("queueId", &moved.to_string())];
    assert_eq!(
        conn.call(Command::request(code::GET_MIN_OFFSET, &min)).code,
        response::SYSTEM_ERROR
    );
    let old = conn.call(ops::pull_request(GROUP, topic, moved, 0));
    assert_eq!(old.code, response::SYSTEM_ERROR, "{old:?}");
    let new = conn.call(ops::pull_request(GROUP, topic, moved, 10_000));
    assert_eq!((new.code, new.number("offsetDelta")), (response::SUCCESS, 10_000));
}
