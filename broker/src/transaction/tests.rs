//! The service as a whole, on a store of its own.

use std::path::Path;
use std::sync::Arc;

use oxmq_protocol::body::TopicConfig;
use oxmq_protocol::header::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader, Header as _,
};
use oxmq_protocol::message::{Message, MessageExt};
use oxmq_store::{MessageStore, PutMessageResult};

use super::testing::{Asked, open};
use super::*;
use crate::again::Aside;
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::schedule::ScheduleMessageService;
use crate::tables::Tables;
use crate::topic_validator::TRANS_CHECK_MAX_TIME_TOPIC;

/// Later than any half message of the test is young.
const LATER_MS: i64 = 10_000;

struct Setup {
    service: TransactionService,
    asked: Arc<Asked>,
    store: Arc<MessageStore>,
    offsets: Arc<ConsumerOffsetManager>,
    topics: Arc<TopicConfigManager>,
}

fn setup(dir: &Path, change: impl FnOnce(&mut BrokerConfig)) -> Setup {
    let mut config = BrokerConfig::default();
    config.broker_name = "b".to_owned();
    change(&mut config);
    let config = Arc::new(config);
    let store = open(dir);
    let tables = Tables::load(&config, dir, false).unwrap();
    let asked = Arc::new(Asked::default());
    let service = TransactionService::load(
        config,
        Arc::clone(&store),
        &tables,
        Delays {
            schedule: Arc::new(ScheduleMessageService::load(Arc::clone(&store), dir).unwrap()),
            timers: None,
        },
        Arc::clone(&asked) as Arc<dyn AskProducer>,
        ([192, 0, 2, 2], 10911).into(),
    );
    Setup { service, asked, store, offsets: tables.offsets, topics: tables.topics }
}

impl Setup {
    /// Stores a half message as a send does.
    fn half(&self, key: &str, more: &str) -> PutMessageResult {
        self.half_born_at(now_ms(), key, more)
    }

    fn half_born_at(&self, born_timestamp_ms: i64, key: &str, more: &str) -> PutMessageResult {
        let text = format!("UNIQ_KEY\u{1}{key}\u{2}PGROUP\u{1}g\u{2}TRAN_MSG\u{1}true\u{2}{more}");
        let mut text = text.into_bytes();
        let (topic, queue_id) = TransactionService::divert("t", 3, &mut text);
        let result = self.store.put_message(&Message {
            flag: 7,
            sys_flag: TransactionService::half_sys_flag(4),
            born_timestamp_ms,
            properties: &text,
            ..Message::new(topic, queue_id, key.as_bytes())
        });
        assert!(result.status.is_stored());
        self.service.stored_half("t");
        result
    }

    fn end(&self, half: &PutMessageResult, decision: Decision) -> Result<bool, RequestError> {
        self.end_as(half, decision, |_| ())
    }

    fn end_as(
        &self,
        half: &PutMessageResult,
        decision: Decision,
        change: impl FnOnce(&mut EndTransactionRequestHeader),
    ) -> Result<bool, RequestError> {
        let mut header = EndTransactionRequestHeader {
            topic: None,
            producer_group: "g".to_owned(),
            tran_state_table_offset: half.queue_offset,
            commit_log_offset: half.phy_offset,
            commit_or_rollback: 0,
            from_transaction_check: false,
            msg_id: None,
            transaction_id: None,
        };
        change(&mut header);
        self.service.end(&header, decision, now_ms()).map(|stored| stored.is_some())
    }

    /// Decides on what the broker has asked about.
    fn answer(&self, question: &RemotingCommand, decision: Decision) -> Result<bool, RequestError> {
        let question = CheckTransactionStateRequestHeader::decode(&question.ext_fields).unwrap();
        let half = PutMessageResult {
            queue_offset: question.tran_state_table_offset,
            phy_offset: question.commit_log_offset,
            ..PutMessageResult::refused(oxmq_store::PutMessageStatus::PutOk)
        };
        self.end_as(&half, decision, |header| header.from_transaction_check = true)
    }

    fn check(&self) {
        self.service.check(now_ms() + LATER_MS);
    }

    fn messages(&self, topic: &str, queue_id: i32) -> Vec<MessageExt> {
        let mut messages = Vec::new();
        Aside { store: &self.store, topic, queue_id }.walk(0, |record| {
            messages.push(MessageExt::decode(record.bytes()).unwrap());
            true
        });
        messages
    }

    fn delivered(&self) -> Vec<String> {
        let messages = self.messages("t", 3).into_iter();
        messages.map(|message| String::from_utf8(message.body).unwrap()).collect()
    }

    /// Offsets that are saved, after the log has been written.
    fn progress(&self) -> [Option<i64>; 2] {
        let end = self.store.max_phy_offset();
        while self.store.flushed_phy_offset() < end {
            std::thread::yield_now();
        }
        self.service.tick();
        [TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC].map(|topic| self.offsets.query(GROUP, topic, 0))
    }
}

#[test]
fn committed_message_is_the_one_that_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let half = setup.half("k", "");
    assert_eq!(half.queue_offset, 0);
    assert!(setup.delivered().is_empty());
    assert!(setup.end(&half, Decision::Commit).unwrap());
    let message = &setup.messages("t", 3)[0];
    assert_eq!((message.sys_flag, message.flag, message.body.as_slice()), (8, 7, &b"k"[..]));
    assert_eq!(message.prepared_transaction_offset, half.phy_offset);
    for (name, value) in [("TRAN_MSG", "true"), ("__transactionId__", "k")] {
        assert_eq!(message.property(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(message.property("REAL_TOPIC"), None);
    setup.check();
    assert!(setup.asked.take().is_empty());
    assert_eq!(setup.progress(), [Some(1), Some(1)]);
    assert_eq!(setup.service.metrics().pending(), 0);
}

#[test]
fn message_counts_as_sent_to_its_topic_once_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let topic = TopicConfig { topic_name: "t".to_owned(), ..TopicConfig::default() };
    setup.topics.update(topic).unwrap();
    let sent = || setup.topics.get("t").unwrap().put.flow().messages;
    let (kept, dropped) = (setup.half("kept", ""), setup.half("dropped", ""));
    setup.end(&dropped, Decision::Rollback).unwrap();
    assert_eq!(sent(), 0);
    for _ in 0..2 {
        setup.end(&kept, Decision::Commit).unwrap();
        assert_eq!(sent(), 1);
    }
}

#[test]
fn first_decision_stands() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let (kept, dropped) = (setup.half("kept", ""), setup.half("dropped", ""));
    assert!(!setup.end(&dropped, Decision::Rollback).unwrap());
    for decision in [Decision::Commit, Decision::Commit, Decision::Rollback] {
        setup.end(&kept, decision).unwrap();
        setup.end(&dropped, decision).unwrap();
    }
    assert_eq!(setup.delivered(), ["kept"]);
}

#[test]
fn decision_that_names_another_message_is_refused_in_the_words_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let half = setup.half("k", "");
    let refused = |change: fn(&mut EndTransactionRequestHeader)| {
        let error = setup.end_as(&half, Decision::Commit, change).unwrap_err();
        (error.response_code().0, error.to_string())
    };
    assert_eq!(
        refused(|header| header.producer_group = "h".to_owned()),
        (1, "The producer group wrong".to_owned())
    );
    assert_eq!(
        refused(|header| header.tran_state_table_offset = 9),
        (1, "The transaction state table offset wrong".to_owned())
    );
    assert_eq!(
        refused(|header| header.commit_log_offset = 1 << 40),
        (1, "Find prepared transaction message failed".to_owned())
    );
    let late = setup.half("late", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}");
    let born = now_ms();
    while now_ms() <= born {
        std::thread::yield_now();
    }
    let error = setup.end(&late, Decision::Commit).unwrap_err();
    assert_eq!((error.response_code().0, error.to_string().as_str()), (604, ""));
    assert!(setup.delivered().is_empty());
}

#[test]
fn producer_is_asked_with_the_message_until_it_decides() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let half = setup.half("k", "");
    setup.service.check(now_ms() + 1_000);
    assert!(setup.asked.take().is_empty(), "it is young");
    setup.check();
    let (group, question) = setup.asked.take().remove(0);
    assert_eq!(group, "g");
    let header = CheckTransactionStateRequestHeader::decode(&question.ext_fields).unwrap();
    assert_eq!(header.topic.as_deref(), Some("RMQ_SYS_TRANS_HALF_TOPIC"));
    assert_eq!((header.tran_state_table_offset, header.msg_id.as_deref()), (1, Some("k")));
    let message = MessageExt::decode(&question.body).unwrap();
    assert_eq!((message.topic.as_str(), message.queue_id), ("t", 3));
    assert_eq!(message.property("TRANSACTION_CHECK_TIMES"), Some(&b"1"[..]));
    assert_eq!(setup.progress()[0], Some(1));

    // It does not know: it is asked again. Then the decision on the first copy arrives.
    setup.check();
    let (_, again) = setup.asked.take().remove(0);
    assert!(setup.end(&half, Decision::Commit).unwrap());
    assert!(!setup.answer(&again, Decision::Rollback).unwrap());
    setup.check();
    assert!(setup.asked.take().is_empty());
    assert_eq!(setup.delivered(), ["k"]);
}

#[test]
fn message_that_nobody_decides_is_given_up_and_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |config| config.transaction_check_max = 2);
    setup.half("k", "");
    for _ in 0..4 {
        setup.check();
    }
    assert_eq!(setup.asked.take().len(), 2);
    let given_up = setup.messages(TRANS_CHECK_MAX_TIME_TOPIC, 0);
    assert_eq!(given_up[0].property("TRANSACTION_CHECK_TIMES"), Some(&b"2"[..]));
    assert_eq!(setup.service.metrics().pending(), 0);

    assert_eq!(setup.service.resume(given_up[0].commit_log_offset), Some(true));
    setup.check();
    let (_, question) = setup.asked.take().remove(0);
    assert!(setup.answer(&question, Decision::Commit).unwrap());
    assert_eq!(setup.delivered(), ["k"]);
    assert_eq!(setup.service.resume(1 << 40), None);
}

#[test]
fn message_that_was_given_up_is_delivered_by_a_commit_that_comes_after_all() {
    let dir = tempfile::tempdir().unwrap();
    let change = |config: &mut BrokerConfig| config.transaction_check_max = 1;
    let before = setup(dir.path(), change);
    let (late, dropped) = (before.half("late", ""), before.half("dropped", ""));
    before.end(&dropped, Decision::Rollback).unwrap();
    for _ in 0..3 {
        before.check();
    }
    assert_eq!(before.messages(TRANS_CHECK_MAX_TIME_TOPIC, 0).len(), 1);
    before.service.close();
    before.store.close().unwrap();
    drop(before);

    let after = setup(dir.path(), change);
    for is_new in [true, false] {
        assert_eq!(after.end(&late, Decision::Commit).unwrap(), is_new);
        assert!(!after.end(&dropped, Decision::Commit).unwrap());
    }
    assert_eq!(after.delivered(), ["late"]);
    assert_eq!(after.service.metrics().pending(), 0);
}

#[test]
fn message_with_a_time_of_its_own_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let patient = setup.half("patient", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}60\u{2}");
    setup.half("other", "");
    setup.check();
    let asked = setup.asked.take();
    assert_eq!(asked.len(), 1);
    let message = MessageExt::decode(&asked[0].1.body).unwrap();
    assert_eq!(message.body, b"other");
    let copy = setup.messages(TRANS_HALF_TOPIC, 0).into_iter().find(|m| m.queue_offset == 2);
    assert_eq!(copy.unwrap().property("TRAN_PREPARED_QUEUE_OFFSET"), Some(&b"0"[..]));
    assert!(setup.end(&patient, Decision::Commit).unwrap());
    assert!(!setup.end(&patient, Decision::Commit).unwrap());
    setup.service.check(now_ms() + 61_000);
    assert_eq!(setup.asked.take().len(), 1, "the other one again");
    assert_eq!(setup.delivered(), ["patient"]);
}

#[test]
fn restart_knows_what_is_decided_and_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let before = setup(dir.path(), |_| ());
    let (one, two, three) = (before.half("1", ""), before.half("2", ""), before.half("3", ""));
    before.check();
    assert_eq!(before.asked.take().len(), 3);
    before.end(&two, Decision::Commit).unwrap();
    before.service.close();
    before.store.close().unwrap();
    drop(before);

    let after = setup(dir.path(), |_| ());
    for (half, is_new) in [(&one, true), (&two, false), (&three, true)] {
        assert_eq!(after.end(half, Decision::Commit).unwrap(), is_new);
    }
    after.check();
    assert!(after.asked.take().is_empty());
    assert_eq!(after.delivered(), ["2", "1", "3"]);
}

#[test]
fn stop_notes_by_itself_each_decision_behind_a_message_that_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let halves: Vec<_> = (0..5).map(|key| setup.half(&key.to_string(), "")).collect();
    for at in [0, 2, 3] {
        setup.end(&halves[at], Decision::Rollback).unwrap();
    }
    setup.service.close();
    setup.store.close().unwrap();
    setup.service.commit_last();
    let notes = setup.messages(TRANS_OP_HALF_TOPIC, 0);
    let bodies = notes.iter().map(|note| std::str::from_utf8(&note.body).unwrap());
    assert!(bodies.eq(["0,2,3,", "2", "3"]), "{notes:?}");
    assert_eq!(setup.progress(), [Some(1), Some(0)]);
}

#[test]
fn commit_is_known_after_a_crash_that_took_the_note_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let before = setup(dir.path(), |_| ());
    let (one, two) = (before.half("1", ""), before.half("2", ""));
    before.check();
    let questions = before.asked.take();
    before.answer(&questions[0].1, Decision::Commit).unwrap();
    // No batch has been written: this is how a killed process leaves it.
    assert!(before.messages(TRANS_OP_HALF_TOPIC, 0).is_empty());
    drop(before);

    let after = setup(dir.path(), |_| ());
    assert!(!after.end(&one, Decision::Commit).unwrap());
    after.check();
    let asked = after.asked.take();
    assert_eq!(asked.len(), 1);
    assert!(after.answer(&asked[0].1, Decision::Commit).unwrap());
    assert!(!after.end(&two, Decision::Commit).unwrap());
    assert_eq!(after.delivered(), ["1", "2"]);
}

#[test]
fn commit_whose_note_is_missing_is_known_though_others_were_noted_since() {
    let dir = tempfile::tempdir().unwrap();
    let before = setup(dir.path(), |config| config.transaction_op_msg_max_size = 1);
    let halves: Vec<_> = (0..5).map(|key| before.half(&key.to_string(), "")).collect();
    // The thread that stored it has not come to note it.
    let committed = before.store.put_message(&Message {
        sys_flag: oxmq_protocol::message::sys_flag::TRANSACTION_COMMIT,
        properties: b"UNIQ_KEY\x010\x02",
        ..Message::new("t", 3, b"0")
    });
    assert!(committed.status.is_stored());
    for half in &halves[1..] {
        before.end(half, Decision::Commit).unwrap();
    }
    assert_eq!(before.messages(TRANS_OP_HALF_TOPIC, 0).len(), 4);
    drop(before);

    let after = setup(dir.path(), |_| ());
    assert!(!after.end(&halves[0], Decision::Commit).unwrap());
    assert_eq!(after.delivered(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn note_of_a_decision_on_what_is_to_come_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let before = setup(dir.path(), |_| ());
    let (one, two) = (before.half("1", ""), before.half("2", ""));
    let noted = before.store.put_message(&Message {
        properties: b"TAGS\x01d\x02",
        ..Message::new(TRANS_OP_HALF_TOPIC, 0, b"0,2,9223372036854775807,")
    });
    assert!(noted.status.is_stored());
    drop(before);

    let after = setup(dir.path(), |_| ());
    let three = after.half("3", "");
    for (half, is_new) in [(&one, false), (&two, true), (&three, true)] {
        assert_eq!(after.end(half, Decision::Commit).unwrap(), is_new);
    }
}

#[test]
fn message_of_an_absurd_time_is_asked_about_like_another() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    let half = setup.half_born_at(i64::MIN, "k", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}60\u{2}");
    setup.half_born_at(i64::MIN, "other", "");
    setup.check();
    assert_eq!(setup.asked.take().len(), 1);
    assert!(setup.service.metrics().facts().iter().all(|(_, count)| *count >= 0));
    assert!(setup.end(&half, Decision::Commit).unwrap());
    assert_eq!(setup.delivered(), ["k"]);
}

#[test]
fn groups_that_nobody_can_be_asked_of_are_named_once_a_round() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), |_| ());
    setup.asked.leave();
    let halves: Vec<_> = (0..3).map(|key| setup.half(&key.to_string(), "")).collect();
    setup.end(&halves[1], Decision::Rollback).unwrap();
    let unasked = setup.service.check_round(now_ms() + LATER_MS);
    assert_eq!(unasked.0, [("g".into(), 2)].into());
}
