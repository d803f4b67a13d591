//! Many messages at once: sent, popped and given back.

use std::collections::BTreeSet;

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::{message_ops, wait};

use crate::{Books, LONG_MS, SHORT_MS, batch_request, server};
use oxmq_compat_tests::popper::{Popper, REVIVE_LIMIT};

with_all_books! {
    every_message_of_several_queues_is_popped_once,
    messages_of_a_batch_are_given_back_one_by_one,
    one_request_gives_back_messages_of_several_queues,
    a_message_that_came_back_gets_another_time_and_comes_once_more,
}

fn every_message_of_several_queues_is_popped_once(books: Books) {
    const COUNT: usize = 120;
    let mut popper = Popper::create(server(books), "many", 4);
    for index in 0..COUNT {
        popper.send(index as i32 % 4, "", &index.to_string());
    }
    let mut member = popper.again(server(books));
    let mut bodies = Vec::new();
    wait::until("all of them", REVIVE_LIMIT, || {
        for one in [&mut popper, &mut member] {
            let answer = one.pop(LONG_MS);
            assert!(answer.messages.len() <= 32);
            answer.messages.iter().for_each(|message| one.ack(message));
            bodies.extend(answer.bodies());
        }
        (bodies.len() >= COUNT).then_some(())
    });
    assert!(popper.pop(LONG_MS).messages.is_empty());
    assert_eq!(bodies.len(), COUNT);
    assert_eq!(bodies.into_iter().collect::<BTreeSet<_>>().len(), COUNT);
}

fn messages_of_a_batch_are_given_back_one_by_one(books: Books) {
    let mut popper = Popper::create(server(books), "of_a_batch", 1);
    let messages: Vec<(String, Vec<u8>)> = (0..4)
        .map(|index| (format!("TAGS\u{1}T{index}\u{2}"), index.to_string().into_bytes()))
        .collect();
    let topic = popper.topic.clone();
    message_ops::send_batch(&mut popper.conn, &topic, 0, "", &messages);
    ops::wait_for_max_offset(&mut popper.conn, &topic, 0, 4);
    let answer = popper.pop(SHORT_MS);
    assert_eq!(answer.bodies(), ["0", "1", "2", "3"]);
    for index in [0, 2, 3] {
        popper.ack(&answer.messages[index]);
    }
    let again = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((again.record.text(), again.record.properties["TAGS"].as_str()), ("1", "T1"));
}

fn one_request_gives_back_messages_of_several_queues(books: Books) {
    let mut popper = Popper::create(server(books), "several", 2);
    for (queue_id, body) in [(0, "a"), (0, "b"), (1, "c"), (1, "d")] {
        popper.send(queue_id, "", body);
    }
    let given = popper.pop(SHORT_MS).messages;
    let first_of = |queue_id: i32| {
        let mut messages = given.iter();
        messages.find(|message| message.record.queue_id == queue_id).unwrap()
    };
    // Both of the first queue, and the second one of the other.
    let entries = [(first_of(0), "Aw=="), (first_of(1), "Ag==")].map(|(message, bits)| {
        let request = batch_request(&popper, message, SHORT_MS, bits);
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        (body["acks"][0].clone(), request)
    });
    let mut request = entries[0].1.clone();
    let mut body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["acks"] = entries.iter().map(|(entry, _)| entry.clone()).collect();
    request.body = body.to_string().into_bytes();
    let answer = popper.conn.call(request);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let again = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!(again.record.text(), "c");
    popper.ack(&again);
    assert!(popper.pop(LONG_MS).messages.is_empty());
}

fn a_message_that_came_back_gets_another_time_and_comes_once_more(books: Books) {
    let mut popper = Popper::create(server(books), "changed_again", 1);
    popper.send_all(&["body"]);
    popper.pop(1_000);
    let again = popper.await_messages(LONG_MS, 1).remove(0);
    let changed = ops::now_ms();
    popper.change(&again, 1_500);
    let third = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((third.record.text(), third.record.reconsume_times), ("body", 2));
    assert!(third.record.store_timestamp_ms >= changed + 1_500, "{third:?}");
    popper.ack(&third);
}
