//! Which records a queue has, in order.
//!
//! A queue is a *tail*: its bounds and its newest units in memory, everything older in files of
//! 20-byte units under `consumequeue/<topic>/<queueId>/`. Appending a message pushes one unit onto
//! the tail; a writer thread moves tails into files in batches. Reading an old unit is one `pread`
//! through a bounded set of open files: nothing is mapped, and an idle queue costs its tail's few
//! fields.
//!
//! Reference: `ConsumeQueue` (store), 5.5.0.

mod extended;
mod files;
mod load;
mod queue;
mod table;
mod tail;
mod unit;
mod writer;

pub(crate) use extended::{EXTENDED_DIR, ExtendedReader, Extender, position_of};
pub use extended::{ExtendedUnit, FilterBits};
pub(crate) use files::{QueueFiles, file_name, list_files};
pub(crate) use load::{QueueDir, load_queues, queue_dirs, queue_dirs_of};
pub(crate) use queue::ConsumeQueue;
pub(crate) use table::QueueTable;
pub(crate) use tail::{PushOutcome, QueueTail};
pub(crate) use unit::{BatchUnit, QueueKind, UNIT_BYTES, Unit};
pub(crate) use writer::{QueueWriter, Sweep};
