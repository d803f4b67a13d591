//! What was acknowledged survives `kill -9` under load of every kind.
//!
//! The seed that a run prints makes the next one send the same and kill after as many
//! acknowledgements: `scripts/crash-rounds` takes it, and a number of rounds.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod later;
mod load;
mod offsets;
mod random;
mod sends;
mod topics;
mod transactions;

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use oxmq_compat_tests::ops::now_ms;
use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, ServerUnderTest, Setup, artifacts, ops, wait};

use later::{Form, Later};
use load::{Load, Round, StopOnDrop, Work};
use offsets::Offsets;
use random::Random;
use sends::Sends;
use topics::Topics;
use transactions::Transactions;

/// Rounds of load, kill, restart and check, unless `OXMQ_CRASH_ROUNDS` says otherwise. The reference
/// takes seconds for each start, and what is shown with it is only that the test is right.
const ROUNDS_OURS: usize = 5;
const ROUNDS_REFERENCE: usize = 2;
const ROUNDS_VARIABLE: &str = "OXMQ_CRASH_ROUNDS";
const SEED_VARIABLE: &str = "OXMQ_CRASH_SEED";
const TOPIC: &str = "crash";
const GROUP: &str = "crash_group";
/// One producer connection for each queue, so that the order of acknowledgements is known.
const QUEUES: i32 = 6;
/// The last queues take batches.
const BATCH_QUEUES: i32 = 2;
/// The least that a round acknowledges at full load before the kill, and how much more it may be.
const ACKED_PER_ROUND: usize = 300;
const MORE_ACKED: u64 = 2_000;
/// Of so many rounds, one kills the broker in its next start, too.
const KILL_IN_START: u64 = 4;
/// Longer than the start of a small store takes.
const START_MS: u64 = 200;
const ROUND_LIMIT: Duration = Duration::from_secs(60);

/// Every kind of file is filled, and followed by another one, in the course of some rounds.
const SETTINGS: [(&str, &str); 8] = [
    ("mappedFileSizeCommitLog", "6291456"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "10000"),
    ("maxIndexNum", "5000"),
    // Its default is 5 s.
    ("flushConsumerOffsetInterval", "100"),
    // Half messages wait for their producer as long as the test runs.
    ("transactionTimeOut", "3600000"),
    ("transactionCheckInterval", "3600000"),
    ("transactionOpBatchInterval", "300"),
];

#[test]
fn acknowledged_work_survives_kill_9_under_load() {
    let seed = number_of(SEED_VARIABLE).unwrap_or_else(|| now_ms().cast_unsigned());
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let setup = SETTINGS
        .iter()
        .fold(ServerUnderTest::setup(), |setup: Setup, (key, value)| setup.broker_conf(key, value));
    let mut server = setup.start();
    let rounds = match (number_of(ROUNDS_VARIABLE), server.kind()) {
        (Some(rounds), _) => rounds as usize,
        (None, Kind::Ours) => ROUNDS_OURS,
        (None, Kind::Reference | Kind::Older(_)) => ROUNDS_REFERENCE,
    };
    let works = works(&server);
    let mut acked = 0;
    for number in 0..rounds {
        let began = Instant::now();
        let seed = random.next();
        let enough = ACKED_PER_ROUND + random.below(MORE_ACKED) as usize;
        let load = Load::new(server.broker_addr(), number, seed);
        work_until_killed(&mut server, &works, &load, enough);
        acked += load.count.load(Ordering::SeqCst);
        let persisted = offsets::persisted(&server);
        let round = Round { number, is_last: number + 1 == rounds, seed, persisted };
        let mut check = store_check(&server);
        assert!(check.0 <= 1, "round {number}: store check after the kill: {}", check.1);
        if server.kind() == Kind::Ours && random.below(KILL_IN_START) == 0 {
            server.kill9_in_start(Duration::from_millis(random.below(START_MS)));
            check = store_check(&server);
            assert!(check.0 <= 1, "round {number}: store check after two kills: {}", check.1);
        }
        // What was acknowledged in one way has to be there in the other one, too.
        let flush = if random.below(2) == 0 { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        server.configure("flushDiskType", flush);
        server.restart();
        for work in &works {
            work.check(&server, &mut Conn::connect(&server.broker_addr()), &round);
        }
        println!(
            "round {number}: {acked} acknowledged so far, {:.1?}, then {flush}",
            began.elapsed()
        );
    }
    server.stop();
    let check = store_check(&server);
    assert_eq!(check.0, 0, "store check after a clean stop: {}", check.1);
    println!("{rounds} rounds with seed {seed}, {acked} acknowledged");
}

/// Makes the topics, and what is done with them.
fn works(server: &ServerUnderTest) -> Vec<Box<dyn Work>> {
    ops::create_topic(server, TOPIC, QUEUES.cast_unsigned());
    let mut works: Vec<Box<dyn Work>> = Vec::new();
    for queue in 0..QUEUES {
        works.push(Box::new(Sends::new(queue, queue >= QUEUES - BATCH_QUEUES)));
    }
    works.push(Box::new(Offsets::default()));
    works.push(Box::new(Transactions::new(server)));
    works.push(Box::new(Later::new(server, Form::Time)));
    works.push(Box::new(Later::new(server, Form::Level)));
    works.push(Box::new(Topics::default()));
    works
}

/// Kills the broker when `enough` was acknowledged at full load.
fn work_until_killed(
    server: &mut ServerUnderTest,
    works: &[Box<dyn Work>],
    load: &Load,
    enough: usize,
) {
    let before = offsets::persisted(server);
    std::thread::scope(|scope| {
        for (number, work) in works.iter().enumerate() {
            scope.spawn(move || work.run(load, load.random(number)));
        }
        let _stop = StopOnDrop(load);
        // The reference writes offsets for the first time 10 s after its start.
        wait::until("newer offsets on disk", ROUND_LIMIT, || {
            let now = offsets::persisted(server);
            (0..QUEUES).all(|queue| now.get(&queue) > before.get(&queue)).then_some(())
        });
        load.full.store(true, Ordering::SeqCst);
        let enough = load.count.load(Ordering::SeqCst) + enough;
        wait::until("enough acknowledgements", ROUND_LIMIT, || {
            (load.count.load(Ordering::SeqCst) >= enough).then_some(())
        });
        server.kill9();
    });
}

/// The exit code of `oxmq store check` on the broker's files at rest, and what it says.
fn store_check(server: &ServerUnderTest) -> (i32, String) {
    let mut command = Command::new(artifacts::oxmq());
    let output = command.args(["store", "check"]).arg(server.store_dir()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(i32::MAX), String::from_utf8_lossy(&text).into_owned())
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is not a number")))
}
