//! A server that may have few files open.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Instant;

use common::{DEADLINE, Server};

#[test]
fn server_takes_as_many_files_as_it_may_have() {
    let limits = Server::start("ulimit -S -n 64;").shown("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    assert_eq!(words[0], words[1]);
}

#[test]
fn connections_leave_descriptors_to_files_and_those_beyond_are_refused() {
    let server = Server::start("ulimit -n 64;");
    let mut served = Vec::new();
    let began = Instant::now();
    while let Some(client) = server.ask() {
        served.push(client);
    }
    let open = server.open_files();
    // The one that was refused last may not be closed yet.
    assert!((16..=52).contains(&open), "{open} with {} connections", served.len());
    drop(served);
    // The server hears of it.
    while server.ask().is_none() {
        assert!(began.elapsed() < DEADLINE);
    }
}
