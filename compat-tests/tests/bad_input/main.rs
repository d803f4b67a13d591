//! Bad input costs its sender and nobody else, and is answered as the reference answers it.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod frames;
mod lenient;
mod names;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, wait};

const TOPIC: &str = "bad_input";
const GROUP: &str = "bad_input_group";
const BODY_LIMIT: usize = 4 << 20;

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
        for field in
            ["queueId", "queueOffset", "maxMsgNums", "maxMsgBytes", "sysFlag", "subVersion"]
        {
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

/// A connection from before is still answered.
fn assert_served(conn: &mut Conn, after: &str) {
    let answer = conn.call(Command::request(9_999, &[]));
    assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED, "after {after}");
}
