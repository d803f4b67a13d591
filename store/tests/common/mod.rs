//! What the tests of the store share.

#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use oxmq_protocol::message::{InnerMessage, Message, MessageExt};
use oxmq_store::offline::{Dump, QueueRow};
use oxmq_store::{
    GetMessageResult, GetMessageStatus, MessageStore, PutMessageResult, PutMessageStatus,
    StoreConfig, StoreError,
};

/// A directory for a store, in memory where there is such a place: these tests open many stores.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store of small files, whose threads write when they are told to or closed.
pub(crate) fn small(root: &Path) -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: 16 << 10,
        mapped_file_size_consume_queue: 20 * 20,
        max_hash_slot_num: 100,
        max_index_num: 1_000,
        ..StoreConfig::in_dir(root)
    }
}

/// Settings with which files of the log are deleted once that is asked for, however new they are.
pub(crate) fn deleting(config: StoreConfig) -> StoreConfig {
    StoreConfig {
        file_reserved_time: 0,
        clean_resource_interval: 5,
        delete_when: String::new(),
        ..config
    }
}

pub(crate) fn open(config: &StoreConfig) -> Arc<MessageStore> {
    MessageStore::open(config.clone()).unwrap()
}

pub(crate) fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> Message<'a> {
    Message {
        born_timestamp_ms: 1_700_000_000_000,
        born_host: "10.1.2.3:5555".parse().unwrap(),
        store_host: "10.1.2.4:10911".parse().unwrap(),
        ..Message::new(topic, queue_id, body)
    }
}

pub(crate) fn put(
    store: &MessageStore,
    topic: &str,
    queue_id: i32,
    body: &[u8],
) -> PutMessageResult {
    let result = store.put_message(&message(topic, queue_id, body));
    assert_eq!(result.status, PutMessageStatus::PutOk);
    result
}

/// The body that message `number` of a run has.
pub(crate) fn body(number: usize) -> Vec<u8> {
    let mut body = format!("message {number} ").into_bytes();
    body.resize(40 + number * 37 % 200, b'x');
    body
}

/// Puts messages `numbers` into two queues in turn.
pub(crate) fn put_run(store: &MessageStore, numbers: std::ops::Range<usize>) {
    for number in numbers {
        put(store, "TopicA", (number % 2) as i32, &body(number));
    }
}

/// All messages of a queue, pulled as a consumer does.
pub(crate) fn read_all(store: &MessageStore, topic: &str, queue_id: i32) -> Vec<MessageExt> {
    let mut messages = Vec::new();
    let mut offset = store.min_offset(topic, queue_id);
    loop {
        let mut out = Vec::new();
        let result = pull(store, topic, queue_id, offset, &mut out);
        match result.status {
            GetMessageStatus::Found => messages.extend(MessageExt::decode_all(&out).unwrap()),
            // Files were deleted meanwhile.
            GetMessageStatus::OffsetTooSmall | GetMessageStatus::MessageWasRemoving => {
                messages.clear();
            }
            // The queue's own are, and it begins behind them in a moment.
            GetMessageStatus::OffsetFoundNull => {
                wait_until(|| store.min_offset(topic, queue_id) > offset);
                messages.clear();
            }
            GetMessageStatus::OffsetOverflowOne
            | GetMessageStatus::NoMessageInQueue
            | GetMessageStatus::NoMatchedLogicQueue => return messages,
            other => panic!("{other:?} at {offset}: {result:?}"),
        }
        offset = result.next_begin_offset;
    }
}

pub(crate) fn pull(
    store: &MessageStore,
    topic: &str,
    queue_id: i32,
    offset: i64,
    out: &mut Vec<u8>,
) -> GetMessageResult {
    store.get_message(topic, queue_id, offset, 32, 1 << 20, |_, _| true, out)
}

/// Checks that the two queues of [`put_run`] hold a prefix of it, at least `least` messages long,
/// and returns how many messages there are.
pub(crate) fn check_run(store: &MessageStore, least: usize) -> usize {
    let queues = [read_all(store, "TopicA", 0), read_all(store, "TopicA", 1)];
    let count = queues[0].len() + queues[1].len();
    assert!(count >= least, "{count} of at least {least} messages");
    for number in 0..count {
        let message = &queues[number % 2][number / 2];
        assert_eq!(message.body, body(number), "message {number}");
        assert_eq!(message.queue_offset, (number / 2) as i64);
        assert_eq!(message.queue_id, (number % 2) as i32);
    }
    count
}

/// A copy of a store directory, as a crash would leave it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Encoded batch body of `bodies`.
pub(crate) fn batch(bodies: &[&[u8]]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for body in bodies {
        InnerMessage { flag: 0, body, properties: b"" }.encode(&mut encoded).unwrap();
    }
    encoded
}

/// The rows that are shown of a queue.
pub(crate) fn rows_of(
    dump: &Dump<'_>,
    topic: &str,
    queue_id: i32,
    from: Option<i64>,
    count: usize,
) -> Vec<QueueRow> {
    let mut rows = Vec::new();
    let each = |row| {
        rows.push(row);
        Ok::<_, StoreError>(())
    };
    dump.queue(topic, queue_id, from, count, each).unwrap();
    rows
}

/// Waits for `condition`, and fails when it does not come true.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !condition() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "waited in vain");
        std::thread::yield_now();
    }
}
