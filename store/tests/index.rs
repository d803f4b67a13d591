//! The index of a store that is opened with other settings.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use oxmq_protocol::message::Message;
use oxmq_store::{MessageStore, StoreConfig};

/// More messages with a key than one file of the index takes.
fn put_keys(store: &MessageStore) {
    for number in 0..1_500 {
        let text = format!("KEYS\u{1}k{number}\u{2}");
        let properties = text.as_bytes();
        store.put_message(&Message { properties, ..message("t", 0, b"x") });
    }
}

#[test]
fn index_of_other_sizes_is_made_anew() {
    for (slots, entries) in [(100, 700), (70, 1_000), (100, 2_000)] {
        let dir = temp_dir();
        let store = open(&small(dir.path()));
        put_keys(&store);
        store.close().unwrap();
        let sizes =
            StoreConfig { max_hash_slot_num: slots, max_index_num: entries, ..small(dir.path()) };
        let store = open(&sizes);
        for number in 0..1_500 {
            let found = store.query_message("t", &format!("k{number}"), 64, 0, i64::MAX).unwrap();
            assert_eq!(found.message_count, 1, "{number} with {slots} and {entries}");
        }
    }
}

#[test]
fn index_files_that_are_missing_are_made_anew_after_a_clean_stop() {
    for removed in [0..usize::MAX, 1..usize::MAX] {
        let dir = temp_dir();
        let store = open(&small(dir.path()));
        put_keys(&store);
        store.close().unwrap();
        let files = std::fs::read_dir(dir.path().join("index")).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        let is_removed = |at: &usize| removed.contains(at);
        assert!((0..paths.len()).any(|at| is_removed(&at)), "{}", paths.len());
        for (_, path) in paths.iter().enumerate().filter(|(at, _)| is_removed(at)) {
            std::fs::remove_file(path).unwrap();
        }
        let store = open(&small(dir.path()));
        for number in 0..1_500 {
            let found = store.query_message("t", &format!("k{number}"), 64, 0, i64::MAX).unwrap();
            assert_eq!(found.message_count, 1, "{number} without {removed:?}");
        }
    }
}
