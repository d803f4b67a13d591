//! The queue of decisions: batches of offsets in the half queue, each followed by a comma.
//!
//! Reference: `TransactionalOpBatchService`, `TransactionalMessageUtil` (broker), 5.5.0.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::message::{Message, RecordView, properties};
use oxmq_store::MessageStore;

use crate::again::{Again, store_again};
use crate::clock;
use crate::config::BrokerConfig;
use crate::sync::lock;
use crate::topic_validator::TRANS_OP_HALF_TOPIC;
use crate::unique_key::UniqueKeys;

/// Tag of a batch.
const REMOVE_TAG: &str = "d";

/// Collects decisions and writes them in batches.
#[derive(Debug)]
pub(super) struct OpQueue {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    store_host: SocketAddr,
    unique_keys: UniqueKeys,
    batch: Mutex<Batch>,
    written: Mutex<Written>,
}

/// What there is in the queue.
#[derive(Debug, Default)]
struct Written {
    /// Batches that may still be needed: offset there, and greatest offset in it.
    batches: VecDeque<(i64, i64)>,
    /// Offset behind the last batch.
    next: i64,
}

impl Written {
    fn add(&mut self, offset: i64, greatest: i64) {
        // Two threads may write at a time.
        let at = self.batches.partition_point(|(other, _)| *other < offset);
        self.batches.insert(at, (offset, greatest));
        self.next = self.next.max(offset + 1);
    }
}

#[derive(Debug, Default)]
struct Batch {
    body: String,
    greatest: i64,
    since: Option<Instant>,
}

impl OpQueue {
    pub(super) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        store_host: SocketAddr,
    ) -> Self {
        Self {
            config,
            store,
            unique_keys: UniqueKeys::new(store_host.ip()),
            store_host,
            batch: Mutex::default(),
            written: Mutex::default(),
        }
    }

    fn max_bytes(&self) -> usize {
        usize::try_from(self.config.transaction_op_msg_max_size).unwrap_or(0)
    }

    /// Adds a decision on the message at `half_offset`.
    pub(super) fn add(&self, half_offset: i64) {
        use std::fmt::Write as _;
        let full = {
            let mut batch = lock(&self.batch);
            batch.since.get_or_insert_with(Instant::now);
            batch.greatest = batch.greatest.max(half_offset);
            // Writing into a String cannot fail.
            let _ = write!(batch.body, "{half_offset},");
            (batch.body.len() >= self.max_bytes()).then(|| std::mem::take(&mut *batch))
        };
        if let Some(batch) = full {
            self.write(batch);
        }
    }

    /// Writes the batch if it has waited long enough.
    pub(super) fn tick(&self, now: Instant) {
        let interval = self.config.transaction_op_batch_interval.max(0).unsigned_abs();
        let interval = Duration::from_millis(interval.into());
        let is_due = |since: Instant| now.saturating_duration_since(since) >= interval;
        let due = {
            let mut batch = lock(&self.batch);
            batch.since.is_some_and(is_due).then(|| std::mem::take(&mut *batch))
        };
        if let Some(batch) = due {
            self.write(batch);
        }
    }

    /// Notes a decision by itself, for brokers before 5.0: they read no batches. Tells whether it is stored.
    pub(super) fn write_single(&self, half_offset: i64) -> bool {
        let offset = self.put(&half_offset.to_string());
        offset.inspect(|offset| lock(&self.written).add(*offset, half_offset)).is_some()
    }

    /// Writes what there is.
    pub(super) fn flush(&self) {
        let batch = std::mem::take(&mut *lock(&self.batch));
        if !batch.body.is_empty() {
            self.write(batch);
        }
    }

    /// Notes that batches are looked for from this offset on.
    pub(super) fn start_at(&self, offset: i64) {
        lock(&self.written).next = offset;
    }

    /// Notes a batch that was found in the queue.
    pub(super) fn found(&self, offset: i64, greatest: i64) {
        lock(&self.written).add(offset, greatest);
    }

    /// First batch that is needed when every message before `half_offset` is over.
    pub(super) fn needed_from(&self, half_offset: i64) -> i64 {
        let mut written = lock(&self.written);
        while written.batches.front().is_some_and(|(_, greatest)| *greatest < half_offset) {
            written.batches.pop_front();
        }
        written.batches.front().map_or(written.next, |(offset, _)| *offset)
    }

    /// Writes a batch, which is longer than it should be when the store took none for a while.
    fn write(&self, Batch { body, greatest, .. }: Batch) {
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(piece_of(rest, self.max_bytes()));
            let Some(offset) = self.put(piece) else { break };
            lock(&self.written).add(offset, greatest);
            rest = behind;
        }
        if !rest.is_empty() {
            // They are tried again with the next ones.
            let mut newer = lock(&self.batch);
            newer.body.insert_str(0, rest);
            newer.greatest = newer.greatest.max(greatest);
            newer.since.get_or_insert_with(Instant::now);
        }
    }

    /// Stores a batch and returns its offset, if the store takes it.
    fn put(&self, body: &str) -> Option<i64> {
        let mut text = Vec::new();
        properties::append(&mut text, properties::TAGS, REMOVE_TAG.as_bytes());
        let mut key = Vec::new();
        self.unique_keys.append_next(&mut key);
        properties::append(&mut text, properties::UNIQ_KEY, &key);
        let message = Message {
            born_timestamp_ms: clock::now_ms(),
            born_host: self.store_host,
            store_host: self.store_host,
            properties: &text,
            ..Message::new(TRANS_OP_HALF_TOPIC, 0, body.as_bytes())
        };
        match store_again(&self.store, &message) {
            Again::Stored(result) => Some(result.queue_offset),
            Again::NotNow(_) | Again::Never(_) => None,
        }
    }
}

/// Bytes of the decisions that fill a batch of `max_bytes`, or reach beyond it with the last one.
fn piece_of(body: &str, max_bytes: usize) -> usize {
    let last =
        body.as_bytes().iter().skip(max_bytes.saturating_sub(1)).position(|byte| *byte == b',');
    last.map_or(body.len(), |at| max_bytes.saturating_sub(1) + at + 1)
}

/// The offsets in a batch. Older brokers wrote one without a comma.
pub(super) fn offsets(record: RecordView<'_>) -> Vec<i64> {
    let is_batch = properties::property_str(record.properties(), properties::TAGS)
        .is_some_and(|tag| tag == REMOVE_TAG);
    if !is_batch {
        return Vec::new();
    }
    std::str::from_utf8(record.body())
        .map(|body| body.split(',').filter_map(|offset| offset.parse().ok()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use oxmq_store::StoreConfig;

    use super::*;
    use crate::again::Aside;
    use crate::config::BrokerSettings;
    use crate::transaction::testing::store;

    /// An empty queue whose batches are full with `max_bytes`.
    fn queue(store: Arc<MessageStore>, max_bytes: i32) -> OpQueue {
        let settings =
            BrokerSettings { transaction_op_msg_max_size: max_bytes, ..BrokerSettings::default() };
        let host = ([192, 0, 2, 2], 10911).into();
        OpQueue::new(Arc::new(BrokerConfig::new(settings)), store, host)
    }

    fn bodies(queue: &OpQueue) -> Vec<String> {
        let mut bodies = Vec::new();
        let op = Aside { store: &queue.store, topic: TRANS_OP_HALF_TOPIC, queue_id: 0 };
        op.walk(0, |record| {
            let tag = properties::property_str(record.properties(), "TAGS");
            assert_eq!(tag, Some("d"));
            bodies.push(String::from_utf8(record.body().to_vec()).unwrap());
            true
        });
        bodies
    }

    #[test]
    fn decisions_are_written_when_the_batch_is_full_or_its_time_is_over() {
        let (store, _dir) = store();
        let queue = queue(store, 8);
        let start = Instant::now();
        for offset in [120, 121] {
            queue.add(offset);
        }
        queue.add(7);
        assert_eq!(bodies(&queue), ["120,121,"]);
        queue.tick(start);
        assert_eq!(bodies(&queue).len(), 1);
        queue.tick(Instant::now() + Duration::from_secs(3));
        queue.add(9);
        queue.flush();
        queue.flush();
        assert_eq!(bodies(&queue), ["120,121,", "7,", "9,"]);
        assert_eq!(queue.needed_from(5), 0);
        assert_eq!(queue.needed_from(122), 3);
        // As the settings are then.
        let set = |transaction_op_msg_max_size, transaction_op_batch_interval| {
            let settings = BrokerSettings {
                transaction_op_msg_max_size,
                transaction_op_batch_interval,
                ..BrokerSettings::default()
            };
            queue.config.replace(settings).unwrap();
        };
        set(1, 3_000);
        queue.add(10);
        assert_eq!(bodies(&queue).len(), 4);
        set(8, 3_600_000);
        queue.add(11);
        queue.tick(Instant::now() + Duration::from_secs(3_599));
        assert_eq!(bodies(&queue).len(), 4);
        set(8, 1);
        queue.tick(Instant::now() + Duration::from_secs(1));
        assert_eq!(bodies(&queue).len(), 5);
    }

    #[test]
    fn batch_is_needed_as_long_as_one_of_its_messages_is() {
        let (store, _dir) = store();
        let queue = queue(store, 1);
        for (offset, greatest) in [(4, 10), (5, 30), (6, 20)] {
            queue.found(offset, greatest);
        }
        assert_eq!(queue.needed_from(10), 4);
        assert_eq!(queue.needed_from(11), 5);
        assert_eq!(queue.needed_from(25), 5);
        assert_eq!(queue.needed_from(31), 7);
    }

    #[test]
    fn decisions_that_could_not_be_written_for_long_are_written_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            mapped_file_size_commit_log: 1 << 20,
            max_message_size: 8,
            ..StoreConfig::in_dir(dir.path())
        };
        let queue = queue(MessageStore::open(config).unwrap(), 8);
        // The store took nothing meanwhile.
        let since = Some(Instant::now());
        *lock(&queue.batch) = Batch { body: "120,121,7,12,".to_owned(), greatest: 121, since };
        queue.flush();
        assert_eq!(bodies(&queue), ["120,121,", "7,12,"]);
        assert_eq!(lock(&queue.batch).body, "");
        assert_eq!((queue.needed_from(121), queue.needed_from(122)), (0, 2));
    }
}
