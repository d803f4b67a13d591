//! Messages that are given out while the broker ends, or another one takes its store over.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oxmq_compat_tests::ops::response;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, ops, wait};

use crate::{Books, LONG_MS, POP_ROLLBACK, setup};
use oxmq_compat_tests::popper::{Popped, Popper};

/// Messages come back at the latest this long after a server has started.
const LIMIT: Duration = Duration::from_secs(120);
/// Long enough for one of our servers to stop and another to start meanwhile, on a busy machine.
const OVER_RESTART_MS: i64 = 15_000;
/// The same for a server of the reference.
const OVER_RESTART_OF_REFERENCE_MS: i64 = 60_000;
/// One of these tests at a time, up to where it only waits: what starts and stops beside another takes
/// too long.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

with_all_books! {
    what_is_given_out_survives_a_kill_of_the_broker,
    ours_takes_over_what_the_reference_has_given_out,
    the_reference_takes_over_what_ours_has_given_out,
}

#[test]
fn what_is_given_out_survives_a_stop_of_the_broker() {
    in_flight(Books::ReviveTopic, Kind::under_test(), Kind::under_test(), false);
}

fn what_is_given_out_survives_a_kill_of_the_broker(books: Books) {
    in_flight(books, Kind::under_test(), Kind::under_test(), true);
}

fn ours_takes_over_what_the_reference_has_given_out(books: Books) {
    in_flight(books, Kind::Reference, Kind::under_test(), false);
}

fn the_reference_takes_over_what_ours_has_given_out(books: Books) {
    in_flight(books, Kind::under_test(), Kind::Reference, false);
}

/// Messages that are done before the end, after it, and not at all, and others in order.
fn in_flight(books: Books, first: Kind, second: Kind, kill: bool) {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let all_ours = [first, second].iter().all(|kind| *kind == Kind::Ours);
    let invisible_ms = if all_ours { OVER_RESTART_MS } else { OVER_RESTART_OF_REFERENCE_MS };
    let store = tempfile::tempdir().unwrap();
    let start = |kind| setup(books).kind(kind).store(store.path()).start();
    let mut server = start(first);
    let mut popper = Popper::create(&server, "flight", 1);
    popper.send_all(&["due", "done before", "done after", "due too"]);
    let mut orderly = Popper::create(&server, "flight_order", 1).with("order", "true");
    orderly.send_all(&["a", "b"]);
    let answer = popper.pop(invisible_ms);
    let (given, pop_time) = (&answer.messages, answer.command.number("popTime"));
    let in_order = orderly.pop(LONG_MS).messages;
    popper.ack(&given[1]);
    orderly.ack(&in_order[0]);
    // In the KV store it shows only now that they were given out.
    assert!(popper.pop(LONG_MS).messages.is_empty());
    // Both are in files that are written now and then.
    wait::until("the committed offset in its file", LIMIT, || {
        let file = std::fs::read_to_string(store.path().join("config/consumerOffset.json")).ok()?;
        let entry = file.split(&format!("{}@{}", popper.topic, popper.group)).nth(1)?.to_owned();
        entry.split('}').next()?.contains("0:4").then_some(())
    });
    if kill {
        server.kill9();
    } else {
        server.stop();
    }
    drop(server);
    let changes_books = books == Books::KvStore && first != second;
    if changes_books && first == Kind::Reference {
        drain(store.path());
    }

    let server = start(second);
    popper.conn = Conn::connect(&server.broker_addr());
    popper.ack(&given[2]);
    let in_time = ops::now_ms() < pop_time + invisible_ms;
    drop(turn);
    let again = all_again(&mut popper, if changes_books { 3 } else { 2 });
    match changes_books {
        // Where they are noted now, nothing is known of the pop that the receipt names.
        true => assert_eq!(again, ["done after", "due", "due too"]),
        false if in_time => assert_eq!(again, ["due", "due too"]),
        false => eprintln!("the servers took too long: {again:?}"),
    }
    check_order(&server, &mut orderly, &in_order, kill);
}

/// Has the reference move what it has noted in the KV store to the revive topic.
fn drain(store: &Path) {
    let mut server = setup(Books::ReviveTopic)
        .kind(Kind::Reference)
        .broker_conf("popConsumerKVServiceInit", "true")
        .store(store)
        .start();
    let mut conn = Conn::connect(&server.broker_addr());
    let moved = conn.call(Command::request(POP_ROLLBACK, &[]));
    assert_eq!(moved.code, response::SUCCESS, "{moved:?}");
    server.stop();
    std::fs::rename(store.join("kvStore"), store.join("kvStore.drained")).unwrap();
}

/// The texts of so many messages that come back, each once.
fn all_again(popper: &mut Popper, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    wait::until(&format!("{count} messages again"), LIMIT, || {
        for message in popper.pop(LONG_MS).messages {
            assert_eq!(message.record.reconsume_times, 1, "{message:?}");
            texts.push(message.record.text().to_owned());
            popper.ack(&message);
        }
        (texts.len() >= count).then_some(())
    });
    texts.sort();
    texts
}

/// What was given out in order is known after a stop; a kill takes back what was not saved.
fn check_order(server: &ServerUnderTest, orderly: &mut Popper, given: &[Popped], kill: bool) {
    orderly.conn = Conn::connect(&server.broker_addr());
    if kill {
        return;
    }
    assert!(orderly.pop(LONG_MS).messages.is_empty(), "the queue is blocked");
    orderly.ack(&given[1]);
    let committed = ops::committed_offset(&mut orderly.conn, &orderly.group, &orderly.topic, 0);
    assert_eq!(committed, Some(2));
}
