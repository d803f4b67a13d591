//! Half messages and what becomes of them: request by request, with the official clients, and over
//! a crash and a change of servers.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;
mod producer;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Client, ClientKind, Kind, Record, ServerUnderTest, Setup, wait};

use crate::producer::Producer;

const GROUP: &str = "transactions_group";
const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Transaction types in a decision.
const UNKNOWN: &str = "0";
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";
/// How long a question, or a message that was decided on, may take. The reference writes decisions
/// in batches every three seconds and begins its first round late.
const LIMIT: Duration = Duration::from_secs(40);
/// Questions before a message is given up.
const CHECK_MAX: &str = "3";
/// More than there are while a server stops and another one starts.
const PATIENT_CHECK_MAX: &str = "1000";

/// One server for the tests that do not stop it.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| setup(CHECK_MAX).start())
}

fn setup(check_max: &str) -> Setup {
    ServerUnderTest::setup()
        .broker_conf("transactionTimeOut", "1000")
        .broker_conf("transactionCheckInterval", "1000")
        .broker_conf("transactionCheckMax", check_max)
        .broker_conf("transactionOpBatchInterval", "300")
        .broker_conf("flushConsumerOffsetInterval", "100")
}

#[test]
fn a_committed_message_is_delivered_and_nobody_is_asked() {
    let mut producer = Producer::join(server(), "committed");
    let half = producer.half("body", "TAGS\u{1}t\u{2}");
    assert_eq!(producer.delivered().len(), 0);
    assert_eq!(producer.end(&half, COMMIT).code, response::SUCCESS);
    let message = producer.await_delivered(1).remove(0);
    assert_eq!((message.text(), message.sys_flag & 12, message.flag), ("body", 8, 0));
    assert_eq!(message.prepared_transaction_offset, half.commit_log_offset);
    for (name, value) in [
        ("TAGS", "t"),
        ("TRAN_MSG", "true"),
        ("PGROUP", producer.group.as_str()),
        ("__transactionId__", half.unique_key.as_str()),
    ] {
        assert_eq!(message.properties.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!message.properties.contains_key("REAL_TOPIC"));
    // The next one is asked about: the round has passed this one without a question.
    let other = producer.half("other", "");
    assert_eq!(producer.await_question().unique_key, other.unique_key);
    producer.end(&other, ROLLBACK);
}

#[test]
fn a_message_that_was_rolled_back_is_not_delivered_and_nobody_is_asked() {
    let mut producer = Producer::join(server(), "rolled_back");
    let half = producer.half("body", "");
    assert_eq!(producer.end(&half, ROLLBACK).code, response::SUCCESS);
    let other = producer.half("other", "");
    let question = producer.await_question();
    assert_eq!(question.unique_key, other.unique_key);
    assert_eq!(producer.answer(&question, COMMIT).code, response::SUCCESS);
    assert_eq!(producer.await_delivered(1)[0].text(), "other");
}

#[test]
fn a_producer_that_does_not_know_is_asked_and_commits() {
    let mut producer = Producer::join(server(), "unknown_commit");
    let half = producer.half("body", "");
    producer.end_oneway(&half, UNKNOWN);
    let question = producer.await_question();
    assert_eq!(question.unique_key, half.unique_key);
    assert_eq!(question.fields["topic"], HALF_TOPIC);
    assert_eq!(question.fields["msgId"], question.fields["transactionId"]);
    assert!(!question.fields["bname"].is_empty());
    assert!(question.offset > half.offset, "a copy stands for it");
    let message = &question.message;
    assert_eq!((message.topic.as_str(), message.queue_id), (producer.topic.as_str(), 0));
    assert_eq!((message.text(), &*message.properties["TRANSACTION_CHECK_TIMES"]), ("body", "1"));
    assert_eq!(producer.delivered().len(), 0);
    assert_eq!(producer.answer(&question, COMMIT).code, response::SUCCESS);
    let message = producer.await_delivered(1).remove(0);
    assert_eq!(message.prepared_transaction_offset, question.commit_log_offset);
}

#[test]
fn a_producer_that_does_not_know_is_asked_and_rolls_back() {
    let mut producer = Producer::join(server(), "unknown_rollback");
    let half = producer.half("body", "");
    producer.end_oneway(&half, UNKNOWN);
    let question = producer.await_question();
    assert_eq!(producer.answer(&question, ROLLBACK).code, response::SUCCESS);
    let other = producer.half("other", "");
    assert_eq!(producer.await_question().unique_key, other.unique_key);
    producer.end(&other, COMMIT);
    assert_eq!(producer.await_delivered(1)[0].text(), "other");
}

#[test]
fn a_message_that_nobody_decides_is_given_up_and_can_be_resumed() {
    let mut producer = Producer::join(server(), "given_up");
    let half = producer.half("body", "");
    for times in ["1", "2", "3"] {
        let question = producer.await_question();
        assert_eq!(question.unique_key, half.unique_key);
        assert_eq!(question.message.properties["TRANSACTION_CHECK_TIMES"], times);
    }
    let mut conn = Conn::connect(&server().broker_addr());
    let given_up = wait::until("a message that is given up", LIMIT, || {
        ops::wait_for_max_offset(&mut conn, GIVEN_UP_TOPIC, 0, 1);
        let records = ops::walk_queue(&mut conn, GROUP, GIVEN_UP_TOPIC, 0, 0);
        records.into_iter().find(|record| record.properties["UNIQ_KEY"] == half.unique_key)
    });
    let resume = Command::request(
        code::RESUME_CHECK_HALF_MESSAGE,
        &[("topic", GIVEN_UP_TOPIC), ("msgId", &offset_id(&given_up))],
    );
    assert_eq!(conn.call(resume).code, response::SUCCESS);
    let question = producer.await_question();
    assert_eq!(question.message.properties["TRANSACTION_CHECK_TIMES"], "1");
    assert_eq!(producer.answer(&question, COMMIT).code, response::SUCCESS);
    assert_eq!(producer.await_delivered(1)[0].text(), "body");
}

#[test]
fn a_sibling_is_asked_when_the_producer_is_gone() {
    let mut gone = Producer::join(server(), "siblings");
    let half = gone.half("body", "");
    let mut sibling = Producer::join_as(server(), "siblings", "sibling");
    drop(gone);
    let question = sibling.await_question();
    assert_eq!(question.unique_key, half.unique_key);
    assert_eq!(sibling.answer(&question, COMMIT).code, response::SUCCESS);
    assert_eq!(sibling.await_delivered(1)[0].text(), "body");
}

#[test]
fn a_decision_that_names_another_message_is_refused() {
    let mut producer = Producer::join(server(), "refused");
    let half = producer.half("body", "");
    for (field, value, remark) in [
        ("producerGroup", "another".to_owned(), "The producer group wrong"),
        (
            "tranStateTableOffset",
            (half.offset + 1).to_string(),
            "The transaction state table offset wrong",
        ),
        ("commitLogOffset", (1i64 << 40).to_string(), "Find prepared transaction message failed"),
    ] {
        let mut request = producer.decision(&half, COMMIT);
        request.ext.insert(field.to_owned(), value);
        let answer = producer.conn.call(request);
        assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
    }
    assert_eq!(producer.end(&half, COMMIT).code, response::SUCCESS);
    assert_eq!(producer.await_delivered(1).len(), 1);
}

#[test]
fn a_message_may_say_how_long_its_producer_has() {
    let mut producer = Producer::join(server(), "patient");
    let half = producer.half("body", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}");
    let question = producer.await_question();
    assert_eq!(question.unique_key, half.unique_key);
    let late = producer.end(&half, COMMIT);
    assert_eq!(late.code, response::ILLEGAL_OPERATION);
    assert_eq!(producer.answer(&question, COMMIT).code, response::SUCCESS);
    assert_eq!(producer.await_delivered(1)[0].text(), "body");
}

#[test]
fn decisions_outlive_kill_9_and_what_is_undecided_is_asked_about() {
    let mut server = setup(PATIENT_CHECK_MAX).start();
    let mut producer = Producer::join(&server, "killed");
    let known = producer.half("known", "");
    let unknown = producer.half("unknown", "");
    let done = producer.half("done", "");
    assert_eq!(producer.end(&done, COMMIT).code, response::SUCCESS);
    producer.await_delivered(1);
    server.kill9();
    server.restart();

    let mut producer = Producer::join_as(&server, "killed", "again");
    assert_eq!(producer.end(&known, COMMIT).code, response::SUCCESS);
    let mut asked = std::collections::BTreeSet::new();
    while !asked.contains(&unknown.unique_key) {
        let question = producer.await_question();
        // The reference forgets decisions of its last moments.
        let is_new = asked.insert(question.unique_key.clone());
        assert!(is_new, "{question:?}");
        let decision = if question.unique_key == unknown.unique_key { COMMIT } else { ROLLBACK };
        assert_eq!(producer.answer(&question, decision).code, response::SUCCESS);
    }
    if server.kind() == Kind::Ours {
        assert_eq!(asked.len(), 1, "{asked:?}");
    }
    let mut bodies: Vec<String> =
        producer.await_delivered(3).iter().map(|message| message.text().to_owned()).collect();
    bodies.sort();
    assert_eq!(bodies, ["done", "known", "unknown"]);
}

#[test]
fn ours_takes_over_half_messages_of_the_reference() {
    takeover(Kind::Reference, Kind::under_test());
}

#[test]
fn the_reference_takes_over_half_messages_of_ours() {
    takeover(Kind::under_test(), Kind::Reference);
}

/// Half messages that were never asked about, that were, and that are decided, change hands.
fn takeover(first: Kind, second: Kind) {
    let store = tempfile::tempdir().unwrap();
    let start = |kind, store: &Path| setup(PATIENT_CHECK_MAX).kind(kind).store(store).start();
    let mut server = start(first, store.path());
    let mut producer = Producer::join(&server, "moved");
    let asked = producer.half("asked", "");
    assert_eq!(producer.await_question().unique_key, asked.unique_key);
    // The first decision may take the reference so long that it asks meanwhile, which leaves a copy.
    let slow = producer.half("slow", "");
    producer.end(&slow, ROLLBACK);
    for (body, decision) in [("kept", COMMIT), ("dropped", ROLLBACK)] {
        let half = producer.half(body, "");
        producer.end(&half, decision);
    }
    let open = producer.half("open", "");
    producer.await_delivered(1);
    server.stop();
    drop(server);

    let server = start(second, store.path());
    let mut producer = Producer::join_as(&server, "moved", "again");
    let mut waiting = vec![asked.unique_key, open.unique_key];
    let mut answered = Vec::new();
    while !waiting.is_empty() {
        let question = producer.await_question();
        if question.unique_key == slow.unique_key {
            producer.answer(&question, ROLLBACK);
            continue;
        }
        let Some(at) = waiting.iter().position(|key| *key == question.unique_key) else {
            // The reference asks once more when its round comes before its note of the answer.
            let is_again = second == Kind::Reference && answered.contains(&question.unique_key);
            assert!(is_again, "{question:?}");
            continue;
        };
        answered.push(waiting.remove(at));
        assert_eq!(producer.answer(&question, COMMIT).code, response::SUCCESS);
    }
    let mut bodies: Vec<String> =
        producer.await_delivered(3).iter().map(|message| message.text().to_owned()).collect();
    bodies.sort();
    assert_eq!(bodies, ["asked", "kept", "open"]);
}

#[test]
fn java_5_5_0_ends_its_transactions() {
    client_ends_its_transactions(ClientKind::Java550, "java550");
}

#[test]
fn java_4_9_8_ends_its_transactions() {
    client_ends_its_transactions(ClientKind::Java498, "java498");
}

#[test]
fn go_ends_its_transactions() {
    client_ends_its_transactions(ClientKind::Go, "go");
}

/// Every fourth message is committed, rolled back, committed when asked, rolled back when asked.
fn client_ends_its_transactions(kind: ClientKind, name: &str) {
    const COUNT: usize = 40;
    let topic = format!("transactions_{name}");
    ops::create_topic(server(), &topic, 4);
    let mut client = Client::start(kind, server());
    let count = COUNT.to_string();
    let group = format!("{topic}_producers");
    let args = [("topic", &*topic), ("group", &*group), ("prefix", name), ("count", &*count)];
    let result = client.run("transact", &args);
    assert_eq!(result["failed"].as_array().map(Vec::len), Some(0), "{result}");
    client.consume("consumer", &topic, &format!("{topic}_group"));
    let received = client.await_received("consumer", COUNT / 2);
    let mut indexes: Vec<usize> = received
        .iter()
        .map(|message| oxmq_compat_tests::client::index_of(name, &message.body))
        .collect();
    indexes.sort_unstable();
    let expected: Vec<usize> = (0..COUNT).filter(|index| index % 2 == 0).collect();
    assert_eq!(indexes, expected);
}

/// The id of a message that says where in the log it lies.
fn offset_id(record: &Record) -> String {
    let host: String = record.store_host.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{host}{:016X}", record.phy_offset)
}
