//! The one binary: subcommands, nothing but flags and calls.

mod bench;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "oxmq", version, about = "A message broker that speaks the RocketMQ protocol")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a name server and a broker in one process, for development
    Dev(server::DevArgs),
    /// Run a name server
    Namesrv(server::NamesrvArgs),
    /// Run a broker
    Broker(server::BrokerArgs),
    /// Put load on a broker, ours or the reference, and measure it.
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(args) => server::run_dev(args),
        Command::Namesrv(args) => server::run_namesrv(args),
        Command::Broker(args) => server::run_broker(args),
        Command::Bench(args) => bench::run(args),
    }
}
