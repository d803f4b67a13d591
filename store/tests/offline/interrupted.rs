//! Repairs that end in between, as those of a killed process do, and are repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oxmq_store::Fs;

use super::damages::{DAMAGES, Damage, damage, put_queue_ahead};
use super::repairs::without_old_log;
use super::*;

/// Where damages come one by one, the repair is interrupted at one operation in so many.
const STRIDE: usize = 7;

/// A file system of which nothing is left after `count` operations, and the count of those that were
/// asked for.
fn fails_after(count: usize) -> (Fs, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let fs = Fs::with_fault(move |_, _| match counter.fetch_add(1, Ordering::Relaxed) {
        call if call < count => Ok(()),
        _ => Err(io::Error::other("killed")),
    });
    (fs, calls)
}

/// Interrupts the repair of a copy of `damaged` before its `first` operation and each `stride`-th
/// after it, and has `check_mended` look at what a second one makes of it.
fn interrupt_everywhere(
    name: &str,
    damaged: &Path,
    (first, stride): (usize, usize),
    check_mended: &dyn Fn(&Path, &str),
) {
    let before = image(damaged);
    let mut count = first;
    loop {
        let dir = temp_dir();
        copy_dir(damaged, dir.path());
        let root = dir.path();
        let (fs, calls) = fails_after(count);
        let config = || Some(small(root));
        let outcome = offline::repair_with(&fs, root, config(), false, &mut |_| (), &mut |_, _| ());
        let is_whole = calls.load(Ordering::Relaxed) <= count;
        let at = format!("{name}, interrupted at operation {count}");
        assert!(outcome.is_ok() || !is_whole, "{at}: {outcome:?}");

        let second = offline::repair(root, config(), false, &mut |_| (), &mut |_, _| ())
            .unwrap_or_else(|error| panic!("{at}: {error}"));
        check_mended(root, &at);
        let report = check(root);
        assert!(is_clean(&report), "{at}: {:#?} {:#?}", second.actions, report.findings);
        assert_all_is_kept(root, damaged, &before, &at);
        if is_whole {
            assert!(count > 20, "{name}: {count} operations only");
            return;
        }
        count += stride;
    }
}

/// Checks that what the files in `before`, an image of `damaged`, had is still below `root`.
fn assert_all_is_kept(
    root: &Path,
    damaged: &Path,
    before: &[(PathBuf, Vec<u8>, std::time::SystemTime)],
    at: &str,
) {
    let now = image(root);
    let is_aside = |path: &Path| {
        let below = path.strip_prefix(root).unwrap();
        below.components().next().unwrap().as_os_str().to_string_lossy().starts_with("damaged-")
    };
    let mut kept: BTreeMap<PathBuf, Vec<(usize, &Vec<u8>)>> = BTreeMap::new();
    for (path, bytes, _) in now.iter().filter(|(path, ..)| is_aside(path)) {
        let below: PathBuf = path.strip_prefix(root).unwrap().components().skip(1).collect();
        let text = below.to_str().unwrap();
        let (name, start) = text.split_once(".bytes-").unwrap_or((text, "0"));
        kept.entry(name.into()).or_default().push((start.parse().unwrap(), bytes));
    }
    for (path, bytes, _) in before {
        let below = path.strip_prefix(damaged).unwrap();
        let now = fs::read(root.join(below)).unwrap_or_default();
        let parts = kept.get(below).map(Vec::as_slice).unwrap_or_default();
        let is_there = |at: usize, byte: u8| {
            let in_part = |(start, part): &(usize, &Vec<u8>)| {
                at.checked_sub(*start).and_then(|at| part.get(at)) == Some(&byte)
            };
            byte == 0 || now.get(at) == Some(&byte) || parts.iter().any(in_part)
        };
        let lost = (0..bytes.len()).find(|at| !is_there(*at, bytes[*at]));
        assert_eq!(lost, None, "{at}: {path:?} is not kept");
    }
}

/// Checks that the messages of [`sound`] are there but for those that `left` does not have.
fn assert_messages(root: &Path, left: &BTreeSet<Vec<u8>>, at: &str) {
    let bodies = readable(root);
    assert_eq!(bodies.len(), left.len(), "{at}");
    assert_eq!(bodies.into_iter().collect::<BTreeSet<_>>(), *left, "{at}");
    let store = open(&small(root));
    for number in 0..MESSAGES {
        let found = store.query_message("TopicA", &format!("key{number}"), 2, 0, i64::MAX).unwrap();
        let is_left = left.contains(&body(number));
        assert_eq!(found.message_count, u32::from(is_left), "{at}: key of message {number}");
    }
    store.close().unwrap();
}

/// What an uninterrupted repair leaves of a copy of `damaged`.
fn left_of(damaged: &Path) -> BTreeSet<Vec<u8>> {
    let dir = temp_dir();
    copy_dir(damaged, dir.path());
    repair(dir.path());
    readable(dir.path()).into_iter().collect()
}

#[test]
fn repair_of_many_damages_can_be_repeated() {
    let dir = sound();
    let names = [
        "flipped byte in a body",
        "wrong position in a record",
        "truncated log file",
        "truncated queue file",
        "index slot out of range",
        "damaged topics.json",
    ];
    for name in names {
        (damage(name).plant)(dir.path());
    }
    fs::remove_file(dir.path().join("commitlog/00000000000000016384")).unwrap();
    let left = left_of(dir.path());
    assert!(left.len() > MESSAGES / 2, "{}", left.len());
    interrupt_everywhere("many", dir.path(), (0, 1), &|root, at| assert_messages(root, &left, at));
}

#[test]
fn repair_of_each_damage_can_be_repeated() {
    for (number, Damage { name, plant, lost, .. }) in DAMAGES.iter().enumerate() {
        let dir = sound();
        plant(dir.path());
        let left = left_of(dir.path());
        assert_eq!(left.len(), MESSAGES - lost);
        interrupt_everywhere(name, dir.path(), (number % STRIDE, STRIDE), &|root, at| {
            assert_messages(root, &left, at)
        });
    }
}

#[test]
fn repair_of_a_queue_without_records_can_be_repeated() {
    let dir = without_old_log();
    let next = |root: &Path| {
        let store = open(&small(root));
        let next = [0, 1].map(|queue_id| store.bounds("TopicA", queue_id).1);
        store.close().unwrap();
        next
    };
    let expected = next(dir.path());
    put_queue_ahead(dir.path());
    interrupt_everywhere("without records", dir.path(), (0, 1), &|root, at| {
        assert_eq!(next(root), expected, "{at}");
    });
}
