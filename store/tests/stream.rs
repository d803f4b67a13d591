//! A log that is read as a stream on one side and appended on the other.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use common::*;
use oxmq_protocol::message::{Message, properties};
use oxmq_store::{
    Arrival, ArrivalListener, Environment, FlushDiskType, Fs, FsOp, LogStreamError, MessageStore,
    PutMessageStatus, StoreConfig,
};

/// Sends the log of `master` from `from` on in slices of at most `at_most` bytes.
fn replicate(master: &MessageStore, replica: &MessageStore, from: i64, at_most: usize) {
    let mut position = from;
    loop {
        let mut slice = Vec::new();
        let count = master.read_log(position, at_most, &mut slice).unwrap();
        if count == 0 {
            return;
        }
        replica.append_log(position, &slice).unwrap();
        position += count as i64;
    }
}

#[test]
fn replica_has_the_same_log_and_serves_the_same_messages() {
    // Cuts inside of records, of heads, and of blanks.
    for at_most in [7, 100, 1_000, 32 << 10] {
        let (master_dir, replica_dir) = (temp_dir(), temp_dir());
        let (master, replica) = (open(&small(master_dir.path())), open(&small(replica_dir.path())));
        let heard = Arc::new(Mutex::new(0));
        let count = Arc::clone(&heard);
        replica.set_arrival_listener(Arc::new(move |_: &Arrival<'_>| *count.lock().unwrap() += 1));
        put_run(&master, 0..200);
        replicate(&master, &replica, 0, at_most);
        assert_eq!(check_run(&replica, 200), 200);
        assert_eq!(*heard.lock().unwrap(), 200);
        assert_eq!(replica.max_phy_offset(), master.max_phy_offset());

        // It goes on after both were opened again, and can become a master itself.
        master.close().unwrap();
        replica.close().unwrap();
        let (master, replica) = (open(&small(master_dir.path())), open(&small(replica_dir.path())));
        put_run(&master, 200..300);
        replicate(&master, &replica, replica.max_phy_offset(), at_most);
        assert_eq!(check_run(&replica, 300), 300);
        put_run(&replica, 300..310);
        check_run(&replica, 310);
    }
}

#[test]
fn replica_may_begin_with_a_later_file() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let (master, replica) = (open(&small(master_dir.path())), open(&small(replica_dir.path())));
    put_run(&master, 0..300);
    let from = 16 << 10;
    replicate(&master, &replica, from, 999);
    let (min, max) = replica.bounds("TopicA", 0);
    assert!(min > 0 && max == 150, "{min}..{max}");
    assert_eq!(replica.min_phy_offset(), from);
    let messages = read_all(&replica, "TopicA", 0);
    assert_eq!(messages[0].queue_offset, min);
    assert_eq!(messages[messages.len() - 1].body, body(298));
    replica.close().unwrap();
    let replica = open(&small(replica_dir.path()));
    assert_eq!(replica.bounds("TopicA", 0), (min, max));
    assert_eq!(replica.min_phy_offset(), from);
}

#[test]
fn slices_that_do_not_go_at_the_end_are_refused() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let (master, replica) = (open(&small(master_dir.path())), open(&small(replica_dir.path())));
    put_run(&master, 0..10);
    let mut slice = Vec::new();
    master.read_log(0, 500, &mut slice).unwrap();
    assert!(matches!(replica.append_log(1, &slice), Err(LogStreamError::NotAtEnd { .. })));
    replica.append_log(0, &slice).unwrap();
    assert!(matches!(replica.append_log(0, &slice), Err(LogStreamError::NotAtEnd { .. })));
    let large = vec![0; 16 << 10];
    let crossing = replica.append_log(500, &large);
    assert!(matches!(crossing, Err(LogStreamError::CrossesFiles { .. })));
    for position in [-1, master.max_phy_offset() + 1] {
        let read = master.read_log(position, 1, &mut Vec::new());
        assert!(matches!(read, Err(LogStreamError::NotInLog { .. })), "{position}");
    }
    assert_eq!(replica.max_phy_offset(), 500);
}

#[test]
fn incomplete_record_is_cut_when_the_replica_is_opened_again() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let (master, replica) = (open(&small(master_dir.path())), open(&small(replica_dir.path())));
    put_run(&master, 0..10);
    let mut slice = Vec::new();
    let whole = master.read_log(0, 16 << 10, &mut slice).unwrap();
    // In the body: a last byte that is zero would be there anyway.
    replica.append_log(0, &slice[..whole - 40]).unwrap();
    assert_eq!(check_run(&replica, 9), 9);
    replica.close().unwrap();
    let replica = open(&small(replica_dir.path()));
    assert_eq!(check_run(&replica, 9), 9);
    replicate(&master, &replica, replica.max_phy_offset(), 100);
    assert_eq!(check_run(&replica, 10), 10);
}

#[test]
fn replica_indexes_records_once_they_are_whole() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let (master, replica) = (open(&small(master_dir.path())), open(&small(replica_dir.path())));
    let mut text = Vec::new();
    properties::append(&mut text, properties::KEYS, b"key");
    for _ in 0..3 {
        master.put_message(&Message { properties: &text, ..message("t", 0, b"x") });
    }
    let find = || replica.query_message("t", "key", 9, 0, i64::MAX).unwrap().message_count;
    let end = master.max_phy_offset();
    let mut slice = Vec::new();
    master.read_log(0, end as usize - 5, &mut slice).unwrap();
    replica.append_log(0, &slice).unwrap();
    assert_eq!(find(), 2);
    replicate(&master, &replica, end - 5, 100);
    assert_eq!(find(), 3);
}

#[test]
fn confirmed_position_is_in_the_checkpoint() {
    let dir = temp_dir();
    let store = open(&small(dir.path()));
    put_run(&store, 0..10);
    let confirmed = store.max_phy_offset() / 2;
    store.set_confirm_offset(confirmed);
    assert_eq!(store.confirm_offset(), confirmed);
    store.close().unwrap();
    let checkpoint = std::fs::read(dir.path().join("checkpoint")).unwrap();
    assert_eq!(checkpoint[32..40], confirmed.to_be_bytes());
}

#[test]
fn replica_that_flushes_announces_a_record_that_came_in_parts() {
    for waits_at_first in [true, false] {
        let (master_dir, replica_dir) = (temp_dir(), temp_dir());
        let master = open(&small(master_dir.path()));
        put_run(&master, 0..3);
        let config = StoreConfig {
            flush_disk_type: FlushDiskType::SyncFlush,
            flush_interval_commit_log: 3_600_000,
            ..small(replica_dir.path())
        };
        let replica = open(&config);
        let listener = Arc::new(Listener::default());
        listener.waits.store(waits_at_first, Ordering::SeqCst);
        replica.set_arrival_listener(Arc::clone(&listener) as Arc<dyn ArrivalListener>);
        let append = |from: usize, to: usize| {
            let mut slice = Vec::new();
            master.read_log(from as i64, to - from, &mut slice).unwrap();
            replica.append_log(from as i64, &slice).unwrap();
            let (answer, answers) = channel();
            let tell = move |status| answer.send(status).unwrap();
            replica.when_durable(to as i64, Box::new(tell));
            assert_eq!(answers.recv().unwrap(), PutMessageStatus::PutOk);
        };
        let end = master.max_phy_offset() as usize;
        // The second record in two parts, each of which is flushed.
        let middle = end / 2;
        append(0, middle);
        assert_eq!(replica.max_offset("TopicA", 0) + replica.max_offset("TopicA", 1), 1);
        listener.waits.store(true, Ordering::SeqCst);
        append(middle, end);
        let heard: Vec<_> = listener.heard.lock().unwrap().clone();
        let expected = if waits_at_first { vec![0, 1, 2] } else { vec![1, 2] };
        let numbers: Vec<_> =
            heard.iter().map(|(queue_id, next)| 2 * (next - 1) + i64::from(*queue_id)).collect();
        assert_eq!(numbers, expected);
    }
}

#[test]
fn records_that_could_not_be_dispatched_are_with_what_comes_next() {
    let (master_dir, replica_dir) = (temp_dir(), temp_dir());
    let master = open(&small(master_dir.path()));
    put(&master, "t", 0, b"old");
    put(&master, "t", 0, b"older");
    let replica = open(&small(replica_dir.path()));
    replicate(&master, &replica, 0, 1_000);
    // Has the queue in its file.
    replica.close().unwrap();
    drop(replica);
    let fails = Arc::new(AtomicBool::new(true));
    let once = Arc::clone(&fails);
    let fs = Fs::with_fault(move |op, path| {
        let is_queue = path.to_str().is_some_and(|path| path.contains("consumequeue/t"));
        match op == FsOp::Remove && is_queue && once.swap(false, Ordering::Relaxed) {
            true => Err(std::io::Error::other("injected")),
            false => Ok(()),
        }
    });
    let environment = Environment { fs, ..Environment::default() };
    let replica = MessageStore::open_with(small(replica_dir.path()), environment).unwrap();
    master.delete_topic("t").unwrap();
    let mut bodies = Vec::new();
    for body in [b"first", b"secnd", b"third"] {
        let position = put(&master, "t", 0, body).phy_offset;
        let mut slice = Vec::new();
        master.read_log(position, 1_000, &mut slice).unwrap();
        assert_eq!(replica.append_log(position, &slice).is_err(), bodies.is_empty());
        bodies.push(body.to_vec());
    }
    let left: Vec<_> = read_all(&replica, "t", 0).into_iter().map(|found| found.body).collect();
    assert_eq!(left, bodies);
}

/// Keeps the queue of each arrival, and the offset behind it.
#[derive(Default)]
struct Listener {
    waits: AtomicBool,
    heard: Mutex<Vec<(i32, i64)>>,
}

impl ArrivalListener for Listener {
    fn arrived(&self, arrival: &Arrival<'_>) {
        self.heard.lock().unwrap().push((arrival.queue_id, arrival.next_queue_offset));
    }

    fn is_waiting(&self) -> bool {
        self.waits.load(Ordering::SeqCst)
    }
}
