//! Stores that are checked and repaired while nobody serves them.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::*;
use oxmq_protocol::message::{Message, MessageExt};
use oxmq_store::offline::{
    self, Dump, Finding, Kind, Repair, Report, Severity, StoreDir, Text, Verdict,
};
use oxmq_store::{MessageStore, StoreError};

/// Messages of the store that is damaged.
const MESSAGES: usize = 203;

fn keyed(number: usize) -> Vec<u8> {
    format!("KEYS\u{1}key{number} all\u{2}TAGS\u{1}Tag{}\u{2}", number % 3).into_bytes()
}

fn put_keyed(store: &MessageStore, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (body, properties) = (body(number), keyed(number));
        let message =
            Message { properties: &properties, ..message("TopicA", (number % 2) as i32, &body) };
        store.put_message(&message);
    }
}

/// A closed store of several files of each kind, with metadata and its backup.
fn sound() -> tempfile::TempDir {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_keyed(&store, 0..MESSAGES);
    store.close().unwrap();
    let config = dir.path().join("config");
    fs::create_dir_all(&config).unwrap();
    let topics = "{\"dataVersion\":{\"counter\":1},\"topicConfigTable\":{\"TopicA\":{}}}";
    fs::write(config.join("topics.json"), topics).unwrap();
    fs::write(config.join("topics.json.bak"), topics).unwrap();
    fs::write(config.join("consumerOffset.json"), "{\"offsetTable\":{\"t@g\":{0:5,1:6\n\t}\n}}")
        .unwrap();
    dir
}

fn check(root: &Path) -> Report {
    let dir = StoreDir::open(root, Some(small(root))).unwrap();
    offline::check(&dir, &mut |_, _| ()).unwrap()
}

fn is_clean(report: &Report) -> bool {
    report.worst().is_none_or(|worst| worst == Severity::Info)
}

/// What every file of a directory holds, and when it was changed.
fn image(root: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let changed = path.metadata().unwrap().modified().unwrap();
                files.push((path.clone(), fs::read(&path).unwrap(), changed));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn sound_store_is_found_sound_and_left_as_it_is() {
    let dir = sound();
    let before = image(dir.path());
    let report = check(dir.path());
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.records, MESSAGES as u64);
    assert_eq!(report.counts.units, MESSAGES as u64);
    // A unique key, a key, and the tags.
    assert_eq!(report.counts.index_entries, 3 * MESSAGES as u64);
    assert_eq!(report.counts.config_files, 3);
    assert!(report.counts.log_files > 2);
    assert!(image(dir.path()) == before);
}

#[test]
fn sizes_are_found_out_from_the_files() {
    let dir = sound();
    let opened = StoreDir::open(dir.path(), None).unwrap();
    let (found, expected) = (opened.config(), small(dir.path()));
    assert_eq!(found.mapped_file_size_commit_log, expected.mapped_file_size_commit_log);
    assert_eq!(found.mapped_file_size_consume_queue, expected.mapped_file_size_consume_queue);
    assert_eq!(found.max_hash_slot_num, expected.max_hash_slot_num);
    assert_eq!(found.max_index_num, expected.max_index_num);
    let report = offline::check(&opened, &mut |_, _| ()).unwrap();
    assert!(is_clean(&report), "{:?}", report.findings);
}

#[test]
fn store_in_use_is_not_looked_at() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    let refused = StoreDir::open(dir.path(), None);
    assert!(matches!(refused, Err(StoreError::Locked(_))));
    store.close().unwrap();
    let looked_at = StoreDir::open(dir.path(), None).unwrap();
    assert!(matches!(MessageStore::open(small(dir.path())), Err(StoreError::Locked(_))));
    drop(looked_at);
    open(&small(dir.path())).close().unwrap();
}

#[test]
fn crashed_store_has_no_errors() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_keyed(&store, 0..MESSAGES);
    let copy = temp_dir();
    copy_dir(dir.path(), copy.path());
    store.close().unwrap();
    let report = check(copy.path());
    assert_eq!(report.of(Severity::Error).collect::<Vec<_>>(), Vec::<&Finding>::new());
    assert!(report.of(Severity::Info).any(|found| found.kind == Kind::Abort));
}

#[test]
fn deleted_messages_and_topics_made_anew_are_no_damage() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_keyed(&store, 0..MESSAGES);
    store.close().unwrap();
    let mut files: Vec<_> = fs::read_dir(dir.path().join("commitlog")).unwrap().collect();
    files.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    fs::remove_file(files[0].as_ref().unwrap().path()).unwrap();
    let report = check(dir.path());
    assert!(is_clean(&report), "{:?}", report.findings);

    fs::remove_dir_all(dir.path().join("consumequeue/TopicA")).unwrap();
    let config = dir.path().join("config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    let report = check(dir.path());
    assert!(is_clean(&report), "{:?}", report.findings);
}

#[test]
fn topics_are_not_taken_for_deleted_while_a_journal_may_have_them() {
    let dir = sound();
    let journal = dir.path().join("config/topics.json.journal");
    fs::write(dir.path().join("config/topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    let deleted = |report: &Report| {
        report.findings.iter().any(|finding| finding.what.contains("deleted topics"))
    };
    fs::remove_dir_all(dir.path().join("consumequeue/TopicA")).unwrap();
    assert!(deleted(&check(dir.path())));
    fs::write(&journal, "").unwrap();
    let report = check(dir.path());
    assert!(!deleted(&report), "{:?}", report.findings);
    let told = report.findings.iter().find(|finding| finding.kind == Kind::Journal).unwrap();
    assert_eq!((told.severity, &told.path), (Severity::Info, &journal));
}

/// The first or last file of a directory.
fn file_in(dir: PathBuf, last: bool) -> PathBuf {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    if last { files.pop().unwrap() } else { files.remove(0) }
}

fn log_file(root: &Path) -> PathBuf {
    file_in(root.join("commitlog"), false)
}

fn queue_file(root: &Path) -> PathBuf {
    file_in(root.join("consumequeue/TopicA/0"), false)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut byte = [0];
    fs::File::open(path).unwrap().read_exact_at(&mut byte, at).unwrap();
    overwrite(path, at, &[byte[0] ^ 0x55]);
}

/// Where record `number` begins in the first log file.
fn record_at(root: &Path, number: usize) -> u64 {
    let bytes = fs::read(log_file(root)).unwrap();
    (0..number).fold(0, |at, _| {
        at + u64::from(u32::from_be_bytes(bytes[at as usize..][..4].try_into().unwrap()))
    })
}

/// A damage: what it is called, how it is done, and what has to be found where.
struct Damage {
    name: &'static str,
    /// Damages the store, and returns the file and byte that have to be named.
    plant: fn(&Path) -> (PathBuf, Option<u64>),
    kind: Kind,
    /// Messages that cannot be read any more.
    lost: usize,
}

/// Where the slots of the index end in these stores.
const ENTRIES_AT: u64 = 40 + 4 * 100;

const DAMAGES: &[Damage] = &[
    Damage {
        name: "flipped byte in a body",
        plant: |root| {
            let at = record_at(root, 5);
            flip(&log_file(root), at + 90);
            (log_file(root), Some(at))
        },
        kind: Kind::LogDamaged,
        lost: 1,
    },
    Damage {
        name: "wrong length of a record",
        plant: |root| {
            let at = record_at(root, 7);
            overwrite(&log_file(root), at, &[0, 0, 0x20, 0x20]);
            (log_file(root), Some(at))
        },
        kind: Kind::LogDamaged,
        lost: 1,
    },
    Damage {
        name: "wrong position in a record",
        plant: |root| {
            let at = record_at(root, 9);
            overwrite(&log_file(root), at + 28, &77_i64.to_be_bytes());
            (log_file(root), Some(at))
        },
        kind: Kind::RecordPosition,
        lost: 0,
    },
    Damage {
        name: "truncated log file",
        plant: |root| {
            let path = file_in(root.join("commitlog"), true);
            let bytes = fs::read(&path).unwrap();
            let data = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 - 3;
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(data).unwrap();
            (path, Some(data))
        },
        kind: Kind::FileLength,
        lost: 1,
    },
    Damage {
        name: "truncated queue file",
        plant: |root| {
            let path = queue_file(root);
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
            (path, Some(100))
        },
        kind: Kind::FileLength,
        lost: 0,
    },
    Damage {
        name: "missing queue file",
        plant: |root| {
            let path = root.join("consumequeue/TopicA/0/00000000000000000400");
            fs::remove_file(&path).unwrap();
            (path, None)
        },
        kind: Kind::FileMissing,
        lost: 0,
    },
    Damage {
        name: "unit pointing past the log",
        plant: |root| {
            overwrite(&queue_file(root), 40, &(1_i64 << 40).to_be_bytes());
            (queue_file(root), Some(40))
        },
        kind: Kind::UnitWrong,
        lost: 0,
    },
    Damage {
        name: "wrong size in a unit",
        plant: |root| {
            overwrite(&queue_file(root), 80 + 8, &7_i32.to_be_bytes());
            (queue_file(root), Some(80))
        },
        kind: Kind::UnitWrong,
        lost: 0,
    },
    Damage {
        name: "misnamed queue file",
        plant: |root| {
            let dir = root.join("consumequeue/TopicA/0");
            let renamed = dir.join("00000000000000000410");
            fs::rename(dir.join("00000000000000000400"), &renamed).unwrap();
            (renamed, None)
        },
        kind: Kind::FileLength,
        lost: 0,
    },
    Damage {
        name: "index slot out of range",
        plant: |root| {
            let path = file_in(root.join("index"), false);
            let bytes = fs::read(&path).unwrap();
            let used =
                (40..ENTRIES_AT as usize).step_by(4).find(|at| bytes[*at..*at + 4] != [0; 4]);
            let at = used.unwrap() as u64;
            overwrite(&path, at, &99_999_i32.to_be_bytes());
            (path, Some(at))
        },
        kind: Kind::IndexBroken,
        lost: 0,
    },
    Damage {
        name: "wrong tags code",
        plant: |root| {
            overwrite(&queue_file(root), 60 + 12, &4711_i64.to_be_bytes());
            (queue_file(root), Some(60))
        },
        kind: Kind::UnitTags,
        lost: 0,
    },
    Damage {
        name: "index entry out of range",
        plant: |root| {
            let path = file_in(root.join("index"), false);
            overwrite(&path, ENTRIES_AT + 3 * 20 + 4, &(1_i64 << 40).to_be_bytes());
            (path, Some(ENTRIES_AT + 3 * 20))
        },
        kind: Kind::IndexAstray,
        lost: 0,
    },
    Damage {
        name: "damaged checkpoint",
        plant: |root| {
            overwrite(&root.join("checkpoint"), 8, &(i64::MAX / 3).to_be_bytes());
            (root.join("checkpoint"), Some(8))
        },
        kind: Kind::Checkpoint,
        lost: 0,
    },
    Damage {
        name: "damaged topics.json",
        plant: |root| {
            fs::write(root.join("config/topics.json"), "{\"topicConfigTable\":{").unwrap();
            (root.join("config/topics.json"), None)
        },
        kind: Kind::Config,
        lost: 0,
    },
    Damage {
        name: "queue ahead of the log",
        plant: |root| {
            let path = file_in(root.join("consumequeue/TopicA/1"), true);
            let bytes = fs::read(&path).unwrap();
            let at = bytes.chunks(20).position(|unit| unit.iter().all(|b| *b == 0)).unwrap() * 20;
            let mut unit = [0; 20];
            unit[..8].copy_from_slice(&(1_i64 << 30).to_be_bytes());
            unit[8..12].copy_from_slice(&200_i32.to_be_bytes());
            overwrite(&path, at as u64, &unit);
            (path, Some(at as u64))
        },
        kind: Kind::QueueAhead,
        lost: 0,
    },
];

/// Plants one damage, and checks that it is found with file and position.
fn assert_found(name: &str) {
    let Damage { plant, kind, lost, .. } = damage(name);
    let dir = sound();
    let (path, position) = plant(dir.path());
    let before = image(dir.path());
    let report = check(dir.path());
    let found = report.of(Severity::Error).any(|found| {
        found.kind == *kind
            && found.path == path
            && position.is_none_or(|_| found.position == position)
    });
    assert_eq!(report.counts.records, (MESSAGES - lost) as u64, "{name}");
    assert!(found, "{name} at {path:?} {position:?}: {:#?}", report.findings);
    assert!(image(dir.path()) == before, "{name}: the check changed the store");
}

fn damage(name: &str) -> &'static Damage {
    DAMAGES.iter().find(|damage| damage.name == name).unwrap()
}

/// Two tests for each damage, and one that none is left out.
macro_rules! damages {
    ($($test:ident: $name:literal,)*) => {
        mod check_finds {
            $(#[test] fn $test() { super::assert_found($name); })*
        }

        mod repair_mends {
            $(#[test] fn $test() { super::assert_mended($name); })*
        }

        #[test]
        fn every_damage_is_tested() {
            let names: Vec<&str> = DAMAGES.iter().map(|damage| damage.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

damages! {
    a_flipped_byte_in_a_body: "flipped byte in a body",
    a_wrong_length_of_a_record: "wrong length of a record",
    a_wrong_position_in_a_record: "wrong position in a record",
    a_truncated_log_file: "truncated log file",
    a_truncated_queue_file: "truncated queue file",
    a_missing_queue_file: "missing queue file",
    a_unit_pointing_past_the_log: "unit pointing past the log",
    a_wrong_size_in_a_unit: "wrong size in a unit",
    a_misnamed_queue_file: "misnamed queue file",
    an_index_slot_out_of_range: "index slot out of range",
    a_wrong_tags_code: "wrong tags code",
    an_index_entry_out_of_range: "index entry out of range",
    a_damaged_checkpoint: "damaged checkpoint",
    damaged_topics: "damaged topics.json",
    a_queue_ahead_of_the_log: "queue ahead of the log",
}

/// Bodies of the messages that can be read, in order of their numbers.
fn readable(root: &Path) -> Vec<Vec<u8>> {
    let store = open(&small(root));
    let mut bodies = Vec::new();
    for queue_id in 0..2 {
        let (mut offset, max) = store.bounds("TopicA", queue_id);
        while offset < max {
            let mut out = Vec::new();
            let result = pull(&store, "TopicA", queue_id, offset, &mut out);
            bodies.extend(MessageExt::decode_all(&out).unwrap().into_iter().map(|message| {
                assert_eq!(message.queue_id, queue_id);
                message.body
            }));
            offset = result.next_begin_offset.max(offset + 1);
        }
    }
    store.close().unwrap();
    bodies
}

fn repair(root: &Path) -> Repair {
    offline::repair(root, Some(small(root)), false, &mut |_| (), &mut |_, _| ()).unwrap()
}

/// Plants one damage, and checks that it is repaired and nothing is thrown away.
fn assert_mended(name: &str) {
    let Damage { plant, lost, .. } = damage(name);
    let dir = sound();
    plant(dir.path());
    let damaged = image(dir.path());
    let repair = repair(dir.path());
    let after = repair.after.as_ref().unwrap();
    assert!(is_clean(after), "{name}: {:#?} {:#?}", repair.actions, after.findings);
    let report = check(dir.path());
    assert!(is_clean(&report), "{name}: {:#?}", report.findings);

    let bodies = readable(dir.path());
    assert_eq!(bodies.len(), MESSAGES - lost, "{name}: {:#?}", repair.actions);
    let whole = (0..MESSAGES).filter(|number| bodies.contains(&body(*number))).count();
    assert_eq!(whole, MESSAGES - lost, "{name}");
    let store = open(&small(dir.path()));
    let found = store.query_message("TopicA", "all", 64, 0, i64::MAX);
    assert_eq!(found.unwrap().message_count, 64, "{name}");
    store.close().unwrap();

    let kept = image(repair.aside.as_ref().unwrap());
    let kept: Vec<&Vec<u8>> = kept.iter().map(|(_, bytes, _)| bytes).collect();
    for (path, bytes, _) in damaged {
        let now = fs::read(&path).unwrap_or_default();
        assert!(
            now == bytes || is_kept(&bytes, &now, &kept),
            "{name}: {path:?} is changed and not kept: {:#?}",
            repair.actions
        );
    }
}

/// Whether what `now` has no more of `before` is in a file that was set aside.
fn is_kept(before: &[u8], now: &[u8], kept: &[&Vec<u8>]) -> bool {
    let changed = (0..before.len()).filter(|at| now.get(*at) != Some(&before[*at]));
    let changed: Vec<usize> = changed.filter(|at| before[*at] != 0).collect();
    let (Some(first), Some(last)) = (changed.first(), changed.last()) else {
        return true;
    };
    let part = &before[*first..=*last];
    kept.iter().any(|kept| kept.windows(part.len()).any(|window| window == part))
}

#[test]
fn dry_run_says_what_a_repair_does_and_does_nothing() {
    let original = sound();
    for Damage { name, plant, .. } in DAMAGES {
        let dir = temp_dir();
        copy_dir(original.path(), dir.path());
        plant(dir.path());
        let before = image(dir.path());
        let config = Some(small(dir.path()));
        let dry = offline::repair(dir.path(), config, true, &mut |_| (), &mut |_, _| ()).unwrap();
        assert!(image(dir.path()) == before, "{name}");
        let done = repair(dir.path());
        let paths = |repair: &Repair| {
            repair.actions.iter().map(|action| action.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(paths(&dry), paths(&done), "{name}");
    }
}

#[test]
fn sound_store_is_not_repaired() {
    let dir = sound();
    let before = image(dir.path());
    let repair = repair(dir.path());
    assert_eq!(repair.actions, []);
    let after = image(dir.path());
    assert_eq!(after.len(), before.len());
    assert!(after.iter().zip(&before).all(|(after, before)| after.1 == before.1));
}

#[test]
fn missing_log_file_costs_its_messages_only() {
    let dir = sound();
    let second = dir.path().join("commitlog/00000000000000016384");
    fs::remove_file(&second).unwrap();
    let report = check(dir.path());
    assert!(report.of(Severity::Error).any(|found| found.path == second));
    let left = report.counts.records as usize;
    assert!(left > MESSAGES / 2 && left < MESSAGES);
    repair(dir.path());
    let report = check(dir.path());
    assert!(is_clean(&report), "{:#?}", report.findings);
    assert_eq!(readable(dir.path()).len(), left);
}

#[test]
fn queue_without_records_keeps_its_next_offset() {
    let dir = sound();
    let log: Vec<_> = fs::read_dir(dir.path().join("commitlog")).unwrap().collect();
    let store = open(&small(dir.path()));
    for number in 0..400 {
        put(&store, "TopicB", 0, &body(number));
    }
    store.close().unwrap();
    for entry in log {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let report = check(dir.path());
    assert!(is_clean(&report), "{:#?}", report.findings);
    let max = |queue_id| {
        let store = open(&small(dir.path()));
        let max = store.bounds("TopicA", queue_id).1;
        store.close().unwrap();
        max
    };
    let before = max(1);
    let path = file_in(dir.path().join("consumequeue/TopicA/1"), true);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.chunks(20).position(|unit| unit.iter().all(|b| *b == 0)).unwrap() * 20;
    let mut unit = [0; 20];
    unit[..8].copy_from_slice(&(1_i64 << 30).to_be_bytes());
    unit[8..12].copy_from_slice(&200_i32.to_be_bytes());
    overwrite(&path, at as u64, &unit);
    assert!(!is_clean(&check(dir.path())));
    repair(dir.path());
    let report = check(dir.path());
    assert!(is_clean(&report), "{:#?}", report.findings);
    assert_eq!(max(1), before);
}

#[test]
fn records_queues_and_lookups_can_be_shown() {
    let dir = sound();
    let opened = StoreDir::open(dir.path(), None).unwrap();
    let dump = Dump::open(&opened).unwrap();
    let record = dump.record(record_at(dir.path(), 4) as i64).unwrap();
    assert_eq!((record.queue_id, record.queue_offset), (0, 2));
    assert_eq!(record.body, Text::Text(String::from_utf8(body(4)).unwrap()));
    assert_eq!(record.properties[1], ("TAGS".to_owned(), "Tag1".to_owned()));
    assert!(record.body_crc_fits);
    assert!(dump.record(3).unwrap_err().contains("magic"));
    assert!(dump.record(1 << 40).unwrap_err().contains("missing"));

    let rows = dump.queue("TopicA", 0, Some(2), 3).unwrap();
    let offsets: Vec<_> = rows.iter().map(|row| row.queue_offset).collect();
    assert_eq!(offsets, [2, 3, 4]);
    assert_eq!(rows[0].record.as_ref(), Some(&record));
    assert_eq!(dump.queue("TopicA", 1, None, 1000).unwrap().len(), MESSAGES / 2);
    assert_eq!(dump.queue("TopicA", 7, None, 10).unwrap(), []);
    assert_eq!(dump.queue("../config", 0, None, 10).unwrap(), []);

    let rows = dump.index("TopicA", "key4", 10).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].has_key);
    assert_eq!(rows[0].record.as_ref(), Some(&record));
    let rows = dump.index("TopicA", "all", 10).unwrap();
    let numbers: Vec<_> = rows.iter().map(|row| row.phy_offset).collect();
    assert_eq!(numbers.len(), 10);
    assert!(numbers.is_sorted_by(|a, b| a > b));
    assert_eq!(dump.index("TopicA", "no such key", 10).unwrap(), []);
}

#[test]
fn plan_names_what_works_and_what_must_not_be_served() {
    let dir = sound();
    let plan = |root: &Path| offline::plan(&StoreDir::open(root, None).unwrap()).unwrap();
    let parts = plan(dir.path());
    assert!(parts.iter().all(|part| part.verdict == Verdict::Works), "{parts:#?}");

    type Plant = fn(&Path);
    let foreign: &[(&str, Verdict, Plant)] = &[
        ("consume queues", Verdict::Refused, |root| touch(root, "consumequeue/CURRENT")),
        ("compaction topics", Verdict::Refused, |root| {
            let topics = "{\"topicConfigTable\":{\"C\":{\"attributes\":\
                          {\"cleanup.policy\":\"COMPACTION\"}}}}";
            fs::write(root.join("config/topics.json"), topics).unwrap();
        }),
        ("metadata", Verdict::Refused, |root| touch(root, "config/rdb/CURRENT")),
        ("metadata", Verdict::Refused, |root| touch(root, "config/topics/CURRENT")),
        ("pop records", Verdict::Refused, |root| touch(root, "kvStore/CURRENT")),
        ("DLedger log", Verdict::Refused, |root| touch(root, "dledger-n0/data/0")),
        ("controller mode", Verdict::Refused, |root| touch(root, "epochFileCheckpoint")),
        ("tiered storage", Verdict::Refused, |root| touch(root, "config/tieredStoreMetadata.json")),
    ];
    for (name, verdict, plant) in foreign {
        let copy = temp_dir();
        copy_dir(dir.path(), copy.path());
        plant(copy.path());
        let parts = plan(copy.path());
        let odd: Vec<_> = parts.iter().filter(|part| part.verdict != Verdict::Works).collect();
        assert_eq!(odd.len(), 1, "{name}: {odd:#?}");
        assert_eq!((odd[0].name, odd[0].verdict), (*name, *verdict));
        assert!(!odd[0].advice.is_empty());
    }
}

#[test]
fn plan_counts_what_waits() {
    let dir = sound();
    put_into(dir.path(), "SCHEDULE_TOPIC_XXXX");
    put_into(dir.path(), "SCHEDULE_TOPIC_XXXX");
    put_into(dir.path(), "RMQ_SYS_TRANS_HALF_TOPIC");
    put_into(dir.path(), "rmq_sys_wheel_timer");
    let offsets = "{\"offsetTable\":{1:1}}";
    fs::write(dir.path().join("config/delayOffset.json"), offsets).unwrap();
    let parts = offline::plan(&StoreDir::open(dir.path(), None).unwrap()).unwrap();
    for (name, found) in [
        ("delayed messages", "1 wait"),
        ("half messages", "1 may wait for a decision"),
        ("timer messages", "1 were taken, some may wait for their time"),
    ] {
        let part = parts.iter().find(|part| part.name == name).unwrap();
        assert_eq!((part.verdict, part.found.as_str()), (Verdict::Works, found));
    }
}

fn touch(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

fn put_into(root: &Path, topic: &str) {
    let store = open(&small(root));
    put(&store, topic, 0, b"waits");
    store.close().unwrap();
}

/// The next number of a sequence that a seed decides (SplitMix64).
fn next_random(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize
}

#[test]
fn store_with_random_bytes_is_checked_repaired_and_opens() {
    let original = sound();
    for round in 0..50 {
        let mut seed = round;
        let dir = temp_dir();
        copy_dir(original.path(), dir.path());
        let files = image(dir.path());
        let mut damaged = Vec::new();
        for _ in 0..1 + next_random(&mut seed) % 3 {
            let (path, bytes, _) = &files[next_random(&mut seed) % files.len()];
            if bytes.is_empty() {
                continue;
            }
            let at = next_random(&mut seed) % bytes.len();
            let noise: Vec<u8> = (0..1 + next_random(&mut seed) % 40)
                .map(|_| next_random(&mut seed) as u8)
                .take(bytes.len() - at)
                .collect();
            overwrite(path, at as u64, &noise);
            damaged.push((path.clone(), at));
        }
        check(dir.path());
        let repair = repair(dir.path());
        let report = check(dir.path());
        // Fields without a checksum stay as they are, and so does metadata without a backup.
        let stays = [Kind::Config, Kind::RecordQueueOffset, Kind::RecordField];
        let worse = report.of(Severity::Error).find(|found| !stays.contains(&found.kind));
        assert!(worse.is_none(), "round {round} {damaged:?}: {worse:#?} {:#?}", repair.actions);
        open(&small(dir.path())).close().unwrap();
    }
}
