//! A disk that fills up and is freed again: writes stop with a reason, and resume by themselves.

#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use oxmq_store::{
    DiskSpace, Environment, Fs, FsOp, MessageStore, PutMessageStatus, Refusal, StoreConfig,
};

/// Within this time of space being freed, messages have to be taken again.
const RESUME_WITHIN: Duration = Duration::from_secs(10);
const TOTAL: u64 = 100 << 30;

/// A store that is told how many bytes of the disk are available, and looks as often as by default.
fn open_on_disk(dir: &std::path::Path, available: &Arc<AtomicU64>) -> Arc<MessageStore> {
    let available = Arc::clone(available);
    let fs = Fs::with_space(move |_| {
        let available_bytes = available.load(Ordering::Relaxed);
        let used_bytes = TOTAL - available_bytes;
        Some(DiskSpace { total_bytes: TOTAL, used_bytes, available_bytes })
    });
    // Nothing to delete: only the freed space can help.
    let config = StoreConfig { clean_file_forcibly_enable: false, ..small(dir) };
    assert_eq!(config.clean_resource_interval, StoreConfig::default().clean_resource_interval);
    MessageStore::open_with(config, Environment { fs, ..Environment::default() }).unwrap()
}

fn assert_stops_and_resumes(full: u64, reason: Refusal) {
    let dir = temp_dir();
    let available = Arc::new(AtomicU64::new(TOTAL / 2));
    let store = open_on_disk(dir.path(), &available);
    put_run(&store, 0..10);
    available.store(full, Ordering::Relaxed);
    wait_until(|| store.refusal().is_some());
    assert_eq!(store.refusal(), Some(reason));
    let refused = store.put_message(&message("TopicA", 0, b"x"));
    assert_eq!(refused.status, PutMessageStatus::ServiceNotAvailable);
    // What is there is still served.
    assert_eq!(check_run(&store, 10), 10);

    available.store(TOTAL / 2, Ordering::Relaxed);
    let freed = Instant::now();
    wait_until(|| store.is_writable());
    assert!(freed.elapsed() < RESUME_WITHIN, "{:?}", freed.elapsed());
    put_run(&store, 10..20);
    assert_eq!(check_run(&store, 20), 20);
    store.close().unwrap();
}

#[test]
fn writes_stop_above_the_ratio_and_resume_when_space_is_freed() {
    assert_stops_and_resumes(TOTAL / 100 * 5, Refusal::DiskFull(95));
}

#[test]
fn writes_stop_below_the_reserve_and_resume_when_space_is_freed() {
    // Less than the ratio would let pass on a small disk: the reserve is in bytes.
    let dir = temp_dir();
    let available = Arc::new(AtomicU64::new(1 << 30));
    let seen = Arc::clone(&available);
    let fs = Fs::with_space(move |_| {
        let available_bytes = seen.load(Ordering::Relaxed);
        let used_bytes = 8 << 20;
        let total_bytes = used_bytes + available_bytes;
        Some(DiskSpace { total_bytes, used_bytes, available_bytes })
    });
    let config = StoreConfig { clean_resource_interval: 50, ..small(dir.path()) };
    let store =
        MessageStore::open_with(config, Environment { fs, ..Environment::default() }).unwrap();
    put_run(&store, 0..10);
    available.store(24 << 20, Ordering::Relaxed);
    wait_until(|| store.refusal() == Some(Refusal::DiskFull(25)));
    available.store(1 << 30, Ordering::Relaxed);
    let freed = Instant::now();
    wait_until(|| store.is_writable());
    assert!(freed.elapsed() < RESUME_WITHIN, "{:?}", freed.elapsed());
    put_run(&store, 10..20);
    store.close().unwrap();
}

#[test]
fn a_disk_that_is_full_already_takes_nothing() {
    let dir = temp_dir();
    let fs = Fs::with_space(|_| {
        let available_bytes = TOTAL / 100 * 5;
        let used_bytes = TOTAL - available_bytes;
        Some(DiskSpace { total_bytes: TOTAL, used_bytes, available_bytes })
    });
    let config = StoreConfig { clean_resource_interval: 3_600_000, ..small(dir.path()) };
    let store =
        MessageStore::open_with(config, Environment { fs, ..Environment::default() }).unwrap();
    wait_until(|| store.refusal() == Some(Refusal::DiskFull(95)));
    store.close().unwrap();
}

#[test]
fn a_log_that_grows_between_two_looks_leaves_the_reserve() {
    let dir = temp_dir();
    let available = Arc::new(AtomicU64::new(TOTAL / 2));
    let has_looked = Arc::new(AtomicBool::new(false));
    let (seen, looks) = (Arc::clone(&available), Arc::clone(&has_looked));
    let fs = Fs::with_space(move |dir| {
        looks.fetch_or(dir.ends_with("consumequeue"), Ordering::Relaxed);
        let available_bytes = seen.load(Ordering::Relaxed);
        let used_bytes = TOTAL - available_bytes;
        Some(DiskSpace { total_bytes: TOTAL, used_bytes, available_bytes })
    });
    let config = StoreConfig { clean_resource_interval: 3_600_000, ..small(dir.path()) };
    let store =
        MessageStore::open_with(config, Environment { fs, ..Environment::default() }).unwrap();
    wait_until(|| has_looked.load(Ordering::Relaxed));
    available.store(31 << 20, Ordering::Relaxed);
    let put = || store.put_message(&message("TopicA", 0, &[0; 1_000])).status;
    // What has been reserved already may be filled.
    let refused = (0..1_000).map(|_| put()).find(|status| *status != PutMessageStatus::PutOk);
    assert_eq!(refused, Some(PutMessageStatus::ServiceNotAvailable));
    available.store(TOTAL / 2, Ordering::Relaxed);
    assert_eq!(put(), PutMessageStatus::PutOk);
    store.close().unwrap();
}

#[test]
fn files_are_deleted_before_they_expire_where_messages_are_refused() {
    let dir = temp_dir();
    let used_percent = Arc::new(AtomicU64::new(40));
    let seen = Arc::clone(&used_percent);
    let fs = Fs::with_space(move |_| {
        let used_bytes = TOTAL / 100 * seen.load(Ordering::Relaxed);
        let available_bytes = TOTAL - used_bytes;
        Some(DiskSpace { total_bytes: TOTAL, used_bytes, available_bytes })
    });
    // Messages are refused long before anything else would be deleted.
    let config = StoreConfig {
        disk_space_warning_level_ratio: 50,
        clean_resource_interval: 50,
        ..small(dir.path())
    };
    let store =
        MessageStore::open_with(config, Environment { fs, ..Environment::default() }).unwrap();
    put_run(&store, 0..300);
    used_percent.store(60, Ordering::Relaxed);
    wait_until(|| store.refusal() == Some(Refusal::DiskFull(60)));
    wait_until(|| store.min_phy_offset() > 0);
    store.close().unwrap();
}

#[test]
fn store_on_a_full_disk_is_opened_and_read() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..100);
    store.close().unwrap();
    drop(store);
    for was_closed in [true, false] {
        // Files that have been written have their blocks.
        let fs = Fs::with_fault(|op, path| {
            let is_empty = path.metadata().is_ok_and(|file| file.len() == 0);
            match op {
                FsOp::Allocate => Err(io::ErrorKind::StorageFull.into()),
                FsOp::Write if is_empty => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        });
        let environment = Environment { fs, ..Environment::default() };
        let store = MessageStore::open_with(small(dir.path()), environment).unwrap();
        assert_eq!(store.was_closed(), was_closed);
        assert_eq!(check_run(&store, 100), 100);
        let refused = store.put_message(&message("TopicA", 0, b"x"));
        assert_eq!(refused.status, PutMessageStatus::ServiceNotAvailable);
        // It has written nothing of what tells the next start that it ran, but that it did.
        drop(store);
    }
    let store = open(&small(dir.path()));
    put_run(&store, 100..200);
    check_run(&store, 200);
}
