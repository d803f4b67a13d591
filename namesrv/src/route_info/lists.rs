//! Lists and small changes that tools ask for.

use std::collections::BTreeSet;

use oxmq_protocol::body::{BrokerMemberGroup, ClusterInfo, QueueData, TopicList};

use super::tables::{BrokerIndex, Queues};
use super::{PERM_READ, PERM_WRITE, RouteInfoManager};
use crate::limits::{MAX_NAME_BYTES, MAX_TOPICS};

/// `topicSysFlag` bit: a topic of one unit.
const FLAG_UNIT: i32 = 1;
/// `topicSysFlag` bit: a topic whose subscribers are in a unit.
const FLAG_UNIT_SUB: i32 = 1 << 1;

/// Which topics a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitFilter {
    /// Unit topics.
    Unit,
    /// Topics with unit subscriptions.
    UnitSub,
    /// Topics with unit subscriptions that are no unit topics.
    UnitSubOnly,
}

impl UnitFilter {
    fn keeps(self, sys_flag: i32) -> bool {
        let (unit, sub) = (sys_flag & FLAG_UNIT != 0, sys_flag & FLAG_UNIT_SUB != 0);
        match self {
            Self::Unit => unit,
            Self::UnitSub => sub,
            Self::UnitSubOnly => sub && !unit,
        }
    }
}

impl RouteInfoManager {
    /// All clusters and brokers, as they are seen by a listener.
    pub(crate) fn cluster_info(&self, listener: Option<&str>) -> ClusterInfo {
        let tables = self.read();
        ClusterInfo {
            broker_addr_table: tables
                .brokers
                .iter()
                .filter(|broker| !broker.broker_addrs.is_empty())
                .map(|broker| {
                    let mut broker = broker.clone();
                    tables.advertise(&mut broker.broker_addrs, &broker.cluster, listener);
                    (broker.broker_name.clone(), broker)
                })
                .collect(),
            cluster_addr_table: tables
                .clusters
                .iter()
                .map(|(cluster, names)| {
                    (cluster.clone(), names.iter().map(ToString::to_string).collect())
                })
                .collect(),
        }
    }

    /// The addresses of one broker name; none when it is not known.
    pub(crate) fn broker_member_group(
        &self,
        cluster: &str,
        broker_name: &str,
    ) -> BrokerMemberGroup {
        let tables = self.read();
        let broker = tables.brokers.by_name(broker_name);
        BrokerMemberGroup {
            broker_addrs: broker.map(|broker| broker.broker_addrs.clone()).unwrap_or_default(),
            broker_name: broker_name.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    /// Whether a broker has queues of a topic.
    pub(crate) fn has_topic(&self, topic: &str, broker_name: &str) -> bool {
        let tables = self.read();
        tables.brokers.index(broker_name).is_some_and(|at| tables.queues(topic, at).is_some())
    }

    /// Every topic.
    pub(crate) fn all_topics(&self) -> TopicList {
        self.topics_where(|_| true)
    }

    /// The topics on the brokers of a cluster; none when it is not known.
    pub(crate) fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let brokers: Vec<BrokerIndex> = {
            let tables = self.read();
            let names = tables.clusters.get(cluster).into_iter().flatten();
            names.filter_map(|name| tables.brokers.index(name)).collect()
        };
        self.topics_where(|queues| queues.iter().any(|queues| brokers.contains(&queues.broker)))
    }

    /// The topics of a unit kind.
    pub(crate) fn unit_topics(&self, filter: UnitFilter) -> TopicList {
        self.topics_where(|queues| queues.first().is_some_and(|q| filter.keeps(q.sys_flag)))
    }

    fn topics_where(&self, keeps: impl Fn(&[Queues]) -> bool) -> TopicList {
        // Sorting happens in the set, after the lock is let go.
        let names: Vec<String> = self
            .read()
            .topics
            .iter()
            .filter(|(_, queues)| keeps(queues))
            .map(|(topic, _)| topic.clone())
            .collect();
        TopicList { broker_addr: None, topic_list: names.into_iter().collect() }
    }

    /// The names of clusters and brokers, and an address where to ask for a broker's own.
    pub(crate) fn system_topics(&self, listener: Option<&str>) -> TopicList {
        let tables = self.read();
        let names: BTreeSet<String> = tables
            .clusters
            .iter()
            .flat_map(|(cluster, names)| {
                names.iter().map(ToString::to_string).chain([cluster.clone()])
            })
            .collect();
        let broker_addr = tables.brokers.iter().find_map(|broker| {
            let addr = broker.broker_addrs.values().next()?;
            let advertised =
                listener.and_then(|name| tables.advertised(&broker.cluster, addr, name));
            Some(advertised.unwrap_or(addr).to_owned())
        });
        TopicList { broker_addr, topic_list: names }
    }

    /// Takes the permission to write from every topic of a broker name; returns how many it has.
    pub(crate) fn wipe_write_perm(&self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |perm| perm & !PERM_WRITE)
    }

    /// Lets every topic of a broker name be read and written; returns how many it has.
    pub(crate) fn add_write_perm(&self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |_| PERM_READ | PERM_WRITE)
    }

    fn change_perm(&self, broker_name: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut tables = self.write();
        let Some(broker) = tables.brokers.index(broker_name) else { return 0 };
        let mut count = 0;
        for queues in tables.topics.values_mut() {
            if let Ok(at) = queues.binary_search_by_key(&broker, |queues| queues.broker) {
                queues[at].perm = change(queues[at].perm);
                count += 1;
            }
        }
        count
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster.
    pub(crate) fn delete_topic(&self, topic: &str, cluster: Option<&str>) {
        let mut tables = self.write();
        let Some(cluster) = cluster else {
            tables.remove_topic(topic);
            return;
        };
        let names = tables.clusters.get(cluster).into_iter().flatten();
        let brokers: Vec<_> = names.filter_map(|name| tables.brokers.index(name)).collect();
        for broker in brokers {
            tables.remove_queues(topic, broker);
        }
    }

    /// Puts the queues of one topic, or nothing at all when one is of a broker that is not known.
    pub(crate) fn register_topic(&self, topic: &str, queue_datas: &[QueueData]) {
        let mut tables = self.write();
        let is_full = tables.topics.len() >= MAX_TOPICS && !tables.topics.contains_key(topic);
        if topic.is_empty() || topic.len() > MAX_NAME_BYTES || is_full {
            tracing::warn!(topic_bytes = topic.len(), "single topic not registered: over a limit");
            return;
        }
        let new: Option<Vec<Queues>> = queue_datas
            .iter()
            .map(|data| {
                let broker = tables.brokers.index(&data.broker_name)?;
                let has_address = !tables.brokers.get(broker)?.broker_addrs.is_empty();
                has_address.then_some(Queues {
                    broker,
                    read: data.read_queue_nums,
                    write: data.write_queue_nums,
                    perm: data.perm,
                    sys_flag: data.topic_sys_flag,
                })
            })
            .collect();
        let Some(new) = new else {
            tracing::warn!(topic, "single topic not registered: it names an unknown broker");
            return;
        };
        for queues in new {
            tables.put_queues(topic, queues);
        }
    }
}
