//! A line with a bar that says how far a subcommand is, on a terminal only.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The line is written this often at most.
const INTERVAL: Duration = Duration::from_millis(200);

/// Characters of the bar.
const BAR: u64 = 30;

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
        // Nobody is helped when a progress line cannot be written.
        drop(write!(stderr(), "\r{}", line(self.what, done, total)));
    }

    /// Removes the line.
    pub(super) fn end(&self) {
        if self.written.is_some() {
            drop(write!(stderr(), "\r\x1b[K"));
        }
    }
}

fn line(what: &str, done: u64, total: u64) -> String {
    let part = |of: u64| (done * of).checked_div(total).unwrap_or(of).min(of);
    let (filled, percent) = (part(BAR) as usize, part(100));
    let bar = "#".repeat(filled) + &".".repeat(BAR as usize - filled);
    format!("{what} [{bar}] {percent:3} % of the log ({} of {} MiB)", done >> 20, total >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_grows_with_what_is_done() {
        assert_eq!(
            line("checking", 3 << 20, 6 << 20),
            "checking [###############...............]  50 % of the log (3 of 6 MiB)"
        );
        assert!(line("checking", 1, 0).contains("100 %"));
    }
}
