//! What the run cost: the server, the generator, and everything else on the machine.

use std::fs;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

use super::clock::{Clock, Nanos, Window};
use super::error::{BenchError, io};

/// Kernel ticks a second in `/proc`: 100 on every Linux architecture.
const TICKS_PER_SECOND: f64 = 100.0;
/// A server that uses less than this of a core, for so long, has nothing left to do.
const REST_PERCENT: f64 = 10.0;
const REST_LOOK: Duration = Duration::from_millis(500);
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Counters of one process since it started.
#[derive(Clone, Copy, Debug, Default)]
struct ProcessCounters {
    cpu_ticks: u64,
    minor_faults: u64,
    major_faults: u64,
    voluntary_switches: u64,
    involuntary_switches: u64,
    rss_kib: u64,
    rss_anon_kib: u64,
}

/// Ticks of all cores since boot.
#[derive(Clone, Copy, Debug, Default)]
struct MachineTicks {
    busy: u64,
    stolen: u64,
    all: u64,
}

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    at: Nanos,
    server: Option<ProcessCounters>,
    own: ProcessCounters,
    machine: MachineTicks,
}

/// What the measured part of a run cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Seconds between the two looks.
    pub(super) seconds: f64,
    /// The server's share, when its process is known.
    pub(super) server: Option<ServerUsage>,
    /// CPU of this process, seconds.
    pub(super) own_cpu_seconds: f64,
    /// CPU of all other processes and of the kernel, percent of the machine.
    pub(super) other_cpu_percent: f64,
    /// CPU that the hypervisor took, percent of the machine.
    pub(super) stolen_percent: f64,
}

/// What the server used.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerUsage {
    pub(super) cpu_seconds: f64,
    pub(super) rss_kib: u64,
    pub(super) rss_anon_kib: u64,
    pub(super) voluntary_switches: u64,
    pub(super) involuntary_switches: u64,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
}

/// Looks when counting starts and when it ends, on a thread of its own.
pub(super) struct Meter {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Usage, BenchError>>,
}

impl Meter {
    pub(super) fn start(clock: Clock, window: Window, server: Option<u32>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            clock.sleep_until(window.warm);
            let before = Snapshot::take(clock, server)?;
            let left = window.end.saturating_sub(clock.now());
            // Either the time is over or the run is: both end the measured part.
            let _ = stopped.recv_timeout(Duration::from_nanos(left));
            Ok(Snapshot::take(clock, server)?.since(&before))
        });
        Self { stop, thread }
    }

    /// Ends the measured part unless its time ended it, and returns what it cost.
    pub(super) fn finish(self) -> Result<Usage, BenchError> {
        // The thread is gone already when its time was over.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| BenchError::Usage("meter panicked".into()))?
    }
}

/// What the server used, percent of one core.
pub(super) fn cpu_percent(meter: Meter) -> Result<f64, BenchError> {
    let usage = meter.finish()?;
    let cpu = usage.server.map_or(0.0, |server| server.cpu_seconds);
    Ok(cpu / usage.seconds.max(0.01) * 100.0)
}

/// Looks on until `window` is over: what the server used in it, percent of one core.
pub(super) fn watch(clock: Clock, window: Window, server: u32) -> Result<f64, BenchError> {
    let meter = Meter::start(clock, window, Some(server));
    clock.sleep_until(window.end);
    cpu_percent(meter)
}

/// Waits until the server has dealt with what it was given: until it hardly uses the CPU.
pub(super) fn wait_for_rest(clock: Clock, server: u32) -> Result<(), BenchError> {
    let deadline = clock.now() + REST_LIMIT.as_nanos() as Nanos;
    loop {
        let look = Window::new(clock.now(), Duration::ZERO, REST_LOOK);
        let percent = watch(clock, look, server)?;
        if percent < REST_PERCENT {
            return Ok(());
        }
        if clock.now() >= deadline {
            eprintln!(
                "oxmq bench: the server did not come to rest in {REST_LIMIT:?}: what follows is \
                 measured beside {percent:.0} % of a core"
            );
            return Ok(());
        }
    }
}

/// What a process holds at a moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Footprint {
    pub(super) rss_mib: f64,
    pub(super) rss_anon_mib: f64,
    pub(super) open_files: usize,
}

/// Looks at what the server holds.
pub(super) fn footprint(pid: u32) -> Result<Footprint, BenchError> {
    let counters = process(&format!("/proc/{pid}"), false)?;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).map_err(io("list files of the server"))?;
    Ok(Footprint {
        rss_mib: counters.rss_kib as f64 / 1024.0,
        rss_anon_mib: counters.rss_anon_kib as f64 / 1024.0,
        open_files: open.count(),
    })
}

impl Snapshot {
    fn take(clock: Clock, server: Option<u32>) -> Result<Self, BenchError> {
        let server = server.map(|pid| process(&format!("/proc/{pid}"), true)).transpose()?;
        let own = process("/proc/self", false)?;
        let text = fs::read_to_string("/proc/stat").map_err(io("read /proc/stat"))?;
        let machine = parse_machine(&text)
            .ok_or_else(|| BenchError::Unexpected("format of /proc/stat".into()))?;
        Ok(Self { at: clock.now(), server, own, machine })
    }

    fn since(&self, before: &Self) -> Usage {
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        let server = self.server.zip(before.server).map(|(now, then)| ServerUsage {
            cpu_seconds: seconds(now.cpu_ticks.saturating_sub(then.cpu_ticks)),
            rss_kib: now.rss_kib,
            rss_anon_kib: now.rss_anon_kib,
            // Threads that ended take their counts along.
            voluntary_switches: now.voluntary_switches.saturating_sub(then.voluntary_switches),
            involuntary_switches: now
                .involuntary_switches
                .saturating_sub(then.involuntary_switches),
            minor_faults: now.minor_faults.saturating_sub(then.minor_faults),
            major_faults: now.major_faults.saturating_sub(then.major_faults),
        });
        let own_cpu_seconds = seconds(self.own.cpu_ticks.saturating_sub(before.own.cpu_ticks));
        let all = seconds(self.machine.all.saturating_sub(before.machine.all)).max(0.01);
        let known = own_cpu_seconds + server.map_or(0.0, |server| server.cpu_seconds);
        let busy = seconds(self.machine.busy.saturating_sub(before.machine.busy));
        let stolen = seconds(self.machine.stolen.saturating_sub(before.machine.stolen));
        Usage {
            seconds: (self.at - before.at) as f64 / 1e9,
            server,
            own_cpu_seconds,
            other_cpu_percent: ((busy - known) / all * 100.0).max(0.0),
            stolen_percent: stolen / all * 100.0,
        }
    }
}

fn process(dir: &str, with_switches: bool) -> Result<ProcessCounters, BenchError> {
    let what = "read /proc of the server; is --server-pid right";
    let stat = fs::read_to_string(format!("{dir}/stat")).map_err(io(what))?;
    let status = fs::read_to_string(format!("{dir}/status")).map_err(io(what))?;
    let mut counters = parse_process(&stat)
        .ok_or_else(|| BenchError::Unexpected(format!("format of {dir}/stat")))?;
    counters.rss_kib = status_field(&status, "VmRSS:");
    counters.rss_anon_kib = status_field(&status, "RssAnon:");
    if with_switches {
        for task in fs::read_dir(format!("{dir}/task")).map_err(io(what))?.flatten() {
            // A thread may end between the two calls.
            let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
            counters.voluntary_switches += status_field(&status, "voluntary_ctxt_switches:");
            counters.involuntary_switches += status_field(&status, "nonvoluntary_ctxt_switches:");
        }
    }
    Ok(counters)
}

/// Reads the fields behind the command name, which may itself hold blanks and brackets.
fn parse_process(stat: &str) -> Option<ProcessCounters> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Counted from the state, which is field 3 in proc(5).
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessCounters {
        minor_faults: number(10)?,
        major_faults: number(12)?,
        cpu_ticks: number(14)? + number(15)?,
        ..ProcessCounters::default()
    })
}

fn status_field(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// Order of proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user.
fn parse_machine(stat: &str) -> Option<MachineTicks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut ticks = [0_u64; 8];
    for (slot, text) in ticks.iter_mut().zip(line.split_ascii_whitespace()) {
        *slot = text.parse().ok()?;
    }
    let [user, nice, system, idle, iowait, irq, softirq, stolen] = ticks;
    let busy = user + nice + system + irq + softirq;
    Some(MachineTicks { busy, stolen, all: busy + idle + iowait + stolen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_counters_are_read_behind_an_awkward_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 11 0 3 0 40 2 0 0 20 0 5 0 99 1 2";
        let counters = parse_process(stat).unwrap();
        assert_eq!((counters.minor_faults, counters.major_faults), (11, 3));
        assert_eq!(counters.cpu_ticks, 42);
        assert!(parse_process("7 (a) S 1").is_none());
    }

    #[test]
    fn machine_ticks_keep_stolen_time_apart() {
        let ticks = parse_machine("cpu  10 20 30 400 5 6 7 8 0 0\ncpu0 1 1 1\n").unwrap();
        assert_eq!((ticks.busy, ticks.stolen, ticks.all), (73, 8, 486));
    }

    #[test]
    fn status_fields_are_told_apart_by_their_whole_name() {
        let status =
            "VmRSS:\t  12 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t4\n";
        assert_eq!(status_field(status, "VmRSS:"), 12);
        assert_eq!(status_field(status, "voluntary_ctxt_switches:"), 4);
        assert_eq!(status_field(status, "RssAnon:"), 0);
    }

    #[test]
    fn footprint_of_the_own_process_counts_its_files() {
        let _one_more = fs::File::open("/proc/self/stat").unwrap();
        let found = footprint(std::process::id()).unwrap();
        assert!(found.rss_mib > 0.0 && found.rss_anon_mib <= found.rss_mib);
        assert!(found.open_files > 3, "{found:?}");
    }

    #[test]
    fn own_process_can_be_read() {
        let counters = process("/proc/self", true).unwrap();
        assert!(counters.rss_kib > 0 && counters.minor_faults > 0);
    }
}
