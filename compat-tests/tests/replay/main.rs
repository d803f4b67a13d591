//! What official clients sent is sent again, to the server under test and to the reference: every field of
//! every answer is the same, but for what `known.rs` lists with the reason.
//!
//! With `BROKER_UNDER_TEST=reference` two servers of the reference are compared, which shows that what is
//! compared does not depend on the moment. `REPLAY=FILE` names another recording, as
//! `cargo run -p oxmq-compat-tests --bin capture-golden` makes them.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod known;
mod plain;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oxmq_compat_tests::ops;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, wait};
use serde_json::Value;

use crate::stream::Request;

/// Recordings in JSON; those in the binary form have the same requests.
const RECORDINGS: &[(&str, &str)] = &[
    ("java-5.5.0", include_str!("../../../protocol/tests/golden/frames/java-5.5.0-json.jsonl")),
    ("java-4.9.8", include_str!("../../../protocol/tests/golden/frames/java-4.9.8-json.jsonl")),
    ("go-2.1.2", include_str!("../../../protocol/tests/golden/frames/go-2.1.2.jsonl")),
    ("cpp-0.4.4", include_str!("../../../protocol/tests/golden/frames/cpp-0.4.4.jsonl")),
    ("node-3.12.0", include_str!("../../../protocol/tests/golden/frames/node-3.12.0.jsonl")),
];

const QUERY_MESSAGE: i64 = 12;
const GET_BROKER_RUNTIME_INFO: i32 = 28;
/// What is stored is in its queue, and found by its key, a moment later.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Far above any opaque of the helpers.
const FIRST_OPAQUE: i32 = 1_000_000;

/// One server, and the connections of one client to it.
struct Player {
    namesrv: Conn,
    broker: Conn,
    /// For questions that are not part of the recording.
    watch: Conn,
}

impl Player {
    fn connect(server: &ServerUnderTest) -> Self {
        let connect = |address: String| Conn::connect(&address);
        Self {
            namesrv: connect(server.namesrv_addr()),
            broker: connect(server.broker_addr()),
            watch: connect(server.broker_addr()),
        }
    }

    /// Sends a request and returns the answer once everything that it stored can be read.
    fn play(&mut self, request: &Request, opaque: i32) -> Option<Command> {
        let conn = if request.to_namesrv { &mut self.namesrv } else { &mut self.broker };
        conn.write_raw(&request.frame(opaque)).unwrap();
        if request.is_oneway() {
            self.settle();
            return None;
        }
        let answer = loop {
            let command =
                conn.receive().unwrap_or_else(|error| panic!("{}: {error}", request.call));
            // What the server asks by itself is passed over.
            if command.flag & 1 == 1 && command.opaque == opaque {
                break command;
            }
        };
        self.settle();
        Some(answer)
    }

    fn settle(&mut self) {
        wait::until("messages in their queues", SETTLE_LIMIT, || {
            let answer = self.watch.call(Command::request(GET_BROKER_RUNTIME_INFO, &[]));
            // The reference fails over its own figures now and then.
            let body: Value = serde_json::from_slice(&answer.body).ok()?;
            (body["table"]["dispatchBehindBytes"] == "0").then_some(())
        });
    }
}

fn start(kind: Kind) -> ServerUnderTest {
    let server = ServerUnderTest::setup()
        .kind(kind)
        .broker_conf("enablePropertyFilter", "true")
        // Nothing comes while the recording is played.
        .broker_conf("messageDelayLevel", "1h 2h 3h 4h 5h")
        .broker_conf("transactionTimeOut", "3600000")
        // A busy machine is no reason to refuse a message.
        .broker_conf("waitTimeMillsInSendQueue", "30000")
        .start();
    ops::create_topic(&server, "GoldenTopic", 2);
    server
}

#[test]
fn every_field_of_every_answer_to_recorded_requests_is_that_of_the_reference() {
    let servers = [start(Kind::under_test()), start(Kind::Reference)];
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    let mut compared = 0;
    let recordings: Vec<(String, String)> = match std::env::var("REPLAY") {
        Ok(file) => vec![(file.clone(), std::fs::read_to_string(file).unwrap())],
        Err(_) => {
            RECORDINGS.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
        }
    };
    for (name, text) in &recordings {
        let mut players = servers.each_ref().map(Player::connect);
        for (opaque, request) in (FIRST_OPAQUE..).zip(stream::requests(text)) {
            let differences = match request.code {
                // The index is built a moment later, and has no figure of its own.
                QUERY_MESSAGE => wait::try_until(SETTLE_LIMIT, || {
                    let differences = play(&mut players, &request, opaque);
                    differences
                        .iter()
                        .all(|(field, ..)| known::is_known(request.code, field))
                        .then_some(differences)
                })
                .unwrap_or_else(|| play(&mut players, &request, opaque)),
                _ => play(&mut players, &request, opaque),
            };
            compared += 1;
            for (field, subject, reference) in differences {
                match known::find(request.code, &field) {
                    Some(index) => {
                        used.insert(index);
                    }
                    None => found.push(format!(
                        "{name}: {} ({}): {field}: {subject} and not {reference}",
                        request.code, request.call
                    )),
                }
            }
        }
    }
    println!("{compared} answers compared");
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    if Kind::under_test() == Kind::Ours && std::env::var("REPLAY").is_err() {
        let unused: Vec<_> = known::unused(&used);
        assert!(unused.is_empty(), "these are equal now: {unused:?}");
    }
}

type Difference = (String, Value, Value);

/// Plays a request to both and answers in which fields the answers differ.
fn play(players: &mut [Player; 2], request: &Request, opaque: i32) -> Vec<Difference> {
    let [subject, reference] = players.each_mut().map(|player| {
        let answer = player.play(request, opaque);
        answer.map(|answer| plain::fields(request.code, &answer)).unwrap_or_default()
    });
    let names: BTreeSet<&String> = subject.keys().chain(reference.keys()).collect();
    let of = |fields: &BTreeMap<String, Value>, name| fields.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| (name.clone(), of(&subject, name), of(&reference, name)))
        .filter(|(_, subject, reference)| subject != reference)
        .filter(|(name, ..)| !known::is_of_the_moment(request.code, name))
        .collect()
}
