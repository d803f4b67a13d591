//! Brokers that leave, are cut off or fall silent.

use oxmq_compat_tests::wait;
use oxmq_compat_tests::wire::Command;
use serde_json::json;

use crate::broker::Broker;
use crate::code::*;
use crate::{EFFECT_LIMIT, ask, connect, perm, route, text, wait_for_no_route};

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
