//! Changes beside a metadata file.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::fs::FsOp;
use crate::mapped_file::bad::{break_pages, mend_pages};

fn journal(dir: &TempDir) -> JsonJournal<String> {
    JsonJournal::of(&dir.path().join("config/x.json"))
}

fn note(journal: &JsonJournal<String>, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        journal.note(number, &number.to_string()).unwrap();
    }
}

fn after_crash(dir: &TempDir) -> Vec<String> {
    journal(dir).load().unwrap()
}

#[test]
fn change_that_is_kept_outlives_the_process_until_the_file_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir);
    journal.keep().unwrap();
    assert!(!journal.path().exists(), "nothing was noted");
    note(&journal, 1..=2);
    journal.keep().unwrap();
    note(&journal, 3..=3);
    assert_eq!(after_crash(&dir), ["1", "2"]);
    journal.forget(1).unwrap();
    assert_eq!(after_crash(&dir), ["2", "3"]);
    note(&journal, 4..=4);
    journal.keep().unwrap();
    assert_eq!(after_crash(&dir), ["2", "3", "4"]);
    journal.forget(4).unwrap();
    assert!(!journal.path().exists());
    assert_eq!(after_crash(&dir), [""; 0]);
}

#[test]
fn journal_of_a_crash_is_added_to_until_the_file_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let first = journal(&dir);
    note(&first, 1..=2);
    first.keep().unwrap();
    let second = journal(&dir);
    second.load().unwrap();
    note(&second, 3..=3);
    second.keep().unwrap();
    assert_eq!(after_crash(&dir), ["1", "2", "3"]);
    second.forget(3).unwrap();
    assert!(!second.path().exists());
}

#[test]
fn journal_that_is_cut_anywhere_has_the_whole_changes_before() {
    let dir = tempfile::tempdir().unwrap();
    let whole = journal(&dir);
    note(&whole, 1..=3);
    whole.keep().unwrap();
    let text = fs::read(whole.path()).unwrap();
    for length in 0..text.len() {
        fs::write(whole.path(), &text[..length]).unwrap();
        let cut = journal(&dir);
        let lines = text[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(cut.load().unwrap(), ["1", "2", "3"][..lines], "cut at {length}");
        note(&cut, 4..=4);
        cut.keep().unwrap();
        assert_eq!(after_crash(&dir)[..], [&["1", "2", "3"][..lines], &["4"]].concat());
    }
    assert!(!with_suffix(whole.path(), ".damaged").exists());
}

#[test]
fn change_that_is_damaged_anywhere_is_passed_over_and_kept_for_whoever_wants_to_look() {
    let dir = tempfile::tempdir().unwrap();
    let whole = journal(&dir);
    note(&whole, 1..=3);
    whole.keep().unwrap();
    let text = fs::read(whole.path()).unwrap();
    let line = text.len() / 3;
    for at in line..2 * line - 1 {
        let mut damaged = text.clone();
        damaged[at] = 0xff;
        fs::write(whole.path(), &damaged).unwrap();
        assert_eq!(after_crash(&dir), ["1", "3"], "damaged at {at}");
        let aside = with_suffix(whole.path(), ".damaged");
        assert_eq!(fs::read(aside).unwrap(), damaged);
    }
}

#[test]
fn operation_that_fails_is_an_error_until_the_file_has_all() {
    let mut fail_at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let faulty = Fs::with_fault(move |_: FsOp, _: &Path| {
            match counter.fetch_add(1, Ordering::Relaxed) == fail_at {
                true => Err(io::Error::other("injected")),
                false => Ok(()),
            }
        });
        let journal = JsonJournal::<String>::with_fs(faulty, &dir.path().join("config/x.json"));
        // What the metadata file would have.
        let mut saved = 0;
        let mut failures = 0;
        for number in 1..=6 {
            note(&journal, number..=number);
            if journal.keep().is_err() {
                failures += 1;
                assert!(journal.keep().is_err(), "operation {fail_at}: there is a gap");
                saved = number;
                if journal.forget(saved).is_err() {
                    journal.forget(saved).unwrap();
                }
            } else if number % 3 == 0 {
                note(&journal, number + 1..=number + 1);
                saved = number;
                if journal.forget(saved).is_err() {
                    failures += 1;
                    saved = number + 1;
                    journal.forget(saved).unwrap();
                }
            }
            let kept = after_crash(&dir);
            for wanted in saved + 1..=number {
                assert!(kept.contains(&wanted.to_string()), "operation {fail_at}: {kept:?}");
            }
        }
        if calls.load(Ordering::Relaxed) <= fail_at {
            assert!(failures == 0 && fail_at > 10, "{fail_at} operations");
            return;
        }
        assert_eq!(failures, 1, "operation {fail_at}");
        fail_at += 1;
    }
}

#[test]
fn change_that_comes_while_there_is_a_gap_is_not_kept_before_the_file_has_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config"), "no directory").unwrap();
    let journal = journal(&dir);
    note(&journal, 1..=1);
    assert!(journal.keep().is_err());
    note(&journal, 2..=2);
    fs::remove_file(dir.path().join("config")).unwrap();
    journal.forget(1).unwrap();
    assert!(journal.keep().is_err(), "the second is nowhere");
    journal.forget(2).unwrap();
    note(&journal, 3..=3);
    journal.keep().unwrap();
    assert_eq!(after_crash(&dir), ["3"]);
}

#[test]
fn journal_that_the_disk_does_not_give_back_keeps_what_can_be_read_and_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let first = journal(&dir);
    note(&first, 1..=1_000);
    first.keep().unwrap();
    let text = fs::read(first.path()).unwrap();
    break_pages(first.path(), 4096..4097);
    let second = journal(&dir);
    assert!((600..800).contains(&second.look().unwrap().len()));
    assert!(!with_suffix(first.path(), ".damaged").exists());
    let changes = second.load().unwrap();
    mend_pages(first.path());
    let lost: Vec<_> =
        (1..=1_000).map(|n: i64| n.to_string()).filter(|n| !changes.contains(n)).collect();
    assert!((200..400).contains(&lost.len()), "{lost:?}");
    assert!(fs::read(with_suffix(first.path(), ".damaged")).unwrap() == text);
    note(&second, 1_001..=1_001);
    second.keep().unwrap();
    assert_eq!(after_crash(&dir), [&changes[..], &["1001".to_owned()]].concat());
}

#[test]
fn what_was_kept_before_a_gap_stays_until_the_file_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fault = Arc::clone(&is_full);
    let faulty = Fs::with_fault(move |op: FsOp, _: &Path| {
        match op == FsOp::Write && fault.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let journal = JsonJournal::<String>::with_fs(faulty, &dir.path().join("config/x.json"));
    note(&journal, 1..=3);
    journal.keep().unwrap();
    is_full.store(true, Ordering::Relaxed);
    note(&journal, 4..=4);
    assert!(journal.keep().is_err());
    // The metadata file that was being written meanwhile has the first only.
    journal.forget(1).unwrap();
    let kept = after_crash(&dir);
    assert!(kept.ends_with(&["2".to_owned(), "3".to_owned()]), "{kept:?}");
    is_full.store(false, Ordering::Relaxed);
    note(&journal, 5..=5);
    assert!(journal.keep().is_err(), "the fourth is nowhere");
    journal.forget(5).unwrap();
    assert!(!journal.path().exists());
    note(&journal, 6..=6);
    journal.keep().unwrap();
    assert_eq!(after_crash(&dir), ["6"]);
}

#[test]
fn changes_of_many_threads_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir);
    let numbers = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    {
                        let mut number = lock(&numbers);
                        *number += 1;
                        note(&journal, *number..=*number);
                    }
                    journal.keep().unwrap();
                }
            });
        }
    });
    let wanted: Vec<_> = (1..=80).map(|number: i64| number.to_string()).collect();
    assert_eq!(after_crash(&dir), wanted);
}
