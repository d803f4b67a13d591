//! The figures of a run, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use oxmq_protocol::code::ResponseCode;
use serde::Serialize;

use super::meter::Usage;

/// More than this of the machine used by others makes a run worth repeating.
const POLLUTED_PERCENT: f64 = 5.0;

/// Latencies of one kind, microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    pub(super) p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    /// Reads the percentiles of a histogram of nanoseconds.
    pub(super) fn of(nanos: &Histogram<u64>) -> Self {
        let at = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            mean: nanos.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: nanos.max() as f64 / 1e3,
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, p50, p90, p99, p999, max } = self;
        write!(
            f,
            "p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p999:.1}  max {max:.1}  mean {mean:.1}"
        )
    }
}

/// What the server cost.
#[derive(Clone, Debug, Serialize)]
struct ServerReport {
    cpu_us_per_message: f64,
    /// Percent of one core.
    cpu_percent: f64,
    rss_mib: f64,
    rss_anon_mib: f64,
    voluntary_switches_per_message: f64,
    involuntary_switches_per_message: f64,
    minor_faults_per_message: f64,
    major_faults: u64,
}

/// Shape of the load, as asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Shape {
    pub(super) mode: &'static str,
    pub(super) note: String,
    pub(super) broker: String,
    pub(super) topic: String,
    pub(super) queues: u32,
    pub(super) size: u64,
    pub(super) connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_flight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) groups: Option<u32>,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Messages that count.
    pub(super) messages: u64,
    /// Seconds in which they passed; `None` is the time measured.
    pub(super) seconds: Option<f64>,
    /// Answers other than success, by code.
    pub(super) refused: BTreeMap<i32, u64>,
    /// Requests or messages that nothing was heard of.
    pub(super) unanswered: u64,
    /// Stored messages read back and found equal.
    pub(super) verified: u64,
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    shape: Shape,
    messages: u64,
    seconds: f64,
    messages_per_second: f64,
    /// Of each request, or of each message end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    /// How late the generator itself sent, which is part of the latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness_us: Option<Latency>,
    refused: BTreeMap<i32, u64>,
    unanswered: u64,
    verified: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerReport>,
    generator_cpu_us_per_message: f64,
    other_cpu_percent: f64,
    stolen_percent: f64,
    polluted: bool,
}

impl Report {
    pub(super) fn new(shape: Shape, counts: Counts, usage: &Usage) -> Self {
        let seconds = counts.seconds.unwrap_or(usage.seconds).max(1e-9);
        let messages = counts.messages.max(1) as f64;
        let server = usage.server.map(|server| ServerReport {
            cpu_us_per_message: server.cpu_seconds * 1e6 / messages,
            cpu_percent: server.cpu_seconds / usage.seconds * 100.0,
            rss_mib: server.rss_kib as f64 / 1024.0,
            rss_anon_mib: server.rss_anon_kib as f64 / 1024.0,
            voluntary_switches_per_message: server.voluntary_switches as f64 / messages,
            involuntary_switches_per_message: server.involuntary_switches as f64 / messages,
            minor_faults_per_message: server.minor_faults as f64 / messages,
            major_faults: server.major_faults,
        });
        // Without the server's process its share cannot be told from that of others.
        let polluted = usage.stolen_percent > POLLUTED_PERCENT
            || server.is_some() && usage.other_cpu_percent > POLLUTED_PERCENT;
        Self {
            shape,
            messages: counts.messages,
            seconds,
            messages_per_second: counts.messages as f64 / seconds,
            latency_us: None,
            lateness_us: None,
            refused: counts.refused,
            unanswered: counts.unanswered,
            verified: counts.verified,
            server,
            generator_cpu_us_per_message: usage.own_cpu_seconds * 1e6 / messages,
            other_cpu_percent: usage.other_cpu_percent,
            stolen_percent: usage.stolen_percent,
            polluted,
        }
    }

    pub(super) fn messages_per_second(&self) -> f64 {
        self.messages_per_second
    }

    /// Tells whether no message counted, so that the figures mean nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    #[must_use]
    pub(super) fn with_latency(mut self, nanos: &Histogram<u64>) -> Self {
        self.latency_us = Some(Latency::of(nanos));
        self
    }

    #[must_use]
    pub(super) fn with_lateness(mut self, nanos: &Histogram<u64>) -> Self {
        self.lateness_us = Some(Latency::of(nanos));
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = &self.shape;
        write!(f, "{}  {}  {}", shape.mode, shape.broker, shape.topic)?;
        write!(
            f,
            "  {} queues, {} B, {} connections",
            shape.queues, shape.size, shape.connections
        )?;
        for (value, unit) in [
            (shape.in_flight, "in flight each"),
            (shape.batch, "messages a request"),
            (shape.groups, "groups"),
        ] {
            if let Some(value) = value {
                write!(f, ", {value} {unit}")?;
            }
        }
        if let Some(rate) = shape.rate {
            write!(f, ", {rate} messages/s intended")?;
        }
        if !shape.note.is_empty() {
            write!(f, "  [{}]", shape.note)?;
        }
        writeln!(f)?;
        let refused: u64 = self.refused.values().sum();
        writeln!(
            f,
            "  rate       {:.0} messages/s ({} in {:.2} s), {refused} refused, {} unanswered, {} verified",
            self.messages_per_second, self.messages, self.seconds, self.unanswered, self.verified
        )?;
        for (code, count) in &self.refused {
            writeln!(f, "  refused    {count} with {}", ResponseCode(*code))?;
        }
        if let Some(latency) = &self.latency_us {
            writeln!(f, "  latency us {latency}")?;
        }
        if let Some(lateness) = &self.lateness_us {
            writeln!(f, "  sent late  {lateness}")?;
        }
        if let Some(server) = &self.server {
            writeln!(
                f,
                "  server     {:.2} us CPU/message, {:.0} % of a core, RSS {:.1} MiB ({:.1} anonymous)",
                server.cpu_us_per_message, server.cpu_percent, server.rss_mib, server.rss_anon_mib
            )?;
            writeln!(
                f,
                "             {:.3} voluntary and {:.3} involuntary switches/message, {:.4} minor faults/message, {} major",
                server.voluntary_switches_per_message,
                server.involuntary_switches_per_message,
                server.minor_faults_per_message,
                server.major_faults
            )?;
        }
        write!(
            f,
            "  machine    generator {:.2} us CPU/message, {} {:.1} %, stolen {:.1} %",
            self.generator_cpu_us_per_message,
            if self.server.is_some() { "others" } else { "server and others" },
            self.other_cpu_percent,
            self.stolen_percent
        )?;
        if self.polluted {
            write!(f, "\n  POLLUTED   others used the machine: repeat this run")?;
        }
        Ok(())
    }
}
