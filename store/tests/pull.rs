//! What a pull gives, and how far it goes.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use oxmq_protocol::message::{Message, MessageExt, properties};
use oxmq_store::{GetMessageStatus, LazyRecord, StoreConfig};

#[test]
fn filter_is_asked_once_for_each_message_and_in_order() {
    let dir = temp_dir();
    let queue_file = 20 * 400;
    let config = StoreConfig { mapped_file_size_consume_queue: queue_file, ..small(dir.path()) };
    let store = open(&config);
    for number in 0..1_500 {
        put(&store, "TopicA", 0, &body(number));
    }
    for one_in in [1, 7, 100, 5_000] {
        let (mut looked_at, mut found, mut offset) = (Vec::new(), Vec::new(), 0);
        while offset < 1_500 {
            let wanted = |_, record: LazyRecord<'_>| {
                let at = record.view().unwrap().queue_offset();
                looked_at.push(at);
                at % one_in == 0
            };
            let mut out = Vec::new();
            let result = store
                .get_cached_message("TopicA", 0, offset, 32, usize::MAX, wanted, &mut out)
                .unwrap();
            offset = result.next_begin_offset;
            let messages = MessageExt::decode_all(&out).unwrap();
            assert!(messages.len() <= 32 && messages.len() as u32 == result.message_count);
            found.extend(messages.into_iter().map(|message| message.queue_offset));
        }
        assert_eq!(looked_at, (0..1_500).collect::<Vec<i64>>());
        let due: Vec<i64> = looked_at.into_iter().filter(|at| at % one_in == 0).collect();
        assert_eq!(found, due, "one in {one_in}");
    }
}

#[test]
fn pull_statuses_are_those_of_the_reference() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    let status = |queue_id, offset| {
        let result = pull(&store, "TopicA", queue_id, offset, &mut Vec::new());
        (result.status, result.next_begin_offset)
    };
    assert_eq!(status(0, 0), (GetMessageStatus::NoMatchedLogicQueue, 0));
    put_run(&store, 0..10);
    assert_eq!(status(0, 5), (GetMessageStatus::OffsetOverflowOne, 5));
    assert_eq!(status(0, 6), (GetMessageStatus::OffsetOverflowBadly, 5));
    assert_eq!(status(0, -1), (GetMessageStatus::OffsetTooSmall, 0));
    assert_eq!(status(0, 2), (GetMessageStatus::Found, 5));
}

#[test]
fn pull_stops_at_its_limits_but_gives_the_first_message() {
    let dir = temp_dir();
    let store = open(&StoreConfig { mapped_file_size_commit_log: 1 << 20, ..small(dir.path()) });
    for _ in 0..100 {
        put(&store, "t", 0, &[7; 1_000]);
    }
    let count = |max_num, max_bytes| {
        let mut out = b"before".to_vec();
        let result = store.get_message("t", 0, 0, max_num, max_bytes, |_, _| true, &mut out);
        assert_eq!(MessageExt::decode_all(&out[6..]).unwrap().len(), result.message_count as usize);
        assert_eq!(result.next_begin_offset, i64::from(result.message_count));
        result.message_count
    };
    assert_eq!(count(1, 1 << 20), 1);
    assert_eq!(count(32, 1 << 20), 32);
    assert_eq!(count(1_000, 1 << 20), 32);
    assert_eq!(count(32, 1), 1);
    assert_eq!(count(32, 1_092 * 3), 3);
}

#[test]
fn filter_moves_the_offset_past_what_it_skips() {
    let dir = temp_dir();
    let store = open(&StoreConfig { mapped_file_size_commit_log: 1 << 20, ..small(dir.path()) });
    let tagged = |tag: &str| {
        let mut text = Vec::new();
        properties::append(&mut text, properties::TAGS, tag.as_bytes());
        text
    };
    let (red, blue) = (tagged("red"), tagged("blue"));
    for number in 0..2_000 {
        let properties = if number % 1_000 == 999 { &red } else { &blue };
        store.put_message(&Message { properties, ..message("t", 0, b"b") });
    }
    let code = oxmq_protocol::message::tags_code("red");
    let get = |offset| {
        let mut out = Vec::new();
        let result =
            store.get_message("t", 0, offset, 32, 1 << 20, |tags, _| tags == code, &mut out);
        (result.status, result.next_begin_offset, result.message_count)
    };
    // 16 000 bytes of units are 800 units.
    assert_eq!(get(0), (GetMessageStatus::NoMatchedMessage, 800, 0));
    assert_eq!(get(800), (GetMessageStatus::Found, 1_600, 1));
    assert_eq!(get(1_600), (GetMessageStatus::Found, 2_000, 1));
    let by_content = store.get_message(
        "t",
        0,
        990,
        32,
        1 << 20,
        |_, record| record.view().unwrap().property("TAGS") == Some(b"red"),
        &mut Vec::new(),
    );
    assert_eq!(by_content.message_count, 1);
}

#[test]
fn units_that_cannot_be_read_at_the_moment_are_not_passed_over() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..200);
    store.close().unwrap();
    drop(store);
    let store = open(&small(dir.path()));
    // One that nobody has had to open so far.
    let file = dir.path().join("consumequeue/TopicA/0/00000000000000001200");
    let aside = dir.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    // What cannot be opened.
    std::fs::create_dir(&file).unwrap();
    let mut out = Vec::new();
    let result = pull(&store, "TopicA", 0, 63, &mut out);
    assert_eq!((result.status, result.next_begin_offset), (GetMessageStatus::OffsetFoundNull, 63));
    std::fs::remove_dir(&file).unwrap();
    // A file that is gone for good is.
    let result = pull(&store, "TopicA", 0, 63, &mut out);
    assert_eq!((result.status, result.next_begin_offset), (GetMessageStatus::OffsetFoundNull, 80));
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(check_run(&store, 200), 200);
}

#[test]
fn unit_with_any_position_is_read_without_a_panic() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..200);
    store.close().unwrap();
    drop(store);
    for position in [i64::MIN, i64::MIN + 5, -1, i64::MAX - 5, i64::MAX] {
        let store = open(&small(dir.path()));
        let path = dir.path().join("consumequeue/TopicA/0/00000000000000001200");
        let before = std::fs::read(&path).unwrap();
        let mut damaged = before.clone();
        damaged[60..68].copy_from_slice(&position.to_be_bytes());
        std::fs::write(&path, damaged).unwrap();
        for offset in 60..66 {
            let mut out = Vec::new();
            pull(&store, "TopicA", 0, offset, &mut out);
            let messages = MessageExt::decode_all(&out).unwrap();
            assert!(messages.iter().all(|message| message.queue_offset != 63), "{position}");
            let (any, limits) = (|_, _: LazyRecord<'_>| true, (32, usize::MAX));
            let cached =
                store.get_cached_message("TopicA", 0, offset, limits.0, limits.1, any, &mut out);
            assert!(cached.is_ok(), "{position}");
        }
        std::fs::write(&path, before).unwrap();
        store.close().unwrap();
    }
}
