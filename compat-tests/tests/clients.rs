//! Every official client sends and receives through the server under test.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};

use oxmq_compat_tests::client::{Sent, body, index_of};
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Client, ClientKind, Kind, Received, ServerUnderTest, ops, wait};

/// Messages per way of sending.
const COUNT: usize = 1_000;
/// Where what is new is the client, not the load.
const FEW: usize = 50;
const QUEUES: u32 = 4;
/// Ways of sending; `oneway` has no answers to compare.
const MODES: [&str; 4] = ["sync", "async", "oneway", "selector"];

#[test]
fn java_5_5_0_receives_all_it_sent_in_queue_order() {
    receives_all_it_sent_in_queue_order(ClientKind::Java550, "java550");
}

#[test]
fn java_5_5_0_with_binary_headers_receives_all_it_sent_in_queue_order() {
    receives_all_it_sent_in_queue_order(ClientKind::Java550Binary, "binary");
}

#[test]
fn java_4_9_8_receives_all_it_sent_in_queue_order() {
    receives_all_it_sent_in_queue_order(ClientKind::Java498, "java498");
}

#[test]
fn go_receives_all_it_sent_in_queue_order() {
    receives_all_it_sent_in_queue_order(ClientKind::Go, "go");
}

#[test]
fn java_5_5_0_group_resumes_where_it_stopped() {
    group_resumes_where_it_stopped(ClientKind::Java550, "java550");
}

#[test]
fn java_4_9_8_group_resumes_where_it_stopped() {
    group_resumes_where_it_stopped(ClientKind::Java498, "java498");
}

#[test]
fn go_group_resumes_where_it_stopped() {
    group_resumes_where_it_stopped(ClientKind::Go, "go");
}

#[test]
fn cpp_receives_what_it_and_java_sent() {
    receives_what_it_and_java_sent(
        ClientKind::Cpp,
        "cpp",
        &["sync", "async", "oneway", "selector"],
    );
}

#[test]
fn node_receives_what_it_and_java_sent() {
    receives_what_it_and_java_sent(ClientKind::Node, "node", &["sync", "async"]);
}

#[test]
fn cpp_group_resumes_where_it_stopped() {
    group_resumes_where_it_stopped(ClientKind::Cpp, "cpp");
}

#[test]
fn node_group_resumes_where_it_stopped() {
    group_resumes_where_it_stopped(ClientKind::Node, "node");
}

#[test]
fn a_topic_is_created_by_the_first_message_of_a_java_client() {
    let server = ServerUnderTest::shared();
    for (kind, topic) in
        [(ClientKind::Java550, "created_by_550"), (ClientKind::Java498, "created_by_498")]
    {
        let mut client = Client::start(kind, server);
        let sent = client.send("sync", topic, "first", 8);
        assert_eq!(sent.len(), 8);
        let route = ops::wait_for_route(server, topic);
        let queues = &route["queueDatas"][0];
        // What a client asks for when it creates a topic (4), below the broker's own limit (8).
        assert_eq!(queues["readQueueNums"], 4, "{route}");
        assert_eq!(queues["writeQueueNums"], 4, "{route}");
        assert_eq!(queues["perm"], 6, "{route}");
        client.consume("late", topic, &format!("{topic}_group"));
        assert_eq!(client.await_received("late", 8).len(), 8);
    }
}

#[test]
fn java_clients_read_max_min_and_time_offsets() {
    let server = ServerUnderTest::shared();
    for (kind, topic) in
        [(ClientKind::Java550, "offsets_550"), (ClientKind::Java498, "offsets_498")]
    {
        ops::create_topic(server, topic, QUEUES);
        let mut client = Client::start(kind, server);
        client.send("selector", topic, "before", 40);
        let between = after_the_newest_message(server, topic);
        client.send("selector", topic, "after", 20);
        let mut conn = Conn::connect(&server.broker_addr());
        for queue in 0..QUEUES as i32 {
            ops::wait_for_max_offset(&mut conn, topic, queue, 15);
        }

        let time = between.to_string();
        let result = client.run("offsets", &[("topic", topic), ("time", time.as_str())]);
        let mut rows = result["queues"].as_array().unwrap().clone();
        rows.sort_by_key(|row| row["q"].as_i64());
        for (queue, row) in rows.iter().enumerate() {
            let expected = serde_json::json!({"q": queue, "max": 15, "min": 0, "at": 10});
            assert_eq!(row, &expected, "{kind:?}");
        }
        assert_eq!(rows.len(), QUEUES as usize);
    }
}

/// A time later than every message of the topic, and not later than what is sent from now on.
fn after_the_newest_message(server: &ServerUnderTest, topic: &str) -> i64 {
    let mut conn = Conn::connect(&server.broker_addr());
    for queue in 0..QUEUES as i32 {
        ops::wait_for_max_offset(&mut conn, topic, queue, 10);
    }
    let newest = (0..QUEUES as i32)
        .flat_map(|queue| ops::walk_queue(&mut conn, "offsets_probe", topic, queue, 0))
        .map(|record| record.store_timestamp_ms)
        .max()
        .unwrap();
    wait::until("the clock to move on", ops::ROUTE_LIMIT, || {
        (ops::now_ms() > newest + 1).then_some(newest + 1)
    })
}

fn receives_all_it_sent_in_queue_order(kind: ClientKind, name: &str) {
    let server = ServerUnderTest::shared();
    let topic = format!("all_modes_{name}");
    ops::create_topic(server, &topic, QUEUES);
    let mut client = Client::start(kind, server);
    client.consume("all", &topic, &format!("all_modes_group_{name}"));

    let sent: HashMap<&str, Vec<Sent>> =
        MODES.iter().map(|&mode| (mode, client.send(mode, &topic, mode, COUNT))).collect();
    let received = client.await_received("all", MODES.len() * COUNT);

    assert_every_queue_is_in_order(&received);
    for mode in MODES {
        let by_index = by_index(&received, mode);
        assert_eq!(by_index.len(), COUNT, "{mode}");
        assert_eq!(by_index.keys().copied().collect::<Vec<_>>(), (0..COUNT).collect::<Vec<_>>());
        if mode == "oneway" {
            continue;
        }
        assert_eq!(sent[mode].len(), COUNT, "{mode}");
        for sent in &sent[mode] {
            let got = by_index[&(sent.index as usize)];
            assert_eq!(
                (got.queue_id, got.queue_offset, &got.msg_id),
                (sent.queue_id, sent.queue_offset, &sent.msg_id),
                "{mode} {}: the answer to the send and the received message differ",
                sent.index
            );
        }
    }
    for (index, message) in by_index(&received, "selector") {
        assert_eq!(message.queue_id, (index % QUEUES as usize) as i64);
    }
    for mode in ["sync", "selector"] {
        assert_indexes_ascend_in_every_queue(&received, mode);
    }
    for message in &received {
        assert_eq!(message.tags, "TagA");
        assert_eq!(message.reconsume_times, 0);
    }
}

/// Both ways between this client and the Java client, on one topic.
fn receives_what_it_and_java_sent(kind: ClientKind, name: &str, modes: &[&str]) {
    let server = ServerUnderTest::shared();
    let topic = format!("with_java_{name}");
    ops::create_topic(server, &topic, QUEUES);
    let mut client = Client::start(kind, server);
    let mut java = Client::start(ClientKind::Java550, server);
    client.consume("all", &topic, &format!("with_java_group_{name}"));
    java.consume("all", &topic, &format!("with_java_group_java_{name}"));

    for mode in modes {
        let sent = client.send(mode, &topic, mode, FEW);
        assert!(*mode == "oneway" || sent.len() == FEW, "{mode}: {sent:?}");
    }
    java.send("sync", &topic, "java", FEW);

    let prefixes = modes.iter().chain(&["java"]);
    for receiver in [&mut client, &mut java] {
        let received = receiver.await_received("all", (modes.len() + 1) * FEW);
        assert_every_queue_is_in_order(&received);
        for prefix in prefixes.clone() {
            assert_eq!(by_index(&received, prefix).len(), FEW, "{prefix}");
        }
        for message in &received {
            let (_, index) = message.keys.split_once('-').unwrap();
            assert_eq!((message.tags.as_str(), message.index_property.as_str()), ("TagA", index));
        }
    }
}

/// The messages of one way of sending by index: bodies are compared, repeats refused.
fn by_index<'a>(received: &'a [Received], prefix: &str) -> BTreeMap<usize, &'a Received> {
    let mut by_index = BTreeMap::new();
    for message in received.iter().filter(|m| m.body.starts_with(&format!("{prefix}:"))) {
        let index = index_of(prefix, &message.body);
        assert_eq!(message.body, body(prefix, index));
        assert_eq!(message.keys, format!("{prefix}-{index}"));
        let repeated = by_index.insert(index, message);
        assert!(repeated.is_none(), "{prefix} {index} came twice");
    }
    by_index
}

fn assert_every_queue_is_in_order(received: &[Received]) {
    let mut next: HashMap<i64, i64> = HashMap::new();
    for message in received {
        let next = next.entry(message.queue_id).or_default();
        assert_eq!(message.queue_offset, *next, "queue {}", message.queue_id);
        *next += 1;
    }
}

fn assert_indexes_ascend_in_every_queue(received: &[Received], prefix: &str) {
    let mut last: HashMap<i64, usize> = HashMap::new();
    for message in received.iter().filter(|m| m.body.starts_with(&format!("{prefix}:"))) {
        let index = index_of(prefix, &message.body);
        let before = last.insert(message.queue_id, index);
        assert!(before < Some(index), "{prefix}: {before:?} before {index}");
    }
}

fn group_resumes_where_it_stopped(kind: ClientKind, name: &str) {
    let server = ServerUnderTest::shared();
    let topic = format!("resume_{name}");
    let group = format!("resume_group_{name}");
    ops::create_topic(server, &topic, QUEUES);
    let mut client = Client::start(kind, server);
    client.send("sync", &topic, "before", 100);
    client.consume("first", &topic, &group);
    client.await_received("first", 100);
    // A client commits oneway while it stops, which the reference loses now and then: there it has to have
    // committed before.
    let is_ours = server.kind() == Kind::Ours;
    if is_ours {
        client.stop_consumer("first");
    }

    let mut conn = Conn::connect(&server.broker_addr());
    wait::until("100 committed messages", ops::ROUTE_LIMIT, || {
        let committed: i64 = (0..QUEUES as i32)
            .filter_map(|queue| ops::committed_offset(&mut conn, &group, &topic, queue))
            .sum();
        (committed == 100).then_some(())
    });
    if !is_ours {
        client.stop_consumer("first");
    }

    client.send("sync", &topic, "after", 100);
    client.consume("second", &topic, &group);
    let received = client.await_received("second", 100);
    assert_eq!(by_index(&received, "after").len(), 100);
    assert_eq!(received.len(), 100, "the second consumer got messages of the first one");
}
