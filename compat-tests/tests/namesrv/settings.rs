//! Key-value settings and those of the name server itself.

use std::net::TcpListener;

use oxmq_compat_tests::ServerUnderTest;
use oxmq_compat_tests::wire::{Command, Conn};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::code::*;
use crate::{ask, refusal, route, text};

#[test]
fn key_values_are_kept_over_a_restart() {
    let mut server = ServerUnderTest::setup().without_broker().start();
    let mut conn = Conn::connect(&server.namesrv_addr());
    let key = [("namespace", "n"), ("key", "k")];
    let missing = ask(&mut conn, GET_KV_CONFIG, &key);
    assert_eq!(refusal(&missing, QUERY_NOT_FOUND), "No config item, Namespace: n Key: k");
    let missing = ask(&mut conn, KV_LIST, &[("namespace", "n")]);
    assert_eq!(refusal(&missing, QUERY_NOT_FOUND), "No config item, Namespace: n");
    let put = |conn: &mut Conn, namespace: &str, key: &str, value: &str| {
        let fields = [("namespace", namespace), ("key", key), ("value", value)];
        assert_eq!(ask(conn, PUT_KV_CONFIG, &fields).code, SUCCESS);
    };
    put(&mut conn, "n", "k", "\u{e4} \"v\"");
    put(&mut conn, "n", "gone", "v");
    put(&mut conn, "ORDER_TOPIC_CONFIG", "t", "b:4");
    for _ in 0..2 {
        let gone = [("namespace", "n"), ("key", "gone")];
        assert_eq!(ask(&mut conn, DELETE_KV_CONFIG, &gone).code, SUCCESS);
    }
    let file = server.home().join("namesrv/kvConfig.json");
    let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let expected = json!({"configTable":
        {"n": {"k": "\u{e4} \"v\""}, "ORDER_TOPIC_CONFIG": {"t": "b:4"}}});
    assert_eq!(file, expected);
    server.restart_namesrv();
    let mut conn = Conn::connect(&server.namesrv_addr());
    assert_eq!(ask(&mut conn, GET_KV_CONFIG, &key).ext["value"], "\u{e4} \"v\"");
    let order = ask(&mut conn, KV_LIST, &[("namespace", "ORDER_TOPIC_CONFIG")]);
    assert_eq!(text(&order), r#"{"table":{"t":"b:4"}}"#);
    // A broker that registers is told.
    let answer = Broker::new("order", 0, &["t", "u"]).register(&mut conn);
    assert_eq!(text(&answer), r#"{"table":{"t":"b:4"}}"#);
}

#[test]
fn settings_change_at_once_and_closed_ones_do_not() {
    let server = ServerUnderTest::setup().without_broker().start();
    let mut conn = Conn::connect(&server.namesrv_addr());
    let update = |conn: &mut Conn, text: &str| {
        conn.call(Command::request(UPDATE_CONFIG, &[]).with_body(text))
    };
    let shown = text(&ask(&mut conn, GET_CONFIG, &[]));
    for line in ["enableTopicList=true", "unRegisterBrokerQueueCapacity=3000"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
    let port = server.namesrv_addr().replace("127.0.0.1:", "listenPort=");
    assert!(shown.lines().any(|shown| shown == port), "{port} is not in {shown}");
    for key in ["configStorePath", "kvConfigPath", "rocketmqHome", "configBlackList"] {
        let answer = update(&mut conn, &format!("enableTopicList=false\n{key}=/tmp/x"));
        let remark = "Can not update config in black list.";
        assert_eq!(refusal(&answer, NO_PERMISSION), remark, "{key}");
    }
    assert_eq!(ask(&mut conn, UNIT_TOPICS, &[]).code, SUCCESS);
    assert_eq!(update(&mut conn, "enableTopicList=false\nenableAllTopicList=false").code, SUCCESS);
    for code in [ALL_TOPICS, TOPICS_BY_CLUSTER, UNIT_TOPICS, UNIT_SUB_TOPICS, UNIT_SUB_ONLY_TOPICS]
    {
        let answer = ask(&mut conn, code, &[("cluster", "c")]);
        assert_eq!(refusal(&answer, SYSTEM_ERROR), "disable", "{code}");
    }
}

#[test]
fn acting_master_order_settings_and_deletion_follow_the_settings() {
    let server = ServerUnderTest::setup().without_broker().start();
    let mut conn = Conn::connect(&server.namesrv_addr());
    let settings = "supportActingMaster=true\norderMessageEnable=true\n\
        deleteTopicWithBrokerRegistration=true";
    assert_eq!(conn.call(Command::request(UPDATE_CONFIG, &[]).with_body(settings)).code, SUCCESS);
    let mut slave = Broker::new("act", 2, &["t", "u"]).with("enableActingMaster", "true");
    slave.topics.push("rmq_sys_SYNC_BROKER_MEMBER_act".to_owned());
    slave.register(&mut conn);
    let addrs = |conn: &mut Conn, topic: &str| {
        route(conn, topic).unwrap()["brokerDatas"][0]["brokerAddrs"].clone()
    };
    assert_eq!(addrs(&mut conn, "act-t"), json!({"0": "act-2:10911"}));
    let sync = "rmq_sys_SYNC_BROKER_MEMBER_act";
    assert_eq!(addrs(&mut conn, sync), json!({"2": "act-2:10911"}));
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "act-t"), ("value", "act:4")];
    ask(&mut conn, PUT_KV_CONFIG, &order);
    assert_eq!(route(&mut conn, "act-t").unwrap()["orderTopicConf"], "act:4");
    slave = Broker::new("act", 2, &["u", "v"]).with("enableActingMaster", "true");
    slave.counter = 1;
    slave.register(&mut conn);
    assert!(route(&mut conn, "act-t").is_none());
    assert!(route(&mut conn, "act-v").is_some());
}

#[test]
fn members_are_told_when_another_is_to_act_for_them() {
    let server = ServerUnderTest::setup().without_broker().start();
    let mut conn = Conn::connect(&server.namesrv_addr());
    let settings = "notifyMinBrokerIdChanged=true";
    assert_eq!(conn.call(Command::request(UPDATE_CONFIG, &[]).with_body(settings)).code, SUCCESS);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut slave = Broker::new("told", 1, &["t", "u"]).with("enableActingMaster", "true");
    slave.addr = listener.local_addr().unwrap().to_string();
    slave.register(&mut conn);
    let master = Broker::new("told", 0, &["t", "u"]).with("enableActingMaster", "true");
    master.register(&mut conn);
    let mut told = Conn::accept(&listener);
    let notice = told.receive().unwrap();
    assert_eq!((notice.code, notice.flag & 2), (NOTIFY_MIN_BROKER_ID_CHANGE, 2), "{notice:?}");
    let fields = |notice: &Command| {
        let fields = notice.ext.iter().map(|(field, value)| format!("{field}={value}"));
        fields.collect::<Vec<_>>()
    };
    assert_eq!(
        fields(&notice),
        ["haBrokerAddr=told-0:10911-ha", "minBrokerAddr=told-0:10911", "minBrokerId=0"]
    );
    conn.call(master.fields(UNREGISTER_BROKER));
    let notice = told.receive().unwrap();
    assert_eq!(notice.code, NOTIFY_MIN_BROKER_ID_CHANGE);
    let min = format!("minBrokerAddr={}", slave.addr);
    assert_eq!(fields(&notice), [&min, "minBrokerId=1", "offlineBrokerAddr=told-0:10911"]);
}
