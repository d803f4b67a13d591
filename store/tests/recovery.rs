//! Stores that were not closed, or whose files were damaged, opened again.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::*;
use oxmq_protocol::message::{BatchMessages, InnerMessage, Message, MessageExt, properties};
use oxmq_store::{MessageStore, PutMessageStatus, StoreConfig, StoreError};

/// A directory with `count` messages of `put_run`, closed or as a crash leaves it.
fn written(count: usize, closed: bool) -> tempfile::TempDir {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..count);
    if closed {
        store.close().unwrap();
    }
    dir
}

/// Opens a damaged store, checks that it holds a prefix of the run at least `least` long, that it
/// goes on from there, and that it still does after a clean stop.
fn check_goes_on(root: &Path, least: usize) -> usize {
    let store = open(&small(root));
    let count = check_run(&store, least);
    put_run(&store, count..count + 5);
    check_run(&store, count + 5);
    store.close().unwrap();
    let store = open(&small(root));
    assert_eq!(check_run(&store, count + 5), count + 5);
    count
}

fn last_log_file(root: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("commitlog"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::read(path).unwrap().iter().any(|byte| *byte != 0))
        .collect();
    files.sort();
    files.pop().unwrap()
}

/// Where each record of a log file ends.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    loop {
        let at = ends[ends.len() - 1];
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if size == 0 || bytes[at + 4..at + 8] == [0xcb, 0xd4, 0x31, 0x94] {
            return ends;
        }
        ends.push(at + size);
    }
}

#[test]
fn log_cut_at_every_byte_of_its_last_records_opens_with_a_prefix() {
    for closed in [false, true] {
        let original = written(210, closed);
        let path = last_log_file(original.path());
        let bytes = fs::read(&path).unwrap();
        let ends = record_ends(&bytes);
        let end = ends[ends.len() - 1];
        for cut in ends[ends.len() - 3]..=end {
            let dir = temp_dir();
            copy_dir(original.path(), dir.path());
            let file = fs::OpenOptions::new()
                .write(true)
                .open(dir.path().join("commitlog").join(path.file_name().unwrap()))
                .unwrap();
            file.write_all_at(&vec![0; bytes.len() - cut], cut as u64).unwrap();
            let lost = ends.iter().filter(|end| **end > cut).count();
            let count = check_goes_on(dir.path(), 210 - lost);
            assert!(count <= 210 - lost + 1, "cut at {cut}: {count}");
        }
    }
}

#[test]
fn log_cut_within_the_properties_of_its_last_record_ends_before_it() {
    let text = format!("KEYS\u{1}{}\u{2}CLUSTER\u{1}c\u{2}", "k".repeat(100));
    let original = temp_dir();
    let store = open(&small(original.path()));
    let put = |body: &[u8]| {
        let properties = text.as_bytes();
        store.put_message(&Message { properties, ..message("TopicA", 0, body) })
    };
    (0..3).for_each(|_| assert!(put(b"whole").status.is_stored()));
    let end = store.max_phy_offset() as usize;
    let name = last_log_file(original.path()).file_name().unwrap().to_owned();
    for cut in end - text.len()..=end {
        let dir = temp_dir();
        copy_dir(original.path(), dir.path());
        let path = dir.path().join("commitlog").join(&name);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&vec![0; (16 << 10) - cut], cut as u64).unwrap();
        let store = open(&small(dir.path()));
        let messages = read_all(&store, "TopicA", 0);
        assert_eq!(messages.len(), if cut == end { 3 } else { 2 }, "cut at {cut}");
        let key = |message: &MessageExt| {
            properties::property_str(&message.properties, "KEYS").map(str::len)
        };
        assert!(messages.iter().all(|message| key(message) == Some(100)));
        store.close().unwrap();
    }
}

#[test]
fn damaged_byte_anywhere_in_the_last_records_never_panics() {
    let original = written(60, false);
    let path = last_log_file(original.path());
    let bytes = fs::read(&path).unwrap();
    let ends = record_ends(&bytes);
    let from = ends[ends.len() - 3];
    for at in from..ends[ends.len() - 1] {
        let dir = temp_dir();
        copy_dir(original.path(), dir.path());
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        fs::write(dir.path().join("commitlog").join(path.file_name().unwrap()), damaged).unwrap();
        let store = open(&small(dir.path()));
        let whole: usize = (0..2)
            .map(|queue_id| {
                let messages = read_all_that_decode(&store, queue_id);
                messages.iter().filter(|body| body.starts_with(b"message ")).count()
            })
            .sum();
        assert!(whole >= 60 - 2, "byte {at}: {whole}");
        put(&store, "TopicA", 0, b"goes on");
        store.close().unwrap();
    }
}

/// Bodies of a queue, whatever else is wrong with the messages.
fn read_all_that_decode(store: &MessageStore, queue_id: i32) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let (mut offset, max) = store.bounds("TopicA", queue_id);
    while offset < max {
        let mut out = Vec::new();
        let result = pull(store, "TopicA", queue_id, offset, &mut out);
        let mut rest = &out[..];
        while let Ok(view) = oxmq_protocol::message::RecordView::parse(rest) {
            bodies.push(view.body().to_vec());
            rest = &rest[view.total_bytes()..];
        }
        assert!(result.next_begin_offset > offset);
        offset = result.next_begin_offset;
    }
    bodies
}

#[test]
fn lost_consume_queues_are_made_anew() {
    for closed in [false, true] {
        let dir = written(210, closed);
        // A crash may have come before the first queue was written.
        let _ = fs::remove_dir_all(dir.path().join("consumequeue"));
        assert_eq!(check_goes_on(dir.path(), 210), 210);
    }
}

#[test]
fn lost_queue_is_made_anew_after_a_crash() {
    let dir = written(210, false);
    let _ = fs::remove_dir_all(dir.path().join("consumequeue/TopicA/1"));
    assert_eq!(check_goes_on(dir.path(), 210), 210);
}

#[test]
fn queue_that_lags_is_completed_even_after_a_clean_stop() {
    for units in [1, 5, 25, 104] {
        for queues in [&[0][..], &[1], &[0, 1]] {
            let dir = written(210, true);
            for queue_id in queues {
                drop_units(dir.path(), *queue_id, units);
            }
            assert_eq!(check_goes_on(dir.path(), 210), 210, "{units} units of {queues:?}");
        }
    }
}

/// Clears the last `count` units of a queue of `TopicA`, as if they had never been written.
fn drop_units(root: &Path, queue_id: i32, count: usize) {
    let dir = root.join(format!("consumequeue/TopicA/{queue_id}"));
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let mut left = count;
    for path in names.iter().rev() {
        let mut bytes = fs::read(path).unwrap();
        let units = bytes.chunks(20).filter(|unit| unit.iter().any(|b| *b != 0)).count();
        let dropped = left.min(units);
        bytes[(units - dropped) * 20..].fill(0);
        if dropped == units {
            fs::remove_file(path).unwrap();
        } else {
            fs::write(path, bytes).unwrap();
        }
        left -= dropped;
        if left == 0 {
            return;
        }
    }
}

#[test]
fn queue_cut_at_every_byte_is_completed() {
    let original = written(10, false);
    // Not all units may have reached the file before the crash: begin with all of them.
    open(&small(original.path())).close().unwrap();
    for abort in [false, true] {
        for cut in 0..5 * 20 {
            let dir = temp_dir();
            copy_dir(original.path(), dir.path());
            let path = dir.path().join("consumequeue/TopicA/0/00000000000000000000");
            let mut bytes = fs::read(&path).unwrap();
            bytes[cut..].fill(0);
            fs::write(&path, bytes).unwrap();
            if abort {
                fs::write(dir.path().join("abort"), "1").unwrap();
            }
            assert_eq!(check_goes_on(dir.path(), 10), 10, "cut at {cut}, abort {abort}");
        }
    }
}

#[test]
fn units_that_lead_behind_the_log_are_cut() {
    for closed in [false, true] {
        let dir = written(210, closed);
        let path = last_log_file(dir.path());
        let bytes = fs::read(&path).unwrap();
        let kept = record_ends(&bytes).len() - 1;
        fs::write(&path, vec![0; bytes.len()]).unwrap();
        assert_eq!(check_goes_on(dir.path(), 210 - kept), 210 - kept);
    }
}

#[test]
fn log_that_is_gone_empties_the_queues() {
    let dir = written(50, true);
    fs::remove_dir_all(dir.path().join("commitlog")).unwrap();
    assert_eq!(check_goes_on(dir.path(), 0), 0);
}

#[test]
fn index_is_made_anew_after_a_crash() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    // More keys than one index file takes.
    for number in 0..2_500 {
        let mut text = Vec::new();
        properties::append(&mut text, properties::KEYS, format!("k{number}").as_bytes());
        store.put_message(&Message { properties: &text, ..message("t", 0, &body(number)) });
    }
    let find_all = |store: &MessageStore| {
        for number in 0..2_500 {
            let key = format!("k{number}");
            let found = store.query_message("t", &key, 64, 0, i64::MAX).unwrap();
            assert!(found.message_count >= 1, "{key}");
        }
    };
    find_all(&store);
    drop(store);
    let store = open(&small(dir.path()));
    find_all(&store);
    store.close().unwrap();
    fs::write(dir.path().join("abort"), "1").unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    find_all(&open(&small(dir.path())));
}

#[test]
fn damaged_index_and_checkpoint_do_not_stop_the_store() {
    for closed in [false, true] {
        let dir = written(210, closed);
        fs::write(dir.path().join("checkpoint"), [0xff; 4096]).unwrap();
        for entry in fs::read_dir(dir.path().join("index")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let length = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, vec![0xa5; length]).unwrap();
        }
        assert_eq!(check_goes_on(dir.path(), 210), 210);
    }
}

#[test]
fn missing_checkpoint_means_reading_everything() {
    let dir = written(210, false);
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert_eq!(check_goes_on(dir.path(), 210), 210);
}

#[test]
fn queue_that_begins_late_has_pre_blank_units_and_keeps_its_first_offset() {
    let dir = written(210, true);
    // The first log file is gone, as after cleaning; its queues have to be made from the rest.
    fs::remove_file(dir.path().join("commitlog/00000000000000000000")).unwrap();
    fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    let store = open(&small(dir.path()));
    let (min, max) = store.bounds("TopicA", 0);
    assert!(min > 0 && max == 105, "{min}..{max}");
    let messages = read_all(&store, "TopicA", 0);
    assert_eq!(messages.len(), 105 - min as usize);
    assert_eq!(messages[0].queue_offset, min);
    store.close().unwrap();
    let per_file = 20;
    let first = min as usize / per_file * per_file * 20;
    let path = dir.path().join(format!("consumequeue/TopicA/0/{first:020}"));
    let bytes = fs::read(path).unwrap();
    for unit in bytes[..min as usize % per_file * 20].chunks(20) {
        assert_eq!(unit, [0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let store = open(&small(dir.path()));
    assert_eq!(store.bounds("TopicA", 0), (min, 105));
}

/// Numbers of the messages of `put_run` that a store still gives out, in order.
fn numbers_left(store: &MessageStore) -> Vec<usize> {
    let bodies = (0..2).flat_map(|queue_id| read_all_that_decode(store, queue_id));
    let mut numbers: Vec<usize> = bodies
        .map(|body| {
            let text = String::from_utf8(body).unwrap();
            text.split(' ').nth(1).unwrap().parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn damage_in_the_middle_of_the_log_costs_the_damaged_records_only() {
    // A bit in the body, in the length, or a whole cleared record; queues kept or lost.
    for (what, lose_queues) in [0, 1, 2].into_iter().flat_map(|what| [(what, false), (what, true)])
    {
        for closed in [false, true] {
            let dir = written(400, closed);
            let path = dir.path().join("commitlog/00000000000000016384");
            let mut bytes = fs::read(&path).unwrap();
            let ends = record_ends(&bytes);
            let (from, to) = (ends[5], ends[6]);
            match what {
                0 => bytes[from + 90] ^= 1,
                1 => bytes[from + 2] ^= 0x40,
                _ => bytes[from..to].fill(0),
            }
            fs::write(&path, bytes).unwrap();
            if lose_queues {
                let _ = fs::remove_dir_all(dir.path().join("consumequeue"));
            }
            let store = open(&small(dir.path()));
            let left = numbers_left(&store);
            assert!(left.len() >= 399, "{what} {lose_queues} {closed}: {}", left.len());
            assert_eq!(left[left.len() - 1], 399);
            let mut records = 0;
            store.for_each_record(0, |_| {
                records += 1;
                true
            });
            assert!(records >= 399, "{what} {lose_queues} {closed}: {records} records");
            put_run(&store, 400..420);
            store.close().unwrap();
            assert_eq!(numbers_left(&open(&small(dir.path()))).len(), left.len() + 20);
        }
    }
}

#[test]
fn missing_log_file_costs_its_records_only() {
    for (lose_queues, closed) in [(false, false), (true, false), (false, true), (true, true)] {
        let dir = written(400, closed);
        fs::remove_file(dir.path().join("commitlog/00000000000000016384")).unwrap();
        if lose_queues {
            let _ = fs::remove_dir_all(dir.path().join("consumequeue"));
        }
        let store = open(&small(dir.path()));
        let left = numbers_left(&store);
        assert!(left.len() > 300 && left.len() < 400, "{}", left.len());
        assert_eq!((left[0], left[left.len() - 1]), (0, 399));
        put_run(&store, 400..410);
        store.close().unwrap();
        assert_eq!(numbers_left(&open(&small(dir.path()))).len(), left.len() + 10);
    }
}

#[test]
fn leftovers_behind_an_earlier_end_do_not_come_back() {
    let dir = written(60, true);
    let path = last_log_file(dir.path());
    let bytes = fs::read(&path).unwrap();
    let ends = record_ends(&bytes);
    let cut = ends[ends.len() - 4];
    // As the reference leaves it: the log ends here, and old records follow behind the new one.
    let mut older = bytes.clone();
    for byte in &mut older[cut..cut + 8] {
        *byte = 0;
    }
    older[cut + 8..ends[ends.len() - 1]].fill(0x77);
    fs::write(&path, &older).unwrap();
    let store = open(&small(dir.path()));
    let count = check_run(&store, 57);
    assert_eq!(count, 57);
    store.close().unwrap();
    assert!(fs::read(&path).unwrap()[cut..].iter().all(|byte| *byte == 0));
}

#[test]
fn file_of_a_wrong_length_is_refused_and_an_empty_last_one_removed() {
    let dir = written(50, true);
    let log = dir.path().join("commitlog");
    let next = log.join(format!("{:020}", 16 << 10));
    if !next.exists() {
        fs::write(&next, "").unwrap();
    }
    open(&small(dir.path())).close().unwrap();
    let config = StoreConfig { mapped_file_size_commit_log: 32 << 10, ..small(dir.path()) };
    assert!(matches!(MessageStore::open(config), Err(StoreError::BadFile { .. })));
    open(&small(dir.path()));
}

#[test]
fn topic_made_anew_survives_a_crash_with_its_new_messages() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..100);
    store.delete_topic("TopicA").unwrap();
    put(&store, "TopicA", 0, b"new");
    drop(store);
    let store = open(&small(dir.path()));
    let messages = read_all(&store, "TopicA", 0);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].body, b"new");
}

#[test]
fn last_message_whose_properties_end_with_a_zero_outlives_a_stop_and_a_crash() {
    for closed in [true, false] {
        let dir = temp_dir();
        let store = open(&small(dir.path()));
        let text = b"name\x01value\0";
        let message = Message { properties: text, ..message("t", 0, b"body") };
        assert_eq!(store.put_message(&message).status, PutMessageStatus::PutOk);
        let inner = InnerMessage { flag: 0, body: b"body", properties: text };
        let mut bytes = Vec::new();
        inner.encode(&mut bytes).unwrap();
        let result = store.put_batch(&message, BatchMessages::new(&bytes), &mut Vec::new());
        assert_eq!(result.status, PutMessageStatus::PutOk);
        if closed {
            store.close().unwrap();
        }
        drop(store);
        let messages = read_all(&open(&small(dir.path())), "t", 0);
        assert_eq!(messages.len(), 2, "closed: {closed}");
        for message in messages {
            let value = properties::property_str(&message.properties, "name");
            assert_eq!(value, Some("value\0"));
        }
    }
}

#[test]
fn a_damaged_unit_takes_no_other_along() {
    let cases = [(25, false), (50, false), (75, false), (25, true), (37, true), (50, true)];
    for (at, is_log_cut) in cases {
        let dir = written(200, true);
        let path = dir.path().join(format!("consumequeue/TopicA/0/{:020}", at / 20 * 400));
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 20], at % 20 * 20).unwrap();
        let mut left = 200;
        if is_log_cut {
            let path = last_log_file(dir.path());
            let bytes = fs::read(&path).unwrap();
            left -= record_ends(&bytes).len() as u64 - 1;
            fs::write(&path, vec![0; bytes.len()]).unwrap();
        }
        let end = left.div_ceil(2);
        assert!(end > at);
        let store = open(&small(dir.path()));
        assert_eq!(store.bounds("TopicA", 0), (0, end as i64), "{at} {is_log_cut}");
        let (mut offsets, mut next) = (Vec::new(), 0);
        while next < end as i64 {
            let mut out = Vec::new();
            let result = pull(&store, "TopicA", 0, next, &mut out);
            assert!(result.next_begin_offset > next, "{result:?}");
            next = result.next_begin_offset;
            let messages = MessageExt::decode_all(&out).unwrap();
            offsets.extend(messages.into_iter().map(|message| message.queue_offset as u64));
        }
        assert_eq!(offsets, (0..end).filter(|offset| *offset != at).collect::<Vec<_>>());
    }
}
