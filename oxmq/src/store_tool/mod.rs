//! `oxmq store`: what is wrong with a store that nobody serves, and what can be done about it.

mod check;
mod dump;
mod plan;
mod progress;
mod repair;
mod settings;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use oxmq_protocol::config::ConfigError;
use oxmq_store::StoreError;

/// Check, repair and read a store while no broker runs on it
#[derive(Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Compare every record, consume queue, index entry and metadata file; changes nothing
    ///
    /// Exit code: 0 when the store is sound, 1 when there are warnings, 2 when there are errors,
    /// 3 when it cannot be checked, as while a broker runs on it.
    Check(check::CheckArgs),
    /// Mend the log in place, make everything derived from it anew, restore metadata from backups
    ///
    /// What is replaced is kept in `damaged-<time>` below the store. Exit code as that of a check
    /// afterwards, or before it with --dry-run.
    Repair(repair::RepairArgs),
    /// Show a record, a queue or the entries of a key
    Dump(dump::DumpArgs),
    /// Say which parts of a store of the reference work here, and what to do about the others
    ///
    /// Exit code: 0 when everything works, 1 when parts of it lie idle, 2 when the store must not
    /// be served as it is.
    Plan(plan::PlanArgs),
}

/// The store that a subcommand works on.
#[derive(Args)]
struct Target {
    /// Directory of the store (`storePathRootDir`)
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Settings of the broker: file sizes and paths; without them, sizes are found out from the files
    #[arg(short = 'c', long = "configFile", value_name = "FILE", global = true)]
    config_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// The store could not be worked on.
const CANNOT: u8 = 3;

/// Why a subcommand did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error("no record begins at {phy_offset}: {why}")]
    NoRecord { phy_offset: i64, why: String },
    #[error("print: {0}")]
    Print(#[from] std::io::Error),
    #[error("print: {0}")]
    Json(#[from] serde_json::Error),
}

pub(crate) fn run(args: StoreArgs) -> ExitCode {
    let outcome = match args.command {
        StoreCommand::Check(args) => check::run(&args),
        StoreCommand::Repair(args) => repair::run(&args),
        StoreCommand::Dump(args) => dump::run(&args),
        StoreCommand::Plan(args) => plan::run(&args),
    };
    outcome.unwrap_or_else(|failure| {
        // What was to be told may go into a pipe that nobody reads any more.
        drop(writeln!(io::stderr(), "oxmq: {failure}"));
        ExitCode::from(CANNOT)
    })
}
