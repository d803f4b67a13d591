//! What `oxmq dev` takes while nothing happens. A program of its own, so that it can run alone.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use oxmq_compat_tests::dev::DevServer;

const IDLE_RESIDENT_KIB: u64 = 32 * 1024;
/// Clock ticks (100 a second) that an idle server may use while it is watched.
const IDLE_WATCH: Duration = Duration::from_secs(10);
const IDLE_TICKS: u64 = 5;

#[test]
fn dev_costs_next_to_nothing_while_idle() {
    let mut server = DevServer::launch();
    server.wait_until_booted();
    let before = cpu_ticks(server.pid());
    // Nothing happens in this time, which is what is measured.
    std::thread::sleep(IDLE_WATCH);
    let ticks = cpu_ticks(server.pid()) - before;
    let resident = resident_kib(server.pid());
    println!("idle: {ticks} ticks in {IDLE_WATCH:?}, {resident} KiB");
    assert!(ticks <= IDLE_TICKS, "{ticks} ticks of 10 ms in {IDLE_WATCH:?}");
    assert!(resident < IDLE_RESIDENT_KIB, "{resident} KiB");
}

/// User and system time of a process.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
