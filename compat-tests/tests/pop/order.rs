//! Groups that consume in order.

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wait;

use crate::{Books, LONG_MS, SHORT_MS, server};
use oxmq_compat_tests::popper::{Popper, REVIVE_LIMIT};

with_all_books! {
    a_queue_goes_on_when_what_was_given_out_is_done,
    what_is_not_done_in_time_is_given_out_again_and_counted,
    a_repeated_attempt_is_given_the_same_again,
    a_changed_time_of_one_message_frees_the_queue,
    an_acknowledgement_wakes_who_waits_for_the_queue,
}

fn orderly(books: Books, name: &str, queues: u32) -> Popper {
    Popper::create(server(books), name, queues).with("order", "true").with("maxMsgNums", "2")
}

fn a_queue_goes_on_when_what_was_given_out_is_done(books: Books) {
    let mut popper = orderly(books, "order", 1);
    popper.send_all(&["a", "b", "c"]);
    let answer = popper.pop(LONG_MS);
    assert_eq!(answer.bodies(), ["a", "b"]);
    assert_eq!(answer.command.number("reviveQid"), 999);
    assert_eq!(answer.command.ext["orderCountInfo"], "0 0 0");
    let blocked = popper.pop(LONG_MS).command;
    assert_eq!((blocked.code, blocked.number("restNum")), (response::POLLING_TIMEOUT, 0));
    popper.ack(&answer.messages[0]);
    assert_eq!(popper.pop(LONG_MS).command.code, response::POLLING_TIMEOUT);
    popper.ack(&answer.messages[1]);
    let next = popper.pop(LONG_MS);
    assert_eq!(next.bodies(), ["c"]);
    popper.ack(&next.messages[0]);
    let committed = ops::committed_offset(&mut popper.conn, &popper.group, &popper.topic, 0);
    assert_eq!(committed, Some(3));
}

fn what_is_not_done_in_time_is_given_out_again_and_counted(books: Books) {
    let mut popper = orderly(books, "order_again", 1);
    popper.send_all(&["a", "b", "c"]);
    let first = popper.pop(SHORT_MS);
    popper.ack(&first.messages[0]);
    let second = wait::until("the queue to be free", REVIVE_LIMIT, || {
        Some(popper.pop(SHORT_MS)).filter(|answer| !answer.messages.is_empty())
    });
    assert_eq!(second.bodies(), ["b", "c"]);
    assert_eq!(second.command.ext["orderCountInfo"], "0 qo0%1 1;0 0 0");
    assert!(
        second.command.number("popTime") >= first.command.number("popTime") + SHORT_MS,
        "{second:?}"
    );
    // It means nothing that the first pop is over.
    let late = popper.ack_request(&first.messages[1]);
    assert_eq!(popper.conn.call(late).code, response::SUCCESS);
    assert_eq!(popper.pop(SHORT_MS).command.code, response::POLLING_TIMEOUT);
    let mut unknown = popper.ack_request(&second.messages[1]);
    unknown.ext.insert("offset".to_owned(), "3".to_owned());
    let refused = popper.conn.call(unknown);
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL, "{refused:?}");
    let (topic, group) = (&popper.topic, &popper.group);
    let key = match books {
        Books::ReviveTopic => format!("{topic}@{group}@0"),
        Books::KvStore => format!("{group} {topic} 0"),
    };
    let words = format!("offset is illegal, key:{key}, old:1, commit:3");
    assert!(refused.remark.as_ref().unwrap().starts_with(&words), "{refused:?}");
    popper.ack(&second.messages[0]);
    popper.ack(&second.messages[1]);
    let nothing = popper.pop(SHORT_MS).command;
    let counts = nothing.ext.get("orderCountInfo").map(String::as_str);
    assert_eq!(counts, if books == Books::KvStore { None } else { Some("") });
}

fn a_repeated_attempt_is_given_the_same_again(books: Books) {
    let mut popper = orderly(books, "order_attempt", 1).with("attemptId", "one");
    popper.send_all(&["a", "b", "c"]);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["a", "b"]);
    let again = popper.pop(LONG_MS);
    assert_eq!(again.bodies(), ["a", "b"]);
    assert_eq!(again.command.ext["orderCountInfo"], "0 0 0");
    popper.set("attemptId", "two");
    assert_eq!(popper.pop(LONG_MS).command.code, response::POLLING_TIMEOUT);
}

fn a_changed_time_of_one_message_frees_the_queue(books: Books) {
    let mut popper = orderly(books, "order_change", 1).with("maxMsgNums", "1");
    popper.send_all(&["a", "b"]);
    let first = popper.pop(LONG_MS).messages.remove(0);
    let changed = popper.change(&first, 1_000);
    let pop_time = |receipt: &str| receipt.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(pop_time(&changed.receipt), pop_time(&first.receipt), "it stays the same pop");
    let again = wait::until("the queue to be free", REVIVE_LIMIT, || {
        Some(popper.pop(LONG_MS)).filter(|answer| !answer.messages.is_empty())
    });
    assert_eq!(again.bodies(), ["a"]);
    assert_eq!(again.command.ext["orderCountInfo"], "0 qo0%0 1;0 0 1");
}

fn an_acknowledgement_wakes_who_waits_for_the_queue(books: Books) {
    let mut popper = orderly(books, "order_wake", 1).with("maxMsgNums", "1");
    popper.send_all(&["a", "b"]);
    let first = popper.pop(LONG_MS).messages.remove(0);
    let mut waiting = popper.again(server(books)).with("pollTime", "20000");
    let request = waiting.request(LONG_MS);
    waiting.conn.send(request).unwrap();
    popper.ack(&first);
    let answer = waiting.conn.receive().unwrap();
    assert_eq!(waiting.read(answer).bodies(), ["b"]);
}
