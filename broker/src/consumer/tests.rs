use std::path::Path;

use oxmq_protocol::body::{
    ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData, SubscriptionGroupConfig,
};
use oxmq_protocol::ext_fields::Fields;

use super::*;
use crate::channel::testing::TestChannel;
use crate::saved_table::SaveSignal;

fn manager(dir: &Path) -> ConsumerManager<TestChannel> {
    manager_with(dir, true)
}

fn manager_with(dir: &Path, tells_at_once: bool) -> ConsumerManager<TestChannel> {
    let mut config = BrokerConfig::default();
    config.real_time_notify_consumer_change = tells_at_once;
    let config = Arc::new(config);
    let groups =
        SubscriptionGroupManager::load(Arc::clone(&config), dir, false, SaveSignal::default())
            .unwrap();
    let filters = ConsumerFilters::load(&config, dir).unwrap();
    ConsumerManager::new(config, Arc::new(groups), Arc::new(filters), Arc::default())
}

fn heartbeat(group: &str, topics: &[(&str, &str, i64)]) -> ConsumerData {
    ConsumerData {
        group_name: group.to_owned(),
        consume_type: Some(ConsumeType::ConsumePassively),
        message_model: Some(MessageModel::Clustering),
        consume_from_where: Some(ConsumeFromWhere::LastOffset),
        subscription_data_set: topics
            .iter()
            .map(|&(topic, expression, sub_version)| SubscriptionData {
                topic: topic.to_owned(),
                sub_string: expression.to_owned(),
                sub_version,
                ..SubscriptionData::default()
            })
            .collect(),
        unit_mode: false,
    }
}

/// The filter of group `g` on topic `t`, as text.
fn filter_of(consumers: &ConsumerManager<TestChannel>, sub_version: i64) -> String {
    format!("{:?}", consumers.filter("g", "t", sub_version).unwrap())
}

/// Groups that the channel was told of since the last call.
fn told(channel: &TestChannel) -> Vec<String> {
    let sent = channel.take_sent();
    sent.iter()
        .map(|request| {
            assert_eq!(request.request_code(), RequestCode::NOTIFY_CONSUMER_IDS_CHANGED);
            request.ext_fields.get("consumerGroup").unwrap().into_owned()
        })
        .collect()
}

#[test]
fn everyone_is_told_once_when_a_member_joins_or_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    let data = heartbeat("g", &[("t", "*", 1)]);
    assert!(consumers.register(&one.client("a", now), &data, true, true));
    assert_eq!(told(&one), ["g"]);
    assert!(consumers.register(&two.client("b", now), &data, true, true));
    assert_eq!((told(&one), told(&two)), (vec!["g".to_owned()], vec!["g".to_owned()]));
    assert!(!consumers.register(&two.client("b", now), &data, true, true), "nothing is new");
    assert!(told(&one).is_empty() && told(&two).is_empty());

    consumers.unregister("g", &two, true);
    assert_eq!((told(&one).len(), told(&two).len()), (1, 0));
    consumers.close(&one);
    assert!(!consumers.is_online("g"));
    assert!(read(&consumers.state).groups_of_channel.is_empty());
}

#[test]
fn changes_that_are_not_told_at_once_are_told_together() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager_with(dir.path(), false), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    let data = heartbeat("g", &[("t", "*", 1)]);
    consumers.register(&one.client("a", now), &data, true, true);
    consumers.register(&two.client("b", now), &data, true, true);
    assert!(told(&one).is_empty() && told(&two).is_empty());
    consumers.notify_untold();
    assert_eq!((told(&one), told(&two)), (vec!["g".to_owned()], vec!["g".to_owned()]));
    consumers.notify_untold();
    assert!(told(&one).is_empty() && told(&two).is_empty(), "nothing is new");
}

#[test]
fn closed_connection_leaves_all_its_groups_and_the_rest_of_each_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    for group in ["g", "h"] {
        for channel in [&one, &two] {
            consumers.register(&channel.client("c", now), &heartbeat(group, &[]), true, true);
        }
    }
    told(&two);
    consumers.close(&one);
    let mut groups = told(&two);
    groups.sort();
    assert_eq!(groups, ["g", "h"]);
    assert_eq!(consumers.client_ids("g"), ["c"]);
}

#[test]
fn broadcasting_and_switched_off_groups_are_told_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let one = TestChannel::new(1);
    let data = ConsumerData {
        message_model: Some(MessageModel::Broadcasting),
        ..heartbeat("broadcast", &[])
    };
    assert!(consumers.register(&one.client("a", now), &data, true, true));
    assert!(consumers.register(&one.client("a", now), &heartbeat("quiet", &[]), true, false));
    assert!(told(&one).is_empty());
}

#[test]
fn newer_version_replaces_a_subscription_without_being_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let client = TestChannel::new(1).client("a", now);
    let beat = |topics: &[_]| consumers.register(&client, &heartbeat("g", topics), true, true);
    assert!(beat(&[("t", "a", 5)]));
    assert!(!beat(&[("t", "b", 5)]), "the same version");
    assert_eq!(filter_of(&consumers, 5), format!("{:?}", MessageFilter::from_tags("a").unwrap()));
    assert!(!beat(&[("t", "b", 6)]));
    assert_eq!(filter_of(&consumers, 5), format!("{:?}", MessageFilter::from_tags("b").unwrap()));
    assert!(beat(&[("t", "b", 6), ("u", "*", 6)]));
    assert!(beat(&[("u", "*", 6)]), "a topic is gone");
    assert!(!consumers.is_subscribed("g", "t"));
}

#[test]
fn heartbeat_without_subscriptions_leaves_them_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    consumers.register(&one.client("a", now), &heartbeat("g", &[("t", "*", 1)]), true, true);
    assert!(!consumers.register(&one.client("a", now), &heartbeat("g", &[]), false, true));
    assert!(consumers.register(&two.client("b", now), &heartbeat("g", &[]), false, true));
    assert!(consumers.is_subscribed("g", "t"));
}

#[test]
fn pull_is_refused_as_the_reference_refuses_it() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let client = TestChannel::new(1).client("a", now);
    let refused = |topic: &str, version| consumers.filter("g", topic, version).unwrap_err();
    assert!(matches!(refused("t", 1), RequestError::GroupInfoNotExist));

    let mut data = heartbeat("g", &[("t", "*", 5), ("sql", "a > 1", 5)]);
    data.subscription_data_set[1].expression_type = "SQL92".to_owned();
    consumers.register(&client, &data, true, true);
    assert!(matches!(refused("u", 5), RequestError::SubscriptionNotExist));
    assert!(matches!(refused("t", 6), RequestError::SubscriptionNotLatest));
    assert_eq!(
        refused("sql", 5).to_string(),
        "The broker does not support consumer to filter message by SQL92"
    );
    assert_eq!(filter_of(&consumers, 5), format!("{:?}", MessageFilter::All));

    let config = SubscriptionGroupConfig {
        consume_broadcast_enable: false,
        ..SubscriptionGroupConfig::new("g")
    };
    consumers.groups.update(config).unwrap();
    data.message_model = Some(MessageModel::Broadcasting);
    consumers.register(&client, &data, true, true);
    assert!(matches!(refused("t", 5), RequestError::BroadcastForbidden(_)));
}

#[test]
fn silent_consumer_is_dropped_and_the_rest_of_its_group_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, start) = (manager(dir.path()), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    let later = start + Duration::from_secs(100);
    consumers.register(&one.client("a", start), &heartbeat("g", &[]), true, true);
    consumers.register(&two.client("b", later), &heartbeat("g", &[]), true, true);
    told(&two);
    consumers.scan(start + Duration::from_secs(120));
    assert_eq!(consumers.client_ids("g").len(), 2);
    consumers.scan(start + Duration::from_millis(120_001));
    assert_eq!(consumers.client_ids("g"), ["b"]);
    assert!(one.is_closed() && !two.is_closed());
    assert_eq!(told(&two), ["g"]);
}

#[test]
fn locks_of_a_client_go_with_its_last_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    for channel in [&one, &two] {
        consumers.register(&channel.client("a", now), &heartbeat("g", &[]), true, true);
    }
    let queue = oxmq_protocol::body::MessageQueue::default();
    consumers.locks.lock_batch("g", vec![queue], "a", now);
    consumers.close(&one);
    assert!(consumers.locks.is_any_held("g", now), "the client has another connection");
    consumers.unregister("g", &two, true);
    assert!(!consumers.locks.is_any_held("g", now));
}

#[test]
fn whoever_is_pushed_to_may_pull_and_of_others_who_is_a_member() {
    let dir = tempfile::tempdir().unwrap();
    let (consumers, now) = (manager(dir.path()), Instant::now());
    let (one, two) = (TestChannel::new(1), TestChannel::new(2));
    assert!(!consumers.may_pull("pushed", &one));
    consumers.register(&one.client("a", now), &heartbeat("pushed", &[]), true, true);
    assert!(consumers.may_pull("pushed", &one) && consumers.may_pull("pushed", &two));
    let consume_type = Some(ConsumeType::ConsumeActively);
    let data = ConsumerData { consume_type, ..heartbeat("pulls", &[]) };
    consumers.register(&one.client("a", now), &data, true, true);
    assert!(consumers.may_pull("pulls", &one) && !consumers.may_pull("pulls", &two));
}

#[test]
fn groups_take_as_much_as_they_may_and_no_more_until_some_have_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut consumers = manager(dir.path());
    consumers.max_bytes = 80_000;
    let (one, two, now) = (TestChannel::new(1), TestChannel::new(2), Instant::now());
    let text = "x".repeat(10_000);
    let large = |group: &str| heartbeat(group, &[("t", &text, 1)]);
    let groups: Vec<_> = (0..8).map(|n| format!("g{n}")).collect();
    let (last, first) = groups.split_last().unwrap();
    for group in first {
        consumers.check_room(&one, &large(group)).unwrap();
        consumers.register(&one.client("a", now), &large(group), true, true);
    }
    assert!(matches!(consumers.check_room(&one, &large(last)), Err(RequestError::Overload)));
    consumers.check_room(&one, &large(&first[0])).unwrap();
    consumers.check_room(&two, &heartbeat(last, &[("t", "*", 1)])).unwrap();
    consumers.register(&two.client("b", now), &large(&first[0]), true, true);
    consumers.unregister(&first[0], &one, true);
    assert!(consumers.check_room(&one, &large(last)).is_err(), "another member has it");
    consumers.close(&two);
    consumers.check_room(&one, &large(last)).unwrap();
    consumers.close(&one);
    assert_eq!(read(&consumers.state).bytes, 0);
}
