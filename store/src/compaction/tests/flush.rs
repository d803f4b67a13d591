//! Flushes that fail: the system tells of it once, and what was to be written may be gone then.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oxmq_protocol::message::MessageExt;

use super::{compact, dirs, expected, feed, left, names, open, open_with, pull, put_run, temp_dir};
use crate::fs::{Fs, FsOp};

/// A file system in which the next flush of a file in `dir` fails once the flag is set.
fn failing_once(dir: &Path) -> (Fs, Arc<AtomicBool>) {
    let (dir, fails) = (dir.to_owned(), Arc::new(AtomicBool::new(false)));
    let is_set = Arc::clone(&fails);
    let fs = Fs::with_fault(move |op, path| {
        let is_it = op == FsOp::Flush && path.parent() == Some(&dir);
        match is_it && is_set.swap(false, Ordering::Relaxed) {
            true => Err(io::Error::other("injected")),
            false => Ok(()),
        }
    });
    (fs, fails)
}

/// Changes the key of the second message in the first file in `dir`, which no checksum covers.
fn damage(dir: &Path) {
    let path = dir.join(&names(dir)[0]);
    let bytes = fs::read(&path).unwrap();
    let key = b"KEYS\x01k1";
    let at = bytes.windows(key.len()).position(|found| found == key).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"9", (at + key.len() - 1) as u64).unwrap();
}

fn keys(messages: &[MessageExt]) -> String {
    let key = |message: &MessageExt| message.property("KEYS").unwrap().to_owned();
    String::from_utf8(messages.iter().map(key).collect::<Vec<_>>().join(&b' ')).unwrap()
}

#[test]
fn what_a_failed_flush_was_to_write_is_never_trusted_again() {
    for which in 0..2 {
        let dir = temp_dir();
        let compacted = dirs(dir.path());
        let (fs, fails) = failing_once(&compacted[which]);
        let store = open_with(dir.path(), fs).unwrap();
        put_run(&store, 5);
        fails.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            store.compaction.secure(i64::MAX).unwrap_err();
        }
        // The pages may be read from the disk again at any time.
        damage(&compacted[0]);
        put_run(&store, 1);
        assert_eq!(keys(&pull(&store, 0).1), "k0 k1 k2 k0 k1 k2");
        store.close().unwrap_err();
        drop(store);
        let store = open(dir.path());
        for _ in 0..2 {
            assert_eq!(keys(&pull(&store, 0).1), "k0 k1 k2 k0 k1 k2");
            feed(&store);
        }
        store.close().unwrap();
    }
}

#[test]
fn a_file_that_could_not_be_flushed_has_no_successor_before_the_next_start() {
    for which in 0..2 {
        let dir = temp_dir();
        let (fs, fails) = failing_once(&dirs(dir.path())[which]);
        let store = open_with(dir.path(), fs).unwrap();
        put_run(&store, 12);
        feed(&store);
        put_run(&store, 18);
        fails.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            store.compaction.feed(i64::MAX).unwrap_err();
            store.compaction.secure(i64::MAX).unwrap_err();
            assert_eq!(left(&store), (0..30).collect::<Vec<_>>());
        }
        assert_eq!(names(&dirs(dir.path())[0]).len(), 2);
        store.close().unwrap_err();
        drop(store);
        let store = open(dir.path());
        assert_eq!(left(&store), (0..30).collect::<Vec<_>>());
        compact(&store);
        assert_eq!(left(&store), expected(30));
        store.close().unwrap();
    }
}
