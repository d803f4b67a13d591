//! The fuzz targets on inputs mutated from a small corpus, most of it golden frames: nothing panics,
//! nothing grows beyond what its input explains.
//!
//! `MUTATION_SEED` runs another set of inputs, `MUTATION_RUNS` more of them; `FUZZ_CORPUS` names a
//! folder that the corpus is written to instead.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, too.

mod captured;
#[allow(missing_docs, unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use captured::Captured;
use oxmq_protocol::body::*;
use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson::{Dialect, to_vec};
use oxmq_protocol::frame::{HeaderForm, split};
use oxmq_protocol::message::{EncodeOptions, InnerMessage, MessageExt};

const RUNS: usize = 8_000;
const SEED: u64 = 0x6f78_6d71_0001;
/// Longest input; some mutations add to it.
const MAX_INPUT_BYTES: usize = 4 * 1024;

/// Marsaglia's xorshift: the same inputs from the same seed on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Bytes that mean something to one format or another.
const TELLING: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x02",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff",
    b"\x7f\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\u12",
    b"\\uD800",
    b"\\",
    b"null",
    b"-1",
    b"9223372036854775808",
    b"1e999",
    b"{\"$ref\":\"$\"}",
    b"{\"$ref\":\"..\"}",
    b"{}",
    b"[{}]",
    b"\xc3\x28",
    b"\r\n",
    b"=",
    b"#",
    b"true",
    b"NaN",
];

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.truncate(at),
            3 => drop(input.drain(at..(at + random.below(8)).min(input.len()))),
            4 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let end = (at + random.below(64)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                let telling = TELLING[random.below(TELLING.len())];
                let end = (at + random.below(2) * telling.len()).min(input.len());
                input.splice(at..end, telling.iter().copied());
            }
        }
    }
    input.truncate(MAX_INPUT_BYTES);
    input
}

#[test]
fn every_header_and_body_of_the_reference_has_a_place_in_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let targets = read(&root.join("fuzz/src/lib.rs"));
    let targets: Vec<_> = targets.split(|c: char| !c.is_alphanumeric()).collect();
    let tables = ["headers", "bodies"]
        .map(|name| read(&root.join(format!("tests/reference-5.5.0/{name}.tsv"))));
    let classes: Vec<_> = tables
        .iter()
        .flat_map(|table| table.lines().map(|l| l.split(['\t', '*']).next().unwrap()))
        .collect();
    for entry in
        ["src/header", "src/body"].iter().flat_map(|at| std::fs::read_dir(root.join(at)).unwrap())
    {
        let text = read(&entry.unwrap().path());
        let structs = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub struct "));
        for name in structs.map(|rest| rest.split([' ', '<', ';']).next().unwrap()) {
            assert!(!classes.contains(&name) || targets.contains(&name), "{name} is in no target");
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Parts of the golden frames that are short enough to be mutated.
fn golden(part: impl Fn(&Captured) -> Option<&[u8]>) -> Vec<Vec<u8>> {
    let frames = captured::captured();
    let parts = frames.iter().filter_map(part).filter(|part| part.len() <= MAX_INPUT_BYTES);
    let parts: Vec<_> = parts.map(<[u8]>::to_vec).collect();
    assert!(!parts.is_empty());
    parts
}

/// Bodies of the golden frames of these codes.
fn golden_bodies(codes: &[i32], answers: bool) -> Vec<Vec<u8>> {
    golden(|captured| {
        let is_wanted = codes.contains(&captured.request_code) && captured.is_answer() == answers;
        is_wanted.then(|| captured.frame().body).filter(|body| !body.is_empty())
    })
}

fn run(name: &str, target: fn(&[u8]), corpus: Vec<Vec<u8>>) {
    if let Some(folder) = std::env::var_os("FUZZ_CORPUS") {
        let folder = Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (index, input) in corpus.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index}")), input).unwrap();
        }
        return;
    }
    let seed = number("MUTATION_SEED", SEED);
    let runs = number("MUTATION_RUNS", RUNS as u64);
    println!("{name}: MUTATION_SEED={seed} MUTATION_RUNS={runs}");
    corpus.iter().for_each(|input| target(input));
    let mut random = Random(seed);
    for index in 0..runs {
        let input = mutate(&mut random, &corpus);
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        assert!(outcome.is_ok(), "{name}, seed {seed}, input {index}: {}", input.escape_ascii());
    }
}

fn commands() -> Vec<RemotingCommand> {
    let mut commands = Vec::new();
    for form in [HeaderForm::Json, HeaderForm::RocketMq] {
        let fields: [&[(&str, &str)]; 4] = [
            &[],
            &[
                ("a", "group"),
                ("b", "topic"),
                ("c", "TBW102"),
                ("d", "8"),
                ("e", "-1"),
                ("f", "0"),
                ("g", "1700000000000"),
                ("h", "0"),
                ("i", "KEYS\u{1}k\u{2}TAGS\u{1}t\u{2}"),
                ("j", "0"),
                ("k", "false"),
                ("l", "16"),
                ("m", "true"),
                ("n", "broker-a"),
            ],
            &[
                ("consumerGroup", "g"),
                ("topic", "t"),
                ("queueId", "3"),
                ("queueOffset", "7"),
                ("maxMsgNums", "32"),
                ("sysFlag", "6"),
                ("commitOffset", "5"),
                ("suspendTimeoutMillis", "15000"),
                ("subscription", "a || b"),
                ("subVersion", "1"),
                ("expressionType", "TAG"),
                ("offset", "9"),
                ("group", "g"),
                ("delayLevel", "0"),
            ],
            &[
                ("brokerName", "b"),
                ("brokerAddr", "1.2.3.4:10911"),
                ("clusterName", "C"),
                ("haServerAddr", "1.2.3.4:10912"),
                ("brokerId", "0"),
                ("bodyCrc32", "-5"),
                ("compressed", "true"),
                ("namespace", "ns"),
                ("key", "\u{20ac}\u{1f600}"),
                ("value", "v"),
            ],
        ];
        for (index, fields) in fields.into_iter().enumerate() {
            let mut command = RemotingCommand::request(RequestCode(310 + index as i32));
            command.form = form;
            command.opaque = index as i32;
            for (name, value) in fields {
                command.ext_fields.insert(*name, *value);
            }
            commands.push(command.with_body(&b"hello"[..]).with_remark("re\"mark"));
        }
    }
    commands
}

fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = commands()
        .iter()
        .map(|command| {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            bytes
        })
        .collect();
    frames.push(frames.concat());
    frames.extend(golden(|captured| Some(&captured.bytes)));
    frames
}

fn headers(form: HeaderForm) -> Vec<Vec<u8>> {
    let of_form = |bytes: &Vec<u8>| {
        let (frame, _) = split(bytes).unwrap()?;
        (frame.form == form).then(|| frame.header.to_vec())
    };
    frames().iter().filter_map(of_form).collect()
}

#[test]
fn mutated_frames_are_read_or_refused() {
    run("frame", targets::frame, frames());
}

#[test]
fn mutated_json_headers_are_read_or_refused() {
    run("json_header", targets::json_header, headers(HeaderForm::Json));
}

#[test]
fn mutated_binary_headers_are_read_or_refused() {
    run("binary_header", targets::binary_header, headers(HeaderForm::RocketMq));
}

#[test]
fn mutated_bodies_are_read_or_refused() {
    let json = |text: &str| text.as_bytes().to_vec();
    let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 1 };
    let lock = LockBatchRequestBody { mq_set: vec![queue], ..LockBatchRequestBody::default() };
    let mut corpus = vec![
        to_vec(&lock, Dialect::Raw).unwrap(),
        to_vec(&SubscriptionGroupConfig::default(), Dialect::Raw).unwrap(),
        json(
            r#"{"brokerAddrTable":{"b":{"brokerAddrs":{0:"1.2.3.4:1"},"brokerName":"b","cluster":"C"}},"clusterAddrTable":{"C":["b"]}}"#,
        ),
        json(
            r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[1],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":["a"],"topic":"t"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"p"}],"withoutSub":false}"#,
        ),
        json(
            r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":5},"topicConfigTable":{"t":{"attributes":{"a":"b"},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":4}}}"#,
        ),
        json(
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"a"},"brokerName":"b","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
        ),
        json(
            r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"maxOffset":5,"minOffset":0,"lastUpdateTimestamp":1}},"topicPutTps":0.5}"#,
        ),
        json(r#"{"offsetTable":{"t@g":{0:5,1:7}},"groupTopicMap":{},"dataVersion":{"counter":1}}"#),
        json(
            r#"{"forbiddenTable":{"g":{"t":3}},"subscriptionGroupTable":{"g":{"groupName":"g","groupRetryPolicy":{"type":"EXPONENTIAL"}}}}"#,
        ),
        json(
            r#"{"mqSet":[{"topic":"t"},{"$ref":"$.mqSet[0]"}],"table":{"k":"v"},"topicList":["t"]}"#,
        ),
        json(
            r#"{"hostedQueues":{0:[{"bname":"b","gen":0,"queueId":0}]},"currIdMap":{0:0},"epoch":1,"scope":"__global__"}"#,
        ),
    ];
    corpus.extend(golden(|captured| {
        let body = captured.frame().body;
        body.starts_with(b"{").then_some(body)
    }));
    run("body", targets::body, corpus);
}

#[test]
fn mutated_registrations_are_read_or_refused() {
    let goldens: [&[u8]; 2] = [
        include_bytes!("golden/register_broker_compressed_plain.bin"),
        include_bytes!("golden/register_broker_compressed_full.bin"),
    ];
    let corpus =
        goldens.into_iter().flat_map(|golden| [0, 1].map(|first| [&[first], golden].concat()));
    run("registration", targets::registration, corpus.collect());
}

#[test]
fn mutated_batches_are_read_or_refused() {
    let mut body = Vec::new();
    for (flag, text, properties) in [(1, "a", "K\u{1}v\u{2}"), (2, "", ""), (-1, "ccc", "x")] {
        let message =
            InnerMessage { flag, body: text.as_bytes(), properties: properties.as_bytes() };
        message.encode(&mut body).unwrap();
    }
    let mut corpus = golden_bodies(&[320], false);
    corpus.extend([body, Vec::new()]);
    run("batch", targets::batch, corpus);
}

#[test]
fn mutated_records_are_read_or_refused() {
    let records = ["10.1.2.3:5555", "[2001:db8::1]:9"].map(|host| {
        let message = MessageExt {
            topic: "TopicA".to_owned(),
            queue_id: 1,
            flag: 7,
            sys_flag: 0,
            queue_offset: 3,
            commit_log_offset: 99,
            born_timestamp_ms: 1_700_000_000_000,
            born_host: host.parse().unwrap(),
            store_timestamp_ms: 1_700_000_000_001,
            store_host: host.parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: b"hello".to_vec(),
            properties: b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02".to_vec(),
        };
        let mut bytes = Vec::new();
        message.encode(&EncodeOptions::default(), &mut bytes).unwrap();
        bytes
    });
    let [first, second] = records;
    let both = [first.clone(), second.clone()].concat();
    let id = b"7F0000010000271000000000000003E7".to_vec();
    let mut corpus = golden_bodies(&[11, 12, 33], true);
    corpus.extend([first, second, both, id]);
    run("record", targets::record, corpus);
}

#[test]
fn mutated_properties_are_read_or_refused() {
    let corpus = [&b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02"[..], b"KEYS\x01\x02", b"a\x01b", b""];
    run("properties", targets::properties, corpus.map(<[u8]>::to_vec).to_vec());
}

#[test]
fn mutated_handles_are_read_or_refused() {
    let corpus = [
        "5 1700000000000 60000 3 0 broker-a 1 7",
        "0 1700000000000 60000 999 2 broker-a 0 0",
        "djEgb3JkZXJzIGJyb2tlci1hIDE3MDAwMDAwMDAwMDAgN0YwMDAwMDEwMDAxMDAwMDAwMDAwMDAwMDAwMUFCQ0Q=",
        "7F0000010000271000000000000003E7",
        "20010DB8000000000000000000000001000027100000000000000042",
        "external://broker-1.example.com:10911,v6://[2001:db8::1]:20911",
        "group topic",
    ];
    run("handle", targets::handle, corpus.map(|text| text.as_bytes().to_vec()).to_vec());
}

#[test]
fn mutated_property_files_are_read_or_refused() {
    let corpus = [
        &b"# comment\nlistenPort = 10911\nbrokerIP1:1.2.3.4\r\nkey\\ with\\=blank value \\\n   goes on\n"[..],
        b"!x\n\n  a=\\u20AC\\t\\n\n\xe4=\xf6 \\\\\r",
        b"",
    ];
    run("properties_file", targets::properties_file, corpus.map(<[u8]>::to_vec).to_vec());
}

#[test]
fn mutated_greetings_are_read_or_refused() {
    let v2 = |command: u8, family: u8, rest: &[u8]| {
        let length = (rest.len() as u16).to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
    };
    let corpus = vec![
        b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 10911\r\n\0\0\x01".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1024 10911\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0x21, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 0x15, 0xB3, 0x2A, 0x9F, 4, 0, 1, 9]),
        v2(0x21, 0x21, &[7; 36]),
        v2(0x20, 0, &[]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0".to_vec(),
    ];
    run("proxy", targets::proxy, corpus);
}
