//! Extended units of queues, and the stores that have them.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use oxmq_protocol::message::{Message, tags_code};
use oxmq_store::offline::{self, Dump, Kind, Severity, StoreDir};
use oxmq_store::{MessageStore, StoreConfig};

const FILE_BYTES: u64 = 200;
/// A unit's bytes in these tests: with two bytes of filter bits.
const UNIT_BYTES: u64 = 22;

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        enable_consume_queue_ext: true,
        mapped_file_size_consume_queue_ext: FILE_BYTES,
        flush_interval_consume_queue: 60_000,
        ..small(root)
    }
}

fn open_extended(root: &Path) -> Arc<MessageStore> {
    let store = open(&config(root));
    store.set_filter_bits(Arc::new(|record| Some(vec![record.queue_id() as u8, 0xff])));
    store
}

fn tag(number: i64) -> String {
    format!("Tag{number}")
}

/// Puts messages with tags into two queues in turn.
fn put_tagged(store: &MessageStore, count: usize) {
    for index in 0..count {
        let queue_id = (index % 2) as i32;
        let tags = format!("TAGS\x01{}\x02", tag(store.max_offset("TopicA", queue_id)));
        let body = body(index);
        let message = Message { properties: tags.as_bytes(), ..message("TopicA", queue_id, &body) };
        assert_eq!(store.put_message(&message).status, oxmq_store::PutMessageStatus::PutOk);
    }
}

/// Pulls with every message's own tag: the store's readers must know it, whatever the units hold.
fn assert_tags(store: &MessageStore) {
    for queue_id in 0..2 {
        let (min, max) = store.bounds("TopicA", queue_id);
        for offset in min..max {
            let wanted = tags_code(&tag(offset));
            let mut out = Vec::new();
            let matches = |code: i64, _: oxmq_store::LazyRecord<'_>| code == wanted;
            let found =
                store.get_message("TopicA", queue_id, offset, 1, 1 << 20, matches, &mut out);
            assert_eq!(found.message_count, 1, "queue {queue_id} offset {offset}");
        }
    }
}

fn queue_dir(root: &Path, queue_id: i32) -> PathBuf {
    root.join("consumequeue_ext/TopicA").join(queue_id.to_string())
}

fn file(root: &Path, queue_id: i32, start: u64) -> PathBuf {
    queue_dir(root, queue_id).join(format!("{start:020}"))
}

fn findings(root: &Path) -> Vec<(Severity, Kind)> {
    let dir = StoreDir::open(root, Some(config(root))).unwrap();
    let report = offline::check(&dir, &mut |_, _| ()).unwrap();
    report.findings.iter().map(|found| (found.severity, found.kind)).collect()
}

/// The units of a queue as its files have them: tags codes are addresses.
fn raw_tags(root: &Path, queue_id: i32) -> Vec<i64> {
    let dir = root.join("consumequeue/TopicA").join(queue_id.to_string());
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let bytes: Vec<u8> = paths.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    let units = bytes.chunks_exact(20).filter(|unit| unit[8..12] != [0; 4]);
    units.map(|unit| i64::from_be_bytes(unit[12..].try_into().unwrap())).collect()
}

#[test]
fn units_lead_to_extended_ones_as_the_reference_writes_them() {
    let dir = temp_dir();
    let store = open_extended(dir.path());
    put_tagged(&store, 50);
    assert_tags(&store);
    store.close().unwrap();

    // Eight of 22 bytes go into 200, of which four stay free; the ninth begins the next file.
    let per_file = 8;
    let expected: Vec<i64> = (0..25)
        .map(|index| i64::MIN + index / per_file * FILE_BYTES as i64 + index % per_file * 22)
        .collect();
    assert_eq!(raw_tags(dir.path(), 1), expected);
    let bytes = fs::read(file(dir.path(), 1, FILE_BYTES)).unwrap();
    assert_eq!(bytes.len() as u64, FILE_BYTES);
    let unit = &bytes[22..44];
    assert_eq!(unit[..2], [0, 22]);
    assert_eq!(unit[2..10], tags_code(&tag(9)).to_be_bytes());
    assert_eq!(unit[18..], [0, 2, 1, 0xff]);
    assert_eq!(bytes[8 * 22..8 * 22 + 2], [0xff, 0xff], "the end of the file");
    assert_eq!(findings(dir.path()), []);

    // Sizes found out from the files: the same answer.
    let opened = StoreDir::open(dir.path(), None).unwrap();
    assert_eq!(offline::check(&opened, &mut |_, _| ()).unwrap().worst(), None);
    let rows = rows_of(&Dump::open(&opened).unwrap(), "TopicA", 1, Some(9), 1);
    assert_eq!(rows[0].extended_position, Some(FILE_BYTES + 22));
    assert_eq!(rows[0].tags_code, tags_code(&tag(9)));
    assert_eq!(rows[0].filter_bits.as_deref(), Some("01ff"));
    let parts = offline::plan(&opened).unwrap();
    let part = parts.iter().find(|part| part.name == "extended queues").unwrap();
    assert_eq!(part.verdict, offline::Verdict::Works);
}

#[test]
fn extended_units_go_on_after_a_stop_and_after_a_crash() {
    let dir = temp_dir();
    let store = open_extended(dir.path());
    put_tagged(&store, 30);
    store.close().unwrap();
    let store = open_extended(dir.path());
    assert_tags(&store);
    put_tagged(&store, 30);
    store.close().unwrap();
    assert_eq!(findings(dir.path()), []);
    let addresses = raw_tags(dir.path(), 0);
    assert!(addresses.is_sorted_by(|a, b| a < b), "{addresses:?}");

    // What a crash left behind the last unit is not part of the queue.
    let stale = file(dir.path(), 0, FILE_BYTES * 3);
    let last = addresses.last().unwrap().wrapping_sub(i64::MIN) as u64;
    let handle = fs::OpenOptions::new().write(true).open(&stale).unwrap();
    let behind = last + UNIT_BYTES - FILE_BYTES * 3;
    handle.write_all_at(&[0, 20, 9, 9, 9, 9], behind).unwrap();
    fs::write(file(dir.path(), 0, FILE_BYTES * 4), vec![1; FILE_BYTES as usize]).unwrap();
    fs::write(dir.path().join("abort"), "1").unwrap();
    let store = open_extended(dir.path());
    put_tagged(&store, 2);
    store.close().unwrap();
    assert_eq!(findings(dir.path()), []);
    assert_eq!(raw_tags(dir.path(), 0).last().unwrap() - addresses.last().unwrap(), 22);
    assert!(!file(dir.path(), 0, FILE_BYTES * 4).exists());
    let bytes = fs::read(stale).unwrap();
    assert!(bytes[behind as usize + 22..].iter().all(|byte| *byte == 0));
}

#[test]
fn queues_whose_extended_units_are_lost_are_made_anew_after_a_crash() {
    let dir = temp_dir();
    let store = open_extended(dir.path());
    put_tagged(&store, 60);
    store.close().unwrap();
    fs::remove_dir_all(queue_dir(dir.path(), 0)).unwrap();
    fs::write(file(dir.path(), 1, FILE_BYTES), vec![0; FILE_BYTES as usize]).unwrap();
    let found = findings(dir.path());
    assert!(found.contains(&(Severity::Error, Kind::ExtendedUnit)), "{found:?}");
    fs::write(dir.path().join("abort"), "1").unwrap();
    let store = open_extended(dir.path());
    assert_eq!((store.bounds("TopicA", 0), store.bounds("TopicA", 1)), ((0, 30), (0, 30)));
    assert_tags(&store);
    store.close().unwrap();
    assert_eq!(findings(dir.path()), []);
    assert_eq!(raw_tags(dir.path(), 1).len(), 30);
}

#[test]
fn a_store_goes_on_when_the_setting_changes() {
    let dir = temp_dir();
    let put_with = |config: &StoreConfig| {
        let store = open(config);
        put_tagged(&store, 10);
        assert_tags(&store);
        store.close().unwrap();
        assert_eq!(findings(dir.path()), []);
    };
    let plain = StoreConfig { enable_consume_queue_ext: false, ..config(dir.path()) };
    put_with(&plain);
    put_with(&config(dir.path()));
    put_with(&plain);
    put_with(&config(dir.path()));
    let kinds: Vec<bool> = raw_tags(dir.path(), 0).iter().map(|tags| *tags < -(1 << 31)).collect();
    let expected = [[false; 5], [true; 5], [false; 5], [true; 5]].concat();
    assert_eq!(kinds, expected);

    fs::File::create(file(dir.path(), 0, 0)).unwrap().set_len(FILE_BYTES + 1).unwrap();
    let error = MessageStore::open(config(dir.path())).unwrap_err().to_string();
    assert!(error.contains("has 201 bytes, a file of extended units 200"), "{error}");
}

#[test]
fn extended_units_go_with_their_queue() {
    let dir = temp_dir();
    let keeping = StoreConfig {
        flush_interval_consume_queue: 5,
        mapped_file_size_consume_queue: 20 * 5,
        ..config(dir.path())
    };
    let store = open(&deleting(keeping.clone()));
    let begin = file(dir.path(), 0, 0);
    // Written by a thread of the store.
    put_tagged(&store, 400);
    wait_until(|| begin.exists());
    put_tagged(&store, 400);
    store.delete_expired_files();
    wait_until(|| !begin.exists());
    assert!(store.min_offset("TopicA", 0) > 0);
    store.close().unwrap();
    let store = open(&keeping);
    assert_tags(&store);
    store.delete_topic("TopicA").unwrap();
    assert!(!dir.path().join("consumequeue_ext/TopicA").exists());
    put_tagged(&store, 4);
    assert_tags(&store);
    store.close().unwrap();
    assert_eq!(raw_tags(dir.path(), 0), [i64::MIN, i64::MIN + 20]);
}

#[test]
fn check_and_repair_know_extended_units() {
    let dir = temp_dir();
    let store = open_extended(dir.path());
    put_tagged(&store, 50);
    store.close().unwrap();
    let damages: [(&str, u64, &[u8], Kind); 4] = [
        ("size", 22, &[0, 23], Kind::ExtendedUnit),
        ("tags", 22 + 2, &[9; 8], Kind::UnitTags),
        ("time", 22 + 10, &[0; 8], Kind::ExtendedUnit),
        ("bits length", 22 + 18, &[0xff, 0xff], Kind::ExtendedUnit),
    ];
    for (name, at, bytes, kind) in damages {
        let damaged = temp_dir();
        copy_dir(dir.path(), damaged.path());
        let path = file(damaged.path(), 1, FILE_BYTES);
        fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
        assert_eq!(findings(damaged.path()), [(Severity::Error, kind)], "{name}");
        mend(damaged.path());
    }
    let damaged = temp_dir();
    copy_dir(dir.path(), damaged.path());
    let path = file(damaged.path(), 1, FILE_BYTES);
    fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    let found = findings(damaged.path());
    assert!(found.contains(&(Severity::Error, Kind::FileLength)), "{found:?}");
    mend(damaged.path());
}

fn mend(root: &Path) {
    let config = config(root);
    offline::repair(root, Some(config), false, &mut |_| (), &mut |_, _| ()).unwrap();
    assert_eq!(findings(root), []);
    assert_eq!(raw_tags(root, 1).len(), 25);
    assert!(raw_tags(root, 1).iter().all(|tags| *tags < -(1 << 31)));
}
