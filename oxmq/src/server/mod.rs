//! The subcommands that serve: flags, settings, and one call of the library.

mod broker;
mod dev;
mod log;
mod namesrv;
mod runtime;

pub(crate) use broker::{BrokerArgs, run as run_broker};
pub(crate) use dev::{DevArgs, run as run_dev};
pub(crate) use namesrv::{NamesrvArgs, run as run_namesrv};
