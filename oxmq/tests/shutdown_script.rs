//! `scripts/mqshutdown`: stops the servers of one kind and no others.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::Server;

/// What the script prints, and its exit code.
fn shut_down(binary: &Path, what: &[&str]) -> (String, Option<i32>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/mqshutdown");
    let output = Command::new(script).args(what).env("OXMQ_BIN", binary).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn servers_of_the_kind_that_is_named_are_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().canonicalize().unwrap().join("oxmq");
    // Not those of other tests, which run the one that was built.
    std::fs::copy(env!("CARGO_BIN_EXE_oxmq"), &binary).unwrap();
    let started = format!("exec '{}' namesrv -c \"$1\";", binary.display());
    let mut server = Server::start_with(&started, |command| {
        command.stdout(Stdio::piped());
    });
    let nobody = ("No mqbroker running.\n".to_owned(), Some(255));
    assert_eq!(shut_down(&binary, &["broker"]), nobody);
    assert_eq!(shut_down(&binary, &[]).1, Some(1));
    let (text, code) = shut_down(&binary, &["namesrv"]);
    assert!(text.contains("Send shutdown request to mqnamesrv("), "{text}");
    assert_eq!((code, server.wait()), (Some(0), Some(0)));
}
