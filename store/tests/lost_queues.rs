//! Queues whose files are not there any more, or damaged, and whose records are older than the checkpoint.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::*;
use oxmq_store::{Clock, Environment, MessageStore, StoreConfig};

const OLD: usize = 90;
const NEW: usize = 400;

/// A store in `root` that was closed: a queue that nothing has come into for long, and one that goes on.
fn make(config: &StoreConfig) {
    let clock = Clock::manual(1_700_000_000_000);
    let environment = Environment { clock: clock.clone(), ..Environment::default() };
    let store = MessageStore::open_with(config.clone(), environment).unwrap();
    for number in 0..OLD {
        put(&store, "Old", 0, &body(number));
    }
    for number in 0..NEW {
        clock.set(1_700_000_000_000 + 1_000 * number as i64);
        put(&store, "New", 0, &body(number));
    }
    store.close().unwrap();
}

fn crash(root: &Path) {
    fs::write(root.join("abort"), "1").unwrap();
}

fn assert_all_there(config: &StoreConfig, what: &str) {
    let store = open(config);
    for (topic, count) in [("Old", OLD), ("New", NEW)] {
        assert_eq!(store.bounds(topic, 0), (0, count as i64), "{topic}, {what}");
        assert_eq!(read_all(&store, topic, 0).len(), count, "{topic}, {what}");
    }
    store.close().unwrap();
}

#[test]
fn queues_that_were_taken_away_are_made_anew_from_the_whole_log() {
    for is_clean in [true, false] {
        let dir = temp_dir();
        let config = small(dir.path());
        make(&config);
        fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
        if !is_clean {
            crash(dir.path());
        }
        assert_all_there(&config, if is_clean { "stopped" } else { "crashed" });
    }
}

#[test]
fn a_log_that_was_away_for_one_start_has_all_its_queues_again() {
    let dir = temp_dir();
    let config = small(dir.path());
    make(&config);
    let (log, kept) = (dir.path().join("commitlog"), dir.path().join("kept"));
    fs::rename(&log, &kept).unwrap();
    open(&config).close().unwrap();
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&kept, &log).unwrap();
    assert_all_there(&config, "the log is back");
}

#[test]
fn a_damaged_unit_in_a_newer_file_leaves_the_older_files() {
    let dir = temp_dir();
    let config = small(dir.path());
    make(&config);
    // The third file from the end, with units 40 to 59.
    let path = dir.path().join("consumequeue/Old/0/00000000000000000800");
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[0; 20], 0).unwrap();
    crash(dir.path());
    let store = open(&config);
    assert_eq!(store.bounds("Old", 0), (0, 40));
    store.close().unwrap();
}

#[test]
fn a_queue_whose_extended_units_are_lost_is_not_lost_with_them() {
    let dir = temp_dir();
    let config = StoreConfig {
        enable_consume_queue_ext: true,
        mapped_file_size_consume_queue_ext: 200,
        ..small(dir.path())
    };
    make(&config);
    fs::remove_dir_all(dir.path().join("consumequeue_ext/Old")).unwrap();
    crash(dir.path());
    assert_all_there(&config, "without extended units");
    assert!(dir.path().join("consumequeue_ext/Old/0/00000000000000000000").exists());
}
