//! The broker.

#![allow(dead_code)] // Until the server calls it all.

mod broker_stats;
mod channel;
mod clock;
pub mod config;
mod consumer;
mod consumer_offset;
mod error;
mod filter;
mod limits;
mod perm;
mod processor;
mod producer;
mod rebalance_lock;
mod saved_table;
mod schedule;
mod subscription_group;
mod sync;
mod system_topics;
mod topic;
mod topic_attributes;
mod topic_validator;
