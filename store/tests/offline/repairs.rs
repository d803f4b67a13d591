//! What a repair does, and what it leaves alone.

use std::fs;

use oxmq_store::offline::{Kind, Severity};

use super::damages::{DAMAGES, Damage, put_queue_ahead};
use super::*;

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

/// A store in whose log no message of TopicA is left.
pub(super) fn without_old_log() -> tempfile::TempDir {
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
    dir
}

#[test]
fn queue_without_records_keeps_its_next_offset() {
    let dir = without_old_log();
    let report = check(dir.path());
    assert!(is_clean(&report), "{:#?}", report.findings);
    let max = |queue_id| {
        let store = open(&small(dir.path()));
        let max = store.bounds("TopicA", queue_id).1;
        store.close().unwrap();
        max
    };
    let before = max(1);
    put_queue_ahead(dir.path());
    assert!(!is_clean(&check(dir.path())));
    repair(dir.path());
    let report = check(dir.path());
    assert!(is_clean(&report), "{:#?}", report.findings);
    assert_eq!(max(1), before);
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
