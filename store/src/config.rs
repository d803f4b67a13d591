//! Settings of the store: the reference's keys and defaults, declared once.

use std::path::{Path, PathBuf};

use oxmq_protocol::config::ConfigValue;

use crate::commit_log::LogDirs;
use crate::consume_queue::QueueKind;

/// When stored messages reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushDiskType {
    /// A message is answered once it is in memory; the disk follows.
    #[default]
    AsyncFlush,
    /// A message is answered once it is on disk.
    SyncFlush,
}

impl ConfigValue for FlushDiskType {
    const EXPECTED: &'static str = "ASYNC_FLUSH or SYNC_FLUSH";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "ASYNC_FLUSH" => Some(Self::AsyncFlush),
            "SYNC_FLUSH" => Some(Self::SyncFlush),
            _ => None,
        }
    }

    fn print(&self) -> String {
        match self {
            Self::AsyncFlush => "ASYNC_FLUSH".to_owned(),
            Self::SyncFlush => "SYNC_FLUSH".to_owned(),
        }
    }
}

/// How far apart the moments of the timer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerPrecision(u32);

impl TimerPrecision {
    /// What it can be, in milliseconds: the files of the timer are made for these.
    const STEPS_MS: [u32; 4] = [1_000, 500, 200, 100];

    /// The greatest that is no more than `ms`, or the least.
    ///
    /// Reference: `MessageStoreConfig.setTimerPrecisionMs` (store), 5.5.0.
    pub fn up_to(ms: i32) -> Self {
        let fits = |step: &u32| i64::from(*step) <= i64::from(ms);
        let [.., least] = Self::STEPS_MS;
        Self(Self::STEPS_MS.into_iter().find(fits).unwrap_or(least))
    }

    /// In milliseconds.
    pub fn ms(self) -> i64 {
        self.0.into()
    }
}

impl ConfigValue for TimerPrecision {
    const EXPECTED: &'static str = i32::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        i32::parse(text).map(Self::up_to)
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

oxmq_protocol::config! {
    /// Settings of a store. Field names are the reference's keys in Rust's spelling.
    ///
    /// Reference: `MessageStoreConfig` (store), 5.5.0.
    pub struct StoreConfig {
        /// Directory of the store.
        store_path_root_dir: String = "storePathRootDir" | default_root(),
        /// Directory of the commit log, or several with `,` between them; empty means `commitlog`
        /// in the store's directory.
        store_path_commit_log: String = "storePathCommitLog" | String::new(),
        /// Directories, with `,` between them, that have log files and get no new ones.
        read_only_commit_log_store_paths: String = "readOnlyCommitLogStorePaths" | String::new(),
        /// Bytes of a commit log file.
        mapped_file_size_commit_log: u64 = "mappedFileSizeCommitLog" | 1 << 30,
        /// Bytes of a consume-queue file, rounded up to whole units.
        mapped_file_size_consume_queue: u64 = "mappedFileSizeConsumeQueue" | 300_000 * 20,
        /// Bytes of a batch-queue file: a multiple of 46.
        mapper_file_size_batch_consume_queue: u64 = "mapperFileSizeBatchConsumeQueue" | 300_000 * 46,
        /// Whether units of queues lead to extended ones, which hold tags code, store time and
        /// filter bits.
        enable_consume_queue_ext: bool = "enableConsumeQueueExt" | false,
        /// Bytes of a file of extended units.
        mapped_file_size_consume_queue_ext: u64 = "mappedFileSizeConsumeQueueExt" | 48 << 20,
        /// Whether topics and groups with the prefix of light queues exist without being made, and,
        /// with `enableMultiDispatch`, messages go into the light queues that they name.
        enable_lmq: bool = "enableLmq" | false,
        /// Whether messages go into further queues that they name.
        enable_multi_dispatch: bool = "enableMultiDispatch" | false,
        /// Whether messages for more light queues than `maxLmqConsumeQueueNum` are refused.
        enable_lmq_quota: bool = "enableLmqQuota" | false,
        /// Light queues above which messages for new ones are refused, if they are.
        max_lmq_consume_queue_num: u32 = "maxLmqConsumeQueueNum" | 20_000,
        /// Whether only the latest message of each key of a topic with `cleanup.policy=COMPACTION` is kept.
        enable_compaction: bool = "enableCompaction" | true,
        /// Bytes of a file of a compacted log, rounded to a multiple of those of its queue.
        compaction_mapped_file_size: u64 = "compactionMappedFileSize" | 100 << 20,
        /// Bytes of a file of the queue of a compacted log, rounded down to whole units of 46 bytes.
        compaction_cq_mapped_file_size: u64 = "compactionCqMappedFileSize" | 10 << 20,
        /// Milliseconds between compactions of what has been closed since the last one.
        compaction_schedule_internal: u64 = "compactionScheduleInternal" | 900_000,
        /// Bytes for the keys that one compaction looks at; keys that do not fit are looked at by the next.
        max_offset_map_size: u64 = "maxOffsetMapSize" | 100 << 20,
        /// Hash slots of an index file.
        max_hash_slot_num: u32 = "maxHashSlotNum" | 5_000_000,
        /// Entries of an index file, of which the first is not used.
        max_index_num: u32 = "maxIndexNum" | 20_000_000,
        /// Whether messages are indexed by their keys.
        message_index_enable: bool = "messageIndexEnable" | true,
        /// Whether that index is in files: there is no other.
        index_file_write_enable: bool = "indexFileWriteEnable" | true,
        /// Whether queries by key look into these files.
        index_file_read_enable: bool = "indexFileReadEnable" | true,
        /// Most messages that a query by unique key returns.
        default_query_max_num: u32 = "defaultQueryMaxNum" | 32,
        /// Most messages that a query by key returns.
        max_msgs_num_batch: u32 = "maxMsgsNumBatch" | 64,
        /// Largest body in bytes.
        max_message_size: usize = "maxMessageSize" | 4 << 20,
        /// Whether topics over 127 bytes make version 2 records.
        auto_message_version_on_topic_len: bool = "autoMessageVersionOnTopicLen" | true,
        /// Whether records end in a checksum of the whole record.
        enabled_append_prop_crc: bool = "enabledAppendPropCRC" | false,
        /// Whether recovery demands that checksum.
        force_verify_prop_crc: bool = "forceVerifyPropCRC" | false,
        /// Whether recovery checks body checksums.
        check_crc_on_recover: bool = "checkCRCOnRecover" | true,
        /// When stored messages reach the disk.
        flush_disk_type: FlushDiskType = "flushDiskType" | FlushDiskType::AsyncFlush,
        /// Milliseconds between log flushes that nobody waits for.
        flush_interval_commit_log: u64 = "flushIntervalCommitLog" | 500,
        /// Pages of 4 KiB that make a log flush worthwhile before the thorough interval is over; 0 has
        /// everything flushed each time.
        flush_commit_log_least_pages: u64 = "flushCommitLogLeastPages" | 4,
        /// Milliseconds after which the log is flushed however little there is.
        flush_commit_log_thorough_interval: u64 = "flushCommitLogThoroughInterval" | 10_000,
        /// Milliseconds that a sender waits for a flush.
        sync_flush_timeout: u64 = "syncFlushTimeout" | 5_000,
        /// Milliseconds between saves of how far delay levels have got.
        flush_delay_offset_interval: u64 = "flushDelayOffsetInterval" | 10_000,
        /// Milliseconds between writes of consume queues.
        flush_interval_consume_queue: u64 = "flushIntervalConsumeQueue" | 1_000,
        /// Milliseconds between syncs of all consume queues.
        flush_consume_queue_thorough_interval: u64 = "flushConsumeQueueThoroughInterval" | 60_000,
        /// Bytes of one pull from memory.
        max_transfer_bytes_on_message_in_memory: usize = "maxTransferBytesOnMessageInMemory" | 256 << 10,
        /// Messages of one pull from memory.
        max_transfer_count_on_message_in_memory: u32 = "maxTransferCountOnMessageInMemory" | 32,
        /// Bytes of one pull from disk. The reference has 64 KiB; larger reads drain a backlog faster.
        max_transfer_bytes_on_message_in_disk: usize = "maxTransferBytesOnMessageInDisk" | 256 << 10,
        /// Messages of one pull from disk. The reference has 8.
        max_transfer_count_on_message_in_disk: u32 = "maxTransferCountOnMessageInDisk" | 32,
        /// Percent of the machine's memory in which the newest messages are taken to be.
        access_message_in_memory_max_ratio: u32 = "accessMessageInMemoryMaxRatio" | 40,
        /// Bytes of consume-queue units that one pull looks at.
        max_filter_message_size: usize = "maxFilterMessageSize" | 16_000,
        /// Whether messages may be read before they are flushed as configured.
        read_un_committed: bool = "readUnCommitted" | false,
        /// Milliseconds for which the log may be locked before senders are refused.
        os_page_cache_busy_time_out_mills: u64 = "osPageCacheBusyTimeOutMills" | 1_000,
        /// Delay levels, from 1, in words such as `10s 1m`.
        message_delay_level: String = "messageDelayLevel" | "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned(),
        /// Milliseconds that messages of one moment of the timer lie apart at most: 100, 200, 500 or
        /// 1000, to which others are lowered. Of a store that has waiting messages it cannot be changed.
        timer_precision_ms: TimerPrecision = "timerPrecisionMs" | TimerPrecision::up_to(1_000),
        /// Bytes of one file of the timer log.
        mapped_file_size_timer_log: u64 = "mappedFileSizeTimerLog" | 100 << 20,
        /// Moments ahead after which a message is put back to wait for the rest of its time.
        timer_roll_window_slot: u32 = "timerRollWindowSlot" | 172_800,
        /// Longest time ahead, in seconds, that a message may be sent for.
        timer_max_delay_sec: u32 = "timerMaxDelaySec" | 259_200,
        /// Milliseconds between saves of how far the timer has got.
        timer_flush_interval_ms: u64 = "timerFlushIntervalMs" | 1_000,
        /// Messages of one moment above which senders are refused now and then, and always above
        /// twice as many.
        timer_congest_num_each_slot: i32 = "timerCongestNumEachSlot" | i32::MAX,
        /// Whether messages are left in the timer's queue.
        timer_stop_enqueue: bool = "timerStopEnqueue" | false,
        /// Whether a recall names the topic beside the message.
        append_topic_for_timer_delete_key: bool = "appendTopicForTimerDeleteKey" | false,
        /// Milliseconds between looks for deletable files.
        clean_resource_interval: u64 = "cleanResourceInterval" | 10_000,
        /// Hours of the day, separated by `;`, in which expired files are deleted.
        delete_when: String = "deleteWhen" | "04".to_owned(),
        /// Hours after which a log file is expired.
        file_reserved_time: u64 = "fileReservedTime" | 72,
        /// Most log files deleted in one round.
        delete_file_batch_max: usize = "deleteFileBatchMax" | 10,
        /// Percent of disk use above which expired files are deleted at any hour.
        disk_max_used_space_ratio: u32 = "diskMaxUsedSpaceRatio" | 75,
        /// Percent of disk use above which files are deleted before they expire.
        disk_space_clean_forcibly_ratio: u32 = "diskSpaceCleanForciblyRatio" | 85,
        /// Percent of disk use above which senders are refused, and files are deleted before they expire.
        disk_space_warning_level_ratio: u32 = "diskSpaceWarningLevelRatio" | 90,
        /// Whether files may be deleted before they expire.
        clean_file_forcibly_enable: bool = "cleanFileForciblyEnable" | true,
    }
}

impl StoreConfig {
    /// The defaults, with the store in `root`.
    pub fn in_dir(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref().to_string_lossy().into_owned();
        Self { store_path_root_dir: root, ..Self::default() }
    }

    /// Directory of the store.
    pub fn root_dir(&self) -> PathBuf {
        PathBuf::from(&self.store_path_root_dir)
    }

    /// Bytes of a file of queues of this kind.
    pub(crate) fn queue_file_bytes(&self, kind: QueueKind) -> u64 {
        let configured = match kind {
            QueueKind::Simple => self.mapped_file_size_consume_queue,
            QueueKind::Batch => self.mapper_file_size_batch_consume_queue,
        };
        configured.next_multiple_of(kind.unit_bytes() as u64)
    }

    /// Directories in which files of the commit log are made.
    pub fn commit_log_dirs(&self) -> Vec<PathBuf> {
        LogDirs::of(self).writable().to_vec()
    }

    /// Directory of the commit log, the first one if there are several.
    pub fn commit_log_dir(&self) -> PathBuf {
        LogDirs::of(self).writable()[0].clone()
    }
}

fn default_root() -> String {
    format!("{}/store", std::env::var("HOME").unwrap_or_else(|_| ".".to_owned()))
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::config::Config;

    use super::*;

    #[test]
    fn precision_of_the_timer_is_lowered_to_one_that_its_files_are_made_for() {
        let mut config = StoreConfig::default();
        assert_eq!(config.get("timerPrecisionMs").as_deref(), Some("1000"));
        for (text, precision) in [
            ("-1", "100"),
            ("50", "100"),
            ("199", "100"),
            ("200", "200"),
            ("499", "200"),
            ("999", "500"),
            ("5000", "1000"),
        ] {
            assert_eq!(config.set("timerPrecisionMs", text), Some(Ok(())));
            assert_eq!(config.get("timerPrecisionMs").as_deref(), Some(precision), "{text}");
        }
        assert!(matches!(config.set("timerPrecisionMs", "1s"), Some(Err(_))));
    }

    #[test]
    fn flush_type_reads_the_names_of_the_reference() {
        let mut config = StoreConfig::default();
        assert_eq!(config.set("flushDiskType", "SYNC_FLUSH"), Some(Ok(())));
        assert_eq!(config.flush_disk_type, FlushDiskType::SyncFlush);
        assert!(matches!(config.set("flushDiskType", "NEVER"), Some(Err(_))));
    }
}
