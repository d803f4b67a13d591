//! Senders, readers, deletions and cleaning at the same time.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use oxmq_protocol::message::{BatchMessages, Message, MessageExt};
use oxmq_store::{FlushDiskType, GetMessageStatus, MessageStore, PutMessageStatus, StoreConfig};

const TOPICS: [&str; 3] = ["stays", "comes-and-goes", "batches"];
const QUEUES: i32 = 3;
/// Queues that messages of the first topic are in, too.
const LIGHT: [&str; 2] = ["%LMQ%stays", "%LMQ%comes-and-goes"];
/// How long it goes on, in seconds, unless [`RUN_VARIABLE`] says otherwise.
const RUN_SECONDS: u64 = 10;
const RUN_VARIABLE: &str = "OXMQ_CONCURRENCY_SECONDS";

fn run_time() -> Duration {
    let seconds = std::env::var(RUN_VARIABLE).map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(RUN_SECONDS))
}

/// A body that says where it belongs, and shows damage anywhere in it.
fn self_proving_body(topic: &str, queue_id: i32, salt: u64) -> Vec<u8> {
    let mut body = format!("{topic}/{queue_id}/{salt}/").into_bytes();
    let length = 60 + (salt.wrapping_mul(0x9e37_79b9) % 900) as usize;
    body.resize(length.max(body.len()), salt as u8);
    body
}

fn check_message(message: &MessageExt, topic: &str, queue_id: i32) {
    assert_eq!(message.topic, topic);
    assert_eq!(message.queue_id, queue_id);
    let text = String::from_utf8_lossy(&message.body);
    let salt = text.split('/').nth(2).unwrap().parse().unwrap();
    assert_eq!(message.body, self_proving_body(topic, queue_id, salt));
}

fn send(store: &MessageStore, stop: &AtomicBool, seed: u64, sent: &AtomicU64) {
    let mut salt = seed << 32;
    while !stop.load(Ordering::Relaxed) {
        salt += 1;
        let topic = TOPICS[(salt % 3) as usize];
        let queue_id = (salt / 3 % QUEUES as u64) as i32;
        let first = self_proving_body(topic, queue_id, salt);
        let result = if topic == "batches" {
            let second = self_proving_body(topic, queue_id, salt + 1_000);
            let body = batch(&[&first, &second]);
            store.put_batch(
                &message(topic, queue_id, b""),
                BatchMessages::new(&body),
                &mut Vec::new(),
            )
        } else if topic == "stays" {
            let names = if salt.is_multiple_of(2) { LIGHT[0].to_owned() } else { LIGHT.join(",") };
            let text = format!("INNER_MULTI_DISPATCH\x01{names}\x02");
            let message = message(topic, queue_id, &first);
            store.put_message(&Message { properties: text.as_bytes(), ..message })
        } else {
            store.put_message(&message(topic, queue_id, &first))
        };
        assert_eq!(result.status, PutMessageStatus::PutOk);
        sent.fetch_add(u64::from(result.message_count), Ordering::Relaxed);
    }
}

/// Checks a message of a queue, and returns its offset there.
fn offset_in(message: &MessageExt, queue: &str, queue_id: i32) -> i64 {
    if !LIGHT.contains(&queue) {
        check_message(message, queue, queue_id);
        return message.queue_offset;
    }
    check_message(message, "stays", message.queue_id);
    let text = |name| std::str::from_utf8(message.property(name).unwrap()).unwrap();
    let at = text("INNER_MULTI_DISPATCH").split(',').position(|name| name == queue).unwrap();
    text("INNER_MULTI_QUEUE_OFFSET").split(',').nth(at).unwrap().parse().unwrap()
}

/// Follows one queue. Returns how many messages it saw.
fn follow(store: &MessageStore, stop: &AtomicBool, topic: &str, queue_id: i32) -> u64 {
    let mut offset = 0;
    let mut seen = 0;
    let mut out = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        out.clear();
        let result = pull(store, topic, queue_id, offset, &mut out);
        if result.status == GetMessageStatus::Found {
            let messages = MessageExt::decode_all(&out).unwrap();
            assert_eq!(messages.len(), result.message_count as usize);
            let mut least = offset;
            for message in &messages {
                let at = offset_in(message, topic, queue_id);
                assert!(at >= least, "{topic}: {at} < {least}");
                least = at + 1;
            }
            assert!(least <= result.next_begin_offset);
            seen += messages.len() as u64;
        } else {
            assert!(out.is_empty());
            std::thread::yield_now();
        }
        offset = result.next_begin_offset;
    }
    seen
}

#[test]
fn no_reader_is_ever_given_a_wrong_message() {
    run(FlushDiskType::AsyncFlush);
}

#[test]
fn no_reader_is_ever_given_a_wrong_message_where_records_are_in_memory_first() {
    run(FlushDiskType::SyncFlush);
}

fn run(flush_disk_type: FlushDiskType) {
    let dir = temp_dir();
    let config = StoreConfig {
        mapped_file_size_commit_log: 256 << 10,
        mapped_file_size_consume_queue: 100 * 20,
        delete_file_batch_max: 100,
        flush_interval_consume_queue: 5,
        flush_interval_commit_log: 5,
        enable_consume_queue_ext: true,
        mapped_file_size_consume_queue_ext: 1_000,
        enable_lmq: true,
        enable_multi_dispatch: true,
        flush_disk_type,
        ..deleting(small(dir.path()))
    };
    let store = open(&config);
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 1..=2 {
            let (store, stop, sent) = (&store, &stop, &sent);
            scope.spawn(move || send(store, stop, seed, sent));
        }
        for topic in TOPICS {
            let (store, stop, seen) = (&store, &stop, &seen);
            scope.spawn(move || seen.fetch_add(follow(store, stop, topic, 1), Ordering::Relaxed));
        }
        for queue in LIGHT {
            let (store, stop, seen) = (&store, &stop, &seen);
            scope.spawn(move || seen.fetch_add(follow(store, stop, queue, 0), Ordering::Relaxed));
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.delete_topic("comes-and-goes").unwrap();
                store.delete_topic(LIGHT[1]).unwrap();
                store.delete_expired_files();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let (begin, run_time) = (Instant::now(), run_time());
        while begin.elapsed() < run_time {
            std::thread::sleep(Duration::from_millis(10));
        }
        let cleaned = seen_enough(&store);
        stop.store(true, Ordering::Relaxed);
        assert!(cleaned, "nothing was deleted");
    });
    assert!(seen.load(Ordering::Relaxed) > 0 && sent.load(Ordering::Relaxed) > 0);
    println!(
        "{} messages sent, {} read",
        sent.load(Ordering::Relaxed),
        seen.load(Ordering::Relaxed)
    );
    let (answer, answers) = std::sync::mpsc::channel();
    store
        .when_durable(store.max_phy_offset(), Box::new(move |status| answer.send(status).unwrap()));
    assert_eq!(answers.recv().unwrap(), PutMessageStatus::PutOk);
    let ends = [("stays", 0), (LIGHT[0], 0)].map(|(topic, queue)| store.max_offset(topic, queue));
    store.close().unwrap();

    let store = open(&config);
    assert_eq!([store.max_offset("stays", 0), store.max_offset(LIGHT[0], 0)], ends);
    check_all(&store);
}

/// Checks that every offset between the bounds of each queue has its message.
fn check_all(store: &MessageStore) {
    for topic in TOPICS {
        for queue_id in 0..QUEUES {
            let messages = read_all(store, topic, queue_id);
            let (min, max) = store.bounds(topic, queue_id);
            assert_eq!(messages.len() as i64, max - min, "{topic} {queue_id}");
            for (message, offset) in messages.iter().zip(min..) {
                check_message(message, topic, queue_id);
                assert_eq!(message.queue_offset, offset);
            }
        }
    }
}

/// Whether cleaning has had something to do.
fn seen_enough(store: &MessageStore) -> bool {
    store.min_phy_offset() > 0
}
