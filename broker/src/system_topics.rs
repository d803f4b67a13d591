//! Topics that are there at every start.

use oxmq_protocol::body::TopicConfig;

use crate::config::BrokerSettings;
use crate::perm;
use crate::topic_validator::{
    AUTO_CREATE_TOPIC, BENCHMARK_TOPIC, OFFSET_MOVED_EVENT, SCHEDULE_TOPIC, SELF_TEST_TOPIC,
    TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC,
};

/// Queues of the topic of delay levels, whatever levels are configured.
const SCHEDULE_QUEUES: i32 = 18;

/// Makes every system topic with the reference's queues and permissions.
pub(crate) fn system_topics(config: &BrokerSettings) -> Vec<TopicConfig> {
    let topic = |name: &str, queues: i32, perm: i32| TopicConfig {
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::new(name)
    };
    let read_write = perm::READ | perm::WRITE;
    let inherited = |enabled| perm::INHERIT | if enabled { read_write } else { 0 };
    let (cluster, broker) = (&config.broker_cluster_name, &config.broker_name);

    let mut topics = vec![
        topic(SELF_TEST_TOPIC, 1, read_write),
        topic(BENCHMARK_TOPIC, 1024, read_write),
        topic(cluster, 16, inherited(config.cluster_topic_enable)),
        topic(broker, 1, inherited(config.broker_topic_enable)),
        topic(OFFSET_MOVED_EVENT, 1, read_write),
        topic(SCHEDULE_TOPIC, SCHEDULE_QUEUES, read_write),
        topic(&format!("{cluster}_REPLY_TOPIC"), 1, read_write),
        topic(&format!("rmq_sys_REVIVE_LOG_{cluster}"), config.revive_queue_num, read_write),
        topic(&format!("rmq_sys_SYNC_BROKER_MEMBER_{broker}"), 1, perm::INHERIT),
        topic(TRANS_HALF_TOPIC, 1, read_write),
        topic(TRANS_OP_HALF_TOPIC, 1, read_write),
    ];
    if config.auto_create_topic_enable {
        let queues = config.default_topic_queue_nums;
        topics.push(topic(AUTO_CREATE_TOPIC, queues, inherited(true)));
    }
    if config.trace_topic_enable {
        topics.push(topic(&config.msg_trace_topic_name, 1, read_write));
    }
    if config.timer_wheel_enable {
        topics.push(topic("rmq_sys_wheel_timer", 1, read_write));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(config: &BrokerSettings) -> Vec<String> {
        let mut topics: Vec<_> = system_topics(config)
            .iter()
            .map(|topic| format!("{} {}/{}", topic.topic_name, topic.write_queue_nums, topic.perm))
            .collect();
        topics.sort();
        topics
    }

    #[test]
    fn system_topics_are_those_of_the_reference() {
        let config = BrokerSettings { broker_name: "b".to_owned(), ..BrokerSettings::default() };
        assert_eq!(
            listed(&config),
            [
                "BenchmarkTest 1024/6",
                "DefaultCluster 16/7",
                "DefaultCluster_REPLY_TOPIC 1/6",
                "OFFSET_MOVED_EVENT 1/6",
                "RMQ_SYS_TRANS_HALF_TOPIC 1/6",
                "RMQ_SYS_TRANS_OP_HALF_TOPIC 1/6",
                "SCHEDULE_TOPIC_XXXX 18/6",
                "SELF_TEST_TOPIC 1/6",
                "TBW102 8/7",
                "b 1/7",
                "rmq_sys_REVIVE_LOG_DefaultCluster 8/6",
                "rmq_sys_SYNC_BROKER_MEMBER_b 1/1",
                "rmq_sys_wheel_timer 1/6",
            ]
        );
    }

    #[test]
    fn switches_take_topics_and_permissions_away_or_add_them() {
        let config = BrokerSettings {
            broker_name: "b".to_owned(),
            auto_create_topic_enable: false,
            cluster_topic_enable: false,
            broker_topic_enable: false,
            trace_topic_enable: true,
            timer_wheel_enable: false,
            ..BrokerSettings::default()
        };
        let topics = listed(&config);
        for (topic, is_there) in [
            ("DefaultCluster 16/1", true),
            ("b 1/1", true),
            ("RMQ_SYS_TRACE_TOPIC 1/6", true),
            ("TBW102 8/7", false),
            ("rmq_sys_wheel_timer 1/6", false),
        ] {
            assert_eq!(topics.iter().any(|listed| listed == topic), is_there, "{topic}");
        }
    }
}
