//! Extended units of queues: what either server writes, the other one shows byte for byte, and
//! filters by.

use std::collections::BTreeSet;
use std::path::Path;

use oxmq_compat_tests::ops::{self, ROUTE_LIMIT, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, Record, ServerUnderTest, wait};
use serde_json::{Value, json};

use crate::{Ending, assert_sound, end};

const QUERY_CONSUME_QUEUE: i32 = 321;
const TOPIC: &str = "extended_topic";
/// Groups and what they filter the topic with.
const SQL_GROUPS: [(&str, &str); 3] = [
    ("extended_red", "color = 'red'"),
    ("extended_odd", "odd = 1"),
    ("extended_none", "x IS NULL"),
];
const TAG_GROUP: &str = "extended_tags";
/// What is told of a filter.
const FILTER_DATA: [&str; 9] = [
    "bloomFilterData",
    "bornTime",
    "clientVersion",
    "consumerGroup",
    "dead",
    "deadTime",
    "expression",
    "expressionType",
    "topic",
];
/// Messages in a round: several files of 34-byte units.
const ROUND: usize = 60;

const SETTINGS: [(&str, &str); 5] = [
    ("enableConsumeQueueExt", "true"),
    ("mappedFileSizeConsumeQueueExt", "700"),
    ("enableCalcFilterBitMap", "true"),
    ("enablePropertyFilter", "true"),
    ("mappedFileSizeConsumeQueue", "1000"),
];

#[test]
fn ours_reads_extended_units_of_the_reference_and_goes_on() {
    hand_over(Kind::Reference, Kind::under_test());
}

#[test]
fn the_reference_reads_extended_units_of_ours_and_goes_on() {
    hand_over(Kind::under_test(), Kind::Reference);
}

fn hand_over(first: Kind, second: Kind) {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(first, store.path());
    ops::create_topic(&server, TOPIC, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    greet(&mut conn);
    send_round(&mut conn, 0);
    let written = view(&mut conn, ROUND);
    for (_, unit) in &written {
        assert!(unit["extendDataJson"].is_string(), "{unit}");
        assert!(unit["bitMap"].is_string(), "{unit}");
    }
    end(&mut server, Ending::Stop);
    drop(server);
    assert_sound(store.path(), Ending::Stop);

    let mut server = start(second, store.path());
    let mut conn = Conn::connect(&server.broker_addr());
    greet(&mut conn);
    assert_same(&view(&mut conn, ROUND), &written);
    assert_filters(&mut conn, ROUND);
    assert_filter_data(&mut conn);
    send_round(&mut conn, ROUND);
    let more = view(&mut conn, 2 * ROUND);
    assert_same(&more[..ROUND], &written);
    // The same message has the same bits, whoever wrote them.
    for ((_, before), (_, after)) in written.iter().zip(&more[ROUND..]) {
        for field in ["bitMap", "tagsCode"] {
            assert_eq!(before[field], after[field]);
        }
    }
    end(&mut server, Ending::Kill);
    drop(server);
    assert_sound(store.path(), Ending::Kill);

    let mut server = start(first, store.path());
    let mut conn = Conn::connect(&server.broker_addr());
    greet(&mut conn);
    assert_filters(&mut conn, 2 * ROUND);
    send_round(&mut conn, 2 * ROUND);
    assert_filters(&mut conn, 3 * ROUND);
    end(&mut server, Ending::Stop);
    drop(server);
    assert_sound(store.path(), Ending::Stop);
}

fn start(kind: Kind, store: &Path) -> ServerUnderTest {
    let setup = ServerUnderTest::setup().kind(kind).namesrv_kind(Kind::under_test()).store(store);
    SETTINGS.iter().fold(setup, |setup, (key, value)| setup.broker_conf(key, value)).start()
}

/// Says hello for all groups.
fn greet(conn: &mut Conn) {
    for (group, expression) in SQL_GROUPS {
        heartbeat(conn, group, expression, "SQL92");
    }
    heartbeat(conn, TAG_GROUP, "T1", "TAG");
}

fn heartbeat(conn: &mut Conn, group: &str, expression: &str, kind: &str) {
    let (tags, codes) = match kind {
        "TAG" => (json!([expression]), json!([code(expression)])),
        _ => (json!([]), json!([])),
    };
    let subscription = json!({
        "topic": TOPIC, "subString": expression, "tagsSet": tags, "codeSet": codes,
        "subVersion": 1, "expressionType": kind, "classFilterMode": false,
    });
    ops::subscribe(conn, "extended", group, "CLUSTERING", &subscription);
}

/// `String.hashCode` of Java, of ASCII.
fn code(text: &str) -> i32 {
    text.bytes().fold(0, |hash: i32, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)))
}

fn color(number: usize) -> &'static str {
    ["red", "green", "blue"][number % ROUND % 3]
}

fn tag(number: usize) -> String {
    format!("T{}", number % ROUND % 4)
}

fn odd(number: usize) -> usize {
    number % ROUND % 2
}

fn send_round(conn: &mut Conn, from: usize) {
    for number in from..from + ROUND {
        let (color, tag, odd) = (color(number), tag(number), odd(number));
        let properties = format!("color\u{1}{color}\u{2}odd\u{1}{odd}\u{2}TAGS\u{1}{tag}\u{2}");
        let offset = ops::send(conn, TOPIC, 0, &properties, number.to_string().as_bytes());
        assert_eq!(offset, number as i64);
    }
    ops::wait_for_max_offset(conn, TOPIC, 0, (from + ROUND) as i64);
}

/// What the server shows of the first `count` units, for each group.
fn view(conn: &mut Conn, count: usize) -> Vec<(&'static str, Value)> {
    // Ours writes units a moment after they are visible.
    wait::until("all units in their files", ROUTE_LIMIT, || {
        let last = query(conn, SQL_GROUPS[0].0, count - 1, 1);
        last[0]["extendDataJson"].is_string().then_some(())
    });
    let groups = SQL_GROUPS.map(|(group, _)| group);
    let mut shown = Vec::new();
    for at in 0..count {
        let group = groups.get(at % 4).copied().unwrap_or(TAG_GROUP);
        shown.push((group, query(conn, group, at, 1).remove(0)));
    }
    shown
}

/// Says which unit differs, of many.
fn assert_same(shown: &[(&'static str, Value)], written: &[(&'static str, Value)]) {
    assert_eq!(shown.len(), written.len());
    for (at, (shown, written)) in shown.iter().zip(written).enumerate() {
        assert_eq!(shown, written, "unit {at}");
    }
}

/// Tools are told as text how each group filters.
fn assert_filter_data(conn: &mut Conn) {
    for (group, expression) in SQL_GROUPS {
        let body = query_body(conn, group, 0, 1);
        let text = body["filterData"].as_str().unwrap_or_else(|| panic!("{body}"));
        assert!(text.starts_with("{\n\t\"bloomFilterData\":{\n\t\t\"bitNum\":112,"), "{text}");
        let data: Value = serde_json::from_str(text).unwrap();
        let names: Vec<&String> = data.as_object().unwrap().keys().collect();
        assert_eq!(names, FILTER_DATA);
        assert_eq!(data["expression"], expression);
    }
    assert_eq!(query_body(conn, TAG_GROUP, 0, 1)["filterData"], "null");
}

fn query(conn: &mut Conn, group: &str, index: usize, count: usize) -> Vec<Value> {
    query_body(conn, group, index, count)["queueData"].as_array().unwrap().clone()
}

fn query_body(conn: &mut Conn, group: &str, index: usize, count: usize) -> Value {
    let fields = [
        ("topic", TOPIC),
        ("queueId", "0"),
        ("index", &index.to_string()),
        ("count", &count.to_string()),
        ("consumerGroup", group),
    ];
    let answer = conn.call(Command::request(QUERY_CONSUME_QUEUE, &fields));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// Each group gets what it wants of the first `count` messages.
fn assert_filters(conn: &mut Conn, count: usize) {
    let wanted: [&dyn Fn(usize) -> bool; 3] =
        [&|number| color(number) == "red", &|number| odd(number) == 1, &|_| true];
    for ((group, expression), wants) in SQL_GROUPS.iter().zip(wanted) {
        let got = pull_all(conn, group, expression, "SQL92", count);
        let expected: BTreeSet<_> = (0..count).filter(|number| wants(*number)).collect();
        assert_eq!(got, expected, "{group}");
    }
    let got = pull_all(conn, TAG_GROUP, "T1", "TAG", count);
    assert_eq!(got, (0..count).filter(|number| tag(*number) == "T1").collect(), "tags");
}

fn pull_all(
    conn: &mut Conn,
    group: &str,
    expression: &str,
    kind: &str,
    count: usize,
) -> BTreeSet<usize> {
    let (mut offset, mut got) = (0, BTreeSet::new());
    while offset < count as i64 {
        let mut request = ops::pull_request(group, TOPIC, 0, offset);
        let fields = [
            ("sysFlag", "0"),
            ("subscription", expression),
            ("subVersion", "1"),
            ("expressionType", kind),
        ];
        request.ext.extend(fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let answer = conn.call(request);
        match answer.code {
            response::SUCCESS => {
                for record in Record::decode_all(&answer.body) {
                    got.insert(String::from_utf8(record.body).unwrap().parse().unwrap());
                }
            }
            response::PULL_RETRY_IMMEDIATELY => {}
            _ => panic!("{group} at {offset}: {answer:?}"),
        }
        offset = answer.number("nextBeginOffset");
    }
    got
}
