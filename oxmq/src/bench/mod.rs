//! `oxmq bench`: the load generator, for this broker and for the reference.
//!
//! Every load runs the same loop ([`lane`]): a few threads, each with its connections, one read and
//! one write a turn. Requests are copied from templates and patched ([`payload`]), answers are
//! scanned for code and opaque ([`answer`]), so that the generator costs less than the server that it
//! measures; `bench echo-server` shows where its own ceiling is.

mod answer;
mod args;
mod clock;
mod control;
mod drain;
mod echo;
mod end_to_end;
mod endless;
mod error;
mod filter;
mod held;
mod lane;
mod meter;
mod oneway;
mod open;
mod pacer;
mod payload;
mod plot;
mod pop;
mod records;
mod report;
mod send;
mod sender;
mod setup;
mod slots;
mod table;
mod tally;
mod target;
mod timers;
mod topics;
mod transaction;
mod verify;

use std::fmt::Display;
use std::process::ExitCode;

pub(crate) use args::BenchArgs;
use args::Mode;
use error::BenchError;
use report::Report;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

/// Runs one load and prints its report, or says why there is none.
pub(crate) fn run(args: BenchArgs) -> ExitCode {
    allow_many_connections();
    let outcome = match &args.mode {
        Mode::Send(args) => send::run(args).and_then(|report| print(&report, args.common.json)),
        Mode::Batch(args) => {
            send::run_batch(args).and_then(|report| print(&report, args.common.json))
        }
        Mode::Open(args) => open::run(args).and_then(|report| print(&report, args.common.json)),
        Mode::E2e(args) => {
            end_to_end::run(args).and_then(|report| print(&report, args.common.json))
        }
        Mode::Drain(args) => drain::run(args).and_then(|report| print(&report, args.common.json)),
        Mode::Transaction(args) => {
            transaction::run(args).and_then(|report| print(&report, args.common.json))
        }
        Mode::Pop(args) => pop::run(args).and_then(|report| print_any(&report, args.common.json)),
        Mode::Timers(args) => {
            timers::run(args).and_then(|report| print_any(&report, args.common.json))
        }
        Mode::Topics(args) => {
            topics::run(args).and_then(|report| print_any(&report, args.common.json))
        }
        Mode::Held(args) => held::run(args).and_then(|report| print_any(&report, args.common.json)),
        Mode::EchoServer(args) => echo::run(args),
        Mode::Table(args) => table::run(args),
        Mode::Plot(args) => plot::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oxmq bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of open files to the hard one: each connection takes one.
fn allow_many_connections() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is not allowed, opening too many connections fails and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn print(report: &Report, json: bool) -> Result<(), BenchError> {
    print_any(report, json)?;
    if report.is_empty() {
        return Err(BenchError::Wrong("no message counts: was there time enough?".into()));
    }
    Ok(())
}

fn print_any(report: &(impl Serialize + Display), json: bool) -> Result<(), BenchError> {
    if json {
        let text = serde_json::to_string(report)
            .map_err(|error| BenchError::Unexpected(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{report}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::Value;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    /// Bytes of the bodies of what the echo server gives to who pulls.
    const SIZE: u64 = 200;

    /// Runs a load against an echo server and returns its report.
    fn report(load: &str) -> Value {
        let echo = echo::Echo::bind(0, 2, Some(SIZE)).unwrap();
        let address = echo.address.to_string();
        std::thread::spawn(move || echo.serve());
        let flags = ["bench"].into_iter().chain(load.split(' '));
        let flags = flags.chain(["--broker", &address, "--verify", "0", "--warmup", "0"]);
        let report = match Cli::parse_from(flags).bench.mode {
            Mode::Send(args) => send::run(&args),
            Mode::Batch(args) => send::run_batch(&args),
            Mode::Open(args) => open::run(&args),
            Mode::Drain(args) => drain::run(&args),
            _ => panic!("the echo server stores nothing"),
        };
        serde_json::to_value(report.unwrap()).unwrap()
    }

    #[test]
    fn closed_loop_ends_with_exactly_the_count_asked_for() {
        for shape in
            ["--connections 1", "--connections 7 --in-flight 4 --threads 2 --header rocketmq"]
        {
            let report = report(&format!("send --count 1000 {shape}"));
            assert_eq!((&report["messages"], &report["unanswered"]), (&1000.into(), &0.into()));
            assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
        }
    }

    #[test]
    fn batch_counts_its_messages() {
        let report = report("batch --count 50 --batch 8 --connections 2 --in-flight 2");
        assert_eq!(report["messages"], 400);
    }

    #[test]
    fn open_loop_sends_what_is_due_and_no_more() {
        let report = report("open --rate 2000 --seconds 0.2 --connections 3");
        assert_eq!((&report["messages"], &report["unanswered"]), (&400.into(), &0.into()));
    }

    #[test]
    fn drain_gets_the_messages_that_it_asks_for() {
        // It compares every offset, and some of the checksums.
        let report = report("drain --fill 0 --seconds 1 --connections 3");
        let messages = report["messages"].as_u64().unwrap();
        assert!(messages > 0 && messages.is_multiple_of(32), "{messages}");
    }

    #[test]
    fn load_without_a_broker_to_load_is_refused() {
        for flags in [
            "bench send",
            "bench send --broker h:1 --seconds 601",
            "bench send --broker h:1 --size 15",
        ] {
            assert!(Cli::try_parse_from(flags.split(' ')).is_err(), "{flags}");
        }
    }
}
