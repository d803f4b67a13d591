//! A server whose output goes to a disk that is full.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use common::Server;

/// Has the server log something, asks it something, and stops it.
fn use_and_stop(mut server: Server) {
    for _ in 0..4 {
        let mut stranger = server.connect();
        stranger.write_all(b"SSH-2.0").unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap_or_default(), 0);
    }
    server.ask().unwrap();
    server.send("-TERM");
    assert_eq!(server.wait(), Some(0));
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn server_whose_log_cannot_be_written_starts_serves_and_stops() {
    use_and_stop(Server::start_with("", |command| {
        command.stdout(Stdio::piped()).stderr(full());
    }));
}

#[test]
fn server_whose_boot_line_cannot_be_written_starts_serves_and_stops() {
    use_and_stop(Server::start_with("", |command| {
        command.env("RUST_LOG", "info").stdout(full()).stderr(Stdio::piped());
    }));
}
