//! `mqadmin`, the official tool, against the server under test.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use oxmq_compat_tests::admin::mqadmin;
use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::server::{BROKER_NAME, CLUSTER_NAME};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, wait};

#[test]
fn topic_list_names_every_topic() {
    let server = ServerUnderTest::shared();
    ops::create_topic(server, "admin_listed", 1);
    let output = mqadmin(server, "topicList", &[]);
    output.assert_no_error();
    let lines = output.lines();
    for topic in ["admin_listed", "TBW102", "SELF_TEST_TOPIC", CLUSTER_NAME, BROKER_NAME] {
        assert!(lines.contains(&topic), "{topic} is not in {lines:?}");
    }
}

#[test]
fn topic_route_shows_the_broker_and_the_queues() {
    let server = ServerUnderTest::shared();
    ops::create_topic(server, "admin_routed", 3);
    let output = mqadmin(server, "topicRoute", &["-t", "admin_routed"]);
    output.assert_no_error();
    let text: String = output.out.split_whitespace().collect();
    for part in [
        format!("\"brokerAddrs\":{{0:\"{}\"}}", server.broker_addr()),
        format!("\"brokerName\":\"{BROKER_NAME}\",\"cluster\":\"{CLUSTER_NAME}\""),
        "\"perm\":6,\"readQueueNums\":3,\"topicSysFlag\":0,\"writeQueueNums\":3".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
}

#[test]
fn topic_route_of_nothing_says_code_17() {
    let output = mqadmin(ServerUnderTest::shared(), "topicRoute", &["-t", "admin_nothing"]);
    let text = format!("{}{}", output.out, output.err);
    let expected =
        "CODE: 17  DESC: No topic route info in name server for the topic: admin_nothing";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn cluster_list_shows_the_broker() {
    let server = ServerUnderTest::shared();
    let output = mqadmin(server, "clusterList", &[]);
    output.assert_no_error();
    let row = output.lines().into_iter().find(|line| line.starts_with(CLUSTER_NAME));
    let row = row.unwrap_or_else(|| panic!("{}", output.out));
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..4], [CLUSTER_NAME, BROKER_NAME, "0", &server.broker_addr()], "{row}");
}

#[test]
fn cluster_list_shows_the_version() {
    let output = mqadmin(ServerUnderTest::shared(), "clusterList", &[]);
    let row = output.lines().into_iter().find(|line| line.starts_with(CLUSTER_NAME)).unwrap();
    assert_eq!(row.split_whitespace().nth(4), Some("V5_5_0"), "{row}");
}

#[test]
fn a_topic_is_created_changed_and_deleted() {
    let server = ServerUnderTest::shared();
    let broker = server.broker_addr();
    let namesrv = server.namesrv_addr();
    let topic = "admin_life";
    let output =
        mqadmin(server, "updateTopic", &["-c", CLUSTER_NAME, "-t", topic, "-r", "3", "-w", "2"]);
    assert!(output.out.contains(&format!("create topic to {broker} success.")), "{}", output.out);
    let route = ops::wait_for_route(server, topic);
    assert_eq!(route["queueDatas"][0]["readQueueNums"], 3);
    assert_eq!(route["queueDatas"][0]["writeQueueNums"], 2);

    // To write only.
    let args = ["-b", &broker, "-t", topic, "-r", "5", "-w", "5", "-p", "2"];
    let output = mqadmin(server, "updateTopic", &args);
    assert!(output.out.contains(&format!("create topic to {broker} success.")), "{}", output.out);
    wait::until("the changed route", ops::ROUTE_LIMIT, || {
        let route = ops::route(&namesrv, topic)?;
        let queues = &route["queueDatas"][0];
        (queues["readQueueNums"] == 5 && queues["perm"] == 2).then_some(())
    });
    let mut conn = Conn::connect(&broker);
    ops::heartbeat(&mut conn, "admin", "admin_group", topic);
    let refused = conn.call(ops::pull_request("admin_group", topic, 0, 0));
    assert_eq!(refused.code, response::NO_PERMISSION, "{refused:?}");

    let output = mqadmin(server, "deleteTopic", &["-c", CLUSTER_NAME, "-t", topic]);
    for part in ["from cluster [DefaultCluster] success.", "from NameServer success."] {
        assert!(output.out.contains(&format!("delete topic [{topic}] {part}")), "{}", output.out);
    }
    wait::until("no route", ops::ROUTE_LIMIT, || {
        ops::route(&namesrv, topic).is_none().then_some(())
    });
    let gone = conn.call(ops::pull_request("admin_group", topic, 0, 0));
    assert_eq!(gone.code, response::TOPIC_NOT_EXIST, "{gone:?}");
}

#[test]
fn a_deleted_topic_starts_empty_when_it_is_created_again() {
    let server = ServerUnderTest::shared();
    let topic = "admin_reborn";
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&server.broker_addr());
    for _ in 0..5 {
        ops::send(&mut conn, topic, 0, "", b"old");
    }
    ops::wait_for_max_offset(&mut conn, topic, 0, 5);
    mqadmin(server, "deleteTopic", &["-c", CLUSTER_NAME, "-t", topic]).assert_no_error();
    wait::until("the queue to be gone", ops::ROUTE_LIMIT, || {
        (ops::max_offset(&mut conn, topic, 0) == 0).then_some(())
    });
    ops::create_topic(server, topic, 1);
    assert_eq!(ops::send(&mut conn, topic, 0, "", b"new"), 0);
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    let records = ops::walk_queue(&mut conn, "admin_reader", topic, 0, 0);
    assert_eq!(records.iter().map(|record| record.text()).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn kv_config_is_put_and_read() {
    let server = ServerUnderTest::shared();
    let args = ["-s", "compat_space", "-k", "compat_key", "-v", "a_value"];
    let output = mqadmin(server, "updateKvConfig", &args);
    let said = "create or update kv config to namespace success.";
    assert!(output.out.contains(said), "{}{}", output.out, output.err);
    let read = Command::request(101, &[("namespace", "compat_space"), ("key", "compat_key")]);
    let answer = Conn::connect(&server.namesrv_addr()).call(read);
    assert_eq!((answer.code, answer.ext["value"].as_str()), (response::SUCCESS, "a_value"));
}

#[test]
fn allocate_mq_shares_the_queues_of_a_route() {
    let server = ServerUnderTest::shared();
    ops::create_topic(server, "admin_shared", 4);
    let output =
        mqadmin(server, "allocateMQ", &["-t", "admin_shared", "-i", "192.0.2.1,192.0.2.2"]);
    output.assert_no_error();
    assert_eq!(output.out.matches("\"queueId\"").count(), 4, "{}", output.out);
}

#[test]
fn messages_are_sent_and_printed() {
    let server = ServerUnderTest::shared();
    ops::create_topic(server, "admin_printed", 1);
    let output = mqadmin(server, "sendMessage", &["-t", "admin_printed", "-p", "hello"]);
    assert!(output.out.contains("SEND_OK"), "{}{}", output.out, output.err);
    let output = mqadmin(server, "printMsg", &["-t", "admin_printed"]);
    assert!(output.out.contains("minOffset=0, maxOffset=1"), "{}{}", output.out, output.err);
    assert!(output.out.contains("BODY: hello"), "{}", output.out);
}

/// Runs a command whose request ours does not answer yet, and looks for a part of its output.
fn assert_says(command: &str, args: &[&str], expected: &str) {
    let output = mqadmin(ServerUnderTest::shared(), command, args);
    assert!(output.out.contains(expected), "{command}: {}{}", output.out, output.err);
}

#[test]
fn broker_status_is_shown() {
    let broker = ServerUnderTest::shared().broker_addr();
    assert_says("brokerStatus", &["-b", &broker], "brokerVersionDesc");
}

#[test]
fn broker_config_is_shown() {
    let broker = ServerUnderTest::shared().broker_addr();
    assert_says("getBrokerConfig", &["-b", &broker], "brokerClusterName");
}

#[test]
fn exported_metrics_name_the_cores_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let args = ["-c", CLUSTER_NAME, "-f", path];
    mqadmin(ServerUnderTest::shared(), "exportMetrics", &args).assert_no_error();
    let text = std::fs::read_to_string(dir.path().join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cores = &metrics["evaluateReport"][BROKER_NAME]["runtimeEnv"]["cpuNum"];
    assert!(cores.as_str().is_some_and(|cores| cores.parse::<u32>().is_ok()), "{text}");
}

#[test]
fn units_of_a_queue_are_shown_with_what_a_consumer_filters_by() {
    let server = ServerUnderTest::shared();
    let (topic, broker) = ("admin_units", server.broker_addr());
    ops::create_topic(server, topic, 1);
    let mut conn = Conn::connect(&broker);
    ops::send(&mut conn, topic, 0, "TagA", b"unit");
    ops::wait_for_max_offset(&mut conn, topic, 0, 1);
    let args = ["-t", topic, "-q", "0", "-i", "0", "-b", &broker, "-g", "admin_units_group"];
    assert_says("queryCq", &args, "admin_units_group@admin_units is not online!");
    ops::heartbeat(&mut conn, "admin_units_client", "admin_units_group", topic);
    let output = mqadmin(server, "queryCq", &args);
    let at = output.lines().iter().position(|line| *line == "Filter data:").unwrap();
    assert_eq!(output.lines().get(at + 1), Some(&"null"), "{}", output.out);
}

#[test]
fn namesrv_config_is_shown() {
    assert_says("getNamesrvConfig", &[], "listenPort");
}

#[test]
fn topic_status_is_shown() {
    ops::create_topic(ServerUnderTest::shared(), "admin_status", 2);
    assert_says("topicStatus", &["-t", "admin_status"], "Topic Put TPS");
}

#[test]
fn a_subscription_group_is_created() {
    let args = ["-c", CLUSTER_NAME, "-g", "admin_group_created"];
    assert_says("updateSubGroup", &args, "create subscription group to");
}

#[test]
fn write_permission_is_wiped_and_given_back() {
    // The route is the same after it, as the other tests of this server need it.
    assert_says("wipeWritePerm", &["-b", BROKER_NAME], "wipe write perm of broker[broker-a]");
    assert_says("addWritePerm", &["-b", BROKER_NAME], "add write perm of broker[broker-a]");
}
