//! The store: one door to the log and what is derived from it.

mod ahead;
mod announce;
mod background;
#[cfg(test)]
mod bad_sectors;
mod batch_topics;
mod bundle;
mod compacted;
mod dispatch;
mod get;
mod lazy_record;
mod light;
mod lookup;
mod open;
mod pull;
mod put;
mod put_batch;
mod put_light;
mod recover;
mod scratch;
mod stream;
mod turn;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use oxmq_protocol::live::Live;
use oxmq_protocol::message::EncodeOptions;
use tracing::{info, warn};

pub use announce::{Arrival, ArrivalListener};
pub(crate) use batch_topics::BatchTopics;
pub use bundle::Bundle;
pub(crate) use dispatch::{batch_unit, tags_code_of_record};
pub use get::Cold;
pub use lazy_record::LazyRecord;
#[cfg(any(test, fuzzing))]
pub(crate) use light::fuzz_names;
pub use light::{LIGHT_PREFIX, offset_in};
pub(crate) use light::{LIGHT_QUEUE_ID, LightQueues, places as light_places};
pub use lookup::{Boundary, QueryResult, QueueUnit};
pub(crate) use put::{is_schedule_topic, is_storable_topic};
pub use turn::Stuck;

use announce::Announcer;

use crate::checkpoint::Checkpoint;
use crate::clean::Cleaner;
use crate::clock::Clock;
use crate::commit_log::{AppendTotals, CommitLog, FlushPolicy};
use crate::compaction::Compaction;
use crate::config::StoreConfig;
use crate::consume_queue::{FilterBits, QueueFiles, QueueTable, QueueWriter};
use crate::delay_level::DelayLevels;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::index::Index;
use crate::process_lock::ProcessLock;
use crate::sync::lock;
use crate::worker::{Signal, Worker};

/// What a store needs from outside; tests bring their own.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Where stored timestamps come from.
    pub clock: Clock,
    /// Where files are.
    pub fs: Fs,
}

/// Why a store takes no messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store is closed, or being closed.
    #[error("message store has been shut down")]
    Closed,
    /// A flush failed: what the disk holds is unknown until the store is opened again.
    #[error("a flush failed: {0}")]
    FlushFailed(String),
    /// Consume queues have not been written for a while. Messages are taken again when they are.
    #[error("consume queues cannot be written")]
    QueuesUnwritable,
    /// The disk is too full, at this percentage. Messages are taken again when there is room.
    #[error("the disk is {0} % full")]
    DiskFull(u32),
}

/// A store that is open.
pub struct MessageStore {
    config: Arc<Live<StoreConfig>>,
    clock: Clock,
    fs: Fs,
    encode: EncodeOptions,
    delay_levels: DelayLevels,
    flush_policy: FlushPolicy,
    /// Memory of the machine, of which the newest messages are taken to be in a part.
    memory_bytes: u64,
    batch_topics: BatchTopics,
    /// Whether messages go into the light queues that they name.
    has_light_queues: bool,
    log: Arc<CommitLog>,
    queues: Arc<QueueTable>,
    queue_files: Arc<QueueFiles>,
    queue_writer: Arc<QueueWriter>,
    index: Option<Arc<Index>>,
    pub(crate) compaction: Arc<Compaction>,
    checkpoint: Arc<Checkpoint>,
    pub(crate) cleaner: Arc<Cleaner>,
    announcer: Arc<Announcer>,
    closed: AtomicBool,
    /// Threads that wait for their turn to append.
    waiting: AtomicUsize,
    abort_path: PathBuf,
    /// Whether it was closed before it was opened.
    clean: bool,
    /// Where a record begins of which only a part has come by the log stream.
    incomplete_from: Mutex<Option<i64>>,
    workers: Mutex<Vec<Worker>>,
    lock: Mutex<Option<ProcessLock>>,
}

impl MessageStore {
    /// Opens the store in the configured directory, making it if need be, and recovers it.
    ///
    /// # Errors
    ///
    /// When another process uses the directory, a file operation fails, or a file or setting cannot
    /// be what it should be. What can be rebuilt is no error.
    pub fn open(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        Self::open_with(config, Environment::default())
    }

    /// The configuration.
    pub fn config(&self) -> &Live<StoreConfig> {
        &self.config
    }

    /// Goes on with `config`. What is only looked at when a store is opened stays as it is.
    ///
    /// # Errors
    /// When no store could be opened with it, or it was changed too often since this one was.
    pub fn change_config(&self, config: StoreConfig) -> Result<(), StoreError> {
        open::check_config(&config)?;
        self.config.replace(config).map_err(|error| StoreError::BadConfig(error.to_string()))
    }

    fn encode_options(&self) -> EncodeOptions {
        EncodeOptions { max_message_bytes: self.config.max_message_size, ..self.encode }
    }

    /// The configured delay levels.
    pub fn delay_levels(&self) -> &DelayLevels {
        &self.delay_levels
    }

    /// Sets who is told of messages that become visible. Only the first call counts.
    pub fn set_arrival_listener(&self, listener: Arc<dyn ArrivalListener>) {
        self.announcer.set(listener, self.visible_end());
    }

    /// Sets who looks at filters for extended units. Only the first call counts, and it does
    /// nothing in a store without them.
    pub fn set_filter_bits(&self, filter_bits: FilterBits) {
        let extender = self.queue_writer.extender();
        if extender.is_some_and(|extender| !extender.set_filter_bits(filter_bits)) {
            warn!("filter bits set twice: the first ones stay");
        }
    }

    /// Whether messages can be put.
    pub fn is_writable(&self) -> bool {
        !self.is_closed()
            && self.log.failure().is_none()
            && self.cleaner.refused_at_percent().is_none()
            && !self.queue_writer.is_stuck()
    }

    /// Why messages cannot be put, if they cannot.
    pub fn refusal(&self) -> Option<Refusal> {
        if self.is_closed() {
            return Some(Refusal::Closed);
        }
        if let Some(failure) = self.log.failure() {
            return Some(Refusal::FlushFailed(failure.to_owned()));
        }
        if self.queue_writer.is_stuck() {
            return Some(Refusal::QueuesUnwritable);
        }
        self.cleaner.refused_at_percent().map(Refusal::DiskFull)
    }

    /// Why messages that wait for the disk are refused, if it is not for want of space and may be over soon.
    pub fn write_failure(&self) -> Option<String> {
        self.log.write_failure()
    }

    /// The failed flush after which nothing is taken any more, if there was one.
    pub fn failure(&self) -> Option<&str> {
        self.log.failure()
    }

    /// Lets expired files be deleted at any hour for some rounds, as an operator asks.
    pub fn delete_expired_files(&self) {
        self.cleaner.begin_manual();
    }

    /// Whether it is one of the hours at which expired files are deleted.
    pub fn is_deletion_hour(&self) -> bool {
        self.cleaner.is_hour()
    }

    /// Stops taking messages, makes everything durable, and gives the directory up.
    ///
    /// A second call does nothing.
    ///
    /// # Errors
    ///
    /// When something could not be made durable; the next open recovers as after a crash then.
    pub fn close(&self) -> Result<(), StoreError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Senders that were let in before are done once the log's lock has been taken.
        let end = self.log.end_and_timestamp();
        lock(&self.workers).clear();
        let outcome = self.make_all_durable(end);
        // Some may have come when the flusher had ended.
        self.log.release_rest();
        if let Err(error) = &outcome {
            warn!(%error, "store not closed cleanly");
        } else {
            info!(phy_offset = end.0, "store closed");
        }
        lock(&self.lock).take();
        outcome
    }

    fn make_all_durable(&self, (end, timestamp_ms): (i64, i64)) -> Result<(), StoreError> {
        let log_dir = self.config.commit_log_dir();
        self.log.flush_all().doing("flush", &log_dir)?;
        // All of them, as the last senders may not have told the writer of theirs yet.
        self.queue_writer.write_each(&self.queues.all(), end)?;
        self.queue_files.sync()?;
        self.compaction.close(end)?;
        if let Some(index) = &self.index {
            index.catch_up(&self.log, end, &Signal::default())?;
            index.flush()?;
        }
        self.log.drop_unused_file().doing("remove a file of", &log_dir)?;
        self.checkpoint.update(|values| {
            values.physic_msg_timestamp = values.physic_msg_timestamp.max(timestamp_ms);
            values.logics_msg_timestamp = values.logics_msg_timestamp.max(timestamp_ms);
        });
        self.checkpoint.save()?;
        // Last: without it, everything before counts as done.
        self.fs.remove_file(&self.abort_path).doing("remove", &self.abort_path)
    }

    /// Whether whoever had it before this one has closed it, and did not crash.
    pub fn was_closed(&self) -> bool {
        self.clean
    }

    /// Position of the first byte that is still in the log.
    pub fn min_phy_offset(&self) -> i64 {
        self.log.min_offset()
    }

    /// Position behind the last record of the log.
    pub fn max_phy_offset(&self) -> i64 {
        self.log.max_offset()
    }

    /// Everything in the log before this position is on disk.
    pub fn flushed_phy_offset(&self) -> i64 {
        self.log.flushed()
    }

    /// What was put since the store was opened.
    pub fn appended(&self) -> AppendTotals {
        self.log.appended()
    }

    /// Milliseconds for which the append lock has been held; 0 when nobody holds it.
    pub fn append_locked_ms(&self) -> i64 {
        self.log.locked_for_ms(self.clock.now_ms())
    }

    /// Bytes of the log that are not in the derived files yet.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        let position = self.index.as_ref().map_or(i64::MAX, |index| index.position());
        (self.log.max_offset() - position).max(0)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Log position up to which messages may be read.
    fn visible_end(&self) -> i64 {
        if self.hides_unflushed() { self.log.flushed() } else { self.log.written() }
    }

    fn hides_unflushed(&self) -> bool {
        self.flush_policy.sync && hides_unflushed(&self.config)
    }
}

/// Whether messages of a store with SYNC_FLUSH are hidden until they are on disk.
fn hides_unflushed(config: &StoreConfig) -> bool {
    !config.read_un_committed
}

impl Drop for MessageStore {
    /// Ends the threads and leaves everything else as a crash would.
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.workers).clear();
    }
}

impl std::fmt::Debug for MessageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageStore")
            .field("root", &self.config.store_path_root_dir)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use oxmq_protocol::message::{Message, encode_record};

    use super::*;
    use crate::commit_log::{RecordSpan, Records, Tags};
    use crate::config::FlushDiskType;
    use crate::consume_queue::QueueKind;
    use crate::fs::FsOp;
    use crate::status::PutMessageStatus;

    #[test]
    fn who_waits_for_the_disk_while_the_store_is_closed_is_answered() {
        for is_full in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let config = StoreConfig {
                flush_disk_type: FlushDiskType::SyncFlush,
                mapped_file_size_commit_log: 16 << 10,
                ..StoreConfig::in_dir(dir.path())
            };
            let (began, begin) = (Arc::new(AtomicBool::new(false)), Ordering::Relaxed);
            let fails = Arc::clone(&began);
            let fs = Fs::with_fault(move |op, _| {
                match is_full && op == FsOp::Write && fails.load(begin) {
                    true => Err(std::io::ErrorKind::StorageFull.into()),
                    false => Ok(()),
                }
            });
            let environment = Environment { fs, ..Environment::default() };
            let store = MessageStore::open_with(config, environment).unwrap();
            began.store(true, begin);
            // The flusher ends before it has seen this, and before whoever has put it comes to wait for it.
            store.workers.lock().unwrap().clear();
            let put = store.put_message(&Message::new("t", 0, b"body"));
            assert_eq!(put.status, PutMessageStatus::PutOk);
            let (answer, answers) = channel();
            let wait = || {
                let answer = answer.clone();
                let tell = move |status| answer.send(status).unwrap();
                store.when_durable(put.end_phy_offset(), Box::new(tell));
            };
            wait();
            assert!(answers.try_recv().is_err());
            assert_eq!(store.close().is_err(), is_full);
            wait();
            let expected = match is_full {
                true => PutMessageStatus::ServiceNotAvailable,
                false => PutMessageStatus::PutOk,
            };
            assert_eq!(answers.try_iter().collect::<Vec<_>>(), [expected; 2]);
        }
    }

    #[test]
    fn message_that_was_put_just_before_the_store_closes_is_in_its_queue_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            mapped_file_size_commit_log: 16 << 10,
            ..StoreConfig::in_dir(dir.path())
        };
        let store = MessageStore::open(config.clone()).unwrap();
        let queue = store.queues.get_or_create("new", 0, QueueKind::Simple);
        let mut bytes = Vec::new();
        let options = store.encode_options();
        encode_record(&Message::new("new", 0, b"body"), &options, &mut bytes).unwrap();
        let spans = [RecordSpan { end: bytes.len(), tags: Tags::Code(0), queue: 0 }];
        let mut records = Records {
            bytes: &mut bytes,
            spans: &spans,
            sealed: false,
            keys: None,
            inner: None,
            light: None,
        };
        // The writer has not been told of the queue yet.
        store.log.append(&mut records, &[queue], 1, || true).unwrap();
        store.put_message(&Message::new("other", 0, b"body"));
        store.close().unwrap();
        drop(store);
        let store = MessageStore::open(config).unwrap();
        assert_eq!((store.max_offset("new", 0), store.max_offset("other", 0)), (1, 1));
    }
}
