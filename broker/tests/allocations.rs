//! What a request costs in allocations, counted over the whole process.
#![allow(clippy::unwrap_used)] // Helpers of tests, too.

mod common;

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::settings;
use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::frame::{self, HeaderForm};
use oxmq_protocol::header::SendMessageRequestHeaderV2;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TOPIC: &str = "counted";
/// Requests under way.
const WINDOW: usize = 32;
const WINDOWS: usize = 16;
/// What the broker does beside the requests, some times a second, falls into some rounds, not into all, however slow
/// the machine is.
const ROUNDS: usize = 200;
const WARM_UP_ROUNDS: usize = 20;

/// Requests of one kind, encoded ahead, and a connection to make them on.
struct Load {
    stream: TcpStream,
    /// The frames of one window each.
    windows: Vec<Vec<u8>>,
    answers: Vec<u8>,
}

impl Load {
    fn new(stream: TcpStream, request: impl Fn(usize) -> RemotingCommand) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let windows = (0..WINDOWS).map(|window| {
            let mut frames = Vec::new();
            for at in 0..WINDOW {
                let number = window * WINDOW + at;
                let mut request = request(number);
                request.opaque = number as i32;
                request.encode(&mut frames);
            }
            frames
        });
        Self { stream, windows: windows.collect(), answers: vec![0; 1 << 20] }
    }

    /// Makes every request once and checks the code of each answer: allocations meanwhile.
    fn round(&mut self) -> usize {
        let before = ALLOCATOR.stats();
        for frames in &self.windows {
            self.stream.write_all(frames).unwrap();
            let (mut filled, mut answered) = (0, 0);
            while answered < WINDOW {
                filled += self.stream.read(&mut self.answers[filled..]).unwrap();
                let mut used = 0;
                while let Some((frame, bytes)) = frame::split(&self.answers[used..filled]).unwrap()
                {
                    let answer = CommandView::decode(frame).unwrap();
                    assert_eq!(answer.code, 0, "{answer:?}");
                    used += bytes;
                    answered += 1;
                }
                self.answers.copy_within(used..filled, 0);
                filled -= used;
            }
        }
        let after = ALLOCATOR.stats();
        after.allocations + after.reallocations - before.allocations - before.reallocations
    }

    fn fewest_allocations(mut self) -> usize {
        for _ in 0..WARM_UP_ROUNDS {
            self.round();
        }
        let mut fewest = self.round();
        for _ in 1..ROUNDS {
            if fewest == 0 {
                break;
            }
            fewest = fewest.min(self.round());
        }
        fewest
    }
}

fn send(form: HeaderForm, number: usize) -> RemotingCommand {
    let header = SendMessageRequestHeaderV2 {
        producer_group: "producers".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: (number % 4) as i32,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(format!(
            "KEYS\u{1}order-{number}\u{2}UNIQ_KEY\u{1}7F0000010001{number:020X}\u{2}WAIT\u{1}true\u{2}\
             TAGS\u{1}TagA\u{2}"
        )),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: Some(0),
        batch: Some(false),
        broker_name: Some("counted-broker".into()),
    };
    let mut request = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2)
        .with_header(&header)
        .with_body(vec![b'x'; 1024]);
    request.form = form;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_sends_allocate_nothing_once_they_are_under_way() {
    let root = tempfile::tempdir().unwrap();
    let config = BrokerSettings { broker_name: "counted-broker".to_owned(), ..settings() };
    let mut store = StoreConfig::in_dir(root.path());
    store.mapped_file_size_commit_log = 256 << 20;
    let broker = Broker::start(config, store).await.unwrap();
    let address = broker.local_addr();
    let counted = tokio::task::spawn_blocking(move || {
        let connect = || TcpStream::connect(address).unwrap();
        let [json, binary] = [HeaderForm::Json, HeaderForm::RocketMq]
            .map(|form| Load::new(connect(), |n| send(form, n)).fewest_allocations());
        [("sends in JSON", json), ("sends in the binary form", binary)]
    });
    for (what, allocations) in counted.await.unwrap() {
        assert_eq!(allocations, 0, "in {} {what}", WINDOWS * WINDOW);
    }
    broker.shutdown().await;
}
