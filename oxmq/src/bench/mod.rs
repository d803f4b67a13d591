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
mod error;
mod lane;
mod meter;
mod oneway;
mod open;
mod pacer;
mod payload;
mod records;
mod report;
mod send;
mod setup;
mod slots;
mod tally;
mod target;
mod verify;

use std::process::ExitCode;

pub(crate) use args::BenchArgs;
use args::Mode;
use error::BenchError;
use report::Report;

/// Runs one load and prints its report, or says why there is none.
pub(crate) fn run(args: BenchArgs) -> ExitCode {
    let outcome = match &args.mode {
        Mode::Send(args) => report(send::run(args), args.common.json),
        Mode::Batch(args) => report(send::run_batch(args), args.common.json),
        Mode::Open(args) => report(open::run(args), args.common.json),
        Mode::E2e(args) => report(end_to_end::run(args), args.common.json),
        Mode::Drain(args) => report(drain::run(args), args.common.json),
        Mode::EchoServer(args) => echo::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oxmq bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(report: Result<Report, BenchError>, json: bool) -> Result<(), BenchError> {
    let report = report?;
    if json {
        let text = serde_json::to_string(&report)
            .map_err(|error| BenchError::Unexpected(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{report}");
    }
    Ok(())
}
