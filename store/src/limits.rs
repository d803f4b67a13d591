//! Named limits of the store, each beside the reason for it.

use std::time::Duration;

/// Smallest commit log file: a record of a few bytes, and the filler behind it.
pub const MIN_COMMIT_LOG_FILE_BYTES: u64 = 4096;

/// Largest commit log file: the reference counts positions in it with signed 32-bit numbers.
pub const MAX_COMMIT_LOG_FILE_BYTES: u64 = i32::MAX as u64;

/// Smallest file of extended units: one unit without filter bits, and the end behind it.
pub const MIN_EXTENDED_FILE_BYTES: u64 = 24;

/// Largest file of extended units: the reference counts positions in it with signed 32-bit numbers.
pub const MAX_EXTENDED_FILE_BYTES: u64 = i32::MAX as u64;

/// Open consume-queue files at a time. A reopened file costs some microseconds; a store may have
/// far more queue files than a process may have descriptors.
pub const MAX_OPEN_QUEUE_FILES: usize = 512;

/// Of the descriptors that the process may have, open consume-queue files take no more than this part, and as much
/// again those that have been closed but not synced.
pub const PART_OF_DESCRIPTORS_FOR_QUEUES: u64 = 8;

/// Units of a queue that stay in memory after they reached its file, for consumers close behind.
pub const HOT_UNITS: usize = 256;

/// Unwritten units of one queue that wake its writer before the interval is over.
pub const WAKE_WRITER_AT_UNITS: usize = 64 * 1024;

/// Queues whose units are written in one round, at least.
pub const QUEUES_WRITTEN_AT_ONCE: usize = 1024;

/// Rounds in which all queues are written once, at most. Recovery reads the log of up to two such sweeps
/// again, half a minute of it; the reference makes its queues durable each minute.
pub const SWEEP_ROUNDS: usize = 16;

/// Units written to a queue file by one call.
pub const WRITE_UNITS_AT_ONCE: usize = 64 * 1024;

/// Units read first when a pull looks for messages: as many as most pulls want.
pub const READ_UNITS_AT_ONCE: usize = 32;

/// Units read at a time when those were not enough, as a filter wants few of them.
pub const READ_MORE_UNITS_AT_ONCE: usize = 256;

/// Units whose records are looked for in the page cache at a time once some may have been pushed out of it.
pub const CHECK_UNITS_AT_ONCE: usize = 32;

/// Log bytes that are looked for in the page cache as a whole. Of more, only parts are.
pub const CHECK_BYTES_AT_ONCE: i64 = 256 << 10;

/// Log bytes that the kernel is asked to read at once for a pull that waits for the disk, and for those after it.
pub const READ_AHEAD_BYTES: usize = 1 << 20;

/// Queue files synced one by one in a round; more are synced by one call for the whole file system.
pub const SYNC_FILES_ONE_BY_ONE: usize = 64;

/// Log bytes that are populated ahead of the write position of a quiet store.
pub const MIN_POPULATE_BYTES: u64 = 1 << 20;

/// Log bytes that are populated ahead of the write position of a busy store. More would leave the
/// processor's cache before they are written.
pub const MAX_POPULATE_BYTES: u64 = 16 << 20;

/// Bytes made ready at a time for a busy store. Where a flush is waited for it has to write little more
/// than it must, so that steps stay small.
pub const BUSY_STEP_BYTES: u64 = 512 << 10;

/// Bytes made ready at a time for a quiet store. A flush of one of its records takes as long as one of
/// a single page; a flush of many is quicker than with any other size.
pub const QUIET_STEP_BYTES: u64 = 64 << 10;

/// Bytes of zeros written by one call: the kernel keeps them in one piece, which costs a part of single
/// pages. For larger pieces (`PAGE_ALLOC_COSTLY_ORDER`) it moves other pages together, once all memory is
/// in use, and that costs more than the pieces save.
pub const PAGE_PIECE_BYTES: usize = 32 << 10;

/// A flush of no more bytes than this, on the average, gains more from blocks that have been written before
/// than it costs to write them twice.
pub const SMALL_FLUSH_BYTES: u64 = 128 << 10;

/// Distance of the log's helper from which on a store counts as busy.
pub const BUSY_FROM_BYTES: u64 = 4 << 20;

/// Records in memory that no file has, where senders wait for the disk. A flush writes them; beyond
/// this, whoever has another one writes them first. As much again may be on its way into the files.
pub const MAX_UNWRITTEN_BYTES: usize = 4 << 20;

/// Log bytes for which disk blocks are reserved at a time.
pub const ALLOCATE_STEP_BYTES: u64 = 16 << 20;

/// Log bytes behind the write position that stay mapped, for consumers close behind.
pub const KEEP_MAPPED_BYTES: u64 = 16 << 20;

/// Bytes of a pull body, whatever is asked for.
///
/// Reference: `DefaultMessageStore.MAX_PULL_MSG_SIZE` (store), 5.5.0.
pub const MAX_PULL_BYTES: usize = 128 << 20;

/// Bytes of one metadata file; a larger one is not read.
pub const MAX_JSON_FILE_BYTES: u64 = 1 << 30;

/// Bytes of changes that wait for their metadata file to be written; some 200 000 topics. Beyond, each
/// change waits for the file itself.
pub const MAX_JOURNAL_BYTES: usize = 64 << 20;

/// Bytes of a topic name as a directory name.
pub const MAX_TOPIC_DIR_BYTES: usize = 255;

/// What a thread keeps for encoding its next message, in bytes.
pub const KEPT_SCRATCH_BYTES: usize = 256 << 10;

/// Offsets that a record may claim: beyond, the byte position of its unit would not be a number.
pub const MAX_QUEUE_OFFSET: i64 = i64::MAX / 32;

/// Recovered units that are kept in memory, to be written once messages are taken again; beyond, they are written
/// at once.
pub const WRITE_AFTER_RECOVERED_UNITS: u64 = 4 << 20;

/// Disk space that is left to others, and to deleting: below it, messages are refused.
pub const RESERVED_DISK_BYTES: u64 = 32 << 20;

/// Distance from the log's end within which records are taken to be in the page cache without asking:
/// the writer keeps this much mapped.
pub const SURELY_CACHED_BYTES: i64 = 32 << 20;

/// Keys of appended records that wait for the index, of 24 bytes each; beyond, it reads the log.
pub const MAX_FED_ENTRIES: usize = 128 << 10;

/// Bytes of extended units that are read by one call.
pub const READ_EXTENDED_BYTES_AT_ONCE: usize = 16 << 10;

/// Bytes of extended units that are written by one call.
pub const WRITE_EXTENDED_BYTES_AT_ONCE: usize = 1 << 20;

/// A flush that usually takes no longer than this is done by a thread that serves connections, when only
/// one of their requests waits for it. It costs the others of that thread as much time, and spares this one
/// two wake-ups of a thread.
pub const QUICK_FLUSH: Duration = Duration::from_micros(300);

/// Bytes of the keys that one compaction looks at, however few are configured: some keys at least.
pub const MIN_OFFSET_MAP_BYTES: u64 = 4 << 10;

/// Bytes of a compacted log for which disk blocks are reserved at a time.
pub const COMPACTION_ALLOCATE_STEP_BYTES: usize = 1 << 20;

/// Units of a compacted topic that are read at a time to copy their records.
pub const COPY_UNITS_AT_ONCE: usize = 256;

/// Light queues of a store, whatever is configured: each stays in memory with its name.
pub const MAX_LIGHT_QUEUES: usize = 1 << 20;

/// How far the newest store time may be ahead of a sender's clock without that having been set back: senders look at
/// it before they wait for the log's lock.
pub const CLOCK_SET_BACK_MS: i64 = 1_000;

/// Queues of messages that are put together: the tails of all are held while these are appended.
pub const MAX_QUEUES_TOGETHER: usize = 8;

/// Messages that are put together: others wait for the log as long as these are appended.
pub const MAX_PUT_TOGETHER: usize = 32;

/// Bytes of messages that are put together, and the part of a log file, as all go into one.
pub const MAX_BYTES_PUT_TOGETHER: usize = 64 << 10;
/// See [`MAX_BYTES_PUT_TOGETHER`].
pub const PART_OF_FILE_PUT_TOGETHER: u64 = 64;
