//! Where a topic is.

use super::*;

#[test]
fn master_stays_one_beside_an_id_below_its_own() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]).acting().perm(4));
    register(&table, registration(-1, "n", &["t", "u"]).acting().perm(4));
    register(&table, registration(1, "s", &["t", "u"]).acting().perm(4));
    let acting = RouteQuery { support_acting_master: true, ..query("t") };
    let route = find(&table, &acting).unwrap();
    let shown = BTreeMap::from([(-1, "n".into()), (0, "m".into()), (1, "s".into())]);
    assert_eq!(route.broker_datas[0].broker_addrs, shown);
    register(&table, registration(0, "m", &["t", "u"]).acting().perm(6).counter(1));
    table.unregister_brokers(&[departure(1, "s")]);
    assert_eq!(perm(&table, "t"), Some(6), "the master is still there");
}

#[test]
fn route_is_sorted_by_broker_name_and_reads_as_the_body_type() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m2", &["t", "u"]).named("b2", 2));
    register(&table, registration(0, "m1", &["t", "u"]).named("b1", 1).perm(4));
    register(&table, registration(1, "s1", &["t", "u"]).named("b1", 3));
    let body = table.route(&query("t")).unwrap().unwrap();
    insta::assert_snapshot!(
        std::str::from_utf8(&body).unwrap(),
        @r#"{"brokerDatas":[{"brokerAddrs":{0:"m1",1:"s1"},"brokerName":"b1","cluster":"C","enableActingMaster":false},{"brokerAddrs":{0:"m2"},"brokerName":"b2","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b1","perm":4,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4},{"brokerName":"b2","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
    );
    let read: TopicRouteData = fastjson::from_slice(&body).unwrap();
    assert_eq!(fastjson::to_vec(&read, Dialect::Raw).unwrap(), body);
    let strict = RouteQuery { dialect: Dialect::Strict, ..query("t") };
    let strict = table.route(&strict).unwrap().unwrap();
    assert_eq!(fastjson::to_vec(&read, Dialect::Strict).unwrap(), strict);
}

#[test]
fn route_carries_the_order_settings_that_it_is_given() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    let route = find(&table, &RouteQuery { order_topic_conf: Some("b:4"), ..query("t") });
    assert_eq!(route.unwrap().order_topic_conf.as_deref(), Some("b:4"));
}

#[test]
fn unknown_topic_has_no_route() {
    let table = RouteInfoManager::default();
    assert_eq!(find(&table, &query("t")), None);
    register(&table, registration(0, "m", &["t", "u"]));
    assert_eq!(find(&table, &query("T")), None);
}

#[test]
fn lowest_slave_is_shown_as_master_where_it_acts() {
    let table = RouteInfoManager::default();
    let sync = "rmq_sys_SYNC_BROKER_MEMBER_b";
    register(&table, registration(2, "s2", &["t", sync]).acting());
    register(&table, registration(3, "s3", &["t", sync]).acting());
    let shown = |topic, support_acting_master| {
        let query = RouteQuery { support_acting_master, ..query(topic) };
        let ids = find(&table, &query).unwrap().broker_datas[0].broker_addrs.clone();
        ids.into_iter().map(|(id, addr)| format!("{id}={addr}")).collect::<Vec<_>>()
    };
    assert_eq!(shown("t", false), ["2=s2", "3=s3"]);
    assert_eq!(shown("t", true), ["0=s2", "3=s3"]);
    assert_eq!(shown(sync, true), ["2=s2", "3=s3"]);
    // Not while the queues can be written, nor beside a master.
    table.add_write_perm("b");
    assert_eq!(shown("t", true), ["2=s2", "3=s3"]);
    table.wipe_write_perm("b");
    register(&table, registration(0, "m", &[]).acting());
    assert_eq!(shown("t", true), ["0=m", "2=s2", "3=s3"]);
}

#[test]
fn zone_keeps_its_brokers_and_those_without_a_master() {
    let table = RouteInfoManager::default();
    let zoned = |id, addr, name: &str, zone: &str| {
        let mut registration = registration(id, addr, &["t", "u"]).named(name, 1);
        registration.zone_name = Some(zone.to_owned());
        registration
    };
    register(&table, zoned(0, "m1", "b1", "east"));
    register(&table, zoned(0, "m2", "b2", "west"));
    register(&table, zoned(1, "s3", "b3", "west"));
    let query = RouteQuery { zone: Some(Zone("EAST")), dialect: Dialect::Strict, ..query("t") };
    let body = table.route(&query).unwrap().unwrap();
    let route: TopicRouteData = fastjson::from_slice(&body).unwrap();
    let names: Vec<_> = route.broker_datas.iter().map(|data| &data.broker_name).collect();
    assert_eq!(names, ["b1", "b3"]);
    let names: Vec<_> = route.queue_datas.iter().map(|data| &data.broker_name).collect();
    assert_eq!(names, ["b1", "b3"]);
    assert!(String::from_utf8_lossy(&body).contains("{0:"), "always the raw dialect");
    let nowhere = RouteQuery { zone: Some(Zone("north")), ..query };
    let names: Vec<_> = find(&table, &nowhere).unwrap().broker_datas;
    assert_eq!(names.len(), 1);
}
