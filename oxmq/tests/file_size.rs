//! A server that may have no large files.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn broker_that_may_not_make_its_files_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("broker.conf");
    let root = folder.path().join("store");
    let settings =
        format!("bindAddress=127.0.0.1\nlistenPort=0\nstorePathRootDir={}\n", root.display());
    std::fs::write(&config, settings).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -f 4; exec \"$0\" broker -c \"$1\"");
    let output = command.arg(env!("CARGO_BIN_EXE_oxmq")).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{said}");
    assert!(said.contains("File too large"), "{said}");
}
