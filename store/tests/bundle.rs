//! Messages that are put together are as if each had been put alone.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use oxmq_protocol::message::{Message, MessageExt, sys_flag};
use oxmq_store::{
    Arrival, Bundle, Clock, Environment, Fs, FsOp, MessageStore, PutMessageResult,
    PutMessageStatus, StoreConfig,
};

const TEXTS: [&[u8]; 4] = [
    b"KEYS\x01one two\x02TAGS\x01red\x02UNIQ_KEY\x01u1\x02",
    b"TAGS\x01blue\x02KEYS\x01three",
    b"",
    b"KEYS\x01four\x02a\x01zero at the end\0",
];

fn add(store: &MessageStore, bundle: &mut Bundle, message: &Message<'_>) {
    assert!(store.can_add(bundle, message));
    store.add(bundle, message).unwrap();
}

fn put_all(store: &MessageStore, bundle: &mut Bundle) -> Vec<PutMessageResult> {
    let mut results = Vec::new();
    store.put_bundle(bundle, |result| results.push(result));
    assert!(bundle.is_empty());
    results
}

/// What a listener heard: queue, next offset, tags code, position, properties.
type Heard = (String, i32, i64, i64, i64, Vec<u8>);

fn listening(config: StoreConfig) -> (Arc<MessageStore>, Arc<Mutex<Vec<Heard>>>) {
    let environment =
        Environment { clock: Clock::manual(1_700_000_000_000), ..Environment::default() };
    let store = MessageStore::open_with(config, environment).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    store.set_arrival_listener(Arc::new(move |it: &Arrival<'_>| {
        let (topic, text) = (it.topic.to_owned(), it.properties.to_vec());
        let next = it.next_queue_offset;
        let heard = (topic, it.queue_id, next, it.tags_code, it.phy_offset, text);
        hears.lock().unwrap().push(heard);
    }));
    (store, heard)
}

#[test]
fn log_queues_index_and_answers_are_those_of_single_puts() {
    for sealed in [false, true] {
        let (one, other) = (temp_dir(), temp_dir());
        let config = |dir: &tempfile::TempDir| StoreConfig {
            mapped_file_size_commit_log: 1 << 20,
            enabled_append_prop_crc: sealed,
            ..small(dir.path())
        };
        let (alone, alone_heard) = listening(config(&one));
        let (together, together_heard) = listening(config(&other));
        together.use_batch_queues("batches");
        alone.use_batch_queues("batches");
        let mut bundle = Bundle::default();
        let (mut expected, mut results) = (Vec::new(), Vec::new());
        for number in 0..400 {
            let topic = ["TopicA", "TopicB", "batches"][number % 3];
            let body = body(number);
            let properties = TEXTS[number % 4];
            let message = Message { properties, ..message(topic, (number % 2) as i32, &body) };
            expected.push(alone.put_message(&message));
            if !together.can_add(&bundle, &message) {
                results.extend(put_all(&together, &mut bundle));
            }
            add(&together, &mut bundle, &message);
        }
        results.extend(put_all(&together, &mut bundle));
        assert_eq!(results, expected);
        assert_eq!(*together_heard.lock().unwrap(), *alone_heard.lock().unwrap());
        for store in [&alone, &together] {
            store.close().unwrap();
        }
        let log = |dir: &tempfile::TempDir| {
            std::fs::read(dir.path().join("commitlog/00000000000000000000")).unwrap()
        };
        assert!(log(&one) == log(&other));
        drop((alone, together));
        let (alone, together) = (open(&config(&one)), open(&config(&other)));
        for (topic, queue_id) in [("TopicA", 0), ("TopicA", 1), ("TopicB", 0), ("TopicB", 1)] {
            let messages = read_all(&together, topic, queue_id);
            assert!(!messages.is_empty());
            assert_eq!(messages, read_all(&alone, topic, queue_id));
        }
        for key in ["one", "three", "four", "u1"] {
            let found = |store: &MessageStore| {
                store.query_message("TopicA", key, 1_000, 0, i64::MAX).unwrap().records
            };
            assert!(!found(&together).is_empty());
            assert_eq!(found(&together), found(&alone), "{key}");
        }
    }
}

#[test]
fn bundle_takes_no_more_than_it_may_and_nothing_without_a_queue_of_its_own() {
    let dir = temp_dir();
    let store = open(&StoreConfig { mapped_file_size_commit_log: 8 << 20, ..small(dir.path()) });
    let mut bundle = Bundle::default();
    let half = sys_flag::TRANSACTION_PREPARED;
    assert!(!store.can_add(&bundle, &Message { sys_flag: half, ..message("t", 0, b"x") }));
    assert!(!store.can_add(&bundle, &message("t", 0, &[0; 64 << 10])));
    assert!(
        !store
            .can_add(&bundle, &Message { properties: &[b'p'; 64 << 10], ..message("t", 0, b"x") })
    );

    for queue_id in 0..8 {
        add(&store, &mut bundle, &message("t", queue_id, b"x"));
    }
    assert!(!store.can_add(&bundle, &message("t", 8, b"x")), "too many queues");
    assert!(!store.can_add(&bundle, &message("u", 0, b"x")), "too many queues");
    for _ in 8..32 {
        add(&store, &mut bundle, &message("t", 3, b"x"));
    }
    assert!(!store.can_add(&bundle, &message("t", 3, b"x")), "too many messages");
    assert_eq!(put_all(&store, &mut bundle).len(), 32);
    assert_eq!((store.max_offset("t", 3), store.max_offset("t", 7)), (25, 1));

    add(&store, &mut bundle, &message("t", 0, &[0; 60 << 10]));
    assert!(!store.can_add(&bundle, &message("t", 0, &[0; 8 << 10])), "too many bytes");
    assert_eq!(put_all(&store, &mut bundle).len(), 1);
    assert_eq!(put_all(&store, &mut bundle), []);

    let dir = temp_dir();
    let light = StoreConfig { enable_lmq: true, enable_multi_dispatch: true, ..small(dir.path()) };
    assert!(!open(&light).can_add(&bundle, &message("t", 0, b"x")));
}

#[test]
fn message_that_is_refused_leaves_the_others_as_they_are() {
    let dir = temp_dir();
    let store = open(&StoreConfig {
        mapped_file_size_commit_log: 1 << 20,
        max_message_size: 100,
        ..small(dir.path())
    });
    let mut bundle = Bundle::default();
    add(&store, &mut bundle, &message("t", 0, b"first"));
    for refused in [
        message("t", 0, &[0; 101]),
        message("", 0, b"x"),
        Message { properties: b"INNER_NUM\x012\x02", ..message("t", 0, b"x") },
    ] {
        assert!(store.can_add(&bundle, &refused));
        let status = store.add(&mut bundle, &refused).unwrap_err();
        assert_eq!(status, store.put_message(&refused).status);
    }
    add(&store, &mut bundle, &message("t", 0, b"second"));
    let offsets: Vec<_> =
        put_all(&store, &mut bundle).iter().map(|result| result.queue_offset).collect();
    assert_eq!(offsets, [0, 1]);
    let bodies: Vec<_> = read_all(&store, "t", 0).into_iter().map(|it| it.body).collect();
    assert_eq!(bodies, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn queue_that_is_deleted_meanwhile_is_looked_up_again() {
    let dir = temp_dir();
    let store = open(&StoreConfig { mapped_file_size_commit_log: 1 << 20, ..small(dir.path()) });
    put(&store, "t", 0, b"old");
    let mut bundle = Bundle::default();
    add(&store, &mut bundle, &message("t", 0, b"new"));
    add(&store, &mut bundle, &message("u", 0, b"other"));
    store.delete_topic("t").unwrap();
    let results = put_all(&store, &mut bundle);
    assert!(results.iter().all(|it| (it.status, it.queue_offset) == (PutMessageStatus::PutOk, 0)));
    assert_eq!(read_all(&store, "t", 0)[0].body, b"new");
    assert_eq!(read_all(&store, "u", 0)[0].body, b"other");
}

#[test]
fn bundles_end_a_file_of_the_log_as_single_messages_do() {
    let dir = temp_dir();
    let config = StoreConfig { mapped_file_size_commit_log: 256 << 10, ..small(dir.path()) };
    let store = open(&config);
    let (mut bundle, mut number) = (Bundle::default(), 0);
    while store.max_phy_offset() < 1 << 20 {
        let body = body(number);
        let next = message("TopicA", (number % 2) as i32, &body);
        if store.can_add(&bundle, &next) {
            add(&store, &mut bundle, &next);
            number += 1;
        } else {
            let results = put_all(&store, &mut bundle);
            assert!(results.len() > 1 && results.iter().all(|it| it.status.is_stored()));
        }
    }
    let stored = number - put_all(&store, &mut bundle).len();
    assert!(check_run(&store, stored) == number);
    store.close().unwrap();
    drop(store);
    assert_eq!(check_run(&open(&config), number), number);
}

#[test]
fn all_of_a_bundle_are_refused_where_one_message_would_be() {
    let dir = temp_dir();
    let fails = Arc::new(AtomicBool::new(false));
    let do_fail = Arc::clone(&fails);
    let fs = Fs::with_fault(move |op, path| {
        let is_log = path.to_string_lossy().contains("commitlog");
        match op == FsOp::Create && is_log && do_fail.load(Ordering::Relaxed) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let config = StoreConfig { mapped_file_size_commit_log: 128 << 10, ..small(dir.path()) };
    let environment = Environment { fs, ..Environment::default() };
    let store = MessageStore::open_with(config.clone(), environment).unwrap();
    let bundle_of = |count: usize| {
        let mut bundle = Bundle::default();
        (0..count).for_each(|_| add(&store, &mut bundle, &message("t", 0, &[b'x'; 500])));
        bundle
    };
    let statuses = |results: Vec<PutMessageResult>| -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for result in results {
            *counts.entry(format!("{:?}", result.status)).or_default() += 1;
        }
        counts
    };
    fails.store(true, Ordering::Relaxed);
    let refused = loop {
        let now = statuses(put_all(&store, &mut bundle_of(3)));
        if !now.contains_key("PutOk") {
            break now;
        }
    };
    assert_eq!(refused, [("ServiceNotAvailable".to_owned(), 3)].into());
    let stored = store.max_offset("t", 0);
    fails.store(false, Ordering::Relaxed);
    assert_eq!(statuses(put_all(&store, &mut bundle_of(2))), [("PutOk".to_owned(), 2)].into());
    assert_eq!(store.max_offset("t", 0), stored + 2);
    let mut late = bundle_of(2);
    store.close().unwrap();
    let refused = [("ServiceNotAvailable".to_owned(), 2)].into();
    assert_eq!(statuses(put_all(&store, &mut late)), refused);
    drop(store);
    assert_eq!(read_all(&open(&config), "t", 0).len() as i64, stored + 2);
}

#[test]
fn bundle_is_empty_after_a_panic_of_whoever_hears_of_it() {
    let dir = temp_dir();
    let store = open(&StoreConfig { mapped_file_size_commit_log: 1 << 20, ..small(dir.path()) });
    let mut bundle = Bundle::default();
    for body in [b"a", b"b"] {
        add(&store, &mut bundle, &message("t", 0, body));
    }
    let put = AssertUnwindSafe(|| store.put_bundle(&mut bundle, |_| panic!("expected")));
    assert!(catch_unwind(put).is_err());
    assert!(bundle.is_empty());
    assert_eq!(put_all(&store, &mut bundle), []);
    assert_eq!(store.max_offset("t", 0), 2);
}

#[test]
fn senders_of_bundles_and_a_deletion_of_their_topic_do_not_wait_for_each_other() {
    let dir = temp_dir();
    let store = open(&StoreConfig { mapped_file_size_commit_log: 1 << 20, ..small(dir.path()) });
    let left = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..2)
            .map(|sender: i32| {
                let (store, left) = (&store, &left);
                scope.spawn(move || {
                    let mut bundle = Bundle::default();
                    let mut sent = 0;
                    while left.load(Ordering::Relaxed) {
                        // In opposite orders.
                        for step in 0..4 {
                            let queue_id = if sender == 0 { step } else { 3 - step };
                            add(store, &mut bundle, &message("goes", queue_id, b"x"));
                            add(store, &mut bundle, &message("stays", queue_id, b"x"));
                        }
                        let results = put_all(store, &mut bundle);
                        assert!(results.iter().all(|it| it.status.is_stored()));
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..200 {
            store.delete_topic("goes").unwrap();
            store.put_message(&message("goes", 0, b"alone"));
        }
        left.store(false, Ordering::Relaxed);
        let sent: i64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        for queue_id in 0..4 {
            assert_eq!(store.max_offset("stays", queue_id), sent);
            let messages: Vec<MessageExt> = read_all(&store, "goes", queue_id);
            let offsets = messages.iter().map(|it| it.queue_offset);
            assert!(offsets.eq(0..messages.len() as i64));
        }
    });
}
