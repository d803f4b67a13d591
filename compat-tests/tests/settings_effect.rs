//! Settings by what they do: values that mean something else than the number, and changes that count at
//! once.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, message_ops, wait};
use serde_json::json;

const UPDATE_BROKER_CONFIG: i32 = 25;
const GET_BROKER_CONFIG: i32 = 26;
const SUBSCRIPTION_NOT_EXIST: i32 = 24;
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Longer than the seconds that are one instead of none.
const SILENCE: Duration = Duration::from_millis(2_500);

/// One server whose settings suit all tests here.
fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| {
        ServerUnderTest::setup()
            .broker_conf("rejectPullConsumerEnable", "true")
            .broker_conf("maxMessageSize", &MAX_MESSAGE_BYTES.to_string())
            .broker_conf("timerPrecisionMs", "50")
            .broker_conf("serverChannelMaxIdleTimeSeconds", "0")
            .broker_conf("clientChannelMaxIdleTimeSeconds", "0")
            .namesrv_conf("serverChannelMaxIdleTimeSeconds", "0")
            .start()
    })
}

fn connect() -> Conn {
    Conn::connect(&server().broker_addr())
}

#[test]
fn connections_that_may_be_idle_for_no_seconds_are_never_idle_for_too_long() {
    ops::create_topic(server(), "patient", 1);
    ops::wait_for_route(server(), "patient");
    let mut conns = [connect(), Conn::connect(&server().namesrv_addr())];
    let began = Instant::now();
    // The broker, too, is silent towards the name server, which would forget it with its connection.
    while began.elapsed() < SILENCE {
        assert!(ops::route(&server().namesrv_addr(), "patient").is_some(), "the route is gone");
        std::thread::sleep(Duration::from_millis(100));
    }
    for conn in &mut conns {
        let answer = conn.try_call(Command::request(code::GET_BROKER_CLUSTER_INFO, &[]));
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[test]
fn consumers_that_pull_on_their_own_account_are_refused() {
    let mut conn = connect();
    ops::create_topic(server(), "pushed", 1);
    ops::send(&mut conn, "pushed", 0, "", b"1");
    ops::wait_for_max_offset(&mut conn, "pushed", 0, 1);
    let refused = |conn: &mut Conn, group: &str| {
        let answer = conn.call(ops::pull_request(group, "pushed", 0, 0));
        assert_eq!(answer.code, SUBSCRIPTION_NOT_EXIST, "{group}: {answer:?}");
        let remark = answer.remark.unwrap_or_default();
        let expected =
            "the consumer's group info not exist, or the pull consumer is rejected by server.";
        assert!(remark.starts_with(expected), "{remark}");
    };
    refused(&mut conn, "nobody");
    // Its heartbeats are passed over.
    let heartbeat = json!({
        "clientID": "a", "producerDataSet": [],
        "consumerDataSet": [{
            "groupName": "pulls", "consumeType": "CONSUME_ACTIVELY", "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false,
            "subscriptionDataSet": [],
        }],
    });
    let request = Command::request(code::HEART_BEAT, &[]).with_body(heartbeat.to_string());
    assert_eq!(conn.call(request).code, response::SUCCESS);
    refused(&mut conn, "pulls");
    // Whoever is pushed to pulls, too, and so do tools.
    ops::heartbeat(&mut conn, "b", "listens", "pushed");
    for group in ["listens", "TOOLS_CONSUMER", "CID_RMQ_SYS_TRANS"] {
        let answer = conn.call(ops::pull_request(group, "pushed", 0, 0));
        assert_eq!(answer.code, response::SUCCESS, "{group}: {answer:?}");
        // Also a connection that is none of the group's.
        let answer = connect().call(ops::pull_request(group, "pushed", 0, 0));
        assert_eq!(answer.code, response::SUCCESS, "{group}: {answer:?}");
    }
}

#[test]
fn the_largest_batch_is_as_large_as_the_largest_message() {
    let mut conn = connect();
    ops::create_topic(server(), "batches", 1);
    let batch = |count: usize| vec![(String::new(), vec![b'x'; 20]); count];
    let request = |count| message_ops::batch_request("batches", 0, "", &batch(count));
    let bytes_of_one = request(1).body.len();
    let most = MAX_MESSAGE_BYTES / bytes_of_one;
    // In the log they take several times as much.
    let answer = conn.call(request(most));
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    ops::wait_for_max_offset(&mut conn, "batches", 0, most as i64);
    let answer = conn.call(request(most + 1));
    assert_eq!(answer.code, response::SYSTEM_ERROR, "{answer:?}");
    assert_eq!(ops::max_offset(&mut conn, "batches", 0), most as i64);
}

#[test]
fn a_timer_is_no_more_precise_than_a_tenth_of_a_second() {
    let mut conn = connect();
    assert_eq!(setting(&mut conn, "timerPrecisionMs"), "100");
    ops::create_topic(server(), "timed", 1);
    let deliver_ms = (ops::now_ms() / 100 + 600) * 100 + 70;
    let properties = format!("TIMER_DELIVER_MS\u{1}{deliver_ms}\u{2}");
    ops::send(&mut conn, "timed", 0, &properties, b"later");
    let waiting = wait::until("the message to wait", ops::ROUTE_LIMIT, || {
        let all = ops::walk_queue(&mut conn, "TOOLS_CONSUMER", "rmq_sys_wheel_timer", 0, 0);
        all.into_iter()
            .find(|record| record.properties.get("REAL_TOPIC").is_some_and(|it| it == "timed"))
    });
    assert_eq!(waiting.properties["TIMER_OUT_MS"], (deliver_ms - 70).to_string());
}

#[test]
fn region_and_tracing_change_with_the_next_message() {
    let mut conn = connect();
    ops::create_topic(server(), "traced", 1);
    let mut send = || {
        let answer = conn.call(ops::send_request("traced", 0, "", b"x"));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        [answer.ext["MSG_REGION"].clone(), answer.ext["TRACE_ON"].clone()]
    };
    assert_eq!(send(), ["DefaultRegion", "true"]);
    change("regionId=north\ntraceOn=false\n");
    assert_eq!(send(), ["north", "false"]);
    change("regionId=DefaultRegion\ntraceOn=true\n");
    assert_eq!(send(), ["DefaultRegion", "true"]);
    let mut conn = connect();
    ops::wait_for_max_offset(&mut conn, "traced", 0, 3);
    let stored = ops::walk_queue(&mut conn, "TOOLS_CONSUMER", "traced", 0, 0);
    let stamps = stored
        .iter()
        .map(|record| ["MSG_REGION", "TRACE_ON"].map(|name| record.properties[name].as_str()));
    let usual = ["DefaultRegion", "true"];
    assert_eq!(stamps.collect::<Vec<_>>(), [usual, ["north", "false"], usual]);
}

fn change(settings: &str) {
    let request = Command::request(UPDATE_BROKER_CONFIG, &[]).with_body(settings);
    assert_eq!(connect().call(request).code, response::SUCCESS, "{settings}");
}

fn setting(conn: &mut Conn, key: &str) -> String {
    let answer = conn.call(Command::request(GET_BROKER_CONFIG, &[]));
    let settings = String::from_utf8(answer.body).unwrap();
    let line = settings.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap().to_owned()
}
