//! The broker: topics, groups, offsets and delivery.
//!
//! [`Broker::start`] opens the store, serves both ports and registers with the name servers; the
//! binary and the tests call it alike.

mod absent_clients;
mod address_server;
mod again;
mod arrivals;
mod attributes;
mod broadcast_offset;
mod broker_stats;
mod channel;
mod chores;
mod clock;
mod cold;
mod config;
mod consumer;
mod consumer_offset;
mod delays;
mod disk_readers;
mod dispatch;
mod durable;
mod error;
mod filter;
mod hold;
mod in_memory;
mod journaled_table;
mod limits;
mod message_type;
mod name_servers;
mod once;
mod perm;
mod pop;
mod processor;
mod processors;
mod producer;
mod pull_hold;
mod put_latency;
mod put_status;
mod queue_key;
mod rebalance_lock;
mod registration;
mod request_mode;
mod saved_table;
mod schedule;
mod server;
mod stamps;
mod static_topic;
mod subscription_group;
mod system_topics;
mod tables;
mod timer;
mod topic;
mod topic_route;
mod topic_validator;
mod traffic;
mod transaction;
mod unique_key;
mod waiting;
mod watch;

use oxmq_protocol::sync;

pub use config::{BrokerRole, BrokerSettings, NAMESRV_ADDR_VARIABLE, RequestMode};
pub use filter::{SqlError, SqlFilter};
pub use oxmq_store::StoreConfig;
pub use server::{Broker, BrokerHandle, StartError};
