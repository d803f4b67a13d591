//! The broker.

#![allow(dead_code)] // Until the server calls it all.

mod clock;
pub mod config;
mod consumer_offset;
mod filter;
mod limits;
mod perm;
mod saved_table;
mod subscription_group;
mod sync;
mod system_topics;
mod topic;
mod topic_attributes;
mod topic_validator;
