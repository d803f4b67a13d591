mod batches;
mod damage;
mod flush;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oxmq_protocol::message::{Message, MessageExt};
use tempfile::TempDir;

use crate::worker::Signal;
use crate::{
    Environment, Fs, GetMessageResult, GetMessageStatus, MessageStore, StoreConfig, StoreError,
};

const TOPIC: &str = "t";
/// What two units take less than a file of them.
const PER_FILE: usize = 9;

fn temp_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: 16 << 10,
        mapped_file_size_consume_queue: 20 * 20,
        message_index_enable: false,
        compaction_cq_mapped_file_size: 460,
        compaction_mapped_file_size: 9_200,
        ..StoreConfig::in_dir(root)
    }
}

fn open(root: &Path) -> Arc<MessageStore> {
    open_with(root, Fs::default()).unwrap()
}

fn open_with(root: &Path, fs: Fs) -> Result<Arc<MessageStore>, StoreError> {
    let store =
        MessageStore::open_with(config(root), Environment { fs, ..Environment::default() })?;
    store.use_compaction(TOPIC)?;
    Ok(store)
}

fn put(store: &MessageStore, key: &str, body: &[u8]) -> i64 {
    let text = format!("KEYS\u{1}{key}\u{2}");
    let message = Message { properties: text.as_bytes(), ..Message::new(TOPIC, 0, body) };
    let result = store.put_message(&message);
    assert!(result.status.is_stored(), "{result:?}");
    result.queue_offset
}

/// Puts messages with the keys 0, 1 and 2 in turn.
fn put_run(store: &MessageStore, count: usize) {
    for _ in 0..count {
        let offset = store.max_offset(TOPIC, 0);
        assert_eq!(put(store, &format!("k{}", offset % 3), &body(offset)), offset);
    }
}

fn body(offset: i64) -> Vec<u8> {
    format!("body of message {offset}").into_bytes()
}

fn feed(store: &MessageStore) {
    store.compaction.feed(i64::MAX).unwrap();
}

fn compact(store: &MessageStore) {
    feed(store);
    store.compaction.compact_all(&Signal::default());
}

fn pull(store: &MessageStore, offset: i64) -> (GetMessageResult, Vec<MessageExt>) {
    let mut out = Vec::new();
    let result = store.get_message(TOPIC, 0, offset, 32, usize::MAX, |_, _| true, &mut out);
    (result, MessageExt::decode_all(&out).unwrap())
}

/// Offsets of all messages, as a consumer finds them.
fn left(store: &MessageStore) -> Vec<i64> {
    let (mut offsets, mut next) = (Vec::new(), 0);
    loop {
        let (result, messages) = pull(store, next);
        for message in &messages {
            let offset = message.queue_offset;
            assert!(offset >= next && offset < result.next_begin_offset, "{result:?}");
            assert_eq!(&message.body[..], body(offset));
            offsets.push(offset);
        }
        match result.status {
            GetMessageStatus::OffsetOverflowOne
            | GetMessageStatus::NoMatchedLogicQueue
            // The queue has been made for a message that is not there yet.
            | GetMessageStatus::NoMessageInQueue => return offsets,
            _ => assert!(result.next_begin_offset > next, "{result:?}"),
        }
        next = result.next_begin_offset;
    }
}

/// What is left of `count` messages with three keys once all files that are full have been compacted.
fn expected(count: i64) -> Vec<i64> {
    let closed = (count - 1) / PER_FILE as i64 * PER_FILE as i64;
    let latest: BTreeMap<i64, i64> = (0..closed).map(|offset| (offset % 3, offset)).collect();
    let mut offsets: Vec<i64> = latest.into_values().collect();
    offsets.sort_unstable();
    offsets.extend(closed..count);
    offsets
}

fn dirs(root: &Path) -> [PathBuf; 2] {
    ["compactionLog", "compactionCq"].map(|name| root.join("compaction").join(name).join("t/0"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_latest_message_of_each_key_is_left_of_closed_files() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 30);
    assert_eq!(left(&store), (0..30).collect::<Vec<_>>());
    feed(&store);
    assert_eq!(left(&store), (0..30).collect::<Vec<_>>());
    compact(&store);
    assert_eq!(left(&store), expected(30));
    assert_eq!(expected(30), [24, 25, 26, 27, 28, 29]);
    for dir in dirs(dir.path()) {
        assert_eq!(names(&dir), ["00000000000000000000", "00000000000000028980"]);
    }
    // A message that has not been copied is there as well.
    put_run(&store, 1);
    assert_eq!(left(&store), (24..31).collect::<Vec<_>>());
    let (result, messages) = pull(&store, 3);
    assert_eq!(messages[0].queue_offset, 24);
    assert_eq!((result.min_offset, result.max_offset), (24, 31));
    assert_eq!(store.min_offset(TOPIC, 0), 0);
    let (result, _) = pull(&store, 31);
    assert_eq!(result.status, GetMessageStatus::OffsetOverflowOne);
    let (result, _) = pull(&store, 32);
    assert_eq!(result.status, GetMessageStatus::OffsetOverflowBadly);
    assert_eq!(result.next_begin_offset, 31);
    store.close().unwrap();
}

#[test]
fn what_is_left_outlives_a_stop_a_crash_and_the_log() {
    let dir = temp_dir();
    let mut count = 0;
    for round in 0..6 {
        let store = open(dir.path());
        assert_eq!(store.max_offset(TOPIC, 0), count);
        let before = left(&store);
        put_run(&store, 40);
        count += 40;
        compact(&store);
        assert_eq!(left(&store), expected(count));
        assert!(before.is_empty() || before == expected(count - 40));
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
    // The log itself has lost what is left of the keys by now.
    let store = MessageStore::open(StoreConfig { file_reserved_time: 0, ..config(dir.path()) });
    let store = store.unwrap();
    store.use_compaction(TOPIC).unwrap();
    for _ in 0..200 {
        put(&store, "k0", &body(count));
        count += 1;
    }
    store.delete_expired_files();
    store.cleaner.round().unwrap();
    assert!(store.min_offset(TOPIC, 0) > 239, "{}", store.min_offset(TOPIC, 0));
    compact(&store);
    let offsets = left(&store);
    // The latest of the other keys.
    assert_eq!(offsets[..2], [238, 239]);
    assert_eq!(pull(&store, 0).0.min_offset, 238);
    drop(store);
    assert_eq!(left(&open(dir.path())), offsets);
}

#[test]
fn messages_without_a_key_are_not_kept_and_empty_ones_delete_their_key() {
    let dir = temp_dir();
    let store = open(dir.path());
    put(&store, "gone", &body(0));
    put(&store, "stays", &body(1));
    store.put_message(&Message::new(TOPIC, 0, &body(2)));
    // Neither before nor after it would have been copied.
    assert_eq!(left(&store), [0, 1]);
    put(&store, "gone", b"");
    put_run(&store, 20);
    let (result, _) = pull(&store, 2);
    assert_eq!(result.status, GetMessageStatus::Found);
    compact(&store);
    assert_eq!(left(&store)[0], 1);
    assert!(!left(&store).contains(&0));
    assert!(!left(&store).contains(&3));
}

#[test]
fn keys_that_do_not_fit_are_looked_at_later() {
    let dir = temp_dir();
    let config = StoreConfig { max_offset_map_size: 1, ..config(dir.path()) };
    let store = MessageStore::open(config).unwrap();
    store.use_compaction(TOPIC).unwrap();
    let long = "k".repeat(700);
    for round in 0..3 {
        for key in 0..9 {
            let offset = round * 9 + key;
            assert_eq!(put(&store, &format!("{long}{key}"), &body(offset)), offset);
        }
    }
    put(&store, "last", &body(27));
    for _ in 0..20 {
        compact(&store);
    }
    assert_eq!(left(&store), (18..28).collect::<Vec<_>>());
}

#[test]
fn who_reads_meanwhile_always_finds_the_latest_message_of_each_key() {
    const MESSAGES: i64 = 2_000;
    const KEYS: i64 = 7;
    let dir = temp_dir();
    let store = open(dir.path());
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                put(&store, &format!("k{}", number % KEYS), &body(number));
                if number % 50 == 0 {
                    feed(&store);
                }
            }
            is_done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                compact(&store);
            }
        });
        while !is_done.load(Ordering::Acquire) {
            let max = store.max_offset(TOPIC, 0);
            let seen = left(&store);
            assert!(seen.is_sorted());
            for key in 0..KEYS.min(max) {
                let latest = seen.iter().rev().find(|offset| *offset % KEYS == key);
                let least = (max - 1) - (max - 1 - key).rem_euclid(KEYS);
                assert!(latest.is_some_and(|latest| *latest >= least), "{key}: {seen:?} of {max}");
            }
        }
    });
    compact(&store);
    assert!(left(&store).len() < (KEYS as usize) + PER_FILE + 1);
}

#[test]
fn a_deleted_topic_takes_its_files_along() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 30);
    compact(&store);
    store.delete_topic(TOPIC).unwrap();
    for dir in dirs(dir.path()) {
        assert!(!dir.exists());
    }
    assert_eq!(pull(&store, 0).0.status, GetMessageStatus::NoMatchedLogicQueue);
    // A topic of the same name is another one.
    put_run(&store, 30);
    assert_eq!(left(&store), (0..30).collect::<Vec<_>>());
    store.use_compaction(TOPIC).unwrap();
    compact(&store);
    assert_eq!(left(&store), expected(30));
    store.close().unwrap();
}

#[test]
fn a_filter_looks_at_what_is_left_and_at_what_is_not_copied_yet() {
    let dir = temp_dir();
    let store = open(dir.path());
    let put = |key: &str, tag: &str| {
        let text = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}{tag}\u{2}");
        let message = Message { properties: text.as_bytes(), ..Message::new(TOPIC, 0, b"x") };
        assert!(store.put_message(&message).status.is_stored());
    };
    for number in 0..30 {
        put(&format!("k{}", number % 3), ["a", "b"][number % 2]);
    }
    compact(&store);
    put("k0", "a");
    let wanted = oxmq_protocol::message::tags_code("a");
    let mut offsets = Vec::new();
    let mut next = 0;
    while next < 31 {
        let mut out = Vec::new();
        let filter = |tags_code, _: crate::LazyRecord<'_>| tags_code == wanted;
        let result = store.get_message(TOPIC, 0, next, 32, usize::MAX, filter, &mut out);
        let found = MessageExt::decode_all(&out).unwrap();
        offsets.extend(found.iter().map(|message| message.queue_offset));
        next = result.next_begin_offset;
    }
    assert_eq!(offsets, [24, 26, 28, 30]);
}

#[test]
fn who_saw_an_earlier_end_of_the_log_removes_nothing() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 20);
    let earlier = store.max_phy_offset();
    put_run(&store, 10);
    compact(&store);
    assert_eq!(left(&store), expected(30));
    store.compaction.feed(earlier).unwrap();
    assert_eq!(left(&store), expected(30));
}

#[test]
fn an_operation_that_fails_once_hides_no_message() {
    for fail_at in 0.. {
        let dir = temp_dir();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let fs = Fs::with_fault(move |_, path| {
            let is_compacted = path.components().any(|part| part.as_os_str() == "compaction");
            match is_compacted && counter.fetch_add(1, Ordering::Relaxed) == fail_at {
                true => Err(std::io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        });
        let mut store = open_with(dir.path(), fs).unwrap();
        for _ in 0..30 {
            put_run(&store, 1);
            // What has failed is done again the next time.
            drop(store.compaction.feed(i64::MAX));
        }
        assert_eq!(left(&store), (0..30).collect::<Vec<_>>(), "operation {fail_at}");
        // But that a file could not be flushed stays so until the next start.
        if store.compaction.feed(i64::MAX).is_err() {
            drop(store);
            store = open(dir.path());
        }
        feed(&store);
        assert_eq!(left(&store), (0..30).collect::<Vec<_>>(), "operation {fail_at}");
        compact(&store);
        compact(&store);
        assert_eq!(left(&store), expected(30), "operation {fail_at}");
        if calls.load(Ordering::Relaxed) <= fail_at {
            assert!(fail_at > 20, "{fail_at} operations");
            return;
        }
    }
}
