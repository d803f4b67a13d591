//! Brokers that are set otherwise.

use oxmq_compat_tests::ops::{self, response};

use crate::{LONG_MS, setup};
use oxmq_compat_tests::popper::Popper;

#[test]
fn messages_to_try_again_have_names_of_two_kinds() {
    let server = setup().broker_conf("enableRetryTopicV2", "true").start();
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
    assert_eq!(left.record.topic, popper.topic);
}

#[test]
fn a_broker_that_waits_for_the_disk_keeps_to_the_same() {
    let server = setup().broker_conf("flushDiskType", "SYNC_FLUSH").start();
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

#[test]
fn too_many_messages_given_out_stop_their_queue() {
    let server = setup()
        .broker_conf("enablePopMessageThreshold", "true")
        .broker_conf("popInflightMessageThreshold", "2")
        .start();
    let mut popper = Popper::create(&server, "threshold", 1);
    popper.send_all(&["a", "b", "c", "d"]);
    popper.set("maxMsgNums", "3");
    let given = popper.pop(LONG_MS).messages;
    assert_eq!(given.len(), 3);
    let stopped = popper.pop(LONG_MS).command;
    assert_eq!(stopped.code, response::POLLING_TIMEOUT, "{stopped:?}");
    assert_eq!(stopped.number("restNum"), 1, "{stopped:?}");
    // Another time for one of them leaves it given out.
    popper.change(&given[2], LONG_MS);
    assert_eq!(popper.pop(LONG_MS).command.code, response::POLLING_TIMEOUT);
    popper.ack(&given[0]);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["d"]);
}
