//! Messages that are to be delivered later: at a time of their own or by level, taken back, over a
//! crash and a change of servers.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod levels;
mod topic;
mod waiting;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, now_ms, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, Setup, wait};

use crate::topic::Topic;

const GROUP: &str = "timers_group";
const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// How late a message may come: the reference delivers when its second is over, and machines are busy.
const LATE_MS: i64 = 10_000;
/// How late one may come from ours.
const LATE_OURS_MS: i64 = 2_000;
const LIMIT: Duration = Duration::from_secs(40);

/// One server for the tests that do not stop it.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| setup().start())
}

fn setup() -> Setup {
    ServerUnderTest::setup()
        .broker_conf("recallMessageEnable", "true")
        .broker_conf("flushConsumerOffsetInterval", "100")
}

#[test]
fn every_form_of_a_time_is_kept_to() {
    let mut topic = Topic::create(server(), "forms");
    let sent = now_ms();
    let forms = [
        format!("TIMER_DELIVER_MS\u{1}{}\u{2}", sent + 4_000),
        "TIMER_DELAY_MS\u{1}4000\u{2}".to_owned(),
        "TIMER_DELAY_SEC\u{1}4\u{2}".to_owned(),
        // Looked at in this order, whatever else there is.
        format!(
            "TIMER_DELIVER_MS\u{1}{}\u{2}TIMER_DELAY_MS\u{1}90000\u{2}TIMER_DELAY_SEC\u{1}4\u{2}",
            sent + 90_000
        ),
        "DELAY\u{1}2\u{2}TIMER_DELAY_SEC\u{1}60\u{2}".to_owned(),
    ];
    for (index, form) in forms.iter().enumerate() {
        let answer = topic.send(&index.to_string(), form);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let is_timer = !form.starts_with("DELAY");
        assert_eq!(answer.ext.contains_key("recallHandle"), is_timer, "{answer:?}");
    }
    let took = now_ms() - sent;
    assert_eq!(topic.delivered().len(), 0);
    for record in topic.await_delivered(forms.len()) {
        let index: usize = record.text().parse().unwrap();
        let due = sent + if index == 4 { 5_000 } else { 4_000 };
        let late = record.store_timestamp_ms - due;
        let most = if server().kind() == Kind::Ours { LATE_OURS_MS } else { LATE_MS };
        assert!((0..most).contains(&late), "{index} is {late} ms late");
        assert_eq!(record.properties["REAL_TOPIC"], topic.name);
        if index < 4 {
            let slot: i64 = record.properties["TIMER_OUT_MS"].parse().unwrap();
            // A delay counts from when the broker had the message.
            let latest = if index == 0 { due } else { due + took };
            assert!(
                slot % 1_000 == 0 && (due - 1_000..latest).contains(&slot),
                "{slot} {due} {latest}"
            );
            assert!(record.properties.contains_key("TIMER_DEQUEUE_MS"));
        } else {
            assert!(!record.properties.contains_key("TIMER_DELAY_SEC"), "the level wins");
        }
    }
}

#[test]
fn a_time_that_is_over_is_now_and_one_too_far_is_refused() {
    let mut topic = Topic::create(server(), "edges");
    for (body, form) in [
        ("past", format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now_ms() - 60_000)),
        ("zero", "TIMER_DELAY_SEC\u{1}0\u{2}".to_owned()),
        ("negative", "TIMER_DELAY_MS\u{1}-5\u{2}".to_owned()),
    ] {
        let answer = topic.send(body, &form);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        assert!(!answer.ext.contains_key("recallHandle"));
    }
    let bodies: Vec<String> =
        topic.await_delivered(3).iter().map(|record| record.text().to_owned()).collect();
    assert_eq!(bodies, ["past", "zero", "negative"]);
    for form in ["TIMER_DELAY_SEC\u{1}259300\u{2}", "TIMER_DELAY_SEC\u{1}soon\u{2}"] {
        let answer = topic.send("refused", form);
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL);
        let remark = answer.remark.unwrap();
        assert!(remark.contains("the delay time should not be bigger than the max delay"));
    }
    let far = topic.send("far", "TIMER_DELAY_SEC\u{1}259100\u{2}");
    assert_eq!(far.code, response::SUCCESS);
}

#[test]
fn a_message_that_was_taken_back_is_not_delivered() {
    let mut topic = Topic::create(server(), "recalled");
    let recalled = topic.send("recalled", "TIMER_DELAY_SEC\u{1}6\u{2}");
    let kept = topic.send("kept", "TIMER_DELAY_SEC\u{1}6\u{2}");
    assert_eq!(kept.code, response::SUCCESS);
    let handle = recalled.ext["recallHandle"].clone();
    let answer = topic.recall(&handle);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(answer.ext["msgId"], recalled.ext["transactionId"]);
    let after = topic.send("after", "TIMER_DELAY_SEC\u{1}8\u{2}");
    assert_eq!(after.code, response::SUCCESS);
    let bodies: Vec<String> =
        topic.await_delivered(2).iter().map(|record| record.text().to_owned()).collect();
    assert_eq!(bodies, ["kept", "after"]);
    assert_eq!(topic.delivered().len(), 2);
    // Its time is over now.
    let late = topic.recall(&handle);
    assert_eq!(late.code, response::ILLEGAL_OPERATION);
    assert_eq!(late.remark.as_deref(), Some("recall failed, timestamp invalid"));
}

#[test]
fn a_handle_that_names_nothing_here_is_refused() {
    let mut topic = Topic::create(server(), "handles");
    let sent = topic.send("body", "TIMER_DELAY_SEC\u{1}100\u{2}");
    let answer = topic.recall("no handle");
    assert_eq!(answer.code, response::ILLEGAL_OPERATION);
    assert_eq!(answer.remark.as_deref(), Some("recall handle is invalid"));
    let mut other = Topic::create(server(), "other_handles");
    let answer = other.recall(&sent.ext["recallHandle"]);
    assert_eq!(answer.code, response::ILLEGAL_OPERATION);
    assert_eq!(answer.remark.as_deref(), Some("recall failed, topic not match"));
    other.name = "timers_that_is_not_there".to_owned();
    let answer = other.recall(&sent.ext["recallHandle"]);
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
}

#[test]
fn tools_see_how_far_the_timer_and_the_levels_have_got() {
    let mut topic = Topic::create(server(), "tools");
    topic.send("timer", "TIMER_DELAY_SEC\u{1}1000\u{2}");
    topic.send("level", "DELAY\u{1}1\u{2}");
    topic.await_delivered(1);
    let mut conn = Conn::connect(&server().broker_addr());
    let answer = conn.call(Command::request(code::GET_TIMER_CHECK_POINT, &[]));
    assert_eq!((answer.code, answer.body.len()), (response::SUCCESS, 56));
    let read_time = i64::from_be_bytes(answer.body[..8].try_into().unwrap());
    assert!((now_ms() - read_time).abs() < 60_000, "{read_time}");
    wait::until("a count of the waiting message", LIMIT, || {
        let answer = conn.call(Command::request(code::GET_TIMER_METRICS, &[]));
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (body["timingCount"][&topic.name]["count"] == 1).then_some(())
    });
    let answer = conn.call(Command::request(code::GET_ALL_DELAY_OFFSET, &[]));
    assert_eq!(answer.code, response::SUCCESS);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("\"offsetTable\":{1:"), "{text}");
}

#[test]
fn what_a_message_says_is_what_is_delivered() {
    let mut topic = Topic::create(server(), "kept");
    let own = "KEYS\u{1}k1 k2\u{2}TAGS\u{1}TagA\u{2}colour\u{1}blue\u{2}";
    for (body, form) in [("timer", "TIMER_DELAY_MS\u{1}2000\u{2}"), ("level", "DELAY\u{1}1\u{2}")] {
        let answer = topic.send(body, &format!("{own}{form}"));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
    for record in topic.await_delivered(2) {
        let property = |name: &str| record.properties.get(name).map(String::as_str);
        for (name, value) in [("KEYS", "k1 k2"), ("TAGS", "TagA"), ("colour", "blue")] {
            assert_eq!(property(name), Some(value), "{name} of {record:?}");
        }
        assert!(property("UNIQ_KEY").unwrap().starts_with(&topic.name), "{record:?}");
        assert_eq!((&record.topic, record.queue_id, record.sys_flag), (&topic.name, 0, 0));
        assert!(record.born_timestamp_ms <= record.store_timestamp_ms);
        assert_eq!(record.reconsume_times, 0);
    }
}

#[test]
fn every_message_is_delivered_once_over_kill_9() {
    let mut server = setup().start();
    let mut topic = Topic::create(&server, "killed");
    let begin = now_ms() + 4_000;
    for index in 0..60 {
        let due = begin + index * 100;
        topic.send(&index.to_string(), &format!("TIMER_DELIVER_MS\u{1}{due}\u{2}"));
    }
    topic.send("rest", &format!("TIMER_DELIVER_MS\u{1}{}\u{2}", begin + 9_000));
    topic.await_delivered_at_least(20);
    server.kill9();
    server.restart();
    topic.conn = Conn::connect(&server.broker_addr());
    wait::until("the last message", LIMIT, || {
        topic.delivered().iter().any(|record| record.text() == "rest").then_some(())
    });
    let mut bodies: Vec<String> =
        topic.delivered().iter().map(|record| record.text().to_owned()).collect();
    for record in topic.delivered() {
        if let Ok(index) = record.text().parse::<i64>() {
            assert!(record.store_timestamp_ms >= begin + index * 100, "{index} is early");
        }
    }
    let count = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 61, "nothing is lost");
    if server.kind() == Kind::Ours {
        assert_eq!(count, 61, "nothing is repeated");
    }
}

#[test]
fn ours_takes_over_waiting_messages_of_the_reference() {
    takeover(Kind::Reference, Kind::under_test());
}

#[test]
fn the_reference_takes_over_waiting_messages_of_ours() {
    takeover(Kind::under_test(), Kind::Reference);
}

/// Messages that are delivered, that are due while no server runs, and that are due later change hands.
fn takeover(first: Kind, second: Kind) {
    let store = tempfile::tempdir().unwrap();
    let start = |kind, store: &Path| setup().kind(kind).store(store).start();
    let mut server = start(first, store.path());
    let mut topic = Topic::create(&server, "moved");
    topic.send("before", "TIMER_DELAY_SEC\u{1}1\u{2}");
    topic.await_delivered(1);
    topic.send("between", "TIMER_DELAY_SEC\u{1}3\u{2}");
    let recalled = topic.send("recalled", "TIMER_DELAY_SEC\u{1}60\u{2}");
    topic.send("after", &format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now_ms() + 45_000));
    assert_eq!(topic.recall(&recalled.ext["recallHandle"]).code, response::SUCCESS);
    wait::until("a timer that has taken all of its queue", LIMIT, || {
        let answer = topic.conn.call(Command::request(code::GET_TIMER_METRICS, &[]));
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (body["timingCount"][&topic.name]["count"].as_i64()? <= 2).then_some(())
    });
    ops::wait_for_max_offset(&mut topic.conn, TIMER_TOPIC, 0, 5);
    server.stop();
    drop(server);

    let server = start(second, store.path());
    topic.conn = Conn::connect(&server.broker_addr());
    let deadline = Duration::from_secs(90);
    wait::until("the last message", deadline, || {
        topic.delivered().iter().any(|record| record.text() == "after").then_some(())
    });
    let bodies: Vec<String> =
        topic.delivered().iter().map(|record| record.text().to_owned()).collect();
    assert_eq!(bodies, ["before", "between", "after"]);
}
