//! Messages that are kept aside and stored again later, under the name they were sent to.
//!
//! Delay levels, redeliveries, timers and transactions differ in when a message is stored again;
//! where it comes from, where it belongs and how it is stored is the same for all of them.

use oxmq_protocol::message::{Message, RecordView, properties};
use oxmq_store::{GetMessageResult, MessageStore, PutMessageResult, PutMessageStatus};
use tracing::warn;

/// Messages read at a time.
const MESSAGES_PER_READ: u32 = 32;
/// Bytes read at a time.
const BYTES_PER_READ: usize = 256 * 1024;

/// Where a message belongs that is kept aside under another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
}

impl<'a> Home<'a> {
    /// Reads what [`Home::note`] has written.
    pub(crate) fn of(text: &'a [u8]) -> Option<Self> {
        let topic = properties::property_str(text, properties::REAL_TOPIC)?;
        let queue_id = properties::property_str(text, properties::REAL_QUEUE_ID)?.parse().ok()?;
        Some(Self { topic, queue_id })
    }

    /// Writes into a message's properties where it belongs.
    pub(crate) fn note(self, text: &mut Vec<u8>) {
        properties::set(text, properties::REAL_TOPIC, self.topic.as_bytes());
        properties::set(text, properties::REAL_QUEUE_ID, self.queue_id.to_string().as_bytes());
    }
}

/// What became of a message that was to be stored again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is in the log.
    Stored(PutMessageResult),
    /// The store takes nothing at the moment: it is to be tried again.
    NotNow(PutMessageStatus),
    /// It cannot be stored like this, ever.
    Never(PutMessageStatus),
}

impl Again {
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }
}

/// Stores a message again, and says in the log when that fails.
pub(crate) fn store_again(store: &MessageStore, message: &Message<'_>) -> Again {
    use PutMessageStatus as Status;
    let result = store.put_again(message);
    let status = match result.status {
        status if !status.is_stored() => status,
        _ if store.flush_soon() => return Again::Stored(result),
        _ => Status::ServiceNotAvailable,
    };
    let (topic, queue_id) = (message.topic, message.queue_id);
    warn!(topic, queue_id, ?status, "message not stored again");
    match status {
        Status::MessageIllegal | Status::PropertiesSizeExceeded | Status::WheelTimerMsgIllegal => {
            Again::Never(status)
        }
        _ => Again::NotNow(status),
    }
}

/// One queue of a topic for messages kept aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aside<'a> {
    pub(crate) store: &'a MessageStore,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
}

impl Aside<'_> {
    /// Replaces `records` by some messages from `offset` on, as many as `wants`, which gets tags
    /// codes, says.
    pub(crate) fn read(
        &self,
        offset: i64,
        records: &mut Vec<u8>,
        mut wants: impl FnMut(i64) -> bool,
    ) -> GetMessageResult {
        records.clear();
        self.store.get_message(
            self.topic,
            self.queue_id,
            offset,
            MESSAGES_PER_READ,
            BYTES_PER_READ,
            |tags_code, _| wants(tags_code),
            records,
        )
    }

    /// Hands every message from `offset` on to `each`, which says whether to go on.
    ///
    /// Returns the offset behind the last one; what cannot be read any more is passed over.
    pub(crate) fn walk(&self, offset: i64, mut each: impl FnMut(RecordView<'_>) -> bool) -> i64 {
        let mut records = Vec::new();
        let mut next = offset;
        loop {
            let result = self.read(next, &mut records, |_| true);
            let begin = next;
            for record in split(&records) {
                if !each(record) {
                    return record.queue_offset();
                }
                next = record.queue_offset() + 1;
            }
            if records.is_empty() {
                next = result.next_begin_offset;
            }
            if next <= begin {
                return begin;
            }
        }
    }
}

/// The records that lie back to back in `bytes`.
pub(crate) fn split(mut bytes: &[u8]) -> impl Iterator<Item = RecordView<'_>> {
    std::iter::from_fn(move || {
        let record = RecordView::parse(bytes).ok()?;
        bytes = bytes.get(record.total_bytes()..)?;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use oxmq_store::{Environment, FlushDiskType, Fs, FsOp, StoreConfig};

    use super::*;

    #[test]
    fn message_that_cannot_be_written_is_to_be_stored_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            flush_disk_type: FlushDiskType::SyncFlush,
            flush_interval_commit_log: 3_600_000,
            mapped_file_size_commit_log: 1 << 20,
            ..StoreConfig::in_dir(dir.path())
        };
        let is_full = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&is_full);
        let fs = Fs::with_fault(move |op, path| {
            let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
            if fails.load(Ordering::Relaxed) && op == FsOp::Write && is_log {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Ok(())
        });
        let environment = Environment { fs, ..Environment::default() };
        let store = MessageStore::open_with(config, environment).unwrap();
        let message = Message::new("t", 0, b"x");
        assert!(store_again(&store, &message).is_stored());
        is_full.store(true, Ordering::Relaxed);
        let end = store.max_phy_offset();
        let again = store_again(&store, &message);
        assert_eq!(again, Again::NotNow(PutMessageStatus::ServiceNotAvailable));
        assert!(store.max_phy_offset() > end, "it is in memory");
        is_full.store(false, Ordering::Relaxed);
    }

    #[test]
    fn message_that_was_taken_is_stored_again_whatever_the_limit_is_by_now() {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { max_message_size: 2_000, ..StoreConfig::in_dir(dir.path()) };
        let store = MessageStore::open(config.clone()).unwrap();
        let message = Message::new("t", 0, &[b'x'; 2_000]);
        assert!(store.put_message(&message).status.is_stored());
        store.change_config(StoreConfig { max_message_size: 1_000, ..config }).unwrap();
        assert_eq!(store.put_message(&message).status, PutMessageStatus::MessageIllegal);
        assert!(store_again(&store, &message).is_stored());
    }

    #[test]
    fn home_is_read_as_it_was_noted() {
        let mut text = b"REAL_TOPIC\x01old\x02KEYS\x01k".to_vec();
        assert_eq!(Home::of(&text), None);
        let home = Home { topic: "orders", queue_id: 3 };
        home.note(&mut text);
        assert_eq!(Home::of(&text), Some(home));
        assert_eq!(text, b"KEYS\x01k\x02REAL_TOPIC\x01orders\x02REAL_QID\x013\x02");
    }
}
