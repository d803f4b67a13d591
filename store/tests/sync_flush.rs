//! With SYNC_FLUSH: records that are in memory only, and how they come to disk.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use common::*;
use oxmq_protocol::message::{Message, properties};
use oxmq_store::limits::MAX_UNWRITTEN_BYTES;
use oxmq_store::{
    Environment, FlushDiskType, Fs, FsOp, MessageStore, PutMessageStatus, StoreConfig,
};

/// Stores that flush only when they are asked to.
fn rarely_flushed(root: &Path) -> StoreConfig {
    StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        flush_interval_commit_log: 3_600_000,
        ..small(root)
    }
}

/// As [`open`]; its flusher has begun to wait to be asked.
fn open_with(config: &StoreConfig, fs: Fs) -> Arc<MessageStore> {
    let environment = Environment { fs, ..Environment::default() };
    let store = MessageStore::open_with(config.clone(), environment).unwrap();
    // It begins with a look, and has had it when it has flushed for somebody.
    put(&store, "other", 0, b"zero");
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    store
}

/// What becomes of all that is in the log now.
fn durable(store: &MessageStore) -> Receiver<PutMessageStatus> {
    durable_until(store, store.max_phy_offset())
}

fn durable_until(store: &MessageStore, end_phy_offset: i64) -> Receiver<PutMessageStatus> {
    let (answer, answers) = channel();
    let tell = move |status| answer.send(status).unwrap();
    store.when_durable(end_phy_offset, Box::new(tell));
    answers
}

/// What another process would find if this one ended now, which gives no file up.
fn after_a_crash(root: &Path) -> usize {
    let copy = temp_dir();
    copy_dir(&root.join("commitlog"), &copy.path().join("commitlog"));
    std::fs::copy(root.join("abort"), copy.path().join("abort")).unwrap();
    let store = open(&small(copy.path()));
    check_run(&store, 0)
}

/// Writes of log files fail while the flag is set.
fn fails_while(broken: &Arc<AtomicBool>) -> Fs {
    let broken = Arc::clone(broken);
    Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        if broken.load(Ordering::Relaxed) && op == FsOp::Write && is_log {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    })
}

#[test]
fn crash_loses_nothing_that_is_durable_or_was_flushed_soon() {
    let dir = temp_dir();
    let store = open_with(&rarely_flushed(dir.path()), Fs::default());
    // Several files.
    put_run(&store, 0..300);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    assert_eq!(after_a_crash(dir.path()), 300);
    put_run(&store, 300..600);
    assert_eq!(check_run(&store, 300), 300, "what is not flushed is hidden");
    assert_eq!(after_a_crash(dir.path()), 300);
    assert!(store.flush_soon());
    assert_eq!(after_a_crash(dir.path()), 600);
    put_run(&store, 600..900);
    store.close().unwrap();
    drop(store);
    assert_eq!(check_run(&open(&small(dir.path())), 900), 900);
}

#[test]
fn readers_never_see_what_is_not_flushed() {
    let dir = temp_dir();
    let store = open_with(&rarely_flushed(dir.path()), Fs::default());
    let mut text = Vec::new();
    properties::append(&mut text, properties::KEYS, b"key");
    let end = store.max_phy_offset();
    let found = || store.query_message("t", "key", 10, 0, i64::MAX).unwrap().message_count;
    let mut slice = Vec::new();
    for round in 0..3 {
        for _ in 0..2 {
            store.put_message(&Message { properties: &text, ..message("t", 0, b"x") });
        }
        assert_eq!((store.max_offset("t", 0), found()), (2 * round, 2 * round as u32));
        assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
        assert_eq!((store.max_offset("t", 0), found()), (2 * round + 2, 2 * round as u32 + 2));
    }
    store.put_message(&Message { properties: &text, ..message("t", 0, b"x") });
    let flushed = store.flushed_phy_offset();
    assert_eq!(store.look_message_by_offset(flushed), None);
    // The last one is not in the stream either.
    store.read_log(end, 1 << 20, &mut slice).unwrap();
    assert_eq!(end + slice.len() as i64, flushed);
    assert_eq!(store.read_log(flushed, 1 << 20, &mut slice).unwrap(), 0);
}

#[test]
fn who_reads_what_is_not_committed_reads_it_at_once() {
    let dir = temp_dir();
    let config = StoreConfig { read_un_committed: true, ..rarely_flushed(dir.path()) };
    let store = open_with(&config, Fs::default());
    put_run(&store, 0..300);
    assert!(store.flushed_phy_offset() < store.max_phy_offset());
    assert_eq!(check_run(&store, 300), 300);
    // Both ways, while the store is open.
    store.change_config(rarely_flushed(dir.path())).unwrap();
    put_run(&store, 300..310);
    store.change_config(config).unwrap();
    assert_eq!(check_run(&store, 300), 300, "what is only in memory cannot be read");
    put_run(&store, 310..311);
    assert_eq!(check_run(&store, 311), 311);
}

#[test]
fn write_that_fails_refuses_all_that_wait_for_it_until_there_is_room() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let config = rarely_flushed(dir.path());
    let store = open_with(&config, fails_while(&broken));
    put_run(&store, 0..10);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    let ends: Vec<_> = (10..20)
        .map(|number| {
            put_run(&store, number..number + 1);
            store.max_phy_offset()
        })
        .collect();
    broken.store(true, Ordering::Relaxed);
    let answers: Vec<_> = ends.into_iter().map(|end| durable_until(&store, end)).collect();
    for answer in answers {
        assert_eq!(answer.recv().unwrap(), PutMessageStatus::ServiceNotAvailable);
    }
    let refused = || store.put_message(&message("TopicA", 0, &body(20))).status;
    assert_eq!(refused(), PutMessageStatus::ServiceNotAvailable);
    assert!(!store.flush_if_quick());
    assert!(!store.flush_soon());
    assert_eq!(check_run(&store, 10), 10);
    assert_eq!((refused(), store.refusal()), (PutMessageStatus::ServiceNotAvailable, None));
    assert_eq!(store.write_failure(), None, "it is for want of space");
    let end = store.max_phy_offset();

    // Whoever comes first then brings what was refused before, too.
    broken.store(false, Ordering::Relaxed);
    put_run(&store, 20..21);
    assert!(store.max_phy_offset() > end);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    assert_eq!(check_run(&store, 21), 21);
    assert_eq!(after_a_crash(dir.path()), 21);
    store.close().unwrap();
}

#[test]
fn write_that_fails_for_another_reason_than_a_full_disk_is_told_as_it_is() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let fs =
        Fs::with_fault(move |op, _| match op == FsOp::Write && is_broken.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        });
    let store = open_with(&rarely_flushed(dir.path()), fs);
    broken.store(true, Ordering::Relaxed);
    put_run(&store, 0..1);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::ServiceNotAvailable);
    let cause = "Input/output error (os error 5)";
    assert!(store.write_failure().unwrap().ends_with(cause));
    let refused = store.put_message(&message("TopicA", 0, &body(1))).status;
    assert_eq!(refused, PutMessageStatus::ServiceNotAvailable);
    assert!(store.write_failure().unwrap().ends_with(cause));
    broken.store(false, Ordering::Relaxed);
    put_run(&store, 1..2);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    assert_eq!(store.write_failure(), None);
}

#[test]
fn flusher_writes_what_could_not_be_written_once_there_is_room() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let config = StoreConfig { flush_interval_commit_log: 1, ..rarely_flushed(dir.path()) };
    let store = open_with(&config, fails_while(&broken));
    broken.store(true, Ordering::Relaxed);
    put_run(&store, 0..1);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::ServiceNotAvailable);
    assert_eq!(store.max_offset("TopicA", 0), 0);
    broken.store(false, Ordering::Relaxed);
    wait_until(|| store.max_offset("TopicA", 0) == 1);
    assert_eq!(check_run(&store, 1), 1);
    store.close().unwrap();
}

#[test]
fn store_that_closes_with_records_unwritten_loses_none_that_was_answered() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let config = rarely_flushed(dir.path());
    let store = open_with(&config, fails_while(&broken));
    put_run(&store, 0..10);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    put_run(&store, 10..20);
    broken.store(true, Ordering::Relaxed);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::ServiceNotAvailable);
    assert!(store.close().is_err());
    drop(store);
    assert!(dir.path().join("abort").exists());
    // Half of what was refused is in the file.
    let store = open(&small(dir.path()));
    let count = check_run(&store, 10);
    assert!(count < 20);
    put_run(&store, count..count + 5);
    store.close().unwrap();
    drop(store);
    assert_eq!(check_run(&open(&config), count + 5), count + 5);
}

#[test]
fn what_is_in_memory_is_bounded_and_a_sender_hears_of_a_full_disk() {
    let dir = temp_dir();
    let broken = Arc::new(AtomicBool::new(false));
    let config = StoreConfig { mapped_file_size_commit_log: 1 << 20, ..rarely_flushed(dir.path()) };
    let store = open_with(&config, fails_while(&broken));
    let flushed = store.flushed_phy_offset();
    let body = vec![b'x'; 60_000];
    let write = |until: i64| {
        while store.max_phy_offset() < until {
            let status = store.put_message(&message("t", 0, &body)).status;
            if status != PutMessageStatus::PutOk {
                return status;
            }
        }
        PutMessageStatus::PutOk
    };
    let limit = MAX_UNWRITTEN_BYTES as i64;
    assert_eq!(write(flushed + 2 * limit), PutMessageStatus::PutOk);
    let mut slice = Vec::new();
    let is_written = |at: i64, slice: &mut Vec<u8>| store.read_log(at, 1, slice).is_ok();
    assert!(is_written(flushed + limit / 2, &mut slice), "a sender has written it");
    assert_eq!(store.flushed_phy_offset(), flushed);
    broken.store(true, Ordering::Relaxed);
    assert_eq!(write(flushed + 4 * limit), PutMessageStatus::ServiceNotAvailable);
    assert!(store.is_writable(), "there may be room again");
    broken.store(false, Ordering::Relaxed);
    assert_eq!(write(flushed + 4 * limit), PutMessageStatus::PutOk);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    let count = store.max_offset("t", 0);
    assert!(count * 60_000 > 3 * limit);
    assert_eq!(read_all(&store, "t", 0).len(), count as usize);
}

#[test]
fn sender_that_waits_for_room_holds_nobody_up_for_long() {
    let dir = temp_dir();
    let stuck = Arc::new(AtomicBool::new(false));
    let is_stuck = Arc::clone(&stuck);
    let fs = Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        // The helper that makes new pages would hold the sender up in another way.
        let is_helper = std::thread::current().name() == Some("log-ahead");
        let is_due = op == FsOp::Write && is_log && !is_helper;
        while is_due && is_stuck.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        Ok(())
    });
    let config = StoreConfig { mapped_file_size_commit_log: 1 << 20, ..rarely_flushed(dir.path()) };
    let store = open_with(&config, fs);
    stuck.store(true, Ordering::Relaxed);
    let sender = Arc::clone(&store);
    let body = vec![b'x'; 60_000];
    let sender = std::thread::spawn(move || {
        for _ in 0..2 * MAX_UNWRITTEN_BYTES / 60_000 {
            put(&sender, "t", 0, &body);
        }
    });
    let limit = std::time::Duration::from_millis(50);
    wait_until(|| store.await_turn(limit).is_err());
    stuck.store(false, Ordering::Relaxed);
    sender.join().unwrap();
    assert_eq!(store.await_turn(limit), Ok(()));
}

#[test]
fn replica_that_waits_for_the_disk_follows_its_master() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let master = open_with(&rarely_flushed(master_dir.path()), Fs::default());
    let replica = open(&rarely_flushed(replica_dir.path()));
    put_run(&master, 0..300);
    assert!(master.flush_soon());
    let mut position = 0;
    loop {
        let mut slice = Vec::new();
        let count = master.read_log(position, 100, &mut slice).unwrap();
        if count == 0 {
            break;
        }
        replica.append_log(position, &slice).unwrap();
        position += count as i64;
    }
    assert_eq!(replica.max_phy_offset(), master.max_phy_offset());
    assert_eq!(durable(&replica).recv().unwrap(), PutMessageStatus::PutOk);
    assert_eq!(check_run(&replica, 300), 300);
}

#[test]
fn replica_that_could_not_write_a_slice_makes_it_readable_with_the_next_one() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let master = open_with(&rarely_flushed(master_dir.path()), Fs::default());
    let broken = Arc::new(AtomicBool::new(false));
    let environment = Environment { fs: fails_while(&broken), ..Environment::default() };
    let config = rarely_flushed(replica_dir.path());
    let replica = MessageStore::open_with(config, environment).unwrap();
    let mut slice = Vec::new();
    for round in 0..3 {
        put_run(&master, round * 10..round * 10 + 10);
        assert!(master.flush_soon());
        slice.clear();
        let position = replica.max_phy_offset();
        master.read_log(position, 1 << 20, &mut slice).unwrap();
        broken.store(round == 1, Ordering::Relaxed);
        assert_eq!(replica.append_log(position, &slice).is_err(), round == 1);
        assert_eq!(replica.max_phy_offset(), position + slice.len() as i64);
    }
    assert_eq!(durable(&replica).recv().unwrap(), PutMessageStatus::PutOk);
    assert_eq!(check_run(&replica, 30), 30);
}

/// Syncs of log files by the helper that makes them ready, all of which fail, go into `tried`.
fn fails_ahead(tried: &Arc<Mutex<BTreeSet<PathBuf>>>) -> Fs {
    let tried = Arc::clone(tried);
    Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        let is_helper = std::thread::current().name() == Some("log-ahead");
        if op == FsOp::Flush && is_log && is_helper {
            tried.lock().unwrap().insert(path.to_owned());
            return Err(io::Error::other("injected"));
        }
        Ok(())
    })
}

#[test]
fn pages_that_cannot_be_synced_ahead_hold_nobody_up() {
    let dir = temp_dir();
    let tried = Arc::default();
    let config = rarely_flushed(dir.path());
    let store = open_with(&config, fails_ahead(&tried));
    wait_until(|| tried.lock().unwrap().len() >= 2);
    // Several files.
    put_run(&store, 0..300);
    assert_eq!(durable(&store).recv().unwrap(), PutMessageStatus::PutOk);
    assert_eq!((store.is_writable(), check_run(&store, 300)), (true, 300));
    store.close().unwrap();
}

#[test]
fn pages_are_not_synced_ahead_where_nobody_waits_for_flushes() {
    let dir = temp_dir();
    let tried = Arc::default();
    let environment = Environment { fs: fails_ahead(&tried), ..Environment::default() };
    let store = MessageStore::open_with(small(dir.path()), environment).unwrap();
    put_run(&store, 0..300);
    store.close().unwrap();
    assert_eq!(*tried.lock().unwrap(), BTreeSet::new());
}
