//! The service as a whole, on a store of its own.

mod flush;
mod held;
mod lite;
mod peers;
mod recovered;

use std::path::Path;
use std::sync::atomic::AtomicU32;

use oxmq_protocol::body::SubscriptionGroupConfig;
use oxmq_protocol::message::{Message, MessageExt, ReceiptHandle};
use oxmq_store::{MessageStore, StoreConfig};

use super::held::PopRequest;
use super::revive::testing::Reviver;
use super::*;
use crate::delays::Delays;
use crate::error::RequestError;
use crate::schedule::ScheduleMessageService;
use crate::tables::Tables;
use crate::timer::TimerService;
use crate::topic::TopicConfig;

/// Popped for a time that has been over for long.
const OVER_MS: i64 = -60_000;
/// Popped for long.
const LONG_MS: i64 = 600_000;

struct Setup {
    pop: Arc<PopService>,
    dir: tempfile::TempDir,
}

fn setup(change: impl FnOnce(&mut BrokerConfig)) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let pop = open(dir.path(), change);
    with_topic_and_group(pop, dir)
}

fn with_topic_and_group(pop: Arc<PopService>, dir: tempfile::TempDir) -> Setup {
    pop.topics.update(TopicConfig { read_queue_nums: 1, ..TopicConfig::new("t") }).unwrap();
    pop.groups.update(SubscriptionGroupConfig::new("g")).unwrap();
    Setup { pop, dir }
}

fn open(dir: &Path, change: impl FnOnce(&mut BrokerConfig)) -> Arc<PopService> {
    let store_config =
        StoreConfig { mapped_file_size_commit_log: 1 << 20, ..StoreConfig::in_dir(dir) };
    open_on(MessageStore::open(store_config).unwrap(), dir, change)
}

fn open_on(
    store: Arc<MessageStore>,
    dir: &Path,
    change: impl FnOnce(&mut BrokerConfig),
) -> Arc<PopService> {
    let mut config = BrokerConfig::default();
    config.broker_name = "b".to_owned();
    config.revive_queue_num = 1;
    change(&mut config);
    let config = Arc::new(config);
    let tables = Tables::load(&config, dir, false).unwrap();
    let delays = Delays {
        schedule: Arc::new(ScheduleMessageService::load(Arc::clone(&store), dir).unwrap()),
        timers: Some(Arc::new(TimerService::load(Arc::clone(&store), dir).unwrap())),
    };
    let store_host = ([192, 0, 2, 2], 10911).into();
    let journal = Journal::new(&config, Arc::clone(&store), delays, store_host);
    Arc::new(PopService::new(config, store, &tables, Arc::new(BrokerStats::new(0)), journal))
}

impl Setup {
    fn send(&self, bodies: &[&str]) {
        for body in bodies {
            let result = self.pop.store.put_message(&Message {
                flag: 3,
                born_timestamp_ms: 5,
                properties: b"TAGS\x01a\x02",
                ..Message::new("t", 0, body.as_bytes())
            });
            assert!(result.status.is_stored());
        }
    }

    fn catch(&self, invisible_ms: i64) -> Catch {
        self.pop.pop(&request(invisible_ms), true).unwrap()
    }

    /// Pops, and names what it got.
    fn pop(&self, invisible_ms: i64) -> Vec<(String, MessageExt)> {
        let catch = self.catch(invisible_ms);
        let messages = MessageExt::decode_all(&catch.body).unwrap();
        messages
            .into_iter()
            .map(|message| (String::from_utf8(message.body.clone()).unwrap(), message))
            .collect()
    }

    fn bodies(&self, invisible_ms: i64) -> Vec<String> {
        self.pop(invisible_ms).into_iter().map(|(body, _)| body).collect()
    }

    fn ack(&self, catch: &Catch, invisible_ms: i64, offset: i64) -> Result<i64, RequestError> {
        let given = given(catch, invisible_ms);
        self.pop.acknowledge(&given, &[offset], false, ([192, 0, 2, 3], 1).into())
    }

    fn committed(&self) -> Option<i64> {
        self.pop.offsets.query("g", "t", 0)
    }
}

/// What the first pop gave out.
fn given(catch: &Catch, invisible_ms: i64) -> Given<'static> {
    Given {
        topic: "t",
        group: "g",
        queue_id: 0,
        start_offset: 0,
        pop_time_ms: catch.pop_time_ms(),
        invisible_ms,
        revive_queue_id: 0,
        broker_name: Some("b"),
    }
}

fn request(invisible_ms: i64) -> PopRequest {
    PopRequest {
        group: "g".into(),
        topic: "t".into(),
        queue_id: ANY_QUEUE,
        max_messages: 32,
        invisible_ms,
        poll_ms: 0,
        from_last: false,
        filter: MessageFilter::All,
        order: false,
        attempt: None,
        looks: AtomicU32::new(0),
    }
}

#[test]
fn too_many_given_out_stop_a_queue_until_some_are_done_or_due_again() {
    let setup = setup(|config| {
        config.enable_pop_message_threshold = true;
        config.pop_inflight_message_threshold = 1;
    });
    setup.send(&["one", "two"]);
    let first = setup.catch(OVER_MS);
    assert_eq!(first.count, 2);
    setup.send(&["three"]);
    let stopped = setup.catch(LONG_MS);
    assert_eq!((stopped.count, stopped.rest), (0, 1));
    setup.ack(&first, OVER_MS, 0).unwrap();
    let third = setup.catch(OVER_MS);
    assert_eq!(third.count, 1);
    setup.send(&["four"]);
    assert_eq!(setup.bodies(LONG_MS), [""; 0], "two and three are given out");
    let mut reviver = Reviver::new(&setup.pop);
    reviver.round(now_ms());
    let mut bodies = setup.bodies(LONG_MS);
    bodies.sort();
    assert_eq!(bodies, ["four", "three", "two"]);
}

#[test]
fn answers_of_a_broker_with_a_kv_store_differ_a_little() {
    let setup = setup(|config| {
        config.pop_consumer_kv_service_enable = true;
        config.enable_pop_message_threshold = true;
        config.pop_inflight_message_threshold = 2;
    });
    setup.send(&["one", "two"]);
    assert_eq!(setup.catch(OVER_MS).count, 2);
    setup.send(&["three"]);
    assert_eq!(setup.catch(OVER_MS).count, 0, "as many as may be are given out");
    Reviver::new(&setup.pop).round(now_ms());
    let again = setup.pop(OVER_MS);
    let retried = again.iter().filter(|(body, _)| body != "three");
    for (_, message) in retried {
        assert_eq!((message.topic.as_str(), message.property("POP_CK")), ("%RETRY%g_t", None));
    }
    assert_eq!(again.len(), 3);
}

#[test]
fn broker_with_a_kv_store_may_have_messages_of_a_group_that_is_gone_come_back() {
    for (skips, there) in [(true, false), (false, true)] {
        let setup = setup(|config| {
            config.pop_consumer_kv_service_enable = true;
            config.pop_revive_skip_if_group_absent = skips;
        });
        setup.send(&["one"]);
        setup.catch(OVER_MS);
        setup.pop.groups.delete("g");
        Reviver::new(&setup.pop).round(now_ms());
        assert_eq!(setup.pop.topics.get("%RETRY%g_t").is_some(), there);
        assert!(setup.pop.groups.get("g").is_none());
    }
}

#[test]
fn message_is_given_out_once_until_it_is_due_again() {
    let setup = setup(|_| ());
    setup.send(&["one", "two"]);
    assert_eq!(setup.bodies(OVER_MS), ["one", "two"]);
    assert_eq!(setup.bodies(OVER_MS), [""; 0]);
    assert_eq!(setup.committed(), Some(2));
    let mut reviver = Reviver::new(&setup.pop);
    reviver.round(0);
    assert_eq!(setup.bodies(OVER_MS), [""; 0], "not all notes may have come in");
    reviver.round(now_ms());
    let again = setup.pop(LONG_MS);
    assert_eq!(again.len(), 2);
    for (_, message) in &again {
        assert_eq!((message.topic.as_str(), message.reconsume_times, message.flag), ("t", 1, 3));
        assert!(message.property("1ST_POP_TIME").is_some());
        assert_eq!(message.property("TAGS"), Some(&b"a"[..]));
        let receipt = std::str::from_utf8(message.property("POP_CK").unwrap()).unwrap();
        let receipt = ReceiptHandle::parse(receipt).unwrap();
        assert_eq!((receipt.broker_name, receipt.queue_offset), ("b", message.queue_offset));
        assert_eq!(receipt.invisible_ms, LONG_MS);
    }
    assert_eq!(setup.pop.topics.get("%RETRY%g_t").unwrap().read_queue_nums, 1);
    reviver.round(now_ms());
    assert_eq!(setup.bodies(LONG_MS), [""; 0]);
}

#[test]
fn acknowledged_message_does_not_come_back() {
    let setup = setup(|_| ());
    setup.send(&["one", "two", "three"]);
    let catch = setup.catch(OVER_MS);
    assert_eq!(catch.messages.as_str(), "0 0 0,1,2");
    setup.ack(&catch, OVER_MS, 1).unwrap();
    Reviver::new(&setup.pop).round(now_ms());
    assert_eq!(setup.bodies(LONG_MS), ["one", "three"]);
}

#[test]
fn change_in_the_millisecond_of_the_pop_leaves_the_other_messages_their_acknowledgements() {
    let setup = setup(|_| ());
    setup.send(&["one", "two"]);
    let catch = setup.catch(OVER_MS);
    // As if no time had passed since.
    let given = Given { pop_time_ms: now_ms() + 1_000, ..given(&catch, OVER_MS) };
    while now_ms() < given.pop_time_ms {
        std::thread::yield_now();
    }
    let changed = setup.pop.change_invisible_time(&given, 0, LONG_MS, false).unwrap();
    assert_ne!(changed.pop_time_ms, given.pop_time_ms);
}

#[test]
fn acknowledgement_that_comes_before_its_check_point_counts() {
    let setup = setup(|_| ());
    setup.send(&["one", "two"]);
    // Its check point waits in the timer, the acknowledgement of something due in the past does not.
    let catch = setup.catch(OVER_MS);
    let mut reviver = Reviver::new(&setup.pop);
    reviver.forget_notes();
    setup.ack(&catch, OVER_MS, 0).unwrap();
    reviver.round(0);
    reviver.read_again();
    reviver.round(now_ms());
    assert_eq!(setup.bodies(LONG_MS), ["two"]);
}

#[test]
fn progress_is_committed_behind_what_is_on_disk_and_worked_off() {
    let setup = setup(|_| ());
    setup.send(&["one"]);
    setup.catch(OVER_MS);
    let mut reviver = Reviver::new(&setup.pop);
    reviver.round(0);
    assert_eq!(reviver.committed(&setup.pop), None, "the check point is open");
    reviver.round(now_ms());
    setup.pop.store.close().unwrap();
    reviver.round(now_ms());
    assert_eq!(reviver.committed(&setup.pop), Some(0));
    let Setup { pop, dir } = setup;
    pop.offsets.save_if_changed().unwrap();
    pop.topics.save_if_changed().unwrap();
    drop(pop);
    let again = Setup { pop: open(dir.path(), |_| ()), dir };
    Reviver::new(&again.pop).round(now_ms());
    assert_eq!(again.pop.store.max_offset("%RETRY%g_t", 0), 1, "it is not given out again twice");
}

#[test]
fn messages_that_cannot_be_noted_are_not_given_out() {
    let setup = setup(|_| ());
    setup.send(&["one"]);
    setup.pop.store.close().unwrap();
    let catch = setup.catch(LONG_MS);
    assert!(catch.failed && catch.count == 0 && catch.body.is_empty());
    assert_eq!(setup.committed(), Some(0));
    assert!(matches!(setup.ack(&catch, LONG_MS, 0), Err(RequestError::PopNotNoted)));
}

#[test]
fn messages_of_a_topic_or_group_that_is_gone_do_not_come_back() {
    let setup = setup(|config| {
        config.auto_create_subscription_group = false;
        config.enable_pop_message_threshold = true;
        config.pop_inflight_message_threshold = 0;
    });
    setup.send(&["one"]);
    setup.catch(OVER_MS);
    setup.pop.groups.delete("g");
    Reviver::new(&setup.pop).round(now_ms());
    assert!(setup.pop.topics.get("%RETRY%g_t").is_none());
    setup.pop.groups.update(SubscriptionGroupConfig::new("g")).unwrap();
    setup.send(&["two"]);
    assert_eq!(setup.bodies(LONG_MS), ["two"], "the first one does not count as given out");
}

#[test]
fn offset_that_a_tool_has_set_is_followed() {
    let setup = setup(|_| ());
    setup.send(&["one", "two", "three"]);
    setup.catch(LONG_MS);
    setup.pop.offsets.assign_reset("g", "t", 0, 1);
    assert!(setup.pop.has_news(&request(LONG_MS)));
    assert_eq!(setup.bodies(LONG_MS), ["two", "three"]);
    assert!(!setup.pop.has_news(&request(LONG_MS)));
    setup.send(&["four"]);
    assert!(setup.pop.has_news(&request(LONG_MS)));
}

#[test]
fn offset_that_a_tool_has_set_frees_a_queue_that_is_popped_in_order() {
    let setup = setup(|_| ());
    setup.send(&["one", "two", "three"]);
    let in_order = || {
        let catch = setup.pop.pop(&PopRequest { order: true, ..request(LONG_MS) }, true).unwrap();
        (catch.starts.as_str().to_owned(), catch.count)
    };
    assert_eq!(in_order(), ("0 0 0".to_owned(), 3));
    assert_eq!(in_order(), (String::new(), 0));
    setup.pop.offsets.assign_reset("g", "t", 0, 1);
    assert_eq!(in_order(), ("0 0 1".to_owned(), 2));
    assert_eq!(in_order(), (String::new(), 0));
}

#[test]
fn group_that_is_new_begins_where_it_wants() {
    let setup = setup(|config| config.init_pop_offset_by_check_msg_in_mem = false);
    setup.send(&["one", "two", "three"]);
    let last = PopRequest { from_last: true, ..request(LONG_MS) };
    let catch = setup.pop.pop(&last, true).unwrap();
    assert_eq!((catch.starts.as_str(), catch.count), ("0 0 2", 1));
    assert_eq!(setup.committed(), Some(3));
}

#[test]
fn messages_for_others_are_passed_over_and_not_noted() {
    let setup = setup(|_| ());
    setup.send(&["one", "two"]);
    let filter = MessageFilter::from_tags("b").unwrap();
    let catch = setup.pop.pop(&PopRequest { filter, ..request(OVER_MS) }, true).unwrap();
    assert_eq!((catch.count, catch.rest), (0, 0));
    assert_eq!(setup.committed(), Some(2));
    assert_eq!(setup.pop.store.max_offset(setup.pop.journal.topic(), 0), 0);
}

#[test]
fn one_of_many_messages_is_taken_to_be_wanted_without_a_look() {
    let setup = setup(|config| config.max_message_filter_num_for_notification = 3);
    let anything_for = |tag: &str| {
        setup.pop.has_message(&NoticeRequest {
            group: "g".into(),
            topic: "t".into(),
            queue_id: ANY_QUEUE,
            filter: MessageFilter::from_tags(tag).unwrap(),
            order: false,
            attempt: None,
        })
    };
    setup.send(&["one", "two"]);
    assert!(anything_for("a") && !anything_for("b"));
    setup.send(&["three"]);
    assert!(anything_for("b"));
}

#[test]
fn receipt_of_a_revive_queue_that_is_not_there_is_refused() {
    let setup = setup(|_| ());
    setup.send(&["one"]);
    for revive_queue_id in [-1, 8, i32::MAX] {
        let given = Given {
            topic: "t",
            group: "g",
            queue_id: 0,
            start_offset: 0,
            pop_time_ms: 1,
            invisible_ms: 1,
            revive_queue_id,
            broker_name: None,
        };
        let client = ([192, 0, 2, 3], 1).into();
        let refused = setup.pop.acknowledge(&given, &[0], false, client);
        assert!(matches!(refused, Err(RequestError::NoReviveQueue { .. })), "{refused:?}");
        assert!(setup.pop.change_invisible_time(&given, 0, 1, false).is_err());
    }
}

/// A topic of three priorities, with a message in each queue.
fn with_priorities(change: impl FnOnce(&mut BrokerConfig)) -> Setup {
    let setup = setup(change);
    let attributes = [("+message.type".to_owned(), "PRIORITY".to_owned())].into();
    let (read_queue_nums, write_queue_nums) = (3, 3);
    let topic =
        TopicConfig { read_queue_nums, write_queue_nums, attributes, ..TopicConfig::new("t") };
    setup.pop.topics.update(topic).unwrap();
    for queue_id in 0..3 {
        let body = queue_id.to_string();
        let result = setup.pop.store.put_message(&Message::new("t", queue_id, body.as_bytes()));
        assert!(result.status.is_stored());
    }
    setup
}

#[test]
fn messages_are_popped_by_their_priority_and_those_to_try_again_last() {
    let setup = with_priorities(|_| ());
    assert_eq!(setup.bodies(OVER_MS), ["2", "1", "0"]);
    Reviver::new(&setup.pop).round(now_ms());
    let again = setup.pop.store.put_message(&Message::new("t", 0, b"new"));
    assert!(again.status.is_stored());
    assert_eq!(setup.bodies(LONG_MS), ["new", "2", "1", "0"]);

    let setup = with_priorities(|config| config.priority_order_asc = false);
    assert_eq!(setup.bodies(LONG_MS), ["0", "1", "2"]);
}

#[test]
fn group_that_does_not_care_for_priorities_begins_anywhere() {
    let setup = with_priorities(|_| ());
    let attributes = [("+priority.factor".to_owned(), "0".to_owned())].into();
    let group = SubscriptionGroupConfig { attributes, ..SubscriptionGroupConfig::new("g") };
    setup.pop.groups.update(group).unwrap();
    for _ in 0..40 {
        setup.pop.store.put_message(&Message::new("t", 2, b"2"));
        setup.pop.store.put_message(&Message::new("t", 0, b"0"));
    }
    let one = PopRequest { max_messages: 1, ..request(LONG_MS) };
    let given: String = (0..41)
        .map(|_| {
            let catch = setup.pop.pop(&one, true).unwrap();
            MessageExt::decode_all(&catch.body).unwrap()[0].queue_id.to_string()
        })
        .collect();
    assert!(given.contains('0') && given.contains('2'), "{given}");
}

#[test]
fn messages_to_try_again_keep_their_priority_where_they_are_told_to() {
    let setup = with_priorities(|config| {
        config.use_separate_retry_queue = true;
        config.pop_from_retry_probability_for_priority = 100;
    });
    assert_eq!(setup.bodies(OVER_MS), ["2", "1", "0"]);
    let mut reviver = Reviver::new(&setup.pop);
    reviver.round(now_ms());
    let retry = setup.pop.topics.get("%RETRY%g_t").unwrap();
    assert_eq!((retry.read_queue_nums, retry.write_queue_nums), (3, 3));
    let new = setup.pop.store.put_message(&Message::new("t", 2, b"new"));
    assert!(new.status.is_stored());
    assert_eq!(setup.bodies(OVER_MS), ["2", "1", "0", "new"]);

    // One more priority: the next one to be tried again widens its topic.
    let topic = setup.pop.topics.get("t").unwrap();
    let (read_queue_nums, write_queue_nums) = (4, 4);
    let wider = TopicConfig {
        read_queue_nums,
        write_queue_nums,
        attributes: Default::default(),
        ..TopicConfig::clone(&topic)
    };
    setup.pop.topics.update(wider).unwrap();
    let most = setup.pop.store.put_message(&Message::new("t", 3, b"3"));
    assert!(most.status.is_stored());
    assert_eq!(setup.bodies(OVER_MS), ["3"]);
    reviver.round(now_ms());
    assert_eq!(setup.bodies(LONG_MS), ["3", "2", "new", "1", "0"]);
}
