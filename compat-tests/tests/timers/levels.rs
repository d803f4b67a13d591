//! Messages that are delayed by level.

use std::sync::OnceLock;

use oxmq_compat_tests::ops::{self, code, now_ms, response};
use oxmq_compat_tests::wire::Command;
use oxmq_compat_tests::{ServerUnderTest, message_ops, wait};

use crate::topic::Topic;
use crate::{GROUP, LIMIT, server, setup};

const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Levels that a broker has when nothing is set.
const LEVELS: i32 = 18;

/// A server that has as many levels, of seconds, and neither times nor recalls.
fn levels_only() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| {
        setup()
            .broker_conf("messageDelayLevel", &["1s 2s 3s"; LEVELS as usize / 3].join(" "))
            .broker_conf("timerWheelEnable", "false")
            .broker_conf("recallMessageEnable", "false")
            .start()
    })
}

#[test]
fn levels_are_those_that_the_broker_is_set_to() {
    let mut topic = Topic::create(levels_only(), "levels");
    let sent = now_ms();
    // One beyond the last is the last, and one before the first is none.
    for level in (0..=LEVELS + 1).rev() {
        let answer = topic.send(&level.to_string(), &format!("DELAY\u{1}{level}\u{2}"));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
    for record in topic.await_delivered(LEVELS as usize + 2) {
        assert_eq!(record.properties.contains_key("REAL_TOPIC"), record.text() != "0");
        let seconds = match record.text().parse::<i64>().unwrap() {
            0 => 0,
            level => (level.min(LEVELS.into()) - 1) % 3 + 1,
        };
        let waited = record.store_timestamp_ms - sent;
        assert!(waited >= seconds * 1_000, "{} after {waited} ms", record.text());
    }
}

#[test]
fn every_level_has_a_queue_that_messages_wait_in() {
    let mut topic = Topic::create(server(), "every_level");
    for level in 1..=LEVELS {
        let before = ops::max_offset(&mut topic.conn, SCHEDULE_TOPIC, level - 1);
        let answer = topic.send("waits", &format!("DELAY\u{1}{level}\u{2}TAGS\u{1}T\u{2}"));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        ops::wait_for_max_offset(&mut topic.conn, SCHEDULE_TOPIC, level - 1, before + 1);
        let waiting = ops::walk_queue(&mut topic.conn, GROUP, SCHEDULE_TOPIC, level - 1, before);
        let record = waiting.iter().find(|record| record.properties["REAL_TOPIC"] == topic.name);
        let record = record.unwrap_or_else(|| panic!("level {level}: {waiting:?}"));
        assert_eq!(record.properties["DELAY"], level.to_string());
        assert_eq!((&*record.properties["REAL_QID"], record.text()), ("0", "waits"));
    }
    wait::until("all levels among the progress", LIMIT, || {
        let answer = topic.conn.call(Command::request(code::GET_ALL_DELAY_OFFSET, &[]));
        let text = String::from_utf8(answer.body).unwrap();
        let table = text.split("\"offsetTable\":").nth(1).unwrap().replace(['{', '}'], ",");
        (1..=LEVELS).all(|level| table.contains(&format!(",{level}:"))).then_some(())
    });
    // The shortest is done soon.
    let delivered = topic.await_delivered_at_least(1);
    assert_eq!((&*delivered[0].properties["TAGS"], delivered[0].text()), ("T", "waits"));
}

#[test]
fn messages_of_one_level_come_in_the_order_in_which_they_were_sent() {
    let mut topic = Topic::create(levels_only(), "level_order");
    let wanted: Vec<String> = (0..50).map(|index| index.to_string()).collect();
    for body in &wanted {
        assert_eq!(topic.send(body, "DELAY\u{1}1\u{2}").code, response::SUCCESS);
    }
    let delivered = topic.await_delivered(wanted.len());
    let bodies: Vec<&str> = delivered.iter().map(|record| record.text()).collect();
    assert_eq!(bodies, wanted);
}

#[test]
fn what_is_given_back_comes_again_by_level_and_then_not_at_all() {
    let mut topic = Topic::create(levels_only(), "given_back");
    let group = "timers_given_back_group";
    message_ops::create_group(&mut topic.conn, group, 2);
    let offset = ops::send(&mut topic.conn, &topic.name, 0, "TAGS\u{1}T\u{2}", b"bad");
    ops::wait_for_max_offset(&mut topic.conn, &topic.name, 0, offset + 1);
    let mut record = topic.delivered().remove(0);
    let again = format!("%RETRY%{group}");
    for times in 1..=2 {
        let given_back = now_ms();
        give_back(&mut topic, group, &record);
        ops::wait_for_max_offset(&mut topic.conn, &again, 0, times);
        record = ops::walk_queue(&mut topic.conn, group, &again, 0, times - 1).remove(0);
        assert_eq!((record.text(), i64::from(record.reconsume_times)), ("bad", times));
        assert_eq!(record.properties["RETRY_TOPIC"], topic.name);
        assert!(record.store_timestamp_ms >= given_back + 1_000, "{record:?}");
    }
    give_back(&mut topic, group, &record);
    let dead = format!("%DLQ%{group}");
    ops::wait_for_max_offset(&mut topic.conn, &dead, 0, 1);
    let record = ops::walk_queue(&mut topic.conn, group, &dead, 0, 0).remove(0);
    assert_eq!((record.text(), record.reconsume_times), ("bad", 3));
    assert_eq!(ops::max_offset(&mut topic.conn, &again, 0), 2);
}

/// Gives a message back by level 1.
fn give_back(topic: &mut Topic, group: &str, record: &oxmq_compat_tests::Record) {
    let answer = topic.conn.call(Command::request(
        code::CONSUMER_SEND_MSG_BACK,
        &[
            ("offset", &record.phy_offset.to_string()),
            ("group", group),
            ("delayLevel", "1"),
            ("originMsgId", "none"),
            ("originTopic", &topic.name),
            ("unitMode", "false"),
            ("maxReconsumeTimes", "2"),
        ],
    ));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

#[test]
fn a_broker_may_keep_no_times_and_take_nothing_back() {
    let mut topic = Topic::create(levels_only(), "no_times");
    let refused = topic.send("time", "TIMER_DELAY_SEC\u{1}1\u{2}");
    assert_eq!(refused.code, response::SYSTEM_ERROR, "{refused:?}");
    let remark = "accurate timer message is not enabled, timerWheelEnable is false";
    assert_eq!(refused.remark.as_deref(), Some(remark));
    let refused = topic.recall("djEgbm90aGluZw==");
    assert_eq!(refused.code, response::NO_PERMISSION, "{refused:?}");
    assert_eq!(refused.remark.as_deref(), Some("recall failed, operation is forbidden"));
    assert_eq!(topic.send("level", "DELAY\u{1}1\u{2}").code, response::SUCCESS);
    assert_eq!(topic.await_delivered(1)[0].text(), "level");
}
