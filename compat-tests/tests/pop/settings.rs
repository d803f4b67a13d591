//! Brokers that are set otherwise.

use oxmq_compat_tests::ops::{self, response};

use crate::{Books, LONG_MS, setup};
use oxmq_compat_tests::popper::Popper;

with_all_books! {
    messages_to_try_again_have_names_of_two_kinds,
    a_broker_that_waits_for_the_disk_keeps_to_the_same,
    too_many_messages_given_out_stop_their_queue,
    messages_to_try_again_may_be_given_out_the_other_way,
}

fn messages_to_try_again_have_names_of_two_kinds(books: Books) {
    let server = setup(books).broker_conf("enableRetryTopicV2", "true").start();
    let mut popper = Popper::create(&server, "v2", 1);
    popper.send_all(&["a", "b"]);
    popper.pop(1_000);
    let mut again = popper.await_messages(1_000, 2);
    let v2 = format!("%RETRY%{}+{}", popper.group, popper.topic);
    assert!(again.iter().all(|message| message.topic == v2), "{again:?}");
    popper.ack(&again.remove(0));
    let third = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((&third.topic, third.record.reconsume_times), (&v2, 2));
    popper.ack(&third);
    // A broker that named them otherwise has left one.
    let v1 = popper.retry_topic();
    ops::create_topic(&server, &v1, 1);
    ops::send(&mut popper.conn, &v1, 0, "", b"left");
    let left = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((left.record.text(), &left.topic), ("left", &v1));
    assert_eq!(left.record.topic, books.topic_of_retried(&popper));
}

fn a_broker_that_waits_for_the_disk_keeps_to_the_same(books: Books) {
    let server = setup(books).broker_conf("flushDiskType", "SYNC_FLUSH").start();
    let mut popper = Popper::create(&server, "sync", 2);
    for (queue_id, body) in [(0, "done"), (1, "again"), (0, "changed")] {
        popper.send(queue_id, "", body);
    }
    let answer = popper.pop(3_000);
    let of = |body: &str| {
        let mut messages = answer.messages.iter();
        messages.find(|message| message.record.text() == body).unwrap().clone()
    };
    popper.ack(&of("done"));
    popper.change(&of("changed"), LONG_MS);
    // Where the group goes on is known, though nothing may be committed yet.
    assert!(popper.pop(LONG_MS).messages.iter().all(|message| message.record.reconsume_times == 1));
    let again = popper.await_messages(LONG_MS, 1);
    assert_eq!(again[0].record.text(), "again");
    for (queue_id, next) in [(0, 2), (1, 1)] {
        let committed =
            ops::committed_offset(&mut popper.conn, &popper.group, &popper.topic, queue_id);
        assert_eq!(committed, Some(next));
    }
}

fn too_many_messages_given_out_stop_their_queue(books: Books) {
    let is_kv = books == Books::KvStore;
    let server = setup(books)
        .broker_conf("enablePopMessageThreshold", "true")
        // It counts in the one, and has to be exceeded in the other.
        .broker_conf("popInflightMessageThreshold", if is_kv { "3" } else { "2" })
        // What is in the database alone does not count.
        .broker_conf("enablePopBufferMerge", if is_kv { "true" } else { "false" })
        .start();
    let mut popper = Popper::create(&server, "threshold", 1);
    popper.send_all(&["a", "b", "c", "d"]);
    popper.set("maxMsgNums", "3");
    let given = popper.pop(LONG_MS).messages;
    assert_eq!(given.len(), 3);
    let stopped = popper.pop(LONG_MS).command;
    assert_eq!(stopped.code, response::POLLING_TIMEOUT, "{stopped:?}");
    if !is_kv {
        assert_eq!(stopped.number("restNum"), 1, "{stopped:?}");
        // Another time for one of them leaves it given out.
        popper.change(&given[2], LONG_MS);
        assert_eq!(popper.pop(LONG_MS).command.code, response::POLLING_TIMEOUT);
    }
    popper.ack(&given[0]);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["d"]);
}

fn messages_to_try_again_may_be_given_out_the_other_way(books: Books) {
    let server = setup(books).broker_conf("popResponseReturnActualRetryTopic", "true").start();
    let mut popper = Popper::create(&server, "actual", 1);
    popper.send_all(&["a"]);
    popper.pop(1_000);
    let again = popper.await_messages(1_000, 1).remove(0);
    let retry_topic = popper.retry_topic();
    assert_eq!((&again.record.topic, &again.topic), (&retry_topic, &retry_topic));
    // In the KV store it has a receipt of its own then.
    assert_eq!(again.record.properties.contains_key("POP_CK"), books == Books::KvStore);
    let third = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!(third.record.reconsume_times, 2);
    popper.ack(&third);
}
