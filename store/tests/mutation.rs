//! Stores whose files were changed at random: they open and serve what they can, or say why not.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use oxmq_protocol::message::{Message, RecordView, properties};
use oxmq_store::{Boundary, MessageStore, StoreConfig};
use proptest::prelude::*;

fn config(root: &Path) -> StoreConfig {
    StoreConfig { max_hash_slot_num: 20, max_index_num: 60, ..small(root) }
}

/// A store with every kind of file, closed.
fn original() -> tempfile::TempDir {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    for number in 0..150 {
        let mut text = Vec::new();
        properties::append(&mut text, properties::KEYS, format!("k{number}").as_bytes());
        properties::append(&mut text, properties::TAGS, b"TagA");
        let body = body(number);
        let message = Message { properties: &text, ..message("t", (number % 3) as i32, &body) };
        store.put_message(&message);
    }
    drop(store.query_message("t", "k1", 1, 0, i64::MAX));
    store.close().unwrap();
    dir
}

fn all_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, files) } else { files.push(path) }
    }
    files.sort();
}

#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Fill(prop::sample::Index, u8),
    Garbage(Vec<u8>),
    Shorten(prop::sample::Index),
    Remove,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        2 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Fill(at, byte)),
        1 => proptest::collection::vec(any::<u8>(), 64).prop_map(Change::Garbage),
        1 => any::<prop::sample::Index>().prop_map(Change::Shorten),
        1 => Just(Change::Remove),
    ]
}

fn apply(path: &Path, change: &Change) {
    let mut bytes = fs::read(path).unwrap();
    // Most of a file is zeros: aim at the part that is not.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used == 0 {
        return;
    }
    match change {
        Change::Flip(at, bits) => bytes[at.index(used)] ^= bits,
        Change::Fill(at, byte) => bytes[at.index(used)..].fill(*byte),
        Change::Garbage(garbage) => {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = garbage[index % garbage.len()].wrapping_add((index / 64) as u8);
            }
        }
        Change::Shorten(at) => bytes.truncate(at.index(used)),
        Change::Remove => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

/// Asks for everything that a store answers; what comes back has to be records.
fn use_everything(store: &MessageStore) {
    for (topic, queue_ids) in store.queues() {
        for queue_id in queue_ids {
            let (mut offset, max) = store.bounds(&topic, queue_id);
            while offset < max {
                let mut out = Vec::new();
                let result = pull(store, &topic, queue_id, offset, &mut out);
                let mut rest = &out[..];
                while !rest.is_empty() {
                    rest = &rest[RecordView::parse(rest).unwrap().total_bytes()..];
                }
                assert!(result.next_begin_offset > offset, "{result:?}");
                offset = result.next_begin_offset;
            }
            for boundary in [Boundary::Lower, Boundary::Upper] {
                store.offset_by_time(&topic, queue_id, 1_700_000_000_000, boundary);
            }
            store.earliest_message_time(&topic, queue_id);
            store.is_in_memory(&topic, queue_id, 0);
        }
    }
    for key in ["k1", "k77", "k149"] {
        store.query_message("t", key, 32, 0, i64::MAX).unwrap();
    }
    for phy_offset in [0, 1, 16_384, -1, i64::MAX] {
        store.look_message_by_offset(phy_offset);
    }
    put(store, "t", 0, b"goes on");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_store_serves_what_it_can_or_says_why_not(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any_change()), 1..4),
        crashed in any::<bool>(),
    ) {
        let dir = original();
        let mut files = Vec::new();
        all_files(dir.path(), &mut files);
        for (which, change) in &changes {
            let path = which.get(&files);
            if path.exists() {
                apply(path, change);
            }
        }
        if crashed {
            fs::write(dir.path().join("abort"), "1").unwrap();
        }
        for _ in 0..2 {
            match MessageStore::open(config(dir.path())) {
                Ok(store) => {
                    use_everything(&store);
                    store.close().unwrap();
                }
                Err(error) => {
                    // Only a file of the wrong length is refused, by its name.
                    let shortened =
                        changes.iter().any(|(_, change)| matches!(change, Change::Shorten(_)));
                    prop_assert!(shortened, "{error}");
                    break;
                }
            }
        }
    }
}
