//! Each kind of damage, planted: found where it is, and mended at no other message's cost.

use std::fs;
use std::path::{Path, PathBuf};

use oxmq_store::offline::{Kind, Severity};

use super::*;

/// A damage: what it is called, how it is done, and what has to be found where.
pub(crate) struct Damage {
    pub(crate) name: &'static str,
    /// Damages the store, and returns the file and byte that have to be named.
    pub(crate) plant: fn(&Path) -> (PathBuf, Option<u64>),
    pub(crate) kind: Kind,
    /// Messages that cannot be read any more.
    pub(crate) lost: usize,
}

/// Where the slots of the index end in these stores.
const ENTRIES_AT: u64 = 40 + 4 * 100;

pub(crate) const DAMAGES: &[Damage] = &[
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
        name: "wrong queue offset in a record",
        plant: |root| {
            let at = record_at(root, 9);
            overwrite(&log_file(root), at + 20, &1_i64.to_be_bytes());
            (root.join("consumequeue/TopicA/1"), None)
        },
        kind: Kind::RecordQueueOffset,
        lost: 0,
    },
    Damage {
        name: "no queue offset in a record",
        plant: |root| {
            let at = record_at(root, 9);
            overwrite(&log_file(root), at + 20, &[0; 8]);
            (
                queue_file(root).parent().unwrap().with_file_name("1").join("00000000000000000000"),
                None,
            )
        },
        kind: Kind::UnitWrong,
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
        name: "wrong begin of an index file",
        plant: |root| {
            let path = file_in(root.join("index"), false);
            overwrite(&path, 0, &[0x7f; 8]);
            (path, Some(0))
        },
        kind: Kind::IndexBroken,
        lost: 0,
    },
    Damage {
        name: "wrong end position of an index file",
        plant: |root| {
            let path = file_in(root.join("index"), false);
            overwrite(&path, 24, &[0; 8]);
            (path, Some(24))
        },
        kind: Kind::IndexBroken,
        lost: 0,
    },
    Damage {
        name: "wrong time of an index entry",
        plant: |root| {
            let path = file_in(root.join("index"), false);
            overwrite(&path, ENTRIES_AT + 3 * 20 + 12, &777_i32.to_be_bytes());
            (path, Some(ENTRIES_AT + 3 * 20 + 12))
        },
        kind: Kind::IndexBroken,
        lost: 0,
    },
    Damage {
        name: "index slots that are exchanged",
        plant: |root| {
            let path = file_in(root.join("index"), false);
            let bytes = fs::read(&path).unwrap();
            let used = |at: &usize| bytes[*at..*at + 4] != [0; 4];
            let mut slots = (40..ENTRIES_AT as usize).step_by(4).filter(used);
            let (a, b) = (slots.next().unwrap(), slots.next().unwrap());
            overwrite(&path, a as u64, &bytes[b..b + 4]);
            overwrite(&path, b as u64, &bytes[a..a + 4]);
            (path, Some(a as u64))
        },
        kind: Kind::IndexBroken,
        lost: 0,
    },
    Damage {
        name: "foreign file in the log",
        plant: |root| {
            let path = root.join("commitlog/notes.txt");
            fs::write(&path, "x").unwrap();
            (path, None)
        },
        kind: Kind::FileForeign,
        lost: 0,
    },
    Damage {
        name: "foreign file in a queue",
        plant: |root| {
            let path = root.join("consumequeue/TopicA/0/00000000000000000000.bak");
            fs::write(&path, "x").unwrap();
            (path, None)
        },
        kind: Kind::FileForeign,
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
        plant: put_queue_ahead,
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
    let found = report.findings.iter().any(|found| {
        found.severity >= Severity::Warning
            && found.kind == *kind
            && found.path == path
            && position.is_none_or(|_| found.position == position)
    });
    assert_eq!(report.counts.records, (MESSAGES - lost) as u64, "{name}");
    assert!(found, "{name} at {path:?} {position:?}: {:#?}", report.findings);
    assert!(image(dir.path()) == before, "{name}: the check changed the store");
}

pub(super) fn damage(name: &str) -> &'static Damage {
    DAMAGES.iter().find(|damage| damage.name == name).unwrap()
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
pub(super) fn is_kept(before: &[u8], now: &[u8], kept: &[&Vec<u8>]) -> bool {
    let changed = (0..before.len()).filter(|at| now.get(*at) != Some(&before[*at]));
    let changed: Vec<usize> = changed.filter(|at| before[*at] != 0).collect();
    let (Some(first), Some(last)) = (changed.first(), changed.last()) else {
        return true;
    };
    let part = &before[*first..=*last];
    kept.iter().any(|kept| kept.windows(part.len()).any(|window| window == part))
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
    a_wrong_queue_offset_in_a_record: "wrong queue offset in a record",
    no_queue_offset_in_a_record: "no queue offset in a record",
    a_truncated_log_file: "truncated log file",
    a_truncated_queue_file: "truncated queue file",
    a_missing_queue_file: "missing queue file",
    a_unit_pointing_past_the_log: "unit pointing past the log",
    a_wrong_size_in_a_unit: "wrong size in a unit",
    a_misnamed_queue_file: "misnamed queue file",
    an_index_slot_out_of_range: "index slot out of range",
    a_wrong_tags_code: "wrong tags code",
    an_index_entry_out_of_range: "index entry out of range",
    a_wrong_begin_of_an_index_file: "wrong begin of an index file",
    a_wrong_end_position_of_an_index_file: "wrong end position of an index file",
    a_wrong_time_of_an_index_entry: "wrong time of an index entry",
    exchanged_index_slots: "index slots that are exchanged",
    a_foreign_file_in_the_log: "foreign file in the log",
    a_foreign_file_in_a_queue: "foreign file in a queue",
    a_damaged_checkpoint: "damaged checkpoint",
    damaged_topics: "damaged topics.json",
    a_queue_ahead_of_the_log: "queue ahead of the log",
}

/// Gives a queue a unit that points behind the log: the file, and where in it.
pub(super) fn put_queue_ahead(root: &Path) -> (PathBuf, Option<u64>) {
    let path = file_in(root.join("consumequeue/TopicA/1"), true);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.chunks(20).position(|unit| unit.iter().all(|b| *b == 0)).unwrap() * 20;
    let mut unit = [0; 20];
    unit[..8].copy_from_slice(&(1_i64 << 30).to_be_bytes());
    unit[8..12].copy_from_slice(&200_i32.to_be_bytes());
    overwrite(&path, at as u64, &unit);
    (path, Some(at as u64))
}
