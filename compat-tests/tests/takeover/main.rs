//! Either server starts on the files that the other one wrote and serves everything in them; ours
//! on those of older releases, too.
//!
//! With `BROKER_UNDER_TEST=reference` both sides are the reference, which shows that the test asks
//! for nothing that the reference does not do itself.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod compacted;
mod contents;
mod extended;
mod light;
mod messages;

use std::path::Path;
use std::process::Command;

use oxmq_compat_tests::wire::{Command as Request, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, artifacts, ops};

use contents::{Asked, Contents};
use messages::Round;

/// The kinds whose stores `oxmq store plan` must have nothing against.
const PLAN_IS_FINE: i32 = 1;

#[test]
fn ours_takes_over_a_store_that_the_reference_stopped_on() {
    takeover(Kind::Reference, Kind::under_test(), Ending::Stop, Sizes::Default);
}

#[test]
fn ours_takes_over_a_store_that_the_reference_was_killed_on() {
    takeover(Kind::Reference, Kind::under_test(), Ending::Kill, Sizes::Small);
}

#[test]
fn the_reference_takes_over_a_store_that_ours_stopped_on() {
    takeover(Kind::under_test(), Kind::Reference, Ending::Stop, Sizes::Small);
}

#[test]
fn the_reference_takes_over_a_store_that_ours_was_killed_on() {
    takeover(Kind::under_test(), Kind::Reference, Ending::Kill, Sizes::Default);
}

#[test]
fn ours_takes_over_a_store_of_5_3_3_and_gives_it_back() {
    takeover(Kind::Older("5.3.3"), Kind::under_test(), Ending::Stop, Sizes::Small);
}

#[test]
fn ours_takes_over_a_store_of_4_9_7_and_gives_it_back() {
    takeover(Kind::Older("4.9.7"), Kind::under_test(), Ending::Stop, Sizes::Small);
}

#[test]
fn ours_takes_over_a_store_of_4_7_1_and_gives_it_back() {
    takeover(Kind::Older("4.7.1"), Kind::under_test(), Ending::Stop, Sizes::Default);
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Stop,
    Kill,
}

#[derive(Clone, Copy, PartialEq)]
enum Sizes {
    Default,
    /// Every kind of file is filled and followed by another one.
    Small,
}

fn takeover(first: Kind, second: Kind, ending: Ending, sizes: Sizes) {
    let store = tempfile::tempdir().unwrap();
    let is_old = matches!(first, Kind::Older(version) if version.starts_with('4'));
    let asked = Asked { keys: ending == Ending::Stop, times: !is_old, first };
    let inner = messages::has_batch_queues(first);
    let mut server = start(first, store.path(), sizes);
    for (topic, queues) in messages::topics() {
        ops::create_topic(&server, &topic, queues);
    }
    if inner {
        ops::create_topic_with(&server, messages::INNER, 1, "+queue.type=BatchCQ");
    }
    let mut conn = Conn::connect(&server.broker_addr());
    messages::make_groups(&mut conn);
    let mut halves = Vec::new();
    messages::write(&mut conn, inner, Round::First, &mut halves);
    messages::commit_offsets(&mut conn, Round::First);
    if ending == Ending::Kill {
        wait_for_offsets_on_disk(store.path(), Round::First);
    }
    let written = Contents::read(&mut conn, &halves, asked);
    messages::send_due(&mut conn);
    end(&mut server, ending);
    drop(server);
    assert_sound(store.path(), ending);

    // The other one serves the same, and goes on where the first one stopped.
    let mut server = start(second, store.path(), sizes);
    let mut conn = Conn::connect(&server.broker_addr());
    messages::wait_for_due(&mut conn, ending == Ending::Stop);
    let served = Contents::read(&mut conn, &halves, asked);
    written.assert_same(&served);
    for (topic, queues) in messages::topics() {
        assert_topic(&server, &topic, queues);
    }
    messages::write(&mut conn, inner, Round::Second, &mut halves);
    messages::commit_offsets(&mut conn, Round::Second);
    if ending == Ending::Kill {
        wait_for_offsets_on_disk(store.path(), Round::Second);
    }
    let more = Contents::read(&mut conn, &halves, asked);
    more.assert_continues(&written);
    end(&mut server, ending);
    drop(server);
    assert_sound(store.path(), ending);

    // And back.
    let server = start(first, store.path(), sizes);
    let mut conn = Conn::connect(&server.broker_addr());
    more.assert_same(&Contents::read(&mut conn, &halves, asked));
    for (topic, queues) in messages::topics() {
        assert_topic(&server, &topic, queues);
    }
}

fn start(kind: Kind, store: &Path, sizes: Sizes) -> ServerUnderTest {
    let mut setup = ServerUnderTest::setup()
        .kind(kind)
        // Not what is tested here, and ours is there at once.
        .namesrv_kind(Kind::under_test())
        .store(store)
        .broker_conf("flushConsumerOffsetInterval", "100")
        // Half messages wait as long as the test runs.
        .broker_conf("transactionTimeOut", "3600000")
        .broker_conf("transactionCheckInterval", "3600000");
    if sizes == Sizes::Small {
        for (key, value) in SMALL_SIZES {
            setup = setup.broker_conf(key, value);
        }
    }
    setup.start()
}

/// And extended queues.
const SMALL_SIZES: [(&str, &str); 6] = [
    ("enableConsumeQueueExt", "true"),
    ("mappedFileSizeConsumeQueueExt", "2000"),
    ("mappedFileSizeCommitLog", "6291456"),
    ("mappedFileSizeConsumeQueue", "1000"),
    ("maxHashSlotNum", "1000"),
    ("maxIndexNum", "200"),
];

fn end(server: &mut ServerUnderTest, ending: Ending) {
    match ending {
        Ending::Stop => server.stop(),
        Ending::Kill => server.kill9(),
    }
}

/// What ours says about the files at rest, whoever wrote them.
fn assert_sound(store: &Path, ending: Ending) {
    let run = |what: &str| {
        let output =
            Command::new(artifacts::oxmq()).args(["store", what]).arg(store).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), text + &String::from_utf8_lossy(&output.stderr))
    };
    // After a kill, the next start has something to mend.
    let most = if ending == Ending::Stop { 0 } else { 1 };
    let (code, text) = run("check");
    assert!((0..=most).contains(&code), "store check ended with {code}:\n{text}");
    let (code, text) = run("plan");
    assert!((0..=PLAN_IS_FINE).contains(&code), "store plan ended with {code}:\n{text}");
}

fn wait_for_offsets_on_disk(store: &Path, round: Round) {
    let file = store.join("config/consumerOffset.json");
    let needles = messages::offsets_in_file(round);
    oxmq_compat_tests::wait::until("the offsets on disk", ops::ROUTE_LIMIT, || {
        let mut text = std::fs::read_to_string(&file).ok()?;
        text.retain(|c| c != '"' && !c.is_whitespace());
        needles.iter().all(|needle| text.contains(needle)).then_some(())
    });
}

fn assert_topic(server: &ServerUnderTest, topic: &str, queues: u32) {
    let route = ops::wait_for_route(server, topic);
    let data = &route["queueDatas"][0];
    assert_eq!(data["readQueueNums"], queues, "{topic}");
    assert_eq!(data["writeQueueNums"], queues, "{topic}");
    assert_eq!(data["perm"], 6, "{topic}");
    let unknown = Request::request(ops::code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "takeover_no")]);
    let answer = Conn::connect(&server.namesrv_addr()).call(unknown);
    assert_eq!(answer.code, ops::response::TOPIC_NOT_EXIST);
}
