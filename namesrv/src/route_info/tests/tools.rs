//! Lists, and what tools change.

use super::*;

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
