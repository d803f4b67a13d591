//! What is to be done now and then with what the broker knows.

use std::sync::Arc;
use std::time::Instant;

use oxmq_store::MessageStore;
use tracing::warn;

use crate::clock;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::in_memory::InMemory;
use crate::tables::Tables;
use crate::traffic::{Flow, Kind};

/// Samples, and looks for what has gone.
#[derive(Debug)]
pub(crate) struct Chores {
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) known: InMemory,
    pub(crate) delays: Delays,
}

impl Chores {
    /// Takes the samples that are due every ten seconds, of each topic and group.
    pub(crate) fn sample_topics_and_groups(&self) {
        let (topics, _) = self.tables.topics.snapshot();
        let topics = topics
            .iter()
            .map(|topic| (Kind::TopicPut, Box::from(topic.topic_name.as_str()), topic.put.flow()));
        let groups =
            self.tables.offsets.traffic().into_iter().flat_map(|(key, (given, sent_back))| {
                let key = key.into_boxed_str();
                [(Kind::GroupGet, key.clone(), given), (Kind::SendBack, key, sent_back)]
            });
        let totals = self.known.stats.totals();
        let put = Flow {
            messages: totals.put_messages,
            bytes: totals.put_bytes,
            times: totals.put_messages,
        };
        let given = Flow { messages: totals.got_messages, bytes: 0, times: totals.found_pulls };
        let cluster = || Box::from(self.config.broker_cluster_name.as_str());
        let broker = [(Kind::BrokerPut, cluster(), put), (Kind::BrokerGet, cluster(), given)];
        self.known.traffic.sample(clock::now_ms(), topics.chain(groups).chain(broker));
    }

    /// Drops clients that were silent for too long, and with the consumers locks that are over, and filters of nobody.
    pub(crate) fn scan_clients(&self) {
        let now = Instant::now();
        self.known.consumers.scan(now);
        self.known.producers.scan(now);
        self.tables.filters.remove_dead(clock::now_ms());
        self.known.watch.scan(now);
    }

    /// Tells groups of changes that they were not told at once.
    pub(crate) fn notify_untold(&self) {
        self.known.consumers.notify_untold();
    }

    /// Commits how far groups that broadcast have got.
    pub(crate) fn scan_broadcasts(&self) {
        self.known.broadcasts.scan(Instant::now(), |group, client_id| {
            self.known.consumers.find_client(group, client_id).is_some()
        });
    }

    /// Stops groups that are too far behind, if that is wanted: what they read comes from disk, at
    /// the cost of everybody else.
    pub(crate) fn stop_slow_groups(&self) {
        if !self.config.disable_consume_if_consumer_read_slowly {
            return;
        }
        for (group, bytes) in
            self.tables.offsets.slow_groups(self.config.consumer_fallbehind_threshold)
        {
            warn!(group, bytes, "group consumes too slowly and may consume nothing any more");
            self.tables.groups.disable_consume(&group);
        }
    }

    /// Takes the sample of traffic that is due once a second.
    pub(crate) fn sample_traffic(&self) {
        let (timers, appended) = (self.delays.timer_flow(), self.store.appended());
        self.known.stats.sample(Instant::now(), clock::now_ms(), timers, appended);
    }
}
