//! The tables behind the lock.
//!
//! A topic's queues name their broker by its place in a slab: 20 bytes a topic and broker, whatever
//! the names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use oxmq_protocol::advertised_listeners::AdvertisedListeners;
use oxmq_protocol::body::{BrokerData, DataVersion, TopicConfig, TopicQueueMappingInfo};

use super::Registration;
use crate::limits::MAPPING_QUEUES;
use crate::sync::lock;

/// Everything the name server knows of brokers and topics.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) brokers: Brokers,
    /// Broker names by cluster.
    pub(super) clusters: BTreeMap<String, BTreeSet<Arc<str>>>,
    pub(super) live: HashMap<BrokerAddress, Live>,
    pub(super) filter_servers: HashMap<BrokerAddress, Vec<String>>,
    /// Queues by topic, never empty, sorted by broker.
    pub(super) topics: HashMap<String, Vec<Queues>>,
    /// Static topics among these: mappings by topic and broker name.
    pub(super) mappings: HashMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
    /// Queues of all mappings, see [`mapped_queues`].
    pub(super) mapped_queues: usize,
}

/// What a mapping counts as.
pub(super) fn mapped_queues(mapping: &TopicQueueMappingInfo) -> usize {
    MAPPING_QUEUES + mapping.curr_id_map.len()
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BrokerAddress {
    pub(crate) cluster_name: String,
    pub(crate) broker_addr: String,
}

/// What is known of a broker that registered.
#[derive(Debug)]
pub(super) struct Live {
    /// Locked by itself: a heartbeat changes nothing that a query would have to wait for.
    last_heard: Mutex<Instant>,
    pub(super) timeout: Duration,
    pub(super) data_version: DataVersion,
    /// Connection that it registered on.
    pub(super) connection: u64,
    pub(super) ha_server_addr: String,
    /// Its addresses for clients of other networks.
    pub(super) advertised: AdvertisedListeners,
}

impl Live {
    pub(super) fn new(registration: &Registration, now: Instant) -> Self {
        Self {
            last_heard: Mutex::new(now),
            timeout: registration.timeout,
            data_version: registration.body.topic_config_serialize_wrapper.data_version,
            connection: registration.connection,
            ha_server_addr: registration.ha_server_addr.clone(),
            advertised: registration.advertised.clone(),
        }
    }

    pub(super) fn heard(&self, now: Instant) {
        *lock(&self.last_heard) = now;
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let last_heard = *lock(&self.last_heard);
        now.saturating_duration_since(last_heard) > self.timeout
    }
}

/// Place of a broker name in [`Brokers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BrokerIndex(u32);

/// Queues of one topic on one broker name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queues {
    pub(super) broker: BrokerIndex,
    pub(super) read: i32,
    pub(super) write: i32,
    pub(super) perm: i32,
    pub(super) sys_flag: i32,
}

impl Queues {
    pub(super) fn of(broker: BrokerIndex, topic: &TopicConfig) -> Self {
        Self {
            broker,
            read: topic.read_queue_nums,
            write: topic.write_queue_nums,
            perm: topic.perm,
            sys_flag: topic.topic_sys_flag,
        }
    }
}

/// The broker names, each with its addresses.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    slots: Vec<Option<BrokerData>>,
    by_name: HashMap<Arc<str>, BrokerIndex>,
    free: Vec<BrokerIndex>,
}

impl Brokers {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn index(&self, name: &str) -> Option<BrokerIndex> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, index: BrokerIndex) -> Option<&BrokerData> {
        self.slots.get(index.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: BrokerIndex) -> Option<&mut BrokerData> {
        self.slots.get_mut(index.0 as usize)?.as_mut()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&BrokerData> {
        self.get(self.index(name)?)
    }

    /// Returns the place of a name, made if there is none.
    pub(super) fn index_or_insert(&mut self, cluster: &str, name: &str) -> BrokerIndex {
        if let Some(index) = self.index(name) {
            return index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // The number of names is limited far below this type's range.
            BrokerIndex(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        let data = BrokerData {
            cluster: cluster.to_owned(),
            broker_name: name.to_owned(),
            ..BrokerData::default()
        };
        if let Some(slot) = self.slots.get_mut(index.0 as usize) {
            *slot = Some(data);
        }
        self.by_name.insert(name.into(), index);
        index
    }

    /// Frees the place of a name; no topic may have queues there any more.
    pub(super) fn remove(&mut self, index: BrokerIndex) {
        let Some(data) = self.slots.get_mut(index.0 as usize).and_then(Option::take) else {
            return;
        };
        self.by_name.remove(data.broker_name.as_str());
        self.free.push(index);
    }

    /// All brokers, by no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &BrokerData> {
        self.slots.iter().flatten()
    }
}

/// The lowest id that has an address: the master, or who may act for it.
pub(super) fn min_broker_id(broker: &BrokerData) -> Option<i64> {
    broker.broker_addrs.keys().next().copied()
}

impl Tables {
    /// The queues of a topic on a broker.
    pub(super) fn queues(&self, topic: &str, broker: BrokerIndex) -> Option<&Queues> {
        let queues = self.topics.get(topic)?;
        queues.get(queues.binary_search_by_key(&broker, |queues| queues.broker).ok()?)
    }

    /// The address that a broker advertises for a listener.
    pub(super) fn advertised(&self, cluster: &str, addr: &str, listener: &str) -> Option<&str> {
        let address =
            BrokerAddress { cluster_name: cluster.to_owned(), broker_addr: addr.to_owned() };
        self.live.get(&address)?.advertised.get(listener)
    }

    /// Puts advertised addresses in the place of the brokers' own, where there are some for the listener.
    pub(super) fn advertise(
        &self,
        addrs: &mut BTreeMap<i64, String>,
        cluster: &str,
        listener: Option<&str>,
    ) {
        let Some(listener) = listener else { return };
        for addr in addrs.values_mut() {
            if let Some(advertised) = self.advertised(cluster, addr, listener) {
                *addr = advertised.to_owned();
            }
        }
    }

    /// Adds or replaces the queues of a topic on a broker.
    pub(super) fn put_queues(&mut self, topic: &str, new: Queues) {
        let queues = self.topics.entry_ref(topic).or_default();
        match queues.binary_search_by_key(&new.broker, |queues| queues.broker) {
            Ok(at) => queues[at] = new,
            Err(at) => {
                // A topic is on few brokers, and there are many topics: no spare room.
                queues.reserve_exact(1);
                queues.insert(at, new);
            }
        }
    }

    /// Removes the queues of a topic on a broker, and the topic with its last ones.
    pub(super) fn remove_queues(&mut self, topic: &str, broker: BrokerIndex) {
        let Some(queues) = self.topics.get_mut(topic) else { return };
        queues.retain(|queues| queues.broker != broker);
        if queues.is_empty() {
            self.remove_topic(topic);
        }
    }

    /// Removes a topic, with its mappings.
    pub(super) fn remove_topic(&mut self, topic: &str) {
        self.topics.remove(topic);
        for mapping in self.mappings.remove(topic).iter().flat_map(BTreeMap::values) {
            self.mapped_queues -= mapped_queues(mapping);
        }
    }

    /// Adds or replaces the mapping of a topic that is there, on one broker.
    pub(super) fn put_mapping(&mut self, topic: &str, mapping: &TopicQueueMappingInfo) {
        let Some(bname) = mapping.bname.as_ref().filter(|_| self.topics.contains_key(topic)) else {
            return;
        };
        let by_broker = self.mappings.entry_ref(topic).or_default();
        let before = by_broker.insert(bname.clone(), mapping.clone());
        self.mapped_queues += mapped_queues(mapping);
        self.mapped_queues -= before.as_ref().map_or(0, mapped_queues);
    }

    /// Forgets a broker name in every cluster.
    pub(super) fn remove_from_clusters(&mut self, name: &str) {
        self.clusters.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
    }
}
