//! A line that says how far a subcommand is, on a terminal only.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The line is written this often at most.
const INTERVAL: Duration = Duration::from_millis(200);

/// The line.
pub(super) struct ProgressLine {
    what: &'static str,
    is_terminal: bool,
    written: Option<Instant>,
}

impl ProgressLine {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_terminal: stderr().is_terminal(), written: None }
    }

    /// Says that `done` of `total` bytes are done; the line goes when all are.
    pub(super) fn tell(&mut self, done: u64, total: u64) {
        if done >= total {
            self.end();
            self.written = None;
            return;
        }
        let is_due = self.written.is_none_or(|written| written.elapsed() >= INTERVAL);
        if !self.is_terminal || !is_due {
            return;
        }
        self.written = Some(Instant::now());
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let (done, total) = (done >> 20, total >> 20);
        // Nobody is helped when a progress line cannot be written.
        drop(write!(stderr(), "\r{} {percent:3} % of the log ({done} of {total} MiB)", self.what));
    }

    /// Removes the line.
    pub(super) fn end(&self) {
        if self.written.is_some() {
            drop(write!(stderr(), "\r\x1b[K"));
        }
    }
}
