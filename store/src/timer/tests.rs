use std::os::unix::fs::FileExt;

use super::*;
use crate::mapped_file::bad::break_pages;

const SECOND: i64 = 1_000;

fn config(dir: &std::path::Path) -> StoreConfig {
    StoreConfig { mapped_file_size_timer_log: 52 * 100 + 16, ..StoreConfig::in_dir(dir) }
}

fn unit(slot_time_ms: i64, number: i64) -> TimerUnit {
    TimerUnit {
        write_time_ms: 0,
        slot_time_ms,
        phy_offset: number,
        record_bytes: 1,
        topic_hash: 0,
        rolls: false,
        deletes: false,
    }
}

fn offsets(store: &mut TimerStore, slot_time_ms: i64) -> Vec<i64> {
    store.slot(slot_time_ms).unwrap().iter().map(|unit| unit.phy_offset).collect()
}

#[test]
fn slot_has_its_units_in_order_over_files_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    assert!(store.is_new());
    for number in 0..250 {
        store.put(&unit((5 + number % 2) * SECOND, number)).unwrap();
    }
    let even: Vec<i64> = (0..250).step_by(2).collect();
    assert_eq!(offsets(&mut store, 5 * SECOND), even);
    assert_eq!(store.count(5 * SECOND).unwrap(), 125);
    assert!(offsets(&mut store, 7 * SECOND).is_empty());
    let checkpoint = TimerCheckpoint { read_time_ms: SECOND, ..TimerCheckpoint::default() };
    let saved = store.prepare_save(checkpoint).unwrap().unwrap().run().unwrap();
    store.finish_save(Some(saved));
    assert!(store.prepare_save(checkpoint).unwrap().is_none());
    drop(store);

    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    assert_eq!(store.saved().read_time_ms, SECOND);
    assert_eq!(offsets(&mut store, 5 * SECOND), even);
    assert_eq!(store.last_unit().unwrap().unwrap().phy_offset, 249);
}

#[test]
fn wheel_that_is_older_than_the_log_is_brought_up_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    store.put(&unit(5 * SECOND, 1)).unwrap();
    let wheel = std::fs::read(dir.path().join("timerwheel")).unwrap();
    assert_eq!(wheel.len(), 38_707_200);
    store.put(&unit(5 * SECOND, 2)).unwrap();
    store.put(&unit(6 * SECOND, 3)).unwrap();
    drop(store);
    std::fs::write(dir.path().join("timerwheel"), wheel).unwrap();

    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    assert_eq!(offsets(&mut store, 5 * SECOND), [1, 2]);
    assert_eq!(offsets(&mut store, 6 * SECOND), [3]);
}

#[test]
fn wheel_that_is_ahead_of_the_log_is_set_back_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    for number in 0..3 {
        store.put(&unit(5 * SECOND, number)).unwrap();
    }
    drop(store);
    // The last two units did not reach the disk.
    let log = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("timerlog/00000000000000000000"))
        .unwrap();
    log.set_len(52).unwrap();
    log.set_len(52 * 100 + 16).unwrap();

    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    assert_eq!(offsets(&mut store, 5 * SECOND), [0]);
    store.put(&unit(5 * SECOND, 9)).unwrap();
    assert_eq!(offsets(&mut store, 5 * SECOND), [0, 9]);
}

#[test]
fn wheel_of_another_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("timerwheel"), [0; 64]).unwrap();
    assert!(TimerStore::open(&config(dir.path())).is_err());
}

#[test]
fn checkpoint_that_is_ahead_of_the_log_costs_no_unit() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    for number in 0..250 {
        store.put(&unit(5 * SECOND, number)).unwrap();
    }
    let checkpoint = TimerCheckpoint { read_time_ms: SECOND, ..TimerCheckpoint::default() };
    store.prepare_save(checkpoint).unwrap().unwrap().run().unwrap();
    drop(store);
    let path = dir.path().join("config/timercheck");
    let whole = std::fs::read(&path).unwrap();
    for flushed in [1 << 40, i64::MAX] {
        let mut damaged = whole.clone();
        damaged[8..16].copy_from_slice(&i64::to_be_bytes(flushed));
        std::fs::write(&path, damaged).unwrap();
        let mut store = TimerStore::open(&config(dir.path())).unwrap();
        assert_eq!(offsets(&mut store, 5 * SECOND), (0..250).collect::<Vec<_>>());
        assert_eq!(store.last_unit().unwrap().unwrap().phy_offset, 249);
    }
}

#[test]
fn damaged_link_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    for number in 0..150 {
        store.put(&unit((5 + number % 2) * SECOND, number)).unwrap();
    }
    let even: Vec<i64> = (0..150).step_by(2).collect();
    let path = dir.path().join("timerlog/00000000000000005216");
    let log = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let wheel = std::fs::OpenOptions::new().write(true).open(dir.path().join("timerwheel"));
    let wheel = wheel.unwrap();
    // Across the end of a file, between units, beyond the end, and to a unit of another slot.
    for link in [52 * 100 - 20, 5_210, 5_216 + 7, i64::MAX - 60, i64::MIN, 52] {
        // That of the last unit but one, of number 148, and then its slot's own.
        for (file, place) in [(&log, 48 * 52 + 4), (&wheel, 5 * 32 + 16)] {
            file.write_all_at(&i64::to_be_bytes(link), place).unwrap();
            let mut store = TimerStore::open(&config(dir.path())).unwrap();
            assert_eq!(offsets(&mut store, 5 * SECOND), even, "{link}");
            assert_eq!(offsets(&mut store, 6 * SECOND).len(), 75);
        }
    }
}

#[test]
fn damaged_unit_costs_only_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    for number in 0..150 {
        store.put(&unit((5 + number % 2) * SECOND, number)).unwrap();
    }
    let path = dir.path().join("timerlog/00000000000000000000");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[1; 52], 52 * 60).unwrap();
    let left: Vec<i64> = (0..150).step_by(2).filter(|number| *number != 60).collect();
    assert_eq!(offsets(&mut store, 5 * SECOND), left);
    assert_eq!(offsets(&mut store, 6 * SECOND).len(), 75);
}

#[test]
fn what_can_be_read_of_a_slot_is_found_though_the_rest_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    for number in 0..150 {
        store.put(&unit(5 * SECOND, number)).unwrap();
    }
    let path = dir.path().join("timerlog/00000000000000000000");
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(52 * 60 + 9).unwrap();
    assert!(store.slot(5 * SECOND).is_err());
    let found: Vec<i64> = store.search(5 * SECOND).iter().map(|unit| unit.phy_offset).collect();
    assert_eq!(found, (0..60).chain(100..150).collect::<Vec<_>>());
}

#[test]
fn file_that_was_begun_before_a_crash_hides_no_unit() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    for number in 0..100 {
        store.put(&unit(5 * SECOND, number)).unwrap();
    }
    drop(store);
    std::fs::write(dir.path().join("timerlog/00000000000000005216"), []).unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    assert_eq!(store.last_unit().unwrap().unwrap().phy_offset, 99);
}

#[test]
fn failed_flush_is_never_trusted_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    store.put(&unit(5 * SECOND, 1)).unwrap();
    let checkpoint = TimerCheckpoint { read_time_ms: SECOND, ..TimerCheckpoint::default() };
    let mut save = store.prepare_save(checkpoint).unwrap().unwrap();
    // A pipe cannot be flushed.
    let (pipe, _) = std::io::pipe().unwrap();
    save.files.push(File::from(std::os::fd::OwnedFd::from(pipe)));
    assert!(save.run().is_err());
    store.finish_save(None);
    // The next flush may succeed although what was to be written is gone.
    store.put(&unit(5 * SECOND, 2)).unwrap();
    assert!(store.prepare_save(checkpoint).is_err());
    drop(store);
    let mut store = TimerStore::open(&config(dir.path())).unwrap();
    assert_eq!(store.saved().read_time_ms, 0);
    assert_eq!(offsets(&mut store, 5 * SECOND), [1, 2]);
    assert!(store.prepare_save(checkpoint).unwrap().unwrap().run().is_ok());
}

#[test]
fn files_that_the_disk_does_not_give_back_are_set_aside_and_the_wheel_is_made_anew_from_the_log() {
    let saved = TimerCheckpoint { read_time_ms: SECOND, ..TimerCheckpoint::default() };
    let filled = || {
        let dir = tempfile::tempdir().unwrap();
        let mut store = TimerStore::open(&config(dir.path())).unwrap();
        (0..250).for_each(|number| store.put(&unit(5 * SECOND, number)).unwrap());
        store.prepare_save(saved).unwrap().unwrap().run().unwrap();
        dir
    };
    for (name, first_bad, units, read_time_ms) in [
        ("timerwheel", 0, 250, SECOND),
        ("timerwheel", 20 << 20, 250, SECOND),
        ("config/timercheck", 0, 250, 0),
        ("timerlog/00000000000000005216", 4096, 0, SECOND),
    ] {
        let dir = filled();
        let path = dir.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        break_pages(&path, first_bad..first_bad + 1);
        let mut store = TimerStore::open(&config(dir.path())).unwrap();
        assert_eq!(offsets(&mut store, 5 * SECOND), (0..units).collect::<Vec<_>>(), "{name}");
        assert_eq!(i64::from(store.count(5 * SECOND).unwrap()), units);
        assert_eq!(store.saved().read_time_ms, read_time_ms);
        assert_eq!(store.last_unit().unwrap().is_some(), units > 0);
        store.put(&unit(5 * SECOND, 250)).unwrap();
        assert_eq!(offsets(&mut store, 5 * SECOND).len() as i64, units + 1);
        let dirs = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut kept = dirs.filter(|dir| dir.to_str().unwrap().contains("damaged-"));
        assert!(kept.any(|dir| std::fs::read(dir.join(name)).is_ok_and(|kept| kept == bytes)));
    }
}
