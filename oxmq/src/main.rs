//! The one binary: subcommands, nothing but flags and calls.

mod bench;
mod config_tool;
mod open_files;
mod server;
mod store_tool;

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
    /// Check a configuration file or explain a key
    Config(config_tool::ConfigArgs),
    /// Check, repair and read a store while no broker runs on it
    Store(store_tool::StoreArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(args) => server::run_dev(args),
        Command::Namesrv(args) => server::run_namesrv(args),
        Command::Broker(args) => server::run_broker(args),
        Command::Bench(args) => bench::run(args),
        Command::Config(args) => config_tool::run(args),
        Command::Store(args) => store_tool::run(args),
    }
}
