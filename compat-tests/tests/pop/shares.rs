//! Who is given what: queues, groups, members of a group, and messages that come by other ways.

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::popper::Popper;
use oxmq_compat_tests::wire::Command;

use crate::{Books, LONG_MS, server};

with_all_books! {
    a_pop_of_one_queue_takes_nothing_of_the_others,
    every_group_is_given_every_message,
    members_of_a_group_share_its_messages,
    a_message_is_done_as_often_as_one_says_so,
    a_filter_may_name_several_tags,
    a_message_for_later_is_popped_when_it_is_due,
    a_half_message_is_popped_once_it_is_committed,
}

fn sorted(mut bodies: Vec<String>) -> Vec<String> {
    bodies.sort();
    bodies
}

fn a_pop_of_one_queue_takes_nothing_of_the_others(books: Books) {
    let mut popper = Popper::create(server(books), "one_queue", 3).with("queueId", "1");
    for (queue_id, body) in [(0, "a"), (1, "b"), (2, "c"), (1, "d")] {
        popper.send(queue_id, "", body);
    }
    assert_eq!(popper.pop(LONG_MS).bodies(), ["b", "d"]);
    assert_eq!(popper.pop(LONG_MS).command.code, response::POLLING_TIMEOUT);
    popper.set("queueId", "-1");
    assert_eq!(sorted(popper.pop(LONG_MS).bodies()), ["a", "c"]);
}

fn every_group_is_given_every_message(books: Books) {
    let mut first = Popper::create(server(books), "groups", 1);
    first.send_all(&["a", "b"]);
    let mut second = first.again(server(books));
    second.group.push_str("_second");
    for popper in [&mut first, &mut second] {
        let answer = popper.pop(LONG_MS);
        assert_eq!(answer.bodies(), ["a", "b"]);
        answer.messages.iter().for_each(|message| popper.ack(message));
        assert!(popper.pop(LONG_MS).messages.is_empty());
    }
}

fn members_of_a_group_share_its_messages(books: Books) {
    let mut first = Popper::create(server(books), "members", 1).with("maxMsgNums", "2");
    first.send_all(&["a", "b", "c"]);
    let mut second = first.again(server(books));
    assert_eq!(first.pop(LONG_MS).bodies(), ["a", "b"]);
    assert_eq!(second.pop(LONG_MS).bodies(), ["c"]);
    assert!(first.pop(LONG_MS).messages.is_empty());
}

fn a_message_is_done_as_often_as_one_says_so(books: Books) {
    let mut popper = Popper::create(server(books), "done_twice", 1);
    popper.send_all(&["a", "b"]);
    let given = popper.pop(LONG_MS).messages;
    popper.ack(&given[0]);
    popper.ack(&given[0]);
    // Anyone may say so: the receipt is all that counts.
    let mut member = popper.again(server(books));
    member.ack(&given[1]);
    assert!(popper.pop(LONG_MS).messages.is_empty());
}

fn a_filter_may_name_several_tags(books: Books) {
    let mut popper = Popper::create(server(books), "tags", 1).with("exp", "TagA || TagC");
    for (tag, body) in [("TagA", "a"), ("TagB", "b"), ("TagC", "c")] {
        popper.send(0, &format!("TAGS\u{1}{tag}\u{2}"), body);
    }
    assert_eq!(popper.pop(LONG_MS).bodies(), ["a", "c"]);
}

fn a_message_for_later_is_popped_when_it_is_due(books: Books) {
    for (name, property) in
        [("level", "DELAY\u{1}1\u{2}"), ("time", "TIMER_DELAY_MS\u{1}1500\u{2}")]
    {
        let mut popper = Popper::create(server(books), &format!("later_{name}"), 1);
        let sent = ops::now_ms();
        let request = ops::send_request(&popper.topic, 0, property, b"later");
        assert_eq!(popper.conn.call(request).code, response::SUCCESS);
        let message = popper.await_messages(LONG_MS, 1).remove(0);
        assert_eq!(message.record.text(), "later");
        // The reference delivers at whole seconds, the one before the time included.
        let waited_ms = message.record.store_timestamp_ms - sent;
        assert!(waited_ms >= 500, "{name} after {waited_ms} ms");
        popper.ack(&message);
    }
}

fn a_half_message_is_popped_once_it_is_committed(books: Books) {
    let mut popper = Popper::create(server(books), "half", 1);
    let half = |index: i32| {
        format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pop_half\u{2}UNIQ_KEY\u{1}{index:032}\u{2}")
    };
    let mut send = |index| {
        let mut request = ops::send_request(&popper.topic, 0, &half(index), b"half");
        request.ext.insert("f".to_owned(), "4".to_owned());
        let answer = popper.conn.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let id = answer.ext["msgId"].clone();
        let log_offset = i64::from_str_radix(&id[id.len() - 16..], 16).unwrap();
        (log_offset, answer.number("queueOffset"))
    };
    let (commit, rollback) = (send(1), send(2));
    assert!(popper.pop(LONG_MS).messages.is_empty(), "neither is decided");
    for ((log_offset, queue_offset), decision) in [(rollback, "12"), (commit, "8")] {
        let request = Command::request(
            code::END_TRANSACTION,
            &[
                ("topic", popper.topic.as_str()),
                ("producerGroup", "pop_half"),
                ("tranStateTableOffset", &queue_offset.to_string()),
                ("commitLogOffset", &log_offset.to_string()),
                ("commitOrRollback", decision),
                ("fromTransactionCheck", "false"),
                ("msgId", ""),
                ("transactionId", ""),
            ],
        );
        let answer = popper.conn.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
    let message = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((message.record.text(), message.record.queue_offset), ("half", 0));
    assert!(popper.pop(LONG_MS).messages.is_empty());
}
