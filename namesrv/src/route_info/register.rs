//! A broker makes itself known.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use oxmq_protocol::advertised_listeners::AdvertisedListeners;
use oxmq_protocol::body::{
    BrokerData, DataVersion, MASTER_ID, RegisterBrokerBody, TopicConfig, TopicQueueMappingInfo,
};

use super::tables::{BrokerIndex, Live, Queues, Tables, mapped_queues, min_broker_id};
use super::{BrokerAddress, MinBrokerIdChange, PERM_WRITE, RouteInfoManager};
use crate::limits::{
    MAX_ADDRESSES, MAX_BROKERS, MAX_CLUSTERS, MAX_FILTER_SERVERS, MAX_MAPPED_QUEUES,
    MAX_MAPPED_QUEUES_IN_ALL, MAX_MEMBERS, MAX_NAME_BYTES, MAX_TOPICS, TOPICS_A_TURN,
};

/// One registration.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) address: BrokerAddress,
    pub(crate) broker_name: String,
    pub(crate) broker_id: i64,
    pub(crate) ha_server_addr: String,
    pub(crate) zone_name: Option<String>,
    pub(crate) advertised: AdvertisedListeners,
    /// Silence after which the broker counts as gone.
    pub(crate) timeout: Duration,
    /// `None` from brokers before 5.0.
    pub(crate) enable_acting_master: Option<bool>,
    pub(crate) body: RegisterBrokerBody,
    /// Connection that it came on.
    pub(crate) connection: u64,
    /// Whether topics that the body lacks are taken off this broker.
    pub(crate) delete_missing_topics: bool,
}

/// What a registered broker is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Where a slave replicates from.
    pub(crate) ha_server_addr: Option<String>,
    /// A slave's master.
    pub(crate) master_addr: Option<String>,
    /// What the other members should hear.
    pub(crate) min_id_change: Option<MinBrokerIdChange>,
}

/// A registration that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    /// The first registration has to be a full one, but has one topic. The broker registers in full
    /// every 30 s, so it only has to wait.
    #[error("register broker failed")]
    FirstIsPartial,
    /// A name or count is over a limit of [`crate::limits`].
    #[error("register broker failed: {0} over the limit of {1}")]
    OverLimit(&'static str, usize),
}

/// What the first turn found out.
struct Admitted {
    broker: BrokerIndex,
    /// The topics count: from a master, or from who may act for it.
    applies_topics: bool,
    /// Topics lose the permission to write.
    read_only: bool,
    /// Every topic is new here, even if it looks the same.
    applies_all: bool,
    min_id_fell: bool,
}

impl RouteInfoManager {
    /// Registers a broker and its topics, or renews both.
    ///
    /// A registration that holds an older term than the broker of the same id, which is alive under
    /// another address, has no effect and no answer to learn from.
    ///
    /// # Errors
    /// When the registration is refused; then nothing has changed.
    pub(crate) fn register_broker(
        &self,
        registration: &Registration,
        now: Instant,
    ) -> Result<Registered, RegisterError> {
        check_limits(registration)?;
        let _membership = self.membership();
        let Some(admitted) = self.write().admit(registration)? else {
            return Ok(Registered::default());
        };
        if admitted.applies_topics {
            self.apply_topics(registration, &admitted);
        }
        Ok(self.write().seal(registration, &admitted, now))
    }

    fn apply_topics(&self, registration: &Registration, admitted: &Admitted) {
        let wrapper = &registration.body.topic_config_serialize_wrapper;
        let topics = &wrapper.topic_config_table;
        let mappings = &wrapper.topic_queue_mapping_info_map;
        if registration.delete_missing_topics && mappings.is_empty() {
            let missing: Vec<String> = self
                .read()
                .topics
                .iter()
                .filter(|(topic, _)| !topics.contains_key(topic.as_str()))
                .filter(|(_, queues)| queues.iter().any(|q| q.broker == admitted.broker))
                .map(|(topic, _)| topic.clone())
                .collect();
            self.in_turns(missing, |tables, topic| tables.remove_queues(&topic, admitted.broker));
        }
        let mut topics = topics.values().peekable();
        while topics.peek().is_some() {
            // Nearly all topics of nearly all registrations are as they were: those are passed over
            // without keeping queries out.
            let changes: Vec<_> = {
                let tables = self.read();
                let turn = topics.by_ref().take(TOPICS_A_TURN);
                turn.filter_map(|topic| tables.change_of(topic, admitted)).collect()
            };
            self.in_turns(changes, |tables, (topic, queues)| {
                if tables.topics.len() < MAX_TOPICS || tables.topics.contains_key(topic) {
                    tables.put_queues(topic, queues);
                } else {
                    let broker_name = &registration.broker_name;
                    tracing::warn!(topic, broker_name, "topic left out: there are {MAX_TOPICS}");
                }
            });
        }
        if admitted.applies_all {
            self.in_turns(mappings.iter(), |tables, (topic, mapping)| {
                tables.put_mapping(topic, mapping);
            });
        }
    }

    /// Works off many small changes in turns, between which queries are let in.
    pub(super) fn in_turns<T>(
        &self,
        work: impl IntoIterator<Item = T>,
        mut change: impl FnMut(&mut Tables, T),
    ) {
        let mut work = work.into_iter().peekable();
        while work.peek().is_some() {
            let mut tables = self.write();
            for item in work.by_ref().take(TOPICS_A_TURN) {
                change(&mut tables, item);
            }
            drop(tables);
            // The lock is not fair: without this the next turn would often begin before a query
            // that waits has woken up.
            std::thread::yield_now();
        }
    }
}

fn check_limits(registration: &Registration) -> Result<(), RegisterError> {
    let wrapper = &registration.body.topic_config_serialize_wrapper;
    let mappings = || wrapper.topic_queue_mapping_info_map.values();
    let names = [
        &registration.address.cluster_name,
        &registration.address.broker_addr,
        &registration.broker_name,
        &registration.ha_server_addr,
    ];
    let longest = names
        .into_iter()
        .chain(&registration.zone_name)
        .chain(wrapper.topic_config_table.values().map(|topic| &topic.topic_name))
        .chain(wrapper.topic_queue_mapping_info_map.keys())
        .chain(mappings().flat_map(|mapping| &mapping.bname))
        .chain(mappings().flat_map(|mapping| &mapping.topic))
        .chain(mappings().map(|mapping| &mapping.scope))
        .chain(&registration.body.filter_server_list)
        .map(String::len)
        .max();
    if longest > Some(MAX_NAME_BYTES) {
        return Err(RegisterError::OverLimit("bytes of a name", MAX_NAME_BYTES));
    }
    if mappings().any(|mapping| mapping.curr_id_map.len() > MAX_MAPPED_QUEUES) {
        return Err(RegisterError::OverLimit("queues of a static topic", MAX_MAPPED_QUEUES));
    }
    if registration.body.filter_server_list.len() > MAX_FILTER_SERVERS {
        return Err(RegisterError::OverLimit("filter servers", MAX_FILTER_SERVERS));
    }
    Ok(())
}

impl Tables {
    /// Takes the broker in, or returns `None` when a newer one holds its place.
    fn admit(&mut self, registration: &Registration) -> Result<Option<Admitted>, RegisterError> {
        let Registration { address, broker_name, broker_id, .. } = registration;
        let (id, wrapper) = (*broker_id, &registration.body.topic_config_serialize_wrapper);
        let known = self.brokers.by_name(broker_name);
        let holder = known.and_then(|broker| broker.broker_addrs.get(&id));
        if holder.is_none() && wrapper.topic_config_table.len() == 1 {
            return Err(RegisterError::FirstIsPartial);
        }
        self.check_room(registration)?;
        let is_outdated = holder
            .filter(|holder| **holder != address.broker_addr)
            .and_then(|holder| self.data_version(&address.cluster_name, holder))
            .is_some_and(|held| held.state_version > wrapper.data_version.state_version);

        self.clusters
            .entry(address.cluster_name.clone())
            .or_default()
            .insert(broker_name.as_str().into());
        let version_known = self.live.get(address).map(|live| live.data_version);
        let index = self.brokers.index_or_insert(&address.cluster_name, broker_name);
        let Some(broker) = self.brokers.get_mut(index) else { return Ok(None) };
        broker.enable_acting_master = registration.enable_acting_master.unwrap_or(false);
        broker.zone_name.clone_from(&registration.zone_name);
        let min_id_fell = min_broker_id(broker).is_some_and(|min| id < min);
        // A slave that became master had the same address under another id.
        broker.broker_addrs.retain(|other, addr| *other == id || *addr != address.broker_addr);
        if is_outdated {
            tracing::warn!(
                broker_name,
                broker_id,
                broker_addr = address.broker_addr,
                "registration of an older term ignored"
            );
            self.live.remove(address);
            return Ok(None);
        }
        let is_first = broker.broker_addrs.insert(id, address.broker_addr.clone()).is_none();
        let is_master = id == MASTER_ID;
        let is_prime_slave = registration.enable_acting_master.is_some()
            && !is_master
            && min_broker_id(broker) == Some(id);
        Ok(Some(Admitted {
            broker: index,
            applies_topics: is_master || is_prime_slave,
            read_only: is_prime_slave && broker.enable_acting_master,
            applies_all: is_first || version_known != Some(wrapper.data_version),
            min_id_fell,
        }))
    }

    /// Whether there is room for what the registration has that is not known yet.
    fn check_room(&self, registration: &Registration) -> Result<(), RegisterError> {
        let Registration { address, broker_name, broker_id, .. } = registration;
        let known = self.brokers.by_name(broker_name);
        let members = known.map_or(0, |broker| broker.broker_addrs.len());
        let is_member = known.is_some_and(|broker| broker.broker_addrs.contains_key(broker_id));
        let cluster = self.clusters.get(&address.cluster_name);
        let is_in_cluster = cluster.is_some_and(|names| names.contains(broker_name.as_str()));
        let clustered = || self.clusters.values().map(BTreeSet::len).sum::<usize>();
        let over = |what, limit| Err(RegisterError::OverLimit(what, limit));
        if known.is_none() && self.brokers.len() >= MAX_BROKERS {
            over("broker names", MAX_BROKERS)
        } else if !is_member && members >= MAX_MEMBERS {
            over("addresses of a broker", MAX_MEMBERS)
        } else if cluster.is_none() && self.clusters.len() >= MAX_CLUSTERS {
            over("clusters", MAX_CLUSTERS)
        } else if !is_in_cluster && clustered() >= MAX_ADDRESSES {
            over("broker names in clusters", MAX_ADDRESSES)
        } else if !self.live.contains_key(address) && self.live.len() >= MAX_ADDRESSES {
            over("addresses", MAX_ADDRESSES)
        } else if self.new_mapped_queues(registration)
            > MAX_MAPPED_QUEUES_IN_ALL - self.mapped_queues
        {
            over("queues of all static topics", MAX_MAPPED_QUEUES_IN_ALL)
        } else {
            Ok(())
        }
    }

    /// Queues of static topics that a registration has more of than is known.
    fn new_mapped_queues(&self, registration: &Registration) -> usize {
        let wrapper = &registration.body.topic_config_serialize_wrapper;
        let more = |(topic, mapping): (&String, &TopicQueueMappingInfo)| {
            let known =
                self.mappings.get(topic).and_then(|known| known.get(mapping.bname.as_ref()?));
            mapped_queues(mapping).saturating_sub(known.map_or(0, mapped_queues))
        };
        wrapper.topic_queue_mapping_info_map.iter().map(more).sum()
    }

    /// The queues that a registered topic puts here, unless they are there already.
    fn change_of<'a>(
        &self,
        topic: &'a TopicConfig,
        admitted: &Admitted,
    ) -> Option<(&'a str, Queues)> {
        let name = topic.topic_name.as_str();
        let known = self.queues(name, admitted.broker);
        if name.is_empty() || (known.is_some() && !admitted.applies_all) {
            return None;
        }
        let mut queues = Queues::of(admitted.broker, topic);
        if admitted.read_only {
            queues.perm &= !PERM_WRITE;
        }
        (known != Some(&queues)).then_some((name, queues))
    }

    /// Marks the broker alive and finds what it should know.
    fn seal(
        &mut self,
        registration: &Registration,
        admitted: &Admitted,
        now: Instant,
    ) -> Registered {
        let address = &registration.address;
        let live = Live::new(registration, now);
        if self.live.insert(address.clone(), live).is_none() {
            tracing::info!(
                cluster_name = address.cluster_name,
                broker_name = registration.broker_name,
                broker_id = registration.broker_id,
                broker_addr = address.broker_addr,
                "broker registered"
            );
        }
        let filter_servers = &registration.body.filter_server_list;
        if filter_servers.is_empty() {
            self.filter_servers.remove(address);
        } else {
            self.filter_servers.insert(address.clone(), filter_servers.clone());
        }
        let mut registered = Registered::default();
        let Some(broker) = self.brokers.get(admitted.broker) else { return registered };
        if registration.broker_id != MASTER_ID
            && let Some((master_addr, live)) = self.live_master(address, broker)
        {
            registered.ha_server_addr = Some(live.ha_server_addr.clone());
            registered.master_addr = Some(master_addr.to_owned());
        }
        if admitted.min_id_fell {
            let ha_addr = Some(registration.ha_server_addr.clone());
            registered.min_id_change = MinBrokerIdChange::of(broker, None, ha_addr);
        }
        registered
    }

    fn live_master<'a>(
        &'a self,
        slave: &BrokerAddress,
        broker: &'a BrokerData,
    ) -> Option<(&'a str, &'a Live)> {
        let master_addr = broker.broker_addrs.get(&MASTER_ID)?;
        let master = BrokerAddress {
            cluster_name: slave.cluster_name.clone(),
            broker_addr: master_addr.clone(),
        };
        Some((master_addr, self.live.get(&master)?))
    }

    fn data_version(&self, cluster_name: &str, broker_addr: &str) -> Option<DataVersion> {
        let address = BrokerAddress {
            cluster_name: cluster_name.to_owned(),
            broker_addr: broker_addr.to_owned(),
        };
        self.live.get(&address).map(|live| live.data_version)
    }
}

impl RouteInfoManager {
    /// The version of the topics that a broker last registered.
    pub(crate) fn data_version(&self, address: &BrokerAddress) -> Option<DataVersion> {
        self.read().live.get(address).map(|live| live.data_version)
    }

    /// Notes that a broker is alive. One that never registered stays unknown.
    pub(crate) fn refresh(&self, address: &BrokerAddress, now: Instant) {
        if let Some(live) = self.read().live.get(address) {
            live.heard(now);
        }
    }
}
