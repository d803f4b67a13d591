//! A store that nobody serves: what is wrong with it, and what can be done about it.
//!
//! [`check()`] reads everything and changes nothing. [`repair()`] mends what a check finds: the log
//! is made sound in place, derived files are set aside and made anew from it. [`Dump`] shows single
//! records, queues and lookups. [`plan()`] says which parts of a store of the reference are
//! supported.
//!
//! All of it goes through the store's own readers, so that no format is known twice.

mod check;
mod dir;
mod dump;
mod log_sequence;
mod plan;
mod repair;
mod report;
mod units;

pub use check::check;
pub use dir::StoreDir;
pub use dump::{Dump, IndexRow, QueueRow, RecordDump, Text};
pub use plan::{POP_RECORDS_ADVICE, Part, Verdict, plan, pop_records};
pub use repair::{Action, Repair, repair, repair_with};
pub use report::{Counts, Finding, Kind, Report, Severity};

/// Told how many bytes of how many are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
