//! The rules of registration, departure and routes, in the order of the reference's processing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use oxmq_protocol::body::{QueueData, TopicConfig, TopicQueueMappingInfo, TopicRouteData};
use oxmq_protocol::fastjson::{self, Dialect};

use super::register::Registered;
use super::*;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A registration of broker `b` in cluster `C` with topics of four queues.
fn registration(broker_id: i64, broker_addr: &str, topics: &[&str]) -> Registration {
    let mut registration = Registration {
        address: address(broker_addr),
        broker_name: "b".into(),
        broker_id,
        ha_server_addr: format!("{broker_addr}-ha"),
        zone_name: None,
        advertised: Default::default(),
        timeout: TIMEOUT,
        enable_acting_master: Some(false),
        body: oxmq_protocol::body::RegisterBrokerBody::default(),
        connection: 1,
        delete_missing_topics: false,
    };
    for name in topics {
        let topic =
            TopicConfig { read_queue_nums: 4, write_queue_nums: 4, ..TopicConfig::new(*name) };
        registration.topics().insert((*name).to_owned(), topic);
    }
    registration
}

impl Registration {
    fn topics(&mut self) -> &mut BTreeMap<String, TopicConfig> {
        &mut self.body.topic_config_serialize_wrapper.topic_config_table
    }

    fn counter(mut self, counter: i64) -> Self {
        self.body.topic_config_serialize_wrapper.data_version.counter = counter;
        self
    }

    fn state_version(mut self, state_version: i64) -> Self {
        self.body.topic_config_serialize_wrapper.data_version.state_version = state_version;
        self
    }

    fn acting(mut self) -> Self {
        self.enable_acting_master = Some(true);
        self
    }

    fn perm(mut self, perm: i32) -> Self {
        for topic in self.topics().values_mut() {
            topic.perm = perm;
        }
        self
    }

    fn named(mut self, broker_name: &str, connection: u64) -> Self {
        self.broker_name = broker_name.to_owned();
        self.connection = connection;
        self
    }
}

fn address(broker_addr: &str) -> BrokerAddress {
    BrokerAddress { cluster_name: "C".into(), broker_addr: broker_addr.into() }
}

fn departure(broker_id: i64, broker_addr: &str) -> Departure {
    Departure { address: address(broker_addr), broker_name: "b".into(), broker_id }
}

fn register(table: &RouteInfoManager, registration: Registration) -> Registered {
    table.register_broker(&registration, Instant::now()).unwrap()
}

fn query(topic: &str) -> RouteQuery<'_> {
    RouteQuery {
        topic,
        dialect: Dialect::Raw,
        order_topic_conf: None,
        support_acting_master: false,
        zone: None,
        listener: None,
    }
}

fn find(table: &RouteInfoManager, query: &RouteQuery<'_>) -> Option<TopicRouteData> {
    let body = table.route(query).unwrap()?;
    Some(fastjson::from_slice(&body).unwrap())
}

fn addrs(table: &RouteInfoManager) -> BTreeMap<i64, String> {
    table.broker_member_group("C", "b").broker_addrs
}

fn perm(table: &RouteInfoManager, topic: &str) -> Option<i32> {
    find(table, &query(topic)).map(|route| route.queue_datas[0].perm)
}

fn topics(table: &RouteInfoManager) -> Vec<String> {
    table.all_topics().topic_list.into_iter().collect()
}

// Registration.

#[test]
fn registered_broker_is_in_its_cluster_with_zone_and_address() {
    let table = RouteInfoManager::default();
    let mut first = registration(0, "m", &["t", "u"]);
    first.zone_name = Some("Z".into());
    assert_eq!(register(&table, first), Registered::default());
    let info = table.cluster_info(None);
    assert_eq!(info.cluster_addr_table["C"], BTreeSet::from(["b".to_owned()]));
    let broker = &info.broker_addr_table["b"];
    assert_eq!(broker.broker_addrs, BTreeMap::from([(0, "m".to_owned())]));
    assert_eq!(broker.zone_name.as_deref(), Some("Z"));
    assert!(!broker.enable_acting_master);
    assert_eq!(topics(&table), ["t", "u"]);
}

#[test]
fn broker_that_does_not_know_acting_masters_has_none() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]).acting());
    assert!(table.cluster_info(None).broker_addr_table["b"].enable_acting_master);
    let mut old = registration(0, "m", &["t", "u"]);
    old.enable_acting_master = None;
    register(&table, old);
    assert!(!table.cluster_info(None).broker_addr_table["b"].enable_acting_master);
}

#[test]
fn slave_that_became_master_keeps_one_entry() {
    let table = RouteInfoManager::default();
    register(&table, registration(1, "s", &["t", "u"]));
    register(&table, registration(0, "s", &["t", "u"]));
    assert_eq!(addrs(&table), BTreeMap::from([(0, "s".to_owned())]));
}

#[test]
fn newcomer_of_an_older_term_does_not_take_a_living_broker_s_id() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "new", &["t", "u"]).state_version(2));
    let ignored = registration(0, "old", &["v", "w"]).state_version(1);
    assert_eq!(register(&table, ignored), Registered::default());
    assert_eq!(addrs(&table), BTreeMap::from([(0, "new".to_owned())]));
    assert_eq!(topics(&table), ["t", "u"]);
    assert_eq!(table.data_version(&address("old")), None);
    // The same term, or a newer one, takes it.
    register(&table, registration(0, "next", &["t", "u"]).state_version(2));
    assert_eq!(addrs(&table), BTreeMap::from([(0, "next".to_owned())]));
}

#[test]
fn first_registration_with_one_topic_is_refused_and_leaves_nothing_behind() {
    let table = RouteInfoManager::default();
    let refused = table.register_broker(&registration(0, "m", &["t"]), Instant::now());
    assert_eq!(refused, Err(RegisterError::FirstIsPartial));
    assert_eq!(RegisterError::FirstIsPartial.to_string(), "register broker failed");
    assert_eq!(table.cluster_info(None), Default::default());
    // Once the broker is known, one topic adds to the others.
    register(&table, registration(0, "m", &["t", "u"]));
    register(&table, registration(0, "m", &["v"]).counter(1));
    assert_eq!(topics(&table), ["t", "u", "v"]);
    // The first one of a slave has to be full too, though its name is known.
    let refused = table.register_broker(&registration(1, "s", &["t"]), Instant::now());
    assert_eq!(refused, Err(RegisterError::FirstIsPartial));
}

#[test]
fn registration_without_topics_is_welcome() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &[]));
    assert_eq!(addrs(&table).len(), 1);
}

#[test]
fn topics_are_applied_again_only_when_the_data_version_changed() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    assert_eq!(table.wipe_write_perm("b"), 2);
    register(&table, registration(0, "m", &["t", "u"]));
    assert_eq!(perm(&table, "t"), Some(4), "the version is the same");
    register(&table, registration(0, "m", &["t", "u"]).counter(1));
    assert_eq!(perm(&table, "t"), Some(6));
}

#[test]
fn unchanged_registration_brings_back_a_topic_that_was_forgotten() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    table.delete_topic("t", None);
    assert_eq!(topics(&table), ["u"]);
    register(&table, registration(0, "m", &["t", "u"]));
    assert_eq!(topics(&table), ["t", "u"]);
}

#[test]
fn topics_of_a_slave_do_not_count_beside_a_master() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    register(&table, registration(1, "s", &["v", "w"]));
    assert_eq!(topics(&table), ["t", "u"]);
}

#[test]
fn topics_of_the_lowest_slave_count_when_there_is_no_master() {
    let table = RouteInfoManager::default();
    register(&table, registration(1, "s", &["t", "u"]));
    assert_eq!(perm(&table, "t"), Some(6), "not read-only, as it does not act as master");
    register(&table, registration(2, "s2", &["v", "w"]));
    assert_eq!(topics(&table), ["t", "u"]);
    register(&table, registration(1, "s", &["t", "u"]).acting().counter(1));
    assert_eq!(perm(&table, "t"), Some(4));
}

#[test]
fn topics_of_a_slave_before_5_0_never_count() {
    let table = RouteInfoManager::default();
    let mut old = registration(1, "s", &["t", "u"]);
    old.enable_acting_master = None;
    register(&table, old);
    assert!(topics(&table).is_empty());
}

#[test]
fn full_registration_deletes_missing_topics_when_told_to() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    register(&table, registration(0, "x", &["t", "z"]).named("other", 2));
    register(&table, registration(0, "m", &["t", "v"]).counter(1));
    assert_eq!(topics(&table), ["t", "u", "v", "z"]);
    let mut deleting = registration(0, "m", &["v", "w"]).counter(2);
    deleting.delete_missing_topics = true;
    register(&table, deleting);
    assert_eq!(topics(&table), ["t", "v", "w", "z"]);
    assert_eq!(find(&table, &query("t")).unwrap().queue_datas[0].broker_name, "other");
}

#[test]
fn slave_learns_its_master_only_while_that_is_alive() {
    let table = RouteInfoManager::default();
    let slave = || registration(1, "s", &["t", "u"]);
    assert_eq!(register(&table, slave()).master_addr, None);
    register(&table, registration(0, "m", &["t", "u"]));
    let registered = register(&table, slave());
    assert_eq!(registered.master_addr.as_deref(), Some("m"));
    assert_eq!(registered.ha_server_addr.as_deref(), Some("m-ha"));
    table.write().live.remove(&address("m"));
    assert_eq!(register(&table, slave()).master_addr, None);
}

#[test]
fn lower_id_than_any_before_is_told_to_the_others() {
    let table = RouteInfoManager::default();
    assert_eq!(register(&table, registration(2, "s2", &["t", "u"])).min_id_change, None);
    let change = register(&table, registration(1, "s1", &["t", "u"])).min_id_change.unwrap();
    assert_eq!((change.min_broker_id, change.min_broker_addr.as_str()), (1, "s1"));
    assert_eq!(change.notify, ["s2"]);
    assert_eq!(change.ha_broker_addr.as_deref(), Some("s1-ha"));
    assert_eq!(change.offline_broker_addr, None);
    assert_eq!(register(&table, registration(3, "s3", &["t", "u"])).min_id_change, None);
}

#[test]
fn filter_servers_are_in_routes_until_the_list_is_empty() {
    let table = RouteInfoManager::default();
    let mut with = registration(0, "m", &["t", "u"]);
    with.body.filter_server_list = vec!["f:1".into()];
    register(&table, with);
    let servers = |table| find(table, &query("t")).unwrap().filter_server_table;
    assert_eq!(servers(&table), BTreeMap::from([("m".to_owned(), vec!["f:1".to_owned()])]));
    register(&table, registration(0, "m", &["t", "u"]));
    assert!(servers(&table).is_empty());
}

#[test]
fn static_topic_has_its_mapping_in_the_route() {
    let table = RouteInfoManager::default();
    let mut fixed = registration(0, "m", &["t", "u"]);
    let mapping = TopicQueueMappingInfo {
        bname: Some("b".into()),
        curr_id_map: BTreeMap::from([(0, 1)]),
        topic: Some("t".into()),
        total_queues: 8,
        ..TopicQueueMappingInfo::default()
    };
    let wrapper = &mut fixed.body.topic_config_serialize_wrapper;
    wrapper.topic_queue_mapping_info_map.insert("t".into(), mapping.clone());
    register(&table, fixed);
    let route = find(&table, &query("t")).unwrap();
    assert_eq!(
        route.topic_queue_mapping_by_broker,
        Some(BTreeMap::from([("b".to_owned(), mapping)]))
    );
    assert_eq!(find(&table, &query("u")).unwrap().topic_queue_mapping_by_broker, None);
}

#[test]
fn names_and_counts_over_a_limit_are_refused() {
    let table = RouteInfoManager::default();
    let long = "x".repeat(crate::limits::MAX_NAME_BYTES + 1);
    let mapped = |mapping: TopicQueueMappingInfo| {
        let mut mapped = registration(0, "m", &["t", "u"]);
        let wrapper = &mut mapped.body.topic_config_serialize_wrapper;
        wrapper.topic_queue_mapping_info_map.insert("t".into(), mapping);
        mapped
    };
    for refused in [
        mapped(TopicQueueMappingInfo { bname: Some(long.clone()), ..Default::default() }),
        mapped(TopicQueueMappingInfo {
            curr_id_map: (0..=crate::limits::MAX_MAPPED_QUEUES as i32).map(|id| (id, id)).collect(),
            ..Default::default()
        }),
        registration(0, &long, &["t", "u"]),
        registration(0, "m", &["t", &long]),
        registration(0, "m", &["t", "u"]).named(&long, 1),
    ] {
        let result = table.register_broker(&refused, Instant::now());
        assert!(matches!(result, Err(RegisterError::OverLimit(..))));
    }
    for id in 0..128 {
        register(&table, registration(id, &format!("m{id}"), &[]));
    }
    let result = table.register_broker(&registration(128, "m128", &[]), Instant::now());
    assert_eq!(result, Err(RegisterError::OverLimit("addresses of a broker", 128)));
}

#[test]
fn more_topics_than_one_turn_holds_are_all_applied_and_all_removed() {
    let table = RouteInfoManager::default();
    let names: Vec<_> =
        (0..crate::limits::TOPICS_A_TURN * 2 + 1).map(|n| format!("t{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    register(&table, registration(0, "m", &names));
    assert_eq!(topics(&table).len(), names.len());
    table.unregister_brokers(&[departure(0, "m")]);
    assert!(topics(&table).is_empty());
}

// Departure.

#[test]
fn last_address_takes_name_cluster_and_topics_along() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    register(&table, registration(1, "s", &["t", "u"]));
    register(&table, registration(0, "x", &["t", "z"]).named("other", 2));
    table.unregister_brokers(&[departure(0, "m")]);
    assert_eq!(addrs(&table), BTreeMap::from([(1, "s".to_owned())]));
    assert_eq!(perm(&table, "u"), Some(6), "no slave acts, so nothing becomes read-only");
    table.unregister_brokers(&[departure(1, "s")]);
    assert!(addrs(&table).is_empty());
    assert_eq!(topics(&table), ["t", "z"]);
    let info = table.cluster_info(None);
    assert_eq!(info.cluster_addr_table["C"], BTreeSet::from(["other".to_owned()]));
    assert_eq!(table.data_version(&address("s")), None);
    // The name can come back, in the place that it left.
    register(&table, registration(0, "m", &["u", "v"]));
    assert_eq!(topics(&table), ["t", "u", "v", "z"]);
    assert_eq!(find(&table, &query("t")).unwrap().queue_datas.len(), 1);
}

#[test]
fn group_that_lost_its_master_is_read_only_while_a_slave_acts() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]).acting());
    register(&table, registration(1, "s1", &["t", "u"]).acting());
    register(&table, registration(2, "s2", &["t", "u"]).acting());
    let changes = table.unregister_brokers(&[departure(0, "m")]);
    assert_eq!(perm(&table, "t"), Some(4));
    let [change] = changes.as_slice() else { panic!("one change: {changes:?}") };
    assert_eq!((change.min_broker_id, change.min_broker_addr.as_str()), (1, "s1"));
    assert_eq!(change.offline_broker_addr.as_deref(), Some("m"));
    assert_eq!(change.notify, ["s1", "s2"]);
    assert_eq!(table.unregister_brokers(&[departure(2, "s2")]), []);
}

#[test]
fn unknown_departure_changes_nothing() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    table.unregister_brokers(&[departure(0, "else")]);
    let mut elsewhere = departure(0, "m");
    elsewhere.broker_name = "else".into();
    table.unregister_brokers(&[elsewhere]);
    assert_eq!(topics(&table), ["t", "u"]);
    assert_eq!(addrs(&table).len(), 1);
}

#[test]
fn closed_connection_takes_all_its_brokers_along() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]).named("b", 7));
    register(&table, registration(0, "x", &["t", "z"]).named("other", 7));
    register(&table, registration(0, "y", &["t", "z"]).named("third", 8));
    let departures = table.departures_of(7);
    assert_eq!(departures.len(), 2);
    table.unregister_brokers(&departures);
    assert_eq!(table.cluster_info(None).broker_addr_table.keys().collect::<Vec<_>>(), ["third"]);
    assert_eq!(table.departures_of(7), []);
}

#[test]
fn broker_is_silent_after_its_own_timeout_and_not_while_it_is_heard() {
    let table = RouteInfoManager::default();
    let start = Instant::now();
    let mut quick = registration(0, "m", &["t", "u"]).named("b", 7);
    quick.timeout = Duration::from_secs(10);
    table.register_broker(&quick, start).unwrap();
    table.register_broker(&registration(0, "x", &[]).named("other", 8), start).unwrap();
    let after = |seconds| table.silent(start + Duration::from_secs(seconds));
    assert_eq!(after(10), []);
    assert_eq!(after(11), [(departure(0, "m"), 7)]);
    assert_eq!(after(121).len(), 2);
    table.refresh(&address("m"), start + Duration::from_secs(5));
    assert_eq!(after(15), []);
    table.refresh(&address("unknown"), start);
    assert_eq!(table.data_version(&address("unknown")), None);
}

#[test]
fn address_that_lost_its_name_still_falls_silent() {
    let table = RouteInfoManager::default();
    let start = Instant::now();
    table.register_broker(&registration(0, "m", &["t", "u"]), start).unwrap();
    table.register_broker(&registration(0, "m2", &["t", "u"]), start).unwrap();
    let later = start + TIMEOUT + Duration::from_secs(1);
    table.refresh(&address("m2"), later);
    let silent: Vec<_> = table.silent(later).into_iter().map(|(departure, _)| departure).collect();
    assert_eq!(silent[0].address, address("m"));
    table.unregister_brokers(&silent);
    assert_eq!(table.silent(later), []);
    assert_eq!(addrs(&table), BTreeMap::from([(0, "m2".to_owned())]));
}

// Routes.

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

// Lists and changes by tools.

#[test]
fn lists_are_by_cluster_unit_and_system() {
    let table = RouteInfoManager::default();
    let mut first = registration(0, "m", &["plain", "unit", "sub", "both"]);
    for (topic, flag) in [("unit", 1), ("sub", 2), ("both", 3)] {
        first.topics().get_mut(topic).unwrap().topic_sys_flag = flag;
    }
    register(&table, first);
    let mut second = registration(0, "x", &["else", "plain"]).named("other", 2);
    second.address.cluster_name = "D".into();
    register(&table, second);
    let names =
        |list: oxmq_protocol::body::TopicList| list.topic_list.into_iter().collect::<Vec<_>>();
    assert_eq!(names(table.topics_of_cluster("C")), ["both", "plain", "sub", "unit"]);
    assert_eq!(names(table.topics_of_cluster("D")), ["else", "plain"]);
    assert!(names(table.topics_of_cluster("E")).is_empty());
    assert_eq!(names(table.unit_topics(UnitFilter::Unit)), ["both", "unit"]);
    assert_eq!(names(table.unit_topics(UnitFilter::UnitSub)), ["both", "sub"]);
    assert_eq!(names(table.unit_topics(UnitFilter::UnitSubOnly)), ["sub"]);
    let system = table.system_topics(None);
    assert_eq!(system.broker_addr.as_deref(), Some("m"));
    assert_eq!(names(system), ["C", "D", "b", "other"]);
}

#[test]
fn write_permission_is_wiped_bit_by_bit_and_added_as_a_whole() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]).perm(7));
    register(&table, registration(0, "x", &["t", "z"]).named("other", 2));
    assert_eq!(table.wipe_write_perm("b"), 2);
    assert_eq!(perm(&table, "u"), Some(5));
    assert_eq!(table.add_write_perm("b"), 2);
    assert_eq!(perm(&table, "u"), Some(6));
    assert_eq!(perm(&table, "z"), Some(6));
    assert_eq!(table.wipe_write_perm("unknown"), 0);
}

#[test]
fn topic_is_deleted_everywhere_or_in_one_cluster() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    let mut second = registration(0, "x", &["t", "u"]).named("other", 2);
    second.address.cluster_name = "D".into();
    register(&table, second);
    table.delete_topic("t", Some("C"));
    assert_eq!(find(&table, &query("t")).unwrap().broker_datas[0].broker_name, "other");
    table.delete_topic("t", Some("unknown"));
    table.delete_topic("t", Some("D"));
    table.delete_topic("u", None);
    assert!(topics(&table).is_empty());
}

#[test]
fn single_topic_is_put_unless_it_names_an_unknown_broker() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    let queues = |broker_name: &str, perm| QueueData {
        broker_name: broker_name.into(),
        perm,
        read_queue_nums: 1,
        topic_sys_flag: 0,
        write_queue_nums: 2,
    };
    table.register_topic("v", &[queues("b", 2)]);
    assert_eq!(perm(&table, "v"), Some(2));
    table.register_topic("v", &[queues("b", 4), queues("unknown", 6)]);
    assert_eq!(perm(&table, "v"), Some(2));
    table.register_topic(&"x".repeat(2000), &[queues("b", 4)]);
    assert_eq!(topics(&table), ["t", "u", "v"]);
}

#[test]
fn cause_of_a_missing_route_says_what_there_is() {
    let table = RouteInfoManager::default();
    assert_eq!(table.why_no_route("t"), "no broker is registered with this name server");
    register(&table, registration(0, "m", &["orders", "payments"]));
    insta::assert_snapshot!(
        table.why_no_route("order"),
        @"none of the registered brokers (b) has it; autoCreateTopicEnable is off on all of them, so the topic has to be created; the nearest topic name is orders"
    );
    register(&table, registration(0, "m", &["TBW102"]).counter(1));
    for n in 0..7 {
        register(&table, registration(0, &format!("x{n}"), &[]).named(&format!("c{n}"), 2));
    }
    insta::assert_snapshot!(
        table.why_no_route("something else"),
        @"none of the registered brokers (b, c0, c1, c2, c3 and 3 more) has it; a first send creates it on b"
    );
}
