//! The next file of the log, which is there before it is needed.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use oxmq_store::{Environment, Fs, FsOp, MessageStore, StoreConfig};

const FILE_BYTES: u64 = 64 << 20;
const SECOND_FILE: &str = "00000000000067108864";

/// Longer than anything is waited for here.
const DEADLINE: Duration = Duration::from_secs(30);

/// File operations of the threads that prepare the log.
#[derive(Default)]
struct Operations {
    /// The second file cannot be made.
    stuck: AtomicBool,
    waiting: AtomicBool,
    /// Writes ahead of what is appended.
    writes_ahead: AtomicUsize,
    /// Steps in which blocks of the second file were reserved.
    reserved: AtomicUsize,
}

fn open_with(dir: &Path, operations: &Arc<Operations>) -> Arc<MessageStore> {
    let operations = Arc::clone(operations);
    let fs = Fs::with_fault(move |op, path| {
        let thread = std::thread::current();
        match (thread.name(), op) {
            (Some("log-ahead"), FsOp::Write) => {
                operations.writes_ahead.fetch_add(1, Ordering::Relaxed);
            }
            (Some("log-next"), FsOp::Create) if path.ends_with(SECOND_FILE) => {
                let begun = Instant::now();
                while operations.stuck.load(Ordering::Relaxed) && begun.elapsed() < DEADLINE {
                    operations.waiting.store(true, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            }
            (Some("log-next"), FsOp::Allocate) if path.ends_with(SECOND_FILE) => {
                operations.reserved.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    });
    let config = StoreConfig { mapped_file_size_commit_log: FILE_BYTES, ..small(dir) };
    MessageStore::open_with(config, Environment { fs, ..Environment::default() }).unwrap()
}

#[test]
fn file_that_takes_long_to_make_holds_up_nothing_before_it() {
    let dir = temp_dir();
    let operations = Arc::new(Operations { stuck: AtomicBool::new(true), ..Operations::default() });
    let store = open_with(dir.path(), &operations);
    // The first file is there, and in use then.
    wait_until(|| operations.writes_ahead.load(Ordering::Relaxed) > 0);
    put(&store, "t", 0, &[b'x'; 60_000]);
    wait_until(|| operations.waiting.load(Ordering::Relaxed));
    for _ in 0..3 {
        let before = operations.writes_ahead.load(Ordering::Relaxed);
        for _ in 0..100 {
            put(&store, "t", 0, &[b'x'; 60_000]);
        }
        wait_until(|| operations.writes_ahead.load(Ordering::Relaxed) > before);
    }
    operations.stuck.store(false, Ordering::Relaxed);
    store.close().unwrap();
}

#[test]
fn busy_store_has_all_blocks_of_the_file_before_it_is_in_use() {
    let dir = temp_dir();
    let operations = Arc::default();
    let store = open_with(dir.path(), &operations);
    wait_until(|| {
        if store.max_phy_offset() < 48 << 20 {
            put(&store, "t", 0, &[b'x'; 60_000]);
        }
        operations.reserved.load(Ordering::Relaxed) == 4
    });
    let second = dir.path().join("commitlog").join(SECOND_FILE);
    assert!(second.exists());
    store.close().unwrap();
    assert!(!second.exists(), "it was never used");
}
