//! Compacted topics: of what is in closed files, the latest message of each key is left.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use oxmq_compat_tests::client::{Client, ClientKind};
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Record, ServerUnderTest, message_ops, ops, wait};

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

/// A record of many messages has the keys of the batch itself, not those of its messages.
#[test]
fn a_batch_in_a_batch_queue_is_left_or_not_as_a_whole() {
    let mut server = start_with("+cleanup.policy=COMPACTION,+queue.type=BatchCQ");
    let mut conn = Conn::connect(&server.broker_addr());
    for index in 0..4 {
        send(&mut conn, index % 2, index);
    }
    let refused = conn.call(ops::send_request(TOPIC, 0, "", b"without a key"));
    assert_eq!(refused.remark.as_deref(), Some("Required message key is missing"));
    let inner = |name: &str| -> Vec<_> {
        (0..3).map(|index| (format!("KEYS\u{1}{name}{index}\u{2}"), b"inner".to_vec())).collect()
    };
    let batch = |id: i64, keys: &str| format!("UNIQ_KEY\u{1}{id:032X}\u{2}{keys}");
    let mut send_batch = |envelope: &str, name: &str| {
        message_ops::send_batch(&mut conn, TOPIC, 0, envelope, &inner(name))
    };
    assert_eq!(send_batch(&batch(1, "KEYS\u{1}batch\u{2}"), "a"), 4);
    assert_eq!(send_batch(&batch(2, ""), "b"), 7);
    // Without an id of its own it is a record for each message.
    assert_eq!(send_batch("", "c"), 10);
    for index in 0..12 {
        let envelope = batch(3 + index, &format!("KEYS\u{1}batch{}\u{2}", index % 2));
        assert_eq!(send_batch(&envelope, "d"), 13 + 3 * index);
    }
    // The latest of two keys, of three, and of the two of the batches behind; and what is in no closed file.
    let left = [2, 3, 4, 10, 11, 12, 37, 40, 43, 46];
    await_left(&mut conn, &left);
    for (at, first, messages) in [(0, 2, 1), (4, 4, 3), (7, 10, 1), (37, 37, 3)] {
        let answer = conn.call(ops::pull_request(GROUP, TOPIC, 0, at));
        let record = &Record::decode_all(&answer.body)[0];
        assert_eq!((record.queue_offset, record.messages()), (first, messages), "{at}");
    }
    assert_eq!(ops::max_offset(&mut conn, TOPIC, 0), 49);
    server.stop();
    server.restart();
    await_left(&mut Conn::connect(&server.broker_addr()), &left);
}

/// A broker whose compacted logs have nine messages a file.
fn start() -> ServerUnderTest {
    start_with("+cleanup.policy=COMPACTION")
}

fn start_with(attributes: &str) -> ServerUnderTest {
    let server = ServerUnderTest::setup()
        // Ten units, of which the last ends the file.
        .broker_conf("compactionCqMappedFileSize", "460")
        .broker_conf("compactionMappedFileSize", "9200")
        .broker_conf("compactionScheduleInternal", "500")
        .start();
    ops::create_topic_with(&server, TOPIC, 1, attributes);
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
