//! Pop consumption: messages are given out for a while, given back, and come again when they are not.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod batches;
mod clients;
mod order;
mod polling;
mod restart;
mod settings;
mod shares;
mod starts;

use std::sync::OnceLock;

use oxmq_compat_tests::ops::{self, code, now_ms, response};
use oxmq_compat_tests::popper::{Popped, Popper, REVIVE_LIMIT};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, Setup, wait};

/// Long enough that nothing comes back within a test.
const LONG_MS: i64 = 120_000;
/// Messages that are not given back come again after this.
const SHORT_MS: i64 = 3_000;

/// One server for the tests that do not stop it.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| setup().start())
}

fn setup() -> Setup {
    ServerUnderTest::setup()
        .broker_conf("flushConsumerOffsetInterval", "100")
        .broker_conf("initPopOffsetByCheckMsgInMem", "false")
        .broker_conf("enablePropertyFilter", "true")
}

#[test]
fn a_new_group_begins_at_the_first_message_or_at_the_last() {
    let mut first = Popper::create(server(), "init", 1);
    first.send_all(&["a", "b", "c"]);
    let mut last = first.again(server()).with("initMode", "1");
    last.group.push_str("_last");
    assert_eq!(first.pop(LONG_MS).bodies(), ["a", "b", "c"]);
    assert_eq!(last.pop(LONG_MS).bodies(), ["c"]);
    first.send(0, "", "d");
    assert_eq!(first.pop(LONG_MS).bodies(), ["d"]);
    assert_eq!(last.pop(LONG_MS).bodies(), ["d"]);
}

#[test]
fn answers_say_where_each_message_is_from() {
    let mut popper = Popper::create(server(), "answers", 2);
    for (queue_id, body) in [(0, "a"), (0, "b"), (1, "c")] {
        popper.send(queue_id, "", body);
    }
    let begin = now_ms();
    let answer = popper.pop(LONG_MS);
    let command = &answer.command;
    assert_eq!(command.remark.as_deref(), Some("FOUND"));
    assert!((begin..=now_ms()).contains(&command.number("popTime")), "{command:?}");
    assert_eq!((command.number("invisibleTime"), command.number("restNum")), (LONG_MS, 0));
    assert!((0..8).contains(&command.number("reviveQid")));
    let sorted = |text: &str| {
        let mut entries: Vec<String> = text.split(';').map(str::to_owned).collect();
        entries.sort();
        entries
    };
    assert_eq!(sorted(&command.ext["startOffsetInfo"]), ["0 0 0", "0 1 0"]);
    assert_eq!(sorted(&command.ext["msgOffsetInfo"]), ["0 0 0,1", "0 1 0"]);
    assert!(!command.ext.contains_key("orderCountInfo"));
    assert!(answer.messages.iter().all(|message| message.record.topic == popper.topic));
    let nothing = popper.pop(LONG_MS).command;
    assert_eq!(nothing.code, response::POLLING_TIMEOUT);
    assert_eq!(nothing.remark.as_deref(), Some("NO_MESSAGE_IN_QUEUE"));
    assert_eq!(nothing.ext["startOffsetInfo"], "");
}

#[test]
fn a_pop_takes_as_many_as_it_asks_for_and_says_how_many_are_left() {
    let mut popper = Popper::create(server(), "limits", 1).with("maxMsgNums", "2");
    popper.send_all(&["a", "b", "c", "d", "e"]);
    let answer = popper.pop(LONG_MS);
    assert_eq!(answer.bodies(), ["a", "b"]);
    assert_eq!(answer.command.number("restNum"), 3);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["c", "d"]);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["e"]);
    let mut conn = Conn::connect(&server().broker_addr());
    wait::until("the committed offset", REVIVE_LIMIT, || {
        let committed = ops::committed_offset(&mut conn, &popper.group, &popper.topic, 0);
        (committed == Some(5)).then_some(())
    });
}

#[test]
fn what_is_acknowledged_stays_away_and_the_rest_comes_back() {
    let mut popper = Popper::create(server(), "acks", 1);
    popper.send_all(&["kept", "done", "kept too"]);
    let answer = popper.pop(SHORT_MS);
    let pop_time = answer.command.number("popTime");
    popper.ack(&answer.messages[1]);
    let mut again = popper.await_messages(LONG_MS, 2);
    again.sort_by_key(|message| message.record.queue_offset);
    let bodies: Vec<_> = again.iter().map(|message| message.record.text()).collect();
    assert_eq!(bodies, ["kept", "kept too"]);
    for message in &again {
        let record = &message.record;
        assert_eq!((record.reconsume_times, &record.topic), (1, &popper.topic));
        assert_eq!(record.properties["1ST_POP_TIME"], pop_time.to_string());
        assert!(record.store_timestamp_ms >= pop_time + SHORT_MS, "{record:?}");
        assert_eq!(message.topic, popper.retry_topic());
    }
    again.iter().for_each(|message| popper.ack(message));
    let retry_topic = popper.retry_topic();
    assert_eq!(ops::max_offset(&mut popper.conn, &retry_topic, 0), 2);
}

#[test]
fn a_message_comes_back_until_it_is_done_and_counts_it() {
    let mut popper = Popper::create(server(), "again", 1);
    popper.send_all(&["stubborn"]);
    for times in 0..3 {
        let message = popper.await_messages(1_000, 1).remove(0);
        assert_eq!(message.record.reconsume_times, times);
        if times == 2 {
            popper.ack(&message);
        }
    }
    // Another one shows that time has passed.
    popper.send(0, "", "witness");
    assert_eq!(popper.pop(1_000).bodies(), ["witness"]);
    let witness = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((witness.record.text(), witness.record.reconsume_times), ("witness", 1));
}

#[test]
fn a_batch_of_acknowledgements_counts_for_each() {
    let mut popper = Popper::create(server(), "batch", 1);
    popper.send_all(&["a", "b", "c", "d"]);
    let answer = popper.pop(SHORT_MS);
    // Bits 0, 1 and 3.
    let request = batch_request(&popper, &answer.messages[0], SHORT_MS, "Cw==");
    let acknowledged = popper.conn.call(request);
    assert_eq!(acknowledged.code, response::SUCCESS, "{acknowledged:?}");
    let again = popper.await_messages(LONG_MS, 1);
    assert_eq!(again[0].record.text(), "c");

    let empty = Command::request(code::BATCH_ACK_MESSAGE, &[]).with_body(r#"{"acks":[]}"#);
    assert_eq!(popper.conn.call(empty).code, response::NO_MESSAGE);
    let none = Command::request(code::BATCH_ACK_MESSAGE, &[]);
    assert_eq!(popper.conn.call(none).code, response::NO_MESSAGE);
}

fn batch_request(popper: &Popper, first: &Popped, invisible_ms: i64, bits: &str) -> Command {
    let fields: Vec<&str> = first.receipt.split(' ').collect();
    let [start, pop_time, _, revive_queue, kind, broker, queue_id, _] = fields[..] else {
        panic!("{}", first.receipt);
    };
    let body = format!(
        r#"{{"acks":[{{"b":"{bits}","c":"{}","it":{invisible_ms},"pt":{pop_time},"q":{queue_id},"r":"{kind}","rq":{revive_queue},"so":{start},"t":"{}"}}],"brokerName":"{broker}"}}"#,
        popper.group, popper.topic
    );
    Command::request(code::BATCH_ACK_MESSAGE, &[]).with_body(body)
}

#[test]
fn a_changed_time_counts_instead_of_the_first() {
    let mut popper = Popper::create(server(), "change", 1);
    popper.send_all(&["later", "sooner", "done"]);
    let messages = popper.pop(10_000).messages;
    let [later, sooner, done] = &messages[..] else { panic!("{messages:?}") };
    let changed = now_ms();
    popper.change(later, 20_000);
    popper.change(sooner, 1_000);
    let done = popper.change(done, 2_000);
    popper.ack(&done);
    let first = popper.await_messages(LONG_MS, 1);
    assert_eq!(first[0].record.text(), "sooner");
    assert!(first[0].record.store_timestamp_ms >= changed + 1_000);
    let second = popper.await_messages(LONG_MS, 1);
    assert_eq!(second[0].record.text(), "later");
    assert!(second[0].record.store_timestamp_ms >= changed + 20_000);
}

#[test]
fn filters_pass_over_what_is_for_others() {
    let mut popper = Popper::create(server(), "filters", 1).with("exp", "TagA || TagC");
    for (tag, price) in [("TagA", 1), ("TagB", 2), ("TagC", 3), ("TagB", 4), ("TagB", 5)] {
        let properties = format!("TAGS\u{1}{tag}\u{2}price\u{1}{price}\u{2}");
        popper.send(0, &properties, &format!("{tag} {price}"));
    }
    let answer = popper.pop(SHORT_MS);
    assert_eq!(answer.bodies(), ["TagA 1", "TagC 3"]);
    assert_eq!(answer.command.ext["msgOffsetInfo"], "0 0 0,2");
    popper.ack(&answer.messages[0]);
    let again = popper.await_messages(LONG_MS, 1);
    assert_eq!(again[0].record.text(), "TagC 3");

    let mut sql = popper.again(server()).with("expType", "SQL92").with("exp", "price > 3");
    sql.group.push_str("_sql");
    assert_eq!(sql.pop(LONG_MS).bodies(), ["TagB 4", "TagB 5"]);
    sql.set("exp", "price >");
    let refused = sql.pop(LONG_MS).command;
    assert_eq!(refused.code, response::SUBSCRIPTION_PARSE_FAILED);
    assert_eq!(refused.remark.as_deref(), Some("parse the consumer's subscription failed"));
}

#[test]
fn a_consumer_that_gives_up_sends_to_the_dead_letters() {
    let mut popper = Popper::create(server(), "dead", 1);
    popper.send_all(&["poison"]);
    popper.pop(1_000);
    let message = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!(message.record.reconsume_times, 1);
    // What the proxy does when a message has been tried often enough.
    let offset = message.record.phy_offset.to_string();
    let back = Command::request(
        code::CONSUMER_SEND_MSG_BACK,
        &[
            ("offset", offset.as_str()),
            ("group", popper.group.as_str()),
            ("delayLevel", "-1"),
            ("originMsgId", "id"),
            ("originTopic", popper.topic.as_str()),
            ("unitMode", "false"),
            ("maxReconsumeTimes", "0"),
        ],
    );
    let answer = popper.conn.call(back);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    popper.ack(&message);
    let dlq = format!("%DLQ%{}", popper.group);
    ops::wait_for_max_offset(&mut popper.conn, &dlq, 0, 1);
    let dead = ops::walk_queue(&mut popper.conn, "pop_reader", &dlq, 0, 0);
    assert_eq!((dead[0].text(), dead[0].reconsume_times), ("poison", 2));
}

#[test]
fn refusals_have_the_codes_and_words_of_the_reference() {
    let mut popper = Popper::create(server(), "refusals", 1);
    popper.send_all(&["a"]);
    let mut refused = |name: &'static str, value: &str| {
        let mut request = popper.request(LONG_MS);
        request.ext.insert(name.to_owned(), value.to_owned());
        let answer = popper.conn.call(request);
        (answer.code, answer.remark.unwrap_or_default())
    };
    let (code, words) = refused("topic", "pop_that_is_not_there");
    assert_eq!(code, response::TOPIC_NOT_EXIST);
    assert!(words.starts_with("topic[pop_that_is_not_there] not exist, apply first"), "{words}");
    let (code, words) = refused("queueId", "1");
    assert_eq!(code, response::INVALID_PARAMETER);
    assert!(words.starts_with("queueId[1] is illegal, topic:[pop_refusals]"), "{words}");
    let too_many = "the broker[127.0.0.1] pop message's num is greater than 32".to_owned();
    assert_eq!(refused("maxMsgNums", "33"), (response::INVALID_PARAMETER, too_many));
    let long_ago = (now_ms() - 5_000).to_string();
    let late = "the broker[127.0.0.1] pop message is timeout too much".to_owned();
    assert_eq!(refused("bornTime", &long_ago), (response::POLLING_TIMEOUT, late));

    let message = popper.pop(LONG_MS).messages.remove(0);
    let mut ack = |name: &str, value: &str, change: bool| {
        let mut request = match change {
            true => popper.change_request(&message, LONG_MS),
            false => popper.ack_request(&message),
        };
        request.ext.insert(name.to_owned(), value.to_owned());
        let answer = popper.conn.call(request);
        (answer.code, answer.remark.unwrap_or_default())
    };
    assert_eq!(ack("topic", "pop_that_is_not_there", false).0, response::TOPIC_NOT_EXIST);
    assert_eq!(ack("queueId", "1", false).0, response::MESSAGE_ILLEGAL);
    let words = "offset is illegal, key:pop_refusals@0, commit:2, store:0~1".to_owned();
    assert_eq!(ack("offset", "2", false), (response::NO_MESSAGE, words));
    assert_eq!(ack("offset", "1", false).0, response::SUCCESS, "one more than there is");
    assert_eq!(ack("extraInfo", "none", false).0, response::SYSTEM_ERROR);
    assert_eq!(ack("offset", "1", true).0, response::NO_MESSAGE);
    assert_eq!(ack("queueId", "-1", true).0, response::MESSAGE_ILLEGAL);
}

#[test]
fn a_peek_takes_nothing() {
    let mut popper = Popper::create(server(), "peek", 1);
    popper.send_all(&["a", "b"]);
    let mut peek = |max: &str| {
        let fields = [
            ("topic", popper.topic.as_str()),
            ("queueId", "-1"),
            ("maxMsgNums", max),
            ("consumerGroup", popper.group.as_str()),
        ];
        popper.conn.call(Command::request(code::PEEK_MESSAGE, &fields))
    };
    for max in ["1", "2"] {
        let answer = peek(max);
        assert_eq!((answer.code, answer.number("restNum")), (response::SUCCESS, 2), "{answer:?}");
        let count = oxmq_compat_tests::Record::decode_all(&answer.body).len();
        assert_eq!(count.to_string(), max);
    }
    assert_eq!(popper.pop(LONG_MS).bodies(), ["a", "b"]);
    let answer = {
        let fields = [
            ("topic", popper.topic.as_str()),
            ("queueId", "-1"),
            ("maxMsgNums", "2"),
            ("consumerGroup", popper.group.as_str()),
        ];
        popper.conn.call(Command::request(code::PEEK_MESSAGE, &fields))
    };
    assert_eq!(answer.code, response::PULL_NOT_FOUND, "{answer:?}");
}
