//! Bad input costs its sender and nobody else, and is answered as the reference answers it.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn, frame};
use oxmq_compat_tests::{ServerUnderTest, wait};

const TOPIC: &str = "bad_input";
const GROUP: &str = "bad_input_group";
/// Below this many bytes the reference cannot tell yet whether a connection starts with a PROXY
/// header, and waits: every bad frame is followed by enough.
const PADDING: [u8; 16] = [b' '; 16];
/// The largest frame, its length word included.
const FRAME_LIMIT: i32 = 16 << 20;
const BODY_LIMIT: usize = 4 << 20;

/// What a server does with one input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Closed,
    Silent,
    Code(i32),
}

#[test]
fn a_broken_frame_closes_its_connection_on_both_servers() {
    let huge_header = |length: u32| {
        let mut bytes = Command::request(9_999, &[]).encode();
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let deep = format!("{{\"code\":9999,\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("length -1", length_word(-1)),
        ("length -5", length_word(-5)),
        ("length 0", length_word(0)),
        ("length 3, no room for the header's length", length_word(3)),
        ("length above the limit", length_word(FRAME_LIMIT - 3)),
        ("length of all bits", vec![0xff; 64]),
        ("zeros", vec![0; 64]),
        ("header longer than the frame", huge_header(5_000)),
        ("header of 16 MiB in a small frame", huge_header(0x00ff_ffff)),
        ("unknown header form", huge_header(0x0900_0010)),
        ("header that is not JSON", frame(b"hello, this is not JSON", b"")),
        ("half a JSON header", frame(br#"{"code":106,"opaque":1,"fl"#, b"")),
        ("empty header", frame(b"", b"a body")),
        ("header null", frame(b"null", b"")),
        ("header that is a list", frame(b"[]            ", b"")),
        ("header that is a number", frame(b"5             ", b"")),
        ("header that is a text", frame(br#""x"           "#, b"")),
        ("code that is a word", frame(br#"{"code":"abc","opaque":7}"#, b"")),
        ("code beyond 32 bits", frame(br#"{"code":99999999999,"opaque":7}"#, b"")),
        ("ext fields that are a list", frame(br#"{"code":9999,"extFields":[1]}"#, b"")),
        ("a header of brackets", frame(deep.as_bytes(), b"")),
        ("a header that is not UTF-8", frame(b"{\"code\":9999,\"remark\":\"\xff\xfe\"}", b"")),
        ("binary header of garbage", frame_of_form(1, &[b'x'; 40])),
        ("binary header cut short", frame_of_form(1, &[0; 12])),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    let server = server();
    for addr in [server.broker_addr(), server.vip_addr(), server.namesrv_addr()] {
        let bystander = &mut Conn::connect(&addr);
        for (name, bytes) in &cases {
            assert_eq!(outcome(&addr, bytes), Outcome::Closed, "{name} to {addr}");
            assert_served(bystander, name);
        }
    }
}

#[test]
fn an_odd_header_is_read_as_the_reference_reads_it() {
    let cases: Vec<(&str, &str)> = vec![
        ("nothing but a code", r#"{"code":9999}"#),
        ("a code in quotes", r#"{"code":"9999","opaque":"7"}"#),
        ("blanks and a line feed", "  {\"code\": 9999, \"opaque\": 7}  \n"),
        ("ext fields null", r#"{"code":9999,"extFields":null,"remark":null}"#),
        (
            "ext fields of all types",
            r#"{"code":9999,"extFields":{"a":1,"b":true,"c":null,"d":{"e":1}}}"#,
        ),
        ("an unknown language", r#"{"code":9999,"language":"KLINGON"}"#),
        ("a language by number", r#"{"code":9999,"language":3}"#),
        ("unknown members", r#"{"code":9999,"more":{"a":[1,2]},"serializeTypeCurrentRPC":"JSON"}"#),
        ("a member twice", r#"{"code":9999,"opaque":7,"flag":0,"flag":0}"#),
    ];
    let server = server();
    for addr in [server.broker_addr(), server.namesrv_addr()] {
        for (name, header) in &cases {
            let bytes = frame(header.as_bytes(), b"");
            let expected = Outcome::Code(response::REQUEST_CODE_NOT_SUPPORTED);
            assert_eq!(outcome(&addr, &bytes), expected, "{name} to {addr}");
        }
        let bytes = frame(b"{}            ", b"");
        assert_eq!(outcome(&addr, &bytes), Outcome::Code(3), "code 0 to {addr}");
    }
}

#[test]
fn an_unknown_code_is_not_supported_and_the_connection_stays() {
    let server = server();
    for addr in [server.broker_addr(), server.vip_addr(), server.namesrv_addr()] {
        let mut conn = Conn::connect(&addr);
        for unknown in [0, -1, 13, 9_999, 32_768, i32::MAX, i32::MIN] {
            let answer = conn.call(Command::request(unknown, &[("topic", TOPIC)]));
            assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED, "{unknown} to {addr}");
            let remark = format!(" request type {unknown} not supported");
            assert_eq!(answer.remark.as_deref(), Some(remark.as_str()));
        }
    }
}

#[test]
fn what_asks_for_no_answer_gets_none() {
    let server = server();
    for addr in [server.broker_addr(), server.namesrv_addr()] {
        for (name, flag) in [("unknown code, oneway", 2), ("answer to nothing", 1)] {
            let command = Command { flag, ..Command::request(9_999, &[]) };
            let mut conn = Conn::connect(&addr);
            conn.write_raw(&command.encode()).unwrap();
            // The next answer on the connection belongs to the next request.
            let answer = conn.call(Command::request(9_998, &[]));
            let remark = Some(" request type 9998 not supported");
            assert_eq!(answer.remark.as_deref(), remark, "{name} to {addr}");
        }
    }
}

#[test]
fn a_missing_field_is_an_error_of_its_request_only() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    let system_error = response::SYSTEM_ERROR;
    let offset = code::QUERY_CONSUMER_OFFSET;
    let commit = code::UPDATE_CONSUMER_OFFSET;
    let cases: Vec<(i32, Command)> = vec![
        (system_error, Command::request(code::SEND_MESSAGE, &[]).with_body("x")),
        (system_error, Command::request(code::SEND_MESSAGE_V2, &[]).with_body("x")),
        (system_error, Command::request(code::PULL_MESSAGE, &[])),
        (system_error, Command::request(offset, &[])),
        (system_error, Command::request(offset, &[("topic", TOPIC), ("consumerGroup", GROUP)])),
        (system_error, Command::request(commit, &[])),
        (system_error, Command::request(code::UPDATE_AND_CREATE_TOPIC, &[])),
        (system_error, Command::request(code::GET_MAX_OFFSET, &[])),
        (system_error, Command::request(code::GET_MIN_OFFSET, &[])),
        (system_error, Command::request(code::SEARCH_OFFSET_BY_TIMESTAMP, &[])),
        (system_error, Command::request(code::GET_CONSUMER_LIST_BY_GROUP, &[])),
        (response::SUCCESS, Command::request(code::UNREGISTER_CLIENT, &[])),
        (response::INVALID_PARAMETER, Command::request(code::DELETE_TOPIC_IN_BROKER, &[])),
        // A heartbeat is its body.
        (system_error, Command::request(code::HEART_BEAT, &[])),
        (system_error, Command::request(code::HEART_BEAT, &[]).with_body("null")),
        (system_error, Command::request(code::HEART_BEAT, &[]).with_body("not json")),
        (system_error, Command::request(code::HEART_BEAT, &[]).with_body("[]")),
        (
            system_error,
            Command::request(code::HEART_BEAT, &[])
                .with_body(r#"{"producerDataSet":[{"groupName":"g"}],"consumerDataSet":[]}"#),
        ),
        // A send is nothing without a body.
        (system_error, ops::send_request(TOPIC, 0, "", b"")),
    ];
    for (expected, request) in cases {
        assert_code(&mut conn, &request, expected);
    }
    let needed = ["b", "e", "f", "g", "h"];
    for field in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"] {
        let mut request = ops::send_request(TOPIC, 0, "", b"x");
        request.ext.remove(field);
        let expected = if needed.contains(&field) { system_error } else { response::SUCCESS };
        assert_code(&mut conn, &request, expected);
    }
    let needed = ["consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag"];
    let fields: Vec<String> = ops::pull_request(GROUP, TOPIC, 0, 0).ext.into_keys().collect();
    for field in fields {
        let mut request = ops::pull_request(GROUP, TOPIC, 0, 0);
        request.ext.remove(&field);
        let expected =
            if needed.contains(&field.as_str()) { system_error } else { response::SUCCESS };
        assert_code(&mut conn, &request, expected);
    }
}

#[test]
fn a_missing_field_on_the_name_server_is_an_error_of_its_request_only() {
    let server = server();
    let mut conn = Conn::connect(&server.namesrv_addr());
    let broker = |crc: &str, compressed: &str| {
        Command::request(
            103,
            &[
                ("brokerName", "stranger"),
                ("brokerAddr", "192.0.2.1:1"),
                ("clusterName", "strangers"),
                ("haServerAddr", ""),
                ("brokerId", "0"),
                ("bodyCrc32", crc),
                ("compressed", compressed),
            ],
        )
        .with_body("not a body")
    };
    let cases: Vec<(i32, Command)> = vec![
        (response::SYSTEM_ERROR, Command::request(100, &[])),
        (response::QUERY_NOT_FOUND, Command::request(101, &[])),
        (response::SYSTEM_ERROR, Command::request(103, &[])),
        (response::SYSTEM_ERROR, broker("5", "false")),
        (response::SYSTEM_ERROR, broker("0", "false")),
        (response::SYSTEM_ERROR, broker("0", "true")),
        (response::TOPIC_NOT_EXIST, Command::request(105, &[])),
        (response::TOPIC_NOT_EXIST, Command::request(105, &[("topic", "../x")])),
        (response::SUCCESS, Command::request(216, &[("topic", "nothing")])),
    ];
    for (expected, request) in cases {
        assert_code(&mut conn, &request, expected);
    }
    let clusters = ops::cluster_info(&server.namesrv_addr()).unwrap();
    assert!(!clusters.contains("stranger"), "{clusters}");
}

#[test]
fn a_field_of_the_wrong_type_is_an_error_of_its_request_only() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    for wrong in ["zz", "", " 1", "1.5", "2147483648000000000000"] {
        for field in ["d", "e", "f", "g", "h", "j"] {
            let mut request = ops::send_request(TOPIC, 0, "", b"x");
            request.ext.insert(field.to_owned(), wrong.to_owned());
            assert_code(&mut conn, &request, response::SYSTEM_ERROR);
        }
        for field in ["queueId", "queueOffset", "maxMsgNums", "sysFlag", "subVersion"] {
            let mut request = ops::pull_request(GROUP, TOPIC, 0, 0);
            request.ext.insert(field.to_owned(), wrong.to_owned());
            assert_code(&mut conn, &request, response::SYSTEM_ERROR);
        }
    }
    for request in [
        Command::request(
            code::QUERY_CONSUMER_OFFSET,
            &[("topic", TOPIC), ("consumerGroup", GROUP), ("queueId", "zz")],
        ),
        Command::request(
            code::UPDATE_AND_CREATE_TOPIC,
            &[("topic", "bad_filter_type"), ("topicFilterType", "ZZ")],
        ),
    ] {
        assert_code(&mut conn, &request, response::SYSTEM_ERROR);
    }
    // Anything but "true" is false.
    let mut request = ops::send_request(TOPIC, 0, "", b"x");
    request.ext.insert("k".to_owned(), "zz".to_owned());
    assert_code(&mut conn, &request, response::SUCCESS);
}

#[test]
fn numbers_out_of_range_are_answered_as_the_reference_answers_them() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    ops::send(&mut conn, TOPIC, 1, "", b"so that there is one");
    ops::wait_for_max_offset(&mut conn, TOPIC, 1, 1);
    for queue in [4, 99, i32::MAX] {
        let request = ops::send_request(TOPIC, queue, "", b"x");
        assert_code(&mut conn, &request, response::INVALID_PARAMETER);
    }
    // Below zero means: any queue.
    assert_code(&mut conn, &ops::send_request(TOPIC, -1, "", b"x"), response::SUCCESS);
    for queue in [-1, 4, 99, i32::MIN] {
        let request = ops::pull_request(GROUP, TOPIC, queue, 0);
        assert_code(&mut conn, &request, response::INVALID_PARAMETER);
    }
    for offset in [-1, 99_999, i64::MAX, i64::MIN] {
        let request = ops::pull_request(GROUP, TOPIC, 1, offset);
        assert_code(&mut conn, &request, response::PULL_OFFSET_MOVED);
    }
    for most in ["0", "-1", "1", "1000000", "2147483647"] {
        let mut request = ops::pull_request(GROUP, TOPIC, 1, 0);
        request.ext.insert("maxMsgNums".to_owned(), most.to_owned());
        assert_code(&mut conn, &request, response::SUCCESS);
    }
    for queue in [-1, 99] {
        assert_eq!(ops::max_offset(&mut conn, TOPIC, queue), 0);
        assert_eq!(ops::min_offset(&mut conn, TOPIC, queue), 0);
    }
}

#[test]
fn a_topic_that_is_a_path_is_refused_and_leaves_no_file() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    for topic in ["../../../oxmq_evil", "..", "oxmq_evil/x", "oxmq_evil\0", "/oxmq_evil", "."] {
        assert_code(&mut conn, &create(topic), response::INVALID_PARAMETER);
        let send = ops::send_request(topic, 0, "", b"x");
        assert_code(&mut conn, &send, response::INVALID_PARAMETER);
        assert_code(&mut conn, &ops::pull_request(GROUP, topic, 0, 0), response::TOPIC_NOT_EXIST);
        let commit = ops::commit_request(GROUP, topic, 0, 1);
        assert_code(&mut conn, &commit, response::TOPIC_NOT_EXIST);
        assert_eq!(ops::max_offset(&mut conn, topic, 0), 0);
        assert_eq!(ops::min_offset(&mut conn, topic, 0), 0);
        assert_eq!(ops::search_offset(&mut conn, topic, 0, 1), 0);
        assert_eq!(ops::committed_offset(&mut conn, GROUP, topic, 0), None);
        // A heartbeat may name any topic and group; it creates nothing named so.
        ops::heartbeat(&mut conn, "bad", "../../oxmq_evil_group", topic);
        let delete = Command::request(code::DELETE_TOPIC_IN_BROKER, &[("topic", topic)]);
        assert_code(&mut conn, &delete, response::SUCCESS);
        assert_eq!(ops::route(&server.namesrv_addr(), topic), None);
    }
    assert!(server.store_dir().join("commitlog").is_dir(), "the store is still there");
    let root = server.store_dir().parent().unwrap();
    assert_eq!(named(root, "oxmq_evil"), Vec::<String>::new());
}

#[test]
fn a_name_of_bad_characters_or_length_is_refused() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    let too_long = "x".repeat(128);
    for topic in ["", "a b", "中", "a.b", "a*", too_long.as_str()] {
        assert_code(&mut conn, &create(topic), response::INVALID_PARAMETER);
        let send = ops::send_request(topic, 0, "", b"x");
        assert_code(&mut conn, &send, response::INVALID_PARAMETER);
    }
    // What the broker keeps for itself.
    for topic in ["TBW102", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"] {
        assert_code(&mut conn, &create(topic), response::INVALID_PARAMETER);
        let delete = Command::request(code::DELETE_TOPIC_IN_BROKER, &[("topic", topic)]);
        assert_code(&mut conn, &delete, response::INVALID_PARAMETER);
    }
    for topic in ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"] {
        let send = ops::send_request(topic, 0, "", b"x");
        assert_code(&mut conn, &send, response::NO_PERMISSION);
    }
}

#[test]
fn a_message_over_the_limit_is_illegal_and_one_at_the_limit_is_stored() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    let at_limit = ops::send_request(TOPIC, 2, "", &vec![b'x'; BODY_LIMIT]);
    assert_code(&mut conn, &at_limit, response::SUCCESS);
    let over = ops::send_request(TOPIC, 2, "", &vec![b'x'; BODY_LIMIT + 1]);
    assert_code(&mut conn, &over, response::MESSAGE_ILLEGAL);
    let far_over = ops::send_request(TOPIC, 2, "", &vec![b'x'; 3 * BODY_LIMIT]);
    assert_code(&mut conn, &far_over, response::MESSAGE_ILLEGAL);
    let properties = format!("name\u{1}{}", "v".repeat(40_000));
    let wide = ops::send_request(TOPIC, 2, &properties, b"x");
    assert_code(&mut conn, &wide, response::MESSAGE_ILLEGAL);
    let last = ops::send_request(TOPIC, 2, "", b"the next one");
    assert_eq!(conn.call(last).number("queueOffset"), 1, "only the one at the limit is stored");
}

#[test]
fn half_a_frame_and_silence_costs_nothing_and_nobody() {
    let server = server();
    let whole = ops::send_request(TOPIC, 3, "", b"slow").encode();
    let mut announced = length_word(FRAME_LIMIT - 4);
    announced.truncate(20);
    let before = resident_bytes(server.broker_pid());
    // The kinds of silence: inside the length, the header, the body, and a frame of 16 MiB.
    let mut silent: Vec<Conn> = Vec::new();
    for prefix in [&whole[..2], &whole[..40], &whole[..whole.len() - 1], &announced] {
        for _ in 0..50 {
            let mut conn = Conn::connect(&server.broker_addr());
            conn.write_raw(prefix).unwrap();
            silent.push(conn);
        }
    }
    let mut other = Conn::connect(&server.broker_addr());
    let offset = ops::send(&mut other, TOPIC, 3, "", b"served");
    assert_served(&mut other, "half frames");
    let grown = resident_bytes(server.broker_pid()).saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes for 200 half frames");
    // Whoever ends the frame after all is served too.
    let late = &mut silent[100];
    late.write_raw(&whole[whole.len() - 1..]).unwrap();
    let answer = late.receive().unwrap();
    assert_eq!((answer.code, answer.number("queueOffset")), (response::SUCCESS, offset + 1));
    // And whoever leaves in the middle of one is forgotten.
    drop(silent);
    assert_served(&mut other, "half frames, closed");
}

#[test]
fn a_frame_in_many_pieces_and_many_frames_in_one_piece_are_the_same() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    let request = Command { opaque: 70, ..ops::send_request(TOPIC, 3, "", b"piece by piece") };
    for byte in request.encode() {
        conn.write_raw(&[byte]).unwrap();
    }
    let answer = conn.receive().unwrap();
    assert_eq!((answer.code, answer.opaque), (response::SUCCESS, 70));
    let many: Vec<u8> = (100..400)
        .flat_map(|opaque| Command { opaque, ..Command::request(9_999, &[]) }.encode())
        .collect();
    conn.write_raw(&many).unwrap();
    let mut opaques: Vec<i32> = (0..300).map(|_| conn.receive().unwrap().opaque).collect();
    opaques.sort_unstable();
    assert_eq!(opaques, (100..400).collect::<Vec<_>>());
}

fn server() -> &'static ServerUnderTest {
    let server = ServerUnderTest::shared();
    static READY: std::sync::Once = std::sync::Once::new();
    READY.call_once(|| {
        ops::create_topic(server, TOPIC, 4);
        let mut conn = Conn::connect(&server.broker_addr());
        // The group has to exist before it may pull or commit.
        ops::heartbeat(&mut conn, "bad-input", GROUP, TOPIC);
        ops::send(&mut conn, TOPIC, 0, "", b"something to pull");
        ops::wait_for_max_offset(&mut conn, TOPIC, 0, 1);
    });
    server
}

fn create(topic: &str) -> Command {
    Command::request(
        code::UPDATE_AND_CREATE_TOPIC,
        &[
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ],
    )
}

fn assert_code(conn: &mut Conn, request: &Command, expected: i32) {
    let shown: Vec<String> = request
        .ext
        .iter()
        .map(|(k, v)| format!("{k}={}", v.chars().take(40).collect::<String>()))
        .collect();
    let answer = wait::until("a server that is not busy", ops::ROUTE_LIMIT, || {
        let answer = conn.call(request.clone());
        (answer.code != response::SYSTEM_BUSY).then_some(answer)
    });
    assert_eq!(answer.code, expected, "{} {shown:?}: {:?}", request.code, answer.remark);
}

/// Sends bytes on a new connection and tells what comes back.
fn outcome(addr: &str, bytes: &[u8]) -> Outcome {
    let mut conn = Conn::connect(addr);
    conn.set_answer_limit(Duration::from_secs(10));
    let padded: Vec<u8> = if bytes.len() < PADDING.len() {
        bytes.iter().chain(&PADDING).copied().collect()
    } else {
        bytes.to_vec()
    };
    // The server may close before it has read everything.
    conn.write_raw(&padded).ok();
    match conn.receive() {
        Ok(answer) => Outcome::Code(answer.code),
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Outcome::Closed,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::Silent,
            _ => panic!("{error}"),
        },
    }
}

/// A connection from before is still answered.
fn assert_served(conn: &mut Conn, after: &str) {
    let answer = conn.call(Command::request(9_999, &[]));
    assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED, "after {after}");
}

fn length_word(length: i32) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([b'x'; 60]);
    bytes
}

fn frame_of_form(form: u8, header: &[u8]) -> Vec<u8> {
    let mut bytes = frame(header, b"");
    bytes[4] = form;
    bytes
}

fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Paths below `dir` whose last part contains `needle`.
fn named(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(needle) {
            found.push(path.display().to_string());
        }
        if path.is_dir() {
            found.extend(named(&path, needle));
        }
    }
    found
}
