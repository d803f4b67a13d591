//! Messages to files: the commit log and everything derived from it.
//!
//! [`MessageStore`] is the door. Behind it, in the order of a message: `commit_log` appends the record,
//! `consume_queue` keeps which records a queue has, `index` keeps which records a key has, `checkpoint`
//! keeps how far the derived files are safe. Every file has the reference's name, size and bytes, so
//! that either broker can start where the other stopped.

mod checkpoint;
mod clean;
mod clock;
mod commit_log;
mod compaction;
mod config;
mod consume_queue;
mod delay_level;
mod disk;
mod error;
mod fs;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod index;
mod json_file;
mod json_journal;
pub mod limits;
mod local_time;
#[allow(unsafe_code)]
mod mapped_file;
mod memory;
mod message_store;
pub mod offline;
mod process_lock;
mod status;
mod timer;
mod worker;

use oxmq_protocol::sync;

pub use clock::Clock;
pub use commit_log::{AppendTotals, LogStreamError};
pub use config::{FlushDiskType, StoreConfig, TimerPrecision};
pub use consume_queue::{ExtendedUnit, FilterBits};
pub use delay_level::DelayLevels;
pub use disk::DiskSpace;
pub use error::StoreError;
pub use fs::{Fs, FsOp};
pub use json_file::{JsonFile, JsonFileError, replace_file};
pub use json_journal::JsonJournal;
pub use message_store::{
    Arrival, ArrivalListener, Boundary, Bundle, Cold, Environment, LIGHT_PREFIX, LazyRecord,
    MessageStore, QueryResult, QueueUnit, Refusal, Stuck, offset_in,
};
pub use status::{GetMessageResult, GetMessageStatus, PutMessageResult, PutMessageStatus};
pub use timer::{TIMER_SLOTS, TimerCheckpoint, TimerSave, TimerStore, TimerUnit};
