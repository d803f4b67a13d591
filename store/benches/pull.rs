//! Putting pulls together, filtering them, and the index: nanoseconds a message, without sockets.
//!
//! `cargo bench -p oxmq-store --bench pull -- [records] [body bytes] [directory]`
//!
//! Prints the best of several rounds, so that a busy machine shows least.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first trouble")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use oxmq_protocol::message::{Message, java_string_hash, properties};
use oxmq_store::{GetMessageStatus, LazyRecord, MessageStore, PutMessageStatus, StoreConfig};

const TOPIC: &str = "BenchmarkTest";
const QUEUES: i32 = 4;
const ROUNDS: usize = 5;
/// One message in so many has the tag that filters ask for.
const ONE_IN: usize = 100;
const LOOKUPS: usize = 20_000;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (records, body_bytes) = (number(500_000), number(1024));
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let config = StoreConfig::in_dir(dir.path());
    let store = MessageStore::open(config.clone()).unwrap();
    fill(&store, records, &vec![b'x'; body_bytes]);
    println!("{records} messages of {body_bytes} bytes in {QUEUES} queues");

    let rare = i64::from(java_string_hash("rare"));
    best("pull, 32 at a time", records, || drain(&store, |_, _| true, records));
    let wanted = records.div_ceil(ONE_IN);
    best("pull by tag, 1 in 100", records, || drain(&store, |code, _| code == rare, wanted));
    let is_rare = |_, record: LazyRecord<'_>| {
        let tags = properties::property(record.properties().unwrap(), properties::TAGS);
        tags == Some(b"rare".as_slice())
    };
    best("pull by a property, 1 in 100", records, || drain(&store, is_rare, wanted));

    // The first query waits for the thread that indexes.
    assert_eq!(lookup(&store, 0), 1);
    best("look up a key", LOOKUPS, || {
        let step = (records / LOOKUPS).max(1);
        let found: u32 = (0..LOOKUPS).map(|n| lookup(&store, n * step % records)).sum();
        assert_eq!(found as usize, LOOKUPS);
    });
    // As a killed process leaves it: what is not a whole file is indexed again, and is by the first query.
    drop(store);
    let store = MessageStore::open(config).unwrap();
    let begin = Instant::now();
    assert_eq!(lookup(&store, records - 1), 1);
    print("index made anew from the log", begin.elapsed(), records);
}

fn best(what: &str, messages: usize, mut round: impl FnMut()) {
    let elapsed = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        round();
        begin.elapsed()
    });
    print(what, elapsed.min().unwrap(), messages);
}

fn print(what: &str, elapsed: Duration, messages: usize) {
    println!("{what:<30} {:>8.1} ns", elapsed.as_nanos() as f64 / messages as f64);
}

fn fill(store: &MessageStore, records: usize, body: &[u8]) {
    for number in 0..records {
        let tag = if number % ONE_IN == 0 { "rare" } else { "usual" };
        let properties = format!(
            "KEYS\x01{}\x02UNIQ_KEY\x017F00000100010000{number:016X}\x02WAIT\x01true\x02TAGS\x01{tag}\x02",
            key(number),
        );
        let result = store.put_message(&Message {
            properties: properties.as_bytes(),
            ..Message::new(TOPIC, number as i32 % QUEUES, body)
        });
        assert_eq!(result.status, PutMessageStatus::PutOk);
    }
}

fn key(number: usize) -> String {
    format!("order-{number:010}")
}

fn lookup(store: &MessageStore, number: usize) -> u32 {
    store.query_message(TOPIC, &key(number), 32, 0, i64::MAX).unwrap().message_count
}

/// Reads all queues; `expected` messages have to come.
fn drain(
    store: &MessageStore,
    mut filter: impl FnMut(i64, LazyRecord<'_>) -> bool,
    expected: usize,
) {
    let mut out = Vec::new();
    let mut count = 0;
    for queue_id in 0..QUEUES {
        let end = store.max_offset(TOPIC, queue_id);
        let mut offset = 0;
        while offset < end {
            out.clear();
            let result = store
                .get_cached_message(TOPIC, queue_id, offset, 32, 1 << 20, &mut filter, &mut out)
                .unwrap_or_else(|_| panic!("offset {offset} is not in the page cache any more"));
            let read = [GetMessageStatus::Found, GetMessageStatus::NoMatchedMessage];
            assert!(read.contains(&result.status), "{:?}", result.status);
            offset = result.next_begin_offset;
            count += result.message_count as usize;
        }
    }
    assert_eq!(count, expected);
}
