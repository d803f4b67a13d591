//! What every load does first: find the broker, create the topic, connect, split into threads.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::args::Common;
use super::clock::{Clock, Window};
use super::control::Control;
use super::error::BenchError;
use super::lane::{self, Line, Traffic};
use super::payload::Payload;
use super::report::Shape;
use super::template::{SendShape, SendTemplates};
use super::{files, meter, target};

/// Between the last connection and the first request: all threads are up by then.
const LEAD_IN: Duration = Duration::from_millis(20);

/// The broker has stored everything when the count stands still this long.
const SETTLED: Duration = Duration::from_millis(500);
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// One run against one broker.
pub(super) struct Setup<'a> {
    pub(super) common: &'a Common,
    pub(super) broker: SocketAddr,
    pub(super) control: Control,
    pub(super) clock: Clock,
    pub(super) payload: Payload,
    /// One message in so many has the other tag.
    pub(super) rare: Option<u64>,
    /// Messages go to so many numbered topics instead of the one.
    pub(super) topics: Option<u32>,
}

impl<'a> Setup<'a> {
    /// Finds the broker and creates the topic.
    pub(super) fn new(common: &'a Common) -> Result<Self, BenchError> {
        let broker = target::broker(common)?;
        let mut control = Control::connect(broker, common.form())?;
        control.create_topic(&common.topic, common.queues)?;
        let payload = Payload::new(common.size as usize);
        Ok(Self { common, broker, control, clock: Clock::new(), payload, rare: None, topics: None })
    }

    /// Opens the load's connections.
    pub(super) fn connect(&self, count: u32) -> Result<Vec<TcpStream>, BenchError> {
        files::demand_room(count, self.common.server_pid)?;
        (0..count).map(|_| lane::connect(self.broker)).collect()
    }

    /// Send requests for the topic; `batch` is the number of messages in each.
    pub(super) fn templates(
        &self,
        oneway: bool,
        batch: Option<u32>,
    ) -> Result<SendTemplates, BenchError> {
        SendTemplates::new(&self.payload, &SendShape { oneway, batch, ..self.send_shape() })
    }

    /// Half messages of transactions for the topic.
    pub(super) fn half_templates(&self) -> Result<SendTemplates, BenchError> {
        SendTemplates::new(&self.payload, &SendShape { half: true, ..self.send_shape() })
    }

    fn send_shape(&self) -> SendShape<'_> {
        SendShape {
            topic: &self.common.topic,
            queues: self.common.queues,
            form: self.common.form(),
            oneway: false,
            batch: None,
            half: false,
            rare: self.rare,
            topics: self.topics,
        }
    }

    /// The window of a run that starts now.
    pub(super) fn window(&self) -> Window {
        let start = self.clock.now() + LEAD_IN.as_nanos() as u64;
        Window::new(start, self.common.warmup(), self.common.length())
    }

    /// Waits until nothing more is stored; returns the messages in the topic.
    pub(super) fn settle(&mut self) -> Result<i64, BenchError> {
        let (topic, queues) = (&self.common.topic, self.common.queues);
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut stored = self.control.stored(topic, queues)?;
        loop {
            thread::sleep(SETTLED);
            let now = self.control.stored(topic, queues)?;
            if now == stored || Instant::now() >= deadline {
                return Ok(now);
            }
            stored = now;
        }
    }

    /// Waits until the server has nothing left to do and the disk has what was written: what follows is not
    /// measured beside what was before. Takes the server's process.
    pub(super) fn rest(&self) -> Result<(), BenchError> {
        let Some(server) = self.common.server_pid else { return Ok(()) };
        meter::wait_for_rest(self.clock, server)?;
        rustix::fs::sync();
        Ok(())
    }

    /// The report's head.
    pub(super) fn shape(&self, mode: &'static str) -> Shape {
        let common = self.common;
        Shape {
            mode,
            note: common.note.clone(),
            broker: self.broker.to_string(),
            topic: common.topic.clone(),
            queues: common.queues,
            size: common.size,
            connections: common.connections,
            ..Shape::default()
        }
    }
}

/// Runs the lines on `threads` threads, dealt out in turn; `tally` makes the counts of each thread.
/// Returns the traffic and the counts of all.
pub(super) fn run_lanes<T: Traffic>(
    lines: Vec<Line<T>>,
    threads: usize,
    clock: Clock,
    window: Window,
    tally: impl Fn() -> Result<T::Tally, BenchError>,
) -> Result<(Vec<T>, Vec<T::Tally>), BenchError> {
    let mut lanes: Vec<Vec<Line<T>>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
    let count = lanes.len();
    for (index, line) in lines.into_iter().enumerate() {
        lanes[index % count].push(line);
    }
    let tallies = lanes.iter().map(|_| tally()).collect::<Result<Vec<_>, _>>()?;
    thread::scope(|scope| {
        let running: Vec<_> = lanes
            .into_iter()
            .zip(tallies)
            .map(|(lines, mut tally)| {
                scope.spawn(move || -> Result<_, BenchError> {
                    let traffic = lane::run(lines, &mut tally, clock, window)?;
                    Ok((traffic, tally))
                })
            })
            .collect();
        let mut all = Vec::new();
        let mut tallies = Vec::new();
        for thread in running {
            let (traffic, tally) =
                thread.join().map_err(|_| BenchError::Usage("a thread panicked".into()))??;
            all.extend(traffic);
            tallies.push(tally);
        }
        Ok((all, tallies))
    })
}
