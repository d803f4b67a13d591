//! How long queues are without an owner: printed with `--nocapture`, and worth something on a quiet
//! machine with `--test-threads 1`. That members are told at once is held by the other tests here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, ops, wait};

use crate::{DELIVERY_LIMIT, Names, QUEUES, shared};

const ROUNDS: usize = 3;
/// A lock of the reference outlives its owner by a minute, and a client that was refused one asks
/// again after 20 s.
const SHARE_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    Killed,
}

#[test]
fn queues_of_a_consumer_that_ends_have_a_new_owner() {
    let server = ServerUnderTest::shared();
    let names = Names { topic: "rebalance_times", group: "rebalance_times_group" };
    ops::create_topic(server, names.topic, QUEUES);
    let mut stays = Client::start(ClientKind::Java550, server);
    stays.consume("stays", names.topic, names.group);
    for how in [End::Stopped, End::Killed] {
        for _ in 0..ROUNDS {
            let mut ends = Client::start(ClientKind::Java550, server);
            ends.consume("ends", names.topic, names.group);
            wait::until("both consumers share the queues", DELIVERY_LIMIT, || {
                shared(&[stays.assigned("stays"), ends.assigned("ends")])
            });
            let began = Instant::now();
            end(ends, how);
            let ended = began.elapsed();
            wait::until("the queues of who ended", DELIVERY_LIMIT, || {
                shared(&[stays.assigned("stays")])
            });
            let took = began.elapsed();
            println!("{:?}: {how:?} in {ended:?}, no queue left over in {took:?}", server.kind());
        }
    }
}

#[test]
fn java_5_5_0_consumes_queues_in_order_again_after_their_owner_stopped() {
    orderly_queues_go_on(ClientKind::Java550, "java550_stopped", End::Stopped);
}

#[test]
fn java_5_5_0_consumes_queues_in_order_again_after_their_owner_was_killed() {
    orderly_queues_go_on(ClientKind::Java550, "java550_killed", End::Killed);
}

#[test]
fn java_4_9_8_consumes_queues_in_order_again_after_their_owner_was_killed() {
    orderly_queues_go_on(ClientKind::Java498, "java498_killed", End::Killed);
}

fn orderly_queues_go_on(client: ClientKind, name: &str, how: End) {
    let server = ServerUnderTest::shared();
    let names = Names { topic: &format!("orderly_{name}"), group: &format!("orderly_g_{name}") };
    ops::create_topic(server, names.topic, QUEUES);
    let [mut stays, mut ends] = [(); 2].map(|()| Client::start(client, server));
    consume_orderly(&mut stays, "stays", names);
    consume_orderly(&mut ends, "ends", names);
    wait::until("both consumers share the queues", SHARE_LIMIT, || {
        shared(&[stays.assigned("stays"), ends.assigned("ends")])
    });
    // Who consumes a queue has locked it.
    send_to_each_queue(server, names.topic, "before");
    wait::until("all queues to be consumed", DELIVERY_LIMIT, || {
        let mut queues = taken(&mut stays, "stays", "before");
        queues.extend(taken(&mut ends, "ends", "before"));
        (queues.len() == QUEUES as usize).then_some(())
    });
    let began = Instant::now();
    end(ends, how);
    let ended = began.elapsed();
    send_to_each_queue(server, names.topic, "after");
    wait::until("all queues to be consumed by who is left", SHARE_LIMIT, || {
        (taken(&mut stays, "stays", "after").len() == QUEUES as usize).then_some(())
    });
    let took = began.elapsed();
    let server = server.kind();
    println!("{server:?}: {client:?} {how:?} in {ended:?}, all queues in order go on in {took:?}");
}

fn end(mut consumer: Client, how: End) {
    match how {
        End::Stopped => consumer.stop_consumer("ends"),
        End::Killed => consumer.kill9(),
    }
}

fn consume_orderly(client: &mut Client, id: &str, names: Names<'_>) {
    let args = [("id", id), ("topic", names.topic), ("group", names.group), ("orderly", "true")];
    client.run("consume", &args);
}

fn send_to_each_queue(server: &ServerUnderTest, topic: &str, text: &str) {
    let mut conn = Conn::connect(&server.broker_addr());
    for queue in 0..QUEUES as i32 {
        ops::send(&mut conn, topic, queue, "", text.as_bytes());
    }
}

/// The queues of which the consumer was given the message with this text.
fn taken(client: &mut Client, id: &str, text: &str) -> BTreeSet<i64> {
    let received = client.received(id);
    received.iter().filter(|message| message.body == text).map(|m| m.queue_id).collect()
}
