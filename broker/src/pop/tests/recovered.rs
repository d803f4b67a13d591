//! What pops give out after a crash.

use std::thread;
use std::time::Duration;

use oxmq_protocol::body::PopCheckPoint;
use oxmq_protocol::message::properties;

use super::*;
use crate::again::Aside;

/// By how much the clock of files may be behind.
const FILE_CLOCK_MS: i64 = 20;

impl Setup {
    /// Saves the offsets, so that everything from now on is later than that.
    fn save(&self) {
        wait_a_little();
        self.pop.offsets.save_if_changed().unwrap();
        wait_a_little();
    }

    /// A broker that goes on after this one has crashed.
    fn crash(self) -> Self {
        let Self { pop, dir } = self;
        drop(pop);
        Self::reopen(dir)
    }

    fn reopen(dir: tempfile::TempDir) -> Self {
        // What is to be tried again comes last.
        let pop = open(dir.path(), |config| config.pop_from_retry_probability = 0);
        pop.recover();
        Self { pop, dir }
    }

    fn three_are_given_out() -> Self {
        let setup = setup(|_| ());
        setup.send(&["one", "two", "three"]);
        assert_eq!(setup.bodies(LONG_MS).len(), 3);
        setup
    }

    fn send_with_key(&self, key: &str) {
        let text = format!("UNIQ_KEY\u{1}{key}\u{2}");
        let message = Message { properties: text.as_bytes(), ..Message::new("t", 0, b"x") };
        assert!(self.pop.store.put_message(&message).status.is_stored());
    }

    /// What was stored under the retry topic: each key, and how often it was given out before.
    fn stored_again(&self) -> Vec<String> {
        let mut keys = Vec::new();
        Aside { store: &self.pop.store, topic: "%RETRY%g_t", queue_id: 0 }.walk(0, |record| {
            let key = properties::property_str(record.properties(), properties::UNIQ_KEY);
            keys.push(format!("{}{}", key.unwrap(), record.reconsume_times()));
            true
        });
        keys.sort();
        keys
    }

    /// What a tool does that has the group begin once more.
    fn begin_once_more(&self) {
        self.pop.offsets.commit("g", "t", 0, 0);
    }
}

fn wait_a_little() {
    let began_ms = now_ms();
    while now_ms() < began_ms + FILE_CLOCK_MS {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_given_out_after_the_last_save_is_not_given_out_twice() {
    let setup = setup(|_| ());
    setup.send(&["one"]);
    assert_eq!(setup.bodies(LONG_MS), ["one"]);
    setup.save();
    setup.send(&["two", "three"]);
    assert_eq!(setup.bodies(LONG_MS), ["two", "three"]);
    setup.send(&["four"]);
    assert_eq!(setup.bodies(LONG_MS), ["four"]);
    let setup = setup.crash();
    assert_eq!(setup.committed(), Some(4));
    setup.send(&["five"]);
    assert_eq!(setup.bodies(LONG_MS), ["five"]);
}

#[test]
fn saved_offsets_count_after_a_stop() {
    let setup = Setup::three_are_given_out();
    setup.begin_once_more();
    setup.save();
    assert_eq!(setup.bodies(LONG_MS).len(), 3);
    setup.pop.store.close().unwrap();
    // As if the operator had put an older file back.
    let setup = setup.crash();
    assert_eq!(setup.bodies(LONG_MS), ["one", "two", "three"]);
}

#[test]
fn old_message_whose_time_was_changed_moves_nobody_on() {
    let setup = setup(|_| ());
    setup.send(&["one", "two", "three"]);
    let catch = setup.catch(LONG_MS);
    setup.begin_once_more();
    setup.save();
    let given = given(&catch, LONG_MS);
    setup.pop.change_invisible_time(&given, 2, LONG_MS, false).unwrap();
    let setup = setup.crash();
    assert_eq!(setup.bodies(LONG_MS), ["one", "two", "three"]);
}

#[test]
fn note_on_messages_of_a_topic_that_is_gone_moves_nobody_on() {
    let setup = setup(|_| ());
    setup.begin_once_more();
    setup.save();
    let mut point = PopCheckPoint {
        consumer_group: "g".to_owned(),
        invisible_time: LONG_MS,
        num: 3,
        pop_time: now_ms(),
        topic: "t".to_owned(),
        ..PopCheckPoint::default()
    };
    setup.pop.journal.put_check_point(&mut point, 0).unwrap();
    setup.send(&["one", "two", "three"]);
    let setup = setup.crash();
    assert_eq!(setup.bodies(LONG_MS), ["one", "two", "three"]);
}

#[test]
fn what_was_stored_again_after_the_last_save_is_not_stored_again_twice() {
    stored_again_once(|setup, revive| {
        setup.save();
        revive();
    });
}

#[test]
fn what_was_stored_again_before_the_last_save_and_not_counted_as_that_is_not_stored_again_twice() {
    stored_again_once(|setup, revive| {
        revive();
        setup.save();
    });
}

/// `crash_at` has what is due stored again.
fn stored_again_once(crash_at: impl FnOnce(&Setup, &dyn Fn())) {
    let setup = setup(|_| ());
    // A producer that has sent one of them twice.
    ["a", "b", "b", "c"].iter().for_each(|key| setup.send_with_key(key));
    assert_eq!(setup.bodies(OVER_MS).len(), 4);
    crash_at(&setup, &|| Reviver::new(&setup.pop).round(now_ms()));
    // One more, which has not been stored again yet.
    setup.send_with_key("b");
    let mut point = PopCheckPoint {
        consumer_group: "g".to_owned(),
        queue_offset_diff: Some(vec![0]),
        num: 1,
        pop_time: now_ms() + OVER_MS,
        start_offset: 4,
        topic: "t".to_owned(),
        ..PopCheckPoint::default()
    };
    setup.pop.journal.put_check_point(&mut point, 0).unwrap();
    let setup = setup.crash();
    let mut reviver = Reviver::new(&setup.pop);
    for _ in 0..2 {
        reviver.round(now_ms());
        assert_eq!(setup.stored_again(), ["a1", "b1", "b1", "b1", "c1"]);
    }
}

#[test]
fn what_was_stored_again_before_a_crash_is_stored_again_when_it_is_given_out_once_more() {
    let setup = setup(|_| ());
    setup.save();
    setup.send_with_key("done");
    assert_eq!(setup.bodies(OVER_MS).len(), 1);
    setup.send_with_key("open");
    // Its check point has come in and is not ripe: what is stored again from now on is looked for after a crash.
    let not_ripe_ms = now_ms();
    assert_eq!(setup.bodies(500).len(), 1);
    Reviver::new(&setup.pop).round(not_ripe_ms);
    assert_eq!(setup.stored_again(), ["done1"]);
    setup.pop.offsets.commit("CID_RMQ_SYS_REVIVE_GROUP", setup.pop.journal.topic(), 0, 0);
    setup.save();
    let setup = setup.crash();
    let mut reviver = Reviver::new(&setup.pop);
    setup.begin_once_more();
    assert_eq!(setup.pop.pop(&from_its_topic(), true).unwrap().count, 2);
    reviver.round(now_ms() + 2_000);
    assert_eq!(setup.stored_again(), ["done1", "done1", "open1", "open1"]);
}

/// Is full with what is in the topic.
fn from_its_topic() -> PopRequest {
    PopRequest { max_messages: 2, ..request(OVER_MS) }
}
