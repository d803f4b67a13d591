//! Every request of the name server, answered alike by both kinds.
//!
//! The brokers here are made up: each test registers its own, in its own cluster.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::Duration;

use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, wait};
use serde_json::{Value, json};

const PUT_KV_CONFIG: i32 = 100;
const GET_KV_CONFIG: i32 = 101;
const DELETE_KV_CONFIG: i32 = 102;
const REGISTER_BROKER: i32 = 103;
const UNREGISTER_BROKER: i32 = 104;
const ROUTE: i32 = 105;
const CLUSTER_INFO: i32 = 106;
const WIPE_WRITE_PERM: i32 = 205;
const ALL_TOPICS: i32 = 206;
const DELETE_TOPIC: i32 = 216;
const REGISTER_TOPIC: i32 = 217;
const KV_LIST: i32 = 219;
const TOPICS_BY_CLUSTER: i32 = 224;
const SYSTEM_TOPICS: i32 = 304;
const UNIT_TOPICS: i32 = 311;
const UNIT_SUB_TOPICS: i32 = 312;
const UNIT_SUB_ONLY_TOPICS: i32 = 313;
const UPDATE_CONFIG: i32 = 318;
const GET_CONFIG: i32 = 319;
const DATA_VERSION: i32 = 322;
const ADD_WRITE_PERM: i32 = 327;
const MEMBER_GROUP: i32 = 901;
const BROKER_HEARTBEAT: i32 = 904;
const NOTIFY_MIN_BROKER_ID_CHANGE: i32 = 905;

const SUCCESS: i32 = 0;
const SYSTEM_ERROR: i32 = 1;
const NOT_SUPPORTED: i32 = 3;
const NO_PERMISSION: i32 = 16;
const TOPIC_NOT_EXIST: i32 = 17;
const QUERY_NOT_FOUND: i32 = 22;

/// Departures are answered before they have an effect; silence is looked for every 5 s.
const EFFECT_LIMIT: Duration = Duration::from_secs(20);

/// One name server for the tests that change none of its settings.
fn connect() -> Conn {
    static SHARED: OnceLock<ServerUnderTest> = OnceLock::new();
    let server = SHARED.get_or_init(|| ServerUnderTest::setup().without_broker().start());
    Conn::connect(&server.namesrv_addr())
}

/// A made-up broker of the cluster `<name>-cluster`.
#[derive(Clone)]
struct Broker {
    name: String,
    id: i64,
    addr: String,
    topics: Vec<String>,
    counter: i64,
    state_version: i64,
    more: Vec<(String, String)>,
}

impl Broker {
    fn new(name: &str, id: i64, topics: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            id,
            addr: format!("{name}-{id}:10911"),
            topics: topics.iter().map(|topic| format!("{name}-{topic}")).collect(),
            counter: 0,
            state_version: 0,
            more: Vec::new(),
        }
    }

    fn with(mut self, field: &str, value: &str) -> Self {
        self.more.push((field.to_owned(), value.to_owned()));
        self
    }

    fn cluster(&self) -> String {
        format!("{}-cluster", self.name)
    }

    fn body(&self, sys_flag: i32) -> String {
        let topics: serde_json::Map<String, Value> = self
            .topics
            .iter()
            .map(|topic| {
                let config = json!({"topicName": topic, "perm": 6, "readQueueNums": 4,
                    "writeQueueNums": 5, "topicSysFlag": sys_flag, "order": false,
                    "topicFilterType": "SINGLE_TAG", "attributes": {}});
                (topic.clone(), config)
            })
            .collect();
        json!({"filterServerList": [], "topicConfigSerializeWrapper": {
            "dataVersion": self.version(), "topicConfigTable": topics}})
        .to_string()
    }

    fn version(&self) -> Value {
        json!({"counter": self.counter, "stateVersion": self.state_version, "timestamp": 1})
    }

    /// The fields that every request of a broker has.
    fn fields(&self, code: i32) -> Command {
        let mut command = Command::request(code, &[]);
        let id = self.id.to_string();
        let cluster = self.cluster();
        let fields = [
            ("brokerName", &self.name),
            ("brokerAddr", &self.addr),
            ("clusterName", &cluster),
            ("brokerId", &id),
        ];
        for (field, value) in fields {
            command.ext.insert(field.to_owned(), value.clone());
        }
        command
    }

    fn registration(&self) -> Command {
        let mut command = self.fields(REGISTER_BROKER).with_body(self.body(0));
        command.ext.insert("haServerAddr".to_owned(), format!("{}-ha", self.addr));
        command.ext.extend(self.more.iter().cloned());
        command
    }

    fn register(&self, conn: &mut Conn) -> Command {
        let answer = conn.call(self.registration());
        assert_eq!(answer.code, SUCCESS, "{answer:?}");
        answer
    }
}

fn ask(conn: &mut Conn, code: i32, fields: &[(&str, &str)]) -> Command {
    conn.call(Command::request(code, fields))
}

fn text(answer: &Command) -> String {
    assert_eq!(answer.code, SUCCESS, "{answer:?}");
    String::from_utf8(answer.body.clone()).unwrap()
}

/// The remark of an answer that refuses.
fn refusal(answer: &Command, code: i32) -> &str {
    assert_eq!(answer.code, code, "{answer:?}");
    answer.remark.as_deref().unwrap_or_default()
}

/// The route of a topic in the strict dialect, or `None` for code 17.
fn route(conn: &mut Conn, topic: &str) -> Option<Value> {
    let answer = ask(conn, ROUTE, &[("topic", topic), ("acceptStandardJsonOnly", "true")]);
    match answer.code {
        TOPIC_NOT_EXIST => None,
        _ => Some(serde_json::from_str(&text(&answer)).unwrap()),
    }
}

fn perm(conn: &mut Conn, topic: &str) -> i64 {
    route(conn, topic).expect("a route")["queueDatas"][0]["perm"].as_i64().unwrap()
}

fn wait_for_no_route(conn: &mut Conn, topic: &str) {
    wait::until("no route any more", EFFECT_LIMIT, || route(conn, topic).is_none().then_some(()));
}

fn names(answer: &Command) -> Vec<String> {
    let list: Value = serde_json::from_str(&text(answer)).unwrap();
    let list = list["topicList"].as_array().unwrap();
    let mut names: Vec<_> = list.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn route_of_a_registered_topic_has_the_same_bytes() {
    let mut conn = connect();
    let broker = Broker::new("bytes", 0, &["t", "u"]);
    let answer = broker.register(&mut conn);
    assert!(answer.ext.is_empty() && answer.body.is_empty(), "{answer:?}");
    let rest = concat!(
        r#""bytes-0:10911"},"brokerName":"bytes","cluster":"bytes-cluster","enableActingMaster":false}],"#,
        r#""filterServerTable":{},"queueDatas":[{"brokerName":"bytes","perm":6,"readQueueNums":4,"#,
        r#""topicSysFlag":0,"writeQueueNums":5}]}"#
    );
    // This client says that it is 5.5.0, which reads standard JSON only.
    let strict = text(&ask(&mut conn, ROUTE, &[("topic", "bytes-t")]));
    assert_eq!(strict, format!(r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":{rest}"#));
    let zoned = [("topic", "bytes-t"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "z")];
    let zoned = text(&ask(&mut conn, ROUTE, &zoned));
    assert_eq!(zoned, r#"{"brokerDatas":[],"filterServerTable":{},"queueDatas":[]}"#);
    let cluster = text(&ask(&mut conn, CLUSTER_INFO, &[]));
    let entry = concat!(
        r#""bytes":{"brokerAddrs":{0:"bytes-0:10911"},"brokerName":"bytes","#,
        r#""cluster":"bytes-cluster","enableActingMaster":false}"#
    );
    assert!(cluster.contains(entry), "{cluster}");
    assert!(cluster.contains(r#""bytes-cluster":["bytes"]"#), "{cluster}");
    let group = [("clusterName", "any"), ("brokerName", "bytes")];
    assert_eq!(
        text(&ask(&mut conn, MEMBER_GROUP, &group)),
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"bytes-0:10911"},"brokerName":"bytes","cluster":"any"}}"#
    );
    let group = [("clusterName", "c"), ("brokerName", "bytes-none")];
    assert_eq!(
        text(&ask(&mut conn, MEMBER_GROUP, &group)),
        r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"bytes-none","cluster":"c"}}"#
    );
}

#[test]
fn topic_without_a_route_is_code_17() {
    let mut conn = connect();
    let answer = ask(&mut conn, ROUTE, &[("topic", "nowhere")]);
    let remark = refusal(&answer, TOPIC_NOT_EXIST);
    let expected = "No topic route info in name server for the topic: nowhere\n\
        See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
    assert!(remark.starts_with(expected), "{remark}");
}

#[test]
fn first_registration_with_one_topic_is_refused() {
    let mut conn = connect();
    let mut broker = Broker::new("single", 0, &["t"]);
    let answer = conn.call(broker.registration());
    assert_eq!(refusal(&answer, SYSTEM_ERROR), "register broker failed");
    broker = Broker::new("single", 0, &["t", "u"]);
    broker.register(&mut conn);
    broker = Broker::new("single", 0, &["v"]);
    broker.counter = 1;
    broker.register(&mut conn);
    for topic in ["single-t", "single-u", "single-v"] {
        assert!(route(&mut conn, topic).is_some(), "{topic}");
    }
}

#[test]
fn wrong_checksum_is_refused() {
    let mut conn = connect();
    let broker = Broker::new("checksum", 0, &["t", "u"]).with("bodyCrc32", "1");
    let answer = conn.call(broker.registration());
    assert_eq!(refusal(&answer, SYSTEM_ERROR), "crc32 not match");
}

#[test]
fn compressed_registration_is_read() {
    // The topics T and U.
    const BODY: &[u8] =
        include_bytes!("../../protocol/tests/golden/register_broker_compressed_plain.bin");
    let mut conn = connect();
    let broker = Broker::new("compressed", 0, &[]).with("compressed", "true");
    let answer = conn.call(broker.registration().with_body(BODY));
    assert_eq!(answer.code, SUCCESS, "{answer:?}");
    let topic = ask(&mut conn, TOPICS_BY_CLUSTER, &[("cluster", &broker.cluster())]);
    assert_eq!(names(&topic), ["T", "U"]);
    assert_eq!(perm(&mut conn, "U"), 4);
}

#[test]
fn write_permission_lasts_until_the_data_version_changes() {
    let mut conn = connect();
    let mut broker = Broker::new("perm", 0, &["t", "u"]);
    broker.register(&mut conn);
    let wiped = ask(&mut conn, WIPE_WRITE_PERM, &[("brokerName", "perm")]);
    assert_eq!((wiped.code, wiped.number("wipeTopicCount")), (SUCCESS, 2));
    broker.register(&mut conn);
    assert_eq!(perm(&mut conn, "perm-t"), 4);
    broker.counter = 1;
    broker.register(&mut conn);
    assert_eq!(perm(&mut conn, "perm-t"), 6);
    ask(&mut conn, WIPE_WRITE_PERM, &[("brokerName", "perm")]);
    let added = ask(&mut conn, ADD_WRITE_PERM, &[("brokerName", "perm")]);
    assert_eq!((added.code, added.number("addTopicCount")), (SUCCESS, 2));
    assert_eq!(perm(&mut conn, "perm-u"), 6);
    let unknown = ask(&mut conn, WIPE_WRITE_PERM, &[("brokerName", "perm-none")]);
    assert_eq!(unknown.number("wipeTopicCount"), 0);
}

#[test]
fn data_version_is_compared_with_the_registered_one() {
    let mut conn = connect();
    let mut broker = Broker::new("version", 0, &["t", "u"]);
    let ask = |conn: &mut Conn, broker: &Broker| {
        let request = broker.fields(DATA_VERSION).with_body(broker.version().to_string());
        let answer = conn.call(request);
        (answer.ext["changed"].clone(), text(&answer))
    };
    assert_eq!(ask(&mut conn, &broker), ("true".to_owned(), String::new()));
    broker.register(&mut conn);
    let known = r#"{"counter":0,"stateVersion":0,"timestamp":1}"#.to_owned();
    assert_eq!(ask(&mut conn, &broker), ("false".to_owned(), known.clone()));
    broker.counter = 7;
    assert_eq!(ask(&mut conn, &broker), ("true".to_owned(), known));
}

#[test]
fn slave_learns_its_master_and_keeps_its_topics_to_itself() {
    let mut conn = connect();
    let slave = Broker::new("pair", 1, &["s", "t"]);
    let answer = slave.register(&mut conn);
    assert!(answer.ext.is_empty(), "{answer:?}");
    Broker::new("pair", 0, &["m", "n"]).register(&mut conn);
    let answer = slave.register(&mut conn);
    assert_eq!(answer.ext["masterAddr"], "pair-0:10911");
    assert_eq!(answer.ext["haServerAddr"], "pair-0:10911-ha");
    assert!(route(&mut conn, "pair-s").is_none());
    let addrs = &route(&mut conn, "pair-m").unwrap()["brokerDatas"][0]["brokerAddrs"];
    assert_eq!(addrs, &json!({"0": "pair-0:10911", "1": "pair-1:10911"}));
}

#[test]
fn slave_that_became_master_keeps_one_entry() {
    let mut conn = connect();
    let mut broker = Broker::new("switch", 1, &["t", "u"]);
    broker.register(&mut conn);
    broker.id = 0;
    broker.register(&mut conn);
    let addrs = &route(&mut conn, "switch-t").unwrap()["brokerDatas"][0]["brokerAddrs"];
    assert_eq!(addrs, &json!({"0": "switch-1:10911"}));
}

#[test]
fn newcomer_of_an_older_term_is_ignored() {
    let mut conn = connect();
    let mut broker = Broker::new("term", 0, &["t", "u"]);
    broker.state_version = 2;
    broker.register(&mut conn);
    let mut older = Broker { addr: "term-older:1".to_owned(), ..broker.clone() };
    older.state_version = 1;
    older.register(&mut conn);
    let addrs = &route(&mut conn, "term-t").unwrap()["brokerDatas"][0]["brokerAddrs"];
    assert_eq!(addrs, &json!({"0": "term-0:10911"}));
    let version = older.fields(DATA_VERSION).with_body(older.version().to_string());
    assert_eq!(text(&conn.call(version)), "");
}

#[test]
fn lowest_slave_with_an_acting_master_is_read_only() {
    let mut conn = connect();
    let slave = Broker::new("acting", 1, &["t", "u"]).with("enableActingMaster", "true");
    slave.register(&mut conn);
    assert_eq!(perm(&mut conn, "acting-t"), 4);
    Broker::new("acting", 2, &["x", "y"]).with("enableActingMaster", "true").register(&mut conn);
    assert!(route(&mut conn, "acting-x").is_none());
    let mut master = Broker::new("acting", 0, &["t", "u"]).with("enableActingMaster", "true");
    master.register(&mut conn);
    assert_eq!(perm(&mut conn, "acting-t"), 6);
    master.counter = 1;
    assert_eq!(conn.call(master.fields(UNREGISTER_BROKER)).code, SUCCESS);
    wait::until("read-only without a master", EFFECT_LIMIT, || {
        (perm(&mut conn, "acting-t") == 4).then_some(())
    });
}

#[test]
fn departure_takes_the_topics_along_with_the_last_address() {
    let mut conn = connect();
    let (master, slave) =
        (Broker::new("leave", 0, &["t", "u"]), Broker::new("leave", 1, &["t", "u"]));
    master.register(&mut conn);
    slave.register(&mut conn);
    conn.call(master.fields(UNREGISTER_BROKER));
    wait::until("the slave alone", EFFECT_LIMIT, || {
        let addrs = &route(&mut conn, "leave-t").unwrap()["brokerDatas"][0]["brokerAddrs"];
        (addrs == &json!({"1": "leave-1:10911"})).then_some(())
    });
    conn.call(slave.fields(UNREGISTER_BROKER));
    wait_for_no_route(&mut conn, "leave-t");
    let cluster = text(&ask(&mut conn, CLUSTER_INFO, &[]));
    assert!(!cluster.contains("leave"), "{cluster}");
}

#[test]
fn closed_connection_takes_its_broker_along() {
    let mut own = connect();
    let mut conn = connect();
    Broker::new("closed", 0, &["t", "u"]).register(&mut own);
    assert!(route(&mut conn, "closed-t").is_some());
    drop(own);
    wait_for_no_route(&mut conn, "closed-t");
}

#[test]
fn silent_broker_is_removed_and_one_that_beats_is_not() {
    let mut conn = connect();
    let timeout = ("heartbeatTimeoutMillis", "3000");
    let silent = Broker::new("silent", 0, &["t", "u"]).with(timeout.0, timeout.1);
    let beating = Broker::new("beating", 0, &["t", "u"]).with(timeout.0, timeout.1);
    let mut own = [connect(), connect()];
    silent.register(&mut own[0]);
    beating.register(&mut own[1]);
    wait::until("the silent one gone", EFFECT_LIMIT, || {
        assert_eq!(own[1].call(beating.fields(BROKER_HEARTBEAT)).code, SUCCESS);
        route(&mut conn, "silent-t").is_none().then_some(())
    });
    assert!(route(&mut conn, "beating-t").is_some());
    assert!(own[0].try_call(Command::request(CLUSTER_INFO, &[])).is_err(), "connection closed");
    let unknown = Broker::new("unknown", 0, &[]);
    assert_eq!(conn.call(unknown.fields(BROKER_HEARTBEAT)).code, SUCCESS);
}

#[test]
fn zone_keeps_its_brokers_and_those_without_a_master() {
    let mut conn = connect();
    for (name, id, zone) in [("zone-a", 0, "east"), ("zone-b", 0, "west"), ("zone-c", 1, "west")] {
        let mut broker = Broker::new(name, id, &[]).with("__ZONE_NAME", zone);
        broker = broker.with("enableActingMaster", "false");
        broker.topics = vec!["zone-t".to_owned(), "zone-u".to_owned()];
        broker.register(&mut conn);
    }
    let fields = [("topic", "zone-t"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "EAST")];
    let body = text(&ask(&mut conn, ROUTE, &fields));
    for part in ["\"zoneName\":\"east\"", "{0:\"zone-a-0:10911\"}", "{1:\"zone-c-1:10911\"}"] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    assert!(!body.contains("zone-b"), "{body}");
    let all = text(&ask(&mut conn, ROUTE, &[("topic", "zone-t")]));
    assert!(all.contains("zone-b"), "{all}");
}

#[test]
fn lists_hold_topics_by_cluster_by_unit_and_by_system() {
    let mut conn = connect();
    for (name, sys_flag) in [("list-p", 0), ("list-u", 1), ("list-s", 2), ("list-b", 3)] {
        let broker = Broker::new(name, 0, &["t", "u"]);
        let mut registration = broker.registration();
        registration.body = broker.body(sys_flag).into_bytes();
        assert_eq!(conn.call(registration).code, SUCCESS);
    }
    let listed = |conn: &mut Conn, code: i32| -> Vec<String> {
        let names = names(&ask(conn, code, &[])).into_iter();
        names.filter_map(|name| Some(name.strip_prefix("list-")?.to_owned())).collect()
    };
    assert_eq!(
        listed(&mut conn, ALL_TOPICS),
        ["b-t", "b-u", "p-t", "p-u", "s-t", "s-u", "u-t", "u-u"]
    );
    assert_eq!(listed(&mut conn, UNIT_TOPICS), ["b-t", "b-u", "u-t", "u-u"]);
    assert_eq!(listed(&mut conn, UNIT_SUB_TOPICS), ["b-t", "b-u", "s-t", "s-u"]);
    assert_eq!(listed(&mut conn, UNIT_SUB_ONLY_TOPICS), ["s-t", "s-u"]);
    let system = ["b", "b-cluster", "p", "p-cluster", "s", "s-cluster", "u", "u-cluster"];
    assert_eq!(listed(&mut conn, SYSTEM_TOPICS), system);
    let by_cluster = |conn: &mut Conn, cluster: &str| {
        names(&ask(conn, TOPICS_BY_CLUSTER, &[("cluster", cluster)]))
    };
    assert_eq!(by_cluster(&mut conn, "list-p-cluster"), ["list-p-t", "list-p-u"]);
    assert!(by_cluster(&mut conn, "list-none").is_empty());
}

#[test]
fn single_topic_is_registered_for_known_brokers_and_deleted_by_cluster() {
    let mut conn = connect();
    Broker::new("own", 0, &["t", "u"]).register(&mut conn);
    let put = |conn: &mut Conn, topic: &str, broker: &str| {
        let body = json!({"queueDatas": [{"brokerName": broker, "perm": 2, "readQueueNums": 1,
            "writeQueueNums": 1, "topicSysFlag": 0}]});
        let request = Command::request(REGISTER_TOPIC, &[("topic", topic)]);
        assert_eq!(conn.call(request.with_body(body.to_string())).code, SUCCESS);
    };
    put(&mut conn, "own-new", "own");
    assert_eq!(perm(&mut conn, "own-new"), 2);
    put(&mut conn, "own-lost", "own-none");
    assert!(route(&mut conn, "own-lost").is_none());
    let delete = |conn: &mut Conn, fields: &[(&str, &str)]| {
        assert_eq!(ask(conn, DELETE_TOPIC, fields).code, SUCCESS);
    };
    delete(&mut conn, &[("topic", "own-t"), ("clusterName", "own-none")]);
    assert!(route(&mut conn, "own-t").is_some());
    delete(&mut conn, &[("topic", "own-t"), ("clusterName", "own-cluster")]);
    delete(&mut conn, &[("topic", "own-u")]);
    assert!(route(&mut conn, "own-t").is_none() && route(&mut conn, "own-u").is_none());
    // It comes back with the next registration, changed or not.
    Broker::new("own", 0, &["t", "u"]).register(&mut conn);
    assert!(route(&mut conn, "own-t").is_some());
}

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

#[test]
fn unknown_codes_and_missing_fields_are_refused() {
    let mut conn = connect();
    let answer = ask(&mut conn, 31_999, &[]);
    assert_eq!(refusal(&answer, NOT_SUPPORTED), " request type 31999 not supported");
    // Without the field that names it, nothing can be found or registered.
    for (code, expected) in [
        (PUT_KV_CONFIG, SYSTEM_ERROR),
        (GET_KV_CONFIG, QUERY_NOT_FOUND),
        (KV_LIST, QUERY_NOT_FOUND),
        (REGISTER_BROKER, SYSTEM_ERROR),
        (ROUTE, TOPIC_NOT_EXIST),
        (DATA_VERSION, SYSTEM_ERROR),
        (BROKER_HEARTBEAT, SYSTEM_ERROR),
    ] {
        let answer = ask(&mut conn, code, &[("else", "x")]);
        assert_eq!(answer.code, expected, "{code}: {answer:?}");
    }
    let wrong = Broker::new("wrong", 0, &["t", "u"]).with("brokerId", "seven");
    assert_eq!(conn.call(wrong.registration()).code, SYSTEM_ERROR);
    let wrong = Broker::new("wrong", 0, &["t", "u"]).registration().with_body("{\"topic");
    assert_eq!(conn.call(wrong).code, SYSTEM_ERROR);
    assert!(route(&mut conn, "wrong-t").is_none());
}
