//! Compacted topics: what is left of them is served by either server, and compacted further.

use std::path::Path;

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, ServerUnderTest, message_ops, ops, wait};

use crate::{Ending, assert_sound, end};

const TOPIC: &str = "compacted_topic";
const GROUP: &str = "compacted_group";
/// Records of a file of the compacted log.
const PER_FILE: i64 = 9;
/// Keys, of each of which the newest record is kept.
const KEYS: i64 = 5;
/// Records of a round, which are more than three files of it.
const ROUND: i64 = 31;

#[test]
fn ours_goes_on_with_compacted_topics_of_the_reference() {
    hand_over(Kind::Reference, Kind::under_test(), Ending::Stop, 1);
}

#[test]
fn ours_goes_on_with_compacted_topics_of_a_reference_that_was_killed() {
    hand_over(Kind::Reference, Kind::under_test(), Ending::Kill, 1);
}

#[test]
fn ours_goes_on_with_compacted_batch_queues_of_the_reference() {
    hand_over(Kind::Reference, Kind::under_test(), Ending::Stop, 3);
}

/// Times that the reference may lose a message of its own: it begins a file for what comes and exchanges the
/// files that it has compacted without keeping the two apart.
const LOSSES: usize = 2;

/// Three times from one to the other, with `each` messages in a record.
fn hand_over(first: Kind, second: Kind, ending: Ending, each: i64) {
    for _ in 0..LOSSES {
        match try_to_hand_over(first, second, ending, each) {
            Ok(()) => return,
            Err(lost) => println!("the reference has lost some of its own messages: {lost}"),
        }
    }
    if let Err(lost) = try_to_hand_over(first, second, ending, each) {
        panic!("{lost}");
    }
}

/// Tells what is wrong when a reference has lost something of what it has taken itself a moment before.
fn try_to_hand_over(first: Kind, second: Kind, ending: Ending, each: i64) -> Result<(), String> {
    let store = tempfile::tempdir().unwrap();
    for (round, kind) in [first, second, first, second].into_iter().enumerate() {
        let mut server = start(kind, store.path());
        if round == 0 {
            let queues = if each == 1 { "SimpleCQ" } else { "BatchCQ" };
            let attributes = format!("+cleanup.policy=COMPACTION,+queue.type={queues}");
            ops::create_topic_with(&server, TOPIC, 1, &attributes);
        }
        let mut conn = Conn::connect(&server.broker_addr());
        let begin = round as i64 * ROUND;
        await_left(&mut conn, &expected(begin, each)).unwrap();
        for index in begin..begin + ROUND {
            let properties = format!("KEYS\u{1}k{}\u{2}", index % KEYS);
            assert_eq!(send(&mut conn, &properties, index, each), index * each);
        }
        match await_left(&mut conn, &expected(begin + ROUND, each)) {
            Err(lost) if kind == Kind::Reference => return Err(lost),
            left => left.unwrap(),
        }
        end(&mut server, ending);
        drop(server);
        // The reference stops in the midst of a compaction, too.
        let left = if kind == Kind::Reference { Ending::Kill } else { ending };
        assert_sound(store.path(), left);
    }
    Ok(())
}

/// Sends a record with `each` messages; answers the offset of the first.
fn send(conn: &mut Conn, properties: &str, index: i64, each: i64) -> i64 {
    let body = index.to_string();
    if each == 1 {
        return ops::send(conn, TOPIC, 0, properties, body.as_bytes());
    }
    let inner: Vec<_> = (0..each).map(|_| (String::new(), body.clone().into_bytes())).collect();
    let envelope = format!("{properties}UNIQ_KEY\u{1}{index:032X}\u{2}");
    message_ops::send_batch(conn, TOPIC, 0, &envelope, &inner)
}

/// The first offsets of what is left of `count` records, once all files that are full have been
/// compacted.
fn expected(count: i64, each: i64) -> Vec<i64> {
    let closed = (count - 1).max(0) / PER_FILE * PER_FILE;
    ((closed - KEYS).max(0)..count).map(|record| record * each).collect()
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

/// Waits until at most `offsets` are left; of a file that is full in the midst of a compaction, the reference
/// takes some in already.
fn await_left(conn: &mut Conn, offsets: &[i64]) -> Result<(), String> {
    let newest = offsets.len().saturating_sub(KEYS as usize)..;
    let mut left = Vec::new();
    let compacted = wait::try_until(ops::ROUTE_LIMIT, || {
        left = ops::offsets_left(conn, GROUP, TOPIC, 0);
        (offsets.ends_with(&left) && left.ends_with(&offsets[newest.clone()])).then_some(())
    });
    compacted.ok_or_else(|| format!("{left:?} are left and not {offsets:?}"))
}
