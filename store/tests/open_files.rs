//! A process that may have few files open.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

use common::*;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that the child may have open.
const FEW: u64 = 64;
const QUEUES: i32 = 200;

/// Set for a child: the directory of its store.
const CHILD_DIR: &str = "OXMQ_STORE_TEST_OPEN_FILES_DIR";

/// Not a test of its own: what the child of the test below runs, as the limit is that of a process.
#[test]
fn child_that_writes_many_queues() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(FEW);
    setrlimit(Resource::Nofile, limit).unwrap();
    let store = open(&small(dir.as_ref()));
    for round in 1..=3 {
        for queue_id in 0..QUEUES {
            put(&store, "TopicA", queue_id, b"body");
        }
        assert_eq!(store.max_offset("TopicA", QUEUES - 1), round);
    }
    // Now at the latest all of them are written.
    store.close().unwrap();
}

#[test]
fn more_queues_are_written_than_files_may_be_open() {
    let dir = temp_dir();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_many_queues", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .status()
        .unwrap();
    assert!(child.success());
    let store = open(&small(dir.path()));
    assert!((0..QUEUES).all(|queue_id| store.max_offset("TopicA", queue_id) == 3));
}
