//! The table of topics.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn manager(dir: &Path, change: impl FnOnce(&mut BrokerConfig)) -> TopicConfigManager {
    let mut config = BrokerConfig::default();
    config.broker_name = "b".to_owned();
    change(&mut config);
    TopicConfigManager::load(Arc::new(config), dir, false, SaveSignal::default()).unwrap()
}

fn send(topics: &TopicConfigManager, topic: &str, queues: i32) -> Option<Arc<Topic>> {
    topics.create_in_send(topic, "TBW102", queues, false, ([127, 0, 0, 1], 1).into())
}

#[test]
fn light_queues_are_topics_that_nobody_makes_where_there_are_any() {
    let dir = tempfile::tempdir().unwrap();
    assert!(manager(dir.path(), |_| ()).get("%LMQ%q").is_none());
    let topics = TopicConfigManager { has_light: true, ..manager(dir.path(), |_| ()) };
    let light = topics.get("%LMQ%q").unwrap();
    assert_eq!((light.read_queue_nums, light.write_queue_nums, light.perm), (1, 1, 6));
    topics.update(TopicConfig { perm: 2, ..TopicConfig::new("%LMQ%q") }).unwrap();
    assert_eq!(topics.get("%LMQ%q").unwrap().perm, 6);
    assert!(topics.snapshot().0.iter().all(|topic| topic.topic_name != "%LMQ%q"));
}

#[test]
fn auto_created_topic_takes_the_lower_queue_number_and_no_inherit_bit() {
    let dir = tempfile::tempdir().unwrap();
    let topics = manager(dir.path(), |_| ());
    let four = send(&topics, "four", 4).unwrap();
    assert_eq!((four.read_queue_nums, four.write_queue_nums, four.perm), (4, 4, 6));
    assert_eq!(send(&topics, "sixteen", 16).unwrap().write_queue_nums, 8);
    assert_eq!(send(&topics, "negative", -1).unwrap().write_queue_nums, 0);
    assert_eq!(send(&topics, "four", 8).unwrap().write_queue_nums, 4, "it exists already");
}

#[test]
fn nothing_but_retry_topics_is_created_when_auto_creation_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let topics = manager(dir.path(), |config| config.auto_create_topic_enable = false);
    assert!(send(&topics, "t", 4).is_none());
    let retry = send(&topics, "%RETRY%g", 4).unwrap();
    assert_eq!((retry.write_queue_nums, retry.perm), (1, 6));
    let by_cluster =
        topics.create_in_send("t", "DefaultCluster", 4, false, ([127, 0, 0, 1], 1).into());
    assert_eq!(by_cluster.unwrap().write_queue_nums, 4);
}

#[test]
fn topic_left_in_the_file_by_a_start_with_auto_creation_does_not_inherit_without_it() {
    let dir = tempfile::tempdir().unwrap();
    manager(dir.path(), |_| ()).save_if_changed().unwrap();
    let topics = manager(dir.path(), |config| config.auto_create_topic_enable = false);
    assert!(topics.get("TBW102").is_some());
    assert!(send(&topics, "t", 4).is_none());
}

#[test]
fn change_bumps_the_version_and_tells_the_listener_and_deletion_tells_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let topics = manager(dir.path(), |_| ());
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    topics.on_change(move |topic| {
        assert_eq!(topic, "t");
        count.fetch_add(1, Ordering::Relaxed);
    });
    let before = topics.snapshot().1.counter;
    send(&topics, "t", 4).unwrap();
    topics.update(TopicConfig { perm: 4, ..TopicConfig::new("t") }).unwrap();
    topics.delete("t");
    topics.delete("t");
    assert_eq!(topics.snapshot().1.counter, before + 3);
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn retry_topic_follows_the_order_of_its_subscriptions() {
    let dir = tempfile::tempdir().unwrap();
    let topics = manager(dir.path(), |_| ());
    assert!(!topics.create_in_send_back("%RETRY%g", 1, 6, false, 0).unwrap().order);
    assert!(topics.create_in_send_back("%RETRY%g", 1, 6, true, 0).unwrap().order);
    assert!(topics.is_ordered("%RETRY%g"));
    topics.mark_ordered(["TBW102", "none"].into_iter());
    assert!(topics.is_ordered("TBW102"));
}

/// What a broker finds that starts on `dir` as a crash would leave it now.
fn after_crash(dir: &Path) -> TopicConfigManager {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("config")).unwrap();
    for file in fs::read_dir(dir.join("config")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join("config").join(file.file_name())).unwrap();
    }
    manager(copy.path(), |_| ())
}

#[test]
fn change_outlives_a_crash_once_it_is_made_unless_heartbeats_make_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let topics = manager(dir.path(), |_| ());
    send(&topics, "sent", 4).unwrap();
    topics.update(TopicConfig { perm: 4, ..TopicConfig::new("updated") }).unwrap();
    topics.create_in_send_back("%DLQ%g", 1, 6, false, 0).unwrap();
    topics.create_in_send_back("%RETRY%g", 1, 6, false, 0).unwrap();
    assert!(!dir.path().join("config/topics.json").exists(), "the journal has it all");
    let found = after_crash(dir.path());
    assert_eq!(found.get("updated").unwrap().perm, 4);
    assert!(found.get("sent").is_some() && found.get("%DLQ%g").is_some());
    assert!(found.get("%RETRY%g").is_none());
    topics.delete("sent");
    topics.mark_ordered(["updated"].into_iter());
    topics.announce_all();
    topics.update(TopicConfig::new("last")).unwrap();
    for save in [false, true] {
        if save {
            topics.save_if_changed().unwrap();
        }
        let found = after_crash(dir.path());
        assert!(found.get("sent").is_none() && found.get("last").is_some());
        assert!(found.is_ordered("updated"));
        assert_eq!(found.snapshot().1, topics.snapshot().1);
    }
    assert!(!dir.path().join("config/topics.json.journal").exists());
}

#[test]
fn file_has_the_layout_of_the_reference_and_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let topics = manager(dir.path(), |_| ());
    send(&topics, "orders", 4).unwrap();
    topics.save_if_changed().unwrap();
    let text = fs::read_to_string(dir.path().join("config/topics.json")).unwrap();
    assert!(text.starts_with("{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n"), "{text}");
    let orders = "\t\t\"orders\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\
        \t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":4,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\
        \t\t\t\"topicName\":\"orders\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":4\n\
        \t\t}";
    assert!(text.contains(orders), "{text}");

    let again = manager(dir.path(), |_| ());
    let config = |topics: &TopicConfigManager| TopicConfig::clone(&topics.get("orders").unwrap());
    assert_eq!(config(&again), config(&topics));
    assert_eq!(again.snapshot().1, topics.snapshot().1);
}

#[test]
fn file_of_the_reference_is_read_and_wins_over_what_is_made_at_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("config")).unwrap();
    fs::write(
        dir.path().join("config/topics.json"),
        "{\n\t\"dataVersion\":{\n\t\t\"counter\":7,\n\t\t\"stateVersion\":0,\n\
         \t\t\"timestamp\":5\n\t},\n\t\"topicConfigTable\":{\n\t\t\"SELF_TEST_TOPIC\":{\n\
         \t\t\t\"attributes\":{\"message.type\":\"FIFO\"},\n\t\t\t\"order\":true,\n\
         \t\t\t\"perm\":2,\n\t\t\t\"readQueueNums\":3,\n\t\t\t\"topicFilterType\":\"MULTI_TAG\",\n\
         \t\t\t\"topicName\":\"SELF_TEST_TOPIC\",\n\t\t\t\"topicSysFlag\":1,\n\
         \t\t\t\"writeQueueNums\":5\n\t\t}\n\t}\n}",
    )
    .unwrap();
    let topics = manager(dir.path(), |_| ());
    assert_eq!(
        topics.get("SELF_TEST_TOPIC").unwrap().to_string(),
        "TopicConfig [topicName=SELF_TEST_TOPIC, readQueueNums=3, writeQueueNums=5, perm=-W-, \
         topicFilterType=MULTI_TAG, topicSysFlag=1, order=true, attributes={message.type=FIFO}]"
    );
    assert_eq!(topics.snapshot().1.counter, 7);
    assert!(topics.get("BenchmarkTest").is_some());
}
