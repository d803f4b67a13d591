//! Headers: each declared once, one file per request family.

#[macro_use]
mod declare;

mod broker_registration;
mod client;
mod consumer_offset;
mod group_query;
mod kv_config;
mod lite;
mod namesrv;
mod pop;
mod pull;
mod queue_offset;
mod recall;
mod route;
mod send;
mod subscription_group;
mod topic;
mod transaction;

pub use broker_registration::*;
pub use client::*;
pub use consumer_offset::*;
pub use declare::{ExtField, Header, HeaderError};
pub use group_query::*;
pub use kv_config::*;
pub use lite::*;
pub use namesrv::*;
pub use pop::*;
pub use pull::*;
pub use queue_offset::*;
pub use recall::*;
pub use route::*;
pub use send::*;
pub use subscription_group::*;
pub use topic::*;
pub use transaction::*;
