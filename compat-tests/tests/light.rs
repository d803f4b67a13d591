//! Light queues: a message is in its topic, and in the light queues that it names.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::popper::{Popper, REVIVE_LIMIT};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Record, ServerUnderTest, wait};

const GROUP: &str = "light_readers";
/// A light queue that is popped.
const POPPED: &str = "%LMQ%popped";

fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| {
        ServerUnderTest::setup()
            .broker_conf("enableLmq", "true")
            .broker_conf("enableMultiDispatch", "true")
            .start()
    })
}

#[test]
fn a_message_is_in_its_topic_and_in_each_light_queue_that_it_names() {
    let mut topic = Topic::create("each");
    topic.send("%LMQ%each_a,%LMQ%each_b", "", "both");
    topic.send("%LMQ%each_b", "", "second");
    topic.send("", "", "none");
    topic.await_count("%LMQ%each_a", 1);
    topic.await_count("%LMQ%each_b", 2);
    assert_eq!(topic.read("%LMQ%each_a", "*"), ["both"]);
    assert_eq!(topic.read("%LMQ%each_b", "*"), ["both", "second"]);
    let name = topic.name.clone();
    topic.await_count(&name, 3);
    assert_eq!(topic.read(&name, "*"), ["both", "second", "none"]);
}

#[test]
fn messages_of_several_topics_meet_in_one_light_queue() {
    let mut one = Topic::create("meet_one");
    let mut other = Topic::create("meet_other");
    one.send("%LMQ%meet", "", "a");
    other.send("%LMQ%meet", "", "b");
    one.send("%LMQ%meet", "", "c");
    one.await_count("%LMQ%meet", 3);
    let records = one.records("%LMQ%meet", "*");
    let from: Vec<&str> = records.iter().map(|record| record.topic.as_str()).collect();
    assert_eq!(from, [&*one.name, &*other.name, &*one.name]);
    let offset = |record: &Record| record.properties["INNER_MULTI_QUEUE_OFFSET"].parse();
    let offsets: Result<Vec<i64>, _> = records.iter().map(offset).collect();
    assert_eq!(offsets, Ok(vec![0, 1, 2]));
}

#[test]
fn a_light_queue_is_read_by_tag() {
    let mut topic = Topic::create("tags");
    for (tag, body) in [("A", "a"), ("B", "b"), ("A", "c")] {
        topic.send("%LMQ%tags", tag, body);
    }
    topic.await_count("%LMQ%tags", 3);
    assert_eq!(topic.read("%LMQ%tags", "A"), ["a", "c"]);
    assert_eq!(topic.read("%LMQ%tags", "B"), ["b"]);
}

#[test]
fn a_light_queue_has_offsets_of_its_own() {
    let mut topic = Topic::create("offsets");
    topic.send("", "", "before");
    topic.send("%LMQ%offsets", "", "first");
    topic.send("%LMQ%offsets", "", "second");
    topic.await_count("%LMQ%offsets", 2);
    let conn = &mut topic.conn;
    assert_eq!(ops::min_offset(conn, "%LMQ%offsets", 0), 0);
    assert_eq!(ops::search_offset(conn, "%LMQ%offsets", 0, 0), 0);
    let end = conn.call(ops::pull_request(GROUP, "%LMQ%offsets", 0, 2));
    assert_eq!(end.code, response::PULL_NOT_FOUND, "{end:?}");
    assert_eq!((end.number("maxOffset"), end.number("nextBeginOffset")), (2, 2));
    let beyond = conn.call(ops::pull_request(GROUP, "%LMQ%offsets", 0, 9));
    assert_eq!(beyond.code, response::PULL_OFFSET_MOVED, "{beyond:?}");
    assert_eq!(beyond.number("nextBeginOffset"), 2);
    for (group, offset) in [(GROUP, 1), ("%LMQ%offsets_group", 2)] {
        assert_eq!(ops::committed_offset(conn, group, "%LMQ%offsets", 0), None);
        ops::commit_offset(conn, group, "%LMQ%offsets", 0, offset);
        assert_eq!(ops::committed_offset(conn, group, "%LMQ%offsets", 0), Some(offset));
    }
}

#[test]
fn a_light_queue_that_nobody_named_is_empty() {
    let mut topic = Topic::create("empty");
    let fields = [("topic", "%LMQ%nobody"), ("queueId", "0")];
    let answer = topic.conn.call(Command::request(code::GET_MAX_OFFSET, &fields));
    assert_eq!((answer.code, answer.number("offset")), (response::SUCCESS, 0), "{answer:?}");
    let answer = topic.conn.call(ops::pull_request(GROUP, "%LMQ%nobody", 0, 0));
    assert_eq!(answer.code, response::PULL_NOT_FOUND, "{answer:?}");
}

#[test]
fn a_message_for_later_is_in_its_light_queue_when_it_is_due() {
    let mut topic = Topic::create("later");
    let sent = ops::now_ms();
    let properties = "INNER_MULTI_DISPATCH\u{1}%LMQ%later\u{2}DELAY\u{1}1\u{2}";
    let answer = topic.conn.call(ops::send_request(&topic.name, 0, properties, b"later"));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    topic.await_count("%LMQ%later", 1);
    let records = topic.records("%LMQ%later", "*");
    assert_eq!((records.len(), records[0].text()), (1, "later"));
    assert!(records[0].store_timestamp_ms >= sent + 1_000, "{records:?}");
}

#[test]
fn a_popped_message_of_a_light_queue_comes_back_to_its_group_unless_it_is_done() {
    let mut topic = Topic::create("popped");
    for (light_queue, body) in [("", "before"), (POPPED, "done"), (POPPED, "open")] {
        topic.send(light_queue, "", body);
    }
    topic.await_count(POPPED, 2);
    let mut popper = Popper {
        conn: Conn::connect(&server().broker_addr()),
        topic: POPPED.to_owned(),
        group: "light_poppers".to_owned(),
        fields: Vec::new(),
    };
    let first = popper.pop(3_000);
    assert_eq!(first.bodies(), ["done", "open"]);
    let mut ack = popper.ack_request(&first.messages[0]);
    ack.ext.extend([("topic", POPPED), ("offset", "0")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(popper.conn.call(ack).code, response::SUCCESS);
    let again = wait::until("the message to come back", REVIVE_LIMIT, || {
        Some(popper.pop(120_000)).filter(|answer| !answer.messages.is_empty())
    });
    assert_eq!(again.bodies(), ["open"]);
    assert_eq!(
        ops::max_offset(&mut topic.conn, POPPED, 0),
        2,
        "it is not in the light queue twice"
    );
}

/// A topic of one queue and a connection that uses it.
struct Topic {
    conn: Conn,
    name: String,
}

impl Topic {
    fn create(name: &str) -> Self {
        let name = format!("light_{name}");
        ops::create_topic(server(), &name, 1);
        Self { conn: Conn::connect(&server().broker_addr()), name }
    }

    fn send(&mut self, light_queues: &str, tag: &str, body: &str) {
        let mut properties = String::new();
        for (name, value) in [("INNER_MULTI_DISPATCH", light_queues), ("TAGS", tag)] {
            if !value.is_empty() {
                properties.push_str(&format!("{name}\u{1}{value}\u{2}"));
            }
        }
        ops::send(&mut self.conn, &self.name, 0, &properties, body.as_bytes());
    }

    fn await_count(&mut self, queue: &str, count: i64) {
        ops::wait_for_max_offset(&mut self.conn, queue, 0, count);
    }

    fn read(&mut self, queue: &str, tags: &str) -> Vec<String> {
        let records = self.records(queue, tags);
        records.iter().map(|record| record.text().to_owned()).collect()
    }

    /// All messages of a queue that have one of the tags.
    fn records(&mut self, queue: &str, tags: &str) -> Vec<Record> {
        let mut records = Vec::new();
        let mut next = 0;
        let end = ops::max_offset(&mut self.conn, queue, 0);
        while next < end {
            let mut request = ops::pull_request(GROUP, queue, 0, next);
            request.ext.insert("subscription".to_owned(), tags.to_owned());
            let answer = self.conn.call(request);
            match answer.code {
                response::SUCCESS => records.extend(Record::decode_all(&answer.body)),
                response::PULL_RETRY_IMMEDIATELY => {}
                _ => panic!("{queue} at {next}: {answer:?}"),
            }
            next = answer.number("nextBeginOffset");
        }
        records
    }
}
