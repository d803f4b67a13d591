//! Brokers that leave, are cut off or fall silent.

use super::*;

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

#[test]
fn renamed_broker_leaves_under_both_of_its_names() {
    let table = RouteInfoManager::default();
    register(&table, registration(0, "m", &["t", "u"]));
    register(&table, registration(0, "m", &["t", "v"]).named("renamed", 1));
    table.unregister_brokers(&table.departures_of(1));
    assert!(topics(&table).is_empty());
    assert!(table.cluster_info(None).broker_addr_table.is_empty());
}
