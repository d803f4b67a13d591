//! Consumers of one group share the queues, whoever joins, leaves or dies.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

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
    let topic = "rebalance_killed";
    let group = "rebalance_killed_group";
    ops::create_topic(server, topic, QUEUES);
    let mut stays = Client::start(ClientKind::Java550, server);
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut dies = Client::start(ClientKind::Java550, server);
    let load = Load::new();
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(server, topic));
        let _stop = StopOnDrop(&load);
        stays.consume("a", topic, group);
        dies.consume_with_journal("c", topic, group, &journal);
        wait::until("both consumers share the queues", NOTIFIED_LIMIT, || {
            shared(&[stays.assigned("a"), dies.assigned("c")])
        });
        dies.await_received("c", FLOWING);
        load.step();
        let lost = dies.assigned("c").len();
        dies.kill9();
        let mut received = Received::read_journal(&journal);
        wait::until("the queues of the killed consumer", NOTIFIED_LIMIT, || {
            shared(&[stays.assigned("a")])
        });
        load.step();
        let sent = load.finish();
        received.extend(wait_for_all(&mut [(&mut stays, "a")], &received, sent));
        assert_nothing_lost(&received, sent, lost * REPEATED_PER_MOVED_QUEUE);
    });
}

fn third_consumer_joins_and_leaves(kind: ClientKind, name: &str) {
    let server = ServerUnderTest::shared();
    let topic = format!("rebalance_{name}");
    let group = format!("rebalance_group_{name}");
    ops::create_topic(server, &topic, QUEUES);
    let mut pair = Client::start(kind, server);
    let mut third = Client::start(kind, server);
    let load = Load::new();
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(server, &topic));
        let _stop = StopOnDrop(&load);
        pair.consume("a", &topic, &group);
        pair.consume("b", &topic, &group);
        wait::until("two consumers share the queues", NOTIFIED_LIMIT, || {
            shared(&[pair.assigned("a"), pair.assigned("b")])
        });
        assert_eq!((pair.assigned("a").len(), pair.assigned("b").len()), (4, 4));
        load.step();

        third.consume("c", &topic, &group);
        wait::until("three consumers share the queues", NOTIFIED_LIMIT, || {
            shared(&[pair.assigned("a"), pair.assigned("b"), third.assigned("c")])
        });
        third.await_received("c", FLOWING);
        load.step();

        third.stop_consumer("c");
        wait::until("two consumers share the queues again", NOTIFIED_LIMIT, || {
            shared(&[pair.assigned("a"), pair.assigned("b")])
        });
        load.step();

        let sent = load.finish();
        let mut received = third.received("c");
        let rest = wait_for_all_of_pair(&mut pair, &received, sent);
        received.extend(rest);
        // Queues move when the second, then the third one joins, and when that one leaves.
        let moved = 3 * QUEUES as usize;
        assert_nothing_lost(&received, sent, moved * REPEATED_PER_MOVED_QUEUE);
    });
}

/// `Some` if every consumer has queues, no queue has two owners, and none is left over.
fn shared(assigned: &[Vec<i64>]) -> Option<()> {
    let all: Vec<i64> = assigned.iter().flatten().copied().collect();
    let distinct: BTreeSet<i64> = all.iter().copied().collect();
    let complete = distinct.len() == QUEUES as usize && all.len() == distinct.len();
    (complete && assigned.iter().all(|queues| !queues.is_empty())).then_some(())
}

fn wait_for_all_of_pair(pair: &mut Client, others: &[Received], sent: usize) -> Vec<Received> {
    wait::try_until(DELIVERY_LIMIT, || {
        let mut got = pair.received("a");
        got.extend(pair.received("b"));
        (distinct(others.iter().chain(&got)) == sent).then_some(got)
    })
    .unwrap_or_else(|| {
        let mut got = pair.received("a");
        got.extend(pair.received("b"));
        got
    })
}

fn wait_for_all(
    consumers: &mut [(&mut Client, &str)],
    others: &[Received],
    sent: usize,
) -> Vec<Received> {
    let mut got = Vec::new();
    wait::try_until(DELIVERY_LIMIT, || {
        got = consumers.iter_mut().flat_map(|(client, id)| client.received(id)).collect();
        (distinct(others.iter().chain(&got)) == sent).then_some(())
    });
    got
}

fn distinct<'a>(received: impl Iterator<Item = &'a Received>) -> usize {
    received.map(|message| &message.body).collect::<BTreeSet<_>>().len()
}

fn assert_nothing_lost(received: &[Received], sent: usize, may_repeat: usize) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for message in received {
        *times.entry(&message.body).or_default() += 1;
    }
    let lost: Vec<String> =
        (0..sent).map(body).filter(|body| !times.contains_key(body.as_str())).collect();
    assert!(lost.is_empty(), "lost {} of {sent}: {lost:?}", lost.len());
    let repeated = received.len() - sent;
    println!("{sent} sent, {repeated} repeated");
    assert!(repeated <= may_repeat, "{repeated} of {sent} repeated, {may_repeat} allowed");
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
