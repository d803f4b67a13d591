//! Compacted topics: of what is in closed files, the latest message of each key is left.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use oxmq_compat_tests::client::{Client, ClientKind};
use oxmq_compat_tests::ops;
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Record, ServerUnderTest, wait};

const TOPIC: &str = "compacted";
const GROUP: &str = "compacted_readers";
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_latest_message_of_each_key_is_left() {
    let mut server = start();
    let mut conn = Conn::connect(&server.broker_addr());
    for index in 0..30 {
        send(&mut conn, index % 3, index);
    }
    // Three closed files, and three messages in the one that is written.
    await_left(&mut conn, &[24, 25, 26, 27, 28, 29]);
    for index in 30..58 {
        send(&mut conn, 7, index);
    }
    // Those of before are in a closed file now.
    let left = [27, 28, 29, 53, 54, 55, 56, 57];
    await_left(&mut conn, &left);
    // Where there is nothing any more, a pull goes on with what comes next.
    for (at, first) in [(0, 27), (28, 28), (30, 53)] {
        let answer = conn.call(ops::pull_request(GROUP, TOPIC, 0, at));
        assert_eq!(Record::decode_all(&answer.body)[0].queue_offset, first, "{answer:?}");
        assert_eq!((answer.number("minOffset"), answer.number("maxOffset")), (27, 58));
    }
    assert_eq!(ops::min_offset(&mut conn, TOPIC, 0), 0);
    server.stop();
    let file = server.store_dir().join("compaction/position-checkpoint");
    let text = std::fs::read_to_string(file).unwrap();
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(table["queueOffsetMap"]["compacted_0"], 53);
    server.restart();
    await_left(&mut Conn::connect(&server.broker_addr()), &left);
}

#[test]
fn what_is_left_outlives_a_crash() {
    let mut server = start();
    let mut conn = Conn::connect(&server.broker_addr());
    for index in 0..30 {
        send(&mut conn, index % 3, index);
    }
    await_left(&mut conn, &[24, 25, 26, 27, 28, 29]);
    server.kill9();
    server.restart();
    let mut conn = Conn::connect(&server.broker_addr());
    await_left(&mut conn, &[24, 25, 26, 27, 28, 29]);
    for index in 30..40 {
        send(&mut conn, index % 3, index);
    }
    await_left(&mut conn, &[33, 34, 35, 36, 37, 38, 39]);
}

#[test]
fn java_consumers_get_the_latest_message_of_each_key() {
    let server = start();
    let mut conn = Conn::connect(&server.broker_addr());
    for index in 0..30 {
        send(&mut conn, index % 3, index);
    }
    await_left(&mut conn, &[24, 25, 26, 27, 28, 29]);
    let mut client = Client::start(ClientKind::Java550, &server);
    for (id, tag, expected) in
        [("all", "*", vec![24, 25, 26, 27, 28, 29]), ("even", "even", vec![24, 26, 28])]
    {
        let group = format!("{GROUP}_{id}");
        let args = [("id", id), ("topic", TOPIC), ("group", &*group), ("tag", tag)];
        client.run("consume", &args);
        let received = client.await_received(id, expected.len());
        let offsets: Vec<i64> = received.iter().map(|message| message.queue_offset).collect();
        assert_eq!(offsets, expected, "{tag}");
    }
    // They wait for the next ones, which have not been copied anywhere yet.
    for index in 30..32 {
        send(&mut conn, 9, index);
    }
    for (id, count) in [("all", 8), ("even", 4)] {
        let received = client.await_received(id, count);
        let last = if id == "all" { 31 } else { 30 };
        assert_eq!(received[count - 1].queue_offset, last);
    }
}

/// A broker whose compacted logs have nine messages a file.
fn start() -> ServerUnderTest {
    let server = ServerUnderTest::setup()
        // Ten units, of which the last ends the file.
        .broker_conf("compactionCqMappedFileSize", "460")
        .broker_conf("compactionMappedFileSize", "9200")
        .broker_conf("compactionScheduleInternal", "500")
        .start();
    ops::create_topic_with(&server, TOPIC, 1, "+cleanup.policy=COMPACTION");
    server
}

fn send(conn: &mut Conn, key: i64, index: i64) {
    let tag = if index % 2 == 0 { "even" } else { "odd" };
    let properties = format!("KEYS\u{1}k{key}\u{2}TAGS\u{1}{tag}\u{2}");
    let offset = ops::send(conn, TOPIC, 0, &properties, index.to_string().as_bytes());
    assert_eq!(offset, index);
}

fn await_left(conn: &mut Conn, offsets: &[i64]) {
    wait::until(&format!("{offsets:?} to be left"), LIMIT, || {
        (ops::offsets_left(conn, GROUP, TOPIC, 0) == offsets).then_some(())
    });
}
