//! What happens when files cannot be removed.

#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use oxmq_store::{Environment, Fs, FsOp, MessageStore, StoreConfig};

/// A store in which files whose path has `part` in it cannot be removed as long as the flag is up.
fn open_stuck(config: &StoreConfig, part: &'static str) -> (Arc<MessageStore>, Arc<AtomicBool>) {
    let stuck = Arc::new(AtomicBool::new(true));
    let is_stuck = Arc::clone(&stuck);
    let fs = Fs::with_fault(move |op, path: &Path| {
        let is_meant = op == FsOp::Remove && path.to_string_lossy().contains(part);
        match is_meant && is_stuck.load(Ordering::Relaxed) {
            true => Err(io::Error::other("injected")),
            false => Ok(()),
        }
    });
    let environment = Environment { fs, ..Environment::default() };
    (MessageStore::open_with(config.clone(), environment).unwrap(), stuck)
}

#[test]
fn topic_that_is_made_anew_after_a_failed_deletion_has_none_of_the_old_messages() {
    for is_clean in [true, false] {
        let dir = temp_dir();
        let config = StoreConfig { mapped_file_size_commit_log: 20 << 20, ..small(dir.path()) };
        let store = open(&config);
        put_run(&store, 0..100);
        store.close().unwrap();
        drop(store);
        let (store, stuck) = open_stuck(&config, "consumequeue/TopicA");
        assert!(store.delete_topic("TopicA").is_err());
        put_run(&store, 0..6);
        assert_eq!(check_run(&store, 6), 6);
        stuck.store(false, Ordering::Relaxed);
        // More than what is read again after a clean stop.
        let large = vec![b'x'; 4_000_000];
        for _ in 0..20 {
            put(&store, "other", 0, &large);
        }
        if is_clean {
            store.close().unwrap();
        }
        drop(store);
        let store = open(&config);
        assert_eq!(check_run(&store, 6), 6, "clean: {is_clean}");
        put_run(&store, 6..8);
        assert_eq!(check_run(&store, 8), 8);
    }
}

#[test]
fn log_file_that_could_not_be_removed_is_tried_again_and_keeps_no_queue_from_being_cleaned() {
    let dir = temp_dir();
    let config = deleting(small(dir.path()));
    let (store, stuck) = open_stuck(&config, "commitlog/00000000000000032768");
    put_run(&store, 0..1_000);
    store.delete_expired_files();
    wait_until(|| store.min_phy_offset() == 32_768 && store.min_offset("TopicA", 0) > 20);
    assert!(!dir.path().join("consumequeue/TopicA/0/00000000000000000000").exists());
    stuck.store(false, Ordering::Relaxed);
    store.delete_expired_files();
    wait_until(|| store.min_phy_offset() > 65_536);
    assert!(!dir.path().join("commitlog/00000000000000032768").exists());
}
