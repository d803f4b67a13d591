//! Cost of a send header: `cargo bench -p oxmq-protocol`.
//!
//! Prints nanoseconds per operation, the best of several rounds, so that a busy machine shows least.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter, RemotingCommand};
use oxmq_protocol::frame::{self, HeaderForm};
use oxmq_protocol::header::{
    Header, SendMessageRequestHeaderV2, SendMessageView, write_send_response,
};

const ROUNDS: usize = 20;
const PER_ROUND: usize = 50_000;

fn measure(name: &str, mut operation: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..PER_ROUND).for_each(|_| operation());
            start.elapsed().as_nanos() as f64 / PER_ROUND as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name:<44} {best:>8.1} ns");
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
    for (name, form) in [("JSON", HeaderForm::Json), ("ROCKETMQ", HeaderForm::RocketMq)] {
        let bytes = send_frame(form);
        let (frame, _) = frame::split(&bytes).unwrap().unwrap();
        println!("{name}: header of {} bytes", frame.header.len());
        measure("scan", || {
            black_box(CommandView::decode(black_box(frame)).unwrap());
        });
        let mut properties = Vec::new();
        measure("scan, send header, properties", || {
            let view = CommandView::decode(black_box(frame)).unwrap();
            let header = SendMessageView::decode(&view).unwrap();
            properties.clear();
            header.properties.append_to(&mut properties);
            black_box((&header, &properties));
        });
        measure("scan, owned command, declared header", || {
            let command = CommandView::decode(black_box(frame)).unwrap().to_command();
            black_box(SendMessageRequestHeaderV2::decode(&command.ext_fields).unwrap());
        });
        let mut out = Vec::with_capacity(1024);
        measure("send answer", || {
            out.clear();
            let code = ResponseCode::SUCCESS;
            let mut writer = CommandWriter::response(&mut out, form, code, black_box(77), None);
            writer.text("MSG_REGION", "DefaultRegion");
            writer.text("TRACE_ON", "true");
            let id = "7F00000100002A9F0000000000000000";
            write_send_response(&mut writer, id, 2, black_box(123_456), Some(id));
            writer.finish(&[]);
            black_box(&out);
        });
    }
    let bytes = send_frame(HeaderForm::Json);
    let (frame, _) = frame::split(&bytes).unwrap().unwrap();
    measure("for scale: serde_json and a map", || {
        black_box(decode_with_a_map(black_box(frame.header)));
    });
}
