//! The loop under every load: one thread, its connections, one read and one write a turn.
//!
//! A lane with one connection blocks in `read`; with more it waits in `epoll` and then reads what
//! is ready. Sockets stay blocking: a read follows readiness, and a write that blocks is the broker
//! holding this connection back, which is what a client would see too.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use oxmq_protocol::frame::{self, Frame};
use rustix::event::{Timespec, epoll};

use super::clock::{Clock, Nanos, Window};
use super::error::{BenchError, io};

const READ_BYTES: usize = 512 * 1024;
/// How often a quiet lane looks whether it is done.
const LOOK_UP: Duration = Duration::from_millis(50);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const EVENTS: usize = 256;

/// What one connection asks and how it takes the answers.
pub(super) trait Traffic: Send {
    /// What the connections of a lane add up.
    type Tally: Send;

    /// Appends the requests that may leave now.
    fn fill(&mut self, now: Nanos, out: &mut Vec<u8>);

    /// Takes one frame of the broker.
    ///
    /// # Errors
    /// When the run makes no sense any more.
    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        tally: &mut Self::Tally,
    ) -> Result<(), BenchError>;

    /// Tells whether nothing is left to ask or to wait for.
    fn is_done(&self, now: Nanos) -> bool;
}

/// Opens a connection as clients do: without delay of small writes.
pub(super) fn connect(broker: SocketAddr) -> Result<TcpStream, BenchError> {
    let stream =
        TcpStream::connect_timeout(&broker, CONNECT_TIMEOUT).map_err(io("connect to broker"))?;
    stream.set_nodelay(true).map_err(io("set TCP_NODELAY"))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(io("set write timeout"))?;
    stream.set_read_timeout(Some(LOOK_UP)).map_err(io("set read timeout"))?;
    Ok(stream)
}

/// One connection of a lane.
pub(super) struct Line<T> {
    stream: TcpStream,
    traffic: T,
    /// The start of a frame whose end has not arrived.
    partial: Vec<u8>,
    done: bool,
}

impl<T: Traffic> Line<T> {
    pub(super) fn new(stream: TcpStream, traffic: T) -> Self {
        Self { stream, traffic, partial: Vec::new(), done: false }
    }

    fn send(&mut self, clock: Clock, out: &mut Vec<u8>) -> Result<(), BenchError> {
        out.clear();
        self.traffic.fill(clock.now(), out);
        if out.is_empty() {
            return Ok(());
        }
        self.stream.write_all(out).map_err(io("write to broker"))
    }

    /// Reads once and takes every whole frame; false when there was nothing to read.
    fn turn(
        &mut self,
        clock: Clock,
        scratch: &mut [u8],
        tally: &mut T::Tally,
    ) -> Result<bool, BenchError> {
        let count = match self.stream.read(scratch) {
            Ok(0) => return Err(BenchError::Closed),
            Ok(count) => count,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                        Ok(false)
                    }
                    _ => Err(io("read from broker")(error)),
                };
            }
        };
        let now = clock.now();
        let Self { traffic, partial, .. } = self;
        if partial.is_empty() {
            let used = take_frames(&scratch[..count], |frame| traffic.receive(now, frame, tally))?;
            partial.extend_from_slice(&scratch[used..count]);
        } else {
            partial.extend_from_slice(&scratch[..count]);
            let used = take_frames(partial, |frame| traffic.receive(now, frame, tally))?;
            partial.drain(..used);
        }
        Ok(true)
    }
}

/// Takes every whole frame of `bytes`; returns the bytes taken.
pub(super) fn take_frames(
    bytes: &[u8],
    mut take: impl FnMut(Frame<'_>) -> Result<(), BenchError>,
) -> Result<usize, BenchError> {
    let mut used = 0;
    while let Some((frame, count)) = frame::split(&bytes[used..])? {
        take(frame)?;
        used += count;
    }
    Ok(used)
}

/// Runs `lines` on this thread until all are done or the window's patience ends; returns their
/// traffic.
pub(super) fn run<T: Traffic>(
    mut lines: Vec<Line<T>>,
    tally: &mut T::Tally,
    clock: Clock,
    window: Window,
) -> Result<Vec<T>, BenchError> {
    clock.sleep_until(window.start);
    let mut out = Vec::new();
    let mut scratch = vec![0; READ_BYTES];
    for line in &mut lines {
        line.send(clock, &mut out)?;
    }
    match lines.as_mut_slice() {
        [line] => run_one(line, tally, clock, window, &mut out, &mut scratch)?,
        lines => run_many(lines, tally, clock, window, &mut out, &mut scratch)?,
    }
    Ok(lines.into_iter().map(|line| line.traffic).collect())
}

fn run_one<T: Traffic>(
    line: &mut Line<T>,
    tally: &mut T::Tally,
    clock: Clock,
    window: Window,
    out: &mut Vec<u8>,
    scratch: &mut [u8],
) -> Result<(), BenchError> {
    loop {
        if line.turn(clock, scratch, tally)? {
            line.send(clock, out)?;
        }
        let now = clock.now();
        if line.traffic.is_done(now) || now >= window.give_up {
            return Ok(());
        }
    }
}

fn run_many<T: Traffic>(
    lines: &mut [Line<T>],
    tally: &mut T::Tally,
    clock: Clock,
    window: Window,
    out: &mut Vec<u8>,
    scratch: &mut [u8],
) -> Result<(), BenchError> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| io("epoll")(e.into()))?;
    for (index, line) in (0..).zip(lines.iter()) {
        let data = epoll::EventData::new_u64(index);
        epoll::add(&poll, &line.stream, data, epoll::EventFlags::IN)
            .map_err(|e| io("epoll")(e.into()))?;
    }
    let look_up = Timespec { tv_sec: 0, tv_nsec: LOOK_UP.subsec_nanos().into() };
    let mut events = Vec::with_capacity(EVENTS);
    let mut open = lines.len();
    let mut next_look = clock.now();
    while open > 0 {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&look_up)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io("epoll")(error.into())),
        }
        for event in &events {
            let Some(line) = lines.get_mut(event.data.u64() as usize) else { continue };
            if line.turn(clock, scratch, tally)? {
                line.send(clock, out)?;
            }
        }
        let now = clock.now();
        if now >= window.give_up {
            return Ok(());
        }
        if now >= next_look {
            next_look = now + LOOK_UP.as_nanos() as Nanos;
            for line in lines.iter_mut().filter(|line| !line.done) {
                if line.traffic.is_done(now) {
                    line.done = true;
                    open -= 1;
                }
            }
        }
    }
    Ok(())
}
