//! Records of many messages.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use oxmq_protocol::message::{BatchMessages, InnerMessage, Message};

use super::{PER_FILE, TOPIC, compact, config, dirs, feed, names, pull, temp_dir};
use crate::{GetMessageStatus, MessageStore, StoreConfig};

/// Messages of a record.
const EACH: i64 = 3;
/// Where a unit says how many messages its record has.
const COUNT_AT: usize = 36;
const UNIT_BYTES: usize = 46;

fn open(root: &Path) -> Arc<MessageStore> {
    let config = StoreConfig { mapper_file_size_batch_consume_queue: 460, ..config(root) };
    let store = MessageStore::open(config).unwrap();
    store.use_batch_queues(TOPIC);
    store.use_compaction(TOPIC).unwrap();
    store
}

/// Puts one record; returns the offset of its first message.
fn put(store: &MessageStore, properties: &str) -> i64 {
    let mut inner = Vec::new();
    for _ in 0..EACH {
        InnerMessage { flag: 0, body: b"one of many", properties: b"" }.encode(&mut inner).unwrap();
    }
    let properties = properties.as_bytes();
    let envelope = Message { properties, ..Message::new(TOPIC, 0, &inner) };
    let result = store.put_inner_batch(&envelope, &BatchMessages::new(&inner));
    assert!(result.status.is_stored(), "{result:?}");
    result.queue_offset
}

/// Puts records with the keys 0, 1 and 2 in turn.
fn put_run(store: &MessageStore, count: usize) {
    for _ in 0..count {
        let offset = store.max_offset(TOPIC, 0);
        assert_eq!(put(store, &format!("KEYS\u{1}k{}\u{2}", offset / EACH % 3)), offset);
    }
}

/// Offsets of all records, as a consumer finds them that takes them one by one.
fn left(store: &MessageStore) -> Vec<i64> {
    let (mut offsets, mut next) = (Vec::new(), 0);
    loop {
        let (result, records) = pull(store, next);
        let is_end = [GetMessageStatus::OffsetOverflowOne, GetMessageStatus::NoMatchedLogicQueue];
        if is_end.contains(&result.status) {
            return offsets;
        }
        assert!(result.next_begin_offset > next, "{result:?}");
        offsets.extend(records.iter().map(|record| record.queue_offset));
        next = result.next_begin_offset;
    }
}

fn expected(records: i64) -> Vec<i64> {
    super::expected(records).into_iter().map(|record| record * EACH).collect()
}

#[test]
fn records_of_many_messages_are_kept_or_left_out_as_a_whole() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 30);
    let all: Vec<i64> = (0..30).map(|record| record * EACH).collect();
    assert_eq!(left(&store), all);
    feed(&store);
    assert_eq!(left(&store), all);
    compact(&store);
    assert_eq!(left(&store), expected(30));
    // Who asks for a later message of a record gets the record.
    for offset in 72..=74 {
        let (result, records) = pull(&store, offset);
        assert_eq!(records[0].queue_offset, 72, "{offset}");
        assert_eq!((result.min_offset, result.max_offset), (72, 90));
    }
    assert_eq!(pull(&store, 75).1[0].queue_offset, 75);
    // What has no key is not kept, whatever its messages have.
    put(&store, "");
    put_run(&store, 1);
    assert_eq!(left(&store)[6..], [93]);
    compact(&store);
    assert_eq!(left(&store)[6..], [93]);
}

#[test]
fn what_is_left_of_batches_outlives_a_stop_and_a_crash() {
    let dir = temp_dir();
    for round in 0..6 {
        let store = open(dir.path());
        assert_eq!(left(&store), expected(round * 20));
        put_run(&store, 20);
        compact(&store);
        assert_eq!(left(&store), expected((round + 1) * 20));
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
}

#[test]
fn files_whose_units_count_one_message_for_each_record_are_gone_on_with() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 40);
    compact(&store);
    put_run(&store, 5);
    feed(&store);
    let before = left(&store);
    store.close().unwrap();
    drop(store);
    // As the reference writes them.
    let [_, queues] = dirs(dir.path());
    for name in names(&queues) {
        let file = fs::OpenOptions::new().write(true).read(true).open(queues.join(name)).unwrap();
        for at in (0..=PER_FILE).map(|index| index * UNIT_BYTES + COUNT_AT) {
            let mut count = [0; 2];
            file.read_exact_at(&mut count, at as u64).unwrap();
            if i64::from(i16::from_be_bytes(count)) == EACH {
                file.write_all_at(&1_i16.to_be_bytes(), at as u64).unwrap();
            }
        }
    }
    let store = open(dir.path());
    assert_eq!(left(&store), before);
    feed(&store);
    assert_eq!(left(&store), before);
    put_run(&store, 10);
    compact(&store);
    assert_eq!(left(&store), expected(55));
}
