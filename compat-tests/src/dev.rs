//! `oxmq dev`: both servers in one process. The reference has nothing like it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::{artifacts, ports};

const BOOT_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running `oxmq dev` with its own folder and ports.
pub struct DevServer {
    process: Option<Process>,
    namesrv_port: u16,
    broker_port: u16,
    started: Instant,
    root: TempDir,
}

impl DevServer {
    /// Starts it; does not wait for anything.
    #[must_use]
    pub fn launch() -> Self {
        Self::launch_with(&[])
    }

    /// Starts it with more options.
    #[must_use]
    pub fn launch_with(options: &[&str]) -> Self {
        let root = tempfile::Builder::new().prefix("oxmq-compat-").tempdir().unwrap();
        let (namesrv_port, broker_port) = (ports::free_port(), ports::free_broker_port());
        let mut command = Command::new(artifacts::oxmq());
        command
            .arg("dev")
            .args(["--data".as_ref(), root.path().join("data").as_os_str()])
            .args(["--namesrv-port", &namesrv_port.to_string()])
            .args(["--broker-port", &broker_port.to_string()])
            .args(options)
            .env_remove("NAMESRV_ADDR")
            .env("HOME", root.path())
            .current_dir(root.path());
        let started = Instant::now();
        let process = Process::spawn("dev", &command, root.path(), &root.path().join("log"));
        Self { process: Some(process), namesrv_port, broker_port, started, root }
    }

    /// Waits until both servers said that they run; answers what was printed.
    pub fn wait_until_booted(&mut self) -> String {
        let process = self.process.as_mut().expect("it runs");
        process.wait_for_output("The broker[", BOOT_LIMIT);
        process.output()
    }

    /// When the process was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// `host:port` of the name server.
    #[must_use]
    pub fn namesrv_addr(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv_port)
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn broker_addr(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port)
    }

    /// Everything that was printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        self.process.as_ref().expect("it runs").output()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// The folder given as `--data`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The folder it was started in.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        self.root.path()
    }

    /// Stops it by SIGTERM; answers everything that it printed.
    pub fn stop(&mut self) -> String {
        let process = self.process.take().expect("it runs");
        let log = self.root.path().join("log");
        process.stop(STOP_LIMIT);
        std::fs::read_to_string(log).unwrap_or_default()
    }
}
