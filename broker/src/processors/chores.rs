//! What is to be done now and then with what the processors share.

use std::time::Instant;

use tracing::warn;

use super::Processors;
use crate::clock;
use crate::traffic::{Flow, Kind};

impl Processors {
    /// Takes the samples that are due every ten seconds, of each topic and group.
    pub(crate) fn sample_topics_and_groups(&self) {
        let (topics, _) = self.topic_table.snapshot();
        let topics = topics
            .iter()
            .map(|topic| (Kind::TopicPut, Box::from(topic.topic_name.as_str()), topic.put.flow()));
        let groups =
            self.offset_table.traffic().into_iter().flat_map(|(key, (given, sent_back))| {
                let key = key.into_boxed_str();
                [(Kind::GroupGet, key.clone(), given), (Kind::SendBack, key, sent_back)]
            });
        let totals = self.broker_stats.totals();
        let put = Flow {
            messages: totals.put_messages,
            bytes: totals.put_bytes,
            times: totals.put_messages,
        };
        let given = Flow { messages: totals.got_messages, bytes: 0, times: totals.found_pulls };
        let broker = [
            (Kind::BrokerPut, self.cluster.clone(), put),
            (Kind::BrokerGet, self.cluster.clone(), given),
        ];
        self.traffic.sample(clock::now_ms(), topics.chain(groups).chain(broker));
    }

    /// Drops clients that were silent for too long, and with the consumers locks that are over, and filters of nobody.
    pub(crate) fn scan_clients(&self) {
        let now = Instant::now();
        self.consumers.scan(now);
        self.producers.scan(now);
        self.filters.remove_dead(clock::now_ms());
        self.watch.scan(now);
    }

    /// Tells groups of changes that they were not told at once.
    pub(crate) fn notify_untold(&self) {
        self.consumers.notify_untold();
    }

    /// Commits how far groups that broadcast have got.
    pub(crate) fn scan_broadcasts(&self) {
        self.broadcasts.scan(Instant::now(), |group, client_id| {
            self.consumers.find_client(group, client_id).is_some()
        });
    }

    /// Stops groups that are too far behind, if that is wanted: what they read comes from disk, at
    /// the cost of everybody else.
    pub(crate) fn stop_slow_groups(&self) {
        if !self.config.disable_consume_if_consumer_read_slowly {
            return;
        }
        for (group, bytes) in
            self.offset_table.slow_groups(self.config.consumer_fallbehind_threshold)
        {
            warn!(group, bytes, "group consumes too slowly and may consume nothing any more");
            self.group_table.disable_consume(&group);
        }
    }

    /// Takes the sample of traffic that is due once a second.
    pub(crate) fn sample_traffic(&self) {
        let timers = self.runtime_info.timer_flow();
        let appended = self.runtime_info.appended();
        self.broker_stats.sample(Instant::now(), clock::now_ms(), timers, appended);
    }
}
