//! What a repair does, and what it leaves alone.

use std::fs;

use oxmq_store::offline::{Kind, Severity};
use oxmq_store::{Fs, FsOp, StoreConfig};

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

#[test]
fn queues_are_left_alone_while_the_log_is_elsewhere() {
    let dir = sound();
    let elsewhere = temp_dir();
    fs::rename(dir.path().join("commitlog"), elsewhere.path().join("log")).unwrap();
    let before = image(dir.path());
    let report = check(dir.path());
    assert!(report.of(Severity::Error).any(|found| found.advice.contains("-c")));
    let config = Some(small(dir.path()));
    let refused = offline::repair(dir.path(), config, false, &mut |_| (), &mut |_, _| ());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("there is no log"), "{refused}");
    let now = image(dir.path());
    let bytes = |image: &[(PathBuf, Vec<u8>, std::time::SystemTime)]| {
        image.iter().map(|(path, bytes, _)| (path.clone(), bytes.clone())).collect::<Vec<_>>()
    };
    assert!(bytes(&now) == bytes(&before));
}

#[test]
fn smallest_record_can_be_filled() {
    let dir = sound();
    let store = open(&small(dir.path()));
    put(&store, "T", 0, b"x");
    put(&store, "TopicB", 0, b"behind it");
    store.close().unwrap();
    let path = file_in(dir.path().join("commitlog"), true);
    let bytes = fs::read(&path).unwrap();
    let smallest: Vec<u8> = [b"x\x01T".as_slice(), &[0; 2]].concat();
    let at = bytes.windows(smallest.len()).position(|window| window == smallest).unwrap();
    flip(&path, at as u64);
    let repair = repair(dir.path());
    assert!(is_clean(&repair.after.unwrap()), "{:#?}", repair.actions);
}

#[test]
fn log_file_on_another_disk_is_set_aside() {
    let dir = sound();
    // A file in which no record is sound.
    let path = file_in(dir.path().join("commitlog"), true);
    let start: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let last = path.with_file_name(format!("{:020}", start + (16 << 10)));
    fs::write(&last, vec![7; 16 << 10]).unwrap();
    let disks = Fs::with_fault(|op, path| match op {
        FsOp::Rename if path.parent().is_some_and(|dir| dir.ends_with("commitlog")) => {
            Err(std::io::ErrorKind::CrossesDevices.into())
        }
        _ => Ok(()),
    });
    let config = Some(small(dir.path()));
    let repair =
        offline::repair_with(&disks, dir.path(), config, false, &mut |_| (), &mut |_, _| ());
    let repair = repair.unwrap();
    assert!(is_clean(&repair.after.unwrap()), "{:#?}", repair.actions);
    let kept = repair.aside.unwrap().join("commitlog").join(last.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), vec![7; 16 << 10]);
    assert!(!last.exists());
}

#[test]
fn number_of_slots_is_found_out_beside_a_damaged_index_file() {
    let dir = sound();
    let store = open(&small(dir.path()));
    put_keyed(&store, MESSAGES..MESSAGES + 400);
    store.close().unwrap();
    overwrite(&file_in(dir.path().join("index"), true), 36, &900_i32.to_be_bytes());
    let repair = offline::repair(dir.path(), None, false, &mut |_| (), &mut |_, _| ()).unwrap();
    assert_eq!(repair.before.worst(), Some(Severity::Error));
    assert!(is_clean(&repair.after.unwrap()), "{:#?}", repair.actions);
}

#[test]
fn damage_that_only_the_checksum_of_the_whole_record_tells_is_found() {
    let dir = temp_dir();
    let config = StoreConfig { enabled_append_prop_crc: true, ..small(dir.path()) };
    let store = open(&config);
    put_keyed(&store, 0..3);
    store.close().unwrap();
    assert!(is_clean(&check(dir.path())));
    let flag_at = record_at(dir.path(), 1) + 16;
    flip(&log_file(dir.path()), flag_at);
    let report = check(dir.path());
    assert!(report.of(Severity::Warning).any(|found| found.kind == Kind::RecordField));
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
