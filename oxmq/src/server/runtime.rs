//! What every server subcommand shares: the runtime, the log and the way to stop.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::log;

/// Runs `server` on a multi-threaded runtime; its error ends the process with `code`.
pub(crate) fn run(server: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    // The allocator asks for huge pages, of which each thread would fill a small part: 20 MiB in all.
    // Where the kernel does not know the switch, memory is all that it costs.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    crate::open_files::allow_many();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(log::fields())
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // A line that cannot be written, as the disk is full or the reader has gone, is lost. Saying so in
        // the same place would be a panic of whichever thread had something to log.
        .log_internal_errors(false)
        .map_event_format(log::Limited::new)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // A file that may not become larger is an error of whoever writes it, and no reason to end without a word.
    let _entered = runtime.enter();
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    match runtime.block_on(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// Says on standard output what scripts look for. A server does not end because nobody takes it.
pub(crate) fn say(what: impl Display) {
    let _ = writeln!(io::stdout(), "{what}");
}

/// Says why the process ends; the exit code says it too.
fn complain(why: impl Display) {
    let _ = writeln!(io::stderr(), "oxmq: {why}");
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

/// Takes Ctrl-C, SIGTERM and SIGHUP from now on; what is returned waits for one of them. As with the
/// reference's servers, a SIGHUP that is ignored, as under `nohup`, stays so.
///
/// To be called before the boot line is printed: whoever has read that may ask the server to stop.
pub(crate) fn stop_requested() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::start)?;
    let hang_up = (!ignores_hang_up()).then(|| signal(SignalKind::hangup())).transpose();
    let mut hang_up = hang_up.map_err(Failure::start)?;
    Ok(async move {
        let hung_up = async {
            match &mut hang_up {
                Some(hang_up) => drop(hang_up.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up => {}
        }
    })
}

/// Whether SIGHUP, of which the lowest bit tells, was ignored when the process began.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & 1 == 1)
}
