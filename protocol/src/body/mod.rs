//! Bodies: serde structs, one file per family, written and read through [`fastjson`](crate::fastjson).

#[macro_use]
mod java_enum;

mod assignment;
mod broker_registration;
mod cluster;
mod compressed_registration;
mod consumer_filter;
mod consumer_offset;
mod data_version;
mod delay_offset;
mod group_query;
mod heartbeat;
mod kv_table;
mod lite;
mod lock;
mod message_queue;
mod pop;
mod route;
mod stats;
mod subscription_group;
mod topic_config;
mod topic_list;
mod topic_metrics;
mod topic_queue_mapping;

pub use assignment::*;
pub use broker_registration::*;
pub use cluster::*;
pub use compressed_registration::CompressedBodyError;
pub use consumer_filter::*;
pub use consumer_offset::*;
pub use data_version::*;
pub use delay_offset::*;
pub use group_query::*;
pub use heartbeat::*;
pub use kv_table::*;
pub use lite::*;
pub use lock::*;
pub use message_queue::*;
pub use pop::*;
pub use route::*;
pub use stats::*;
pub use subscription_group::*;
pub use topic_config::*;
pub use topic_list::*;
pub use topic_metrics::*;
pub use topic_queue_mapping::*;
