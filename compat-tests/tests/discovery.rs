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
    let server = asking(&addresses);
    ops::create_topic(&server, "found", 1);
    addresses.set(&format!("{};{}", server.namesrv_addr(), other.namesrv_addr()));
    wait::until("a route at the second name server", LIMIT, || {
        ops::route(&other.namesrv_addr(), "found")
    });
}

/// The reference takes a page of HTML for a list of one name server, and registers nowhere from then on.
#[test]
fn broker_stays_where_it_was_when_it_is_given_no_list() {
    let addresses = AddressServer::start();
    let server = asking(&addresses);
    addresses.set("<html>none</html>");
    let asked = addresses.asked();
    // The first that is counted from now on may still have been given the list.
    wait::until("two more questions", LIMIT, || (addresses.asked() >= asked + 2).then_some(()));
    ops::create_topic(&server, "found", 1);
}

fn asking(addresses: &AddressServer) -> ServerUnderTest {
    ServerUnderTest::setup()
        .address_server(addresses)
        .broker_conf("registerNameServerPeriod", "10000")
        .start()
}
