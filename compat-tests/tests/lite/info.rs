//! What tools are told.

use oxmq_compat_tests::admin::mqadmin;
use oxmq_compat_tests::lite::LiteClient;
use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::server::BROKER_NAME;
use oxmq_compat_tests::wire::{Command, Conn};
use serde_json::{Value, json};

use super::{LONG_MS, PATIENT_MS, server, setup};

#[test]
fn tools_are_told_what_there_is() {
    let server = setup().start();
    let mut client = LiteClient::create(&server, "info", &[]);
    client.send("a", &["a0", "a1", "a2"]);
    client.send("b", &["b0"]);
    client.subscribe_from_first(&["a", "b"]);
    let (topic, group) = (client.topic.clone(), client.group.clone());
    let answer = client.pop(LONG_MS, PATIENT_MS);
    client.ack("a", &[0], &answer);
    let mut ask = |code, fields: &[(&str, &str)]| -> Value {
        let answer = client.conn.call(Command::request(code, fields));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    };
    let broker = ask(code::GET_BROKER_LITE_INFO, &[]);
    for (name, value) in [
        ("storeType", json!("default")),
        ("maxLmqNum", json!(20_000)),
        ("currentLmqNum", json!(2)),
        ("liteSubscriptionCount", json!(2)),
        ("orderInfoCount", json!(2)),
        ("eventMapSize", json!(1)),
        ("topicMeta", json!({ &topic: 1 })),
        ("groupMeta", json!({ &topic: [&group] })),
    ] {
        assert_eq!(broker[name], value, "{name} of {broker}");
    }
    assert_eq!(
        ask(code::GET_PARENT_TOPIC_INFO, &[("topic", &topic)]),
        json!({ "topic": topic, "ttl": 1, "groups": [&group], "lmqNum": 2, "liteTopicCount": 2 })
    );
    let lite = ask(code::GET_LITE_TOPIC_INFO, &[("parentTopic", &topic), ("liteTopic", "a")]);
    assert_eq!(lite["subscriber"], json!([{ "clientId": "info_one", "group": group }]));
    assert_eq!(
        (&lite["topicOffset"]["minOffset"], &lite["topicOffset"]["maxOffset"]),
        (&json!(0), &json!(3))
    );
    assert!(lite["topicOffset"]["lastUpdateTimestamp"].as_i64().unwrap() > 0);
    assert_eq!(lite["shardingToBroker"], json!(true));
    let of_client = [("parentTopic", &*topic), ("group", &group), ("clientId", "info_one")];
    let known = ask(code::GET_LITE_CLIENT_INFO, &of_client);
    assert_eq!(known["liteTopicCount"], json!(2));
    assert_eq!(known["liteTopicSet"].as_array().unwrap().len(), 2);
    assert!(known["lastAccessTime"].as_i64().unwrap() > 0);
    let one = ask(code::GET_LITE_CLIENT_INFO, &[&of_client[..], &[("maxCount", "1")]].concat());
    assert_eq!(
        (&one["liteTopicCount"], one["liteTopicSet"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let progress = ask(code::GET_LITE_GROUP_INFO, &[("group", &group), ("liteTopic", "a")]);
    assert_eq!(progress["totalLagCount"], json!(2));
    assert_eq!(progress["liteTopicOffsetWrapper"]["consumerOffset"], json!(1));
    let all = ask(code::GET_LITE_GROUP_INFO, &[("group", &group), ("topK", "1")]);
    assert_eq!(all["totalLagCount"], json!(3));
    assert_eq!(all["lagCountTopK"][0]["liteTopic"], json!("a"));
    assert_eq!(all["lagCountTopK"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&all["lagTimestampTopK"], &all["earliestUnconsumedTimestamp"]),
        (&json!([]), &json!(-1))
    );
}

#[test]
fn tools_are_told_since_when_messages_wait() {
    let server = setup().broker_conf("liteLagLatencyCollectEnable", "true").start();
    let mut client = LiteClient::create(&server, "lag", &[]);
    client.send("a", &["a0", "a1", "a2"]);
    client.subscribe_from_first(&["a"]);
    let group = client.group.clone();
    let mut conn = Conn::connect(&server.broker_addr());
    let mut progress = || -> Value {
        let fields = [("group", group.as_str()), ("topK", "10")];
        let request = Command::request(code::GET_LITE_GROUP_INFO, &fields);
        serde_json::from_slice(&conn.call(request).body).unwrap()
    };
    assert_eq!(progress()["lagTimestampTopK"], json!([]), "nothing was popped");
    let given = client.pop_up_to(1, LONG_MS);
    assert_eq!(given.bodies(), ["a0"]);
    let left = progress();
    let since = left["earliestUnconsumedTimestamp"].as_i64().unwrap();
    assert!(since >= given.records[0].store_timestamp_ms, "{left}");
    let info = json!({ "liteTopic": "a", "lagCount": 3, "earliestUnconsumedTimestamp": since });
    assert_eq!(left["lagTimestampTopK"], json!([info]), "{left}");
    client.ack("a", &[0], &given);
    assert_eq!(client.pop(LONG_MS, PATIENT_MS).bodies(), ["a1", "a2"]);
    let none = progress();
    assert_eq!(
        (&none["lagTimestampTopK"], &none["earliestUnconsumedTimestamp"]),
        (&json!([]), &json!(-1))
    );
}

#[test]
fn questions_are_checked() {
    let mut client = LiteClient::create(server(), "questions", &[]);
    ops::create_topic(server(), "lite_questions_plain", 1);
    let (topic, group) = (client.topic.clone(), client.group.clone());
    let mut ask = |code, fields: &[(&str, &str)]| {
        let answer = client.conn.call(Command::request(code, fields));
        (answer.code, answer.remark.unwrap_or_default())
    };
    for code in [code::GET_LITE_TOPIC_INFO, code::GET_LITE_CLIENT_INFO] {
        let more = [("liteTopic", "a"), ("group", &*group), ("clientId", "c")];
        let none = [&[("parentTopic", "lite_none")], &more[..]].concat();
        assert_eq!(ask(code, &none), (17, "Topic [lite_none] not exist.".to_owned()));
        let plain = [&[("parentTopic", "lite_questions_plain")], &more[..]].concat();
        let remark = "Topic [lite_questions_plain] type not match.".to_owned();
        assert_eq!(ask(code, &plain), (29, remark));
    }
    assert_eq!(ask(code::GET_PARENT_TOPIC_INFO, &[("topic", "lite_none")]).0, 17);
    let unbound = [("parentTopic", &*topic), ("group", "lite_questions_other"), ("clientId", "c")];
    let remark = format!("Subscription [lite_questions_other]-[{topic}] not match.");
    assert_eq!(ask(code::GET_LITE_CLIENT_INFO, &unbound), (29, remark));
    let remark = "Group [lite_questions_other] is not a LITE group.".to_owned();
    for code in [code::GET_LITE_GROUP_INFO, code::TRIGGER_LITE_DISPATCH] {
        assert_eq!(ask(code, &[("group", "lite_questions_other")]), (29, remark.clone()));
        // That makes the group no lite one.
        assert_eq!(ask(code, &[]).0, 1);
    }
    assert_eq!(ask(code::TRIGGER_LITE_DISPATCH, &[("group", &group)]).0, 0);
}

#[test]
fn a_client_can_be_made_to_look_again() {
    let mut client = LiteClient::create(server(), "trigger", &[]);
    client.subscribe_from_first(&["a"]);
    client.send("a", &["a0"]);
    let answer = client.pop(LONG_MS, PATIENT_MS);
    assert_eq!(answer.bodies(), ["a0"]);
    // A tool takes the group back.
    let queue = client.queue("a");
    let receipt = answer.command.number("popTime");
    let _ = client.conn.call(client.ack_request("a", 0, receipt));
    ops::commit_offset(&mut client.conn, &client.group, &queue, 0, 0);
    let fields = [("group", client.group.as_str()), ("clientId", client.client_id.as_str())];
    let triggered = client.conn.call(Command::request(code::TRIGGER_LITE_DISPATCH, &fields));
    assert_eq!(triggered.code, response::SUCCESS, "{triggered:?}");
    assert_eq!(client.pop(LONG_MS, PATIENT_MS).bodies(), ["a0"]);
}

#[test]
fn mqadmin_shows_lite_topics() {
    let server = server();
    let mut client = LiteClient::create(server, "admin", &[]);
    client.send("a", &["a0", "a1"]);
    client.subscribe_from_first(&["a"]);
    let answer = client.pop(LONG_MS, PATIENT_MS);
    client.ack("a", &[0], &answer);
    let (topic, group) = (client.topic.as_str(), client.group.as_str());
    let row = |command: &str, args: &[&str], begin: &str| -> Vec<String> {
        let output = mqadmin(server, command, args);
        output.assert_no_error();
        let lines = output.lines();
        let line = lines.iter().find(|line| line.trim_start().starts_with(begin));
        let line = line.unwrap_or_else(|| panic!("{command}: {lines:?}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let broker = row("getBrokerLiteInfo", &["-b", &server.broker_addr()], &server.broker_addr());
    assert_eq!(&broker[1..3], ["default", "20000"]);
    let parent = row("getParentTopicInfo", &["-p", topic], BROKER_NAME);
    assert_eq!((&*parent[1], &*parent[2], &*parent[4]), ("1", "1", &*format!("[{group}]")));
    let lite = row("getLiteTopicInfo", &["-p", topic, "-l", "a"], BROKER_NAME);
    assert_eq!(
        (&lite[1..3], &*lite[lite.len() - 2], &*lite[lite.len() - 1]),
        (&["0".to_owned(), "2".to_owned()][..], "true", "1")
    );
    let args = ["-p", topic, "-g", group, "-c", "admin_one"];
    let of_client = row("getLiteClientInfo", &args, BROKER_NAME);
    assert_eq!(of_client[1], "1");
    let args = ["-p", topic, "-g", group, "-l", "a"];
    let progress = row("getLiteGroupInfo", &args, BROKER_NAME);
    assert_eq!(&progress[1..4], ["2", "1", "1"]);
    let triggered = row("triggerLiteDispatch", &["-p", topic, "-g", group], BROKER_NAME);
    assert_eq!(triggered[1], "dispatched");
}

#[test]
fn a_topic_takes_its_lite_topics_with_it_and_a_group_its_offsets() {
    let mut client = LiteClient::create(server(), "deleted", &[]);
    client.send("a", &["a0"]);
    client.subscribe_from_first(&["a"]);
    let answer = client.pop(LONG_MS, PATIENT_MS);
    client.ack("a", &[0], &answer);
    let queue = client.queue("a");
    let mut conn = Conn::connect(&server().broker_addr());
    assert_eq!(ops::committed_offset(&mut conn, &client.group, &queue, 0), Some(1));
    let fields = [("groupName", client.group.as_str()), ("cleanOffset", "false")];
    let deleted = conn.call(Command::request(code::DELETE_SUBSCRIPTIONGROUP, &fields));
    assert_eq!(deleted.code, response::SUCCESS, "{deleted:?}");
    client.create_group(server(), &[]);
    let fields = [("topic", client.topic.as_str())];
    let deleted = conn.call(Command::request(code::DELETE_TOPIC_IN_BROKER, &fields));
    assert_eq!(deleted.code, response::SUCCESS, "{deleted:?}");
    assert_eq!(ops::max_offset(&mut conn, &queue, 0), 0);
}
