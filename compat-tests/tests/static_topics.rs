//! Static topics: logical queues, made and moved by `mqadmin`, that clients see as one.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oxmq_compat_tests::admin::mqadmin;
use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::server::BROKER_NAME;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Client, ClientKind, Kind, ServerUnderTest, client, wait};
use serde_json::{Value, json};

const OTHER_BROKER: &str = "broker-b";
const GROUP: &str = "static_group";
const QUEUES: usize = 4;
const COUNT: usize = 40;
/// How long messages may take from a broker to a consumer.
const DELIVERY_LIMIT: Duration = Duration::from_secs(90);
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
    mapping_request(topic, epoch, 2, &json!({"0": item(1, 100), "1": item(0, 0)}))
}

/// A queue that the other broker had until its offset 50, and this one has from 10 000 on.
fn second_part_request(topic: &str) -> Command {
    let parts = json!([
        {
            "bname": OTHER_BROKER, "gen": 0, "queueId": 0, "logicOffset": 0,
            "startOffset": 0, "endOffset": 50, "timeOfStart": -1, "timeOfEnd": -1,
        },
        {
            "bname": BROKER_NAME, "gen": 1, "queueId": 0, "logicOffset": 10_000,
            "startOffset": 0, "endOffset": -1, "timeOfStart": -1, "timeOfEnd": -1,
        },
    ]);
    mapping_request(topic, 7, 1, &json!({"0": parts}))
}

fn mapping_request(topic: &str, epoch: i64, queues: u32, hosted: &Value) -> Command {
    let mapping = json!({
        "topic": topic, "scope": "__global__", "totalQueues": queues, "bname": BROKER_NAME,
        "epoch": epoch, "dirty": false, "currIdMap": {}, "hostedQueues": hosted,
    });
    let mut request = ops::topic_request(topic, queues, "");
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

    let queue_2 = [("topic", topic), ("queueId", "2")];
    let of_group = [("consumerGroup", GROUP), ("topic", topic), ("queueId", "2")];
    let at_time = [("topic", topic), ("queueId", "2"), ("timestamp", "0")];
    let usual = format!("{topic}-2 does not exit in request process of current broker broker-a");
    let of_min = format!("{topic}-2 is not leader in broker broker-a, request code 31");
    let to_a_pull =
        format!("{topic}-2 cannot find mapping item in request process of current broker broker-a");
    for (request, remark) in [
        (ops::send_request(topic, 2, "", b"nowhere"), &usual),
        (ops::pull_request(GROUP, topic, 2, 0), &to_a_pull),
        (ops::commit_request(GROUP, topic, 2, 0), &usual),
        (Command::request(code::QUERY_CONSUMER_OFFSET, &of_group), &usual),
        (Command::request(code::GET_MAX_OFFSET, &queue_2), &usual),
        (Command::request(code::GET_MIN_OFFSET, &queue_2), &of_min),
        (Command::request(code::SEARCH_OFFSET_BY_TIMESTAMP, &at_time), &usual),
        (Command::request(code::GET_EARLIEST_MSG_STORETIME, &queue_2), &usual),
    ] {
        let refused = conn.call(request);
        assert_eq!(refused.code, response::NOT_LEADER_FOR_QUEUE, "{refused:?}");
        assert_eq!(refused.remark.as_ref(), Some(remark));
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

/// Waits until a consumer has had every message of each prefix.
fn await_all(client: &mut Client, id: &str, prefixes: &[&str]) {
    let expected: BTreeSet<String> = prefixes
        .iter()
        .flat_map(|prefix| (0..COUNT).map(|index| client::body(prefix, index)))
        .collect();
    wait::until(&format!("all of {prefixes:?} at {id}"), DELIVERY_LIMIT, || {
        let had = client.received(id).into_iter().map(|message| message.body).collect();
        expected.is_subset(&had).then_some(())
    });
}

/// A broker's answer that may need the other one: a busy machine may take longer than brokers wait.
fn answer_to(conn: &mut Conn, request: &Command) -> Command {
    wait::until("an answer", REGISTER_LIMIT, || {
        let answer = conn.call(request.clone());
        (answer.code == response::SUCCESS).then_some(answer)
    })
}

#[test]
fn logical_queues_move_from_a_broker_of_one_kind_to_one_of_the_other() {
    let first = ServerUnderTest::start();
    let second = ServerUnderTest::setup()
        .kind(Kind::under_test().other())
        .joining(&first, OTHER_BROKER)
        .start();
    // Whoever leads a queue then asks the other one for what was there before.
    for (to, leader, topic) in
        [(BROKER_NAME, &first, "moved_there"), (OTHER_BROKER, &second, "moved_here")]
    {
        let brokers = format!("{BROKER_NAME},{OTHER_BROKER}");
        mqadmin(&first, "updateStaticTopic", &["-b", &brokers, "-t", topic, "-qn", "4"])
            .assert_no_error();
        let spread =
            wait::until("a leader of each queue", REGISTER_LIMIT, || leaders(&first, topic));
        assert_eq!(spread.values().collect::<BTreeSet<_>>().len(), 2, "{spread:?}");

        let groups = [format!("{topic}_group"), format!("{topic}_new_group")];
        let mut java = Client::start(ClientKind::Java550, &first);
        java.consume("all", topic, &groups[0]);
        let sent = java.send("sync", topic, "before", COUNT);
        let queues: BTreeSet<i64> = sent.iter().map(|sent| sent.queue_id).collect();
        assert_eq!(queues, (0..QUEUES as i64).collect());
        await_all(&mut java, "all", &["before"]);

        mqadmin(&first, "remappingStaticTopic", &["-b", to, "-t", topic]).assert_no_error();
        wait::until("all queues at one broker", REGISTER_LIMIT, || {
            leaders(&first, topic).filter(|it| it.values().all(|broker| broker == to))
        });
        let mut fresh = Client::start(ClientKind::Java550, &first);
        let is_moved = |queue: i64| spread[&queue.to_string()] != to;
        for sent in fresh.send("sync", topic, "after", COUNT) {
            assert_eq!(sent.queue_offset >= 10_000, is_moved(sent.queue_id), "{sent:?}");
        }
        fresh.consume("new", topic, &groups[1]);
        await_all(&mut java, "all", &["before", "after"]);
        await_all(&mut fresh, "new", &["before", "after"]);

        let mut conn = Conn::connect(&leader.broker_addr());
        for queue in 0..QUEUES as i32 {
            let fields = [("topic", topic), ("queueId", &queue.to_string())];
            let min = answer_to(&mut conn, &Command::request(code::GET_MIN_OFFSET, &fields));
            assert_eq!(min.number("offset"), 0);
            let max = ops::max_offset(&mut conn, topic, queue);
            assert_eq!(max > 10_000, is_moved(queue.into()), "{queue}: {max}");
            let found = answer_to(&mut conn, &ops::pull_request(&groups[1], topic, queue, 0));
            assert_eq!(found.number("minOffset"), 0, "{found:?}");
            let old = String::from_utf8_lossy(&found.body).contains("before:");
            assert!(old, "queue {queue} begins with its old part");
            for group in &groups {
                let fields = [fields[0], fields[1], ("consumerGroup", group.as_str())];
                let query = Command::request(code::QUERY_CONSUMER_OFFSET, &fields);
                wait::until("a committed offset", REGISTER_LIMIT, || {
                    (answer_to(&mut conn, &query).number("offset") == max).then_some(())
                });
            }
        }
    }
}

#[test]
fn mapping_that_the_reference_wrote_is_served_and_given_back() {
    let (topic, moved) = ("taken_over", "moved_before");
    let store = tempfile::tempdir().unwrap();
    let start = |kind: Kind| {
        ServerUnderTest::setup()
            .kind(kind)
            .namesrv_kind(Kind::under_test())
            .store(store.path())
            .start()
    };
    let end = |mut server: ServerUnderTest| {
        server.stop();
        assert!(server.store_dir().join("config/topicQueueMapping.json").exists());
    };

    let server = start(Kind::Reference);
    let mut conn = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut conn, "static", GROUP, topic);
    let made = conn.call(static_request(topic, 7));
    assert_eq!(made.code, response::SUCCESS, "{made:?}");
    for (queue, offset) in [(0, 100), (0, 101), (1, 0)] {
        assert_eq!(ops::send(&mut conn, topic, queue, "", b"before"), offset);
    }
    ops::wait_for_max_offset(&mut conn, topic, 0, 102);
    ops::wait_for_max_offset(&mut conn, topic, 1, 1);
    ops::commit_offset(&mut conn, GROUP, topic, 0, 101);
    check_numbers(&mut conn, topic);
    let written = served_mapping(&mut conn, topic);
    let made = conn.call(second_part_request(moved));
    assert_eq!(made.code, response::SUCCESS, "{made:?}");
    assert_eq!(ops::send(&mut conn, moved, 0, "", b"part"), 10_000);
    ops::wait_for_max_offset(&mut conn, moved, 0, 10_001);
    check_second_part(&mut conn, moved);
    let written_moved = served_mapping(&mut conn, moved);
    end(server);

    let server = start(Kind::under_test());
    let mut conn = Conn::connect(&server.broker_addr());
    check_numbers(&mut conn, topic);
    assert_eq!(served_mapping(&mut conn, topic), written);
    check_second_part(&mut conn, moved);
    assert_eq!(served_mapping(&mut conn, moved), written_moved);
    let old = conn.call(static_request(topic, 6));
    let remark = old.remark.as_deref();
    assert_eq!((old.code, remark), (1, Some("Can't accept data with small epoch 6 < 7")));
    let newer = conn.call(static_request(topic, 8));
    assert_eq!(newer.code, response::SUCCESS, "{newer:?}");
    check_numbers(&mut conn, topic);
    let changed = served_mapping(&mut conn, topic);
    assert_ne!(changed, written);
    end(server);

    let server = start(Kind::Reference);
    let mut conn = Conn::connect(&server.broker_addr());
    check_numbers(&mut conn, topic);
    assert_eq!(served_mapping(&mut conn, topic), changed);
    check_second_part(&mut conn, moved);
    assert_eq!(served_mapping(&mut conn, moved), written_moved);
    let remark = conn.call(static_request(topic, 7)).remark;
    assert_eq!(remark.as_deref(), Some("Can't accept data with small epoch 7 < 8"));
    assert_eq!(ops::send(&mut conn, topic, 0, "", b"after"), 102);
}

fn check_second_part(conn: &mut Conn, topic: &str) {
    assert_eq!(ops::max_offset(conn, topic, 0), 10_001);
    let found = conn.call(ops::pull_request(GROUP, topic, 0, 10_000));
    let numbers = ["nextBeginOffset", "maxOffset", "offsetDelta"];
    assert_eq!(found.code, response::SUCCESS, "{found:?}");
    assert_eq!(numbers.map(|name| found.number(name)), [10_001, 10_001, 10_000]);
    // The other broker, which has it, is not there.
    let old = conn.call(ops::pull_request(GROUP, topic, 0, 20));
    assert_eq!(old.code, response::SYSTEM_ERROR, "{old:?}");
    let fields = [("topic", topic), ("queueId", "0")];
    let min = conn.call(Command::request(code::GET_MIN_OFFSET, &fields));
    assert_eq!(min.code, response::SYSTEM_ERROR, "{min:?}");
}

/// A static topic as the broker tells it.
fn served_mapping(conn: &mut Conn, topic: &str) -> String {
    let asked = [("topic", topic), ("lo", "true")];
    let config = conn.call(Command::request(code::GET_TOPIC_CONFIG, &asked));
    assert_eq!(config.code, response::SUCCESS, "{config:?}");
    String::from_utf8(config.body).unwrap()
}
