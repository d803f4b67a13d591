//! A server whose output goes to a disk that is full.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// A name server that is killed when a test ends early.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(change: impl FnOnce(&mut Command)) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("namesrv.conf");
    let kept = folder.path().join("kvConfig.json");
    let settings = format!("bindAddress=127.0.0.1\nlistenPort=0\nkvConfigPath={}", kept.display());
    std::fs::write(&config, settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxmq"));
    command.arg("namesrv").arg("-c").arg(config);
    change(&mut command);
    (folder, Server(command.spawn().unwrap()))
}

/// The address in the line that says where the server listens.
fn address(output: impl Read) -> String {
    let lines = BufReader::new(output).lines().map(Result::unwrap);
    let address =
        |line: String| Some(line.split_once("address")?.1[1..].split(' ').next()?.to_owned());
    lines.filter_map(address).next().unwrap()
}

/// Has the server log something, asks it something, and stops it.
fn use_and_stop(mut server: Server, address: &str) {
    for _ in 0..4 {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.set_read_timeout(Some(DEADLINE)).unwrap();
        stranger.write_all(b"SSH-2.0").unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap_or_default(), 0);
    }
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let header = br#"{"code":319,"opaque":1}"#;
    let lengths = [header.len() as u32 + 4, header.len() as u32].map(u32::to_be_bytes);
    client.write_all(&[lengths.as_flattened(), header].concat()).unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn server_whose_log_cannot_be_written_starts_serves_and_stops() {
    let (_folder, mut server) = start(|command| {
        command.stdout(Stdio::piped()).stderr(full());
    });
    let address = address(server.0.stdout.take().unwrap());
    use_and_stop(server, &address);
}

#[test]
fn server_whose_boot_line_cannot_be_written_starts_serves_and_stops() {
    let (_folder, mut server) = start(|command| {
        command.env("RUST_LOG", "info").stdout(full()).stderr(Stdio::piped());
    });
    let address = address(server.0.stderr.take().unwrap());
    use_and_stop(server, &address);
}
