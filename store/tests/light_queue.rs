//! Messages that are in further queues, which they name.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::*;
use oxmq_protocol::message::{BatchMessages, InnerMessage, Message, MessageExt, RecordView};
use oxmq_store::offline::{self, Kind, Severity, StoreDir};
use oxmq_store::{
    Arrival, FlushDiskType, GetMessageStatus, MessageStore, PutMessageResult, PutMessageStatus,
    StoreConfig,
};

const OFFSETS: &str = "INNER_MULTI_QUEUE_OFFSET";

fn config(root: &Path) -> StoreConfig {
    StoreConfig { enable_lmq: true, enable_multi_dispatch: true, ..small(root) }
}

fn put_into(store: &MessageStore, topic: &str, names: &str, body: &[u8]) -> PutMessageResult {
    let text = format!("TAGS\x01{names}\x02INNER_MULTI_DISPATCH\x01{names}\x02");
    store.put_message(&Message { properties: text.as_bytes(), ..message(topic, 1, body) })
}

/// Message `number` of a run: of topic `t`, in one, two or three light queues.
fn names_of(number: usize) -> String {
    let names: Vec<_> = (0..=number % 3).map(|at| format!("%LMQ%{}", (number + at) % 4)).collect();
    names.join(",")
}

fn put_light_run(store: &MessageStore, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let result = put_into(store, "t", &names_of(number), &body(number));
        assert_eq!(result.status, PutMessageStatus::PutOk);
        assert_eq!(result.queue_offset, number as i64);
    }
}

/// Checks that each light queue has its messages of a run of `count`, at consecutive offsets.
fn assert_run(store: &MessageStore, count: usize) {
    for queue in 0..4 {
        let name = format!("%LMQ%{queue}");
        let wanted: Vec<_> = (0..count)
            .filter(|number| names_of(*number).split(',').any(|other| other == name))
            .collect();
        let got = read_light(store, &name);
        assert_eq!(got.len(), wanted.len(), "{name}");
        for (offset, (message, number)) in got.iter().zip(wanted).enumerate() {
            assert_eq!((&*message.topic, message.queue_id), ("t", 1));
            assert_eq!(message.body, body(number), "{name} {offset}");
            assert_eq!(offset_in(message, &name), offset as i64);
        }
    }
    assert_eq!(store.max_offset("t", 1), count as i64);
}

/// What a consumer of a light queue takes for the offset of a message.
fn offset_in(message: &MessageExt, name: &str) -> i64 {
    let text = |property| std::str::from_utf8(message.property(property).unwrap()).unwrap();
    let (names, offsets) = (text("INNER_MULTI_DISPATCH"), text(OFFSETS));
    let at = names.split(',').position(|other| other == name).unwrap();
    offsets.split(',').nth(at).unwrap().parse().unwrap()
}

fn read_light(store: &MessageStore, name: &str) -> Vec<MessageExt> {
    let mut messages = Vec::new();
    let mut offset = store.min_offset(name, 0);
    loop {
        let mut out = Vec::new();
        let result = pull(store, name, 0, offset, &mut out);
        if result.status != GetMessageStatus::Found {
            assert_eq!(offset, store.max_offset(name, 0), "{result:?}");
            return messages;
        }
        messages.extend(MessageExt::decode_all(&out).unwrap());
        offset = result.next_begin_offset;
    }
}

fn findings(root: &Path) -> Vec<(Severity, Kind)> {
    let dir = StoreDir::open(root, Some(config(root))).unwrap();
    let report = offline::check(&dir, &mut |_, _| ()).unwrap();
    report.findings.iter().map(|found| (found.severity, found.kind)).collect()
}

#[test]
fn a_message_has_an_offset_in_each_of_its_light_queues() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&arrivals);
    store.set_arrival_listener(Arc::new(move |arrival: &Arrival<'_>| {
        let place = (arrival.topic.to_owned(), arrival.queue_id, arrival.next_queue_offset);
        seen.lock().unwrap().push(place);
    }));
    put_light_run(&store, 0..100);
    assert_run(&store, 100);
    let arrivals = arrivals.lock().unwrap();
    let of = |name: &str| arrivals.iter().filter(|arrival| arrival.0 == name).count() as i64;
    assert_eq!((of("t"), of("%LMQ%0")), (100, store.max_offset("%LMQ%0", 0)));
    let last = arrivals.iter().rfind(|arrival| arrival.0 == "%LMQ%3").unwrap();
    assert_eq!((last.1, last.2), (0, store.max_offset("%LMQ%3", 0)));
    store.close().unwrap();
    assert_eq!(findings(dir.path()), []);
    let store = open(&config(dir.path()));
    put_light_run(&store, 100..110);
    assert_run(&store, 110);
    store.close().unwrap();
}

#[test]
fn offsets_go_on_after_a_crash_and_lost_queues_are_made_anew() {
    let dir = temp_dir();
    let config = StoreConfig { enabled_append_prop_crc: true, ..config(dir.path()) };
    let store = open(&config);
    put_light_run(&store, 0..90);
    let crashed = temp_dir();
    copy_dir(dir.path(), crashed.path());
    store.close().unwrap();
    let mut in_crashed = config.clone();
    in_crashed.store_path_root_dir = crashed.path().to_string_lossy().into_owned();
    let store = open(&in_crashed);
    assert_run(&store, 90);
    put_light_run(&store, 90..120);
    assert_run(&store, 120);
    let phy_offset = store.phy_offset_of("%LMQ%1", 0, 3).unwrap();
    let record = store.look_message_by_offset(phy_offset).unwrap();
    RecordView::parse(&record).unwrap().verify_property_crc().unwrap();
    store.close().unwrap();
    assert_eq!(findings(crashed.path()), []);

    // One is gone, one is short.
    fs::remove_dir_all(crashed.path().join("consumequeue/%LMQ%0")).unwrap();
    let short = crashed.path().join("consumequeue/%LMQ%1/0/00000000000000000400");
    fs::write(&short, vec![0; 400]).unwrap();
    let found = findings(crashed.path());
    assert!(found.contains(&(Severity::Error, Kind::UnitMissing)), "{found:?}");
    fs::remove_file(crashed.path().join("checkpoint")).unwrap();
    fs::write(crashed.path().join("abort"), "1").unwrap();
    let store = open(&in_crashed);
    assert_run(&store, 120);
    store.close().unwrap();
    assert_eq!(findings(crashed.path()), []);
}

#[test]
fn light_queues_follow_the_log() {
    let dir = temp_dir();
    let config = deleting(config(dir.path()));
    let store = open(&config);
    put_light_run(&store, 0..400);
    store.delete_expired_files();
    wait_until(|| store.min_offset("%LMQ%2", 0) > 0);
    store.close().unwrap();
    let store = open(&config);
    assert!(store.min_offset("%LMQ%2", 0) > 0);
    store.delete_topic("%LMQ%2").unwrap();
    assert_eq!(store.bounds("%LMQ%2", 0), (0, 0));
    assert_eq!(put_into(&store, "t", "%LMQ%2", b"again").status, PutMessageStatus::PutOk);
    assert_eq!(store.bounds("%LMQ%2", 0), (0, 1));
    store.close().unwrap();
}

#[test]
fn only_messages_that_may_be_are_in_light_queues() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    let body_of = |result: PutMessageResult| {
        assert_eq!(result.status, PutMessageStatus::PutOk);
        let bytes = store.look_message_by_offset(result.phy_offset).unwrap();
        MessageExt::decode_all(&bytes).unwrap().remove(0)
    };
    for (topic, names) in
        [("t", "plain"), ("t", "%LMQ%a,plain"), ("t", "%LMQ%a/b"), ("%RETRY%g", "%LMQ%a")]
    {
        assert_eq!(body_of(put_into(&store, topic, names, b"x")).property(OFFSETS), None);
    }
    // Offsets are the store's to give.
    let text = format!("INNER_MULTI_DISPATCH\x01%LMQ%a,b\x02{OFFSETS}\x017,8\x02");
    let forged = Message { properties: text.as_bytes(), ..message("t", 1, b"x") };
    assert_eq!(body_of(store.put_message(&forged)).property(OFFSETS), None);
    let inner = InnerMessage { flag: 0, body: b"y", properties: text.as_bytes() };
    let mut batch = Vec::new();
    inner.encode(&mut batch).unwrap();
    let result =
        store.put_batch(&message("t", 1, b""), BatchMessages::new(&batch), &mut Vec::new());
    assert_eq!(body_of(result).property(OFFSETS), None);
    assert_eq!(store.max_offset("%LMQ%a", 0), 0);

    // Named twice, and with the queue that it is sent to.
    assert_eq!(put_into(&store, "t", "%LMQ%a,%LMQ%a", b"x").status, PutMessageStatus::PutOk);
    let text = "INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02";
    let own = Message { properties: text.as_bytes(), ..message("%LMQ%a", 0, b"own") };
    let sent = body_of(store.put_message(&own));
    assert_eq!((sent.queue_offset, offset_in(&sent, "%LMQ%a")), (1, 1));
    assert_eq!((store.max_offset("%LMQ%a", 0), store.max_offset("%LMQ%b", 0)), (2, 1));
    store.close().unwrap();
    assert_eq!(findings(dir.path()), []);
}

#[test]
fn there_are_as_many_light_queues_as_may_be() {
    let dir = temp_dir();
    let config = StoreConfig {
        enable_lmq_quota: true,
        max_lmq_consume_queue_num: 3,
        flush_disk_type: FlushDiskType::SyncFlush,
        ..config(dir.path())
    };
    let store = open(&config);
    let status = |store: &MessageStore, names| put_into(store, "t", names, b"x").status;
    assert_eq!(status(&store, "%LMQ%a,%LMQ%b"), PutMessageStatus::PutOk);
    assert_eq!(status(&store, "%LMQ%a,%LMQ%c"), PutMessageStatus::PutOk);
    assert_eq!(status(&store, "%LMQ%d"), PutMessageStatus::LmqConsumeQueueNumExceeded);
    assert_eq!(status(&store, "%LMQ%a,%LMQ%d"), PutMessageStatus::LmqConsumeQueueNumExceeded);
    assert_eq!(status(&store, "%LMQ%a,%LMQ%b,%LMQ%c"), PutMessageStatus::PutOk);
    store.delete_topic("%LMQ%b").unwrap();
    assert_eq!(status(&store, "%LMQ%d"), PutMessageStatus::PutOk);
    store.close().unwrap();
    let store = open(&config);
    assert_eq!(status(&store, "%LMQ%e"), PutMessageStatus::LmqConsumeQueueNumExceeded);
    store.close().unwrap();
}

#[test]
fn light_queues_hide_a_message_until_it_is_flushed_and_are_announced_then() {
    let dir = temp_dir();
    let config = StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        flush_interval_commit_log: 3_600_000,
        ..config(dir.path())
    };
    let store = open(&config);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    store.set_arrival_listener(Arc::new(move |arrival: &Arrival<'_>| {
        list.lock().unwrap().push((arrival.topic.to_owned(), arrival.next_queue_offset));
    }));
    // The flusher begins with a look, and has had it when it has flushed for somebody.
    let (flushed, is_flushed) = std::sync::mpsc::channel();
    let end = put_into(&store, "t", "%LMQ%a", b"first").end_phy_offset();
    store.when_durable(end, Box::new(move |status| flushed.send(status).unwrap()));
    assert_eq!(is_flushed.recv().unwrap(), PutMessageStatus::PutOk);
    wait_until(|| heard.lock().unwrap().len() == 2);
    heard.lock().unwrap().clear();

    put_into(&store, "t", "%LMQ%a,%LMQ%b", b"second");
    let seen = || [store.max_offset("%LMQ%a", 0), store.max_offset("%LMQ%b", 0)];
    assert_eq!((seen(), heard.lock().unwrap().len()), ([1, 0], 0));
    assert!(store.flush_soon());
    wait_until(|| heard.lock().unwrap().len() == 3);
    let expected = [("t", 2), ("%LMQ%a", 2), ("%LMQ%b", 1)].map(|(name, at)| (name.to_owned(), at));
    assert_eq!(*heard.lock().unwrap(), expected);
    assert_eq!(seen(), [2, 1]);
    store.close().unwrap();
}

#[test]
fn repair_makes_light_queues_anew() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    put_light_run(&store, 0..100);
    store.close().unwrap();
    let path = dir.path().join("consumequeue/%LMQ%3/0/00000000000000000000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[20 * 5 + 7] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(findings(dir.path()).iter().any(|found| found.0 == Severity::Error));
    // Without settings, too.
    offline::repair(dir.path(), None, false, &mut |_| (), &mut |_, _| ()).unwrap();
    assert_eq!(findings(dir.path()), []);
    let opened = StoreDir::open(dir.path(), None).unwrap();
    let parts = offline::plan(&opened).unwrap();
    assert!(parts.iter().any(|part| part.name == "light queues"));
    drop(opened);
    let store = open(&config(dir.path()));
    assert_run(&store, 100);
    store.close().unwrap();
}
