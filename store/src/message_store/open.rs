//! Opening a store.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use oxmq_protocol::live::Live;
use oxmq_protocol::message::EncodeOptions;
use tracing::info;

use super::announce::Announcer;
use super::recover::Recovery;
use super::{BatchTopics, Environment, MessageStore};
use crate::checkpoint::Checkpoint;
use crate::clean::Cleaner;
use crate::commit_log::{CommitLog, FlushPolicy, LogDirs};
use crate::compaction::{Compaction, Sizes as CompactionSizes};
use crate::config::{FlushDiskType, StoreConfig};
use crate::consume_queue::{Extender, QueueFiles, QueueKind, QueueTable, QueueWriter};
use crate::delay_level::DelayLevels;
use crate::disk::is_full;
use crate::error::{IoContext, StoreError};
use crate::fs::Fs;
use crate::index::{Index, IndexGeometry};
use crate::limits::{
    MAX_COMMIT_LOG_FILE_BYTES, MAX_EXTENDED_FILE_BYTES, MIN_COMMIT_LOG_FILE_BYTES,
    MIN_EXTENDED_FILE_BYTES,
};
use crate::memory::memory_bytes;
use crate::process_lock::ProcessLock;

/// What the machine is taken to have when it does not say.
const ASSUMED_MEMORY_BYTES: u64 = 8 << 30;

impl MessageStore {
    /// [`Self::open`] with a clock and a file system of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(
        config: StoreConfig,
        environment: Environment,
    ) -> Result<Arc<Self>, StoreError> {
        let Environment { clock, fs } = environment;
        let delay_levels = check_config(&config)?;
        let root = config.root_dir();
        fs.create_dir_all(&root).doing("create", &root)?;
        let lock = ProcessLock::take(&fs, &root)?;

        let abort_path = root.join("abort");
        let clean = !abort_path.exists();
        let checkpoint = Arc::new(Checkpoint::open(&fs, &root)?);
        let log_file_bytes = config.mapped_file_size_commit_log;
        let flushed_often = config.flush_disk_type == FlushDiskType::SyncFlush;
        let log = CommitLog::open(&fs, LogDirs::of(&config), log_file_bytes, flushed_often)?;
        let log = Arc::new(log);
        let queue_files = Arc::new(QueueFiles::new(fs.clone(), &config));
        let queues = Arc::new(QueueTable::default());
        let extender = queue_files.extends().then(|| Extender::new(Arc::clone(&log)));
        let queue_writer = Arc::new(QueueWriter::new(Arc::clone(&queue_files), extender));
        let batch_topics = BatchTopics::of_store(&root)?;
        Recovery {
            config: &config,
            delay_levels: &delay_levels,
            log: &log,
            queues: &queues,
            queue_files: &queue_files,
            queue_writer: &queue_writer,
            checkpoint: &checkpoint,
            batch_topics: &batch_topics,
            clean,
        }
        .run()?;
        let index = if config.message_index_enable && config.index_file_write_enable {
            let geometry =
                IndexGeometry { slots: config.max_hash_slot_num, entries: config.max_index_num };
            let (dir, checkpoint) = (root.join("index"), Arc::clone(&checkpoint));
            Some(Arc::new(Index::open(&fs, dir, geometry, checkpoint, clean, &log)?))
        } else {
            None
        };
        // What was read for all this stays in the page cache, and need not count as this process's.
        log.files().iter().for_each(|file| file.release(0, file.len()));
        write_abort(&fs, &abort_path)?;
        info!(
            root = %root.display(),
            clean,
            min_phy_offset = log.min_offset(),
            max_phy_offset = log.max_offset(),
            "store opened"
        );
        let flush_policy = FlushPolicy::of(&config);
        let has_light_queues = config.has_light_queues();
        let config = Arc::new(Live::new(config));
        let compaction = Arc::new(Compaction::new(
            fs.clone(),
            Arc::clone(&config),
            Arc::clone(&log),
            Arc::clone(&queues),
            Arc::clone(&queue_files),
            !clean,
        ));
        let cleaner = Arc::new(Cleaner::new(
            Arc::clone(&config),
            Environment { clock: clock.clone(), fs: fs.clone() },
            Arc::clone(&log),
            Arc::clone(&queues),
            Arc::clone(&queue_writer),
            index.clone(),
            Arc::clone(&compaction),
        ));
        let store = Arc::new(Self {
            encode: EncodeOptions {
                max_message_bytes: config.max_message_size,
                version_by_topic_length: config.auto_message_version_on_topic_len,
                append_property_crc: config.enabled_append_prop_crc,
            },
            flush_policy,
            memory_bytes: memory_bytes().unwrap_or(ASSUMED_MEMORY_BYTES),
            has_light_queues,
            config,
            clock,
            fs,
            delay_levels,
            batch_topics,
            log,
            queues,
            queue_files,
            queue_writer,
            index,
            compaction,
            checkpoint,
            cleaner,
            announcer: Arc::new(Announcer::new(has_light_queues)),
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            abort_path,
            clean,
            incomplete_from: Mutex::default(),
            workers: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        store.start_workers()?;
        Ok(store)
    }
}

pub(super) fn check_config(config: &StoreConfig) -> Result<DelayLevels, StoreError> {
    let file_bytes = config.mapped_file_size_commit_log;
    if !(MIN_COMMIT_LOG_FILE_BYTES..=MAX_COMMIT_LOG_FILE_BYTES).contains(&file_bytes) {
        return Err(StoreError::BadConfig(format!(
            "mappedFileSizeCommitLog {file_bytes} is not in \
             {MIN_COMMIT_LOG_FILE_BYTES}..={MAX_COMMIT_LOG_FILE_BYTES}"
        )));
    }
    if config.mapped_file_size_consume_queue == 0 {
        return Err(StoreError::BadConfig("mappedFileSizeConsumeQueue is 0".to_owned()));
    }
    let extended_bytes = config.mapped_file_size_consume_queue_ext;
    if !(MIN_EXTENDED_FILE_BYTES..=MAX_EXTENDED_FILE_BYTES).contains(&extended_bytes) {
        return Err(StoreError::BadConfig(format!(
            "mappedFileSizeConsumeQueueExt {extended_bytes} is not in \
             {MIN_EXTENDED_FILE_BYTES}..={MAX_EXTENDED_FILE_BYTES}"
        )));
    }
    let batch_bytes = config.mapper_file_size_batch_consume_queue;
    let unit_bytes = QueueKind::Batch.unit_bytes() as u64;
    if batch_bytes == 0 || !batch_bytes.is_multiple_of(unit_bytes) {
        return Err(StoreError::BadConfig(format!(
            "mapperFileSizeBatchConsumeQueue {batch_bytes} is no multiple of {unit_bytes}"
        )));
    }
    if config.enable_compaction && !CompactionSizes::of(config).are_possible() {
        return Err(StoreError::BadConfig(format!(
            "compactionCqMappedFileSize {} or compactionMappedFileSize {} is too small or too large",
            config.compaction_cq_mapped_file_size, config.compaction_mapped_file_size
        )));
    }
    if config.max_hash_slot_num == 0 || config.max_index_num < 2 {
        let what = "maxHashSlotNum or maxIndexNum leaves no room for an entry";
        return Err(StoreError::BadConfig(what.to_owned()));
    }
    DelayLevels::parse(&config.message_delay_level).ok_or_else(|| {
        StoreError::BadConfig(format!("messageDelayLevel {:?}", config.message_delay_level))
    })
}

/// Marks the store as running: if the mark is still there at the next open, this run crashed.
///
/// Reference: `DefaultMessageStore.createTempFile` (store), 5.5.0, which writes the process id.
fn write_abort(fs: &Fs, path: &Path) -> Result<(), StoreError> {
    let file = fs.create(path).doing("create", path)?;
    let id = std::process::id().to_string();
    match fs.write_at(&file, path, id.as_bytes(), 0) {
        // That there is a file says it, too.
        Err(error) if is_full(&error) => {}
        written => written.doing("write", path)?,
    }
    match path.parent() {
        Some(dir) => fs.sync_dir(dir).doing("flush", dir),
        None => Ok(()),
    }
}
