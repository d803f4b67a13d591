//! Every request code with every kind of bad header and body: one answer each, and the reference's code.
//!
//! The codes are those that COMPATIBILITY.md says are served, each of which answers, the fields those of the reference's header
//! classes. What the reference answers stands in `sweep/reference-5.5.0.tsv`, which
//! `BROKER_UNDER_TEST=reference RECORD_SWEEP=1` writes and the same without the second holds to it.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use oxmq_compat_tests::ops::response;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Kind, ServerUnderTest, ops, wait};

const COMPATIBILITY: &str = include_str!("../../COMPATIBILITY.md");
const HEADERS: &str = include_str!("../../protocol/tests/reference-5.5.0/headers.tsv");
const REFERENCE: &str = include_str!("sweep/reference-5.5.0.tsv");

const TOPIC: &str = "sweep";
const GROUP: &str = "sweep_group";

/// Header classes whose name does not follow from that of their code.
const CLASSES: &[(&str, &str)] = &[
    ("UPDATE_AND_CREATE_TOPIC", "CreateTopic"),
    ("UPDATE_AND_CREATE_TOPIC_LIST", "CreateTopicList"),
    ("UPDATE_AND_CREATE_STATIC_TOPIC", "CreateTopic"),
    ("SEARCH_OFFSET_BY_TIMESTAMP", "SearchOffset"),
    ("VIEW_MESSAGE_BY_ID", "ViewMessage"),
    ("HEART_BEAT", "Heartbeat"),
    ("PUT_KV_CONFIG", "PutKVConfig"),
    ("GET_KV_CONFIG", "GetKVConfig"),
    ("DELETE_KV_CONFIG", "DeleteKVConfig"),
    ("GET_KVLIST_BY_NAMESPACE", "GetKVListByNamespace"),
    ("UNREGISTER_BROKER", "UnRegisterBroker"),
    ("GET_ROUTEINFO_BY_TOPIC", "GetRouteInfo"),
    ("GET_ALL_SUBSCRIPTIONGROUP_CONFIG", "GetAllSubscriptionGroup"),
    ("DELETE_SUBSCRIPTIONGROUP", "DeleteSubscriptionGroup"),
    ("DELETE_TOPIC_IN_BROKER", "DeleteTopic"),
    ("DELETE_TOPIC_IN_NAMESRV", "DeleteTopicFromNamesrv"),
    ("REGISTER_TOPIC_IN_NAMESRV", "RegisterTopic"),
    ("INVOKE_BROKER_TO_RESET_OFFSET", "ResetOffset"),
    ("CONSUME_MESSAGE_DIRECTLY", "ConsumeMessageDirectlyResult"),
    ("SEND_MESSAGE_V2", "SendMessageV2"),
    ("SEND_BATCH_MESSAGE", "SendMessageV2"),
    ("GET_SUBSCRIPTIONGROUP_CONFIG", "GetSubscriptionGroupConfig"),
    ("UPDATE_AND_GET_GROUP_FORBIDDEN", "UpdateGroupForbidden"),
    ("LITE_PULL_MESSAGE", "PullMessage"),
    ("CHANGE_MESSAGE_INVISIBLETIME", "ChangeInvisibleTime"),
];

/// Where ours answers with another code, and why: code, beginning of the case, both answers.
const DIFFERENCES: &[(i32, &str, &str, &str, &str)] = &[
    (10, "long properties", "0", "13", NO_PROPERTY),
    (310, "long i", "0", "13", NO_PROPERTY),
    (320, "long i", "0", "13", NO_PROPERTY),
    (25, "half a body", "0", "1", NO_KEY),
    (25, "null body", "0", "1", NO_KEY),
    (25, "list body", "0", "1", NO_KEY),
    (318, "half a body", "0", "1", NO_KEY),
    (318, "null body", "0", "1", NO_KEY),
    (318, "list body", "0", "1", NO_KEY),
    (46, "null body", "0", "1", NULL),
    (200, "null body", "0", "1", NULL),
    (217, "null body", "0", "1", NULL),
    (100, "long ", "0", "1", LONG),
    (101, "long ", "0", "22", LONG),
    (219, "long ", "0", "22", LONG),
    (103, "long ", "0", "1", LONG),
    (104, "long ", "0", "1", LONG),
    (314, "bad characters in destGroup", "0", "26", NO_NAME),
    (314, "empty destGroup", "0", "26", NO_NAME),
    (314, "long destGroup", "0", "26", NO_NAME),
    (353, "bad characters in ", "0", "29", NO_NAME),
    (353, "empty ", "0", "29", NO_NAME),
    (353, "long ", "0", "29", NO_NAME),
    (17, "-1 in ", "0", "29", QUEUES),
    (17, "least ", "0", "29", QUEUES),
    (513, "-1 in ", "0", "29", QUEUES),
    (513, "least ", "0", "29", QUEUES),
    (37, "", "1!", "1", NO_HALF),
    (321, "-1 in queueId", "0", "1", NO_QUEUE),
    (321, "9999 in queueId", "0", "1", NO_QUEUE),
    (321, "least queueId", "0", "1", NO_QUEUE),
    (200_051, "", "1!", "1", EXTRA_INFO),
    (200_053, "", "1!", "1", EXTRA_INFO),
    (200_077, "", "1!", "1", MAX_COUNT),
    (200_151, "null body", "208", "1", "the reference says that there is no such message"),
    (309, "", "1!", "1", "the client is looked for before the rest is read"),
];

const NO_PROPERTY: &str = "the reference drops what is no property before it looks at the length";
const NO_NAME: &str = "the reference keeps it for a topic or group that there cannot be";
const NO_HALF: &str =
    "the reference fails over a message that is no half message, with a stack trace";
const NO_QUEUE: &str = "the reference makes the queue that it is asked about";
const EXTRA_INFO: &str = "the reference fails over a receipt that is none, with a stack trace";
const MAX_COUNT: &str = "a `maxCount` of 0 is refused first, by the reference with a stack trace";
const NO_KEY: &str = "the reference takes keys that nobody knows, and does nothing with them";
const NULL: &str = "the reference takes the lack of what the request is about for a success";
const QUEUES: &str = "the reference makes a topic that has no queues";
const LONG: &str = "names have a limit here, so there is nothing by such a name either";

/// Cases, by their end, whose answer depends on the order in which the reference, with its many threads, takes
/// the requests before them, and what it may be: a value is put, and so is the lack of one.
const RACES: &[Race] = &[(101, " body", &["0", "22"])];
/// The same within the reference alone: the one message that there is may be with another pop.
const RACES_OF_REFERENCE: &[Race] = &[(200_050, "", POPPED), (200_052, "", POPPED)];
const POPPED: &[&str] = &["0", "19", "210"];
type Race = (i32, &'static str, &'static [&'static str]);

/// Fields that every request can carry: the sender's names and wishes, which no server reads.
const OF_EVERY_REQUEST: &[&str] = &["ns", "nsd", "bname", "oway", "lo"];

/// What the one-letter fields of a send are called in remarks.
const LETTERS: &[(&str, &str)] = &[
    ("a", "producerGroup"),
    ("b", "topic"),
    ("c", "defaultTopic"),
    ("d", "defaultTopicQueueNums"),
    ("e", "queueId"),
    ("f", "sysFlag"),
    ("g", "bornTimestamp"),
    ("h", "flag"),
    ("i", "properties"),
    ("j", "reconsumeTimes"),
    ("k", "unitMode"),
    ("l", "maxReconsumeTimes"),
    ("m", "batch"),
    ("n", "brokerName"),
];

/// One request code.
struct Code {
    number: i32,
    name: &'static str,
    is_namesrv: bool,
    /// Field and type.
    fields: Vec<(&'static str, &'static str)>,
}

/// What came for a request: a response code, with `!` behind it when the remark is an exception of Java, and
/// with `f` when it names the field that is missing or malformed.
type Outcomes = BTreeMap<(i32, String), String>;

#[test]
fn every_bad_request_has_one_answer_and_the_code_of_the_reference() {
    let server = ServerUnderTest::start();
    ops::create_topic(&server, TOPIC, 4);
    warm_up(&server);
    let under_test = Kind::under_test();
    let recorded = recorded();
    let records = std::env::var_os("RECORD_SWEEP").is_some();
    let mut outcomes = Outcomes::new();
    for code in served() {
        sweep(&server, &code, &mut outcomes);
    }
    assert!(outcomes.len() > 1_000, "only {} requests were made", outcomes.len());
    if records {
        let mut text = String::from("code\tcase\tanswer\n");
        for ((code, case), answer) in &outcomes {
            writeln!(text, "{code}\t{case}\t{}", answer.trim_end_matches('f')).unwrap();
        }
        std::fs::write("tests/sweep/reference-5.5.0.tsv", text).unwrap();
        return;
    }
    let wrong: Vec<_> = outcomes
        .iter()
        .filter_map(|((code, case), answer)| {
            let expected = recorded.get(&(*code, case.clone()))?;
            let is_right = match under_test {
                Kind::Reference => {
                    answer.trim_end_matches('f') == expected
                        || is_race(RACES, *code, case, expected, answer)
                        || is_race(RACES_OF_REFERENCE, *code, case, expected, answer)
                }
                _ => is_right(*code, case, expected, answer),
            };
            (!is_right).then(|| format!("{code} {case}: {answer} and not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong.join("\n"));
}

/// A producer that does not know yet what becomes of its half message. The reference does not answer it,
/// which leaves whoever wants an answer waiting; nobody's client does.
#[test]
fn undecided_producer_has_an_answer_if_it_wants_one() {
    let server = ServerUnderTest::start();
    let mut conn = Conn::connect(&server.broker_addr());
    let undecided = Command::request(
        37,
        &[
            ("producerGroup", GROUP),
            ("tranStateTableOffset", "0"),
            ("commitLogOffset", "0"),
            ("commitOrRollback", "0"),
        ],
    );
    let oneway = Command { flag: 2, ..undecided.clone() };
    conn.send(oneway).unwrap();
    let asked = conn.send(undecided).unwrap();
    let probe = conn.send(Command::request(-1, &[])).unwrap();
    let mut answers = vec![conn.receive().unwrap().opaque];
    if server.kind() == Kind::Ours {
        answers.push(conn.receive().unwrap().opaque);
    }
    answers.sort_unstable();
    let expected = if server.kind() == Kind::Ours { vec![asked, probe] } else { vec![probe] };
    assert_eq!(answers, expected);
}

/// Tells whether our answer will do where the reference gives `expected`.
fn is_right(code: i32, case: &str, expected: &str, answer: &str) -> bool {
    let is_listed = DIFFERENCES.iter().any(|(listed, begin, theirs, ours, _)| {
        *listed == code && case.starts_with(begin) && *theirs == expected && *ours == answer
    });
    // A field that is missing or malformed is refused here, and named, where the reference goes on without
    // it or fails over it.
    let is_named = answer == "1f";
    match expected {
        _ if is_race(RACES, code, case, expected, answer) => true,
        theirs if theirs == answer.trim_end_matches('f') => true,
        "1!" => is_named || is_listed || !is_malformed(case) || answer != "1",
        _ => is_named || is_listed,
    }
}

fn is_race(races: &[Race], code: i32, case: &str, expected: &str, answer: &str) -> bool {
    races.iter().any(|(listed, end, answers)| {
        *listed == code
            && case.ends_with(end)
            && answers.contains(&expected)
            && answers.contains(&answer)
    })
}

fn recorded() -> Outcomes {
    let lines = REFERENCE.lines().skip(1);
    lines
        .map(|line| {
            let mut columns = line.split('\t');
            let (code, case) = (columns.next().unwrap(), columns.next().unwrap());
            ((code.parse().unwrap(), case.to_owned()), columns.next().unwrap().to_owned())
        })
        .collect()
}

/// The codes that COMPATIBILITY.md says ours serves, each with its fields.
fn served() -> Vec<Code> {
    let mut fields: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for line in HEADERS.lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        let fields = fields.entry(columns[0].trim_end_matches('*')).or_default();
        if columns[1] != "-" && !OF_EVERY_REQUEST.contains(&columns[1]) {
            fields.push((columns[1], columns[2]));
        }
    }
    let table = COMPATIBILITY.split("## Request codes").nth(1).unwrap();
    let rows = table.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .filter_map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let is_namesrv = match (cells[2], cells[3]) {
                (_, "absent") => return None,
                ("name server", _) => true,
                ("broker", _) => false,
                _ => return None,
            };
            let class = class_of(cells[1]);
            Some(Code {
                number: cells[0].parse().unwrap(),
                name: cells[1],
                is_namesrv,
                fields: fields.get(class.as_str()).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

fn class_of(name: &str) -> String {
    if let Some((_, class)) = CLASSES.iter().find(|(listed, _)| *listed == name) {
        return match *class {
            "SendMessageV2" => "SendMessageRequestHeaderV2".to_owned(),
            class => format!("{class}RequestHeader"),
        };
    }
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_owned() + &rest.to_lowercase()
    });
    words.collect::<String>() + "RequestHeader"
}

/// Makes every bad request of one code, all at once on one connection, and waits for all answers.
fn sweep(server: &ServerUnderTest, code: &Code, outcomes: &mut Outcomes) {
    let addr = if code.is_namesrv { server.namesrv_addr() } else { server.broker_addr() };
    let mut conn = Conn::connect(&addr);
    conn.set_answer_limit(Duration::from_secs(20));
    // The reference refuses sends while others wait for long: it gets them in small groups.
    for cases in cases(code).chunks(if code.name.starts_with("SEND") { 8 } else { usize::MAX }) {
        let mut cases = cases.to_vec();
        while !cases.is_empty() {
            cases = ask(server, &mut conn, code, cases, outcomes);
        }
    }
}

/// Returns what has to be asked again, as the server was busy.
fn ask(
    server: &ServerUnderTest,
    conn: &mut Conn,
    code: &Code,
    cases: Vec<(String, Command)>,
    outcomes: &mut Outcomes,
) -> Vec<(String, Command)> {
    let mut writing = conn.split();
    let mut again = Vec::new();
    let mut waiting: BTreeMap<i32, (String, Command)> = BTreeMap::new();
    for (case, request) in cases {
        waiting.insert(writing.send(request.clone()).unwrap(), (case, request));
    }
    // The last one: its answer is the only one that may come behind all others.
    let probe = writing.send(Command::request(-1, &[])).unwrap();
    let mut probed = false;
    while !waiting.is_empty() || !probed {
        match conn.receive() {
            Ok(answer) if answer.opaque == probe => probed = true,
            Ok(answer) => {
                let asked = waiting.remove(&answer.opaque);
                let (case, request) =
                    asked.unwrap_or_else(|| panic!("{}: two answers: {answer:?}", code.name));
                match answer.code {
                    response::SYSTEM_BUSY => again.push((case, request)),
                    _ => {
                        drop(outcomes.insert((code.number, case.clone()), outcome(&case, &answer)))
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{}: {error} with {waiting:?} unanswered", code.name),
        }
    }
    for (case, _) in waiting.into_values() {
        assert_eq!(server.kind(), Kind::Reference, "{} {case}: no answer", code.name);
        outcomes.insert((code.number, case), "-".to_owned());
    }
    // What one handle has written the other one has to count on from.
    *conn = writing;
    again
}

/// Sends until the reference, which is slow at first, does so without refusing.
fn warm_up(server: &ServerUnderTest) {
    let mut conn = Conn::connect(&server.broker_addr());
    wait::until("a quick send", Duration::from_secs(60), || {
        let asked = Instant::now();
        let answer = conn.call(ops::send_request(TOPIC, 3, "", b"x"));
        (answer.code == response::SUCCESS && asked.elapsed() < Duration::from_millis(50))
            .then_some(())
    });
}

/// Tells whether a field of the request is missing or not of its type.
fn is_malformed(case: &str) -> bool {
    let begins = ["empty", "no ", "word in ", "large "];
    !case.ends_with(" body") && begins.iter().any(|begin| case.starts_with(begin))
}

fn outcome(case: &str, answer: &Command) -> String {
    let remark = answer.remark.as_deref().unwrap_or_default();
    let is_trace = remark.contains("Exception") || remark.contains("java.lang");
    // Of an empty request, any field is missing.
    let field = case.rsplit_once(' ').map_or("", |(_, field)| field);
    let field = LETTERS.iter().find(|(letter, _)| *letter == field).map_or(field, |(_, name)| name);
    let says = remark.to_lowercase().contains(&field.to_lowercase());
    let is_named = is_malformed(case) && answer.code == 1 && says;
    let mark = match (is_trace, is_named) {
        (true, _) => "!",
        (false, true) => "f",
        (false, false) => "",
    };
    format!("{}{mark}", answer.code)
}

fn cases(code: &Code) -> Vec<(String, Command)> {
    let good: Vec<_> = code
        .fields
        .iter()
        .map(|(field, type_name)| (*field, good(code, field, type_name)))
        .collect();
    let request = |change: Option<(&str, Option<&str>)>| {
        let fields = good.iter().filter_map(|(field, value)| match change {
            Some((changed, value)) if changed == *field => value.map(|value| (*field, value)),
            _ => Some((*field, value.as_str())),
        });
        Command::request(code.number, &fields.collect::<Vec<_>>()).with_body(good_body(code))
    };
    let mut cases = vec![("empty".to_owned(), Command::request(code.number, &[]))];
    let long = "x".repeat(40_000);
    for (field, type_name) in &code.fields {
        let mut with = |what: &str, value: Option<&str>| {
            cases.push((format!("{what} {field}"), request(Some((*field, value)))));
        };
        with("no", None);
        match *type_name {
            "String" => {
                with("empty", Some(""));
                with("long", Some(&long));
                with("bad characters in", Some("../../x"));
            }
            "int" | "Integer" | "long" | "Long" => {
                with("word in", Some("abc"));
                with("large", Some("99999999999999999999"));
                with("-1 in", Some("-1"));
                with("least", Some(&i32::MIN.to_string()));
                with("9999 in", Some("9999"));
            }
            "boolean" | "Boolean" => with("word in", Some("perhaps")),
            _ => with("word in", Some("abc")),
        }
    }
    for (what, body) in [("no", ""), ("half a", "{"), ("null", "null"), ("list", "[1,{}]")] {
        cases.push((format!("{what} body"), request(None).with_body(body)));
    }
    cases
}

/// What a good request of this code has in a field.
fn good(code: &Code, field: &str, type_name: &str) -> String {
    let deletes = ["DELETE", "UPDATE_AND_CREATE", "REGISTER_TOPIC"];
    let own = deletes.iter().any(|begin| code.name.starts_with(begin));
    let topic = if own { "sweep_other" } else { TOPIC };
    let value = match field {
        "topic" | "b" => topic,
        "group" | "groupName" | "consumerGroup" | "producerGroup" | "a" if own => {
            "sweep_other_group"
        }
        "group" | "groupName" | "consumerGroup" | "producerGroup" | "a" => GROUP,
        "srcGroup" | "destGroup" => GROUP,
        "defaultTopic" | "c" => "TBW102",
        "defaultTopicQueueNums" | "d" | "readQueueNums" | "writeQueueNums" => "4",
        "queueId" | "e" => "0",
        "g" | "bornTimestamp" | "timestamp" => "1700000000000",
        "f" | "h" | "j" | "l" | "sysFlag" | "flag" | "reconsumeTimes" => "0",
        "k" | "m" | "unitMode" | "batch" => "false",
        "i" | "properties" | "attributes" => "",
        "suspendTimeoutMillis" => "50",
        "commitOrRollback" => "8",
        "liteTopic" => "",
        "maxMsgNums" | "maxNum" | "perm" => "6",
        "topicFilterType" => "SINGLE_TAG",
        "expressionType" => "TAG",
        "subscription" => "*",
        "brokerName" | "clusterName" => "stranger",
        "brokerAddr" | "haServerAddr" => "192.0.2.1:1",
        "clientId" => "nobody",
        _ => match type_name {
            "int" | "Integer" | "long" | "Long" => "0",
            "boolean" | "Boolean" => "false",
            _ => "x",
        },
    };
    value.to_owned()
}

fn good_body(code: &Code) -> Vec<u8> {
    match code.name {
        "SEND_MESSAGE" | "SEND_MESSAGE_V2" => b"x".to_vec(),
        // Length, magic, CRC, flag; a body of one byte; no properties.
        "SEND_BATCH_MESSAGE" => {
            let words = [23, 0, 0, 0, 1].into_iter().flat_map(i32::to_be_bytes);
            words.chain(*b"x\0\0").collect()
        }
        _ => Vec::new(),
    }
}
