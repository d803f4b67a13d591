//! The same requests to a name server of each kind, and their answers side by side.

use oxmq_compat_tests::server::Kind;
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{ServerUnderTest, wait};
use serde_json::{Value, json};

use crate::EFFECT_LIMIT;
use crate::broker::Broker;
use crate::code::*;

/// A name server of each kind, which get the same requests.
struct Both {
    ours: Conn,
    reference: Conn,
}

impl Both {
    /// The answers of both; they differ in nothing but the order of what has none, and in what stands behind
    /// the reference's remark.
    fn ask(&mut self, request: &Command) -> Command {
        let (ours, reference) =
            (self.ours.call(request.clone()), self.reference.call(request.clone()));
        let what = format!("{request:?}\nours {ours:?}\nreference {reference:?}");
        assert_eq!(ours.code, reference.code, "{what}");
        assert_eq!(ours.flag, reference.flag, "{what}");
        assert_eq!(ours.ext, reference.ext, "{what}");
        assert_eq!(content(&ours.body), content(&reference.body), "{what}");
        match (&ours.remark, &reference.remark) {
            // Nobody reads what stands beside a success, which the reference has left over now and then.
            _ if ours.code == SUCCESS => {}
            (Some(ours), Some(reference)) => {
                assert!(ours.starts_with(reference.as_str()), "{what}")
            }
            (ours, reference) => assert_eq!(ours, reference, "{what}"),
        }
        ours
    }

    fn ask_for(&mut self, code: i32, fields: &[(&str, &str)]) -> Command {
        self.ask(&Command::request(code, fields))
    }
}

/// A body without the order that the reference gives it by hash.
fn content(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let mut value =
        serde_json::from_str(&quoted_keys(&text)).unwrap_or_else(|_| text.as_ref().into());
    sort(&mut value);
    value
}

fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_key(Value::to_string);
        }
        Value::Object(members) => members.values_mut().for_each(sort),
        _ => {}
    }
}

/// Puts the quotes around numbers that are keys, which one of the reference's dialects leaves out.
fn quoted_keys(text: &str) -> String {
    let mut quoted = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', ',']) {
        let (before, behind) = rest.split_at(at + 1);
        quoted.push_str(before);
        let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest = match behind.split_at(digits) {
            (key, behind) if !key.is_empty() && behind.starts_with(':') => {
                quoted.push_str(&format!("\"{key}\""));
                behind
            }
            _ => behind,
        };
    }
    quoted + rest
}

#[test]
fn answers_of_both_kinds_are_the_same_field_by_field() {
    let start = |kind| ServerUnderTest::setup().kind(kind).without_broker().start();
    let servers = [start(Kind::Ours), start(Kind::Reference)];
    let [ours, reference] = [0, 1].map(|at| Conn::connect(&servers[at].namesrv_addr()));
    let mut both = Both { ours, reference };

    let master = Broker::new("both", 0, &["t", "u"]);
    let slave = Broker::new("both", 1, &["t", "u"]);
    let other = Broker::new("both-other", 0, &["t", "v"]).with("__ZONE_NAME", "east");
    let acting = Broker::new("both-acting", 1, &["w", "x"]).with("enableActingMaster", "true");
    both.ask(&master.registration());
    // With an address of the one broker; of several it is that of any.
    both.ask_for(SYSTEM_TOPICS, &[]);
    for broker in [&master, &slave, &other, &acting] {
        both.ask(&broker.fields(DATA_VERSION).with_body(broker.version().to_string()));
        both.ask(&broker.registration());
        both.ask(&broker.fields(DATA_VERSION).with_body(broker.version().to_string()));
        both.ask(&broker.fields(BROKER_HEARTBEAT));
        both.ask_for(MEMBER_GROUP, &[("clusterName", "c"), ("brokerName", &broker.name)]);
    }
    both.ask(&slave.registration());
    for topic in ["both-t", "both-u", "both-other-t", "both-acting-w", "both-none"] {
        both.ask_for(ROUTE, &[("topic", topic)]);
        both.ask_for(ROUTE, &[("topic", topic), ("acceptStandardJsonOnly", "true")]);
        both.ask_for(ROUTE, &[("topic", topic), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "east")]);
    }
    for code in [CLUSTER_INFO, ALL_TOPICS, UNIT_TOPICS, UNIT_SUB_TOPICS, UNIT_SUB_ONLY_TOPICS] {
        both.ask_for(code, &[]);
    }
    for cluster in ["both-cluster", "none"] {
        both.ask_for(TOPICS_BY_CLUSTER, &[("cluster", cluster)]);
    }

    let key = [("namespace", "n"), ("key", "k"), ("value", "v")];
    for code in [GET_KV_CONFIG, KV_LIST, PUT_KV_CONFIG, GET_KV_CONFIG, KV_LIST, DELETE_KV_CONFIG] {
        both.ask_for(code, &key);
    }
    both.ask_for(GET_KV_CONFIG, &key);
    both.ask_for(KV_LIST, &key);

    for name in ["both", "none"] {
        both.ask_for(WIPE_WRITE_PERM, &[("brokerName", name)]);
        both.ask_for(ROUTE, &[("topic", "both-t")]);
        both.ask_for(ADD_WRITE_PERM, &[("brokerName", name)]);
        both.ask_for(ROUTE, &[("topic", "both-t")]);
    }

    let queues = json!({"queueDatas": [{"brokerName": "both", "perm": 2, "readQueueNums": 1,
        "writeQueueNums": 3, "topicSysFlag": 0}]});
    let single = Command::request(REGISTER_TOPIC, &[("topic", "both-single")]);
    both.ask(&single.with_body(queues.to_string()));
    both.ask_for(ROUTE, &[("topic", "both-single")]);
    both.ask_for(DELETE_TOPIC, &[("topic", "both-single"), ("clusterName", "none")]);
    both.ask_for(DELETE_TOPIC, &[("topic", "both-single")]);
    both.ask_for(ROUTE, &[("topic", "both-single")]);

    for text in ["enableTopicList=true", "rocketmqHome=/tmp/x", "no properties \\u12"] {
        both.ask(&Command::request(UPDATE_CONFIG, &[]).with_body(text));
    }

    both.ask(&master.fields(UNREGISTER_BROKER));
    // It is answered before it has an effect.
    let route = Command::request(ROUTE, &[("topic", "both-t"), ("acceptStandardJsonOnly", "true")]);
    wait::until("the slave alone on both", EFFECT_LIMIT, || {
        let is_alone = |answer: Command| {
            let route = content(&answer.body);
            route["brokerDatas"][0]["brokerAddrs"] == json!({"1": "both-1:10911"})
        };
        let answers = [both.ours.call(route.clone()), both.reference.call(route.clone())];
        answers.into_iter().all(is_alone).then_some(())
    });
    both.ask(&route);
    both.ask_for(CLUSTER_INFO, &[]);
}

#[test]
fn settings_of_both_kinds_are_the_same() {
    let settings = [Kind::Ours, Kind::Reference].map(|kind| {
        let server = ServerUnderTest::setup().kind(kind).without_broker().start();
        let answer = Conn::connect(&server.namesrv_addr()).call(Command::request(GET_CONFIG, &[]));
        let text = String::from_utf8(answer.body).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()
    });
    let [ours, reference] = settings;
    for (key, value) in &reference {
        // Each has its own place and port.
        let is_own = key.ends_with("Path") || key == "rocketmqHome" || key == "listenPort";
        let here = ours.iter().find(|(known, _)| known == key);
        let expected = here.map(|(_, here)| here);
        assert!(is_own || expected == Some(value), "{key}={value}, ours {expected:?}");
    }
}
