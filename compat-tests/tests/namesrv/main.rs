//! Every request of the name server, answered alike by both kinds.
//!
//! The brokers here are made up: each test registers its own, in its own cluster.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod both;
mod broker;
mod code;
mod departure;
mod registration;
mod settings;
mod topics;

use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, wait};
use serde_json::Value;

use crate::broker::Broker;
use crate::code::*;

/// Departures are answered before they have an effect; silence is looked for every 5 s.
const EFFECT_LIMIT: Duration = Duration::from_secs(20);

/// One name server for the tests that change none of its settings.
fn connect() -> Conn {
    static SHARED: OnceLock<ServerUnderTest> = OnceLock::new();
    let server = SHARED.get_or_init(|| ServerUnderTest::setup().without_broker().start());
    Conn::connect(&server.namesrv_addr())
}

fn ask(conn: &mut Conn, code: i32, fields: &[(&str, &str)]) -> Command {
    conn.call(Command::request(code, fields))
}

fn text(answer: &Command) -> String {
    assert_eq!(answer.code, SUCCESS, "{answer:?}");
    String::from_utf8(answer.body.clone()).unwrap()
}

/// The remark of an answer that refuses.
fn refusal(answer: &Command, code: i32) -> &str {
    assert_eq!(answer.code, code, "{answer:?}");
    answer.remark.as_deref().unwrap_or_default()
}

/// The route of a topic in the strict dialect, or `None` for code 17.
fn route(conn: &mut Conn, topic: &str) -> Option<Value> {
    let answer = ask(conn, ROUTE, &[("topic", topic), ("acceptStandardJsonOnly", "true")]);
    match answer.code {
        TOPIC_NOT_EXIST => None,
        _ => Some(serde_json::from_str(&text(&answer)).unwrap()),
    }
}

fn perm(conn: &mut Conn, topic: &str) -> i64 {
    route(conn, topic).expect("a route")["queueDatas"][0]["perm"].as_i64().unwrap()
}

fn wait_for_no_route(conn: &mut Conn, topic: &str) {
    wait::until("no route any more", EFFECT_LIMIT, || route(conn, topic).is_none().then_some(()));
}

fn names(answer: &Command) -> Vec<String> {
    let list: Value = serde_json::from_str(&text(answer)).unwrap();
    let list = list["topicList"].as_array().unwrap();
    let mut names: Vec<_> = list.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn unknown_codes_and_missing_fields_are_refused() {
    let mut conn = connect();
    let answer = ask(&mut conn, 31_999, &[]);
    assert_eq!(refusal(&answer, REQUEST_CODE_NOT_SUPPORTED), " request type 31999 not supported");
    // Without the field that names it, nothing can be found or registered.
    for (code, expected) in [
        (PUT_KV_CONFIG, SYSTEM_ERROR),
        (GET_KV_CONFIG, QUERY_NOT_FOUND),
        (KV_LIST, QUERY_NOT_FOUND),
        (REGISTER_BROKER, SYSTEM_ERROR),
        (ROUTE, TOPIC_NOT_EXIST),
        (DATA_VERSION, SYSTEM_ERROR),
        (BROKER_HEARTBEAT, SYSTEM_ERROR),
    ] {
        let answer = ask(&mut conn, code, &[("else", "x")]);
        assert_eq!(answer.code, expected, "{code}: {answer:?}");
    }
    let wrong = Broker::new("wrong", 0, &["t", "u"]).with("brokerId", "seven");
    assert_eq!(conn.call(wrong.registration()).code, SYSTEM_ERROR);
    let wrong = Broker::new("wrong", 0, &["t", "u"]).registration().with_body("{\"topic");
    assert_eq!(conn.call(wrong).code, SYSTEM_ERROR);
    assert!(route(&mut conn, "wrong-t").is_none());
}
