//! What settings do to a store.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use oxmq_protocol::message::BatchMessages;
use oxmq_store::{PutMessageStatus, StoreConfig};

#[test]
fn batch_is_too_large_by_what_was_sent_and_not_by_what_becomes_of_it() {
    let body = batch(&[&b"x"[..]; 100]);
    let put_with = |max_message_size| {
        let dir = temp_dir();
        let store = open(&StoreConfig { max_message_size, ..small(dir.path()) });
        let envelope = message("t", 0, b"");
        let result = store.put_batch(&envelope, BatchMessages::new(&body), &mut Vec::new());
        let stored = store.max_phy_offset();
        store.close().unwrap();
        (result.status, stored)
    };
    let (status, stored) = put_with(body.len());
    assert_eq!(status, PutMessageStatus::PutOk);
    assert!(stored > 2 * body.len() as i64, "{stored} bytes of {}", body.len());
    assert_eq!(put_with(body.len() - 1), (PutMessageStatus::UnknownError, 0));
}

#[test]
fn everything_is_flushed_each_time_when_no_page_has_to_be_full() {
    let dir = temp_dir();
    let store = open(&StoreConfig {
        flush_commit_log_least_pages: 0,
        flush_interval_commit_log: 10,
        flush_commit_log_thorough_interval: 3_600_000,
        ..small(dir.path())
    });
    put(&store, "t", 0, b"little");
    wait_until(|| store.flushed_phy_offset() == store.max_phy_offset());
    store.close().unwrap();
}

#[test]
fn how_much_is_taken_to_be_in_memory_changes_at_once() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    for number in 0..3 {
        put(&store, "t", 0, &body(number));
    }
    assert!(store.is_in_memory("t", 0, 0));
    let config = StoreConfig::clone(store.config());
    let none = StoreConfig { access_message_in_memory_max_ratio: 0, ..config };
    store.change_config(none).unwrap();
    assert!(!store.is_in_memory("t", 0, 0));
    store.close().unwrap();
}
