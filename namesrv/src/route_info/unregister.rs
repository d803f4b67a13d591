//! Brokers that leave, are cut off, or fall silent.

use std::collections::BTreeMap;
use std::time::Instant;

use hashbrown::HashMap;
use oxmq_protocol::body::{BrokerData, MASTER_ID};

use super::tables::{BrokerIndex, min_broker_id};
use super::{BrokerAddress, PERM_WRITE, RouteInfoManager};

/// One address of a broker name that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) address: BrokerAddress,
    pub(crate) broker_name: String,
    pub(crate) broker_id: i64,
}

/// Another id is now the lowest of a broker name; the members should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MinBrokerIdChange {
    pub(crate) broker_name: String,
    pub(crate) min_broker_id: i64,
    pub(crate) min_broker_addr: String,
    /// Address that left, if one did.
    pub(crate) offline_broker_addr: Option<String>,
    /// Where to replicate from, if a broker came.
    pub(crate) ha_broker_addr: Option<String>,
    /// Whom to tell: the rest after a departure, the others after an arrival.
    pub(crate) notify: Vec<String>,
}

impl MinBrokerIdChange {
    pub(super) fn of(
        broker: &BrokerData,
        offline_broker_addr: Option<String>,
        ha_broker_addr: Option<String>,
    ) -> Option<Self> {
        let (min_broker_id, min_broker_addr) = broker.broker_addrs.first_key_value()?;
        let tells_all = offline_broker_addr.is_some() || broker.broker_addrs.len() == 1;
        let skipped = usize::from(!tells_all);
        Some(Self {
            broker_name: broker.broker_name.clone(),
            min_broker_id: *min_broker_id,
            min_broker_addr: min_broker_addr.clone(),
            offline_broker_addr,
            ha_broker_addr,
            notify: broker.broker_addrs.values().skip(skipped).cloned().collect(),
        })
    }
}

impl RouteInfoManager {
    /// Removes addresses, and with the last one of a name its topics. A name that lost its master
    /// but has a slave to stand in becomes read-only.
    ///
    /// Returns what the members that stay should hear.
    pub(crate) fn unregister_brokers(&self, departures: &[Departure]) -> Vec<MinBrokerIdChange> {
        let _membership = self.membership();
        let mut removed: Vec<BrokerIndex> = Vec::new();
        let mut read_only: Vec<BrokerIndex> = Vec::new();
        let mut lowest_gone: BTreeMap<&str, &str> = BTreeMap::new();
        let mut tables = self.write();
        for Departure { address, broker_name, broker_id } in departures {
            let was_live = tables.live.remove(address).is_some();
            tables.filter_servers.remove(address);
            tracing::info!(
                cluster_name = address.cluster_name,
                broker_name,
                broker_id,
                broker_addr = address.broker_addr,
                was_live,
                "broker unregistered"
            );
            let Some(index) = tables.brokers.index(broker_name) else { continue };
            let Some(broker) = tables.brokers.get_mut(index) else { continue };
            let was_min = min_broker_id(broker) == Some(*broker_id);
            broker.broker_addrs.retain(|_, addr| *addr != address.broker_addr);
            if broker.broker_addrs.is_empty() {
                // Registrations are held off, so the name gets neither addresses nor topics before
                // it is gone.
                removed.push(index);
                tables.remove_from_clusters(broker_name);
                continue;
            }
            if broker.enable_acting_master {
                // With an id below the master's, which a broker has before a controller gives it one, the
                // name counts as one with a master, as in the reference.
                if min_broker_id(broker) > Some(MASTER_ID) {
                    read_only.push(index);
                }
                if was_min {
                    lowest_gone.insert(broker_name, &address.broker_addr);
                }
            }
        }
        let changes = lowest_gone
            .into_iter()
            .filter_map(|(broker_name, offline_addr)| {
                let broker = tables.brokers.by_name(broker_name)?;
                MinBrokerIdChange::of(broker, Some(offline_addr.to_owned()), None)
            })
            .collect();
        drop(tables);
        if removed.is_empty() && read_only.is_empty() {
            return changes;
        }
        let affected: Vec<String> = self
            .read()
            .topics
            .iter()
            .filter(|(_, queues)| {
                queues.iter().any(|q| removed.contains(&q.broker) || read_only.contains(&q.broker))
            })
            .map(|(topic, _)| topic.clone())
            .collect();
        self.in_turns(affected, |tables, topic| {
            let Some(queues) = tables.topics.get_mut(&topic) else { return };
            queues.retain(|queues| !removed.contains(&queues.broker));
            for queues in queues.iter_mut().filter(|queues| read_only.contains(&queues.broker)) {
                queues.perm &= !PERM_WRITE;
            }
            if queues.is_empty() {
                tables.remove_topic(&topic);
            }
        });
        let mut tables = self.write();
        for index in removed {
            tables.brokers.remove(index);
        }
        drop(tables);
        changes
    }

    /// The brokers that registered on a connection, for when it ends.
    pub(crate) fn departures_of(&self, connection: u64) -> Vec<Departure> {
        self.departures(|live| live.connection == connection)
            .into_iter()
            .map(|(departure, _)| departure)
            .collect()
    }

    /// The brokers that were silent for longer than they said they would be, each with its connection.
    pub(crate) fn silent(&self, now: Instant) -> Vec<(Departure, u64)> {
        self.departures(|live| live.is_silent(now))
    }

    fn departures(&self, is_gone: impl Fn(&super::tables::Live) -> bool) -> Vec<(Departure, u64)> {
        let tables = self.read();
        let gone = tables.live.iter().filter(|(_, live)| is_gone(live));
        let mut gone: HashMap<_, _> =
            gone.map(|(address, live)| (address, (live.connection, false))).collect();
        let departure = |address: &BrokerAddress, broker_name: &str, broker_id| Departure {
            address: address.clone(),
            broker_name: broker_name.to_owned(),
            broker_id,
        };
        let mut departures = Vec::new();
        if gone.is_empty() {
            return departures;
        }
        for broker in tables.brokers.iter() {
            for (id, addr) in &broker.broker_addrs {
                let address = BrokerAddress {
                    cluster_name: broker.cluster.clone(),
                    broker_addr: addr.clone(),
                };
                if let Some((connection, is_named)) = gone.get_mut(&address) {
                    // Of a broker that was renamed both names have it.
                    departures.push((departure(&address, &broker.broker_name, *id), *connection));
                    *is_named = true;
                }
            }
        }
        // An address that no name has any more still leaves the table of the living.
        let unnamed = gone.into_iter().filter(|(_, (_, is_named))| !is_named);
        departures.extend(
            unnamed.map(|(address, (connection, _))| (departure(address, "", -1), connection)),
        );
        departures
    }
}
