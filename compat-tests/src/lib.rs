//! Black-box tests: one scenario, two servers.
//!
//! Everything here starts a server from its real binary and talks to it over sockets, with the
//! official clients or with [`wire`], a frame codec that shares no code with the server: an error
//! that both sides made alike would otherwise go unseen. `BROKER_UNDER_TEST` chooses the server:
//! `ours` (the default) or `reference`.
//!
//! Setting up (jars, compiled clients) is the job of `scripts/compat-setup`.

// A harness has one answer to trouble: the test fails, here and now.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod address_server;
pub mod admin;
pub mod artifacts;
pub mod client;
pub mod cut;
pub mod dev;
pub mod history;

pub mod lite;
pub mod message_ops;
pub mod offsets_file;
pub mod ops;
pub mod popper;
pub mod ports;
mod process;
pub mod proxy;
pub mod record;
pub mod server;
pub mod wait;
pub mod wire;

pub use client::{Client, ClientKind, Received};
pub use record::Record;
pub use server::{Kind, ServerUnderTest, Setup};
