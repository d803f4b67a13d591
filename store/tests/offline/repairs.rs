//! What a repair does, and what it leaves alone.

use std::fs;

use oxmq_store::offline::{Kind, Severity};
use oxmq_store::{Fs, FsOp, StoreConfig, TimerStore, TimerUnit};

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

fn repair_on(disks: &Fs, root: &Path) -> Repair {
    let config = Some(small(root));
    offline::repair_with(disks, root, config, false, &mut |_| (), &mut |_, _| ()).unwrap()
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
    let repair = repair_on(&disks, dir.path());
    assert!(is_clean(&repair.after.unwrap()), "{:#?}", repair.actions);
    let kept = repair.aside.unwrap().join("commitlog").join(last.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), vec![7; 16 << 10]);
    assert!(!last.exists());
}

#[test]
fn queues_and_index_on_other_disks_are_set_aside() {
    let dir = sound();
    let queue_file = queue_file(dir.path());
    overwrite(&queue_file, 40, &[7; 20]);
    let damaged = fs::read(&queue_file).unwrap();
    let disks = Fs::with_fault(|op, path| match op {
        FsOp::Rename if path.ends_with("consumequeue/TopicA/0") => {
            Err(std::io::ErrorKind::CrossesDevices.into())
        }
        FsOp::Rename | FsOp::Remove if path.ends_with("index") => {
            Err(std::io::ErrorKind::ResourceBusy.into())
        }
        _ => Ok(()),
    });
    let repair = repair_on(&disks, dir.path());
    assert!(is_clean(&repair.after.unwrap()), "{:#?}", repair.actions);
    let aside = repair.aside.unwrap();
    assert_eq!(fs::read(self::queue_file(&aside)).unwrap(), damaged);
    assert!(file_in(aside.join("index"), false).metadata().unwrap().len() > 0);
    assert_eq!(readable(dir.path()).len(), MESSAGES);
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

#[test]
fn log_file_that_is_too_long_costs_no_message() {
    let dir = sound();
    let path = log_file(dir.path());
    let length = path.metadata().unwrap().len();
    overwrite(&path, length, &[7; 66]);
    let report = check(dir.path());
    assert_eq!(report.counts.records, MESSAGES as u64);
    assert!(report.of(Severity::Error).all(|found| found.kind == Kind::FileLength), "{report:#?}");
    assert!(is_clean(&repair(dir.path()).after.unwrap()));
    assert_eq!(readable(dir.path()).len(), MESSAGES);
    assert_eq!(path.metadata().unwrap().len(), length);
}

/// Renames the file of the log that begins at `from`.
fn rename_log_file(root: &Path, from: u64, to: u64) {
    let path = |start: u64| root.join("commitlog").join(format!("{start:020}"));
    fs::rename(path(from), path(to)).unwrap();
}

#[test]
fn files_of_the_log_get_their_own_names_back() {
    const FILE: u64 = 16 << 10;
    /// Names, what is done with them, and how many files have those of others.
    type Mixup = (&'static str, usize, fn(&Path));
    let mixups: &[Mixup] = &[
        ("one that no file has", 1, |root| rename_log_file(root, FILE, FILE + 1_234)),
        ("that of one behind all", 1, |root| rename_log_file(root, FILE, FILE * 90)),
        ("those of each other", 2, |root| {
            rename_log_file(root, 0, FILE * 90);
            rename_log_file(root, FILE, 0);
            rename_log_file(root, FILE * 90, FILE);
        }),
        ("a copy, too", 1, |root| {
            let name = |start: u64| root.join("commitlog").join(format!("{start:020}"));
            let behind = file_in(root.join("commitlog"), true).file_name().unwrap().to_owned();
            let behind: u64 = behind.to_str().unwrap().parse().unwrap();
            fs::copy(name(0), name(behind + FILE)).unwrap();
        }),
        ("a name that is none", 1, |root| {
            fs::write(root.join("commitlog/00000000000000000001"), "x").unwrap();
        }),
    ];
    for (name, wrong, mix_up) in mixups {
        let dir = sound();
        let before = image(&dir.path().join("commitlog"));
        mix_up(dir.path());
        let report = check(dir.path());
        assert_eq!(report.counts.records, MESSAGES as u64, "{name}: {report:#?}");
        assert_eq!(report.of(Severity::Error).count(), *wrong, "{name}: {report:#?}");
        let repair = repair(dir.path());
        let after = repair.after.unwrap();
        assert!(is_clean(&after), "{name}: {:#?} {:#?}", repair.actions, after.findings);
        assert_eq!(readable(dir.path()).len(), MESSAGES, "{name}");
        let after = image(&dir.path().join("commitlog"));
        let bytes = |(path, bytes, _): &(PathBuf, Vec<u8>, _)| {
            (path.file_name().unwrap().to_owned(), bytes.clone())
        };
        assert!(after.iter().map(bytes).eq(before.iter().map(bytes)), "{name}");
    }
}

#[test]
fn empty_file_before_all_others_is_set_aside() {
    let dir = sound();
    fs::write(log_file(dir.path()), "").unwrap();
    let left = check(dir.path()).counts.records as usize;
    let after = repair(dir.path()).after.unwrap();
    assert!(is_clean(&after), "{:#?}", after.findings);
    assert_eq!(readable(dir.path()).len(), left);
    assert_eq!(repair(dir.path()).actions, []);
}

#[test]
fn directory_in_the_place_of_a_log_file_is_set_aside() {
    for start in [0, 16 << 10] {
        let dir = sound();
        let path = dir.path().join("commitlog").join(format!("{start:020}"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let left = check(dir.path()).counts.records as usize;
        let after = repair(dir.path()).after.unwrap();
        assert!(is_clean(&after), "{start}: {:#?}", after.findings);
        assert_eq!(readable(dir.path()).len(), left);
    }
}

#[test]
fn queue_offset_of_a_batch_is_that_of_its_property() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    store.use_batch_queues("B");
    let encoded = batch(&[b"one".as_slice(), b"two"]);
    for _ in 0..4 {
        let properties = b"UNIQ_KEY\x01batch\x02";
        let envelope = Message { properties, ..message("B", 0, &encoded) };
        let inner = oxmq_protocol::message::BatchMessages::new(&encoded);
        assert!(store.put_inner_batch(&envelope, &inner).status.is_stored());
    }
    store.close().unwrap();
    let at = record_at(dir.path(), 2);
    overwrite(&log_file(dir.path()), at + 20, &(1_i64 << 50).to_be_bytes());
    assert!(!is_clean(&check(dir.path())));
    let after = repair(dir.path()).after.unwrap();
    assert!(is_clean(&after), "{:#?}", after.findings);
}

#[test]
fn nothing_is_done_where_nothing_can_be_mended() {
    let dir = sound();
    fs::write(dir.path().join("config/consumerOffset.json"), "{").unwrap();
    let before = image(dir.path());
    let repair = repair(dir.path());
    assert_eq!(repair.before.worst(), Some(Severity::Error));
    assert_eq!(repair.actions, []);
    assert!(image(dir.path()).iter().map(|file| &file.1).eq(before.iter().map(|file| &file.1)));
}

#[test]
fn timer_log_is_cut_to_what_can_be_read() {
    /// What is done with the second of three files, and how many units are left.
    type Damage = (&'static str, usize, fn(&Path));
    let damages: &[Damage] = &[
        ("short", 13, |path| cut_file(path, 52 * 3 + 50)),
        ("long", 25, |path| overwrite(path, 536, &[7; 40])),
        ("missing", 10, |path| fs::remove_file(path).unwrap()),
        ("no file", 10, |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("misnamed", 10, |path| {
            fs::rename(path, path.with_file_name(format!("{:020}", 99))).unwrap()
        }),
    ];
    for (name, left, damage) in damages {
        let dir = sound();
        let config = StoreConfig { mapped_file_size_timer_log: 536, ..small(dir.path()) };
        let mut timers = TimerStore::open(&config).unwrap();
        let unit = |number| TimerUnit {
            write_time_ms: 1_700_000_000_000,
            slot_time_ms: 1_700_000_001_000,
            phy_offset: number,
            record_bytes: 200,
            topic_hash: 1,
            rolls: false,
            deletes: false,
        };
        (0..25).for_each(|number| timers.put(&unit(number)).unwrap());
        drop(timers);
        damage(&dir.path().join("timerlog/00000000000000000536"));
        // With the broker's settings, or with sizes that are found out.
        let config = (*name != "long").then(|| config.clone());
        let repair =
            offline::repair(dir.path(), config, false, &mut |_| (), &mut |_, _| ()).unwrap();
        assert_eq!(repair.before.worst(), Some(Severity::Error), "{name}");
        let after = repair.after.unwrap();
        assert!(is_clean(&after), "{name}: {:#?} {:#?}", repair.actions, after.findings);
        let config = StoreConfig { mapped_file_size_timer_log: 536, ..small(dir.path()) };
        let mut timers = TimerStore::open(&config).unwrap();
        assert_eq!(timers.slot(1_700_000_001_000).unwrap().len(), *left, "{name}");
    }
}

fn cut_file(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}
