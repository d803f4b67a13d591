//! A log in several directories.

#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use common::*;
use oxmq_store::offline::{self, StoreDir};
use oxmq_store::{
    DiskSpace, Environment, FlushDiskType, Fs, FsOp, MessageStore, PutMessageStatus, StoreConfig,
    StoreError,
};

/// Small files that take turns in two directories, and a third one that gets none.
fn config(root: &Path) -> StoreConfig {
    let dirs: Vec<String> =
        ["log-b", "log-a", "old"].iter().map(|dir| root.join(dir).display().to_string()).collect();
    StoreConfig {
        store_path_commit_log: dirs.join(","),
        read_only_commit_log_store_paths: dirs[2].clone(),
        ..small(root)
    }
}

fn names(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<u64> = entries
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn files_take_turns_and_are_read_in_order() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    put_run(&store, 0..400);
    check_run(&store, 400);
    store.close().unwrap();
    let (a, b) = (names(&dir.path().join("log-a")), names(&dir.path().join("log-b")));
    assert!(a.len() > 1 && b.len() > 1, "{a:?} {b:?}");
    // By the place of a file in the sequence, and the order of the directories' names.
    assert!(a.iter().all(|start| start / (16 << 10) % 2 == 0), "{a:?}");
    assert!(b.iter().all(|start| start / (16 << 10) % 2 == 1), "{b:?}");

    // The oldest file moves to where nothing is added, as an operator frees a disk.
    let old = dir.path().join("old");
    std::fs::create_dir(&old).unwrap();
    let name = "00000000000000000000";
    std::fs::rename(dir.path().join("log-a").join(name), old.join(name)).unwrap();
    let store = open(&config(dir.path()));
    put_run(&store, 400..600);
    check_run(&store, 600);
    store.close().unwrap();
    assert_eq!(names(&old), [0]);

    let opened = StoreDir::open(dir.path(), Some(config(dir.path()))).unwrap();
    let report = offline::check(&opened, &mut |_, _| ()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.records, 600);
}

#[test]
fn a_crashed_log_in_several_directories_recovers() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    put_run(&store, 0..300);
    drop(store);
    let store = open(&config(dir.path()));
    check_run(&store, 300);
    store.close().unwrap();
}

#[test]
fn a_damaged_file_is_repaired_where_it_is() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    put_run(&store, 0..400);
    store.close().unwrap();
    let path = dir.path().join("log-b/00000000000000016384");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..200].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let config = config(dir.path());
    let repair =
        offline::repair(dir.path(), Some(config.clone()), false, &mut |_| (), &mut |_, _| ())
            .unwrap();
    assert!(repair.after.unwrap().worst().is_none_or(|worst| worst == offline::Severity::Info));
    assert!(!dir.path().join("log-a/00000000000000016384").exists());
    open(&config).close().unwrap();
}

#[test]
fn two_files_of_one_position_stop_the_start() {
    let dir = temp_dir();
    let store = open(&config(dir.path()));
    put_run(&store, 0..100);
    store.close().unwrap();
    let name = "00000000000000000000";
    std::fs::copy(dir.path().join("log-a").join(name), dir.path().join("log-b").join(name))
        .unwrap();
    let refused = MessageStore::open(config(dir.path()));
    assert!(matches!(refused, Err(StoreError::BadFile { .. })), "{refused:?}");
}

#[test]
fn files_are_made_where_the_ratio_leaves_room() {
    let dir = temp_dir();
    let used = Arc::new(AtomicU64::new(87));
    let used_of_a = Arc::clone(&used);
    let fs = Fs::with_space(move |dir| {
        let percent = if dir.ends_with("log-a") { used_of_a.load(Ordering::Relaxed) } else { 10 };
        let (total_bytes, used_bytes) = (100 << 30, percent << 30);
        Some(DiskSpace { total_bytes, used_bytes, available_bytes: total_bytes - used_bytes })
    });
    // More than 85 counts as 85, as in the reference.
    let config = StoreConfig {
        disk_space_clean_forcibly_ratio: 95,
        clean_resource_interval: 1,
        delete_when: String::new(),
        ..config(dir.path())
    };
    let store =
        MessageStore::open_with(config.clone(), Environment { fs, ..Environment::default() })
            .unwrap();
    let files = |name: &str| names(&dir.path().join(name)).len();
    put_run(&store, 0..400);
    assert_eq!(files("log-a"), 0);
    used.store(80, Ordering::Relaxed);
    put_run(&store, 400..800);
    let before = files("log-a");
    assert!(before > 1, "{before}");
    store.change_config(StoreConfig { disk_space_clean_forcibly_ratio: 70, ..config }).unwrap();
    let mut number = 800;
    wait_until_put(|| {
        let (a, b) = (files("log-a"), files("log-b"));
        put_run(&store, number..number + 400);
        number += 400;
        files("log-a") == a && files("log-b") > b + 2
    });
    store.close().unwrap();
}

#[test]
fn log_goes_on_in_another_directory_when_the_disk_of_the_current_file_fills() {
    // Within a file, and where the next one has been made already.
    for (file_bytes, sync) in [(64 << 20, false), (64 << 20, true), (2 << 20, false)] {
        let dir = temp_dir();
        let is_full = Arc::new(AtomicBool::new(false));
        let fills = Arc::clone(&is_full);
        let fs = Fs::with_space(move |dir| {
            let is_full = dir.ends_with("log-a") && fills.load(Ordering::Relaxed);
            let available_bytes = if is_full { 20 << 20 } else { 10 << 30 };
            Some(DiskSpace { total_bytes: 11 << 30, used_bytes: 1 << 20, available_bytes })
        });
        let config = StoreConfig {
            mapped_file_size_commit_log: file_bytes,
            flush_disk_type: if sync {
                FlushDiskType::SyncFlush
            } else {
                FlushDiskType::AsyncFlush
            },
            ..config(dir.path())
        };
        let environment = Environment { fs, ..Environment::default() };
        let store = MessageStore::open_with(config.clone(), environment).unwrap();
        let body = vec![b'x'; 100_000];
        let put = |count| {
            for _ in 0..count {
                let result = store.put_message(&message("t", 0, &body));
                assert_eq!(result.status, PutMessageStatus::PutOk);
            }
        };
        put(2);
        is_full.store(true, Ordering::Relaxed);
        put(300);
        assert_eq!(names(&dir.path().join("log-a"))[0], 0);
        assert!(!names(&dir.path().join("log-b")).is_empty());
        assert!(
            names(&dir.path().join("log-a")).len() <= 1,
            "{:?}",
            names(&dir.path().join("log-a"))
        );
        let (answer, answers) = channel();
        let tell = move |status| answer.send(status).unwrap();
        store.when_durable(store.max_phy_offset(), Box::new(tell));
        assert_eq!(answers.recv().unwrap(), PutMessageStatus::PutOk);
        drop(store);
        let store = open(&config);
        assert_eq!(store.max_offset("t", 0), 302);
        assert_eq!(read_all(&store, "t", 0).len(), 302);
        store.close().unwrap();
        let opened = StoreDir::open(dir.path(), Some(config)).unwrap();
        let report = offline::check(&opened, &mut |_, _| ()).unwrap();
        assert_eq!(report.worst(), None, "{:?}", report.findings);
    }
}

#[test]
fn files_that_cannot_be_made_in_one_directory_are_made_in_another() {
    // A file may not come to be, or be there when it cannot be made durable.
    for op in [FsOp::Create, FsOp::Flush] {
        let dir = temp_dir();
        let (dir_b, is_broken) = (dir.path().join("log-b"), Arc::new(AtomicBool::new(false)));
        let breaks = Arc::clone(&is_broken);
        let fs = Fs::with_fault(move |found, path| {
            match found == op && path.starts_with(&dir_b) && breaks.load(Ordering::Relaxed) {
                true => Err(io::Error::other("injected")),
                false => Ok(()),
            }
        });
        let environment = Environment { fs, ..Environment::default() };
        let store = MessageStore::open_with(config(dir.path()), environment).unwrap();
        is_broken.store(true, Ordering::Relaxed);
        put_run(&store, 0..400);
        assert_eq!(check_run(&store, 400), 400);
        store.close().unwrap();
        assert_eq!(names(&dir.path().join("log-b")), [0; 0], "{op:?}");
        assert!(names(&dir.path().join("log-a")).len() > 2);
        drop(store);
        let store = open(&config(dir.path()));
        put_run(&store, 400..600);
        assert_eq!(check_run(&store, 600), 600);
        store.close().unwrap();
        assert!(!names(&dir.path().join("log-b")).is_empty());
    }
}

/// [`wait_until`] for what changes something.
fn wait_until_put(mut step: impl FnMut() -> bool) {
    assert!((0..100).any(|_| step()), "waited in vain");
}
