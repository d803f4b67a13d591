//! The rules of registration, departure and routes, in the order of the reference's processing.

mod departure;
mod registration;
mod routes;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use oxmq_protocol::body::{QueueData, TopicConfig, TopicQueueMappingInfo, TopicRouteData};
use oxmq_protocol::fastjson::{self, Dialect};

use super::register::Registered;
use super::*;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A registration of broker `b` in cluster `C` with topics of four queues.
fn registration(broker_id: i64, broker_addr: &str, topics: &[&str]) -> Registration {
    let mut registration = Registration {
        address: address(broker_addr),
        broker_name: "b".into(),
        broker_id,
        ha_server_addr: format!("{broker_addr}-ha"),
        zone_name: None,
        advertised: Default::default(),
        timeout: TIMEOUT,
        enable_acting_master: Some(false),
        body: oxmq_protocol::body::RegisterBrokerBody::default(),
        connection: 1,
        delete_missing_topics: false,
    };
    for name in topics {
        let topic =
            TopicConfig { read_queue_nums: 4, write_queue_nums: 4, ..TopicConfig::new(*name) };
        registration.topics().insert((*name).to_owned(), topic);
    }
    registration
}

impl Registration {
    fn topics(&mut self) -> &mut BTreeMap<String, TopicConfig> {
        &mut self.body.topic_config_serialize_wrapper.topic_config_table
    }

    fn counter(mut self, counter: i64) -> Self {
        self.body.topic_config_serialize_wrapper.data_version.counter = counter;
        self
    }

    fn state_version(mut self, state_version: i64) -> Self {
        self.body.topic_config_serialize_wrapper.data_version.state_version = state_version;
        self
    }

    fn acting(mut self) -> Self {
        self.enable_acting_master = Some(true);
        self
    }

    fn perm(mut self, perm: i32) -> Self {
        for topic in self.topics().values_mut() {
            topic.perm = perm;
        }
        self
    }

    fn named(mut self, broker_name: &str, connection: u64) -> Self {
        self.broker_name = broker_name.to_owned();
        self.connection = connection;
        self
    }
}

fn address(broker_addr: &str) -> BrokerAddress {
    BrokerAddress { cluster_name: "C".into(), broker_addr: broker_addr.into() }
}

fn departure(broker_id: i64, broker_addr: &str) -> Departure {
    Departure { address: address(broker_addr), broker_name: "b".into(), broker_id }
}

fn register(table: &RouteInfoManager, registration: Registration) -> Registered {
    table.register_broker(&registration, Instant::now()).unwrap()
}

fn query(topic: &str) -> RouteQuery<'_> {
    RouteQuery {
        topic,
        dialect: Dialect::Raw,
        order_topic_conf: None,
        support_acting_master: false,
        zone: None,
        listener: None,
    }
}

fn find(table: &RouteInfoManager, query: &RouteQuery<'_>) -> Option<TopicRouteData> {
    let body = table.route(query).unwrap()?;
    Some(fastjson::from_slice(&body).unwrap())
}

fn addrs(table: &RouteInfoManager) -> BTreeMap<i64, String> {
    table.broker_member_group("C", "b").broker_addrs
}

fn perm(table: &RouteInfoManager, topic: &str) -> Option<i32> {
    find(table, &query(topic)).map(|route| route.queue_datas[0].perm)
}

fn topics(table: &RouteInfoManager) -> Vec<String> {
    table.all_topics().topic_list.into_iter().collect()
}
