//! Topics whose queues have one unit for a record of many messages.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;

use common::*;
use oxmq_protocol::message::{BatchMessages, Message, MessageExt, RecordView, sys_flag};
use oxmq_store::offline::{self, Dump, Kind, Severity, StoreDir};
use oxmq_store::{
    Boundary, GetMessageStatus, JsonJournal, MessageStore, PutMessageResult, PutMessageStatus,
    StoreConfig,
};
use serde_json::json;

const TOPIC: &str = "BatchTopic";

fn config(root: &Path) -> StoreConfig {
    StoreConfig { mapper_file_size_batch_consume_queue: 46 * 10, ..small(root) }
}

fn open_with_topic(root: &Path) -> std::sync::Arc<MessageStore> {
    let store = open(&config(root));
    store.use_batch_queues(TOPIC);
    store
}

fn put_inner(store: &MessageStore, count: usize) -> PutMessageResult {
    let bodies: Vec<Vec<u8>> = (0..count).map(body).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let encoded = batch(&bodies);
    let properties = b"UNIQ_KEY\x01batch\x02TAGS\x01TagA\x02";
    let envelope = Message { properties, ..message(TOPIC, 0, &encoded) };
    store.put_inner_batch(&envelope, &BatchMessages::new(&encoded))
}

/// Puts batches of 1, 2, 3, 4, 1, ... messages and single ones in turn; returns the next offset.
fn put_run_of_batches(store: &MessageStore, rounds: usize) -> i64 {
    let mut next = store.max_offset(TOPIC, 0);
    for round in 0..rounds {
        let count = round % 4 + 1;
        let result =
            if round % 5 == 4 { put(store, TOPIC, 0, b"alone") } else { put_inner(store, count) };
        assert_eq!((result.status, result.queue_offset), (PutMessageStatus::PutOk, next));
        next += i64::from(result.message_count);
    }
    assert_eq!(store.bounds(TOPIC, 0), (store.min_offset(TOPIC, 0), next));
    next
}

/// Records from `offset` on.
fn walk(store: &MessageStore, mut offset: i64) -> Vec<MessageExt> {
    let mut records = Vec::new();
    loop {
        let mut out = Vec::new();
        let result = store.get_message(TOPIC, 0, offset, 8, 1 << 20, |_, _| true, &mut out);
        match result.status {
            GetMessageStatus::Found => {}
            GetMessageStatus::OffsetOverflowOne => return records,
            other => panic!("{other:?} at {offset}"),
        }
        assert!(result.message_count <= 8, "{result:?}");
        records.extend(MessageExt::decode_all(&out).unwrap());
        offset = result.next_begin_offset;
    }
}

fn assert_walks(store: &MessageStore, next: i64) {
    let mut expected = store.min_offset(TOPIC, 0);
    for record in walk(store, expected) {
        assert_eq!(record.queue_offset, expected);
        let number = |name| -> Option<i64> {
            std::str::from_utf8(record.property(name)?).ok()?.parse().ok()
        };
        expected += match number("INNER_NUM") {
            Some(count) => {
                assert_eq!(number("INNER_BASE"), Some(record.queue_offset));
                assert_eq!(record.sys_flag & sys_flag::INNER_BATCH, sys_flag::INNER_BATCH);
                assert_eq!(BatchMessages::new(&record.body).count() as i64, count);
                count
            }
            None => 1,
        };
    }
    assert_eq!(expected, next);
}

#[test]
fn a_batch_is_one_record_with_an_offset_for_each_message() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    let next = put_run_of_batches(&store, 60);
    assert_walks(&store, next);
    // From the middle of a batch: the record that has the message.
    assert_eq!(walk(&store, 2)[0].queue_offset, 1);
    assert!(store.phy_offset_of(TOPIC, 0, 2) == store.phy_offset_of(TOPIC, 0, 1));
    assert_eq!(store.phy_offset_of(TOPIC, 0, next), None);
    store.close().unwrap();
    assert!(dir.path().join("batchconsumequeue/BatchTopic/0/00000000000000000460").exists());
    assert!(!dir.path().join("consumequeue/BatchTopic").exists());

    let store = open(&config(dir.path()));
    assert_eq!(store.bounds(TOPIC, 0), (0, next));
    let next = put_run_of_batches(&store, 7);
    assert_walks(&store, next);
    store.close().unwrap();
}

#[test]
fn a_record_longer_than_one_pull_may_be_comes_alone() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    assert_eq!(put_inner(&store, 20).message_count, 20);
    put_inner(&store, 1);
    let mut out = Vec::new();
    let result = store.get_message(TOPIC, 0, 0, 8, 1 << 20, |_, _| true, &mut out);
    assert_eq!((result.message_count, result.next_begin_offset), (20, 20));
    store.close().unwrap();
}

#[test]
fn a_topic_that_is_in_the_journal_only_has_batch_queues() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    put(&store, TOPIC, 0, b"alone");
    let crashed = temp_dir();
    copy_dir(dir.path(), crashed.path());
    std::fs::remove_dir_all(crashed.path().join("batchconsumequeue")).ok();
    let topic = json!({"topicName": TOPIC, "attributes": {"queue.type": "BatchCQ"}});
    let path = crashed.path().join("config/topics.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let journal = JsonJournal::of(&path);
    journal.note(1, &json!({"dataVersion": {}, "changes": [{"put": topic}]})).unwrap();
    journal.keep().unwrap();
    let store = open_with_topic(crashed.path());
    assert_eq!(store.bounds(TOPIC, 0), (0, 1));
    store.close().unwrap();
    assert!(!crashed.path().join("consumequeue").join(TOPIC).exists());
    drop(store);
    assert_eq!(open_with_topic(crashed.path()).bounds(TOPIC, 0), (0, 1));
}

#[test]
fn batch_queues_are_made_anew_from_the_log() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    put_run(&store, 0..20);
    let next = put_run_of_batches(&store, 33);
    let crashed = temp_dir();
    copy_dir(dir.path(), crashed.path());
    // What the next start mends is no error.
    let found = findings(crashed.path());
    assert!(found.iter().all(|(severity, _)| *severity < Severity::Error), "{found:?}");
    store.close().unwrap();
    let written =
        std::fs::read(dir.path().join("batchconsumequeue/BatchTopic/0/00000000000000000460"))
            .unwrap();
    for lost in ["batchconsumequeue", "checkpoint"] {
        let path = crashed.path().join(lost);
        std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)).ok();
    }
    // Nothing tells the topic's kind but its records.
    let store = open(&config(crashed.path()));
    assert_eq!(store.bounds(TOPIC, 0), (0, next));
    assert_walks(&store, next);
    check_run(&store, 20);
    store.close().unwrap();
    let again = crashed.path().join("batchconsumequeue/BatchTopic/0/00000000000000000460");
    assert!(std::fs::read(again).unwrap() == written, "the units are others");
}

#[test]
fn offsets_are_found_by_time_and_by_message() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    let next = put_run_of_batches(&store, 12);
    let first_ms = store.message_store_timestamp(TOPIC, 0, 0).unwrap();
    assert_eq!(store.offset_by_time(TOPIC, 0, first_ms, Boundary::Lower), 0);
    assert_eq!(store.offset_by_time(TOPIC, 0, i64::MAX, Boundary::Lower), next);
    assert_eq!(store.offset_by_time(TOPIC, 0, 0, Boundary::Upper), 0);
    assert!(store.message_store_timestamp(TOPIC, 0, next - 1).unwrap() >= first_ms);
    store.close().unwrap();
}

#[test]
fn units_of_a_batch_queue_are_shown_once_each() {
    for enable_consume_queue_ext in [false, true] {
        let dir = temp_dir();
        let store = open(&StoreConfig { enable_consume_queue_ext, ..config(dir.path()) });
        store.use_batch_queues(TOPIC);
        // Of 1, 2, 3, 4, 1, 1, 2, ... messages.
        put_run_of_batches(&store, 15);
        let places = |from, count| -> Vec<i64> {
            let units = store.queue_units(TOPIC, 0, from, count).unwrap();
            units.iter().map(|unit| unit.phy_offset).collect()
        };
        let place = |offset| store.phy_offset_of(TOPIC, 0, offset).unwrap();
        assert_eq!(places(0, 3), [place(0), place(1)]);
        assert_eq!(places(2, 5), [place(1), place(3), place(6)]);
        assert_eq!(places(6, 2), [place(6)]);
        assert!(places(1_000, 2).is_empty());
    }
}

/// Clears units in the first file of the queue.
fn clear_units(root: &Path, units: std::ops::Range<u64>) {
    let path = root.join("batchconsumequeue/BatchTopic/0/00000000000000000000");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let bytes = vec![0; 46 * (units.end - units.start) as usize];
    file.write_all_at(&bytes, units.start * 46).unwrap();
}

#[test]
fn damaged_units_of_a_batch_queue_are_passed_over_and_hide_no_others() {
    for damaged in [0..1, 0..10, 4..5, 3..10] {
        let dir = temp_dir();
        let store = open_with_topic(dir.path());
        let next = put_run_of_batches(&store, 60);
        let all = walk(&store, 0);
        let last_ms = all[59].store_timestamp_ms;
        store.close().unwrap();
        clear_units(dir.path(), damaged.clone());

        let store = open(&config(dir.path()));
        let left: Vec<_> = (0..60_u64).filter(|at| !damaged.contains(at)).collect();
        let begins = |index: u64| all[index as usize].queue_offset;
        assert_eq!(store.bounds(TOPIC, 0), (begins(left[0]), next), "{damaged:?}");
        for offset in store.min_offset(TOPIC, 0)..next {
            // The record that has the message, or else the next one.
            let ends = |index: u64| all.get(index as usize + 1).map_or(next, |r| r.queue_offset);
            let first = *left.iter().find(|index| ends(**index) > offset).unwrap();
            let got: Vec<_> = walk(&store, offset).iter().map(|r| r.queue_offset).collect();
            let wanted: Vec<_> =
                left.iter().filter(|index| **index >= first).map(|index| begins(*index)).collect();
            assert_eq!(got, wanted, "{damaged:?} from {offset}");
        }
        let first_offset = begins(left[0]);
        assert_eq!(store.offset_by_time(TOPIC, 0, 1, Boundary::Lower), first_offset);
        assert_eq!(store.offset_by_time(TOPIC, 0, last_ms, Boundary::Upper), begins(59));
        store.close().unwrap();
    }
}

#[test]
fn inner_batches_are_refused_elsewhere_and_when_malformed() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    assert_eq!(put_inner(&store, 2).status, PutMessageStatus::MessageIllegal);
    store.use_batch_queues(TOPIC);
    assert_eq!(put_inner(&store, 0).status, PutMessageStatus::MessageIllegal);
    let cut = &batch(&[b"one", b"two"])[..40];
    let result = store.put_inner_batch(&message(TOPIC, 0, cut), &BatchMessages::new(cut));
    assert_eq!(result.status, PutMessageStatus::MessageIllegal);
    assert_eq!(store.max_phy_offset(), 0);
    store.close().unwrap();
}

#[test]
fn a_deleted_topic_begins_anew_with_either_kind_of_queue() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    put_run_of_batches(&store, 12);
    store.delete_topic(TOPIC).unwrap();
    put(&store, TOPIC, 0, b"plain");
    store.close().unwrap();
    assert!(!dir.path().join("batchconsumequeue/BatchTopic").exists());
    assert!(dir.path().join("consumequeue/BatchTopic/0").exists());
}

#[test]
fn a_checksum_of_the_whole_record_covers_the_offset_of_a_batch() {
    let dir = temp_dir();
    let config = StoreConfig {
        enabled_append_prop_crc: true,
        force_verify_prop_crc: true,
        ..config(dir.path())
    };
    let store = open(&config);
    store.use_batch_queues(TOPIC);
    put_inner(&store, 3);
    let second = put_inner(&store, 2);
    assert_eq!(second.queue_offset, 3);
    let bytes = store.look_message_by_offset(second.phy_offset).unwrap();
    let record = RecordView::parse(&bytes).unwrap();
    record.verify_property_crc().unwrap();
    let base = std::str::from_utf8(record.property("INNER_BASE").unwrap()).unwrap();
    assert_eq!(base.parse::<i64>().unwrap(), 3);
    store.close().unwrap();
}

fn findings(root: &Path) -> Vec<(Severity, Kind)> {
    let dir = StoreDir::open(root, Some(config(root))).unwrap();
    let report = offline::check(&dir, &mut |_, _| ()).unwrap();
    report.findings.iter().map(|found| (found.severity, found.kind)).collect()
}

#[test]
fn check_dump_and_repair_know_batch_queues() {
    let dir = temp_dir();
    let store = open_with_topic(dir.path());
    let next = put_run_of_batches(&store, 33);
    store.close().unwrap();
    assert_eq!(findings(dir.path()), []);
    let opened = StoreDir::open(dir.path(), None).unwrap();
    let rows = rows_of(&Dump::open(&opened).unwrap(), TOPIC, 0, Some(2), 2);
    let places: Vec<_> = rows.iter().map(|row| (row.queue_offset, row.messages)).collect();
    assert_eq!(places, [(1, 2), (3, 3)]);
    let parts = offline::plan(&opened).unwrap();
    let part = parts.iter().find(|part| part.name == "batch queues").unwrap();
    assert_eq!(part.verdict, offline::Verdict::Works);
    drop(opened);

    let file = dir.path().join("batchconsumequeue/BatchTopic/0/00000000000000000000");
    let damages: [(&str, u64, &[u8], Kind); 4] = [
        ("position", 46 * 3, &[0, 0, 0, 0, 0, 0, 0, 1], Kind::UnitAstray),
        ("size", 46 * 4 + 8, &[0, 0, 0, 1], Kind::UnitWrong),
        ("tags", 46 * 4 + 12, &[9; 8], Kind::UnitTags),
        ("first offset", 46 * 4 + 28, &[0, 0, 0, 0, 0, 0, 0, 1], Kind::UnitWrong),
    ];
    for (name, at, bytes, kind) in damages {
        let damaged = temp_dir();
        copy_dir(dir.path(), damaged.path());
        let path = damaged.path().join(file.strip_prefix(dir.path()).unwrap());
        let handle = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        handle.write_all_at(bytes, at).unwrap();
        drop(handle);
        let found = findings(damaged.path());
        assert!(found.contains(&(Severity::Error, kind)), "{name}: {found:?}");
        let config = config(damaged.path());
        offline::repair(damaged.path(), Some(config), false, &mut |_| (), &mut |_, _| ()).unwrap();
        assert_eq!(findings(damaged.path()), [], "{name}");
        let store = open_with_topic(damaged.path());
        assert_walks(&store, next);
        store.close().unwrap();
    }
}
