//! Headers: each declared once, one file per request family.

#[macro_use]
mod declare;

mod broker_registration;
mod consumer_offset;
mod kv_config;
mod namesrv;
mod pull;
mod queue_offset;
mod route;
mod send;

pub use broker_registration::*;
pub use consumer_offset::*;
pub use declare::{ExtField, Header, HeaderError};
pub use kv_config::*;
pub use namesrv::*;
pub use pull::*;
pub use queue_offset::*;
pub use route::*;
pub use send::*;
