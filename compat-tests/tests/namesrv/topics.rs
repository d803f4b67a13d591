//! Lists and single topics.

use oxmq_compat_tests::wire::{Command, Conn};
use serde_json::json;

use crate::broker::Broker;
use crate::code::*;
use crate::{ask, connect, names, perm, route, text};

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
