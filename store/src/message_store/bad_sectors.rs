//! Stores on a disk that does not give back all that was written: nobody ends by it, and nothing is taken for gone.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxmq_protocol::message::Message;

use super::{Boundary, MessageStore};
use crate::mapped_file::bad::{break_pages, mend_pages};
use crate::offline::{self, Finding, Kind, Severity, StoreDir};
use crate::{GetMessageStatus, LogStreamError, PutMessageStatus, StoreConfig};

const FILE_BYTES: usize = 64 << 10;
const MESSAGES: i64 = 300;
/// In the second of three files.
const PAGE: Range<usize> = 8 << 10..12 << 10;

/// Of a store all of whose messages are looked for on disk, wherever they are.
fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: FILE_BYTES as u64,
        max_hash_slot_num: 5_000,
        max_index_num: 5_000,
        ..StoreConfig::in_dir(dir)
    }
}

fn put(store: &MessageStore, number: i64) {
    let text = format!("KEYS\u{1}k{number:03}\u{2}");
    let properties = text.as_bytes();
    let body = [b'b'; 400];
    let result = store.put_message(&Message { properties, ..Message::new("t", 0, &body) });
    assert_eq!((result.status, result.queue_offset), (PutMessageStatus::PutOk, number));
}

/// The position in the log of a message.
fn position(store: &MessageStore, number: i64) -> i64 {
    store.phy_offset_of("t", 0, number).unwrap()
}

fn log_file(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("commitlog/{:020}", number * FILE_BYTES))
}

/// A closed store, and where its messages are. It counts as crashed if `crashed`.
fn filled(crashed: bool) -> (tempfile::TempDir, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(config(dir.path())).unwrap();
    (0..MESSAGES).for_each(|number| put(&store, number));
    let positions = (0..MESSAGES).map(|number| position(&store, number) as usize).collect();
    store.close().unwrap();
    if crashed {
        fs::write(dir.path().join("abort"), "1").unwrap();
        fs::remove_file(dir.path().join("checkpoint")).unwrap();
    }
    (dir, positions)
}

/// The messages that have a byte in `part` of the log.
fn within(positions: &[usize], part: Range<usize>) -> Vec<i64> {
    let record = positions[1] - positions[0];
    let numbers = (0..).zip(positions);
    numbers
        .filter(|(_, at)| **at < part.end && **at + record > part.start)
        .map(|(n, _)| n)
        .collect()
}

/// The messages that pulls of one by one do not give, and why.
fn not_given(store: &MessageStore) -> Vec<(i64, GetMessageStatus, i64)> {
    let mut not_given = Vec::new();
    for offset in 0..store.max_offset("t", 0) {
        let mut out = Vec::new();
        // As a consumer does, who is answered out of memory if that can be.
        let cached = store.get_cached_message("t", 0, offset, 1, 1 << 20, |_, _| true, &mut out);
        let result = cached.unwrap_or_else(|_| {
            store.get_message("t", 0, offset, 1, 1 << 20, |_, _| true, &mut out)
        });
        if result.status != GetMessageStatus::Found {
            not_given.push((offset, result.status, result.next_begin_offset));
        }
    }
    not_given
}

fn found(store: &MessageStore, number: i64) -> u32 {
    store.query_message("t", &format!("k{number:03}"), 10, 0, i64::MAX).unwrap().message_count
}

fn stays(lost: &[i64]) -> Vec<(i64, GetMessageStatus, i64)> {
    lost.iter().map(|lost| (*lost, GetMessageStatus::OffsetFoundNull, *lost)).collect()
}

#[test]
fn a_start_steps_over_a_bad_middle_of_the_log_and_serves_all_around_it() {
    for crashed in [false, true] {
        let (dir, positions) = filled(crashed);
        let path = log_file(dir.path(), 1);
        let before = fs::read(&path).unwrap();
        break_pages(&path, PAGE);
        let record = positions[1];
        let lost = within(&positions, FILE_BYTES + PAGE.start..FILE_BYTES + PAGE.end);
        let store = MessageStore::open(config(dir.path())).unwrap();
        assert_eq!(store.max_phy_offset() as usize, positions[299] + record);
        assert_eq!(not_given(&store), stays(&lost), "crashed: {crashed}");
        put(&store, MESSAGES);
        assert_eq!(found(&store, MESSAGES), 1);
        store.close().unwrap();
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn a_bad_end_of_the_log_is_left_where_it_is_and_the_log_goes_on_behind_it() {
    let (dir, positions) = filled(true);
    let last = positions[299] / FILE_BYTES;
    let path = log_file(dir.path(), last);
    let before = fs::read(&path).unwrap();
    let page = (positions[299] % FILE_BYTES) & !4095;
    break_pages(&path, page..page + 4096);
    let lost = within(&positions, last * FILE_BYTES + page..(last + 1) * FILE_BYTES);
    for start in 0..3 {
        let store = MessageStore::open(config(dir.path())).unwrap();
        assert_eq!(store.max_offset("t", 0), MESSAGES + start);
        assert_eq!(not_given(&store), stays(&lost), "start {start}");
        put(&store, MESSAGES + start);
        assert!(position(&store, MESSAGES) as usize >= (last + 1) * FILE_BYTES);
        assert_eq!(found(&store, MESSAGES + start), 1);
        store.close().unwrap();
    }
    // Nothing was written there: when the disk gives it back, everything is there.
    assert!(fs::read(&path).unwrap() == before);
    mend_pages(&path);
    let store = MessageStore::open(config(dir.path())).unwrap();
    assert_eq!((not_given(&store), store.max_offset("t", 0)), (vec![], MESSAGES + 3));
}

#[test]
fn starts_of_a_store_with_a_bad_end_do_not_each_make_a_file() {
    let (dir, positions) = filled(false);
    let last = positions[299] / FILE_BYTES;
    break_pages(&log_file(dir.path(), last), 0..FILE_BYTES);
    let ends: Vec<_> = (0..3)
        .map(|_| {
            let store = MessageStore::open(config(dir.path())).unwrap();
            let end = store.max_phy_offset();
            store.close().unwrap();
            end as usize
        })
        .collect();
    assert_eq!(ends, [(last + 1) * FILE_BYTES; 3]);
}

#[test]
fn lookups_pass_by_what_cannot_be_read() {
    let (dir, positions) = filled(false);
    let path = log_file(dir.path(), 0);
    break_pages(&path, PAGE);
    let lost = within(&positions, PAGE);
    let store = MessageStore::open(config(dir.path())).unwrap();
    for number in 0..MESSAGES {
        let is_lost = lost.contains(&number);
        let at = positions[number as usize] as i64;
        assert_eq!(store.look_message_by_offset(at).is_none(), is_lost, "{number}");
        assert_eq!(found(&store, number), u32::from(!is_lost), "{number}");
        assert_eq!(store.message_store_timestamp("t", 0, number).is_none(), is_lost, "{number}");
    }
    let mut seen = 0;
    store.for_each_record(0, |_| {
        seen += 1;
        true
    });
    assert_eq!(seen, MESSAGES as usize - lost.len());
    store.offset_by_time("t", 0, store.clock.now_ms(), Boundary::Lower);
    let stream = store.read_log(PAGE.start as i64, 10, &mut Vec::new());
    assert!(matches!(stream, Err(LogStreamError::Io(_))), "{stream:?}");
}

#[test]
fn an_index_file_that_cannot_be_read_is_made_anew_and_one_that_becomes_so_finds_what_it_can() {
    let index_file = |dir: &Path| {
        let files = fs::read_dir(dir.join("index")).unwrap();
        files.map(|file| file.unwrap().path()).max().unwrap()
    };
    // The head with the first slots, and the last entries.
    let next_entry = 40 + 5_000 * 4 + 20 * (MESSAGES as usize + 1);
    for bad in [0..1, next_entry..next_entry + 1] {
        let (dir, _) = filled(false);
        let path = index_file(dir.path());
        break_pages(&path, bad);
        let store = MessageStore::open(config(dir.path())).unwrap();
        put(&store, MESSAGES);
        assert!((0..=MESSAGES).all(|number| found(&store, number) == 1));
        assert_ne!(index_file(dir.path()), path);
    }
    let (dir, _) = filled(false);
    // Entries 100 to 150 or so.
    let entries = 40 + 5_000 * 4 + 20 * 100;
    break_pages(&index_file(dir.path()), entries..entries + 1);
    let store = MessageStore::open(config(dir.path())).unwrap();
    let found = (0..MESSAGES).filter(|number| found(&store, *number) == 1).count();
    assert!((1..MESSAGES as usize).contains(&found), "{found}");
}

#[test]
fn queues_and_a_checkpoint_that_cannot_be_read_are_set_aside_and_made_anew() {
    for crashed in [false, true] {
        let (dir, _) = filled(false);
        if crashed {
            fs::write(dir.path().join("abort"), "1").unwrap();
        }
        let names = ["consumequeue/t/0/00000000000000000000", "checkpoint"];
        let bytes = names.map(|name| {
            let path = dir.path().join(name);
            break_pages(&path, 0..4096);
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        });
        let store = MessageStore::open(config(dir.path())).unwrap();
        // What is there now is on other sectors.
        bytes.iter().for_each(|(path, _)| mend_pages(path));
        assert_eq!((not_given(&store), store.max_offset("t", 0)), (vec![], MESSAGES));
        put(&store, MESSAGES);
        store.close().unwrap();
        let kept = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> =
            kept.filter(|path| path.to_str().unwrap().contains("damaged-")).collect();
        for (name, (_, bytes)) in names.iter().zip(bytes) {
            assert!(
                kept.iter().any(|dir| fs::read(dir.join(name)).is_ok_and(|kept| kept == bytes))
            );
        }
    }
}

#[test]
fn a_queue_that_cannot_be_read_and_has_no_record_any_more_goes_on_behind_all_that_it_may_have_had()
{
    let dir = tempfile::tempdir().unwrap();
    let store = MessageStore::open(config(dir.path())).unwrap();
    (0..100).for_each(|number| put(&store, number));
    for _ in 0..MESSAGES {
        assert!(store.put_message(&Message::new("u", 0, &[b'b'; 400])).status.is_stored());
    }
    store.close().unwrap();
    fs::remove_file(log_file(dir.path(), 0)).unwrap();
    break_pages(&dir.path().join("consumequeue/t/0/00000000000000000000"), 0..1);
    // As many units as are looked at together, of which the disk does not give back one.
    for _ in 0..2 {
        let store = MessageStore::open(config(dir.path())).unwrap();
        assert_eq!(store.bounds("t", 0), (204, 204));
        let mut out = Vec::new();
        let pulled = store.get_message("t", 0, 100, 1, 1 << 20, |_, _| true, &mut out);
        assert_eq!(
            (pulled.status, pulled.next_begin_offset),
            (GetMessageStatus::OffsetTooSmall, 204)
        );
        store.close().unwrap();
    }
    let store = MessageStore::open(config(dir.path())).unwrap();
    put(&store, 204);
    store.close().unwrap();
    let store = MessageStore::open(config(dir.path())).unwrap();
    assert_eq!(store.bounds("t", 0), (204, 205));
    assert_eq!(not_given(&store).len(), 204);
}

#[test]
fn extended_units_that_cannot_be_read_are_set_aside_and_made_anew() {
    for crashed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let config = || StoreConfig { enable_consume_queue_ext: true, ..config(dir.path()) };
        let store = MessageStore::open(config()).unwrap();
        (0..MESSAGES).for_each(|number| put(&store, number));
        store.close().unwrap();
        if crashed {
            fs::write(dir.path().join("abort"), "1").unwrap();
        }
        let path = dir.path().join("consumequeue_ext/t/0/00000000000000000000");
        // The last ones are there.
        break_pages(&path, 4096..8192);
        let store = MessageStore::open(config()).unwrap();
        assert_eq!((not_given(&store), store.max_offset("t", 0)), (vec![], MESSAGES));
        put(&store, MESSAGES);
        store.close().unwrap();
        let opened = StoreDir::open(dir.path(), Some(config())).unwrap();
        let report = offline::check(&opened, &mut |_, _| ()).unwrap();
        assert_eq!(report.worst(), None, "{:?}", report.findings);
    }
}

/// What a check finds that is worse than worth knowing.
fn findings(dir: &Path) -> Vec<Finding> {
    let opened = StoreDir::open(dir, Some(config(dir))).unwrap();
    let report = offline::check(&opened, &mut |_, _| ()).unwrap();
    report.findings.into_iter().filter(|found| found.severity > Severity::Info).collect()
}

#[test]
fn tools_report_what_cannot_be_read_and_change_nothing() {
    let (dir, positions) = filled(false);
    fs::create_dir_all(dir.path().join("config")).unwrap();
    fs::write(dir.path().join("config/topics.json"), "{}").unwrap();
    let last = positions[299] / FILE_BYTES;
    let (middle, end) = (log_file(dir.path(), 0), log_file(dir.path(), last));
    let bytes = [fs::read(&middle).unwrap(), fs::read(&end).unwrap()];
    let page = (positions[299] % FILE_BYTES) & !4095;
    break_pages(&middle, PAGE);
    break_pages(&end, page..page + 4096);
    let unreadable = || -> Vec<_> {
        let found = findings(dir.path()).into_iter();
        let found = found.filter(|found| found.kind == Kind::Unreadable);
        found.map(|found| (found.severity, found.path, found.position.unwrap() as usize)).collect()
    };
    let expected =
        [(Severity::Error, middle.clone(), PAGE.start), (Severity::Error, end.clone(), page)];
    assert_eq!(unreadable(), expected);

    let opened = StoreDir::open(dir.path(), Some(config(dir.path()))).unwrap();
    let dump = offline::Dump::open(&opened).unwrap();
    let lost = within(&positions, PAGE);
    let why = dump.record(positions[lost[1] as usize] as i64).unwrap_err();
    assert!(why.contains("cannot be read"), "{why}");
    drop(dump);
    drop(opened);

    // None of them keeps the others from being looked at.
    let index = fs::read_dir(dir.path().join("index")).unwrap().next().unwrap().unwrap().path();
    let others = [
        (dir.path().join("config/topics.json"), 0),
        (dir.path().join("consumequeue/t/0/00000000000000000000"), 4096),
        (index, 0),
        (dir.path().join("checkpoint"), 0),
    ];
    for (path, position) in &others {
        break_pages(path, *position..position + 1);
    }
    let mut all: Vec<_> =
        others.iter().map(|(path, at)| (Severity::Error, path.clone(), *at)).collect();
    all.extend(expected);
    let mut found = unreadable();
    [&mut all, &mut found].into_iter().for_each(|findings| findings.sort());
    assert_eq!(found, all);
    others.iter().for_each(|(path, _)| mend_pages(path));

    let config = Some(config(dir.path()));
    let repair = offline::repair(dir.path(), config, false, &mut |_| (), &mut |_, _| ()).unwrap();
    assert_eq!((repair.actions, repair.before.worst()), (vec![], Some(Severity::Error)));
    assert!([fs::read(&middle).unwrap(), fs::read(&end).unwrap()] == bytes);
    // On a sound disk, with zeros in the place of what was lost.
    for (path, page) in [(&middle, PAGE), (&end, page..page + 4096)] {
        mend_pages(path);
        let mut bytes = fs::read(path).unwrap();
        bytes[page].fill(0);
        fs::write(path, bytes).unwrap();
    }
    assert!(unreadable().is_empty());
}

#[test]
fn a_store_is_shared_by_who_meets_a_bad_sector_and_who_does_not() {
    let (dir, positions) = filled(false);
    break_pages(&log_file(dir.path(), 0), PAGE);
    let store = MessageStore::open(config(dir.path())).unwrap();
    let lost = within(&positions, PAGE);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let store = Arc::clone(&store);
            let lost = &lost;
            scope.spawn(move || assert_eq!(not_given(&store), stays(lost)));
        }
    });
}
