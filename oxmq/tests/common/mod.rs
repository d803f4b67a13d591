//! A name server in a process of its own, in surroundings that a test chooses.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// One that has said where it listens; killed when a test ends early.
pub(crate) struct Server {
    process: Child,
    address: String,
    /// Stays open, so that the server may say more.
    _output: BufReader<Box<dyn Read>>,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts it after `before`, of a shell that becomes the server.
    pub(crate) fn start(before: &str) -> Self {
        Self::start_with(before, |command| {
            command.stdout(Stdio::piped());
        })
    }

    /// The same with a changed command, of which the standard output or else the standard error has to be a pipe.
    pub(crate) fn start_with(before: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("namesrv.conf");
        let kept = folder.path().join("kvConfig.json");
        let settings =
            format!("bindAddress=127.0.0.1\nlistenPort=0\nkvConfigPath={}", kept.display());
        std::fs::write(&config, settings).unwrap();
        // Whatever the tests were started by.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", "sh", "-c"]);
        command.arg(format!("{before} exec \"$0\" namesrv -c \"$1\""));
        command.arg(env!("CARGO_BIN_EXE_oxmq")).arg(config);
        change(&mut command);
        let mut process = command.spawn().unwrap();
        let output: Box<dyn Read> = match process.stdout.take() {
            Some(output) => Box::new(output),
            None => Box::new(process.stderr.take().unwrap()),
        };
        let mut output = BufReader::new(output);
        let address = |line: String| {
            Some(line.split_once("address")?.1[1..].split([' ', '\n']).next()?.to_owned())
        };
        let lines = std::iter::from_fn(|| {
            let mut line = String::new();
            (output.read_line(&mut line).unwrap() > 0).then_some(line)
        });
        let address = { lines }.find_map(address).unwrap();
        Self { process, address, _output: output, _folder: folder }
    }

    /// What the system shows in a file about the process.
    pub(crate) fn shown(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }

    /// Descriptors that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    pub(crate) fn send(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The exit code, once it has ended.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(&self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// A connection, if it is served, or nothing if it is closed.
    pub(crate) fn ask(&self) -> Option<TcpStream> {
        let mut client = self.connect();
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
