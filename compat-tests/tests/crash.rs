//! What was acknowledged survives `kill -9` under load.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, ServerUnderTest, offsets_file, wait};

/// Rounds of load, kill, restart and check. The reference takes seconds for each start, and what
/// is shown with it is only that the test is right.
const ROUNDS_OURS: usize = 20;
const ROUNDS_REFERENCE: usize = 2;
const TOPIC: &str = "crash";
const GROUP: &str = "crash_group";
/// One producer connection for each queue, so that the order of acknowledgements is known.
const QUEUES: usize = 4;
/// The least that a round acknowledges before the kill.
const ACKED_PER_ROUND: usize = 300;
/// How often the broker writes committed offsets to disk; its default is 5 s.
const OFFSET_FLUSH_MS: &str = "100";
/// Between two messages of one producer until the round is at full load.
const PACE: Duration = Duration::from_millis(5);
const ROUND_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn acknowledged_messages_and_committed_offsets_survive_kill_9_under_load() {
    let mut server = ServerUnderTest::setup()
        .broker_conf("flushConsumerOffsetInterval", OFFSET_FLUSH_MS)
        .start();
    ops::create_topic(&server, TOPIC, QUEUES as u32);
    let rounds = match server.kind() {
        Kind::Ours => ROUNDS_OURS,
        Kind::Reference | Kind::Older(_) => ROUNDS_REFERENCE,
    };
    let mut acked = Acked::default();
    for round in 0..rounds {
        let before = persisted_offsets(&server);
        let load = Load::new(round);
        let committed = std::thread::scope(|scope| {
            for queue in 0..QUEUES {
                let (load, addr) = (&load, server.broker_addr());
                scope.spawn(move || load.produce(&addr, queue));
            }
            let consumer = {
                let (load, addr) = (&load, server.broker_addr());
                scope.spawn(move || load.consume(&addr))
            };
            let _stop = StopOnDrop(&load);
            // The reference writes offsets for the first time 10 s after its start.
            wait::until("newer offsets on disk", ROUND_LIMIT, || {
                let now = persisted_offsets(&server);
                (0..QUEUES).all(|queue| now.get(&queue) > before.get(&queue)).then_some(())
            });
            load.full.store(true, Ordering::SeqCst);
            // Not the same instant in each round: somewhere within the work of some messages.
            let enough = load.count.load(Ordering::SeqCst) + ACKED_PER_ROUND + 37 * round;
            wait::until("enough acknowledgements", ROUND_LIMIT, || {
                (load.count.load(Ordering::SeqCst) >= enough).then_some(())
            });
            server.kill9();
            load.stop.store(true, Ordering::SeqCst);
            consumer.join().unwrap()
        });
        acked.merge(load.acked.into_inner().unwrap());
        let on_disk = persisted_offsets(&server);
        server.restart();

        let mut conn = Conn::connect(&server.broker_addr());
        for queue in 0..QUEUES {
            acked.assert_stored(&mut conn, queue, round);
            let resumed = ops::committed_offset(&mut conn, GROUP, TOPIC, queue as i32);
            assert!(
                resumed.as_ref() >= on_disk.get(&queue)
                    && resumed.as_ref() <= committed.get(&queue),
                "round {round} queue {queue}: resumes at {resumed:?}, on disk {:?}, committed {:?}",
                on_disk.get(&queue),
                committed.get(&queue)
            );
        }
    }
    println!("{rounds} rounds, {} messages acknowledged", acked.len());
}

/// Acknowledged bodies by queue and queue offset.
#[derive(Default)]
struct Acked(BTreeMap<(usize, i64), String>);

impl Acked {
    fn merge(&mut self, more: BTreeMap<(usize, i64), String>) {
        for (place, body) in more {
            let twice = self.0.insert(place, body);
            assert!(twice.is_none(), "{place:?} was acknowledged for {twice:?} already");
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads the whole queue and compares it with what was acknowledged.
    fn assert_stored(&self, conn: &mut Conn, queue: usize, round: usize) {
        let records = ops::walk_queue(conn, "crash_probe", TOPIC, queue as i32, 0);
        for (&(_, offset), body) in self.0.range((queue, 0)..(queue + 1, 0)) {
            let stored = records.get(offset as usize).map(|record| record.text());
            assert_eq!(stored, Some(body.as_str()), "round {round} queue {queue} offset {offset}");
        }
    }
}

/// Producers and a consumer that work until the broker is gone.
struct Load {
    round: usize,
    count: AtomicUsize,
    full: AtomicBool,
    stop: AtomicBool,
    acked: Mutex<BTreeMap<(usize, i64), String>>,
}

impl Load {
    fn new(round: usize) -> Self {
        Self {
            round,
            count: AtomicUsize::new(0),
            full: false.into(),
            stop: false.into(),
            acked: Mutex::default(),
        }
    }

    fn produce(&self, addr: &str, queue: usize) {
        let mut conn = Conn::connect(addr);
        for index in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            if !self.full.load(Ordering::SeqCst) {
                std::thread::sleep(PACE);
            }
            let filler = "x".repeat(index * 31 % 1_500);
            let body = format!("{}-{queue}-{index}-{filler}", self.round);
            let request = ops::send_request(TOPIC, queue as i32, "", body.as_bytes());
            let Ok(answer) = conn.try_call(request) else { break };
            match answer.code {
                response::SUCCESS => {
                    let place = (queue, answer.number("queueOffset"));
                    self.acked.lock().unwrap().insert(place, body);
                    self.count.fetch_add(1, Ordering::SeqCst);
                }
                response::SYSTEM_BUSY => {}
                _ => panic!("{answer:?}"),
            }
        }
    }

    /// Pulls and commits; answers the newest offset of each queue whose commit was answered or at
    /// least sent.
    fn consume(&self, addr: &str) -> BTreeMap<usize, i64> {
        let mut conn = Conn::connect(addr);
        ops::heartbeat(&mut conn, "crash-consumer", GROUP, TOPIC);
        let mut committed = BTreeMap::new();
        let mut next: BTreeMap<usize, i64> = (0..QUEUES)
            .map(|queue| {
                let offset = ops::committed_offset(&mut conn, GROUP, TOPIC, queue as i32);
                (queue, offset.unwrap_or(0))
            })
            .collect();
        while !self.stop.load(Ordering::SeqCst) {
            for (&queue, next) in &mut next {
                let pull = ops::pull_request(GROUP, TOPIC, queue as i32, *next);
                let Ok(answer) = conn.try_call(pull) else { return committed };
                if answer.code != response::SUCCESS {
                    continue;
                }
                *next = answer.number("nextBeginOffset");
                committed.insert(queue, *next);
                let commit = ops::commit_request(GROUP, TOPIC, queue as i32, *next);
                if conn.try_call(commit).is_err() {
                    return committed;
                }
            }
        }
        committed
    }
}

/// Ends the load when an assertion fails, else the scope would wait for it for ever.
struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// The group's offsets as the file in the store has them.
fn persisted_offsets(server: &ServerUnderTest) -> BTreeMap<usize, i64> {
    let offsets = offsets_file::persisted_offsets(server.store_dir(), TOPIC, GROUP);
    offsets.into_iter().map(|(queue, offset)| (queue as usize, offset)).collect()
}
