//! Requests and their answers, without sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::advertised_listeners::ADVERTISED_LISTENERS;
use oxmq_protocol::body::{
    ClusterInfo, DataVersion, RegisterBrokerBody, TopicConfig, TopicList, TopicRouteData,
};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::config::ConfigValue as _;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::message::record::body_crc;

use crate::config::NamesrvConfig;
use crate::core::{NameServer, Origin};
use crate::kv_config::KvConfigManager;
use crate::listeners::{ListenerNetworks, ListenerPorts};
use crate::route_info::MinBrokerIdChange;

const ORIGIN: Origin = Origin {
    connection: 1,
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9876),
};

struct Fixture {
    server: NameServer,
    notified: Arc<Mutex<Vec<MinBrokerIdChange>>>,
    folder: tempfile::TempDir,
}

fn fixture(change: impl FnOnce(&mut NamesrvConfig)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let mut settings = NamesrvConfig {
        kv_config_path: at("kvConfig.json"),
        config_store_path: at("namesrv.properties"),
        ..NamesrvConfig::default()
    };
    change(&mut settings);
    let kv_config = KvConfigManager::open(settings.kv_config_path.clone().into()).unwrap();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notified);
    let notifier = Box::new(move |change| sink.lock().unwrap().push(change));
    let server = NameServer::new(settings, kv_config, notifier, Instant::now());
    Fixture { server, notified, folder }
}

impl Fixture {
    fn ask(&self, request: &RemotingCommand) -> RemotingCommand {
        self.server.handle(request, ORIGIN, Instant::now())
    }

    fn ask_for(&self, code: RequestCode, fields: &[(&str, &str)]) -> RemotingCommand {
        self.ask(&request(code, fields))
    }

    fn register(&self, broker_id: i64, broker_addr: &str) {
        let response = self.ask(&register_request(broker_id, broker_addr));
        assert_eq!(response.response_code(), ResponseCode::SUCCESS, "{:?}", response.remark);
    }
}

fn request(code: RequestCode, fields: &[(&str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    for (name, value) in fields {
        request.ext_fields.insert(*name, *value);
    }
    request
}

fn register_request(broker_id: i64, broker_addr: &str) -> RemotingCommand {
    let mut body = RegisterBrokerBody::default();
    for topic in ["orders", "payments"] {
        let topics = &mut body.topic_config_serialize_wrapper.topic_config_table;
        topics.insert(topic.to_owned(), TopicConfig::new(topic));
    }
    let body = fastjson::to_vec(&body, Dialect::Raw).unwrap();
    let mut request = request(
        RequestCode::REGISTER_BROKER,
        &[
            ("brokerName", "b"),
            ("brokerAddr", broker_addr),
            ("clusterName", "C"),
            ("haServerAddr", "h:1"),
            ("brokerId", &broker_id.to_string()),
            ("enableActingMaster", "true"),
        ],
    );
    request.ext_fields.insert("bodyCrc32", body_crc(&body).to_string());
    request.with_body(body)
}

fn failed(response: &RemotingCommand, code: ResponseCode) -> &str {
    assert_eq!(response.response_code(), code, "{:?}", response.remark);
    response.remark.as_deref().unwrap_or_default()
}

fn text(response: &RemotingCommand) -> &str {
    assert_eq!(response.response_code(), ResponseCode::SUCCESS, "{:?}", response.remark);
    std::str::from_utf8(&response.body).unwrap()
}

#[test]
fn registration_with_a_wrong_checksum_is_refused() {
    let fixture = fixture(|_| ());
    let mut wrong = register_request(0, "m:1");
    wrong.ext_fields.insert("bodyCrc32", "1");
    assert_eq!(failed(&fixture.ask(&wrong), ResponseCode::SYSTEM_ERROR), "crc32 not match");
    wrong.ext_fields.insert("bodyCrc32", "0");
    assert_eq!(fixture.ask(&wrong).response_code(), ResponseCode::SUCCESS);
}

#[test]
fn registration_that_is_no_json_is_refused_with_the_place() {
    let fixture = fixture(|_| ());
    let mut wrong = register_request(0, "m:1").with_body(&b"{\"filterServerList\":[}"[..]);
    wrong.ext_fields.insert("bodyCrc32", "0");
    let response = fixture.ask(&wrong);
    let remark = failed(&response, ResponseCode::SYSTEM_ERROR);
    assert_eq!(remark, "body is not a RegisterBrokerBody: expected a value at byte 21");
    let cluster: ClusterInfo =
        fastjson::from_slice(&fixture.ask_for(RequestCode::GET_BROKER_CLUSTER_INFO, &[]).body)
            .unwrap();
    assert_eq!(cluster, ClusterInfo::default());
}

#[test]
fn compressed_registration_is_read_or_refused_by_name() {
    const BODY: &[u8] =
        include_bytes!("../../../protocol/tests/golden/register_broker_compressed_plain.bin");
    let fixture = fixture(|_| ());
    let mut compressed = register_request(0, "m:1").with_body(BODY);
    compressed.ext_fields.insert("bodyCrc32", body_crc(BODY).to_string());
    compressed.ext_fields.insert("compressed", "true");
    text(&fixture.ask(&compressed));
    let all = fixture.ask_for(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
    assert_eq!(text(&all), r#"{"topicList":["T","U"]}"#);
    let mut plain = register_request(0, "m:1");
    plain.ext_fields.insert("compressed", "true");
    let response = fixture.ask(&plain);
    let remark = failed(&response, ResponseCode::SYSTEM_ERROR);
    assert!(remark.starts_with("body is not a compressed RegisterBrokerBody: "), "{remark}");
}

#[test]
fn broker_before_3_0_11_registers_topics_only() {
    let fixture = fixture(|_| ());
    let mut old = register_request(0, "m:1").with_body(
        &br#"{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{"a":{"topicName":"a"},"b":{"topicName":"b"}}}"#[..],
    );
    old.ext_fields.insert("bodyCrc32", "0");
    old.version = 36;
    assert_eq!(fixture.ask(&old).response_code(), ResponseCode::SUCCESS);
    let all = fixture.ask_for(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
    assert_eq!(text(&all), r#"{"topicList":["a","b"]}"#);
}

#[test]
fn registering_broker_is_told_the_order_settings_and_a_slave_its_master() {
    let fixture = fixture(|_| ());
    let response = fixture.ask(&register_request(0, "m:1"));
    assert!(text(&response).is_empty() && response.ext_fields.is_empty());
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders"), ("value", "b:4")];
    fixture.ask_for(RequestCode::PUT_KV_CONFIG, &order);
    let response = fixture.ask(&register_request(1, "s:1"));
    assert_eq!(text(&response), r#"{"table":{"orders":"b:4"}}"#);
    assert_eq!(response.ext_fields.get("masterAddr").as_deref(), Some("m:1"));
    assert_eq!(response.ext_fields.get("haServerAddr").as_deref(), Some("h:1"));
}

#[test]
fn route_is_strict_for_clients_from_4_9_4_or_when_they_say_so() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let mut ask = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    for (version, expected) in [(400, "{0:"), (401, "{\"0\":"), (0, "{0:")] {
        ask.version = version;
        let response = fixture.ask(&ask);
        assert!(text(&response).contains(expected), "{version}");
    }
    ask.ext_fields.insert("acceptStandardJsonOnly", "true");
    assert!(text(&fixture.ask(&ask)).contains("{\"0\":"));
    ask.ext_fields.insert("__ZONE_MODE", "true");
    assert!(text(&fixture.ask(&ask)).contains("{\"0\":"), "no zone named, no filter");
    ask.ext_fields.insert("__ZONE_NAME", "east");
    let route: TopicRouteData = fastjson::from_slice(&fixture.ask(&ask).body).unwrap();
    assert!(route.broker_datas.is_empty() && route.queue_datas.is_empty());
}

#[test]
fn topic_without_a_route_gets_code_17_the_text_of_the_reference_and_the_cause() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let response = fixture.ask_for(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "order")]);
    insta::assert_snapshot!(failed(&response, ResponseCode::TOPIC_NOT_EXIST), @r"
    No topic route info in name server for the topic: order
    See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.
    Cause: none of the registered brokers (b) has it; autoCreateTopicEnable is off on all of them, so the topic has to be created; the nearest topic name is orders.
    ");
    let long = "x".repeat(100_000);
    let response = fixture.ask_for(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", &long)]);
    assert!(failed(&response, ResponseCode::TOPIC_NOT_EXIST).len() < 2_000);
}

#[test]
fn route_has_order_settings_only_when_they_are_switched_on() {
    for is_on in [false, true] {
        let fixture = fixture(|settings| settings.order_message_enable = is_on);
        fixture.register(0, "m:1");
        let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders"), ("value", "b:4")];
        fixture.ask_for(RequestCode::PUT_KV_CONFIG, &order);
        let response = fixture.ask_for(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
        assert_eq!(text(&response).contains(r#""orderTopicConf":"b:4""#), is_on);
    }
}

#[test]
fn routes_wait_for_brokers_after_a_start_when_told_to() {
    let fixture = fixture(|settings| settings.need_wait_for_service = true);
    fixture.register(0, "m:1");
    let ask = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    let at = |seconds| {
        let now = fixture.server.started + Duration::from_secs(seconds);
        fixture.server.handle(&ask, ORIGIN, now)
    };
    assert_eq!(failed(&at(44), ResponseCode::SYSTEM_ERROR), "name server not ready");
    assert_eq!(at(45).response_code(), ResponseCode::SUCCESS);
}

#[test]
fn data_version_is_compared_and_told() {
    let fixture = fixture(|_| ());
    let fields =
        [("brokerName", "b"), ("brokerAddr", "m:1"), ("clusterName", "C"), ("brokerId", "0")];
    let ask = |counter| {
        let version = DataVersion { counter, ..DataVersion::default() };
        let body = fastjson::to_vec(&version, Dialect::Raw).unwrap();
        let response =
            fixture.ask(&request(RequestCode::QUERY_DATA_VERSION, &fields).with_body(body));
        (response.ext_fields.get("changed").unwrap().into_owned(), text(&response).to_owned())
    };
    assert_eq!(ask(0), ("true".to_owned(), String::new()));
    fixture.register(0, "m:1");
    let known = r#"{"counter":0,"stateVersion":0,"timestamp":0}"#;
    assert_eq!(ask(0), ("false".to_owned(), known.to_owned()));
    assert_eq!(ask(1), ("true".to_owned(), known.to_owned()));
}

#[test]
fn members_hear_of_a_lower_id_only_when_switched_on() {
    for is_on in [false, true] {
        let fixture = fixture(|settings| settings.notify_min_broker_id_changed = is_on);
        fixture.register(1, "s:1");
        fixture.register(0, "m:1");
        let gone =
            [("brokerName", "b"), ("brokerAddr", "m:1"), ("clusterName", "C"), ("brokerId", "0")];
        fixture.ask_for(RequestCode::UNREGISTER_BROKER, &gone);
        let heard: Vec<_> = fixture
            .notified
            .lock()
            .unwrap()
            .iter()
            .map(|change| (change.min_broker_id, change.notify.clone()))
            .collect();
        let expected = [(0, vec!["s:1".to_owned()]), (1, vec!["s:1".to_owned()])];
        assert_eq!(heard, if is_on { expected.to_vec() } else { Vec::new() });
    }
}

#[test]
fn lists_say_disable_when_they_are_switched_off() {
    let fixture = fixture(|settings| {
        settings.enable_all_topic_list = false;
        settings.enable_topic_list = false;
    });
    for code in [
        RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        RequestCode::GET_TOPICS_BY_CLUSTER,
        RequestCode::GET_UNIT_TOPIC_LIST,
        RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST,
        RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
    ] {
        let response = fixture.ask_for(code, &[("cluster", "C")]);
        assert_eq!(failed(&response, ResponseCode::SYSTEM_ERROR), "disable", "{code}");
    }
}

#[test]
fn lists_and_groups_are_in_the_raw_dialect() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let answer = |code, fields: &[_]| text(&fixture.ask_for(code, fields)).to_owned();
    insta::assert_snapshot!(
        answer(RequestCode::GET_BROKER_CLUSTER_INFO, &[]),
        @r#"{"brokerAddrTable":{"b":{"brokerAddrs":{0:"m:1"},"brokerName":"b","cluster":"C","enableActingMaster":true}},"clusterAddrTable":{"C":["b"]}}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_BROKER_MEMBER_GROUP, &[("clusterName", "C"), ("brokerName", "b")]),
        @r#"{"brokerMemberGroup":{"brokerAddrs":{0:"m:1"},"brokerName":"b","cluster":"C"}}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_BROKER_MEMBER_GROUP, &[("clusterName", "C"), ("brokerName", "x")]),
        @r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"x","cluster":"C"}}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]),
        @r#"{"brokerAddr":"m:1","topicList":["C","b"]}"#
    );
    insta::assert_snapshot!(
        answer(RequestCode::GET_TOPICS_BY_CLUSTER, &[("cluster", "nowhere")]),
        @r#"{"topicList":[]}"#
    );
}

#[test]
fn write_permission_answers_count_topics() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let wiped = fixture.ask_for(RequestCode::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "b")]);
    assert_eq!(wiped.ext_fields.get("wipeTopicCount").as_deref(), Some("2"));
    let added = fixture.ask_for(RequestCode::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "x")]);
    assert_eq!(added.ext_fields.get("addTopicCount").as_deref(), Some("0"));
}

#[test]
fn single_topic_is_registered_and_deleted() {
    let fixture = fixture(|_| ());
    fixture.register(0, "m:1");
    let topic = request(RequestCode::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "new")])
        .with_body(&br#"{"queueDatas":[{"brokerName":"b","perm":6}]}"#[..]);
    text(&fixture.ask(&topic));
    let names = || -> Vec<String> {
        let all = fixture.ask_for(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
        let list: TopicList = fastjson::from_slice(&all.body).unwrap();
        list.topic_list.into_iter().collect()
    };
    assert_eq!(names(), ["new", "orders", "payments"]);
    let delete = |fields: &[_]| {
        text(&fixture.ask_for(RequestCode::DELETE_TOPIC_IN_NAMESRV, fields)).to_owned()
    };
    delete(&[("topic", "new"), ("clusterName", "nowhere")]);
    assert_eq!(names(), ["new", "orders", "payments"]);
    delete(&[("topic", "new"), ("clusterName", "")]);
    delete(&[("topic", "orders"), ("clusterName", "C")]);
    assert_eq!(names(), ["payments"]);
}

#[test]
fn key_values_answer_as_the_reference_does() {
    let fixture = fixture(|_| ());
    let key = [("namespace", "n"), ("key", "k")];
    let put = [("namespace", "n"), ("key", "k"), ("value", "v")];
    let missing = fixture.ask_for(RequestCode::GET_KV_CONFIG, &key);
    assert_eq!(
        failed(&missing, ResponseCode::QUERY_NOT_FOUND),
        "No config item, Namespace: n Key: k"
    );
    let missing = fixture.ask_for(RequestCode::GET_KVLIST_BY_NAMESPACE, &[("namespace", "n")]);
    assert_eq!(failed(&missing, ResponseCode::QUERY_NOT_FOUND), "No config item, Namespace: n");
    let nameless = fixture.ask_for(RequestCode::PUT_KV_CONFIG, &[("value", "v")]);
    assert_eq!(failed(&nameless, ResponseCode::SYSTEM_ERROR), "namespace or key is null");
    text(&fixture.ask_for(RequestCode::DELETE_KV_CONFIG, &key));
    text(&fixture.ask_for(RequestCode::PUT_KV_CONFIG, &put));
    let found = fixture.ask_for(RequestCode::GET_KV_CONFIG, &key);
    assert_eq!(found.ext_fields.get("value").as_deref(), Some("v"));
    let list = fixture.ask_for(RequestCode::GET_KVLIST_BY_NAMESPACE, &[("namespace", "n")]);
    assert_eq!(text(&list), r#"{"table":{"k":"v"}}"#);
    assert!(fixture.folder.path().join("kvConfig.json").exists());
}

#[test]
fn settings_change_together_and_are_kept() {
    let fixture = fixture(|_| ());
    let update = |text: &str| {
        fixture.ask(
            &request(RequestCode::UPDATE_NAMESRV_CONFIG, &[]).with_body(text.as_bytes().to_vec()),
        )
    };
    text(&update("enableTopicList=false\nscanNotActiveBrokerInterval = 1000\n"));
    assert!(!fixture.server.settings().enable_topic_list);
    let kept = fixture.folder.path().join("namesrv.properties");
    let (kept, _) = NamesrvConfig::load(&kept).unwrap();
    assert_eq!(kept, *fixture.server.settings());
    let shown = fixture.ask_for(RequestCode::GET_NAMESRV_CONFIG, &[]);
    assert!(text(&shown).lines().any(|line| line == "scanNotActiveBrokerInterval=1000"));

    let response = update("enableTopicList=true\nscanNotActiveBrokerInterval=soon");
    assert_eq!(
        failed(&response, ResponseCode::SYSTEM_ERROR),
        "scanNotActiveBrokerInterval must be a whole number, not negative"
    );
    let response = update("enableTopicLst=true");
    assert_eq!(
        failed(&response, ResponseCode::SYSTEM_ERROR),
        "there is no key enableTopicLst; did you mean enableTopicList?"
    );
    let response = update("enableTopicList=\\u12");
    assert_eq!(failed(&response, ResponseCode::SYSTEM_ERROR), "string2Properties error");
    assert_eq!(*fixture.server.settings(), kept);
}

#[test] // CVE-2023-37582: a path in a setting let anyone write files.
fn closed_settings_cannot_be_changed_over_the_wire() {
    let fixture = fixture(|settings| settings.config_black_list = "supportActingMaster".into());
    let before = fixture.server.settings();
    for key in [
        "configStorePath",
        "kvConfigPath",
        "rocketmqHome",
        "configBlackList",
        "bindAddress",
        "listenPort",
        "supportActingMaster",
    ] {
        let body = format!("enableTopicList=false\n{key}=/tmp/x\nproductEnvName=test");
        let response =
            fixture.ask(&request(RequestCode::UPDATE_NAMESRV_CONFIG, &[]).with_body(body));
        assert_eq!(
            failed(&response, ResponseCode::NO_PERMISSION),
            "Can not update config in black list.",
            "{key}"
        );
    }
    assert_eq!(fixture.server.settings(), before);
    assert_eq!(std::fs::read_dir(fixture.folder.path()).unwrap().count(), 0);
}

#[test]
fn unknown_code_is_not_supported() {
    let fixture = fixture(|_| ());
    for code in [RequestCode(31_999), RequestCode(-1), RequestCode::SEND_MESSAGE] {
        let response = fixture.ask_for(code, &[]);
        assert_eq!(
            failed(&response, ResponseCode::REQUEST_CODE_NOT_SUPPORTED),
            format!(" request type {} not supported", code.0)
        );
    }
}

#[test]
fn every_field_that_is_missing_or_of_the_wrong_type_is_named() {
    let broker: &[&str] = &["brokerName", "brokerAddr", "clusterName", "brokerId"];
    let required: BTreeMap<RequestCode, &[&str]> = BTreeMap::from([
        (RequestCode::GET_KV_CONFIG, &["namespace", "key"][..]),
        (RequestCode::DELETE_KV_CONFIG, &["namespace", "key"]),
        (
            RequestCode::REGISTER_BROKER,
            &["brokerName", "brokerAddr", "clusterName", "haServerAddr", "brokerId"],
        ),
        (RequestCode::UNREGISTER_BROKER, broker),
        (RequestCode::QUERY_DATA_VERSION, broker),
        (RequestCode::BROKER_HEARTBEAT, &["brokerName", "brokerAddr", "clusterName"]),
        (RequestCode::GET_BROKER_MEMBER_GROUP, &["clusterName", "brokerName"]),
        (RequestCode::GET_ROUTEINFO_BY_TOPIC, &["topic"]),
        (RequestCode::REGISTER_TOPIC_IN_NAMESRV, &["topic"]),
        (RequestCode::DELETE_TOPIC_IN_NAMESRV, &["topic"]),
        (RequestCode::GET_TOPICS_BY_CLUSTER, &["cluster"]),
        (RequestCode::WIPE_WRITE_PERM_OF_BROKER, &["brokerName"]),
        (RequestCode::ADD_WRITE_PERM_OF_BROKER, &["brokerName"]),
        (RequestCode::GET_KVLIST_BY_NAMESPACE, &["namespace"]),
    ]);
    let fixture = fixture(|_| ());
    for (code, fields) in required {
        for missing in fields {
            let sent: Vec<_> = fields
                .iter()
                .filter(|field| *field != missing)
                .map(|field| (*field, "7"))
                .collect();
            let response = fixture.ask_for(code, &sent);
            let expected = match code {
                RequestCode::GET_ROUTEINFO_BY_TOPIC => ResponseCode::TOPIC_NOT_EXIST,
                RequestCode::GET_KV_CONFIG | RequestCode::GET_KVLIST_BY_NAMESPACE => {
                    ResponseCode::QUERY_NOT_FOUND
                }
                _ => ResponseCode::SYSTEM_ERROR,
            };
            let remark = failed(&response, expected);
            let reason = format!("header field {missing} is missing");
            assert!(remark.contains(&reason), "{code}: {remark}");
        }
        if fields.contains(&"brokerId") {
            let sent: Vec<_> = fields.iter().map(|field| (*field, "seven")).collect();
            let response = fixture.ask_for(code, &sent);
            let remark = failed(&response, ResponseCode::SYSTEM_ERROR);
            assert!(
                remark.starts_with("header field brokerId is not a 64-bit integer"),
                "{remark}"
            );
        }
    }
}

#[test]
fn clients_get_the_addresses_of_the_listener_that_they_come_by() {
    let fixture = fixture(|settings| {
        settings.listeners = ListenerPorts::parse("external:9877").unwrap();
        settings.listener_networks = ListenerNetworks::parse("lan:10.0.0.0/8").unwrap();
    });
    let mut registration = register_request(0, "m:1");
    registration
        .ext_fields
        .insert(ADVERTISED_LISTENERS, "external://example.com:20911,lan://10.0.0.1:10911");
    assert_eq!(fixture.ask(&registration).response_code(), ResponseCode::SUCCESS);
    fixture.register(1, "s:1");

    let outside: SocketAddr = "203.0.113.1:5".parse().unwrap();
    let inside: SocketAddr = "10.1.2.3:5".parse().unwrap();
    for (peer, local_port, master) in [
        (outside, 9876, "m:1"),
        (inside, 9876, "10.0.0.1:10911"),
        (outside, 9877, "example.com:20911"),
        (inside, 9877, "example.com:20911"),
    ] {
        let local = SocketAddr::new(ORIGIN.local.ip(), local_port);
        let origin = Origin { peer, local, ..ORIGIN };
        let ask = |code, fields: &[(&str, &str)]| {
            fixture.server.handle(&request(code, fields), origin, Instant::now()).body
        };
        let expected = BTreeMap::from([(0, master.to_owned()), (1, "s:1".to_owned())]);
        let route = ask(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
        let route: TopicRouteData = fastjson::from_slice(&route).unwrap();
        assert_eq!(route.broker_datas[0].broker_addrs, expected, "{peer} {local_port}");
        let cluster: ClusterInfo =
            fastjson::from_slice(&ask(RequestCode::GET_BROKER_CLUSTER_INFO, &[])).unwrap();
        assert_eq!(cluster.broker_addr_table["b"].broker_addrs, expected);
        let system: TopicList =
            fastjson::from_slice(&ask(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[])).unwrap();
        assert_eq!(system.broker_addr.as_deref(), Some(master));
    }

    // What is left out of the next registration is gone.
    fixture.register(0, "m:1");
    let origin = Origin { peer: inside, ..ORIGIN };
    let ask = request(RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")]);
    let route = fixture.server.handle(&ask, origin, Instant::now()).body;
    let route: TopicRouteData = fastjson::from_slice(&route).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "m:1");

    registration.ext_fields.insert(ADVERTISED_LISTENERS, "external");
    let response = fixture.ask(&registration);
    assert_eq!(
        failed(&response, ResponseCode::SYSTEM_ERROR),
        "oxmqAdvertisedListeners must be NAME://HOST:PORT, at most 16 of them, separated by commas"
    );
}
