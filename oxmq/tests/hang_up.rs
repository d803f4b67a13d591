//! A server whose terminal goes away.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A name server that has said where it listens; killed when a test ends early.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts it after `before`, of a shell that becomes the server.
    fn start(before: &str) -> (tempfile::TempDir, Self) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("namesrv.conf");
        let kept = folder.path().join("kvConfig.json");
        let settings =
            format!("bindAddress=127.0.0.1\nlistenPort=0\nkvConfigPath={}", kept.display());
        std::fs::write(&config, settings).unwrap();
        // Whatever the tests were started by.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=HUP", "sh", "-c"])
            .arg(format!("{before} exec \"$0\" namesrv -c \"$1\""));
        command.arg(env!("CARGO_BIN_EXE_oxmq")).arg(config).stdout(Stdio::piped());
        let mut server = Self(command.spawn().unwrap());
        let output = BufReader::new(server.0.stdout.as_mut().unwrap());
        assert!(output.lines().map(Result::unwrap).any(|line| line.contains("address")));
        (folder, server)
    }

    fn send(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

#[test]
fn server_whose_terminal_goes_away_stops_in_order() {
    let (_folder, mut server) = Server::start("");
    server.send("-HUP");
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn server_under_nohup_outlives_its_terminal() {
    let (_folder, mut server) = Server::start("trap '' HUP;");
    server.send("-HUP");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 1, 1);
    server.send("-TERM");
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}
