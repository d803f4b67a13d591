//! Topics of which only the latest message of each key is kept.
//!
//! Each queue of such a topic has a log of its own, into which its records are copied from the commit
//! log, and a queue that says which offset each has. Both begin a new file at the same time, and the two
//! files have the same name: the position of the first byte of the log file.
//!
//! ```text
//! compaction/compactionLog/<topic>/<queue id>/00000000000000000000   record record ... blank
//! compaction/compactionCq/<topic>/<queue id>/00000000000000000000    unit unit ... end
//! compaction/position-checkpoint     offset up to which the files of each queue have been compacted
//! ```
//!
//! Now and then the files that are closed are read, what is outdated is left out of new ones, and these take
//! their place: offsets have gaps from then on. Pulls read these files first and the commit log behind them,
//! so that nothing waits to be copied.
//!
//! A record of many messages, as topics with batch queues have them, counts as one message with the keys of the
//! record itself, and is kept or left out as a whole.
//!
//! Reference: `CompactionStore`, `CompactionLog`, `SparseConsumeQueue` (store), 5.5.0.

mod appender;
mod load;
mod log;
mod pass;
mod place;
mod positions;
mod replace;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use oxmq_protocol::live::Live;
use tracing::{info, warn};

pub(crate) use log::{CompactionLog, View, has_key};
pub(crate) use place::{Place, Sizes};
pub(crate) use positions::Positions;
pub(crate) use replace::is_half_done;
pub(crate) use segment::Segment;

use crate::commit_log::{CommitLog, record_at};
use crate::config::StoreConfig;
use crate::consume_queue::{ConsumeQueue, QueueFiles, QueueTable, queue_dirs_of};
use crate::error::StoreError;
use crate::fs::Fs;
use crate::limits::MIN_OFFSET_MAP_BYTES;
use crate::sync::{lock, read, write};
use crate::worker::Signal;

type Logs = HashMap<i32, Arc<CompactionLog>>;

/// The compacted topics of a store.
#[derive(Debug)]
pub(crate) struct Compaction {
    fs: Fs,
    config: Arc<Live<StoreConfig>>,
    enabled: bool,
    sizes: Sizes,
    commit_log: Arc<CommitLog>,
    queues: Arc<QueueTable>,
    queue_files: Arc<QueueFiles>,
    /// Whether files are to be trusted less, as the last run did not end well.
    crashed: bool,
    /// Most stores have no such topic, and ask at the cost of one load.
    any: AtomicBool,
    topics: RwLock<HashMap<Box<str>, Logs>>,
    feeds: Mutex<Feeds>,
    positions: Positions,
}

/// The queues that are copied.
#[derive(Debug, Default)]
struct Feeds {
    /// What [`QueueTable::generation`] was when they were looked for; nothing when they have to be anew.
    generation: Option<u64>,
    all: Vec<(Arc<ConsumeQueue>, Arc<CompactionLog>)>,
}

impl Compaction {
    /// Of a store whose queues have been recovered.
    pub(crate) fn new(
        fs: Fs,
        config: Arc<Live<StoreConfig>>,
        commit_log: Arc<CommitLog>,
        queues: Arc<QueueTable>,
        queue_files: Arc<QueueFiles>,
        crashed: bool,
    ) -> Self {
        let positions = Positions::load(&fs, &config.root_dir());
        Self {
            fs,
            enabled: config.enable_compaction,
            sizes: Sizes::of(&config),
            config,
            commit_log,
            queues,
            queue_files,
            crashed,
            any: AtomicBool::new(false),
            topics: RwLock::default(),
            feeds: Mutex::default(),
            positions,
        }
    }

    /// Keeps only the latest message of each key of `topic` from now on. Returns whether it is the first
    /// such topic.
    ///
    /// # Errors
    ///
    /// When files of the topic cannot be used.
    pub(crate) fn add_topic(&self, topic: &str) -> Result<bool, StoreError> {
        if !self.enabled || self.has_topic(topic) {
            return Ok(false);
        }
        let mut logs = Logs::new();
        for dir in queue_dirs_of(&Place::log_root(&self.config.root_dir()), topic)? {
            let queue_id = dir.queue_id;
            let Some(queue) = self.queues.get(topic, queue_id) else {
                warn!(%topic, queue_id, "compacted log of a queue that is gone is not used");
                continue;
            };
            let bounds = queue.lock().visible_offsets(i64::MAX);
            let log = self.open_log(topic, queue_id, bounds)?;
            if self.is_of(&log.view(), &queue) {
                logs.insert(queue_id, Arc::new(log));
            } else {
                warn!(%topic, queue_id, "compacted log is that of an older topic and is removed");
                log.delete()?;
            }
        }
        self.lock_topics().entry(topic.into()).or_insert(logs);
        self.lock_feeds().generation = None;
        Ok(!self.any.swap(true, Ordering::AcqRel))
    }

    fn has_topic(&self, topic: &str) -> bool {
        read(&self.topics).contains_key(topic)
    }

    /// What is left of a queue, if its topic is compacted and something has been copied.
    pub(crate) fn view(&self, topic: &str, queue_id: i32) -> Option<View> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let topics = read(&self.topics);
        let logs = topics.get(topic)?;
        Some(logs.get(&queue_id).map(|log| log.view()).unwrap_or_default())
    }

    /// Copies what has come into the queues, of records that end at or before `end` of the commit log.
    ///
    /// # Errors
    ///
    /// When something cannot be copied; everything else is.
    pub(crate) fn feed(&self, end: i64) -> Result<(), StoreError> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut feeds = self.lock_feeds();
        let generation = self.queues.generation();
        let mut outcome = Ok(());
        if feeds.generation != Some(generation) {
            outcome = self.find_queues(&mut feeds.all);
            feeds.generation = outcome.is_ok().then_some(generation);
        }
        for (queue, log) in &feeds.all {
            let (min, max) = queue.lock().visible_offsets(end);
            outcome = outcome.and(log.feed((min, max), queue, &self.queue_files, &self.commit_log));
        }
        outcome
    }

    fn find_queues(
        &self,
        found: &mut Vec<(Arc<ConsumeQueue>, Arc<CompactionLog>)>,
    ) -> Result<(), StoreError> {
        found.clear();
        for queue in self.queues.all() {
            let (topic, queue_id) = (&**queue.topic(), queue.queue_id());
            if !self.has_topic(topic) {
                continue;
            }
            if let Some(log) = self.log_of(topic, queue_id)? {
                found.push((queue, log));
            }
        }
        Ok(())
    }

    /// The log of a queue, made if need be; nothing when its topic is gone.
    fn log_of(&self, topic: &str, queue_id: i32) -> Result<Option<Arc<CompactionLog>>, StoreError> {
        let known = |topics: &HashMap<Box<str>, Logs>| topics.get(topic)?.get(&queue_id).cloned();
        if let Some(log) = known(&read(&self.topics)) {
            return Ok(Some(log));
        }
        // What is there is of an older topic: that of a queue that was there has been opened.
        Place::of(&self.config.root_dir(), topic, queue_id).remove(&self.fs)?;
        let log = Arc::new(self.open_log(topic, queue_id, (0, 0))?);
        let mut topics = self.lock_topics();
        Ok(topics.get_mut(topic).map(|logs| Arc::clone(logs.entry(queue_id).or_insert(log))))
    }

    fn open_log(
        &self,
        topic: &str,
        queue_id: i32,
        bounds: (i64, i64),
    ) -> Result<CompactionLog, StoreError> {
        let place = Place::of(&self.config.root_dir(), topic, queue_id);
        let log = CompactionLog::open(&self.fs, place, self.sizes, bounds, self.crashed)?;
        // The reference keeps it when it deletes a topic.
        if self.positions.get(topic, queue_id) >= log.view().next() {
            self.positions.remove(topic, queue_id);
        }
        Ok(log)
    }

    /// Whether what is left is of this queue, and not of one with the same name: the reference keeps the
    /// files when it deletes a topic.
    fn is_of(&self, view: &View, queue: &ConsumeQueue) -> bool {
        let Some(left) = view.last_unit() else { return true };
        let unit = queue.unit_of_record(&self.queue_files, left.base_offset);
        let Ok(Some(unit)) = unit else { return true };
        let files = self.commit_log.files();
        record_at(&files, unit.phy_offset)
            .is_none_or(|record| record.store_timestamp_ms() == left.store_timestamp_ms)
    }

    /// Copies all that there is up to `end` of the commit log and makes it durable, so that the commit
    /// log is not needed for it any more.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub(crate) fn secure(&self, end: i64) -> Result<(), StoreError> {
        self.feed(end)?;
        for (.., log) in self.all_logs() {
            log.flush()?;
        }
        Ok(())
    }

    /// [`Self::secure`], and saves how far files have been compacted.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub(crate) fn close(&self, end: i64) -> Result<(), StoreError> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        self.secure(end)?;
        self.positions.save()
    }

    /// Compacts what has been closed, now and then, until told to end.
    pub(crate) fn run(&self, signal: &Signal) {
        let interval = || Duration::from_millis(self.config.compaction_schedule_internal.max(1));
        while signal.wait(interval()) {
            self.compact_all(signal);
        }
    }

    fn compact_all(&self, signal: &Signal) {
        for (topic, queue_id, log) in self.all_logs() {
            if let Err(error) = self.compact(&topic, queue_id, &log, signal) {
                warn!(%topic, queue_id, %error, "queue not compacted");
            }
        }
    }

    fn compact(
        &self,
        topic: &str,
        queue_id: i32,
        log: &CompactionLog,
        signal: &Signal,
    ) -> Result<(), StoreError> {
        let room = self.config.max_offset_map_size.max(MIN_OFFSET_MAP_BYTES);
        let after = self.positions.get(topic, queue_id);
        let Some(outcome) = log.compact(after, room, || signal.is_stopped())? else {
            return Ok(());
        };
        let pass::Outcome { until, before, left } = outcome;
        info!(%topic, queue_id, until, before, left, "queue compacted");
        self.positions.set(topic, queue_id, until);
        self.positions.save()
    }

    /// Forgets a topic and deletes its files.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed; the topic is forgotten then.
    pub(crate) fn remove_topic(&self, topic: &str) -> Result<(), StoreError> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(logs) = self.lock_topics().remove(topic) else {
            return Ok(());
        };
        self.lock_feeds().generation = None;
        let mut outcome = Ok(());
        for (queue_id, log) in logs {
            self.positions.remove(topic, queue_id);
            outcome = outcome.and(log.delete());
        }
        outcome.and(Place::remove_topic(&self.fs, &self.config.root_dir(), topic))
    }

    fn all_logs(&self) -> Vec<(Box<str>, i32, Arc<CompactionLog>)> {
        let topics = read(&self.topics);
        let logs = topics.iter().flat_map(|(topic, logs)| {
            logs.iter().map(|(queue_id, log)| (topic.clone(), *queue_id, Arc::clone(log)))
        });
        logs.collect()
    }

    fn lock_topics(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Box<str>, Logs>> {
        write(&self.topics)
    }

    fn lock_feeds(&self) -> MutexGuard<'_, Feeds> {
        lock(&self.feeds)
    }
}
