//! Consumers of one group share the queues, whoever joins, leaves or dies.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Client, ClientKind, Received, ServerUnderTest, ops, wait};

const QUEUES: u32 = 8;
/// Clients look by themselves every 20 s; whoever is told by the broker is quicker than that.
const NOTIFIED_LIMIT: Duration = Duration::from_secs(15);
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);
/// Sent while nobody moves, so that queues are seen to flow.
const STEP: usize = 200;
/// From so many messages on a consumer counts as at work.
const FLOWING: usize = 20;
/// Between two messages of the load: about 400 messages a second.
const PACE: Duration = Duration::from_millis(2);
/// A moved queue may repeat what its old owner had in hand: at this pace a message or two, as every
/// pull commits what was consumed before it. The reference repeats 0 or 1 in the whole test.
const REPEATED_PER_MOVED_QUEUE: usize = 4;

#[test]
fn a_java_5_5_0_group_loses_nothing_when_a_third_consumer_joins_and_leaves() {
    third_consumer_joins_and_leaves(ClientKind::Java550, "java550");
}

#[test]
fn a_java_4_9_8_group_loses_nothing_when_a_third_consumer_joins_and_leaves() {
    third_consumer_joins_and_leaves(ClientKind::Java498, "java498");
}

#[test]
fn a_group_loses_nothing_when_a_consumer_is_killed() {
    let server = ServerUnderTest::shared();
    let names = Names { topic: "rebalance_killed", group: "rebalance_killed_group" };
    ops::create_topic(server, names.topic, QUEUES);
    let mut stays = Client::start(ClientKind::Java550, server);
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut dies = Client::start(ClientKind::Java550, server);
    let load = Load::new();
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(server, names.topic));
        let _stop = StopOnDrop(&load);
        stays.consume("a", names.topic, names.group);
        stays.await_received("a", FLOWING);
        let joins = Mark::make(server, names, &mut [("a", &mut stays)]);
        dies.consume_with_journal("c", names.topic, names.group, &journal);
        wait::until("both consumers share the queues", NOTIFIED_LIMIT, || {
            shared(&[stays.assigned("a"), dies.assigned("c")])
        });
        dies.await_received("c", FLOWING);
        load.step();
        let killed = Mark::make(server, names, &mut [("a", &mut stays), ("c", &mut dies)]);
        dies.kill9();
        wait::until("the queues of the killed consumer", NOTIFIED_LIMIT, || {
            shared(&[stays.assigned("a")])
        });
        load.step();
        let sent = load.finish();
        let received = Received::read_journal(&journal);
        // Nobody could commit these for it.
        let is_in_hand =
            |m: &&Received| killed.committed.get(&m.queue_id).is_none_or(|c| m.queue_offset >= *c);
        let in_hand = received.iter().filter(is_in_hand).count();
        let received = wait_for_all(&mut [("a", &mut stays)], [("c", received)].into(), sent);
        let joined = QUEUES as usize * REPEATED_PER_MOVED_QUEUE;
        assert_nothing_lost(&received, sent, joined + in_hand);
        assert_nothing_committed_comes_again(&[joins, killed], &received);
    });
}

fn third_consumer_joins_and_leaves(kind: ClientKind, name: &str) {
    let server = ServerUnderTest::shared();
    let names =
        Names { topic: &format!("rebalance_{name}"), group: &format!("rebalance_group_{name}") };
    ops::create_topic(server, names.topic, QUEUES);
    let [mut first, mut second, mut third] = [(); 3].map(|()| Client::start(kind, server));
    let load = Load::new();
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(server, names.topic));
        let _stop = StopOnDrop(&load);
        first.consume("a", names.topic, names.group);
        first.await_received("a", FLOWING);
        let second_joins = Mark::make(server, names, &mut [("a", &mut first)]);
        second.consume("b", names.topic, names.group);
        wait::until("two consumers share the queues", NOTIFIED_LIMIT, || {
            shared(&[first.assigned("a"), second.assigned("b")])
        });
        assert_eq!((first.assigned("a").len(), second.assigned("b").len()), (4, 4));
        load.step();

        let third_joins = Mark::make(server, names, &mut [("a", &mut first), ("b", &mut second)]);
        third.consume("c", names.topic, names.group);
        wait::until("three consumers share the queues", NOTIFIED_LIMIT, || {
            shared(&[first.assigned("a"), second.assigned("b"), third.assigned("c")])
        });
        third.await_received("c", FLOWING);
        load.step();

        let mut all = [("a", &mut first), ("b", &mut second), ("c", &mut third)];
        let third_leaves = Mark::make(server, names, &mut all);
        third.stop_consumer("c");
        wait::until("two consumers share the queues again", NOTIFIED_LIMIT, || {
            shared(&[first.assigned("a"), second.assigned("b")])
        });
        load.step();

        let sent = load.finish();
        let received = [("c", third.received("c"))];
        let mut pair = [("a", &mut first), ("b", &mut second)];
        let received = wait_for_all(&mut pair, received.into(), sent);
        // Queues move when the second, then the third one joins, and when that one leaves.
        let moved = 3 * QUEUES as usize;
        assert_nothing_lost(&received, sent, moved * REPEATED_PER_MOVED_QUEUE);
        let marks = [second_joins, third_joins, third_leaves];
        assert_nothing_committed_comes_again(&marks, &received);
    });
}

/// What a group consumes.
#[derive(Clone, Copy)]
struct Names<'a> {
    topic: &'a str,
    group: &'a str,
}

/// Consumers by their names.
type Consumers<'a> = [(&'static str, &'a mut Client)];

/// What each consumer was given, in order.
type Given = BTreeMap<&'static str, Vec<Received>>;

/// What was committed at some moment, and how much each consumer had been given by then.
struct Mark {
    /// Queue and offset.
    committed: BTreeMap<i64, i64>,
    given: BTreeMap<&'static str, usize>,
}

impl Mark {
    /// Waits until all that the consumers have been given by now is committed.
    fn make(server: &ServerUnderTest, names: Names<'_>, consumers: &mut Consumers<'_>) -> Self {
        let mut next = BTreeMap::new();
        for message in consumers.iter_mut().flat_map(|(id, client)| client.received(id)) {
            let next = next.entry(message.queue_id).or_default();
            *next = (message.queue_offset + 1).max(*next);
        }
        let mut conn = Conn::connect(&server.broker_addr());
        let committed = wait::until("what was given to be committed", DELIVERY_LIMIT, || {
            let committed: BTreeMap<i64, i64> = (0..QUEUES as i32)
                .filter_map(|queue| {
                    let offset = ops::committed_offset(&mut conn, names.group, names.topic, queue);
                    Some((i64::from(queue), offset?))
                })
                .collect();
            next.iter().all(|(queue, next)| committed.get(queue) >= Some(next)).then_some(committed)
        });
        let given = consumers.iter_mut().map(|(id, client)| (*id, client.count(id) as usize));
        Self { committed, given: given.collect() }
    }
}

/// `Some` if every consumer has queues, no queue has two owners, and none is left over.
fn shared(assigned: &[Vec<i64>]) -> Option<()> {
    let all: Vec<i64> = assigned.iter().flatten().copied().collect();
    let distinct: BTreeSet<i64> = all.iter().copied().collect();
    let complete = distinct.len() == QUEUES as usize && all.len() == distinct.len();
    (complete && assigned.iter().all(|queues| !queues.is_empty())).then_some(())
}

/// Waits until every message has come to someone; answers what each was given.
fn wait_for_all(consumers: &mut Consumers<'_>, others: Given, sent: usize) -> Given {
    let mut given = others;
    wait::try_until(DELIVERY_LIMIT, || {
        given.extend(consumers.iter_mut().map(|(id, client)| (*id, client.received(id))));
        let distinct: BTreeSet<_> = given.values().flatten().map(|m| &m.body).collect();
        (distinct.len() == sent).then_some(())
    });
    given
}

fn assert_nothing_lost(given: &Given, sent: usize, may_repeat: usize) {
    let received: BTreeSet<&str> = given.values().flatten().map(|m| m.body.as_str()).collect();
    let lost: Vec<String> =
        (0..sent).map(body).filter(|body| !received.contains(body.as_str())).collect();
    assert!(lost.is_empty(), "lost {} of {sent}: {lost:?}", lost.len());
    let repeated = given.values().map(Vec::len).sum::<usize>() - sent;
    println!("{sent} sent, {repeated} repeated");
    assert!(repeated <= may_repeat, "{repeated} of {sent} repeated, {may_repeat} allowed");
}

/// A queue that moves goes on where its group had committed: only what its old owner had in hand comes
/// twice, in the reference too.
fn assert_nothing_committed_comes_again(marks: &[Mark], given: &Given) {
    for (at, mark) in marks.iter().enumerate() {
        for (id, messages) in given {
            let before = mark.given.get(id).copied().unwrap_or_default();
            let again = messages[before..].iter().find(|message| {
                let committed = mark.committed.get(&message.queue_id);
                committed.is_some_and(|committed| message.queue_offset < *committed)
            });
            assert_eq!(again, None, "to {id}, after move {at}: {:?}", mark.committed);
        }
    }
}

fn body(index: usize) -> String {
    format!("message-{index}")
}

/// A producer that sends until it is told to finish.
struct Load {
    sent: AtomicUsize,
    stop: AtomicBool,
    done: AtomicBool,
}

impl Load {
    fn new() -> Self {
        let (sent, stop, done) = (AtomicUsize::new(0), AtomicBool::new(false), false.into());
        Self { sent, stop, done }
    }

    fn run(&self, server: &ServerUnderTest, topic: &str) {
        let mut conn = Conn::connect(&server.broker_addr());
        for index in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let queue = (index % QUEUES as usize) as i32;
            ops::send(&mut conn, topic, queue, "", body(index).as_bytes());
            self.sent.store(index + 1, Ordering::SeqCst);
            std::thread::sleep(PACE);
        }
        self.done.store(true, Ordering::SeqCst);
    }

    /// Waits until more messages went out.
    fn step(&self) {
        let target = self.sent.load(Ordering::SeqCst) + STEP;
        wait::until("the load to go on", DELIVERY_LIMIT, || {
            (self.sent.load(Ordering::SeqCst) >= target).then_some(())
        });
    }

    /// Ends the load and answers how many messages it sent.
    fn finish(&self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        wait::until("the end of the load", DELIVERY_LIMIT, || {
            self.done.load(Ordering::SeqCst).then_some(())
        });
        self.sent.load(Ordering::SeqCst)
    }
}

/// Ends the load when an assertion fails, else the scope would wait for it for ever.
struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}
