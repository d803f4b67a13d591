//! What the messaging core refuses, and what it passes between clients: one test for each rule.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::server::BROKER_NAME;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Record, ServerUnderTest, wait};
use serde_json::{Value, json};

const LOCK_BATCH_MQ: i32 = 41;
const UNLOCK_BATCH_MQ: i32 = 42;
const CHECK_CLIENT_CONFIG: i32 = 46;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
const GET_CONSUMER_STATUS_FROM_CLIENT: i32 = 221;
const INVOKE_BROKER_TO_GET_CONSUMER_STATUS: i32 = 223;
const GET_CONSUMER_RUNNING_INFO: i32 = 307;
const CONSUME_MESSAGE_DIRECTLY: i32 = 309;
const SEND_REPLY_MESSAGE_V2: i32 = 325;
const QUERY_ASSIGNMENT: i32 = 400;
const SUBSCRIPTION_NOT_EXIST: i32 = 24;
const SUBSCRIPTION_NOT_LATEST: i32 = 25;
/// A lock whose holder has gone ends after a minute.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

fn server() -> &'static ServerUnderTest {
    static SERVER: OnceLock<ServerUnderTest> = OnceLock::new();
    SERVER.get_or_init(|| ServerUnderTest::setup().start())
}

fn connect() -> Conn {
    Conn::connect(&server().broker_addr())
}

fn refused(answer: &Command, code: i32, remark: &str) {
    let text = answer.remark.as_deref().unwrap_or_default();
    assert_eq!(answer.code, code, "{text}");
    assert!(text.contains(remark), "{text}");
}

fn topic_with_permission(conn: &mut Conn, topic: &str, perm: &str) {
    let mut request = ops::topic_request(topic, 2, "");
    request.ext.insert("perm".to_owned(), perm.to_owned());
    assert_eq!(conn.call(request).code, response::SUCCESS);
}

/// A pull that goes by what the group's heartbeats said.
fn subscribed_pull(group: &str, topic: &str, sub_version: i64) -> Command {
    let mut request = ops::pull_request(group, topic, 0, 0);
    request.ext.insert("sysFlag".to_owned(), "0".to_owned());
    request.ext.insert("subVersion".to_owned(), sub_version.to_string());
    request
}

fn group_with(conn: &mut Conn, group: &str, settings: &Value) {
    let mut body = json!({
        "groupName": group, "consumeEnable": true, "consumeFromMinEnable": true,
        "consumeBroadcastEnable": true, "retryQueueNums": 1, "retryMaxTimes": 16, "brokerId": 0,
        "whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": true,
    });
    for (name, value) in settings.as_object().unwrap() {
        body[name] = value.clone();
    }
    let request = Command::request(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
    assert_eq!(conn.call(request.with_body(body.to_string())).code, response::SUCCESS);
}

#[test]
fn permissions_of_a_topic_hold_for_pulls_and_by_its_route_for_sends() {
    let mut conn = connect();
    topic_with_permission(&mut conn, "read_only", "4");
    topic_with_permission(&mut conn, "write_only", "2");
    let send = |topic: &str| ops::send_request(topic, 0, "", b"x");
    // Clients see no queue to send to; who sends all the same is not asked for the topic's permission.
    assert_eq!(conn.call(send("read_only")).code, response::SUCCESS);
    assert_eq!(conn.call(send("write_only")).code, response::SUCCESS);
    ops::wait_for_max_offset(&mut conn, "read_only", 0, 1);
    let pull = |topic: &str| ops::pull_request("permissions", topic, 0, 0);
    assert_eq!(conn.call(pull("read_only")).code, response::SUCCESS);
    let forbidden = "the topic[write_only] pulling message is forbidden";
    refused(&conn.call(pull("write_only")), response::NO_PERMISSION, forbidden);
}

#[test]
fn a_queue_that_a_topic_does_not_have_is_refused_and_none_is_any() {
    let mut conn = connect();
    topic_with_permission(&mut conn, "two_queues", "6");
    let mut send = |queue_id| conn.call(ops::send_request("two_queues", queue_id, "", b"x"));
    refused(&send(2), response::INVALID_PARAMETER, "queueId[2] is illegal");
    let any = send(-1);
    assert_eq!(any.code, response::SUCCESS, "{any:?}");
    assert!((0..2).contains(&any.number("queueId")));
    let pull = conn.call(ops::pull_request("two_queues", "two_queues", 2, 0));
    refused(&pull, response::INVALID_PARAMETER, "queueId[2] is illegal");
}

#[test]
fn a_group_may_be_kept_from_consuming_or_from_broadcasting() {
    let mut conn = connect();
    topic_with_permission(&mut conn, "group_rules", "6");
    group_with(&mut conn, "consumes_nothing", &json!({"consumeEnable": false}));
    let pull = conn.call(ops::pull_request("consumes_nothing", "group_rules", 0, 0));
    refused(&pull, response::NO_PERMISSION, "subscription group no permission, consumes_nothing");
    group_with(&mut conn, "no_broadcast", &json!({"consumeBroadcastEnable": false}));
    ops::heartbeat_as(&mut conn, "b", "no_broadcast", "group_rules", "BROADCASTING");
    let pull = conn.call(subscribed_pull("no_broadcast", "group_rules", 0));
    let forbidden = "the consumer group[no_broadcast] can not consume by broadcast way";
    refused(&pull, response::NO_PERMISSION, forbidden);
}

#[test]
fn a_pull_without_a_subscription_needs_one_of_a_heartbeat_that_is_not_older() {
    let mut conn = connect();
    topic_with_permission(&mut conn, "subscribed", "6");
    topic_with_permission(&mut conn, "not_subscribed", "6");
    let pull = |topic: &str, version| subscribed_pull("subscribed", topic, version);
    let answer = conn.call(pull("subscribed", 0));
    refused(&answer, SUBSCRIPTION_NOT_EXIST, "the consumer's group info not exist");
    ops::heartbeat(&mut conn, "s", "subscribed", "subscribed");
    assert_eq!(conn.call(pull("subscribed", 0)).code, response::PULL_NOT_FOUND);
    let answer = conn.call(pull("not_subscribed", 0));
    refused(&answer, SUBSCRIPTION_NOT_EXIST, "the consumer's subscription not exist");
    let answer = conn.call(pull("subscribed", i64::MAX));
    refused(&answer, SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest");
}

#[test]
fn an_expression_is_checked_before_a_client_starts() {
    let body = json!({
        "clientId": "c", "group": "checked", "namespace": "",
        "subscriptionData": {
            "topic": "t", "subString": "a = 1", "expressionType": "SQL92", "tagsSet": [],
            "codeSet": [], "subVersion": 1, "classFilterMode": false,
        },
    });
    let request = Command::request(CHECK_CLIENT_CONFIG, &[]).with_body(body.to_string());
    let unsupported = "The broker does not support consumer to filter message by SQL92";
    refused(&connect().call(request), response::SYSTEM_ERROR, unsupported);
}

#[test]
fn a_queue_has_one_holder_until_it_lets_go_or_is_gone() {
    let (mut one, mut two) = (connect(), connect());
    topic_with_permission(&mut one, "locked", "6");
    ops::heartbeat(&mut one, "one", "locked", "locked");
    ops::heartbeat(&mut two, "two", "locked", "locked");
    let request = |code, client_id: &str| {
        let queue = json!({"topic": "locked", "brokerName": BROKER_NAME, "queueId": 0});
        let body = json!({
            "consumerGroup": "locked", "clientId": client_id, "onlyThisBroker": false, "mqSet": [queue],
        });
        Command::request(code, &[]).with_body(body.to_string())
    };
    let locks = |conn: &mut Conn, client_id| {
        let answer = conn.call(request(LOCK_BATCH_MQ, client_id));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["lockOKMQSet"].as_array().unwrap().len() == 1
    };
    assert!(locks(&mut one, "one") && locks(&mut one, "one"));
    assert!(!locks(&mut two, "two"));
    assert_eq!(two.call(request(UNLOCK_BATCH_MQ, "two")).code, response::SUCCESS);
    assert!(!locks(&mut two, "two"), "nobody lets go of what another holds");
    assert_eq!(one.call(request(UNLOCK_BATCH_MQ, "one")).code, response::SUCCESS);
    assert!(locks(&mut two, "two") && !locks(&mut one, "one"));
    drop(two);
    wait::until("the lock of who has gone", LOCK_LIMIT, || locks(&mut one, "one").then_some(()));
}

/// A client that answers the requests of tools.
fn answer_tools(mut client: Conn, count: usize) -> thread::JoinHandle<Vec<Command>> {
    thread::spawn(move || {
        let mut taken = Vec::new();
        while taken.len() < count {
            let request = client.receive().unwrap();
            let is_of_a_tool = [
                GET_CONSUMER_RUNNING_INFO,
                CONSUME_MESSAGE_DIRECTLY,
                GET_CONSUMER_STATUS_FROM_CLIENT,
            ];
            if request.flag & 1 == 1 || !is_of_a_tool.contains(&request.code) {
                continue;
            }
            let body = if request.code == GET_CONSUMER_STATUS_FROM_CLIENT {
                json!({"messageQueueTable": {}})
            } else {
                json!({"answers": request.code})
            };
            let answer = Command { opaque: request.opaque, flag: 1, ..Command::default() };
            client.write_raw(&answer.with_body(body.to_string()).encode()).unwrap();
            taken.push(request);
        }
        taken
    })
}

#[test]
fn what_tools_ask_a_client_goes_to_it_and_its_answer_comes_back() {
    let (mut tool, mut client) = (connect(), connect());
    topic_with_permission(&mut tool, "relayed", "6");
    ops::heartbeat(&mut client, "relay", "relayed", "relayed");
    let stored = tool.call(ops::send_request("relayed", 0, "", b"consume me"));
    assert_eq!(stored.code, response::SUCCESS, "{stored:?}");
    let id = stored.ext["msgId"].clone();
    let client = answer_tools(client, 3);
    let of = |client_id: &str| {
        vec![
            ("consumerGroup".to_owned(), "relayed".to_owned()),
            ("clientId".to_owned(), client_id.to_owned()),
        ]
    };
    let request = |code, fields: Vec<(String, String)>| Command {
        code,
        ext: fields.into_iter().collect(),
        ..Command::default()
    };
    let answer = tool.call(request(GET_CONSUMER_RUNNING_INFO, of("relay")));
    assert_eq!((answer.code, &*answer.body), (response::SUCCESS, &br#"{"answers":307}"#[..]));
    let more = [("msgId", &*id), ("brokerName", BROKER_NAME), ("topic", "relayed")];
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let direct = request(CONSUME_MESSAGE_DIRECTLY, [of("relay"), more.to_vec()].concat());
    let answer = tool.call(direct);
    assert_eq!((answer.code, &*answer.body), (response::SUCCESS, &br#"{"answers":309}"#[..]));
    let fields = [("topic", "relayed"), ("group", "relayed"), ("clientAddr", "")];
    let answer = tool.call(Command::request(INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let absent = tool.call(request(GET_CONSUMER_RUNNING_INFO, of("nobody")));
    refused(&absent, response::SYSTEM_ERROR, "The Consumer <relayed> <nobody> not online");
    let taken = client.join().unwrap();
    let direct = taken.iter().find(|request| request.code == CONSUME_MESSAGE_DIRECTLY).unwrap();
    let records = oxmq_compat_tests::Record::decode_all(&direct.body);
    assert_eq!((records.len(), &*records[0].body), (1, &b"consume me"[..]));
}

/// No name server knows light topics, and none has to.
#[test]
fn a_light_topic_is_one_queue_that_the_first_member_gets() {
    let (mut one, mut two) = (connect(), connect());
    let (topic, group) = ("%LMQ%light", "%LMQ%light_group");
    ops::heartbeat(&mut one, "one", group, topic);
    ops::heartbeat(&mut two, "two", group, topic);
    let mut given = |client_id: &str, model: &str| {
        let body = json!({
            "topic": topic, "consumerGroup": group, "clientId": client_id, "strategyName": "AVG",
            "messageModel": model,
        });
        let request = Command::request(QUERY_ASSIGNMENT, &[]).with_body(body.to_string());
        let answer = one.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["messageQueueAssignments"].clone()
    };
    let queue = json!({"brokerName": BROKER_NAME, "queueId": 0, "topic": topic});
    let assigned = given("one", "CLUSTERING");
    assert_eq!(assigned.as_array().unwrap().len(), 1, "{assigned}");
    assert_eq!(assigned[0]["messageQueue"], queue);
    assert_eq!(given("two", "CLUSTERING"), json!([]));
    assert_eq!(given("one", "BROADCASTING"), Value::Null);
}

#[test]
fn a_batch_queue_begins_nowhere_before_its_first_message() {
    let topic = "core_batch_queue";
    ops::create_topic_with(server(), topic, 1, "+queue.type=BatchCQ");
    let mut conn = connect();
    let mut asked = |queue_id| {
        let min = ops::min_offset(&mut conn, topic, queue_id);
        (min, ops::max_offset(&mut conn, topic, queue_id))
    };
    assert_eq!((asked(0), asked(7)), ((-1, 0), (-1, 0)));
    let mut conn = connect();
    let pulled = conn.call(ops::pull_request("core_batch_group", topic, 0, 0));
    assert_eq!(
        (pulled.code, pulled.number("minOffset"), pulled.number("maxOffset")),
        (response::PULL_NOT_FOUND, -1, 0),
        "{pulled:?}"
    );
    ops::send(&mut conn, topic, 0, "", b"first");
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    assert_eq!(ops::min_offset(&mut conn, topic, 0), 0);
}

#[test]
fn the_broker_shares_queues_out_among_those_who_ask_it_to() {
    let (mut one, mut two) = (connect(), connect());
    ops::create_topic(server(), "shared_out", 5);
    ops::heartbeat(&mut one, "one", "shared_out", "shared_out");
    ops::heartbeat(&mut two, "two", "shared_out", "shared_out");
    let mut given = |client_id: &str, strategy: &str| {
        let body = json!({
            "topic": "shared_out", "consumerGroup": "shared_out", "clientId": client_id,
            "strategyName": strategy, "messageModel": "CLUSTERING",
        });
        let request = Command::request(QUERY_ASSIGNMENT, &[]).with_body(body.to_string());
        let answer = one.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let queues = body["messageQueueAssignments"].as_array().unwrap().iter();
        queues.map(|it| it["messageQueue"]["queueId"].as_i64().unwrap()).collect::<BTreeSet<_>>()
    };
    for (strategy, first, second) in
        [("AVG", vec![0, 1, 2], vec![3, 4]), ("AVG_BY_CIRCLE", vec![0, 2, 4], vec![1, 3])]
    {
        assert_eq!(given("one", strategy), BTreeSet::from_iter(first), "{strategy}");
        assert_eq!(given("two", strategy), BTreeSet::from_iter(second), "{strategy}");
    }
}

#[test]
fn who_asks_for_a_queue_that_is_not_there_is_told_who_asked() {
    let mut conn = connect();
    ops::create_topic_with(server(), "one_queue", 1, "+message.type=FIFO");
    let send = conn.call(ops::send_request("one_queue", 1, "", b"x"));
    refused(&send, response::INVALID_PARAMETER, "attributes={message.type=FIFO}]");
    let fields = [
        ("consumerGroup", "one_queue"),
        ("topic", "one_queue"),
        ("queueId", "1"),
        ("maxMsgNums", "1"),
    ];
    for code in [code::PEEK_MESSAGE, code::POLLING_INFO] {
        let answer = conn.call(Command::request(code, &fields));
        refused(&answer, response::INVALID_PARAMETER, "consumer:[/127.0.0.1:");
    }
    let pull = conn.call(ops::pull_request("one_queue", "one_queue", 1, 0));
    refused(&pull, response::INVALID_PARAMETER, "consumer:[/127.0.0.1:");
}

#[test]
fn an_answer_to_a_client_is_stored_with_the_region_of_its_broker() {
    let mut conn = connect();
    ops::create_topic(server(), "answers", 1);
    let mut answer = ops::send_request("answers", 0, "KEYS\u{1}k\u{2}", b"x");
    answer.code = SEND_REPLY_MESSAGE_V2;
    refused(&conn.call(answer), response::SYSTEM_ERROR, "REPLY_TO_CLIENT");
    ops::wait_for_max_offset(&mut conn, "answers", 0, 1);
    let stored = ops::walk_queue(&mut conn, "answers", "answers", 0, 0).remove(0);
    let expected = [("KEYS", "k"), ("MSG_REGION", "DefaultRegion"), ("TRACE_ON", "true")];
    assert_eq!(stored.properties, expected.map(|(k, v)| (k.into(), v.into())).into());
}

#[test]
fn a_message_that_a_client_has_tried_too_often_says_that_no_delay_is_left() {
    let mut conn = connect();
    group_with(&mut conn, "tired", &json!({ "retryQueueNums": 1 }));
    let mut again = ops::send_request("%RETRY%tired", 0, "DELAY\u{1}3\u{2}", b"x");
    again.ext.extend([("j", "17"), ("l", "16")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    let answer = conn.call(again);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    ops::wait_for_max_offset(&mut conn, "%DLQ%tired", 0, 1);
    let found = conn.call(ops::pull_request("tired", "%DLQ%tired", 0, 0));
    assert_eq!(found.code, response::SUCCESS, "{found:?}");
    assert_eq!(Record::decode_all(&found.body)[0].properties["DELAY"], "-1");
}
