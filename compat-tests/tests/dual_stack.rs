//! Servers that listen on all addresses of both families, and a broker known by its IPv6 address.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;

use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, ops};

const COUNT: usize = 20;

#[test]
fn clients_reach_name_server_and_broker_by_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let server = ServerUnderTest::setup()
        .namesrv_conf("bindAddress", "::")
        .broker_ip("[::1]")
        .broker_conf("bindAddress", "::")
        .start();
    let namesrv_addr = server.namesrv_addr();
    let (_, namesrv_port) = namesrv_addr.rsplit_once(':').unwrap();
    for (kind, name) in [(ClientKind::Java550, "v6_550"), (ClientKind::Java498, "v6_498")] {
        // The broker has the one address for whoever asks, by either family.
        for (family, host) in [("by_v6", "[::1]"), ("by_v4", "127.0.0.1")] {
            let topic = format!("{name}_{family}");
            ops::create_topic(&server, &topic, 2);
            let mut client = Client::start_at(kind, &format!("{host}:{namesrv_port}"));
            client.consume("all", &topic, &format!("{topic}_group"));
            assert_eq!(client.send("sync", &topic, "m", COUNT).len(), COUNT);
            assert_eq!(client.await_received("all", COUNT).len(), COUNT);
        }
    }
}
