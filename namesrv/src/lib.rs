//! The name server: which brokers there are, and where a topic is.
//!
//! [`Namesrv::start`] runs one. Queries are answered on the tasks that read them, out of the table
//! in `route_info`; what changes the table goes through the one thread in `worker`. `dispatch` is
//! the index of the requests, `processor` answers them without knowing sockets, and `core` is the
//! state that both share.

mod config;
mod core;
mod dispatch;
mod durable_file;
mod error;
mod http_endpoint;
mod kv_config;
mod limits;
mod listeners;
mod namesrv;
mod processor;
mod route_askers;
mod route_info;
mod service;
mod worker;

use oxmq_protocol::sync;

pub use config::{NO_EFFECT, NamesrvConfig};
pub use kv_config::KvConfigError;
pub use listeners::{ListenerNetworks, ListenerPorts};
pub use namesrv::{Namesrv, NamesrvError, NamesrvHandle};
