//! Starts of stores whose log is damaged: nothing is lost but what is damaged.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::*;
use oxmq_store::offline::{self, StoreDir};

const FILE: u64 = 16 << 10;
const MESSAGES: usize = 203;

fn log_file(root: &Path, start: u64) -> PathBuf {
    root.join("commitlog").join(format!("{start:020}"))
}

/// A closed store with messages in several files.
fn filled() -> tempfile::TempDir {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..MESSAGES);
    store.close().unwrap();
    dir
}

/// The bodies that can be read.
fn bodies(root: &Path) -> Vec<Vec<u8>> {
    let store = open(&small(root));
    let mut bodies = Vec::new();
    for queue_id in 0..2 {
        let (min, max) = store.bounds("TopicA", queue_id);
        for offset in min..max {
            let mut out = Vec::new();
            store.get_message("TopicA", queue_id, offset, 1, 1 << 20, |_, _| true, &mut out);
            let found = oxmq_protocol::message::MessageExt::decode_all(&out).unwrap_or_default();
            bodies.extend(found.into_iter().map(|message| message.body));
        }
    }
    store.close().unwrap();
    bodies
}

#[test]
fn time_far_ahead_does_not_make_what_follows_a_damaged_record_old() {
    let dir = filled();
    let path = log_file(dir.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let length = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let fourth = (0..4).fold(0, |at, _| at + length(at));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&(i64::MAX / 3).to_be_bytes(), fourth as u64 + 56).unwrap();
    file.write_all_at(&[7; 8], (fourth + length(fourth) + 90) as u64).unwrap();
    let opened = StoreDir::open(dir.path(), Some(small(dir.path()))).unwrap();
    let report = offline::check(&opened, &mut |_, _| ()).unwrap();
    drop(opened);
    assert_eq!(report.counts.records, MESSAGES as u64 - 1);
    fs::write(dir.path().join("abort"), "1").unwrap();
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert_eq!(bodies(dir.path()).len(), MESSAGES - 1);
}

#[test]
fn copy_of_the_first_file_does_not_begin_queues_anew() {
    let dir = filled();
    let last = fs::read_dir(dir.path().join("commitlog")).unwrap();
    let last = last.map(|entry| entry.unwrap().path()).max().unwrap();
    fs::copy(log_file(dir.path(), 0), &last).unwrap();
    let start: u64 = last.file_name().unwrap().to_str().unwrap().parse().unwrap();
    assert!(start >= 2 * FILE);
    let found = bodies(dir.path());
    let log: Vec<u8> = (0..start / FILE)
        .flat_map(|number| fs::read(log_file(dir.path(), number * FILE)).unwrap())
        .collect();
    for number in 0..MESSAGES {
        let body = body(number);
        if log.windows(body.len()).any(|window| window == body) {
            assert!(found.contains(&body), "message {number}");
        }
    }
}
