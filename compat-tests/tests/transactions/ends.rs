//! What becomes of half messages, further: where, in which order, and who is asked.

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::{Record, message_ops, wait};

use crate::producer::Producer;
use crate::{COMMIT, GROUP, HALF_TOPIC, LIMIT, ROLLBACK, UNKNOWN, server};

#[test]
fn messages_are_delivered_in_the_order_of_their_decisions() {
    let mut producer = Producer::join(server(), "order");
    let [first, second, third] = ["first", "second", "third"].map(|body| producer.half(body, ""));
    for (half, decision) in [(&third, COMMIT), (&second, ROLLBACK), (&first, COMMIT)] {
        assert_eq!(producer.end(half, decision).code, response::SUCCESS);
    }
    assert_eq!(bodies(&producer.await_delivered(2)), ["third", "first"]);
}

#[test]
fn a_committed_message_goes_to_the_queue_that_it_was_sent_to() {
    ops::create_topic(server(), "transactions_queues", 3);
    let mut producer = Producer::join_as(server(), "queues", "first");
    let half = producer.half_in(2, "body", "");
    assert_eq!(producer.end(&half, COMMIT).code, response::SUCCESS);
    ops::wait_for_max_offset(&mut producer.conn, &producer.topic, 2, 1);
    let topic = producer.topic.clone();
    let delivered = ops::walk_queue(&mut producer.conn, GROUP, &topic, 2, 0);
    assert_eq!(bodies(&delivered), ["body"]);
    for queue in [0, 1] {
        assert_eq!(ops::max_offset(&mut producer.conn, &topic, queue), 0);
    }
}

#[test]
fn a_message_is_found_by_its_key_and_its_tag_once_it_is_committed() {
    let mut producer = Producer::join(server(), "found");
    let topic = producer.topic.clone();
    let kept = producer.half("kept", "KEYS\u{1}order-1\u{2}TAGS\u{1}Paid\u{2}");
    let dropped = producer.half("dropped", "KEYS\u{1}order-1\u{2}TAGS\u{1}Paid\u{2}");
    ops::wait_for_max_offset(&mut producer.conn, HALF_TOPIC, 0, dropped.offset + 1);
    assert!(message_ops::query_by_key(&mut producer.conn, &topic, "order-1", false).is_empty());
    assert_eq!(producer.end(&dropped, ROLLBACK).code, response::SUCCESS);
    assert_eq!(producer.end(&kept, COMMIT).code, response::SUCCESS);
    producer.await_delivered(1);
    let found = wait::until("the key in the index", LIMIT, || {
        let found = message_ops::query_by_key(&mut producer.conn, &topic, "order-1", false);
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(bodies(&found), ["kept"]);
    for (tag, count) in [("Paid", 1), ("Open", 0)] {
        let mut request = ops::pull_request(GROUP, &topic, 0, 0);
        request.ext.insert("subscription".to_owned(), tag.to_owned());
        let answer = producer.conn.call(request);
        let records = match answer.code {
            response::SUCCESS => Record::decode_all(&answer.body),
            response::PULL_RETRY_IMMEDIATELY => Vec::new(),
            _ => panic!("{answer:?}"),
        };
        assert_eq!(records.len(), count, "{tag}");
    }
}

#[test]
fn every_group_is_asked_about_its_own_messages() {
    let mut one = Producer::join(server(), "one_group");
    let mut other = Producer::join(server(), "other_group");
    let (of_one, of_other) = (one.half("one", ""), other.half("other", ""));
    for (producer, half) in [(&mut one, &of_one), (&mut other, &of_other)] {
        let question = producer.await_question();
        assert_eq!(question.unique_key, half.unique_key);
        assert_eq!(producer.answer(&question, COMMIT).code, response::SUCCESS);
    }
    assert_eq!(bodies(&one.await_delivered(1)), ["one"]);
    assert_eq!(bodies(&other.await_delivered(1)), ["other"]);
}

#[test]
fn a_question_may_go_unanswered_and_is_asked_again() {
    let mut producer = Producer::join(server(), "unanswered");
    let half = producer.half("body", "");
    let first = producer.await_question();
    let mut request = producer.decision(&half, UNKNOWN);
    request.ext.insert("fromTransactionCheck".to_owned(), "true".to_owned());
    request.flag = 2;
    producer.conn.send(request).unwrap();
    let second = producer.await_question();
    assert_eq!(second.unique_key, first.unique_key);
    assert!(second.offset > first.offset, "another copy stands for it");
    assert_eq!(producer.answer(&second, COMMIT).code, response::SUCCESS);
    assert_eq!(bodies(&producer.await_delivered(1)), ["body"]);
}

fn bodies(records: &[Record]) -> Vec<&str> {
    records.iter().map(Record::text).collect()
}
