//! Many topics: how fast they are made, and what a broker with all of them takes.

use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use serde::Serialize;

use super::args::TopicsArgs;
use super::control::Control;
use super::error::BenchError;
use super::meter::{Footprint, footprint};
use super::target;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TopicsReport {
    mode: &'static str,
    note: String,
    broker: String,
    topics: u32,
    queues: u32,
    connections: u32,
    topics_per_second: f64,
    messages_per_second: f64,
    server: Option<Footprint>,
}

/// Runs `topics`.
pub(super) fn run(args: &TopicsArgs) -> Result<TopicsReport, BenchError> {
    let common = &args.common;
    let broker = target::broker(common)?;
    let begin = Instant::now();
    each_topic(args, broker, |control, topic| control.create_topic(topic, common.queues))?;
    let created = begin.elapsed();
    let begin = Instant::now();
    each_topic(args, broker, |control, topic| {
        (0..common.queues).try_for_each(|queue| send(control, topic, queue))
    })?;
    let sent = begin.elapsed();
    // The broker has them all, and with as many queues.
    let mut control = Control::connect(broker, common.form())?;
    for number in [0, args.topics / 2, args.topics - 1] {
        let topic = name(args, number);
        let stored = control.stored(&topic, common.queues)?;
        if stored < common.queues.into() {
            return Err(BenchError::Wrong(format!("{topic} has {stored} messages")));
        }
    }
    let messages = f64::from(args.topics) * f64::from(common.queues);
    Ok(TopicsReport {
        mode: "topics",
        note: common.note.clone(),
        broker: broker.to_string(),
        topics: args.topics,
        queues: common.queues,
        connections: common.connections,
        topics_per_second: f64::from(args.topics) / created.as_secs_f64(),
        messages_per_second: messages / sent.as_secs_f64(),
        server: common.server_pid.map(footprint).transpose()?,
    })
}

fn name(args: &TopicsArgs, number: u32) -> String {
    format!("{}-{number}", args.common.topic)
}

/// Does something about each topic, on as many connections as asked for, each with a thread that waits
/// for its answers: these are requests that take the broker longer than anything here.
fn each_topic(
    args: &TopicsArgs,
    broker: SocketAddr,
    work: impl Fn(&mut Control, &str) -> Result<(), BenchError> + Sync,
) -> Result<(), BenchError> {
    let connections = args.common.connections;
    thread::scope(|scope| {
        let lines: Vec<_> = (0..connections)
            .map(|first| {
                let work = &work;
                scope.spawn(move || -> Result<(), BenchError> {
                    let mut control = Control::connect(broker, args.common.form())?;
                    (first..args.topics)
                        .step_by(connections as usize)
                        .try_for_each(|number| work(&mut control, &name(args, number)))
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
        let Self { broker, topics, queues, connections, .. } = self;
        writeln!(
            f,
            "topics  {broker}  {topics} topics x {queues} queues, {connections} connections"
        )?;
        writeln!(f, "  created    {:.0} topics/s", self.topics_per_second)?;
        write!(f, "  sent       {:.0} messages/s, one to each queue", self.messages_per_second)?;
        if let Some(Footprint { rss_mib, rss_anon_mib, open_files }) = self.server {
            write!(
                f,
                "\n  server     RSS {rss_mib:.1} MiB ({rss_anon_mib:.1} anonymous), \
                 {open_files} open files"
            )?;
        }
        Ok(())
    }
}
