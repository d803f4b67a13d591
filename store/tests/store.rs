//! A store that is opened, used and closed as a broker does.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use common::*;
use oxmq_protocol::message::{BatchMessages, Message, MessageExt, properties, sys_flag};
use oxmq_store::{
    Arrival, Boundary, Clock, Environment, FlushDiskType, GetMessageStatus, MessageStore,
    PutMessageStatus, StoreConfig, StoreError,
};

#[test]
fn messages_come_back_in_order_with_their_offsets() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..1_000);
    assert_eq!(check_run(&store, 1_000), 1_000);
    assert_eq!(store.bounds("TopicA", 0), (0, 500));
}

#[test]
fn closed_store_opens_with_everything_in_it() {
    let dir = temp_dir();
    let mut end = 0;
    for round in 0..4 {
        let store = open(&small(dir.path()));
        assert_eq!(store.max_phy_offset(), end, "round {round}");
        assert_eq!(check_run(&store, round * 100), round * 100);
        put_run(&store, round * 100..(round + 1) * 100);
        end = store.max_phy_offset();
        store.close().unwrap();
        assert!(!dir.path().join("abort").exists());
        assert_eq!(
            store.put_message(&message("TopicA", 0, b"x")).status,
            PutMessageStatus::ServiceNotAvailable
        );
    }
}

#[test]
fn dropped_store_opens_as_after_a_crash() {
    let dir = temp_dir();
    for round in 0..4 {
        let store = open(&small(dir.path()));
        assert_eq!(check_run(&store, round * 100), round * 100);
        put_run(&store, round * 100..(round + 1) * 100);
        drop(store);
        assert!(dir.path().join("abort").exists());
    }
}

#[test]
fn log_files_end_in_a_blank_and_have_their_exact_length() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..200);
    store.close().unwrap();
    let log = dir.path().join("commitlog");
    let mut names: Vec<_> =
        std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() > 2);
    for (index, name) in names.iter().enumerate() {
        assert_eq!(name.to_str().unwrap(), format!("{:020}", index * (16 << 10)));
        let bytes = std::fs::read(log.join(name)).unwrap();
        assert_eq!(bytes.len(), 16 << 10);
        if index + 1 < names.len() {
            let mut at = 0;
            while bytes[at + 4..at + 8] != [0xcb, 0xd4, 0x31, 0x94] {
                at += u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            }
            let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(at + size, bytes.len());
            assert!(bytes[at + 8..].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn batch_gets_consecutive_offsets_or_nothing() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put(&store, "t", 0, b"first");
    let body = batch(&[b"a", b"bb", b"ccc"]);
    let result = store.put_batch(&message("t", 0, b""), BatchMessages::new(&body), &mut Vec::new());
    assert_eq!(result.status, PutMessageStatus::PutOk);
    assert_eq!((result.queue_offset, result.message_count), (1, 3));
    let bodies: Vec<_> = read_all(&store, "t", 0).into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, [&b"first"[..], b"a", b"bb", b"ccc"]);

    let broken = store.put_batch(
        &message("t", 0, b""),
        BatchMessages::new(&body[..body.len() - 1]),
        &mut Vec::new(),
    );
    assert_eq!(broken.status, PutMessageStatus::MessageIllegal);
    let none = store.put_batch(&message("t", 0, b""), BatchMessages::new(b""), &mut Vec::new());
    assert_eq!(none.status, PutMessageStatus::MessageIllegal);
    let counted = Message { properties: b"INNER_NUM\x013\x02", ..message("t", 0, b"") };
    let counted = store.put_batch(&counted, BatchMessages::new(&body), &mut Vec::new());
    assert_eq!(counted.status, PutMessageStatus::MessageIllegal);
    assert_eq!(store.max_offset("t", 0), 4);
}

#[test]
fn prepared_and_rolled_back_records_are_in_the_log_only() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    for kind in [sys_flag::TRANSACTION_PREPARED, sys_flag::TRANSACTION_ROLLBACK] {
        let result = store.put_message(&Message { sys_flag: kind, ..message("t", 0, b"half") });
        assert_eq!((result.status, result.queue_offset), (PutMessageStatus::PutOk, 0));
        let record = store.look_message_by_offset(result.phy_offset).unwrap();
        assert_eq!(MessageExt::decode(&record).unwrap().queue_offset, 0);
    }
    let commit = Message { sys_flag: sys_flag::TRANSACTION_COMMIT, ..message("t", 0, b"whole") };
    assert_eq!(store.put_message(&commit).queue_offset, 0);
    assert_eq!(read_all(&store, "t", 0).len(), 1);
    store.close().unwrap();
    assert_eq!(read_all(&open(&small(dir.path())), "t", 0).len(), 1);
}

#[test]
fn topics_that_are_no_directory_names_are_refused() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    for topic in ["", ".", "..", "../x", "a/b", "a\0b", &"t".repeat(256)] {
        let status = store.put_message(&message(topic, 0, b"x")).status;
        assert_eq!(status, PutMessageStatus::MessageIllegal, "{topic:?}");
    }
    assert_eq!(store.max_phy_offset(), 0);
}

#[test]
fn message_over_a_limit_is_refused_and_leaves_no_trace() {
    let dir = temp_dir();
    let store = open(&StoreConfig { max_message_size: 1_000, ..small(dir.path()) });
    let status = |body: &[u8], properties: &[u8]| {
        store.put_message(&Message { properties, ..message("t", 0, body) }).status
    };
    assert_eq!(status(&[0; 1_001], b""), PutMessageStatus::MessageIllegal);
    assert_eq!(status(b"", &[b'x'; 32_768]), PutMessageStatus::PropertiesSizeExceeded);
    // Fits its limits, but no file of this store.
    assert_eq!(status(b"", &[b'x'; 20_000]), PutMessageStatus::MessageIllegal);
    assert_eq!(status(&[0; 1_000], b""), PutMessageStatus::PutOk);
    assert_eq!(store.max_offset("t", 0), 1);
}

#[test]
fn second_store_on_a_directory_is_refused_until_the_first_is_closed() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    let second = MessageStore::open(small(dir.path()));
    assert!(matches!(second, Err(StoreError::Locked(_))));
    store.close().unwrap();
    open(&small(dir.path()));
}

#[test]
fn offset_by_time_follows_its_boundary() {
    let dir = temp_dir();
    let clock = Clock::manual(0);
    let environment = Environment { clock: clock.clone(), ..Environment::default() };
    let store = MessageStore::open_with(small(dir.path()), environment).unwrap();
    for ms in [1_000, 2_000, 2_000, 2_000, 3_000, 5_000] {
        clock.set(ms);
        put(&store, "t", 0, b"x");
    }
    let lower = |ms| store.offset_by_time("t", 0, ms, Boundary::Lower);
    let upper = |ms| store.offset_by_time("t", 0, ms, Boundary::Upper);
    assert_eq!([0, 1_000, 2_000, 4_000, 5_000, 5_001].map(lower), [0, 0, 1, 5, 5, 6]);
    assert_eq!([0, 1_000, 2_000, 4_000, 5_000, 5_001].map(upper), [0, 0, 3, 4, 5, 5]);
    assert_eq!(store.offset_by_time("none", 0, 1, Boundary::Lower), 0);
    assert_eq!(store.message_store_timestamp("t", 0, 4), Some(3_000));
    assert_eq!(store.earliest_message_time("t", 0), Some(1_000));
}

#[test]
fn offset_by_time_looks_past_a_damaged_unit_and_a_damaged_record() {
    let dir = temp_dir();
    let clock = Clock::manual(0);
    let environment = Environment { clock: clock.clone(), ..Environment::default() };
    let config = StoreConfig { mapped_file_size_commit_log: 64 << 10, ..small(dir.path()) };
    let store = MessageStore::open_with(config.clone(), environment.clone()).unwrap();
    for number in 1..=64 {
        clock.set(number * 10);
        put(&store, "t", 0, b"x");
    }
    // Where a search begins.
    let damaged = [16, 32, 48, 49];
    let places = damaged.map(|offset| store.phy_offset_of("t", 0, offset).unwrap());
    store.close().unwrap();
    let clear = |path: &str, at: u64| {
        let file = OpenOptions::new().write(true).open(dir.path().join(path)).unwrap();
        file.write_all_at(&[0; 20], at).unwrap();
    };
    clear("consumequeue/t/0/00000000000000000400", 12 * 20);
    for place in [places[0], places[2], places[3]] {
        clear("commitlog/00000000000000000000", place as u64);
    }
    let store = MessageStore::open_with(config, environment).unwrap();
    for offset in (0..64).filter(|offset| !damaged.contains(offset)) {
        for boundary in [Boundary::Lower, Boundary::Upper] {
            assert_eq!(store.offset_by_time("t", 0, (offset + 1) * 10, boundary), offset);
        }
    }
    assert_eq!(store.offset_by_time("t", 0, 0, Boundary::Lower), 0);
}

#[test]
fn store_time_never_goes_backwards() {
    let dir = temp_dir();
    let clock = Clock::manual(5_000);
    let environment = Environment { clock: clock.clone(), ..Environment::default() };
    let store = MessageStore::open_with(small(dir.path()), environment.clone()).unwrap();
    assert_eq!(put(&store, "t", 0, b"x").store_timestamp_ms, 5_000);
    clock.set(4_000);
    assert_eq!(put(&store, "t", 0, b"x").store_timestamp_ms, 5_000);
    store.close().unwrap();
    let store = MessageStore::open_with(small(dir.path()), environment).unwrap();
    assert_eq!(put(&store, "t", 0, b"x").store_timestamp_ms, 5_000);
}

#[test]
fn queries_find_messages_by_each_of_their_keys() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    for number in 0..50 {
        let mut text = Vec::new();
        properties::append(&mut text, properties::UNIQ_KEY, format!("id{number}").as_bytes());
        properties::append(&mut text, properties::KEYS, format!("all  k{number}").as_bytes());
        store.put_message(&Message { properties: &text, ..message("t", 0, &body(number)) });
    }
    let find = |key: &str| {
        let result = store.query_message("t", key, 64, 0, i64::MAX).unwrap();
        assert_eq!(
            MessageExt::decode_all(&result.records).unwrap().len(),
            result.message_count as usize
        );
        MessageExt::decode_all(&result.records).unwrap()
    };
    assert_eq!(find("id7")[0].body, body(7));
    assert_eq!(find("k49")[0].body, body(49));
    assert_eq!(find("all").len(), 50);
    assert_eq!(find("all")[0].body, body(0), "in the order of the log");
    assert_eq!(find("other").len(), 0);
    store.close().unwrap();
    let found = |config: &StoreConfig| {
        let result = open(config).query_message("t", "all", 64, 0, i64::MAX).unwrap();
        result.message_count
    };
    assert_eq!(found(&small(dir.path())), 50);
    let unread = StoreConfig { index_file_read_enable: false, ..small(dir.path()) };
    assert_eq!(found(&unread), 0);
    assert_eq!(found(&StoreConfig { index_file_write_enable: false, ..unread }), 0);
}

#[test]
fn deleted_topic_begins_anew() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..100);
    put(&store, "other", 0, b"stays");
    store.delete_topic("TopicA").unwrap();
    assert_eq!(store.bounds("TopicA", 0), (0, 0));
    assert_eq!(put(&store, "TopicA", 0, b"new").queue_offset, 0);
    store.close().unwrap();
    let store = open(&small(dir.path()));
    assert_eq!(store.queues().keys().collect::<Vec<_>>(), ["TopicA", "other"]);
    assert_eq!(read_all(&store, "TopicA", 0)[0].body, b"new");
    assert_eq!(store.bounds("TopicA", 0), (0, 1));
}

#[test]
fn deleted_topic_does_not_come_back_after_a_clean_stop() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..100);
    put(&store, "other", 0, b"stays");
    put_run(&store, 100..110);
    store.delete_topic("TopicA").unwrap();
    put(&store, "other", 0, b"stays, too");
    store.close().unwrap();
    let store = open(&small(dir.path()));
    assert_eq!(store.queues().keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(put(&store, "TopicA", 0, b"new").queue_offset, 0);
}

#[test]
fn listener_hears_of_each_message_after_it_is_readable() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (reader, list) = (Arc::downgrade(&store), Arc::clone(&heard));
    store.set_arrival_listener(Arc::new(move |arrival: &Arrival<'_>| {
        let store = reader.upgrade().unwrap();
        let end = store.max_offset(arrival.topic, arrival.queue_id);
        list.lock().unwrap().push((arrival.next_queue_offset, end));
    }));
    put(&store, "t", 0, b"one");
    store.put_batch(
        &message("t", 0, b""),
        BatchMessages::new(&batch(&[b"two", b"three"])),
        &mut Vec::new(),
    );
    assert_eq!(*heard.lock().unwrap(), [(1, 1), (2, 3), (3, 3)]);
}

#[test]
fn synchronous_flush_answers_and_shows_messages_once_they_are_on_disk() {
    let dir = temp_dir();
    let config = StoreConfig { flush_disk_type: FlushDiskType::SyncFlush, ..small(dir.path()) };
    let store = open(&config);
    let (heard, hears) = std::sync::mpsc::channel();
    let heard = Mutex::new(heard);
    store.set_arrival_listener(Arc::new(move |arrival: &Arrival<'_>| {
        heard.lock().unwrap().send(arrival.next_queue_offset).unwrap();
    }));
    let (answer, answers) = std::sync::mpsc::channel();
    for number in 0..50 {
        let result = put(&store, "t", 0, &body(number));
        let answer = answer.clone();
        let end = result.end_phy_offset();
        store.when_durable(end, Box::new(move |status| answer.send((status, end)).unwrap()));
    }
    for _ in 0..50 {
        let (status, end) = answers.recv().unwrap();
        assert_eq!(status, PutMessageStatus::PutOk);
        assert!(store.flushed_phy_offset() >= end);
    }
    assert_eq!((0..50).map(|_| hears.recv().unwrap()).max(), Some(50));
    assert_eq!(read_all(&store, "t", 0).len(), 50);
}

#[test]
fn delayed_messages_carry_their_time_of_delivery_as_tags_code() {
    let dir = temp_dir();
    let environment = Environment { clock: Clock::manual(10_000), ..Environment::default() };
    let store = MessageStore::open_with(small(dir.path()), environment).unwrap();
    let mut text = Vec::new();
    properties::append(&mut text, properties::DELAY_TIME_LEVEL, b"3");
    store.put_message(&Message { properties: &text, ..message("SCHEDULE_TOPIC_XXXX", 2, b"x") });
    let mut codes = Vec::new();
    store.get_message(
        "SCHEDULE_TOPIC_XXXX",
        2,
        0,
        1,
        1_000,
        |code, _| {
            codes.push(code);
            true
        },
        &mut Vec::new(),
    );
    assert_eq!(codes, [20_000]);
}
#[test]
fn deleting_follows_the_log_in_queues_and_index() {
    let dir = temp_dir();
    let config = StoreConfig { delete_file_batch_max: 1, ..deleting(small(dir.path())) };
    let store = open(&config);
    put_run(&store, 0..1_000);
    assert_eq!(store.min_phy_offset(), 0);
    store.delete_expired_files();
    wait_until(|| store.min_offset("TopicA", 0) > 100 && store.min_offset("TopicA", 1) > 100);
    let (min, max) = store.bounds("TopicA", 0);
    assert_eq!(max, 500);
    let status = pull(&store, "TopicA", 0, 0, &mut Vec::new());
    assert_eq!(status.status, GetMessageStatus::OffsetTooSmall);
    // It may go on being deleted.
    let log_min = store.min_phy_offset();
    let first = &read_all(&store, "TopicA", 0)[0];
    assert!(first.queue_offset >= min && first.commit_log_offset >= log_min - 16_384);
    put_run(&store, 1_000..1_010);
    store.close().unwrap();
    assert!(!dir.path().join("consumequeue/TopicA/0/00000000000000000000").exists());
    let store = open(&config);
    assert_eq!(store.max_offset("TopicA", 0), 505);
    let messages = read_all(&store, "TopicA", 0);
    assert_eq!(messages[messages.len() - 1].queue_offset, 504);
}

#[test]
fn file_in_use_by_no_more_than_the_writer_is_never_deleted() {
    let dir = temp_dir();
    let store = open(&deleting(small(dir.path())));
    store.delete_expired_files();
    put_run(&store, 0..2_000);
    wait_until(|| store.min_phy_offset() > 0);
    let end = store.max_phy_offset();
    assert!(store.min_phy_offset() < end);
    assert_eq!(read_all(&store, "TopicA", 1).last().unwrap().body, body(1_999));
}

#[test]
fn single_messages_that_claim_to_be_many_are_refused() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    let status = |message: Message<'_>| store.put_message(&message).status;
    let flagged = Message { sys_flag: sys_flag::INNER_BATCH, ..message("t", 0, b"x") };
    assert_eq!(status(flagged), PutMessageStatus::MessageIllegal);
    let counted = Message { properties: b"INNER_NUM\x013\x02", ..message("t", 0, b"x") };
    assert_eq!(status(counted), PutMessageStatus::MessageIllegal);
    store.close().unwrap();
}

#[test]
fn tags_are_read_from_the_record_where_a_unit_has_an_extended_address() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    store.put_message(&Message { properties: b"TAGS\x01TagA\x02", ..message("t", 0, b"x") });
    store.close().unwrap();
    let path = dir.path().join("consumequeue/t/0/00000000000000000000");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12..20].copy_from_slice(&(i64::MIN + 4_096).to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    let store = open(&small(dir.path()));
    let mut codes = Vec::new();
    let keep = |code, _: oxmq_store::LazyRecord<'_>| {
        codes.push(code);
        true
    };
    store.get_message("t", 0, 0, 1, 1_000, keep, &mut Vec::new());
    assert_eq!(codes, [0x27_a807]);
}

/// A store that flushes only when it is asked to, with what its listener has heard.
fn rarely_flushed(dir: &std::path::Path) -> (Arc<MessageStore>, Arc<Mutex<Vec<i64>>>) {
    let config = StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        flush_interval_commit_log: 3_600_000,
        ..small(dir)
    };
    let store = open(&config);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    store.set_arrival_listener(Arc::new(move |arrival: &Arrival<'_>| {
        list.lock().unwrap().push(arrival.next_queue_offset);
    }));
    (store, heard)
}

#[test]
fn message_that_nobody_waits_for_is_hidden_until_it_is_flushed_soon() {
    let dir = temp_dir();
    let (store, heard) = rarely_flushed(dir.path());
    // The flusher begins with a look, and has had it when it has flushed for somebody.
    let (flushed, is_flushed) = std::sync::mpsc::channel();
    let end = put(&store, "other", 0, b"zero").end_phy_offset();
    store.when_durable(end, Box::new(move |status| flushed.send(status).unwrap()));
    assert_eq!(is_flushed.recv().unwrap(), PutMessageStatus::PutOk);
    heard.lock().unwrap().clear();
    put(&store, "t", 0, b"one");
    store.put_batch(
        &message("t", 0, b""),
        BatchMessages::new(&batch(&[b"two", b"three"])),
        &mut Vec::new(),
    );
    assert_eq!((store.max_offset("t", 0), heard.lock().unwrap().len()), (0, 0));
    assert!(store.flush_soon());
    wait_until(|| heard.lock().unwrap().len() == 3);
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3]);
    assert_eq!(store.max_offset("t", 0), 3);
}

#[test]
fn whoever_is_alone_flushes_at_once() {
    // The first flush of a store always: how long one takes is not known yet. The flusher may be at it, as it begins
    // with a look, after which it has to be asked.
    let is_alone = |_| {
        let dir = temp_dir();
        let (store, heard) = rarely_flushed(dir.path());
        let end = put(&store, "t", 0, b"one").end_phy_offset();
        let flushed = store.flush_if_quick();
        wait_until(|| store.flushed_phy_offset() >= end && *heard.lock().unwrap() == [1]);
        flushed
    };
    assert!((0..50).any(is_alone));
}
