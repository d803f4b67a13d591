//! `oxmq bench`: the load generator, for this broker and for the reference.
//!
//! Every load runs the same loop ([`lane`]): a few threads, each with its connections, one read and
//! one write a turn. Requests are copied from templates and patched ([`template`]), answers are
//! scanned for code and opaque ([`answer`]), so that the generator costs less than the server that it
//! measures; `bench echo-server` shows where its own ceiling is.

mod answer;
mod args;
mod backlog;
mod clock;
mod control;
mod drain;
mod echo;
mod end_to_end;
mod endless;
mod error;
mod files;
mod filter;
mod held;
mod idle;
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
mod template;
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
use serde::Serialize;

/// Runs one load and prints its report, or says why there is none.
pub(crate) fn run(args: BenchArgs) -> ExitCode {
    // Opening too many connections is refused before it begins.
    crate::open_files::allow_many();
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
        Mode::Backlog(args) => {
            backlog::run(args).and_then(|report| print_any(&report, args.common.json))
        }
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
        Mode::Idle(common) => idle::run(common).and_then(|report| print_any(&report, common.json)),
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
            Mode::Send(args) => send::run(&args).map(serde_json::to_value),
            Mode::Batch(args) => send::run_batch(&args).map(serde_json::to_value),
            Mode::Open(args) => open::run(&args).map(serde_json::to_value),
            Mode::Drain(args) => drain::run(&args).map(serde_json::to_value),
            Mode::Backlog(args) => backlog::run(&args).map(serde_json::to_value),
            Mode::Topics(args) => topics::run(&args).map(serde_json::to_value),
            _ => panic!("the echo server stores nothing"),
        };
        report.unwrap().unwrap()
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
    fn backlog_is_pulled_while_sends_go_on() {
        let report = report("backlog --fill 100 --seconds 1 --connections 3 --rate 500");
        assert!(report["messages"].as_u64().unwrap() > 0, "{report}");
        assert_eq!((&report["fill"], &report["rate"]), (&100.into(), &500.into()));
        for sends in ["sends_alone_us", "sends_beside_us"] {
            assert!(report[sends]["p99"].as_f64().unwrap() > 0.0, "{report}");
        }
        assert_eq!(report["unanswered"], 0);
    }

    #[test]
    fn topics_are_made_and_sent_to() {
        let load = "topics --topics 120 --few 20 --seconds 1 --connections 3";
        let made = report(load);
        assert_eq!((&made["topics"], &made["few"]), (&120.into(), &20.into()));
        assert!(made["topics_per_second"].as_f64().unwrap() > 0.0, "{made}");
        assert!(made["rate_of_few"].as_f64().unwrap() > 0.0, "{made}");
        let there = report(&format!("{load} --existing"));
        assert!(there.get("topics_per_second").is_none(), "{there}");
        assert!(there["messages"].as_u64().unwrap() > 0, "{there}");
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
