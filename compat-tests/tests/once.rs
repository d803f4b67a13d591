//! Topics that store a message once, however often its producer sends it: our own extension.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::server::Kind;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, wait};

const WINDOW: &str = "+oxmq.dedup.window.ms=3600000";
const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";

fn send(conn: &mut Conn, topic: &str, unique_key: &str, more: &str, body: &str) -> Command {
    let properties = format!("UNIQ_KEY\u{1}{unique_key}\u{2}{more}");
    let answer = wait::until("a server that is not busy", ops::ROUTE_LIMIT, || {
        let answer = conn.call(ops::send_request(topic, 0, &properties, body.as_bytes()));
        (answer.code != response::SYSTEM_BUSY).then_some(answer)
    });
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer
}

/// What a producer reads.
fn result(answer: &Command) -> [String; 4] {
    ["msgId", "queueId", "queueOffset", "transactionId"].map(|field| answer.ext[field].clone())
}

#[test]
fn a_message_that_is_sent_again_is_answered_as_the_first_time() {
    let mut server = ServerUnderTest::setup().kind(Kind::Ours).start();
    ops::create_topic_with(&server, "once", 1, WINDOW);
    ops::create_topic(&server, "twice", 1);
    let mut conn = Conn::connect(&server.broker_addr());
    let first = send(&mut conn, "once", "k1", "", "body");
    let other = send(&mut conn, "once", "k2", "", "body");
    let changed = send(&mut conn, "once", "k1", "", "another body");
    assert_eq!(ops::max_offset(&mut conn, "once", 0), 3);
    assert_eq!(result(&send(&mut conn, "once", "k1", "", "body")), result(&first));
    assert_eq!(result(&send(&mut conn, "once", "k1", "", "another body")), result(&changed));
    assert_eq!(ops::max_offset(&mut conn, "once", 0), 3);
    // What consumers give back is meant to come again.
    let mut back = ops::send_request("once", 0, "UNIQ_KEY\u{1}k1\u{2}", b"body");
    back.ext.insert("j".to_owned(), "1".to_owned());
    assert_ne!(result(&conn.call(back)), result(&first));
    // Others are stored as often as they are sent.
    for offset in ["0", "1"] {
        assert_eq!(send(&mut conn, "twice", "k1", "", "body").ext["queueOffset"], offset);
    }
    server.kill9();
    server.restart();
    let mut conn = Conn::connect(&server.broker_addr());
    assert_eq!(result(&send(&mut conn, "once", "k1", "", "body")), result(&first));
    assert_eq!(result(&send(&mut conn, "once", "k2", "", "body")), result(&other));
    assert_eq!(ops::max_offset(&mut conn, "once", 0), 4);
    // Without the attribute nothing is remembered.
    ops::create_topic_with(&server, "once", 1, "-oxmq.dedup.window.ms");
    assert_ne!(result(&send(&mut conn, "once", "k1", "", "body")), result(&first));
}

#[test]
fn a_message_for_later_is_kept_aside_once() {
    let server = ServerUnderTest::setup().kind(Kind::Ours).start();
    ops::create_topic_with(&server, "once_later", 1, WINDOW);
    let mut conn = Conn::connect(&server.broker_addr());
    let later = "TIMER_DELAY_SEC\u{1}3600\u{2}";
    let first = send(&mut conn, "once_later", "k", later, "body");
    let before = ops::max_offset(&mut conn, TIMER_TOPIC, 0);
    let again = send(&mut conn, "once_later", "k", later, "body");
    assert_eq!(result(&again), result(&first));
    assert_eq!(again.ext["recallHandle"], first.ext["recallHandle"]);
    assert_eq!(ops::max_offset(&mut conn, TIMER_TOPIC, 0), before);
}

#[test]
fn windows_have_a_limit() {
    let server = ServerUnderTest::setup().kind(Kind::Ours).start();
    let mut conn = Conn::connect(&server.broker_addr());
    for window in ["-1", "3600001", "long"] {
        let attribute = format!("+oxmq.dedup.window.ms={window}");
        let answer = conn.call(ops::topic_request("once_limit", 1, &attribute));
        assert_ne!(answer.code, response::SUCCESS, "{window}: {answer:?}");
    }
}
