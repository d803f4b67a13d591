//! Compacted topics: what is left of them is served by either server, and compacted further.

use std::path::Path;

use oxmq_compat_tests::ops;
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, ServerUnderTest, wait};

use crate::{Ending, assert_sound, end};

const TOPIC: &str = "compacted_topic";
const GROUP: &str = "compacted_group";
/// Messages of a file of the compacted log.
const PER_FILE: i64 = 9;
/// Messages of a round, which are more than three files of it.
const ROUND: i64 = 31;

#[test]
fn ours_goes_on_with_compacted_topics_of_the_reference() {
    hand_over(Kind::Reference, Kind::under_test(), Ending::Stop);
}

#[test]
fn ours_goes_on_with_compacted_topics_of_a_reference_that_was_killed() {
    hand_over(Kind::Reference, Kind::under_test(), Ending::Kill);
}

/// Three times from one to the other.
fn hand_over(first: Kind, second: Kind, ending: Ending) {
    let store = tempfile::tempdir().unwrap();
    for (round, kind) in [first, second, first, second].into_iter().enumerate() {
        let mut server = start(kind, store.path());
        if round == 0 {
            ops::create_topic_with(&server, TOPIC, 1, "+cleanup.policy=COMPACTION");
        }
        let mut conn = Conn::connect(&server.broker_addr());
        let begin = round as i64 * ROUND;
        await_left(&mut conn, &expected(begin));
        for index in begin..begin + ROUND {
            let properties = format!("KEYS\u{1}k{}\u{2}", index % 5);
            let offset = ops::send(&mut conn, TOPIC, 0, &properties, index.to_string().as_bytes());
            assert_eq!(offset, index);
        }
        await_left(&mut conn, &expected(begin + ROUND));
        end(&mut server, ending);
        drop(server);
        assert_sound(store.path(), ending);
    }
}

/// What is left of `count` messages with five keys once all files that are full have been compacted.
fn expected(count: i64) -> Vec<i64> {
    let closed = (count - 1).max(0) / PER_FILE * PER_FILE;
    ((closed - 5).max(0)..count).collect()
}

fn start(kind: Kind, store: &Path) -> ServerUnderTest {
    ServerUnderTest::setup()
        .kind(kind)
        .namesrv_kind(Kind::under_test())
        .store(store)
        .broker_conf("compactionCqMappedFileSize", "460")
        .broker_conf("compactionMappedFileSize", "9200")
        .broker_conf("compactionScheduleInternal", "500")
        .start()
}

fn await_left(conn: &mut Conn, offsets: &[i64]) {
    wait::until(&format!("{offsets:?} to be left"), ops::ROUTE_LIMIT, || {
        (ops::offsets_left(conn, GROUP, TOPIC, 0) == offsets).then_some(())
    });
}
