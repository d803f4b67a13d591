//! Clients under a random schedule of troubles: nothing that was acknowledged is lost, and nothing else is
//! wrong with what they saw.
//!
//! `scripts/soak` runs it for longer, and with a seed of one's choice.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxmq_compat_tests::Kind;
use oxmq_compat_tests::history::{Plan, run};

/// How long there is trouble, unless `HISTORY_SECONDS` says otherwise. A start of the reference takes
/// seconds, and what is shown with it is only that the rules are right.
const SECONDS_OURS: u64 = 120;
const SECONDS_REFERENCE: u64 = 60;

/// Problems that are shown; one fault leads to many.
const SHOWN: usize = 20;

#[test]
fn no_trouble_loses_repeats_or_reorders_what_was_acknowledged() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let seconds = match Kind::under_test() {
        Kind::Ours => SECONDS_OURS,
        Kind::Reference | Kind::Older(_) => SECONDS_REFERENCE,
    };
    let seconds = setting("HISTORY_SECONDS").unwrap_or(seconds);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = setting("HISTORY_SEED").unwrap_or_else(now);
    eprintln!("HISTORY_SEED={seed} HISTORY_SECONDS={seconds}");
    let outcome = run(Plan { seed, duration: Duration::from_secs(seconds) });
    eprintln!("{}", outcome.summary);
    let shown: Vec<_> = outcome.problems.iter().take(SHOWN).map(String::as_str).collect();
    let count = outcome.problems.len();
    assert!(count == 0, "seed {seed}: {count} problems, among them:\n{}", shown.join("\n"));
}
