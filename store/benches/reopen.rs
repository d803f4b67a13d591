//! Time to open a store again, after a crash and after a clean stop.
//!
//! `cargo bench -p oxmq-store --bench reopen -- [MiB of log] [body bytes] [directory]`

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first trouble")]

use std::path::PathBuf;
use std::time::Instant;

use oxmq_protocol::message::Message;
use oxmq_store::{MessageStore, PutMessageStatus, StoreConfig};

const QUEUES: i32 = 16;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (log_mib, body_bytes) = (number(4096), number(1024));
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let config = StoreConfig::in_dir(dir.path());

    let store = MessageStore::open(config.clone()).unwrap();
    let body = vec![b'x'; body_bytes];
    while store.max_phy_offset() < (log_mib as i64) << 20 {
        for queue_id in 0..QUEUES {
            put(&store, queue_id, &body);
        }
    }
    // Dropped without being closed: as a killed process leaves it.
    drop(store);
    for what in ["after a crash", "after a clean stop"] {
        let begin = Instant::now();
        let store = MessageStore::open(config.clone()).unwrap();
        println!("{log_mib} MiB, {what}: open in {:?}", begin.elapsed());
        put(&store, 0, &body);
        println!("first message after {:?}", begin.elapsed());
        let begin = Instant::now();
        store.close().unwrap();
        println!("close: {:?}", begin.elapsed());
    }
}

fn put(store: &MessageStore, queue_id: i32, body: &[u8]) {
    let result = store.put_message(&Message {
        properties: b"UNIQ_KEY\x017F0000010001000000000001\x02",
        ..Message::new("BenchmarkTest", queue_id, body)
    });
    assert_eq!(result.status, PutMessageStatus::PutOk);
}
