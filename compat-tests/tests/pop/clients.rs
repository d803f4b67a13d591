//! The official push consumer in pop mode.

use std::collections::BTreeSet;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, wait};

use crate::{Books, server};

with_all_books! {
    a_java_5_5_0_push_consumer_in_pop_mode_consumes_and_acknowledges,
}

const COUNT: usize = 60;
const LIMIT: Duration = Duration::from_secs(90);

fn a_java_5_5_0_push_consumer_in_pop_mode_consumes_and_acknowledges(books: Books) {
    pop_with(ClientKind::Java550, "java550", books);
}

fn pop_with(kind: ClientKind, name: &str, books: Books) {
    let server = server(books);
    let topic = format!("pop_client_{name}");
    let group = format!("pop_client_group_{name}");
    ops::create_topic(server, &topic, 4);
    set_pop_mode(server, &topic, &group);
    let mut client = Client::start(kind, server);
    client.send("sync", &topic, "before", COUNT);
    let args = [
        ("id", "c"),
        ("topic", topic.as_str()),
        ("group", group.as_str()),
        ("pop", "true"),
        ("failsOnce", "after:7:"),
    ];
    client.run("consume", &args);
    client.await_received("c", COUNT);
    client.send("sync", &topic, "after", COUNT);
    // One of them a second time.
    let received = client.await_received("c", 2 * COUNT + 1);
    let bodies: BTreeSet<&str> = received.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies.len(), 2 * COUNT, "nothing is lost");
    let failed: Vec<i64> = received
        .iter()
        .filter(|message| message.body.starts_with("after:7:"))
        .map(|message| message.reconsume_times)
        .collect();
    assert_eq!(failed, [0, 1]);
    // Popped, so each queue is committed to its end by the broker itself.
    let mut conn = Conn::connect(&server.broker_addr());
    wait::until("committed offsets", LIMIT, || {
        let committed: i64 = (0..4)
            .filter_map(|queue_id| ops::committed_offset(&mut conn, &group, &topic, queue_id))
            .sum();
        (committed == 2 * COUNT as i64).then_some(())
    });
    client.stop_consumer("c");
    assert_eq!(client.received("c").len(), 2 * COUNT + 1, "nothing is repeated");
}

/// What `mqadmin setConsumeMode` asks for. The group has to exist.
fn set_pop_mode(server: &ServerUnderTest, topic: &str, group: &str) {
    let mut conn = Conn::connect(&server.broker_addr());
    ops::heartbeat(&mut conn, "pop_mode_setter", group, topic);
    let body = format!(
        r#"{{"consumerGroup":"{group}","mode":"POP","popShareQueueNum":0,"topic":"{topic}"}}"#
    );
    let request = Command::request(code::SET_MESSAGE_REQUEST_MODE, &[]).with_body(body);
    let answer = conn.call(request);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}
