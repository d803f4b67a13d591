//! Pop consumption: messages are given out for a while, given back, and come again when they are not.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

/// Has scenarios run with all ways to keep what is popped.
macro_rules! with_all_books {
    ($($name:ident),+ $(,)?) => {
        mod in_the_revive_topic {
            $(#[test]
            fn $name() {
                super::$name(crate::Books::ReviveTopic);
            })+
        }
        mod in_the_kv_store {
            $(#[test]
            fn $name() {
                super::$name(crate::Books::KvStore);
            })+
        }
    };
}

mod batches;
mod clients;
mod export;
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

/// What `mqadmin exportPopRecord` sends.
const POP_ROLLBACK: i32 = 200_056;
/// Long enough that nothing comes back within a test.
const LONG_MS: i64 = 120_000;
/// Messages that are not given back come again after this.
const SHORT_MS: i64 = 3_000;

/// Where a broker says that it keeps what is popped. Ours has it in the revive topic all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Books {
    ReviveTopic,
    /// A database of RocksDB.
    KvStore,
}

impl Books {
    /// The topic of a message that comes again, as it is given out.
    fn topic_of_retried(self, popper: &Popper) -> String {
        match self {
            Self::ReviveTopic => popper.topic.clone(),
            Self::KvStore => popper.retry_topic(),
        }
    }
}

/// One server for the tests that do not stop it.
fn server(books: Books) -> &'static ServerUnderTest {
    static SERVERS: [OnceLock<ServerUnderTest>; 2] = [const { OnceLock::new() }; 2];
    SERVERS[books as usize].get_or_init(|| setup(books).start())
}

fn setup(books: Books) -> Setup {
    let setup = ServerUnderTest::setup()
        .broker_conf("flushConsumerOffsetInterval", "100")
        .broker_conf("initPopOffsetByCheckMsgInMem", "false")
        .broker_conf("enablePropertyFilter", "true");
    match books {
        Books::ReviveTopic => setup,
        Books::KvStore => setup
            .broker_conf("popConsumerKVServiceInit", "true")
            .broker_conf("popConsumerKVServiceEnable", "true"),
    }
}

with_all_books! {
    a_new_group_begins_at_the_first_message_or_at_the_last,
    answers_say_where_each_message_is_from,
    a_pop_takes_as_many_as_it_asks_for_and_says_how_many_are_left,
    what_is_acknowledged_stays_away_and_the_rest_comes_back,
    a_message_comes_back_until_it_is_done_and_counts_it,
    a_batch_of_acknowledgements_counts_for_each,
    a_changed_time_counts_instead_of_the_first,
    a_suspended_message_comes_again_as_if_it_had_not_been_given_out,
    filters_pass_over_what_is_for_others,
    a_consumer_that_gives_up_sends_to_the_dead_letters,
    refusals_have_the_codes_and_words_of_the_reference,
    a_peek_takes_nothing,
}

fn a_new_group_begins_at_the_first_message_or_at_the_last(books: Books) {
    let mut first = Popper::create(server(books), "init", 1);
    first.send_all(&["a", "b", "c"]);
    let mut last = first.again(server(books)).with("initMode", "1");
    last.group.push_str("_last");
    assert_eq!(first.pop(LONG_MS).bodies(), ["a", "b", "c"]);
    assert_eq!(last.pop(LONG_MS).bodies(), ["c"]);
    first.send(0, "", "d");
    assert_eq!(first.pop(LONG_MS).bodies(), ["d"]);
    assert_eq!(last.pop(LONG_MS).bodies(), ["d"]);
}

fn answers_say_where_each_message_is_from(books: Books) {
    let mut popper = Popper::create(server(books), "answers", 2);
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

fn a_pop_takes_as_many_as_it_asks_for_and_says_how_many_are_left(books: Books) {
    let mut popper = Popper::create(server(books), "limits", 1).with("maxMsgNums", "2");
    popper.send_all(&["a", "b", "c", "d", "e"]);
    let answer = popper.pop(LONG_MS);
    assert_eq!(answer.bodies(), ["a", "b"]);
    assert_eq!(answer.command.number("restNum"), 3);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["c", "d"]);
    assert_eq!(popper.pop(LONG_MS).bodies(), ["e"]);
    // In the KV store it shows only now that the last of them was given out.
    assert!(popper.pop(LONG_MS).messages.is_empty());
    let mut conn = Conn::connect(&server(books).broker_addr());
    wait::until("the committed offset", REVIVE_LIMIT, || {
        let committed = ops::committed_offset(&mut conn, &popper.group, &popper.topic, 0);
        (committed == Some(5)).then_some(())
    });
}

fn what_is_acknowledged_stays_away_and_the_rest_comes_back(books: Books) {
    let mut popper = Popper::create(server(books), "acks", 1);
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
        let topic = books.topic_of_retried(&popper);
        assert_eq!((record.reconsume_times, &record.topic), (1, &topic));
        assert_eq!(record.properties["1ST_POP_TIME"], pop_time.to_string());
        assert_eq!(record.properties["ORIGIN_GROUP"], popper.group);
        assert!(record.store_timestamp_ms >= pop_time + SHORT_MS, "{record:?}");
        assert_eq!(message.topic, popper.retry_topic());
    }
    again.iter().for_each(|message| popper.ack(message));
    let retry_topic = popper.retry_topic();
    assert_eq!(ops::max_offset(&mut popper.conn, &retry_topic, 0), 2);
}

fn a_message_comes_back_until_it_is_done_and_counts_it(books: Books) {
    let mut popper = Popper::create(server(books), "again", 1);
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

fn a_batch_of_acknowledgements_counts_for_each(books: Books) {
    let mut popper = Popper::create(server(books), "batch", 1);
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

fn a_changed_time_counts_instead_of_the_first(books: Books) {
    let mut popper = Popper::create(server(books), "change", 1);
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

fn a_suspended_message_comes_again_as_if_it_had_not_been_given_out(books: Books) {
    let mut popper = Popper::create(server(books), "suspend", 1);
    popper.send_all(&["suspended", "changed"]);
    let given = popper.pop(LONG_MS).messages;
    popper.change(&given[1], 1_000);
    let mut request = popper.change_request(&given[0], 1_000);
    request.ext.insert("suspend".to_owned(), "true".to_owned());
    let answer = popper.conn.call(request);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let mut again = popper.await_messages(LONG_MS, 2);
    again.sort_by_key(|message| message.record.reconsume_times);
    let times =
        |message: &Popped| (message.record.text().to_owned(), message.record.reconsume_times);
    assert_eq!(times(&again[0]), ("suspended".to_owned(), 0));
    assert_eq!(times(&again[1]), ("changed".to_owned(), 1));
}

fn filters_pass_over_what_is_for_others(books: Books) {
    let mut popper = Popper::create(server(books), "filters", 1).with("exp", "TagA || TagC");
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

    let mut sql = popper.again(server(books)).with("expType", "SQL92").with("exp", "price > 3");
    sql.group.push_str("_sql");
    assert_eq!(sql.pop(LONG_MS).bodies(), ["TagB 4", "TagB 5"]);
    sql.set("exp", "price >");
    let refused = sql.pop(LONG_MS).command;
    assert_eq!(refused.code, response::SUBSCRIPTION_PARSE_FAILED);
    assert_eq!(refused.remark.as_deref(), Some("parse the consumer's subscription failed"));
}

fn a_consumer_that_gives_up_sends_to_the_dead_letters(books: Books) {
    let mut popper = Popper::create(server(books), "dead", 1);
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

fn refusals_have_the_codes_and_words_of_the_reference(books: Books) {
    let mut popper = Popper::create(server(books), "refusals", 1);
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

fn a_peek_takes_nothing(books: Books) {
    let mut popper = Popper::create(server(books), "peek", 1);
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
    // In the KV store it shows only now that they were given out.
    assert!(popper.pop(LONG_MS).messages.is_empty());
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
