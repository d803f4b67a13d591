//! A broker of the kind under test with a name server of the other kind, or with one of each.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use oxmq_compat_tests::server::Kind;
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, ops, wait};

const COUNT: usize = 40;
/// A broker that ends says so; one that says nothing is missed after two minutes.
const GONE_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn clients_find_the_broker_through_the_other_kind_of_name_server() {
    let other = Kind::under_test().other();
    let mut server = ServerUnderTest::setup().namesrv_kind(other).start();
    for (kind, topic) in [
        (ClientKind::Java550, "paired_550"),
        (ClientKind::Java498, "paired_498"),
        (ClientKind::Go, "paired_go"),
    ] {
        ops::create_topic(&server, topic, 2);
        let mut client = Client::start(kind, &server);
        client.consume("all", topic, &format!("{topic}_group"));
        assert_eq!(client.send("sync", topic, "m", COUNT).len(), COUNT);
        assert_eq!(client.await_received("all", COUNT).len(), COUNT);
    }
    server.stop();
    wait::until("no route to a stopped broker", GONE_LIMIT, || {
        ops::route(&server.namesrv_addr(), "paired_550").is_none().then_some(())
    });
}

#[test]
fn broker_registers_with_a_name_server_of_each_kind() {
    let under_test = Kind::under_test();
    let other = ServerUnderTest::setup().kind(under_test.other()).without_broker().start();
    let server = ServerUnderTest::setup().also_register_at(other.namesrv_addr()).start();
    ops::create_topic(&server, "registered_twice", 3);
    let route = ops::wait_for_route(&server, "registered_twice");
    let there = wait::until("a route at the other name server", GONE_LIMIT, || {
        ops::route(&other.namesrv_addr(), "registered_twice")
    });
    assert_eq!(route, there);
}
