//! Messages that wait for a time of their own, further: in which order, where, and how many.

use std::collections::BTreeSet;

use oxmq_compat_tests::ops::{self, now_ms, response};
use oxmq_compat_tests::{Record, message_ops, wait};

use crate::topic::Topic;
use crate::{GROUP, LIMIT, server};

#[test]
fn messages_come_in_the_order_of_their_times() {
    let mut topic = Topic::create(server(), "reversed");
    // Of whole seconds, as that is how exact the reference is.
    let begin = (now_ms() / 1_000 + 6) * 1_000;
    for seconds in [3, 1, 2, 0] {
        let due = begin + seconds * 1_000;
        let answer = topic.send(&seconds.to_string(), &format!("TIMER_DELIVER_MS\u{1}{due}\u{2}"));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
    let delivered = topic.await_delivered(4);
    assert_eq!(bodies(&delivered), ["0", "1", "2", "3"]);
}

#[test]
fn all_messages_of_one_second_are_delivered_once() {
    const COUNT: usize = 200;
    let mut topic = Topic::create(server(), "one_second");
    let due = (now_ms() / 1_000 + 4) * 1_000 + 500;
    for index in 0..COUNT {
        let form = format!("TIMER_DELIVER_MS\u{1}{due}\u{2}");
        assert_eq!(topic.send(&index.to_string(), &form).code, response::SUCCESS);
    }
    let delivered = topic.await_delivered(COUNT);
    let different: BTreeSet<&str> = delivered.iter().map(Record::text).collect();
    assert_eq!(different.len(), COUNT);
}

#[test]
fn a_message_comes_to_its_queue_and_is_found_by_its_key_then() {
    ops::create_topic(server(), "timers_queues", 3);
    let mut topic = Topic::create(server(), "queues_of_one");
    topic.name = "timers_queues".to_owned();
    let topic_name = topic.name.clone();
    let form = "TIMER_DELAY_MS\u{1}2000\u{2}KEYS\u{1}bill-7\u{2}TAGS\u{1}Due\u{2}";
    let answer = topic.send_to(2, "body", form);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    ops::wait_for_max_offset(&mut topic.conn, &topic_name, 2, 1);
    let found = wait::until("the key in the index", LIMIT, || {
        let found = message_ops::query_by_key(&mut topic.conn, &topic_name, "bill-7", false);
        (!found.is_empty()).then_some(found)
    });
    assert_eq!((found.len(), found[0].queue_id, found[0].queue_offset), (1, 2, 0));
    let delivered = ops::walk_queue(&mut topic.conn, GROUP, &topic_name, 2, 0);
    assert_eq!(bodies(&delivered), ["body"]);
    for queue in [0, 1] {
        assert_eq!(ops::max_offset(&mut topic.conn, &topic_name, queue), 0);
    }
}

#[test]
fn a_message_may_be_taken_back_twice_and_others_of_its_time_stay() {
    let mut topic = Topic::create(server(), "recalled_twice");
    let due = (now_ms() / 1_000 + 8) * 1_000 + 500;
    let form = format!("TIMER_DELIVER_MS\u{1}{due}\u{2}");
    let handles: Vec<String> = (0..6)
        .map(|index| topic.send(&index.to_string(), &form).ext["recallHandle"].clone())
        .collect();
    for handle in [&handles[1], &handles[4], &handles[1]] {
        let answer = topic.recall(handle);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
    let last = topic.send("last", &format!("TIMER_DELIVER_MS\u{1}{}\u{2}", due + 1_000));
    assert_eq!(last.code, response::SUCCESS);
    let delivered = topic.await_delivered(5);
    let bodies: BTreeSet<&str> = bodies(&delivered).into_iter().collect();
    assert_eq!(bodies, BTreeSet::from(["0", "2", "3", "5", "last"]));
}

fn bodies(records: &[Record]) -> Vec<&str> {
    records.iter().map(Record::text).collect()
}
