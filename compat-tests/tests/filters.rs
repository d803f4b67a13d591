//! SQL92 filters: each expression is taken or refused, and matches messages, as on the reference.
//!
//! What the reference does is kept in `filters.txt`; `UPDATE_FILTERS=1 BROKER_UNDER_TEST=reference`
//! writes it anew.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, Record, ServerUnderTest};
use serde_json::json;

const CHECK_CLIENT_CONFIG: i32 = 46;
const PULL_MESSAGE: i32 = 11;
const FILTER_DATA_NOT_EXIST: i32 = 27;
/// The subscription is part of the pull.
const SUBSCRIPTION: &str = "4";
/// The same, and the pull may wait.
const SUBSCRIPTION_AND_SUSPEND: &str = "6";
/// Several times the 5 s in which a broker looks at the pulls that wait.
const LEFT_OUT_LIMIT: Duration = Duration::from_secs(30);

/// The properties of each message; its index is its body.
const MESSAGES: [&[(&str, &str)]; 24] = [
    &[],
    &[("i", "5")],
    &[("i", "-5")],
    &[("i", "+5")],
    &[("i", " 5")],
    &[("i", "5.0")],
    &[("i", "2147483647")],
    &[("i", "2147483648")],
    &[("i", "99999999999999999999")],
    &[("i", "abc")],
    &[("i", "true"), ("j", "false")],
    &[("i", "1e1")],
    &[("i", "NaN")],
    &[("i", "-0.0")],
    &[("i", "5"), ("j", "5")],
    &[("i", "5"), ("j", "7")],
    &[("i", "5"), ("j", "x")],
    &[("i", "5"), ("s", "banana")],
    &[("s", "it's")],
    &[("s", "b\u{e4}r \u{4e2d}\u{6587}")],
    &[("I", "5"), ("S", "banana")],
    &[("i", "7d"), ("j", "Infinity")],
    &[("$x", "1"), ("_y2", "2"), ("TAGS", "t"), ("KEYS", "k")],
    &[("i", "10"), ("j", "20"), ("s", "TRUE")],
];

const EXPRESSIONS: &[&str] = &[
    // Comparisons.
    "i = 5",
    "i <> 5",
    "i = '5'",
    "i <> '5'",
    "i = 5.0",
    "i = 5L",
    "i > 4",
    "i >= 5",
    "i < 5",
    "i <= 5",
    "i > 4.5",
    "i < 5.5",
    "i > -6",
    "-6 < i",
    "5 = i",
    "5 > i",
    "i = j",
    "i <> j",
    "i < j",
    "i >= j",
    "i = 2147483648",
    "i > 2147483647",
    "i < 9223372036854775807",
    "i = -5",
    "i = +5",
    "i = -2147483648",
    "i = - - 5",
    "-i = 5",
    "-i = -5",
    "i > 1e0",
    "i > .5",
    "i < 5.",
    "i > 5E-1",
    "i = 10",
    "i = 10.0",
    "i = 1e1",
    // Texts.
    "s = 'banana'",
    "s <> 'banana'",
    "s = 'it''s'",
    "s = ''",
    "s = 'b\u{e4}r \u{4e2d}\u{6587}'",
    "s > 5",
    "i = 'abc'",
    "s CONTAINS 'nan'",
    "s NOT CONTAINS 'nan'",
    "s STARTSWITH 'ban'",
    "s NOT STARTSWITH 'ban'",
    "s ENDSWITH 'na'",
    "s NOT ENDSWITH 'na'",
    "s contains ''",
    "s NOT CONTAINS ''",
    "'abc' CONTAINS 'b'",
    "5 CONTAINS '5'",
    "s CONTAINS '\u{4e2d}'",
    "(i = 5) CONTAINS 't'",
    "s IN ('banana')",
    "s IN ('a', 'banana', 'it''s')",
    "s NOT IN ('banana', 'a')",
    "i IN ('5', '7')",
    "i NOT IN ('5')",
    "(s) IN ('banana')",
    // Truth values and NULL.
    "TRUE",
    "FALSE",
    "NULL",
    "i",
    "NOT i",
    "NOT x",
    "s = TRUE",
    "i = TRUE",
    "i = FALSE",
    "TRUE = i",
    "i IS NULL",
    "i IS NOT NULL",
    "x IS NULL",
    "x IS NOT NULL",
    "x = y",
    "x <> y",
    "x = i",
    "i = x",
    "x <> i",
    "i <> x",
    "NULL IS NULL",
    "TRUE IS NULL",
    "TRUE IS NOT NULL",
    "5 IS NULL",
    "NOT NULL",
    "TRUE OR NULL",
    "NULL OR TRUE",
    "FALSE AND NULL",
    "NULL AND TRUE",
    "TRUE = TRUE",
    "TRUE <> FALSE",
    "5 = TRUE",
    "(i = 5) = TRUE",
    "(i = 5) = (j = 5)",
    "(i = 5) = 'true'",
    "'true' = (i = 5)",
    "(i = 5) IS NULL",
    "(i > 5) IS NOT NULL",
    "(i = 5) = 5",
    "-(i = 5) = 5",
    // Logic and precedence.
    "i = 5 AND j = 5",
    "i = 5 OR j = 20",
    "NOT i = 5",
    "NOT (i = 5)",
    "NOT NOT (i = 5)",
    "i = 5 OR i = 10 AND j = 20",
    "(i = 5 OR i = 10) AND j = 20",
    "i > 5 OR s = 'banana'",
    "s = 'banana' OR i > 5",
    "s = 'banana' AND i > 5",
    "x > 5 OR i = '5'",
    "x > 5 AND i = '5'",
    "NOT (x > 5 AND i = '7')",
    "i = '5' AND j > 4 AND s IS NULL",
    "i = 5 = TRUE",
    "5 < 6 = TRUE",
    "i IS NULL AND s IS NOT NULL",
    "i > 1 AND NOT (j > 1)",
    // Ranges.
    "i BETWEEN 1 AND 10",
    "i NOT BETWEEN 1 AND 10",
    "i BETWEEN -5 AND 5",
    "i BETWEEN 1.5 AND 10",
    "i BETWEEN 5 AND 5",
    "i BETWEEN j AND 100",
    "i NOT BETWEEN 6 AND j",
    "x BETWEEN 1 AND 2",
    "x NOT BETWEEN 1 AND 2",
    "5 BETWEEN 1 AND i",
    "i BETWEEN 1 AND 10 AND j = 20",
    "i BETWEEN -5 AND -10",
    // Writing.
    "  i\t=\n5\r",
    "i=5",
    "I = 5",
    "i = 5 and S IS NULL",
    "i Is NoT nUlL",
    "/* all */ i = 5",
    "i = /* * / ** */ 5",
    "i = 5 -- end\n",
    "i = 5 -- end",
    "$x = '1' AND _y2 = 2",
    "TAGS = 't'",
    "KEYS = 'k'",
    "(((i = 5)))",
    "i = (5)",
    "+i = 5",
    "+'5' = i",
    "i = 5 )",
    "i = 5 j = 7",
    "i = 5 'x'",
    "i = 5 ,",
    "TRUE AND TRUE TRUE",
    "i = 007",
    // Refused.
    "",
    " ",
    "i",
    "5",
    "'x'",
    "-5",
    "-i",
    "i =",
    "= 5",
    "i == 5",
    "i != 5",
    "(i = 5",
    "i = 5 AND",
    "i = 5 ~",
    "~",
    "i = 'x",
    "i > 'x'",
    "i > TRUE",
    "i > NULL",
    "(i = 5) > 5",
    "5 > (i = 5)",
    "i = NULL",
    "NULL = i",
    "NULL <> 5",
    "TRUE = 5",
    "TRUE = 'x'",
    "i IN (5)",
    "i IN ()",
    "i IN 'x'",
    "5 IN ('5')",
    "(i = 5) IN ('x')",
    "i NOT 5",
    "i NOT LIKE 'x'",
    "i LIKE 'x'",
    "i IS 5",
    "i IS NOT 5",
    "i BETWEEN 5 AND 1",
    "i BETWEEN 5.5 AND 5",
    "i BETWEEN NULL AND 5",
    "i BETWEEN 'a' AND 'b'",
    "i BETWEEN 1",
    "i BETWEEN 1 OR 2",
    "TRUE BETWEEN 1 AND 2",
    "i = 9223372036854775808",
    "i = 0.0",
    "i = 1e999",
    "i AND 5",
    "i OR 'x'",
    "NOT 5",
    "NOT -i",
    "s CONTAINS 5",
    "s CONTAINS j",
    "s STARTSWITH NULL",
    "a.b = 5",
    "a-b = 5",
    "a b",
    "i > > 5",
    "i = 5;",
    "i + 5 = 10",
    "i * 2 = 10",
    "i = 5 /* open",
    "(i = 5 AND j = 5 AND s = 'x') > 2",
];

#[test]
fn an_expression_is_taken_and_matches_as_on_the_reference() {
    let server = server();
    ops::create_topic(server, "filtered", 1);
    let mut conn = Conn::connect(&server.broker_addr());
    for (index, properties) in MESSAGES.iter().enumerate() {
        let pairs: String = properties.iter().map(|(k, v)| format!("{k}\u{1}{v}\u{2}")).collect();
        ops::send(&mut conn, "filtered", 0, &pairs, index.to_string().as_bytes());
    }
    ops::wait_for_max_offset(&mut conn, "filtered", 0, MESSAGES.len() as i64);

    let mut lines = Vec::new();
    for expression in EXPRESSIONS {
        let answer = check(&mut conn, expression);
        let outcome = match answer.code {
            response::SUCCESS => {
                let matched = pull_all(&mut conn, expression);
                matched.iter().map(|index| format!(" {index}")).collect::<String>()
            }
            code => format!("refused {code} {}", first_sentence(&answer)),
        };
        lines.push(format!("{} => {outcome}", expression.escape_default()));
    }
    let actual = lines.join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filters.txt");
    if std::env::var_os("UPDATE_FILTERS").is_some() && server.kind() == Kind::Reference {
        std::fs::write(&file, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    let differences: Vec<_> = expected
        .lines()
        .zip(actual.lines())
        .filter(|(expected, actual)| expected != actual)
        .map(|(expected, actual)| format!("expected {expected}\n     got {actual}"))
        .collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert_eq!(expected.lines().count(), actual.lines().count());
}

#[test]
fn a_group_filters_with_the_newest_expression_of_its_heartbeats() {
    let (server, topic, group) = (server(), "beaten", "beaten_group");
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    for (index, color) in ["red", "blue", "red"].iter().enumerate() {
        let properties = format!("color\u{1}{color}\u{2}");
        ops::send(&mut conn, topic, 0, &properties, index.to_string().as_bytes());
    }
    ops::wait_for_max_offset(&mut conn, topic, 0, 3);
    let mut beat =
        |expression: &str, version: i64| heartbeat(&mut conn, group, topic, expression, version);

    beat("color = 'red'", 1);
    let answer = conn_pull(server, group, topic, 1);
    assert_eq!(
        (answer.code, bodies(&answer)),
        (response::SUCCESS, vec!["0".to_owned(), "2".to_owned()])
    );
    assert_eq!(conn_pull(server, group, topic, 2).code, 25, "the subscription is older");

    beat("color =", 2);
    let answer = conn_pull(server, group, topic, 2);
    assert_eq!(answer.code, FILTER_DATA_NOT_EXIST, "{answer:?}");

    beat("color = 'blue'", 3);
    assert_eq!(bodies(&conn_pull(server, group, topic, 3)), ["1"]);

    heartbeat(&mut conn, "never_sound", topic, "color =", 1);
    let answer = conn_pull(server, "never_sound", topic, 1);
    assert_eq!(answer.code, FILTER_DATA_NOT_EXIST, "{answer:?}");
    assert_eq!(
        answer.remark.as_deref(),
        Some("The broker's consumer filter data is not exist!Your expression may be wrong!")
    );
}

/// The classes of former filter servers among them.
#[test]
fn an_expression_of_another_kind_is_none() {
    let (server, topic, group) = (server(), "of_a_class", "of_a_class_group");
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    let subscription = json!({
        "topic": topic, "subString": "Filter", "tagsSet": [], "codeSet": [], "subVersion": 1,
        "expressionType": "CLASS", "classFilterMode": false,
    });
    let body = json!({"clientId": "c", "group": group, "subscriptionData": subscription});
    let checked = Command::request(CHECK_CLIENT_CONFIG, &[]).with_body(body.to_string());
    assert_eq!(conn.call(checked).code, response::SUBSCRIPTION_PARSE_FAILED);
    ops::subscribe(&mut conn, "c", group, "CLUSTERING", &subscription);
    assert_eq!(conn_pull(server, group, topic, 1).code, FILTER_DATA_NOT_EXIST);
}

#[test]
fn without_the_switch_expressions_are_refused() {
    let server = ServerUnderTest::shared();
    ops::create_topic(server, "switched_off", 1);
    let mut conn = Conn::connect(&server.broker_addr());
    let refusal = Some("The broker does not support consumer to filter message by SQL92");
    let answer = check(&mut conn, "i = 5");
    assert_eq!((answer.code, answer.remark.as_deref()), (response::SYSTEM_ERROR, refusal));
    let answer = conn.call(pull("switched_off", "off_group", 0, "i = 5"));
    assert_eq!((answer.code, answer.remark.as_deref()), (response::SYSTEM_ERROR, refusal));
    heartbeat(&mut conn, "off_group", "switched_off", "i = 5", 1);
    let answer = conn_pull(server, "off_group", "switched_off", 1);
    assert_eq!((answer.code, answer.remark.as_deref()), (response::SYSTEM_ERROR, refusal));
}

/// Else a group that wants little would seem to be behind by all that it does not want, until its pulls' time is up.
#[test]
fn a_pull_that_waits_goes_on_past_what_its_filter_leaves_out() {
    let (server, topic) = (server(), "left_out");
    ops::create_topic(server, topic, 1);
    for expression_type in ["TAG", "SQL92"] {
        let mut conn = Conn::connect(&server.broker_addr());
        let end = ops::max_offset(&mut conn, topic, 0);
        let mut waits = pull(topic, "left_out_group", end, "TAGS = 'wanted'");
        let changed = [
            ("expressionType", expression_type),
            ("sysFlag", SUBSCRIPTION_AND_SUSPEND),
            ("suspendTimeoutMillis", "600000"),
        ];
        waits.ext.extend(changed.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let waits = conn.send(waits).unwrap();
        ops::send(&mut Conn::connect(&server.broker_addr()), topic, 0, "TAGS\x01other\x02", b"o");
        conn.set_answer_limit(LEFT_OUT_LIMIT);
        let answer = conn.receive().unwrap();
        assert_eq!((answer.opaque, answer.code), (waits, response::PULL_RETRY_IMMEDIATELY));
        assert_eq!(answer.number("nextBeginOffset"), end + 1, "{expression_type}");
    }
}

fn server() -> &'static ServerUnderTest {
    static FILTERING: OnceLock<ServerUnderTest> = OnceLock::new();
    FILTERING.get_or_init(|| {
        ServerUnderTest::setup().broker_conf("enablePropertyFilter", "true").start()
    })
}

fn check(conn: &mut Conn, expression: &str) -> Command {
    let body = json!({
        "clientId": "filters", "group": "filters",
        "subscriptionData": {
            "topic": "filtered", "subString": expression, "expressionType": "SQL92",
            "tagsSet": [], "codeSet": [], "subVersion": 1, "classFilterMode": false,
        },
    });
    conn.call(Command::request(CHECK_CLIENT_CONFIG, &[]).with_body(body.to_string()))
}

/// The list of what was expected is the reference's parser's own.
fn first_sentence(answer: &Command) -> String {
    let remark = answer.remark.as_deref().unwrap_or_default();
    remark.lines().next().unwrap_or_default().to_owned()
}

fn pull(topic: &str, group: &str, offset: i64, expression: &str) -> Command {
    let offset = offset.to_string();
    Command::request(
        PULL_MESSAGE,
        &[
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", SUBSCRIPTION),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", expression),
            ("subVersion", "1"),
            ("expressionType", "SQL92"),
        ],
    )
}

fn pull_all(conn: &mut Conn, expression: &str) -> Vec<String> {
    let (mut offset, mut matched) = (0, Vec::new());
    while offset < MESSAGES.len() as i64 {
        let answer = conn.call(pull("filtered", "filters", offset, expression));
        match answer.code {
            response::SUCCESS => matched.extend(bodies(&answer)),
            response::PULL_RETRY_IMMEDIATELY => {}
            _ => panic!("{expression}: {answer:?}"),
        }
        offset = answer.number("nextBeginOffset");
    }
    matched
}

fn bodies(answer: &Command) -> Vec<String> {
    let records = Record::decode_all(&answer.body);
    records.iter().map(|record| String::from_utf8(record.body.clone()).unwrap()).collect()
}

/// A pull that leaves the filter to the group's heartbeats.
fn conn_pull(server: &ServerUnderTest, group: &str, topic: &str, version: i64) -> Command {
    let mut request = pull(topic, group, 0, "");
    let version = version.to_string();
    request.ext.extend(
        [("sysFlag", "0"), ("subVersion", &version)].map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    Conn::connect(&server.broker_addr()).call(request)
}

fn heartbeat(conn: &mut Conn, group: &str, topic: &str, expression: &str, version: i64) {
    let subscription = json!({
        "topic": topic, "subString": expression, "tagsSet": [], "codeSet": [],
        "subVersion": version, "expressionType": "SQL92", "classFilterMode": false,
    });
    ops::subscribe(conn, "filters", group, "CLUSTERING", &subscription);
}
