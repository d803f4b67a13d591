//! The ways in which a broker finds its name servers.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use oxmq_compat_tests::address_server::AddressServer;
use oxmq_compat_tests::{ServerUnderTest, ops, wait};

/// The reference looks at the list every 10 s at first, and registers at most as much later.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn broker_asks_the_address_server_and_follows_what_it_says() {
    let addresses = AddressServer::start();
    let other = ServerUnderTest::setup().without_broker().start();
    let server = ServerUnderTest::setup()
        .address_server(&addresses)
        .broker_conf("registerNameServerPeriod", "10000")
        .start();
    ops::create_topic(&server, "found", 1);
    addresses.set(&format!("{};{}", server.namesrv_addr(), other.namesrv_addr()));
    wait::until("a route at the second name server", LIMIT, || {
        ops::route(&other.namesrv_addr(), "found")
    });
    // What is no list leaves the broker where it was.
    addresses.set("<html>none</html>");
    ops::create_topic(&server, "found_after", 1);
    wait::until("a route to a later topic", LIMIT, || {
        ops::route(&other.namesrv_addr(), "found_after")
    });
}
