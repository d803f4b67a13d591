//! A disk that does not take the notes on what is given out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use oxmq_store::{Environment, FlushDiskType, Fs, FsOp};

use super::*;

#[test]
fn group_stays_where_it_is_until_the_note_of_what_it_was_given_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&is_full);
    let fs = Fs::with_fault(move |op, path| {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        if fails.load(Ordering::Relaxed) && op == FsOp::Write && is_log {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    });
    let config = StoreConfig {
        flush_disk_type: FlushDiskType::SyncFlush,
        mapped_file_size_commit_log: 1 << 20,
        ..StoreConfig::in_dir(dir.path())
    };
    let store = MessageStore::open_with(config, Environment { fs, ..Environment::default() });
    let pop = open_on(store.unwrap(), dir.path(), |_| ());
    let setup = with_topic_and_group(pop, dir);
    let flushed = |setup: &Setup| {
        let (tell, told) = mpsc::channel();
        let end = setup.pop.store.max_phy_offset();
        setup.pop.store.when_durable(end, Box::new(move |status| tell.send(status).unwrap()));
        told.recv().unwrap()
    };
    setup.send(&["one", "two"]);
    flushed(&setup);

    is_full.store(true, Ordering::Relaxed);
    assert_eq!(setup.bodies(LONG_MS), ["one", "two"]);
    assert!(!flushed(&setup).is_stored());
    assert_eq!(setup.committed(), Some(0), "a crash may take the note");
    assert_eq!(setup.bodies(LONG_MS), [""; 0]);

    is_full.store(false, Ordering::Relaxed);
    while !flushed(&setup).is_stored() {}
    setup.pop.clean();
    assert_eq!(setup.committed(), Some(2));
}
