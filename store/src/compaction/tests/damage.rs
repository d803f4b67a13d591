//! Files that a crash, the reference or somebody else has left otherwise than this store does.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use super::{
    TOPIC, compact, config, dirs, expected, feed, left, names, open, open_with, put_run, temp_dir,
};
use crate::mapped_file::bad::{break_pages, mend_pages};
use crate::worker::Signal;
use crate::{Clock, Environment, Fs, MessageStore, StoreConfig};

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn copy_of(root: &Path) -> TempDir {
    let copy = temp_dir();
    copy_dir(root, copy.path());
    copy
}

fn close(store: Arc<MessageStore>) {
    store.close().unwrap();
}

/// A closed store of 50 messages, of which the first 30 have been compacted, and what is left of them.
fn partly_compacted() -> (TempDir, Vec<i64>) {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 30);
    compact(&store);
    put_run(&store, 20);
    feed(&store);
    let left = left(&store);
    close(store);
    (dir, left)
}

#[test]
fn what_the_disk_does_not_give_back_stays_until_it_does() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 30);
    feed(&store);
    close(store);
    let [logs, _] = dirs(dir.path());
    let before = names(&logs);
    let bad = logs.join(&before[1]);
    break_pages(&bad, 0..1);
    let store = open(dir.path());
    compact(&store);
    assert_eq!(names(&logs), before);
    close(store);
    mend_pages(&bad);
    let store = open(dir.path());
    assert_eq!(left(&store), (0..30).collect::<Vec<_>>());
    compact(&store);
    assert_eq!(left(&store), expected(30));
}

/// What a start has set aside of the store in `root`.
fn is_kept(root: &Path, path: &Path, bytes: &[u8]) -> bool {
    let below = path.strip_prefix(root).unwrap();
    let dirs = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut kept = dirs.filter(|dir| dir.to_str().unwrap().contains("damaged-"));
    kept.any(|dir| fs::read(dir.join(below)).is_ok_and(|kept| kept == bytes))
}

#[test]
fn a_file_of_another_length_than_the_others_is_set_aside_and_copied_again() {
    let original = temp_dir();
    let store = open(original.path());
    put_run(&store, 30);
    feed(&store);
    close(store);
    for (which, dir) in dirs(original.path()).iter().enumerate() {
        for name in names(dir) {
            let copy = copy_of(original.path());
            let path = dirs(copy.path())[which].join(&name);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
            let store = open(copy.path());
            assert_eq!(left(&store), (0..30).collect::<Vec<_>>(), "{which} {name}");
            assert!(is_kept(copy.path(), &path, &bytes[..bytes.len() - 7]));
            go_on(&store, &name);
        }
    }
}

#[test]
fn a_queue_file_that_the_disk_does_not_give_back_is_set_aside_and_made_anew() {
    let original = temp_dir();
    let store = open(original.path());
    put_run(&store, 30);
    feed(&store);
    close(store);
    for name in names(&dirs(original.path())[1]) {
        let copy = copy_of(original.path());
        let path = dirs(copy.path())[1].join(&name);
        let bytes = fs::read(&path).unwrap();
        break_pages(&path, 0..1);
        let store = open(copy.path());
        assert_eq!(left(&store), (0..30).collect::<Vec<_>>(), "{name}");
        assert!(is_kept(copy.path(), &path, &bytes));
        go_on(&store, &name);
    }
}

/// Takes ten more messages and compacts all there are.
fn go_on(store: &MessageStore, what: &str) {
    let count = store.max_offset(TOPIC, 0);
    put_run(store, 10);
    compact(store);
    assert_eq!(left(store), expected(count + 10), "{what}");
}

#[test]
fn the_end_of_the_files_cut_at_every_byte_is_copied_again() {
    let original = temp_dir();
    let store = open(original.path());
    put_run(&store, 30);
    compact(&store);
    drop(store);
    for (which, dir) in dirs(original.path()).iter().enumerate() {
        let name = names(dir).pop().unwrap();
        let bytes = fs::read(dir.join(&name)).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for cut in 0..=end {
            let copy = copy_of(original.path());
            let path = dirs(copy.path())[which].join(&name);
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&vec![0; bytes.len() - cut], cut as u64).unwrap();
            let store = open(copy.path());
            let what = format!("file {which} cut at {cut}");
            assert_eq!(left(&store), expected(30), "{what}");
            go_on(&store, &what);
        }
    }
}

#[test]
fn a_crash_at_any_step_of_a_replacement_leaves_the_old_or_the_new_files() {
    let (original, before) = partly_compacted();
    let mut fail_from = 0;
    loop {
        let copy = copy_of(original.path());
        let (armed, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_armed, counter) = (Arc::clone(&armed), Arc::clone(&calls));
        let fs = Fs::with_fault(move |_, path| {
            let is_ours = path.components().any(|part| part.as_os_str() == "compaction");
            let counts = is_ours && is_armed.load(Ordering::Relaxed);
            match counts && counter.fetch_add(1, Ordering::Relaxed) >= fail_from {
                true => Err(io::Error::other("injected")),
                false => Ok(()),
            }
        });
        let store = open_with(copy.path(), fs).unwrap();
        armed.store(true, Ordering::Relaxed);
        store.compaction.compact_all(&Signal::default());
        // Who goes on without a start sees one or the other, too.
        let seen = left(&store);
        assert!(seen == before || seen == expected(50), "step {fail_from}: {seen:?}");
        let done = calls.load(Ordering::Relaxed) <= fail_from;
        armed.store(false, Ordering::Relaxed);
        if fail_from % 2 == 0 {
            compact(&store);
            assert_eq!(left(&store), expected(50), "step {fail_from}");
        }
        drop(store);
        let store = open(copy.path());
        let seen = left(&store);
        assert!(seen == before || seen == expected(50), "step {fail_from}: {seen:?}");
        compact(&store);
        assert_eq!(left(&store), expected(50), "step {fail_from}");
        if done {
            assert!(fail_from > 20, "{fail_from} steps");
            return;
        }
        fail_from += 1;
    }
}

/// What the reference has done of a replacement when it is killed after `steps`.
fn replace_as_the_reference(root: &Path, new: &Path, steps: usize) {
    let mut steps = (0..steps).fuse();
    for (old, new) in dirs(root).iter().zip(dirs(new)) {
        // All but the last file, which is still written.
        let closed = names(old).into_iter().filter(|name| name.len() == 20);
        let mut closed: Vec<String> = closed.collect();
        closed.pop();
        let aside = |name: &String| old.join(format!("{name}.delete"));
        let compacting = old.join("compacting");
        fs::create_dir_all(&compacting).unwrap();
        fs::copy(new.join(&closed[0]), compacting.join(&closed[0])).unwrap();
        for name in &closed {
            if steps.next().is_some() {
                fs::rename(old.join(name), aside(name)).unwrap();
            }
        }
        if steps.next().is_some() {
            fs::rename(compacting.join(&closed[0]), old.join(&closed[0])).unwrap();
        }
        for name in &closed {
            if steps.next().is_some() {
                fs::remove_file(aside(name)).unwrap();
            }
        }
    }
}

#[test]
fn a_replacement_that_the_reference_was_killed_in_is_ended_or_undone() {
    let original = temp_dir();
    let store = open(original.path());
    put_run(&store, 50);
    feed(&store);
    close(store);
    let new = copy_of(original.path());
    let store = open(new.path());
    compact(&store);
    assert_eq!(left(&store), expected(50));
    close(store);
    let before: Vec<i64> = (0..50).collect();
    // Five closed log files, and their queue files.
    let all = 2 * (5 + 1 + 5);
    for steps in 0..=all {
        let copy = copy_of(original.path());
        replace_as_the_reference(copy.path(), new.path(), steps);
        let store = open(copy.path());
        let seen = left(&store);
        assert!(seen == before || seen == expected(50), "{steps} steps: {seen:?}");
        assert!(steps > 0 || seen == before);
        assert!(steps < all || seen == expected(50));
        go_on(&store, &format!("{steps} steps"));
    }
}

#[test]
fn a_queue_file_that_is_missing_or_another_s_is_made_from_the_log() {
    let (original, before) = partly_compacted();
    let damages: [fn(&Path, &Path); 3] = [
        |queue, _| fs::remove_file(queue).unwrap(),
        |queue, _| fs::write(queue, []).unwrap(),
        |queue, other| assert!(fs::copy(other, queue).is_ok()),
    ];
    let [_, queue_dir] = dirs(original.path());
    let all = names(&queue_dir);
    assert!(all.len() > 2, "{all:?}");
    for (number, name) in all.iter().enumerate() {
        for (damage, apply) in damages.iter().enumerate() {
            let copy = copy_of(original.path());
            let [_, queues] = dirs(copy.path());
            let other = &all[(number + 1) % all.len()];
            apply(&queues.join(name), &queues.join(other));
            let store = open(copy.path());
            let what = format!("damage {damage} of {name}");
            assert_eq!(left(&store), before, "{what}");
            go_on(&store, &what);
        }
    }
}

#[test]
fn a_file_of_another_length_stops_the_start() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 3);
    close(store);
    let store = MessageStore::open(StoreConfig {
        compaction_cq_mapped_file_size: 920,
        ..config(dir.path())
    })
    .unwrap();
    let error = store.use_compaction(TOPIC).unwrap_err().to_string();
    assert!(error.contains("has 9660 bytes instead of 10120 as configured"), "{error}");
}

#[test]
fn files_of_an_older_topic_with_the_same_name_are_not_used() {
    let dir = temp_dir();
    let store = open(dir.path());
    put_run(&store, 40);
    compact(&store);
    close(store);
    let kept = copy_of(&dir.path().join("compaction"));
    // Later than what was kept.
    let clock = Clock::manual(4_000_000_000_000);
    let open = |root: &Path| {
        let environment = Environment { clock: clock.clone(), ..Environment::default() };
        let store = MessageStore::open_with(config(root), environment).unwrap();
        store.use_compaction(TOPIC).unwrap();
        store
    };
    for count in [5, 38, 60] {
        // As the reference does: the files stay.
        let store = open(dir.path());
        store.delete_topic(TOPIC).unwrap();
        put_run(&store, count);
        close(store);
        drop(fs::remove_dir_all(dir.path().join("compaction")));
        copy_dir(kept.path(), &dir.path().join("compaction"));
        let store = open(dir.path());
        compact(&store);
        assert_eq!(left(&store), expected(count as i64), "{count}");
        // In a store that runs, a new topic of that name has no queue yet.
        store.delete_topic(TOPIC).unwrap();
        copy_dir(kept.path(), &dir.path().join("compaction"));
        store.use_compaction(TOPIC).unwrap();
        put_run(&store, count);
        compact(&store);
        assert_eq!(left(&store), expected(count as i64), "{count}");
        store.close().unwrap();
    }
}
