//! A store of many queues with a message each: time to make, close and open it, memory, open files.
//!
//! `cargo bench -p oxmq-store --bench queues -- [topics] [queues of each] [directory]`

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first trouble")]

use std::path::PathBuf;
use std::time::Instant;

use oxmq_protocol::message::Message;
use oxmq_store::{MessageStore, PutMessageStatus, StoreConfig};

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (topics, queues) = (number(20_000), number(4));
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let config = StoreConfig::in_dir(dir.path());

    let store = MessageStore::open(config.clone()).unwrap();
    let begin = Instant::now();
    for topic in 0..topics {
        for queue_id in 0..queues {
            put(&store, &format!("topic-{topic}"), queue_id as i32);
        }
    }
    println!("{topics} topics x {queues} queues put: {:?}", begin.elapsed());
    println!("memory {} KiB, open files {}", resident_kib(), open_files());
    let begin = Instant::now();
    store.close().unwrap();
    println!("close: {:?}", begin.elapsed());
    drop(store);

    let begin = Instant::now();
    let store = MessageStore::open(config).unwrap();
    println!("open: {:?}", begin.elapsed());
    println!("memory {} KiB, open files {}", resident_kib(), open_files());
    for topic in 0..topics {
        assert_eq!(store.bounds(&format!("topic-{topic}"), 0), (0, 1));
    }
}

fn put(store: &MessageStore, topic: &str, queue_id: i32) {
    let result = store.put_message(&Message::new(topic, queue_id, b"body"));
    assert_eq!(result.status, PutMessageStatus::PutOk);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
