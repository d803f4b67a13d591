//! What brokers register, and what is known of them then.

use oxmq_compat_tests::wire::Conn;
use serde_json::json;

use crate::broker::Broker;
use crate::code::*;
use crate::{ask, connect, names, perm, refusal, route, text};

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
        include_bytes!("../../../protocol/tests/golden/register_broker_compressed_plain.bin");
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
