//! Answers where a topic is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use oxmq_protocol::body::{BrokerData, MASTER_ID, TopicQueueMappingInfo};
use oxmq_protocol::fastjson::{self, Dialect, FastjsonError};
use serde::Serialize;

use super::tables::{Queues, Tables, min_broker_id};
use super::{BrokerAddress, PERM_WRITE, RouteInfoManager};

/// Topics by which the members of a group find each other; no slave acts as master for them.
///
/// Reference: `TopicValidator.SYNC_BROKER_MEMBER_GROUP_PREFIX` (common), 5.5.0.
const SYNC_BROKER_MEMBER_GROUP_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// What a route answer depends on beside the table.
#[derive(Clone, Debug)]
pub(crate) struct RouteQuery<'a> {
    pub(crate) topic: &'a str,
    pub(crate) dialect: Dialect,
    /// `orderTopicConf` of the answer.
    pub(crate) order_topic_conf: Option<&'a str>,
    /// Whether a slave is shown as master where it stands in for one.
    pub(crate) support_acting_master: bool,
    /// The zone that the client stays in.
    pub(crate) zone: Option<Zone<'a>>,
    /// The listener that the client asks by.
    pub(crate) listener: Option<&'a str>,
}

/// A zone by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone<'a>(pub(crate) &'a str);

impl Zone<'_> {
    /// A group whose master is down serves every zone.
    fn keeps(self, route: &BrokerRoute<'_>) -> bool {
        !route.broker_addrs.contains_key(&MASTER_ID)
            || route.zone_name.is_some_and(|name| name.to_lowercase() == self.0.to_lowercase())
    }
}

// The three structs write what `TopicRouteData` reads; they borrow from the table. A test holds
// them together.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicRoute<'a> {
    broker_datas: Vec<BrokerRoute<'a>>,
    filter_server_table: BTreeMap<&'a str, &'a [String]>,
    order_topic_conf: Option<&'a str>,
    queue_datas: Vec<QueueRoute<'a>>,
    topic_queue_mapping_by_broker: Option<&'a BTreeMap<String, TopicQueueMappingInfo>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerRoute<'a> {
    broker_addrs: Cow<'a, BTreeMap<i64, String>>,
    broker_name: &'a str,
    cluster: &'a str,
    enable_acting_master: bool,
    zone_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRoute<'a> {
    broker_name: &'a str,
    perm: i32,
    read_queue_nums: i32,
    topic_sys_flag: i32,
    write_queue_nums: i32,
}

impl RouteInfoManager {
    /// The encoded `TopicRouteData` of a topic; `None` when no broker that is known has it.
    ///
    /// It is made anew for each query, straight from the table: some 10 us for a topic on 20
    /// brokers, and no memory for answers that nobody asks for again.
    ///
    /// # Errors
    /// Never, as far as is known: every part of a route has a form.
    pub(crate) fn route(&self, query: &RouteQuery<'_>) -> Result<Option<Vec<u8>>, FastjsonError> {
        let tables = self.read();
        let Some(route) = tables.route(query) else { return Ok(None) };
        // The reference filters after encoding, and encodes again without regard to the client.
        let dialect = if query.zone.is_some() { Dialect::Raw } else { query.dialect };
        fastjson::to_vec(&route, dialect).map(Some)
    }
}

impl Tables {
    fn route<'a>(&'a self, query: &RouteQuery<'a>) -> Option<TopicRoute<'a>> {
        let queues = self.topics.get(query.topic)?;
        let acts = query.support_acting_master
            && !query.topic.starts_with(SYNC_BROKER_MEMBER_GROUP_PREFIX);
        let mut found: Vec<(&Queues, BrokerRoute<'_>)> = queues
            .iter()
            .filter_map(|queues| {
                let broker = self.brokers.get(queues.broker)?;
                // A name without addresses is about to go.
                (!broker.broker_addrs.is_empty())
                    .then(|| (queues, BrokerRoute::of(broker, queues, acts)))
            })
            .collect();
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|(_, route)| route.broker_name);
        if let Some(zone) = query.zone {
            found.retain(|(_, route)| zone.keeps(route));
        }
        Some(TopicRoute {
            filter_server_table: self.filter_servers_of(found.iter().map(|(_, route)| route)),
            queue_datas: found
                .iter()
                .map(|(queues, route)| QueueRoute {
                    broker_name: route.broker_name,
                    perm: queues.perm,
                    read_queue_nums: queues.read,
                    topic_sys_flag: queues.sys_flag,
                    write_queue_nums: queues.write,
                })
                .collect(),
            broker_datas: found
                .into_iter()
                .map(|(_, mut route)| {
                    if query.listener.is_some() {
                        let addrs = route.broker_addrs.to_mut();
                        self.advertise(addrs, route.cluster, query.listener);
                    }
                    route
                })
                .collect(),
            order_topic_conf: query.order_topic_conf,
            topic_queue_mapping_by_broker: self.mappings.get(query.topic),
        })
    }

    fn filter_servers_of<'a: 'r, 'r>(
        &'a self,
        routes: impl Iterator<Item = &'r BrokerRoute<'a>>,
    ) -> BTreeMap<&'a str, &'a [String]> {
        if self.filter_servers.is_empty() {
            return BTreeMap::new();
        }
        routes
            .flat_map(|route| route.broker_addrs.values().map(move |addr| (route.cluster, addr)))
            .filter_map(|(cluster, addr)| {
                let address =
                    BrokerAddress { cluster_name: cluster.to_owned(), broker_addr: addr.clone() };
                let (address, servers) = self.filter_servers.get_key_value(&address)?;
                Some((address.broker_addr.as_str(), servers.as_slice()))
            })
            .collect()
    }
}

impl<'a> BrokerRoute<'a> {
    fn of(broker: &'a BrokerData, queues: &Queues, acts: bool) -> Self {
        let mut broker_addrs = Cow::Borrowed(&broker.broker_addrs);
        let may_act = acts && broker.enable_acting_master && queues.perm & PERM_WRITE == 0;
        if may_act && !broker.broker_addrs.contains_key(&MASTER_ID) {
            let addrs = broker_addrs.to_mut();
            if let Some(addr) = min_broker_id(broker).and_then(|min| addrs.remove(&min)) {
                addrs.insert(MASTER_ID, addr);
            }
        }
        Self {
            broker_addrs,
            broker_name: &broker.broker_name,
            cluster: &broker.cluster,
            enable_acting_master: broker.enable_acting_master,
            zone_name: broker.zone_name.as_deref(),
        }
    }
}
