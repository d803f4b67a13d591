//! What every server subcommand shares: the runtime, the log and the way to stop.

use std::future::Future;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::log;

/// Runs `server` on a multi-threaded runtime; its error ends the process with `code`.
pub(crate) fn run(server: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    // The allocator asks for huge pages, of which each thread would fill a small part: 20 MiB in all.
    // Where the kernel does not know the switch, memory is all that it costs.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(log::fields())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .map_event_format(log::Limited::new)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("oxmq: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("oxmq: {}", failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// Why a server did not start or did not stop cleanly.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit_code: u8,
}

/// Exit codes of the reference's launchers, modulo 256.
pub(crate) mod exit_code {
    /// The start failed (-1).
    pub(crate) const START: u8 = 255;
    /// The settings are wrong (-3).
    pub(crate) const SETTINGS: u8 = 253;
}

impl Failure {
    /// A start that failed.
    pub(crate) fn start(error: impl ToString) -> Self {
        Self { message: error.to_string(), exit_code: exit_code::START }
    }

    /// Settings that cannot be used.
    pub(crate) fn settings(error: impl ToString) -> Self {
        Self { message: error.to_string(), exit_code: exit_code::SETTINGS }
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn stop_requested() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::start)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
