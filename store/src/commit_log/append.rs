//! Appending under the one append lock.
//!
//! Under the lock: the queue's next offset is read, the record is patched and copied, the unit is
//! pushed, the new end is published. No allocation of disk, no system call and no page fault happens
//! there while the helper of [`super::ahead`] keeps up: with SYNC_FLUSH the copy goes into a buffer,
//! which [`super::unwritten`] brings into the file.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use oxmq_protocol::message::record::{self, BLANK_HEAD_BYTES};

use super::CommitLog;
use crate::consume_queue::{BatchUnit, ConsumeQueue, PushOutcome, QueueKind, QueueTail, Unit};
use crate::disk::is_full;
use crate::index::feed::{Entry, KeyFeed};
use crate::limits::{CLOCK_SET_BACK_MS, MAX_QUEUES_TOGETHER};
use crate::mapped_file::{MappedWriter, Unwritten};
use crate::message_store::LightQueues;
use crate::sync::lock;

/// Encoded records that are appended together.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    /// The records, back to back.
    pub(crate) bytes: &'a mut [u8],
    /// One span for each record.
    pub(crate) spans: &'a [RecordSpan],
    /// Whether a checksum of the whole record ends each one.
    pub(crate) sealed: bool,
    /// Where the keys go, and the keys; nothing where the index reads the log.
    pub(crate) keys: Option<(&'a KeyFeed, &'a [RecordKey])>,
    /// The one record's messages, when it holds many.
    pub(crate) inner: Option<InnerBatch>,
    /// The one record's light queues.
    pub(crate) light: Option<&'a mut LightQueues>,
}

/// One key of one of several records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordKey {
    /// Where the record begins among the encoded ones.
    pub(crate) at: usize,
    pub(crate) hash: i32,
}

/// A record of many messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InnerBatch {
    pub(crate) count: i16,
    /// Where in the record the offset of the first message stands, in [`INNER_BASE_DIGITS`] digits.
    pub(crate) base_at: usize,
}

/// Digits of the offset of the first message: every number has as many, so that a record's length
/// is known before its offset is.
pub(crate) const INNER_BASE_DIGITS: usize = 19;

/// Where one of several records ends, and what its unit gets as tags code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordSpan {
    pub(crate) end: usize,
    pub(crate) tags: Tags,
    /// Which of the queues it goes into.
    pub(crate) queue: usize,
}

/// The tags code of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Known from the message.
    Code(i64),
    /// The time of delivery: this many milliseconds after the store time.
    DeliverAfterMs(i64),
}

impl Tags {
    pub(crate) fn code(self, store_timestamp_ms: i64) -> i64 {
        match self {
            Self::Code(code) => code,
            Self::DeliverAfterMs(delay) => store_timestamp_ms.saturating_add(delay),
        }
    }
}

/// One of each queue of records that are appended together.
type Each<T> = [T; MAX_QUEUES_TOGETHER];

/// Where records went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) phy_offset: i64,
    /// The offset of the first record of each queue.
    pub(crate) queue_offsets: Each<i64>,
    pub(crate) store_timestamp_ms: i64,
    pub(crate) pushes: Each<PushOutcome>,
}

/// Tails of the queues of records, held while these are appended. Only the holder of the append lock holds several.
struct Tails<'a>(Each<Option<MutexGuard<'a, QueueTail>>>);

impl<'a> Tails<'a> {
    fn lock(queues: &'a [Arc<ConsumeQueue>]) -> Result<Self, AppendError> {
        let mut tails = Each::default();
        for (slot, queue) in tails.iter_mut().zip(queues) {
            let tail = queue.lock();
            if tail.is_deleted() {
                return Err(AppendError::QueueDeleted);
            }
            *slot = Some(tail);
        }
        Ok(Self(tails))
    }

    /// The offset that comes next in each.
    fn next_offsets(&self) -> Each<i64> {
        self.0.each_ref().map(|tail| tail.as_ref().map_or(0, |tail| tail.next_offset()))
    }

    fn of(&mut self, span: &RecordSpan) -> Option<&mut QueueTail> {
        self.0[span.queue].as_deref_mut()
    }
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The queue was deleted meanwhile: look it up again.
    QueueDeleted,
    /// The records fit into no file.
    TooLarge,
    /// The store has been closed meanwhile.
    Closed,
    /// What is in memory cannot be written, so that nothing is added to it.
    NotWritten(io::Error),
    /// There is no disk space, or a file cannot be made.
    NoFile(io::Error),
}

/// The end of the log, owned by whoever holds the append lock.
#[derive(Debug, Default)]
pub(super) struct Appender {
    /// Nothing before the first file of an empty log.
    pub(super) writer: Option<MappedWriter>,
    /// What is not in the files before that of `writer`.
    pub(super) rolled: Vec<Unwritten>,
    /// Store time of the newest record: it never goes backwards.
    pub(super) last_store_timestamp_ms: i64,
}

impl CommitLog {
    /// Appends `records` and pushes their units onto `queues`, at most [`MAX_QUEUES_TOGETHER`] and each once;
    /// without queues they get offset 0.
    pub(crate) fn append(
        &self,
        records: &mut Records<'_>,
        queues: &[Arc<ConsumeQueue>],
        now_ms: i64,
        still_open: impl FnOnce() -> bool,
    ) -> Result<Appended, AppendError> {
        self.make_room(now_ms).map_err(AppendError::NotWritten)?;
        let (appended, wake_ahead) = {
            let mut appender = self.lock_appender();
            // Under the lock, so that whoever closes the store and then takes the lock sees the end.
            if !still_open() {
                return Err(AppendError::Closed);
            }
            self.held_since_ms.store(now_ms, Ordering::Relaxed);
            let appended = self.append_locked(&mut appender, records, queues, now_ms);
            self.held_since_ms.store(0, Ordering::Relaxed);
            (appended?, self.ahead.is_due(self.end.load(Ordering::Relaxed)))
        };
        if wake_ahead {
            self.ahead.wake();
        }
        Ok(appended)
    }

    fn append_locked(
        &self,
        appender: &mut Appender,
        records: &mut Records<'_>,
        queues: &[Arc<ConsumeQueue>],
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let end_before = self.max_offset();
        let store_timestamp_ms = now_ms.max(appender.last_store_timestamp_ms);
        let writer = self.writer_with_room(appender, records.bytes.len())?;
        let phy_offset = writer.file().start() + writer.position() as i64;

        let mut tails = Tails::lock(queues)?;
        let queue_offsets = tails.next_offsets();
        let mut light_tails = match &records.light {
            Some(light) => light.lock(queues.first().map(Arc::as_ref))?,
            None => Vec::new(),
        };

        let mut begin = 0;
        let mut next_offsets = queue_offsets;
        for span in records.spans {
            let queue_offset = next_offsets[span.queue];
            next_offsets[span.queue] += i64::from(!queues.is_empty());
            let record = &mut records.bytes[begin..span.end];
            record::patch(record, queue_offset, phy_offset + begin as i64, store_timestamp_ms);
            if let Some(InnerBatch { base_at, .. }) = records.inner {
                let digits = format!("{queue_offset:0INNER_BASE_DIGITS$}");
                record[base_at..base_at + INNER_BASE_DIGITS].copy_from_slice(digits.as_bytes());
            }
            if let Some(light) = &records.light {
                light.fill_in(&light_tails, queue_offset, record);
            }
            if records.sealed {
                record::seal_property_crc(record);
            }
            begin = span.end;
        }
        writer.append(records.bytes).map_err(AppendError::NoFile)?;
        // Published before the units are: whoever finds a unit finds its record.
        let end = phy_offset + records.bytes.len() as i64;
        self.end.store(end, Ordering::Release);
        if let Some((feed, keys)) = records.keys {
            let entry = |key: &RecordKey| Entry {
                hash: key.hash,
                phy_offset: phy_offset + key.at as i64,
                timestamp_ms: store_timestamp_ms,
            };
            feed.push(end_before, end, keys.iter().map(entry));
        }

        // Where the clock has been set back, store times wait for it. A delay does not.
        let is_set_back = store_timestamp_ms.saturating_sub(now_ms) > CLOCK_SET_BACK_MS;
        let delayed_from_ms = if is_set_back { now_ms } else { store_timestamp_ms };
        let mut pushes = [PushOutcome::Done; MAX_QUEUES_TOGETHER];
        let mut light_appended = Vec::new();
        let mut begin = 0;
        for span in records.spans {
            let Some(tail) = tails.of(span) else { break };
            let unit = Unit {
                phy_offset: phy_offset + begin as i64,
                size: (span.end - begin) as i32,
                tags_code: span.tags.code(delayed_from_ms),
            };
            let push = match tail.kind() {
                QueueKind::Simple => tail.push(&unit),
                QueueKind::Batch => {
                    let count = records.inner.map_or(1, |inner| inner.count);
                    let base_offset = tail.next_offset();
                    tail.push_batch(&BatchUnit { unit, store_timestamp_ms, base_offset, count })
                }
            };
            pushes[span.queue] = pushes[span.queue].max(push);
            if records.light.is_some() {
                light_appended = LightQueues::push(&mut light_tails, &unit);
            }
            begin = span.end;
        }
        drop(light_tails);
        if let Some(light) = &mut records.light {
            light.note_appended(light_appended);
        }
        appender.last_store_timestamp_ms = store_timestamp_ms;
        let messages = records.inner.map_or(records.spans.len(), |inner| inner.count as usize);
        self.appended.note(messages, records.bytes.len());
        Ok(Appended { phy_offset, queue_offsets, store_timestamp_ms, pushes })
    }

    /// The writer of the file into which `bytes` go, with disk blocks reserved for them.
    fn writer_with_room<'a>(
        &self,
        appender: &'a mut Appender,
        bytes: usize,
    ) -> Result<&'a mut MappedWriter, AppendError> {
        let needed = bytes + BLANK_HEAD_BYTES;
        if needed as u64 > self.file_bytes {
            return Err(AppendError::TooLarge);
        }
        if appender.writer.as_ref().is_none_or(|writer| writer.remaining() < needed) {
            self.roll(appender).map_err(AppendError::NoFile)?;
        }
        let reserve = |appender: &Appender| match &appender.writer {
            Some(writer) => self.reserve(writer, needed),
            None => Ok(()),
        };
        if let Err(error) = reserve(appender) {
            if !is_full(&error) || !self.go_on_elsewhere(appender).map_err(AppendError::NoFile)? {
                return Err(AppendError::NoFile(error));
            }
            reserve(appender).map_err(AppendError::NoFile)?;
        }
        appender.writer.as_mut().ok_or(AppendError::TooLarge)
    }

    /// Sees to it that disk blocks are reserved for `needed` bytes at the write position.
    pub(super) fn reserve(&self, writer: &MappedWriter, needed: usize) -> io::Result<()> {
        let from = writer.file().start() + writer.position() as i64;
        if from + needed as i64 > self.ahead.ready_to() {
            self.make_ready(writer.file(), from, needed as u64)?;
        }
        Ok(())
    }

    /// Ends the current file with a blank and goes on in the next one.
    pub(super) fn roll(&self, appender: &mut Appender) -> io::Result<()> {
        let Appender { writer: slot, rolled, .. } = appender;
        let start = slot.as_ref().map_or_else(|| self.max_offset(), |writer| writer.file().end());
        self.drop_next_if_better_elsewhere()?;
        // The next file first: without it nothing may change.
        let next = self.next_file()?;
        if next.start() != start {
            return Err(io::Error::other("the next log file begins elsewhere"));
        }
        if let Some(writer) = slot
            && writer.remaining() > 0
        {
            let blank_bytes = writer.remaining().min(BLANK_HEAD_BYTES) as u64;
            let at = writer.file().start() + writer.position() as i64;
            self.make_end_ready(writer.file(), at, blank_bytes)?;
            let blank = record::blank_head(writer.remaining() as u32);
            writer.finish(&blank)?;
        }
        rolled.extend(slot.as_mut().and_then(|writer| writer.take_unwritten(&mut Vec::new())));
        let writer = next
            .writer(self.way())
            .ok_or_else(|| io::Error::other("the next log file is being written already"))?;
        // Who looks for a file meanwhile finds it in one of the two places.
        let mut prepared = self.ahead.next.lock();
        prepared.take();
        self.add_file(next);
        drop(prepared);
        self.end.store(start, Ordering::Release);
        *slot = Some(writer);
        Ok(())
    }

    /// Position behind the last record, and the newest store time up to there.
    pub(crate) fn end_and_timestamp(&self) -> (i64, i64) {
        let appender = self.lock_appender();
        (self.max_offset(), appender.last_store_timestamp_ms)
    }

    pub(super) fn lock_appender(&self) -> MutexGuard<'_, Appender> {
        lock(&self.appender)
    }
}
