//! Sends without answers: as fast as the sockets take them, counted by what was stored.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;

use super::clock::{Clock, Window, wall_clock_ms};
use super::error::{BenchError, io};
use super::meter::Meter;
use super::report::{Counts, Report};
use super::setup::Setup;
use super::template::SendTemplates;

/// Bytes of one write: what a client that is ahead of its socket has ready.
const WRITE_BYTES: usize = 64 * 1024;

/// Runs `send --oneway`.
pub(super) fn run(setup: &mut Setup<'_>) -> Result<Report, BenchError> {
    let common = setup.common;
    common.without_count("send --oneway")?;
    let templates = setup.templates(true, None)?;
    let streams = setup.connect(common.connections)?;
    let at_first = setup.control.stored(&common.topic, common.queues)?;
    let window = setup.window();
    let clock = setup.clock;
    let meter = Meter::start(clock, window, common.server_pid);

    let (sent, from, to) = thread::scope(|scope| -> Result<_, BenchError> {
        let senders: Vec<_> = (0..)
            .zip(streams)
            .map(|(connection, stream)| {
                let templates = &templates;
                scope.spawn(move || send(stream, connection, templates, clock, window))
            })
            .collect();
        // What counts is what was stored between the two marks.
        let mut mark = |at| -> Result<_, BenchError> {
            clock.sleep_until(at);
            Ok((clock.now(), setup.control.stored(&common.topic, common.queues)?))
        };
        let (from, to) = (mark(window.warm)?, mark(window.end)?);
        let mut sent = 0;
        for sender in senders {
            sent += sender.join().map_err(|_| BenchError::Usage("a thread panicked".into()))??;
        }
        Ok((sent, from, to))
    })?;
    let usage = meter.finish()?;
    let stored = setup.settle()? - at_first;
    let counts = Counts {
        messages: (to.1 - from.1).max(0) as u64,
        seconds: Some((to.0 - from.0) as f64 / 1e9),
        // Nobody says why: what was sent and never stored was dropped.
        unanswered: (sent as i64 - stored).max(0) as u64,
        ..Counts::default()
    };
    Ok(Report::new(setup.shape("oneway"), counts, &usage))
}

/// Sends on one connection until the window ends; returns the number of messages sent.
fn send(
    mut stream: TcpStream,
    connection: u32,
    templates: &SendTemplates,
    clock: Clock,
    window: Window,
) -> Result<u64, BenchError> {
    clock.sleep_until(window.start);
    let mut out = Vec::with_capacity(2 * WRITE_BYTES);
    let mut sequence: u32 = 0;
    while clock.now() < window.end {
        out.clear();
        let born_ms = wall_clock_ms();
        while out.len() < WRITE_BYTES {
            let queue = templates.queue(u64::from(connection) + u64::from(sequence));
            templates.append(&mut out, connection, sequence, queue, born_ms);
            sequence += 1;
        }
        match stream.write_all(&out) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(BenchError::Wrong("the broker stopped reading".into()));
            }
            Err(error) => return Err(io("write to broker")(error)),
        }
    }
    Ok(sequence.into())
}
