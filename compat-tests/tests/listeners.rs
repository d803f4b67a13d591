//! One broker that clients of two networks reach by two addresses.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use oxmq_compat_tests::proxy::Recording;
use oxmq_compat_tests::server::Kind;
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, ops, ports};

const SEND_MESSAGE_V2: i32 = 310;
const PULL_MESSAGE: i32 = 11;
const COUNT: usize = 20;

/// The proxy stands where the broker is reached from outside.
#[test]
fn clients_from_outside_use_the_address_advertised_for_them() {
    let (outside, outside_namesrv) = (ports::free_port(), ports::free_port());
    let advertised = format!("external://127.0.0.1:{outside}");
    // The reference has no such setting, so there is nothing to compare with.
    let server = ServerUnderTest::setup()
        .kind(Kind::Ours)
        .broker_conf("advertisedListeners", &advertised)
        .namesrv_conf("listeners", &format!("external:{outside_namesrv}"))
        .start();
    let recording = Recording::default();
    let listen = format!("127.0.0.1:{outside}");
    let _proxy = recording.proxy(&listen, "client", "broker", &server.broker_addr()).unwrap();
    ops::create_topic(&server, "listened", 2);

    let mut inside = Client::start(ClientKind::Java550, &server);
    inside.consume("inside", "listened", "inside_group");
    assert_eq!(inside.send("sync", "listened", "inside", COUNT).len(), COUNT);
    assert_eq!(inside.await_received("inside", COUNT).len(), COUNT);
    assert!(recording.take().is_empty(), "a client inside went around by the outside");

    let namesrv = format!("127.0.0.1:{outside_namesrv}");
    let mut client = Client::start_at(ClientKind::Java498, &namesrv);
    client.consume("outside", "listened", "outside_group");
    assert_eq!(client.send("sync", "listened", "outside", COUNT).len(), COUNT);
    assert_eq!(client.await_received("outside", 2 * COUNT).len(), 2 * COUNT);
    let frames = recording.take();
    let requests = |code| frames.iter().filter(|f| f.answers.is_none() && f.code == code).count();
    assert_eq!(requests(SEND_MESSAGE_V2), COUNT);
    assert!(requests(PULL_MESSAGE) > 0);
}

/// Whoever has a Java name server beside ours loses nothing by the setting.
#[test]
fn name_server_of_the_reference_passes_over_advertised_addresses() {
    let server = ServerUnderTest::setup()
        .kind(Kind::Ours)
        .namesrv_kind(Kind::Reference)
        .broker_conf("advertisedListeners", "external://192.0.2.1:10911")
        .start();
    ops::create_topic(&server, "passed_over", 1);
    let route = ops::wait_for_route(&server, "passed_over");
    let addr = route["brokerDatas"][0]["brokerAddrs"]["0"].as_str();
    assert_eq!(addr, Some(server.broker_addr().as_str()));
}
