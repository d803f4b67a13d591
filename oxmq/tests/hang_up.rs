//! A server whose terminal goes away.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Server;

#[test]
fn server_whose_terminal_goes_away_stops_in_order() {
    let mut server = Server::start("");
    server.send("-HUP");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn server_under_nohup_outlives_its_terminal() {
    let mut server = Server::start("trap '' HUP;");
    server.send("-HUP");
    let status = server.shown("status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 1, 1);
    server.send("-TERM");
    assert_eq!(server.wait(), Some(0));
}
