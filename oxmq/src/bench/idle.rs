//! Connections that are open and idle: what each of them costs the server.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::args::Common;
use super::clock::{Clock, Window};
use super::control::Control;
use super::error::BenchError;
use super::meter::{self, Footprint, footprint};
use super::{files, target};

/// Connections before any count: what a first request loads is not a connection's.
const FIRST: u32 = 100;
/// Every broker has it.
const TOPIC: &str = "TBW102";

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct IdleReport {
    mode: &'static str,
    note: String,
    broker: String,
    connections: u32,
    /// Opened one after the other, each asked once.
    connections_per_second: f64,
    anon_kib_per_connection: f64,
    idle_cpu_percent: f64,
    /// Before anything was asked.
    at_start: Footprint,
    before: Footprint,
    after: Footprint,
}

/// Runs `idle`.
pub(super) fn run(common: &Common) -> Result<IdleReport, BenchError> {
    common.without_count("idle")?;
    let Some(pid) = common.server_pid else {
        return Err(BenchError::Usage("idle needs --server-pid".into()));
    };
    let broker = target::broker(common)?;
    files::demand_room(common.connections, Some(pid))?;
    let clock = Clock::new();
    meter::wait_for_rest(clock, pid)?;
    let at_start = footprint(pid)?;
    let connect = || -> Result<Control, BenchError> {
        let mut control = Control::connect(broker, common.form())?;
        ask(&mut control)?;
        Ok(control)
    };
    (0..FIRST).try_for_each(|_| connect().map(drop))?;
    let before = footprint(pid)?;
    let begin = Instant::now();
    let mut open = (0..common.connections).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
    let opened = begin.elapsed();
    let window = Window::new(clock.now(), common.warmup(), common.length());
    let idle_cpu_percent = meter::watch(clock, window, pid)?;
    // All of them are still served.
    open.iter_mut().try_for_each(ask)?;
    let after = footprint(pid)?;
    let connections = f64::from(common.connections);
    Ok(IdleReport {
        mode: "idle",
        note: common.note.clone(),
        broker: broker.to_string(),
        connections: common.connections,
        connections_per_second: connections / opened.as_secs_f64(),
        anon_kib_per_connection: (after.rss_anon_mib - before.rss_anon_mib) * 1024.0 / connections,
        idle_cpu_percent,
        at_start,
        before,
        after,
    })
}

fn ask(control: &mut Control) -> Result<(), BenchError> {
    control.min_offset(TOPIC, 0).map(drop)
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker, connections, at_start, before, after, .. } = self;
        writeln!(f, "idle  {broker}  {connections} connections")?;
        writeln!(f, "  opened     {:.0}/s, each asked once", self.connections_per_second)?;
        writeln!(f, "  idle       {:.2} % of a core", self.idle_cpu_percent)?;
        writeln!(
            f,
            "  memory     {:.2} KiB each that is not file pages",
            self.anon_kib_per_connection
        )?;
        write!(
            f,
            "  server     RSS {:.1} MiB at first, {:.1} before and {:.1} after; anonymous {:.1}, {:.1} and {:.1}",
            at_start.rss_mib,
            before.rss_mib,
            after.rss_mib,
            at_start.rss_anon_mib,
            before.rss_anon_mib,
            after.rss_anon_mib
        )
    }
}
