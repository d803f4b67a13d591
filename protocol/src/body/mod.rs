//! Bodies: serde structs, one file per family, written and read through [`fastjson`](crate::fastjson).

mod broker_registration;
mod cluster;
mod data_version;
mod kv_table;
mod route;
mod topic_config;
mod topic_list;
mod topic_queue_mapping;

pub use broker_registration::*;
pub use cluster::*;
pub use data_version::*;
pub use kv_table::*;
pub use route::*;
pub use topic_config::*;
pub use topic_list::*;
pub use topic_queue_mapping::*;
