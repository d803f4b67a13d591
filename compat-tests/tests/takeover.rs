//! Either server starts on the files that the other one wrote and serves everything in them.
//!
//! With `BROKER_UNDER_TEST=reference` both sides are the reference, which shows that the test asks
//! for nothing that the reference does not do itself.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use oxmq_compat_tests::ops;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, Record, ServerUnderTest};

const GROUP: &str = "takeover_group";
/// Topics and their queues. The long name has the most characters that a topic may have.
const PLAIN: (&str, u32) = ("takeover_plain", 4);
const WIDE: (&str, u32) = ("takeover-WIDE_topic%1", 16);
/// Messages in each queue of `PLAIN`; `WIDE` gets one in each.
const PER_QUEUE: usize = 120;
/// More than a consume queue's or an index's first page, and a body above the page size.
const LARGE_BODY: usize = 300_000;

#[test]
fn ours_takes_over_a_store_that_the_reference_stopped_on() {
    takeover(Kind::Reference, Kind::under_test(), Ending::Stop);
}

#[test]
fn ours_takes_over_a_store_that_the_reference_was_killed_on() {
    takeover(Kind::Reference, Kind::under_test(), Ending::Kill);
}

#[test]
fn the_reference_takes_over_a_store_that_ours_stopped_on() {
    takeover(Kind::under_test(), Kind::Reference, Ending::Stop);
}

#[test]
fn the_reference_takes_over_a_store_that_ours_was_killed_on() {
    takeover(Kind::under_test(), Kind::Reference, Ending::Kill);
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Stop,
    Kill,
}

fn takeover(first: Kind, second: Kind, ending: Ending) {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(first, store.path());
    for (topic, queues) in topics() {
        ops::create_topic(&server, &topic, queues);
    }
    let mut conn = Conn::connect(&server.broker_addr());
    write_messages(&mut conn, "first");
    commit_offsets(&mut conn);
    if ending == Ending::Kill {
        wait_for_offsets_on_disk(store.path());
    }
    let written = Contents::read(&mut conn);
    assert_eq!(written.records.len(), topics().iter().map(|t| t.1 as usize).sum::<usize>());
    end(&mut server, ending);
    drop(server);

    // The other one serves the same, and goes on where the first one stopped.
    let mut server = start(second, store.path());
    let mut conn = Conn::connect(&server.broker_addr());
    let served = Contents::read(&mut conn);
    written.assert_same(&served);
    for (topic, queues) in topics() {
        assert_topic(&server, &topic, queues);
    }
    write_messages(&mut conn, "second");
    let more = Contents::read(&mut conn);
    more.assert_continues(&written);
    end(&mut server, ending);
    drop(server);

    // And back.
    let server = start(first, store.path());
    let mut conn = Conn::connect(&server.broker_addr());
    more.assert_same(&Contents::read(&mut conn));
    for (topic, queues) in topics() {
        assert_topic(&server, &topic, queues);
    }
}

fn start(kind: Kind, store: &Path) -> ServerUnderTest {
    ServerUnderTest::setup()
        .kind(kind)
        .store(store)
        .broker_conf("flushConsumerOffsetInterval", "100")
        .start()
}

fn end(server: &mut ServerUnderTest, ending: Ending) {
    match ending {
        Ending::Stop => server.stop(),
        Ending::Kill => server.kill9(),
    }
}

fn topics() -> Vec<(String, u32)> {
    let longest = "L".repeat(127);
    vec![(PLAIN.0.to_owned(), PLAIN.1), (WIDE.0.to_owned(), WIDE.1), (longest, 1)]
}

/// Bodies of all sizes and all bytes, with and without properties.
fn write_messages(conn: &mut Conn, mark: &str) {
    for queue in 0..PLAIN.1 as i32 {
        let mut last = 0;
        for index in 0..PER_QUEUE {
            let mut body = format!("{mark}-{queue}-{index}-").into_bytes();
            body.extend((0..index * 17 % 2_000).map(|at| (at * 7 + index) as u8));
            let properties = match index % 3 {
                0 => String::new(),
                1 => format!("KEYS\u{1}{mark}-{queue}-{index}\u{2}TAGS\u{1}TagA\u{2}"),
                _ => format!("TAGS\u{1}标签\u{2}note\u{1}a b=c, \"d\" {index}"),
            };
            last = ops::send(conn, PLAIN.0, queue, &properties, &body);
        }
        ops::wait_for_max_offset(conn, PLAIN.0, queue, last + 1);
    }
    for queue in 0..WIDE.1 as i32 {
        let last = ops::send(conn, WIDE.0, queue, "KEYS\u{1}same same\u{2}", &[queue as u8]);
        ops::wait_for_max_offset(conn, WIDE.0, queue, last + 1);
    }
    let longest = &topics()[2].0;
    let last = ops::send(conn, longest, 0, "", &vec![0x5a; LARGE_BODY]);
    ops::wait_for_max_offset(conn, longest, 0, last + 1);
}

fn commit_offsets(conn: &mut Conn) {
    // A group exists from its first heartbeat on.
    ops::heartbeat(conn, "takeover-consumer", GROUP, PLAIN.0);
    for queue in 0..PLAIN.1 as i32 {
        ops::commit_offset(conn, GROUP, PLAIN.0, queue, i64::from(queue) * 10 + 5);
    }
    ops::commit_offset(conn, GROUP, WIDE.0, 3, 1);
}

fn wait_for_offsets_on_disk(store: &Path) {
    let file = store.join("config/consumerOffset.json");
    let needles = [format!("{}@{GROUP}", PLAIN.0), format!("{}@{GROUP}", WIDE.0)];
    oxmq_compat_tests::wait::until("the offsets on disk", ops::ROUTE_LIMIT, || {
        let text = std::fs::read_to_string(&file).ok()?;
        needles.iter().all(|needle| text.contains(needle)).then_some(())
    });
}

/// Everything a broker tells of the topics under test.
struct Contents {
    records: BTreeMap<(String, i32), Vec<Record>>,
    min_max: BTreeMap<(String, i32), (i64, i64)>,
    /// The offset found for the store time of the message in the middle.
    by_time: BTreeMap<(String, i32), i64>,
    committed: BTreeMap<(String, i32), Option<i64>>,
}

impl Contents {
    fn read(conn: &mut Conn) -> Self {
        // An independent group: reading must not depend on what the group under test did.
        ops::heartbeat(conn, "takeover-reader", "takeover_reader", PLAIN.0);
        let mut contents = Self {
            records: BTreeMap::new(),
            min_max: BTreeMap::new(),
            by_time: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        for (topic, queues) in topics() {
            for queue in 0..queues as i32 {
                let place = (topic.clone(), queue);
                let min = ops::min_offset(conn, &topic, queue);
                let max = ops::max_offset(conn, &topic, queue);
                let records = ops::walk_queue(conn, "takeover_reader", &topic, queue, min);
                let middle = &records[records.len() / 2];
                let at = ops::search_offset(conn, &topic, queue, middle.store_timestamp_ms);
                let committed = ops::committed_offset(conn, GROUP, &topic, queue);
                contents.min_max.insert(place.clone(), (min, max));
                contents.by_time.insert(place.clone(), at);
                contents.committed.insert(place.clone(), committed);
                contents.records.insert(place, records);
            }
        }
        contents
    }

    fn assert_same(&self, other: &Self) {
        assert_eq!(self.min_max, other.min_max, "min and max offsets");
        for (place, records) in &self.records {
            let others = &other.records[place];
            assert_eq!(records.len(), others.len(), "{place:?}");
            for (mine, theirs) in records.iter().zip(others) {
                assert_eq!(mine, theirs, "{place:?}");
            }
        }
        assert_eq!(self.by_time, other.by_time, "offsets by time");
        assert_eq!(self.committed, other.committed, "committed offsets");
    }

    fn assert_continues(&self, before: &Self) {
        for (place, records) in &self.records {
            let before = &before.records[place];
            assert_eq!(records.len(), 2 * before.len(), "{place:?}");
            assert!(records.starts_with(before), "{place:?}: older messages changed");
            for (old, new) in before.iter().zip(&records[before.len()..]) {
                // Equal but for what tells the two rounds apart.
                assert_eq!(old.properties.len(), new.properties.len(), "{place:?}");
                assert!(new.phy_offset > old.phy_offset);
                assert!(new.store_timestamp_ms >= old.store_timestamp_ms);
            }
        }
    }
}

fn assert_topic(server: &ServerUnderTest, topic: &str, queues: u32) {
    let route = ops::wait_for_route(server, topic);
    let data = &route["queueDatas"][0];
    assert_eq!(data["readQueueNums"], queues, "{topic}");
    assert_eq!(data["writeQueueNums"], queues, "{topic}");
    assert_eq!(data["perm"], 6, "{topic}");
    let unknown = Command::request(ops::code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "takeover_no")]);
    let answer = Conn::connect(&server.namesrv_addr()).call(unknown);
    assert_eq!(answer.code, ops::response::TOPIC_NOT_EXIST);
}
