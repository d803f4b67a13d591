//! Flags, each with its bounds: a run is limited in time, count and memory.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use oxmq_protocol::frame::HeaderForm;

use super::error::BenchError;
use super::filter::Filter;

/// Smallest body: it starts with the run and the message's identity.
const MIN_BODY_BYTES: u64 = super::payload::HEAD_BYTES as u64;
/// The reference's `maxMessageSize`.
const MAX_BODY_BYTES: u64 = 4 * 1024 * 1024;
const MAX_SECONDS: f64 = 600.0;
/// Leaves room for every request in the opaque numbers of one connection.
const MAX_COUNT: u64 = 1_000_000_000;

/// Flags of `oxmq bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) mode: Mode,
}

/// What kind of load.
#[derive(Subcommand, Debug)]
pub(super) enum Mode {
    /// Closed loop: each connection keeps so many sends in flight.
    Send(SendArgs),
    /// Closed loop of batches.
    Batch(BatchArgs),
    /// Open loop: a fixed rate, latency from the intended time of each send.
    Open(OpenArgs),
    /// Time from the intended send to the receipt by a long-polling consumer.
    E2e(EndToEndArgs),
    /// Pulls a filled topic as fast as it comes.
    Drain(DrainArgs),
    /// Pulls more than the page cache holds while messages go on coming.
    Backlog(BacklogArgs),
    /// Closed loop of transactions: a half message, then its commit.
    Transaction(TransactionArgs),
    /// Consumers that pop and acknowledge a filled topic, and how soon one that waits is answered.
    Pop(PopArgs),
    /// Messages that wait for their time: many of them, many due together, and single ones.
    Timers(TimersArgs),
    /// Makes many topics, and sends to few of them and to all.
    Topics(TopicsArgs),
    /// Opens many connections and leaves them idle.
    Idle(Common),
    /// Many pulls that wait: idle, woken by messages, and running out.
    Held(HeldArgs),
    /// A server that answers everything with success: the ceiling of this generator.
    EchoServer(EchoArgs),
    /// Compares recorded runs of two servers in one table.
    Table(TableArgs),
    /// Draws recorded runs of growing loads.
    Plot(PlotArgs),
}

/// Flags of every load.
#[derive(Args, Clone, Debug)]
pub(super) struct Common {
    /// Broker to load, HOST:PORT.
    #[arg(long, required_unless_present = "namesrv")]
    pub(super) broker: Option<String>,
    /// Name server to ask for the broker, HOST:PORT.
    #[arg(long)]
    pub(super) namesrv: Option<String>,
    /// Allow a broker on another machine.
    #[arg(long)]
    pub(super) allow_remote: bool,
    /// Topic; created with as many queues as asked for.
    #[arg(long, default_value = "oxmq-bench")]
    pub(super) topic: String,
    /// Queues of the topic.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) queues: u32,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(MIN_BODY_BYTES..=MAX_BODY_BYTES))]
    pub(super) size: u64,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) connections: u32,
    /// Length of the measured part.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(super) seconds: f64,
    /// End after so many measured requests instead of after a time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MAX_COUNT))]
    pub(super) count: Option<u64>,
    /// Seconds of load before anything counts.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(super) warmup: f64,
    /// Threads of the generator; default: one, or two over 64 messages in flight.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) threads: Option<u32>,
    /// Form of the request headers.
    #[arg(long, value_enum, default_value_t = Form::Json)]
    pub(super) header: Form,
    /// Stored messages to read back and compare; 0 for none.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(super) verify: u32,
    /// Process of the server, to print what it costs.
    #[arg(long)]
    pub(super) server_pid: Option<u32>,
    /// Label for the report, such as the server and its flush mode.
    #[arg(long, default_value = "")]
    pub(super) note: String,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Flags of `send`.
#[derive(Args, Clone, Debug)]
pub(super) struct SendArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: u32,
    /// Ask for no answers: as fast as the sockets take it, counted by what was stored.
    #[arg(long)]
    pub(super) oneway: bool,
}

/// Flags of `batch`.
#[derive(Args, Clone, Debug)]
pub(super) struct BatchArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Batches in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: u32,
    /// Messages in one batch.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) batch: u32,
}

/// Flags of `open`.
#[derive(Args, Clone, Debug)]
pub(super) struct OpenArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Messages a second.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) rate: u64,
}

/// Flags of `e2e`.
#[derive(Args, Clone, Debug)]
pub(super) struct EndToEndArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Messages a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) rate: u64,
    /// Consumer groups, each of which receives everything on a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) groups: u32,
}

/// Flags of loads that pull.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PullArgs {
    /// Pulls in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) in_flight: u32,
    /// Messages asked for by each pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) pull: u32,
}

/// Flags of `drain`.
#[derive(Args, Clone, Debug)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) pulls: PullArgs,
    /// Messages to send before; 0 drains what is there.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(0..=MAX_COUNT))]
    pub(super) fill: u64,
    /// What is asked for; other than all is what `--one-in` says, and counts are of messages looked at.
    #[arg(long, value_enum, default_value_t = Filter::None)]
    pub(super) filter: Filter,
    /// One message in so many is asked for.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) one_in: u64,
}

/// Flags of `backlog`.
#[derive(Args, Clone, Debug)]
pub(super) struct BacklogArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) pulls: PullArgs,
    /// Messages to send before.
    #[arg(long, default_value_t = 2_500_000, value_parser = clap::value_parser!(u64).range(1..=MAX_COUNT))]
    pub(super) fill: u64,
    /// Messages a second that go on coming.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) rate: u64,
    /// Connections of their senders.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) senders: u32,
}

/// Flags of `transaction`.
#[derive(Args, Clone, Debug)]
pub(super) struct TransactionArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Transactions under way on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: u32,
}

/// Flags of `pop`.
#[derive(Args, Clone, Debug)]
pub(super) struct PopArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Messages to send before.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) fill: u64,
    /// Messages asked for by each pop.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(super) pop: u32,
    /// Seconds after which messages come back that are not acknowledged.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) invisible_seconds: u32,
    /// Pops that wait at an empty queue, one after the other, and are answered by a message.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) waits: u32,
}

/// Flags of `timers`.
#[derive(Args, Clone, Debug)]
pub(super) struct TimersArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Messages that wait all the time.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) pending: u64,
    /// Seconds until the first of them is due: longer than the run.
    #[arg(long, default_value_t = 1_800, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) ahead_seconds: u32,
    /// Seconds over which they are spread.
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) spread_seconds: u32,
    /// Messages that are due in the same moment.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) together: u64,
    /// Seconds from the first send of those to that moment.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=600))]
    pub(super) lead_seconds: u32,
    /// Messages a second that are due one by one.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) rate: u64,
    /// Milliseconds from the send of each of those to its time.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub(super) delay_ms: u32,
}

/// Flags of `topics`.
#[derive(Args, Clone, Debug)]
pub(super) struct TopicsArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Topics, called as `--topic` says and numbered.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) topics: u32,
    /// How many of them there are at first; sends to those are what the rate with all is compared with.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) few: u32,
    /// An earlier run has made them: only look for them, and send to few and to all.
    #[arg(long)]
    pub(super) existing: bool,
}

/// Flags of `held`.
#[derive(Args, Clone, Debug)]
pub(super) struct HeldArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Groups, each with a pull for each queue.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) groups: u32,
    /// Messages, each into one queue.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) messages: u32,
    /// Seconds for which pulls run out; a quarter more before that.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub(super) churn_seconds: f64,
    /// Milliseconds after which they do.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub(super) suspend_ms: u32,
}

/// Flags of `echo-server`.
#[derive(Args, Clone, Debug)]
pub(super) struct EchoArgs {
    /// Port on the loopback; 0 picks one and prints it.
    #[arg(long, default_value_t = 0)]
    pub(super) port: u16,
    /// Threads, each with connections of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) threads: u32,
    /// Answer pulls with messages, whose bodies have so many bytes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(MIN_BODY_BYTES..=MAX_BODY_BYTES))]
    pub(super) size: Option<u64>,
}

/// Flags of `table`.
#[derive(Args, Clone, Debug)]
pub(super) struct TableArgs {
    /// File with one run a line: row, figure, better, floor, server and JSON report, tab separated.
    pub(super) results: std::path::PathBuf,
    /// Server to compare with.
    #[arg(long, default_value = "reference")]
    pub(super) base: String,
    /// Server that is compared.
    #[arg(long, default_value = "ours")]
    pub(super) subject: String,
}

/// Flags of `plot`.
#[derive(Args, Clone, Debug)]
pub(super) struct PlotArgs {
    /// File as `table` reads it; rows called "NAME: NUMBER" are drawn.
    pub(super) results: std::path::PathBuf,
    /// Folder for the SVG files.
    #[arg(long)]
    pub(super) out: std::path::PathBuf,
}

/// Form of the request headers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Form {
    /// What clients send by default.
    Json,
    /// The binary form.
    Rocketmq,
}

impl Common {
    pub(super) fn form(&self) -> HeaderForm {
        match self.header {
            Form::Json => HeaderForm::Json,
            Form::Rocketmq => HeaderForm::RocketMq,
        }
    }

    pub(super) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup)
    }

    /// Longest time to measure; a run with a count ends sooner.
    pub(super) fn length(&self) -> Duration {
        Duration::from_secs_f64(if self.count.is_some() { MAX_SECONDS } else { self.seconds })
    }

    /// Threads for `in_flight` requests on each connection.
    pub(super) fn threads(&self, in_flight: u32) -> usize {
        let total = self.connections.saturating_mul(in_flight);
        let threads = self.threads.unwrap_or(if total > 64 { 2 } else { 1 });
        threads.min(self.connections) as usize
    }

    /// Refuses `--count` where only a time makes sense.
    pub(super) fn without_count(&self, mode: &str) -> Result<(), BenchError> {
        match self.count {
            Some(_) => Err(BenchError::Usage(format!("{mode} takes --seconds, not --count"))),
            None => Ok(()),
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=MAX_SECONDS).contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be 0 to {MAX_SECONDS}"))
    }
}
