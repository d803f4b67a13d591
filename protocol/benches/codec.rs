//! Cost of a send header: `cargo bench -p oxmq-protocol`.
//!
//! Prints nanoseconds per operation, the best of several rounds, so that a busy machine shows least.
//! `cargo bench -p oxmq-protocol -- --only NAME --times COUNT` runs one of them COUNT times and prints
//! nothing: the difference between two counts under `valgrind --tool=callgrind` is in instructions.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter, PreparedFields, RemotingCommand};
use oxmq_protocol::frame::{self, HeaderForm};
use oxmq_protocol::header::{
    Header, SendMessageRequestHeaderV2, SendMessageView, write_send_response,
};

const ROUNDS: usize = 20;
const PER_ROUND: usize = 50_000;

/// The one operation to run, and how often.
fn only() -> Option<(String, usize)> {
    let args: Vec<_> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
    Some((value("--only")?, value("--times").map_or(PER_ROUND, |times| times.parse().unwrap())))
}

fn measure(form: &str, name: &str, mut operation: impl FnMut()) {
    if let Some((only, times)) = only() {
        if only == format!("{form} {name}") {
            (0..times).for_each(|_| operation());
        }
        return;
    }
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..PER_ROUND).for_each(|_| operation());
            start.elapsed().as_nanos() as f64 / PER_ROUND as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!("{form:<9} {name:<44} {best:>8.1} ns");
}

fn send_frame(form: HeaderForm) -> Vec<u8> {
    let properties = "KEYS\u{1}order-0000000001\u{2}UNIQ_KEY\u{1}7F00000100010000000000000001ABCD\u{2}\
                      WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";
    let header = SendMessageRequestHeaderV2 {
        producer_group: "bench-producer".into(),
        topic: "bench-topic".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 2,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(properties.into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: Some(0),
        batch: Some(false),
        broker_name: Some("broker-a".into()),
    };
    let mut command = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2).with_header(&header);
    command.form = form;
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

/// What a decoder without borrowing would do, for scale.
fn decode_with_a_map(header: &[u8]) -> usize {
    let value: serde_json::Value = serde_json::from_slice(header).unwrap();
    let fields: HashMap<String, String> = value["extFields"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    fields.len()
}

fn main() {
    for (label, form) in [("JSON", HeaderForm::Json), ("ROCKETMQ", HeaderForm::RocketMq)] {
        let bytes = send_frame(form);
        let (frame, _) = frame::split(&bytes).unwrap().unwrap();
        if only().is_none() {
            println!("{label:<9} header of {} bytes", frame.header.len());
        }
        measure(label, "scan", || {
            black_box(CommandView::decode(black_box(frame)).unwrap());
        });
        measure(label, "scan, send header", || {
            let view = CommandView::decode(black_box(frame)).unwrap();
            black_box(SendMessageView::decode(&view).unwrap());
        });
        let mut properties = Vec::new();
        measure(label, "scan, send header, properties", || {
            let view = CommandView::decode(black_box(frame)).unwrap();
            let header = SendMessageView::decode(&view).unwrap();
            properties.clear();
            header.properties.append_to(&mut properties);
            black_box((&header, &properties));
        });
        measure(label, "scan, owned command, declared header", || {
            let command = CommandView::decode(black_box(frame)).unwrap().to_command();
            black_box(SendMessageRequestHeaderV2::decode(&command.ext_fields).unwrap());
        });
        let mut out = Vec::with_capacity(1024);
        let stamps = PreparedFields::new(&[("MSG_REGION", "DefaultRegion"), ("TRACE_ON", "true")]);
        measure(label, "send answer", || {
            out.clear();
            let code = ResponseCode::SUCCESS;
            let mut writer = CommandWriter::response(&mut out, form, code, black_box(77), None);
            writer.prepared(&stamps);
            let id = "7F00000100002A9F0000000000000000";
            write_send_response(&mut writer, id, 2, black_box(123_456), Some(id));
            writer.finish(&[]);
            black_box(&out);
        });
    }
    let bytes = send_frame(HeaderForm::Json);
    let (frame, _) = frame::split(&bytes).unwrap().unwrap();
    measure("JSON", "for scale: serde_json and a map", || {
        black_box(decode_with_a_map(black_box(frame.header)));
    });
}
