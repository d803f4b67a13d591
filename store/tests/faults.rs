//! File operations that fail, and processes that are killed.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use oxmq_protocol::message::Message;
use oxmq_store::{
    Environment, FlushDiskType, Fs, FsOp, JsonFile, MessageStore, PutMessageStatus, Refusal,
    StoreConfig, StoreError,
};

fn open_with(config: &StoreConfig, fs: Fs) -> Result<Arc<MessageStore>, StoreError> {
    MessageStore::open_with(config.clone(), Environment { fs, ..Environment::default() })
}

/// Puts `numbers` in order and stops at the first that is not as durable as configured; returns the
/// next number.
fn put_while_ok(store: &MessageStore, numbers: std::ops::Range<usize>) -> usize {
    for number in numbers.clone() {
        let body = body(number);
        let message = message("TopicA", (number % 2) as i32, &body);
        let result = store.put_message(&message);
        if result.status != PutMessageStatus::PutOk {
            return number;
        }
        let (answer, answers) = std::sync::mpsc::channel();
        let tell = move |status| answer.send(status).unwrap();
        store.when_durable(result.end_phy_offset(), Box::new(tell));
        if answers.recv().unwrap() != PutMessageStatus::PutOk {
            return number;
        }
    }
    numbers.end
}

#[test]
fn operation_that_fails_loses_nothing_that_was_answered() {
    fail_one_operation(&|config| config, 1, check_run);
}

#[test]
fn operation_that_fails_loses_nothing_where_units_lead_to_extended_ones() {
    let extended = |config| StoreConfig {
        enable_consume_queue_ext: true,
        mapped_file_size_consume_queue_ext: 500,
        ..config
    };
    fail_one_operation(&extended, 2, check_run);
}

#[test]
fn operation_that_fails_loses_nothing_where_every_message_is_flushed() {
    let sync = |config| StoreConfig { flush_disk_type: FlushDiskType::SyncFlush, ..config };
    fail_one_operation(&sync, 5, check_run_sent_again);
}

/// As [`check_run`], where a message that was refused may be there, too, before the one that was sent
/// again: it was in memory, and the next write took it along.
fn check_run_sent_again(store: &MessageStore, least: usize) -> usize {
    let mut count = 0;
    for queue_id in 0..2 {
        let mut next = queue_id as usize;
        for (index, message) in read_all(store, "TopicA", queue_id).iter().enumerate() {
            assert_eq!(message.queue_offset, index as i64);
            if next < 2 || message.body != body(next - 2) {
                assert_eq!(message.body, body(next), "message {next}");
                next += 2;
                count += 1;
            }
        }
    }
    assert!(count >= least, "{count} of at least {least} messages");
    count
}

/// Does the same over and over, and has another operation fail each time: one in `stride`. A
/// metadata file is saved before and after.
fn fail_one_operation(
    change: &dyn Fn(StoreConfig) -> StoreConfig,
    stride: usize,
    check: fn(&MessageStore, usize) -> usize,
) {
    let mut fail_at = 0;
    loop {
        let dir = temp_dir();
        let config = change(small(dir.path()));
        let progress = dir.path().join("config/progress.json");
        let calls = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(AtomicBool::new(false));
        let (counter, flag) = (Arc::clone(&calls), Arc::clone(&failed));
        let fs = Fs::with_fault(move |_, _| {
            if counter.fetch_add(1, Ordering::Relaxed) == fail_at {
                flag.store(true, Ordering::Relaxed);
                return Err(io::Error::other("injected"));
            }
            Ok(())
        });
        let mut answered = 0;
        let mut saved = None;
        let file = JsonFile::with_fs(fs.clone(), &progress);
        let mut save = |number: usize| {
            if file.save(&number).is_ok() {
                saved = Some(number);
            }
        };
        save(0);
        if let Ok(store) = open_with(&config, fs) {
            // A message that is refused is sent again, as a client does.
            while answered < 210 {
                let next = put_while_ok(&store, answered..210);
                if next == answered && !store.is_writable() {
                    break;
                }
                answered = next;
            }
            assert!(answered == 210 || store.refusal().is_some(), "operation {fail_at}");
            drop(store.query_message("TopicA", "none", 1, 0, i64::MAX));
            drop(store.close());
        }
        save(1);
        save(2);
        // One of them failed at most, and the last that did not is there, or what came after it.
        let loaded = JsonFile::<usize>::new(&progress).load().unwrap();
        assert!(loaded >= saved && saved >= Some(1), "operation {fail_at}: {loaded:?} {saved:?}");
        // What is not flushed can be read, too.
        let flush_disk_type = FlushDiskType::AsyncFlush;
        let store = open(&StoreConfig { flush_disk_type, ..config });
        let count = check(&store, answered);
        put_run(&store, count..count + 5);
        check(&store, count + 5);
        store.close().unwrap();
        if !failed.load(Ordering::Relaxed) {
            assert!(fail_at > 20, "the workload does {fail_at} operations only");
            return;
        }
        fail_at += stride;
    }
}

#[test]
fn full_disk_refuses_messages_until_there_is_room() {
    let dir = temp_dir();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let fs = Fs::with_fault(move |op, _| {
        if is_full.load(Ordering::Relaxed) && matches!(op, FsOp::Create | FsOp::Allocate) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    });
    let store = open_with(&small(dir.path()), fs).unwrap();
    let stored = put_while_ok(&store, 0..50);
    assert_eq!(stored, 50);
    full.store(true, Ordering::Relaxed);
    // What has been reserved can still be filled.
    let stored = put_while_ok(&store, 50..10_000);
    assert!(stored < 10_000);
    let again = store.put_message(&message("TopicA", 0, &body(stored)));
    assert_eq!(again.status, PutMessageStatus::ServiceNotAvailable);
    assert_eq!(check_run(&store, stored), stored);
    full.store(false, Ordering::Relaxed);
    assert_eq!(put_while_ok(&store, stored..stored + 200), stored + 200);
    store.close().unwrap();
    check_run(&open(&small(dir.path())), stored + 200);
}

#[test]
fn full_disk_refuses_messages_where_blocks_cannot_be_reserved() {
    let dir = temp_dir();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let fs = Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        match op {
            FsOp::Allocate => Err(io::ErrorKind::Unsupported.into()),
            FsOp::Write if is_log && is_full.load(Ordering::Relaxed) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    });
    let store = open_with(&small(dir.path()), fs).unwrap();
    assert_eq!(put_while_ok(&store, 0..500), 500);
    full.store(true, Ordering::Relaxed);
    // Storing into a hole of the file would end the process instead.
    let stored = put_while_ok(&store, 500..2_000);
    assert!(stored < 2_000);
    assert_eq!(check_run(&store, stored), stored);
    full.store(false, Ordering::Relaxed);
    assert_eq!(put_while_ok(&store, stored..stored + 500), stored + 500);
    store.close().unwrap();
    check_run(&open(&small(dir.path())), stored + 500);
}

#[test]
fn failed_flush_stops_the_store_and_answers_nobody_with_success() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let fs = Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        if is_broken.load(Ordering::Relaxed) && op == FsOp::Flush && is_log {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    });
    let config = StoreConfig { flush_disk_type: FlushDiskType::SyncFlush, ..small(dir.path()) };
    let store = open_with(&config, fs).unwrap();
    let durable = |number: usize| {
        let result = put(&store, "TopicA", (number % 2) as i32, &body(number));
        let (answer, answers) = std::sync::mpsc::channel();
        store.when_durable(
            result.end_phy_offset(),
            Box::new(move |status| answer.send(status).unwrap()),
        );
        answers.recv().unwrap()
    };
    assert_eq!(durable(0), PutMessageStatus::PutOk);
    broken.store(true, Ordering::Relaxed);
    assert_eq!(durable(1), PutMessageStatus::ServiceNotAvailable);
    broken.store(false, Ordering::Relaxed);
    assert!(store.refusal().unwrap().to_string().contains("the disk is gone"));
    assert_eq!(
        store.put_message(&message("TopicA", 0, b"x")).status,
        PutMessageStatus::ServiceNotAvailable
    );
    assert!(store.close().is_err());
    drop(store);
    let store = open(&config);
    assert!(check_run(&store, 1) <= 2);
}

#[test]
fn queues_that_cannot_be_written_stop_senders_until_they_can() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let fs = Fs::with_fault(move |_, path| {
        let is_queue = path.components().any(|part| part.as_os_str() == "consumequeue");
        if is_queue && is_broken.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    });
    let config = StoreConfig { flush_interval_consume_queue: 1, ..small(dir.path()) };
    let store = open_with(&config, fs).unwrap();
    assert_eq!(put_while_ok(&store, 0..20), 20);
    wait_until(|| store.refusal() == Some(Refusal::QueuesUnwritable));
    assert_eq!(put_while_ok(&store, 20..21), 20);
    assert_eq!(check_run(&store, 20), 20);
    broken.store(false, Ordering::Relaxed);
    wait_until(|| store.is_writable());
    assert_eq!(put_while_ok(&store, 20..30), 30);
    store.close().unwrap();
    check_run(&open(&config), 30);
}

/// Set for a child: the directory of the store that it fills until it is killed.
const CHILD_DIR: &str = "OXMQ_STORE_TEST_CHILD_DIR";

/// Not a test of its own: what the child of [`killed_process_loses_nothing_that_was_answered`] runs.
#[test]
fn child_that_fills_a_store() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = open(&small(dir.as_ref()));
    let mut number = check_run(&store, 0);
    let mut out = io::stdout().lock();
    loop {
        put_run(&store, number..number + 10);
        number += 10;
        writeln!(out, "answered {number}").unwrap();
    }
}

#[test]
fn killed_process_loses_nothing_that_was_answered() {
    let dir = temp_dir();
    let mut answered = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_fills_a_store", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = answered + 30 + round * 17;
        for line in lines {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("answered ") {
                answered = number.parse().unwrap();
                if answered >= enough {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&small(dir.path()));
        answered = check_run(&store, answered);
        // Half of the rounds crash again right after recovery.
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
}

#[test]
fn who_comes_while_the_log_is_stuck_is_told_so_in_time() {
    let dir = temp_dir();
    let stuck = Arc::new(AtomicBool::new(false));
    let is_stuck = Arc::clone(&stuck);
    let fs = Fs::with_fault(move |op, path| {
        let in_log = path.to_string_lossy().contains("commitlog");
        while op == FsOp::Allocate && in_log && is_stuck.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        Ok(())
    });
    let store = open_with(&small(dir.path()), fs).unwrap();
    put_run(&store, 0..5);
    let limit = Duration::from_millis(50);
    assert_eq!(store.await_turn(limit), Ok(()));
    stuck.store(true, Ordering::Relaxed);
    let sender = Arc::clone(&store);
    let sender = std::thread::spawn(move || put_run(&sender, 5..200));
    // Sooner or later it needs blocks that cannot be had, and has the log to itself until then.
    let first = loop {
        match store.await_turn(limit) {
            Ok(()) => std::thread::yield_now(),
            Err(stuck) => break stuck,
        }
    };
    assert!(first.held >= limit && first.waiting == 0, "{first:?}");
    let began = Instant::now();
    let second = store.await_turn(limit).unwrap_err();
    assert!(began.elapsed() < limit, "nobody waits for what has taken too long: {second:?}");
    stuck.store(false, Ordering::Relaxed);
    sender.join().unwrap();
    assert_eq!(store.await_turn(limit), Ok(()));
    store.close().unwrap();
}

#[test]
fn topic_whose_files_could_not_be_removed_is_deleted_by_the_next_try() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..10);
    put(&store, "other", 0, b"last");
    store.close().unwrap();
    drop(store);
    let fails = Arc::new(AtomicBool::new(true));
    let once = Arc::clone(&fails);
    let fs = Fs::with_fault(move |op, path| {
        let is_queue = path.to_str().is_some_and(|path| path.contains("consumequeue/TopicA"));
        match op == FsOp::Remove && is_queue && once.swap(false, Ordering::Relaxed) {
            true => Err(io::Error::other("injected")),
            false => Ok(()),
        }
    });
    let store = open_with(&small(dir.path()), fs).unwrap();
    assert!(store.delete_topic("TopicA").is_err());
    store.delete_topic("TopicA").unwrap();
    assert!(!dir.path().join("consumequeue/TopicA").exists());
    store.close().unwrap();
    drop(store);
    assert_eq!(open(&small(dir.path())).queues().into_keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn index_file_whose_flush_failed_is_made_anew_at_the_next_start() {
    let dir = temp_dir();
    let config = StoreConfig { max_index_num: 20, ..small(dir.path()) };
    let fails = Arc::new(AtomicBool::new(true));
    let once = Arc::clone(&fails);
    let fs = Fs::with_fault(move |op, path| {
        let is_index = path.parent().is_some_and(|dir| dir.ends_with("index"));
        match op == FsOp::Flush && is_index && once.swap(false, Ordering::Relaxed) {
            true => Err(io::Error::other("injected")),
            false => Ok(()),
        }
    });
    let store = open_with(&config, fs).unwrap();
    let found = |store: &MessageStore| {
        store
            .query_message("TopicA", "key", 100, 0, i64::MAX)
            .map_or(0, |found| found.message_count)
    };
    for number in 0..50 {
        let body = body(number);
        let message = Message { properties: b"KEYS\x01key\x02", ..message("TopicA", 0, &body) };
        assert!(store.put_message(&message).status.is_stored());
    }
    wait_until(|| found(&store) == 50);
    assert!(!fails.load(Ordering::Relaxed));
    // The next flush succeeded, although what was to be written may be gone.
    assert!(store.close().is_err());
    drop(store);
    let checkpoint = std::fs::read(dir.path().join("checkpoint")).unwrap();
    assert_eq!(checkpoint[16..24], [0; 8], "no index file counts as flushed");
    let store = open(&config);
    wait_until(|| found(&store) == 50);
    store.close().unwrap();
}

#[test]
fn index_that_cannot_have_a_file_leaves_none_behind_and_tries_again_now_and_then() {
    let dir = temp_dir();
    let (full, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (is_full, counted) = (Arc::clone(&full), Arc::clone(&tries));
    let fs = Fs::with_fault(move |op, path| {
        let is_index = path.parent().is_some_and(|dir| dir.ends_with("index"));
        if op != FsOp::Allocate || !is_index || !is_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        counted.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::StorageFull.into())
    });
    let store = open_with(&small(dir.path()), fs).unwrap();
    for number in 0..50 {
        let body = body(number);
        let message = Message { properties: b"KEYS\x01key\x02", ..message("TopicA", 0, &body) };
        assert!(store.put_message(&message).status.is_stored());
        std::thread::sleep(Duration::from_millis(2));
    }
    wait_until(|| tries.load(Ordering::Relaxed) > 0);
    let files = || std::fs::read_dir(dir.path().join("index")).unwrap().count();
    wait_until(|| files() == 0);
    assert!(tries.load(Ordering::Relaxed) < 25, "{tries:?}");
    full.store(false, Ordering::Relaxed);
    let found = || store.query_message("TopicA", "key", 100, 0, i64::MAX);
    wait_until(|| found().is_ok_and(|found| found.message_count == 50));
    assert_eq!(files(), 1);
    store.close().unwrap();
}
