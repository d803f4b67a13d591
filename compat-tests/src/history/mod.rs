//! Clients under trouble: what was acknowledged, what was delivered, and whether that is right.
//!
//! ```text
//! schedule.rs   seed -> what happens when: crashes, cuts, joins, leaves, restarts
//! run.rs        a server, clients behind proxies that can cut them off, and the schedule
//! producer.rs, consumer.rs, transactions.rs, timers.rs, pops.rs, java.rs     the clients
//! log.rs        one list of all that they saw, in one order
//! check.rs      a pure function over that list
//! ```
//!
//! The order of the list is sound: a request is noted before it is written, an answer after it was
//! read, a crash before it is made.

mod check;
mod consumer;
mod java;
mod log;
mod pops;
mod producer;
mod run;
mod schedule;
mod timers;
mod transactions;

pub use run::{Outcome, Plan, run};
