//! A server that may have few files open.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// A name server that is killed when a test ends early.
struct Server {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts it under what `ulimit` is told.
    fn start(limit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("namesrv.conf");
        let kept = folder.path().join("kvConfig.json");
        let settings =
            format!("bindAddress=127.0.0.1\nlistenPort=0\nkvConfigPath={}", kept.display());
        std::fs::write(&config, settings).unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit {limit}; exec \"$0\" namesrv -c \"$1\""));
        command.arg(env!("CARGO_BIN_EXE_oxmq")).arg(config).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
        let address = |line: std::io::Result<String>| {
            Some(line.unwrap().split_once("address")?.1[1..].split(' ').next()?.to_owned())
        };
        let address = { lines }.find_map(address).unwrap();
        Self { process, address, _folder: folder }
    }

    /// Soft and hard limit of open files.
    fn limits(&self) -> (u64, u64) {
        let path = format!("/proc/{}/limits", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut words = line.split_ascii_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
        (words.next().unwrap(), words.next().unwrap())
    }

    /// A connection, if it is served, or nothing if it is closed.
    fn ask(&self) -> Option<TcpStream> {
        let mut client = TcpStream::connect(&self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let header = br#"{"code":319,"opaque":1}"#;
        let lengths = [header.len() as u32 + 4, header.len() as u32].map(u32::to_be_bytes);
        client.write_all(&[lengths.as_flattened(), header].concat()).ok()?;
        match client.read_exact(&mut [0; 4]) {
            Ok(()) => Some(client),
            // Neither served nor refused.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("{error}"),
            Err(_) => None,
        }
    }
}

#[test]
fn server_takes_as_many_files_as_it_may_have() {
    let (soft, hard) = Server::start("-S -n 64").limits();
    assert_eq!(soft, hard);
}

#[test]
fn connections_leave_descriptors_to_files_and_those_beyond_are_refused() {
    let server = Server::start("-n 64");
    let mut served = Vec::new();
    let began = Instant::now();
    while let Some(client) = server.ask() {
        served.push(client);
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.process.id())).unwrap().count();
    // The one that was refused last may not be closed yet.
    assert!((16..=52).contains(&open), "{open} with {} connections", served.len());
    drop(served);
    // The server hears of it.
    while server.ask().is_none() {
        assert!(began.elapsed() < DEADLINE);
    }
}
