//! The index of a store that is opened with other settings.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use oxmq_protocol::message::Message;
use oxmq_store::StoreConfig;

#[test]
fn index_of_other_sizes_is_made_anew() {
    for (slots, entries) in [(100, 700), (70, 1_000), (100, 2_000)] {
        let dir = temp_dir();
        let store = open(&small(dir.path()));
        for number in 0..1_500 {
            let text = format!("KEYS\u{1}k{number}\u{2}");
            let properties = text.as_bytes();
            store.put_message(&Message { properties, ..message("t", 0, b"x") });
        }
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
