//! What a registration changes.

use super::*;

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

fn mapped(topics: &[&str], queues: i32) -> Registration {
    let mut mapped = registration(0, "m", topics);
    let mappings = topics.iter().map(|topic| {
        let mapping = TopicQueueMappingInfo {
            bname: Some("b".into()),
            curr_id_map: (0..queues).map(|id| (id, id)).collect(),
            ..TopicQueueMappingInfo::default()
        };
        ((*topic).to_owned(), mapping)
    });
    let wrapper = &mut mapped.body.topic_config_serialize_wrapper;
    wrapper.topic_queue_mapping_info_map = mappings.collect();
    mapped
}

#[test]
fn mapping_goes_with_its_topic() {
    let table = RouteInfoManager::default();
    let mapping = |topic: &str| find(&table, &query(topic)).unwrap().topic_queue_mapping_by_broker;
    register(&table, mapped(&["t", "u"], 1));
    assert!(mapping("t").is_some() && mapping("u").is_some());
    table.delete_topic("t", Some("C"));
    register(&table, registration(0, "m", &["t", "u"]).counter(1));
    assert!(mapping("t").is_none() && mapping("u").is_some());
    table.unregister_brokers(&[departure(0, "m")]);
    register(&table, registration(0, "m", &["t", "u"]));
    assert!(mapping("u").is_none());
    table.delete_topic("u", None);
    assert_eq!((table.read().mapped_queues, table.read().mappings.len()), (0, 0));
    // Nobody asks about a topic that is not there.
    let mut other = mapped(&["t", "u"], 1).counter(2);
    other.topics().remove("u");
    other.topics().insert("v".into(), TopicConfig::new("v"));
    register(&table, other);
    assert_eq!(table.read().mappings.len(), 1);
}

#[test]
fn more_mapped_queues_than_all_static_topics_may_have_are_refused() {
    let table = RouteInfoManager::default();
    let queues = crate::limits::MAX_MAPPED_QUEUES;
    let limit = crate::limits::MAX_MAPPED_QUEUES_IN_ALL;
    let count = limit / (queues + crate::limits::MAPPING_QUEUES);
    let names: Vec<_> = (0..=count).map(|n| format!("t{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let all = mapped(&names, queues as i32);
    let over = Err(RegisterError::OverLimit("queues of all static topics", limit));
    assert_eq!(table.register_broker(&all, Instant::now()), over);
    let most = mapped(&names[1..], queues as i32);
    table.register_broker(&most, Instant::now()).unwrap();
    let one = mapped(&[names[0], "u"], queues as i32 / 2).counter(1);
    assert_eq!(table.register_broker(&one, Instant::now()), over);
    table.delete_topic(names[1], None);
    table.register_broker(&one, Instant::now()).unwrap();
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
fn one_broker_under_ever_other_addresses_or_in_ever_other_clusters_is_refused() {
    let table = RouteInfoManager::default();
    let limit = crate::limits::MAX_ADDRESSES;
    for number in 0..limit {
        register(&table, registration(0, &format!("m{number}"), &[]));
    }
    let result = table.register_broker(&registration(0, "m", &[]), Instant::now());
    assert_eq!(result, Err(RegisterError::OverLimit("addresses", limit)));
    register(&table, registration(0, "m0", &[]));

    let table = RouteInfoManager::default();
    let moved = |number: usize| {
        let mut moved = registration(0, "m", &[]);
        moved.address.cluster_name = format!("C{number}");
        moved
    };
    let limit = crate::limits::MAX_CLUSTERS;
    for number in 0..limit {
        register(&table, moved(number));
    }
    let result = table.register_broker(&moved(limit), Instant::now());
    assert_eq!(result, Err(RegisterError::OverLimit("clusters", limit)));
    register(&table, moved(0));
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
