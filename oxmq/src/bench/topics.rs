//! Many topics: how fast they are made, what a broker with all of them takes, and whether it sends as fast as
//! with few.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::Instant;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use serde::Serialize;

use super::args::TopicsArgs;
use super::control::Control;
use super::error::BenchError;
use super::meter::footprint;
use super::payload::topic_name;
use super::report::Report;
use super::send::{self, Load};
use super::setup::Setup;
use super::verify::{CATCH_UP, RETRY_AFTER};

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TopicsReport {
    /// Of sends to all topics in turn.
    #[serde(flatten)]
    report: Report,
    topics: u32,
    #[serde(flatten)]
    made: Option<Made>,
    few: u32,
    /// Of sends to the first few: while they were all that there were, or before those to all of an earlier run.
    few_messages_per_second: f64,
    /// The rate with all topics as a part of that with few.
    rate_of_few: f64,
    open_files: Option<usize>,
}

/// What it was to make them.
#[derive(Clone, Debug, Serialize)]
struct Made {
    topics_per_second: f64,
    /// One to each queue.
    first_messages_per_second: f64,
}

/// Runs `topics`.
pub(super) fn run(args: &TopicsArgs) -> Result<TopicsReport, BenchError> {
    let common = &args.common;
    common.without_count("topics")?;
    let mut setup = Setup::new(common)?;
    let few = args.few;
    if few >= args.topics {
        return Err(BenchError::Usage("--few has to be less than --topics".into()));
    }
    if !args.existing {
        make(args, setup.broker, 0..few)?;
    }
    let few_messages_per_second = send_to(&mut setup, few)?.messages_per_second();
    let made = match args.existing {
        true => None,
        false => Some(make(args, setup.broker, few..args.topics)?),
    };
    check(args, &mut setup)?;
    let report = send_to(&mut setup, args.topics)?;
    let rate_of_few = report.messages_per_second() / few_messages_per_second;
    let held = common.server_pid.map(footprint).transpose()?;
    let open_files = held.map(|held| held.open_files);
    let topics = args.topics;
    Ok(TopicsReport { report, topics, made, few, few_messages_per_second, rate_of_few, open_files })
}

/// Makes the topics called `numbers`, and sends a message to each of their queues.
fn make(args: &TopicsArgs, broker: SocketAddr, numbers: Range<u32>) -> Result<Made, BenchError> {
    let (count, queues) = (f64::from(numbers.end - numbers.start), args.common.queues);
    let begin = Instant::now();
    each_topic(args, broker, numbers.clone(), |control, topic| {
        control.create_topic(topic, queues)
    })?;
    let created = begin.elapsed();
    let begin = Instant::now();
    each_topic(args, broker, numbers, |control, topic| {
        (0..queues).try_for_each(|queue| send(control, topic, queue))
    })?;
    let filled = begin.elapsed();
    Ok(Made {
        topics_per_second: count / created.as_secs_f64(),
        first_messages_per_second: count * f64::from(queues) / filled.as_secs_f64(),
    })
}

/// Insists that the broker has them all, each with a message in its first queue, and some with as many queues.
fn check(args: &TopicsArgs, setup: &mut Setup<'_>) -> Result<(), BenchError> {
    let common = &args.common;
    each_topic(args, setup.broker, 0..args.topics, |control, topic| {
        until_stored(topic, 1, || control.max_offset(topic, 0))
    })?;
    for number in [0, args.topics / 2, args.topics - 1] {
        let topic = topic_name(&common.topic, number);
        let stored = || setup.control.stored(&topic, common.queues);
        until_stored(&topic, common.queues.into(), stored)?;
    }
    Ok(())
}

/// Waits until `wanted` messages are there: the reference answers sends before that.
fn until_stored(
    topic: &str,
    wanted: i64,
    mut stored: impl FnMut() -> Result<i64, BenchError>,
) -> Result<(), BenchError> {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        match stored()? {
            enough if enough >= wanted => return Ok(()),
            stored if Instant::now() >= deadline => {
                return Err(BenchError::Wrong(format!("{topic} has {stored} messages")));
            }
            _ => thread::sleep(RETRY_AFTER),
        }
    }
}

/// Sends to the first `topics` of them in turn.
fn send_to(setup: &mut Setup<'_>, topics: u32) -> Result<Report, BenchError> {
    setup.rest()?;
    setup.topics = Some(topics);
    send::closed_loop(setup, Load { in_flight: 1, batch: None, count: None }, "topics")
}

/// Does something about each topic, on as many connections as asked for, each with a thread that waits
/// for its answers: these are requests that take the broker longer than anything here.
fn each_topic(
    args: &TopicsArgs,
    broker: SocketAddr,
    numbers: Range<u32>,
    work: impl Fn(&mut Control, &str) -> Result<(), BenchError> + Sync,
) -> Result<(), BenchError> {
    let connections = args.common.connections;
    thread::scope(|scope| {
        let lines: Vec<_> = (0..connections)
            .map(|first| {
                let (work, numbers) = (&work, numbers.clone());
                scope.spawn(move || -> Result<(), BenchError> {
                    let mut control = Control::connect(broker, args.common.form())?;
                    numbers.skip(first as usize).step_by(connections as usize).try_for_each(
                        |number| work(&mut control, &topic_name(&args.common.topic, number)),
                    )
                })
            })
            .collect();
        lines.into_iter().try_for_each(|line| {
            line.join().map_err(|_| BenchError::Usage("a thread panicked".into()))?
        })
    })
}

/// Sends a message of one byte.
pub(super) fn send(control: &mut Control, topic: &str, queue: u32) -> Result<(), BenchError> {
    send_with(control, topic, queue, "")
}

/// The same with properties.
pub(super) fn send_with(
    control: &mut Control,
    topic: &str,
    queue: u32,
    properties: &str,
) -> Result<(), BenchError> {
    let queue = queue.to_string();
    let mut request = RemotingCommand::request(RequestCode::SEND_MESSAGE).with_body(b"x".to_vec());
    for (name, value) in [
        ("producerGroup", "oxmq-bench"),
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", &queue),
        ("sysFlag", "0"),
        ("bornTimestamp", "0"),
        ("flag", "0"),
        ("properties", properties),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("batch", "false"),
    ] {
        request.ext_fields.insert(name, value);
    }
    control.demand("send", request).map(drop)
}

impl fmt::Display for TopicsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, topics, made, few, .. } = self;
        write!(f, "{report}\n  topics     {topics}")?;
        if let Some(open_files) = self.open_files {
            write!(f, ", {open_files} open files")?;
        }
        if let Some(made) = made {
            write!(
                f,
                "\n  made       {:.0} topics/s, then {:.0} messages/s, one to each queue",
                made.topics_per_second, made.first_messages_per_second
            )?;
        }
        write!(
            f,
            "\n  with {few}   {:.0} messages/s: with all of them {:.2} of that",
            self.few_messages_per_second, self.rate_of_few
        )
    }
}
