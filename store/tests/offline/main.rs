//! Stores that are checked and repaired while nobody serves them.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod compacted;
mod damages;
mod interrupted;
mod repairs;
mod show;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::*;
use oxmq_protocol::message::{Message, MessageExt};
use oxmq_store::offline::{self, Finding, Kind, Repair, Report, Severity, StoreDir};
use oxmq_store::{MessageStore, StoreError};

/// Messages of the store that is damaged.
const MESSAGES: usize = 203;

fn keyed(number: usize) -> Vec<u8> {
    format!("KEYS\u{1}key{number} all\u{2}TAGS\u{1}Tag{}\u{2}", number % 3).into_bytes()
}

fn put_keyed(store: &MessageStore, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (body, properties) = (body(number), keyed(number));
        let message =
            Message { properties: &properties, ..message("TopicA", (number % 2) as i32, &body) };
        store.put_message(&message);
    }
}

/// A closed store of several files of each kind, with metadata and its backup.
fn sound() -> tempfile::TempDir {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_keyed(&store, 0..MESSAGES);
    store.close().unwrap();
    let config = dir.path().join("config");
    fs::create_dir_all(&config).unwrap();
    let topics = "{\"dataVersion\":{\"counter\":1},\"topicConfigTable\":{\"TopicA\":{}}}";
    fs::write(config.join("topics.json"), topics).unwrap();
    fs::write(config.join("topics.json.bak"), topics).unwrap();
    fs::write(config.join("consumerOffset.json"), "{\"offsetTable\":{\"t@g\":{0:5,1:6\n\t}\n}}")
        .unwrap();
    dir
}

fn check(root: &Path) -> Report {
    let dir = StoreDir::open(root, Some(small(root))).unwrap();
    offline::check(&dir, &mut |_, _| ()).unwrap()
}

fn is_clean(report: &Report) -> bool {
    report.worst().is_none_or(|worst| worst == Severity::Info)
}

/// What every file of a directory holds, and when it was changed.
fn image(root: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let changed = path.metadata().unwrap().modified().unwrap();
                files.push((path.clone(), fs::read(&path).unwrap(), changed));
            }
        }
    }
    files.sort();
    files
}

/// The first or last file of a directory.
fn file_in(dir: PathBuf, last: bool) -> PathBuf {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    if last { files.pop().unwrap() } else { files.remove(0) }
}

fn log_file(root: &Path) -> PathBuf {
    file_in(root.join("commitlog"), false)
}

fn queue_file(root: &Path) -> PathBuf {
    file_in(root.join("consumequeue/TopicA/0"), false)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut byte = [0];
    fs::File::open(path).unwrap().read_exact_at(&mut byte, at).unwrap();
    overwrite(path, at, &[byte[0] ^ 0x55]);
}

/// Where record `number` begins in the first log file.
fn record_at(root: &Path, number: usize) -> u64 {
    let bytes = fs::read(log_file(root)).unwrap();
    (0..number).fold(0, |at, _| {
        at + u64::from(u32::from_be_bytes(bytes[at as usize..][..4].try_into().unwrap()))
    })
}

/// Bodies of the messages that can be read, in order of their numbers.
fn readable(root: &Path) -> Vec<Vec<u8>> {
    let store = open(&small(root));
    let mut bodies = Vec::new();
    for queue_id in 0..2 {
        let (mut offset, max) = store.bounds("TopicA", queue_id);
        while offset < max {
            let mut out = Vec::new();
            let result = pull(&store, "TopicA", queue_id, offset, &mut out);
            bodies.extend(MessageExt::decode_all(&out).unwrap().into_iter().map(|message| {
                assert_eq!(message.queue_id, queue_id);
                message.body
            }));
            offset = result.next_begin_offset.max(offset + 1);
        }
    }
    store.close().unwrap();
    bodies
}

fn repair(root: &Path) -> Repair {
    offline::repair(root, Some(small(root)), false, &mut |_| (), &mut |_, _| ()).unwrap()
}

#[test]
fn sound_store_is_found_sound_and_left_as_it_is() {
    let dir = sound();
    let before = image(dir.path());
    let report = check(dir.path());
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.records, MESSAGES as u64);
    assert_eq!(report.counts.units, MESSAGES as u64);
    // A unique key, a key, and the tags.
    assert_eq!(report.counts.index_entries, 3 * MESSAGES as u64);
    assert_eq!(report.counts.config_files, 3);
    assert!(report.counts.log_files > 2);
    assert!(image(dir.path()) == before);
}

#[test]
fn sizes_are_found_out_from_the_files() {
    let dir = sound();
    let opened = StoreDir::open(dir.path(), None).unwrap();
    let (found, expected) = (opened.config(), small(dir.path()));
    assert_eq!(found.mapped_file_size_commit_log, expected.mapped_file_size_commit_log);
    assert_eq!(found.mapped_file_size_consume_queue, expected.mapped_file_size_consume_queue);
    assert_eq!(found.max_hash_slot_num, expected.max_hash_slot_num);
    assert_eq!(found.max_index_num, expected.max_index_num);
    let report = offline::check(&opened, &mut |_, _| ()).unwrap();
    assert!(is_clean(&report), "{:?}", report.findings);
}

#[test]
fn store_in_use_is_not_looked_at() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    let refused = StoreDir::open(dir.path(), None);
    assert!(matches!(refused, Err(StoreError::Locked(_))));
    store.close().unwrap();
    let looked_at = StoreDir::open(dir.path(), None).unwrap();
    assert!(matches!(MessageStore::open(small(dir.path())), Err(StoreError::Locked(_))));
    drop(looked_at);
    open(&small(dir.path())).close().unwrap();
}

#[test]
fn crashed_store_has_no_errors() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_keyed(&store, 0..MESSAGES);
    let copy = temp_dir();
    copy_dir(dir.path(), copy.path());
    store.close().unwrap();
    let report = check(copy.path());
    assert_eq!(report.of(Severity::Error).collect::<Vec<_>>(), Vec::<&Finding>::new());
    assert!(report.of(Severity::Info).any(|found| found.kind == Kind::Abort));
}

#[test]
fn index_entry_that_a_killed_process_has_not_counted_is_taken_back_by_the_next_start() {
    let dir = sound();
    let path = file_in(dir.path().join("index"), true);
    let bytes = fs::read(&path).unwrap();
    let number: [u8; 4] = bytes[36..40].try_into().unwrap();
    let entry_at = |number: u32| 40 + 4 * 100 + number as usize * 20;
    // What the first entry has, put once more.
    let first = &bytes[entry_at(1)..][..20];
    let slot_at = 40 + u32::from_be_bytes(first[..4].try_into().unwrap()) as usize % 100 * 4;
    let entry = [&first[..16], &bytes[slot_at..slot_at + 4]].concat();
    overwrite(&path, entry_at(u32::from_be_bytes(number)) as u64, &entry);
    overwrite(&path, slot_at as u64, &number);

    assert_mended_by_a_start(dir.path(), Kind::IndexBroken);
}

#[test]
fn index_file_that_a_killed_process_has_just_made_is_made_anew_by_the_next_start() {
    let dir = sound();
    fs::write(dir.path().join("index/99991231235959999"), "").unwrap();
    assert_mended_by_a_start(dir.path(), Kind::FileLength);
}

/// A check warns of `kind`, and of nothing else, and of nothing any more after a start.
fn assert_mended_by_a_start(root: &Path, kind: Kind) {
    let findings = check(root).findings;
    let found: Vec<_> = findings.iter().map(|found| (found.severity, found.kind)).collect();
    assert_eq!(found, [(Severity::Warning, kind)]);
    open(&small(root)).close().unwrap();
    assert!(is_clean(&check(root)));
}

#[test]
fn deleted_messages_and_topics_made_anew_are_no_damage() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_keyed(&store, 0..MESSAGES);
    store.close().unwrap();
    let mut files: Vec<_> = fs::read_dir(dir.path().join("commitlog")).unwrap().collect();
    files.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    fs::remove_file(files[0].as_ref().unwrap().path()).unwrap();
    let report = check(dir.path());
    assert!(is_clean(&report), "{:?}", report.findings);

    fs::remove_dir_all(dir.path().join("consumequeue/TopicA")).unwrap();
    let config = dir.path().join("config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    let report = check(dir.path());
    assert!(is_clean(&report), "{:?}", report.findings);
}

#[test]
fn topics_are_not_taken_for_deleted_while_a_journal_may_have_them() {
    let dir = sound();
    let journal = dir.path().join("config/topics.json.journal");
    fs::write(dir.path().join("config/topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    let deleted = |report: &Report| {
        report.findings.iter().any(|finding| finding.what.contains("deleted topics"))
    };
    fs::remove_dir_all(dir.path().join("consumequeue/TopicA")).unwrap();
    assert!(deleted(&check(dir.path())));
    fs::write(&journal, "").unwrap();
    let report = check(dir.path());
    assert!(!deleted(&report), "{:?}", report.findings);
    let told = report.findings.iter().find(|finding| finding.kind == Kind::Journal).unwrap();
    assert_eq!((told.severity, &told.path), (Severity::Info, &journal));
}
