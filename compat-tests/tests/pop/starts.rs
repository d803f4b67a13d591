//! Where a group begins, and where it goes on when it has not popped all along.

use oxmq_compat_tests::message_ops;
use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::{Command, Conn};

use crate::{Books, LONG_MS, SHORT_MS, server};
use oxmq_compat_tests::popper::{Popper, REVIVE_LIMIT};
use oxmq_compat_tests::wait;

with_all_books! {
    a_group_that_comes_before_the_first_message_is_given_it_in_either_mode,
    a_new_group_begins_at_the_last_message_of_each_queue,
    a_group_goes_on_where_it_has_committed_by_pulls,
    a_group_whose_place_is_gone_goes_on_with_what_there_is,
    what_comes_back_is_as_it_was,
    a_group_is_taken_back_by_a_tool_and_given_messages_again,
}

fn a_group_that_comes_before_the_first_message_is_given_it_in_either_mode(books: Books) {
    for (mode, name) in [("0", "early_min"), ("1", "early_max")] {
        let mut popper = Popper::create(server(books), name, 1).with("initMode", mode);
        assert_eq!(popper.pop(LONG_MS).command.code, response::POLLING_TIMEOUT);
        popper.send_all(&["a", "b"]);
        assert_eq!(popper.pop(LONG_MS).bodies(), ["a", "b"], "mode {mode}");
    }
}

fn a_new_group_begins_at_the_last_message_of_each_queue(books: Books) {
    let mut popper = Popper::create(server(books), "last_of_each", 3).with("initMode", "1");
    for (queue_id, body) in [(0, "a0"), (1, "b0"), (0, "a1"), (2, "c0"), (1, "b1")] {
        popper.send(queue_id, "", body);
    }
    let mut bodies = popper.pop(LONG_MS).bodies();
    bodies.sort();
    assert_eq!(bodies, ["a1", "b1", "c0"]);
}

fn a_group_goes_on_where_it_has_committed_by_pulls(books: Books) {
    let mut popper = Popper::create(server(books), "after_pulls", 2);
    for (queue_id, body) in [(0, "a0"), (0, "a1"), (0, "a2"), (1, "b0")] {
        popper.send(queue_id, "", body);
    }
    let (group, topic) = (popper.group.clone(), popper.topic.clone());
    message_ops::create_group(&mut popper.conn, &group, 16);
    ops::commit_offset(&mut popper.conn, &group, &topic, 0, 2);
    ops::commit_offset(&mut popper.conn, &group, &topic, 1, 1);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["a2"]);
    popper.send(1, "", "b1");
    assert_eq!(popper.pop(LONG_MS).bodies(), ["b1"]);
}

fn a_group_whose_place_is_gone_goes_on_with_what_there_is(books: Books) {
    let mut popper = Popper::create(server(books), "beyond", 1);
    popper.send_all(&["a", "b"]);
    let (group, topic) = (popper.group.clone(), popper.topic.clone());
    message_ops::create_group(&mut popper.conn, &group, 16);
    ops::commit_offset(&mut popper.conn, &group, &topic, 0, 40);
    // The first finds that there is no such place; what comes next is popped at last.
    popper.pop(LONG_MS);
    popper.send(0, "", "c");
    let mut bodies = Vec::new();
    wait::until("the new message", REVIVE_LIMIT, || {
        bodies.extend(popper.pop(LONG_MS).bodies());
        bodies.contains(&"c".to_owned()).then_some(())
    });
}

fn what_comes_back_is_as_it_was(books: Books) {
    let mut popper = Popper::create(server(books), "as_it_was", 1);
    let properties =
        "TAGS\u{1}TagA\u{2}KEYS\u{1}k1 k2\u{2}colour\u{1}blue\u{2}UNIQ_KEY\u{1}as-it-was-1\u{2}";
    popper.send(0, properties, "body");
    let first = popper.pop(SHORT_MS).messages.remove(0).record;
    let again = popper.await_messages(LONG_MS, 1).remove(0).record;
    for name in ["TAGS", "KEYS", "colour", "UNIQ_KEY"] {
        assert_eq!(again.properties[name], first.properties[name], "{name}");
    }
    assert_eq!((&again.body, again.flag), (&first.body, first.flag));
    assert_eq!(again.born_timestamp_ms, first.born_timestamp_ms);
}

fn a_group_is_taken_back_by_a_tool_and_given_messages_again(books: Books) {
    const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
    let mut popper = Popper::create(server(books), "taken_back", 1);
    popper.send_all(&["a", "b", "c"]);
    let given = popper.pop(LONG_MS).messages;
    given.iter().for_each(|message| popper.ack(message));
    // In the KV store it shows only now that they were given out.
    assert!(popper.pop(LONG_MS).messages.is_empty());
    let (group, topic) = (popper.group.clone(), popper.topic.clone());
    let mut conn = Conn::connect(&server(books).broker_addr());
    wait::until("the committed offset", REVIVE_LIMIT, || {
        (ops::committed_offset(&mut conn, &group, &topic, 0) == Some(3)).then_some(())
    });
    let answer = conn.call(Command::request(
        INVOKE_BROKER_TO_RESET_OFFSET,
        &[
            ("topic", topic.as_str()),
            ("group", group.as_str()),
            ("queueId", "0"),
            ("offset", "1"),
            ("timestamp", "-1"),
            ("isForce", "true"),
        ],
    ));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(popper.pop(LONG_MS).bodies(), ["b", "c"]);
}
