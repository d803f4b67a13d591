//! Putting messages.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::message::record::BLANK_HEAD_BYTES;
use oxmq_protocol::message::{
    EncodeError, EncodeOptions, Message, limits, properties, sys_flag, tags_code,
    tags_code_of_value,
};
use tracing::warn;

use super::light::{LIGHT_QUEUE_ID, LightQueues};
use super::scratch::{Scratch, with_scratch};
use super::{Arrival, MessageStore};
use crate::commit_log::{AppendError, Appended, InnerBatch, RecordSpan, Records, Tags};
use crate::consume_queue::{ConsumeQueue, QueueKind};
use crate::disk::is_full;
use crate::index::Keys;
use crate::index::feed::KeyFeed;
use crate::limits::MAX_TOPIC_DIR_BYTES;
use crate::status::{PutMessageResult, PutMessageStatus};

/// Topic whose queues hold delayed messages, one queue for each level.
///
/// Reference: `TopicValidator.RMQ_SYS_SCHEDULE_TOPIC` (common), 5.5.0.
const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// What few messages have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extra<'a> {
    /// What makes the one record hold many messages.
    pub(super) inner: Option<InnerBatch>,
    /// The light queues that the one record goes into.
    pub(super) light_names: Option<&'a [&'a str]>,
}

/// The queue of a message, if it goes into one, and its light queues.
type Queues = (Option<Arc<ConsumeQueue>>, Option<LightQueues>);

impl MessageStore {
    /// Stores `message` and makes it readable.
    ///
    /// With ASYNC_FLUSH the outcome is final. With SYNC_FLUSH the message is in the log, and
    /// [`Self::when_durable`] says when it is on disk.
    pub fn put_message(&self, message: &Message<'_>) -> PutMessageResult {
        self.put_up_to(self.config.max_message_size, message)
    }

    /// [`Self::put_message`] for what was taken before and is stored once more: `maxMessageSize` may be less by now.
    pub fn put_again(&self, message: &Message<'_>) -> PutMessageResult {
        self.put_up_to(usize::MAX, message)
    }

    fn put_up_to(&self, max_message_bytes: usize, message: &Message<'_>) -> PutMessageResult {
        if let Err(status) = self.check(message.topic) {
            return PutMessageResult::refused(status);
        }
        let Some((tags, keys)) = self.tags_and_keys(message) else {
            return PutMessageResult::refused(PutMessageStatus::MessageIllegal);
        };
        let options = EncodeOptions { max_message_bytes, ..self.encode };
        if self.has_light_queues {
            return self.put_light(message, tags, &keys, &options);
        }
        self.put_single(message, tags, &keys, &options, None)
    }

    pub(super) fn put_single(
        &self,
        message: &Message<'_>,
        tags: Tags,
        keys: &Keys<'_>,
        options: &EncodeOptions,
        light_names: Option<&[&str]>,
    ) -> PutMessageResult {
        let properties = &*not_torn(message.properties);
        let message = &Message { properties, ..*message };
        with_scratch(|scratch| {
            if let Err(error) = scratch.add(message, options, tags, self.indexed(keys)) {
                return PutMessageResult::refused(status_of(error));
            }
            let extra = Extra { inner: None, light_names };
            self.append(message, scratch, extra, std::iter::once(message.properties))
        })
    }

    /// Calls `callback` once everything in the log before `end_phy_offset` is as durable as
    /// configured: at once with ASYNC_FLUSH, after the next flush with SYNC_FLUSH.
    ///
    /// The status is [`PutMessageStatus::PutOk`], or why it is not.
    pub fn when_durable(
        &self,
        end_phy_offset: i64,
        callback: Box<dyn FnOnce(PutMessageStatus) + Send>,
    ) {
        if self.flush_policy.sync {
            let timeout = Duration::from_millis(self.config.sync_flush_timeout);
            self.log.when_flushed(end_phy_offset, timeout, callback);
        } else {
            callback(PutMessageStatus::PutOk);
        }
    }

    /// Makes everything in the log durable on this thread, if that is a matter of a moment and
    /// nobody else waits for it: whether it did. [`Self::when_durable`] is for when it did not.
    pub fn flush_if_quick(&self) -> bool {
        self.log.flush_if_quick()
    }

    /// Has what was put flushed soon although nobody waits for it. With SYNC_FLUSH it is hidden until
    /// then, but survives the end of the process from now on: false if not, because it cannot be
    /// written. Without SYNC_FLUSH, this does nothing.
    #[must_use = "what may be lost must not be acknowledged"]
    pub fn flush_soon(&self) -> bool {
        if !self.flush_policy.sync {
            return true;
        }
        let is_written = self.write_out();
        self.log.flush_soon();
        is_written
    }

    /// Whether senders wait for the disk.
    pub fn flushes_synchronously(&self) -> bool {
        self.flush_policy.sync
    }

    /// What stands in the way of putting anything into `topic`.
    pub(super) fn check(&self, topic: &str) -> Result<(), PutMessageStatus> {
        if !self.is_writable() {
            return Err(PutMessageStatus::ServiceNotAvailable);
        }
        if !is_storable_topic(topic) {
            return Err(PutMessageStatus::MessageIllegal);
        }
        Ok(())
    }

    pub(super) fn append<'m>(
        &self,
        message: &Message<'_>,
        scratch: &mut Scratch,
        extra: Extra<'_>,
        properties: impl Iterator<Item = &'m [u8]>,
    ) -> PutMessageResult {
        let inner = extra.inner;
        let now_ms = self.clock.now_ms();
        let bytes = scratch.bytes.len();
        if let Err(status) = self.check_log(bytes, now_ms) {
            return PutMessageResult::refused(status);
        }
        let ((queue, light), appended) = match self.append_to_queue(message, scratch, extra, now_ms)
        {
            Ok(done) => done,
            Err(error) => return PutMessageResult::refused(refusal(&error)),
        };
        let queue_offset = appended.queue_offsets[0];
        if self.flush_policy.sync && !self.hides_unflushed() {
            self.write_out();
        }
        if let Some(queue) = &queue {
            self.queue_writer.after_push(queue, appended.pushes[0]);
            let messages = inner.map_or(1, |inner| i64::from(inner.count));
            self.announce(message, &appended, (&scratch.spans, messages), properties);
        }
        if let Some(light) = &light {
            self.after_light(message, &appended, &scratch.spans, light);
        }
        if let Some(index) = &self.index {
            index.poke();
        }
        PutMessageResult {
            status: PutMessageStatus::PutOk,
            phy_offset: appended.phy_offset,
            wrote_bytes: bytes as u32,
            queue_offset,
            store_timestamp_ms: appended.store_timestamp_ms,
            message_count: inner.map_or(scratch.spans.len() as u32, |inner| inner.count as u32),
        }
    }

    fn append_to_queue(
        &self,
        message: &Message<'_>,
        scratch: &mut Scratch,
        extra: Extra<'_>,
        now_ms: i64,
    ) -> Result<(Queues, Appended), AppendError> {
        let Extra { inner, light_names } = extra;
        let record_bytes = scratch.bytes.len();
        let has_queue = sys_flag::has_queue_offset(message.sys_flag);
        loop {
            let kind = self.batch_topics.kind_of(message.topic);
            let queue =
                has_queue.then(|| self.queues.get_or_create(message.topic, message.queue_id, kind));
            let mut light = light_names.map(|names| {
                LightQueues::new(names, record_bytes, self.sealed_bytes(), |name| {
                    self.queues.get_or_create(name, LIGHT_QUEUE_ID, QueueKind::Simple)
                })
            });
            match self.append_once(scratch, queue.as_slice(), inner, light.as_mut(), now_ms) {
                Ok(appended) => return Ok(((queue, light), appended)),
                // Its successor is in the table already, or will be made.
                Err(AppendError::QueueDeleted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn append_once(
        &self,
        scratch: &mut Scratch,
        queues: &[Arc<ConsumeQueue>],
        inner: Option<InnerBatch>,
        light: Option<&mut LightQueues>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut records = Records {
            bytes: &mut scratch.bytes,
            spans: &scratch.spans,
            sealed: self.encode.append_property_crc,
            keys: self.key_feed().map(|feed| (feed, &*scratch.keys)),
            inner,
            light,
        };
        self.log.append(&mut records, queues, now_ms, || !self.is_closed())
    }

    /// Whether so many bytes could be in the log, and nobody has held it for too long.
    pub(super) fn check_log(&self, bytes: usize, now_ms: i64) -> Result<(), PutMessageStatus> {
        let busy_ms = i64::try_from(self.config.os_page_cache_busy_time_out_mills);
        if self.log.locked_for_ms(now_ms) > busy_ms.unwrap_or(i64::MAX) {
            return Err(PutMessageStatus::OsPageCacheBusy);
        }
        if (bytes + BLANK_HEAD_BYTES) as u64 > self.log.file_bytes() {
            return Err(PutMessageStatus::MessageIllegal);
        }
        Ok(())
    }

    /// Bytes of the checksum at the end of each record.
    pub(super) fn sealed_bytes(&self) -> usize {
        match self.encode.append_property_crc {
            true => properties::PROPERTY_CRC_TAIL_BYTES,
            false => 0,
        }
    }

    /// Where the keys of messages go; nothing where there is no index.
    fn key_feed(&self) -> Option<&KeyFeed> {
        self.index.as_ref().map(|index| index.feed())
    }

    /// The keys, where there is an index.
    pub(super) fn indexed<'k, 'm>(&self, keys: &'k Keys<'m>) -> Option<&'k Keys<'m>> {
        self.index.is_some().then_some(keys)
    }

    /// Brings what was appended into the files: whether it is there. If not, the next sender and the
    /// flush try it again.
    pub(super) fn write_out(&self) -> bool {
        self.log.write_out_at_once(self.clock.now_ms()).is_ok()
    }

    /// Tells the listener about appended messages, unless they are hidden: then the flush does.
    fn announce<'m>(
        &self,
        message: &Message<'_>,
        appended: &Appended,
        (spans, messages): (&[RecordSpan], i64),
        properties: impl Iterator<Item = &'m [u8]>,
    ) {
        let Some(listener) = self.announcer.listener() else { return };
        if self.hides_unflushed() {
            return;
        }
        let mut phy_offset = appended.phy_offset;
        for (index, (span, properties)) in spans.iter().zip(properties).enumerate() {
            listener.arrived(&Arrival {
                topic: message.topic,
                queue_id: message.queue_id,
                next_queue_offset: appended.queue_offsets[0] + index as i64 + messages,
                tags_code: span.tags.code(appended.store_timestamp_ms),
                store_timestamp_ms: appended.store_timestamp_ms,
                phy_offset,
                properties,
            });
            phy_offset = appended.phy_offset + span.end as i64;
        }
    }

    /// The tags and keys of a single message; nothing when it claims to be an inner batch, which is put by itself.
    pub(super) fn tags_and_keys<'m>(&self, message: &Message<'m>) -> Option<(Tags, Keys<'m>)> {
        if message.sys_flag & (sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP) != 0 {
            return None;
        }
        let mut keys = Keys::default();
        for (name, value) in properties::pairs(message.properties) {
            if name == properties::INNER_NUM.as_bytes() {
                return None;
            }
            keys.note(name, value);
        }
        let tags = if is_schedule_topic(message.topic) {
            let delay_ms = |level| self.delay_levels.delay_ms(level);
            schedule_tags(message.properties, delay_ms)
        } else {
            Tags::Code(tags_code_of(&keys))
        };
        Some((tags, keys))
    }
}

pub(super) fn tags_code_of(keys: &Keys<'_>) -> i64 {
    keys.tags.map_or(0, tags_code_of_value)
}

/// Properties that do not end with a zero: recovery takes that for the end of what a killed process has stored.
pub(super) fn not_torn(text: &[u8]) -> Cow<'_, [u8]> {
    match text.last() {
        Some(0) => Cow::Owned([text, &[properties::PAIR_SEPARATOR]].concat()),
        _ => Cow::Borrowed(text),
    }
}

/// The tags of a delayed message: its time of delivery, when it has a delay level.
///
/// Reference: `CommitLog.checkMessageAndReturnSize` (store), 5.5.0.
pub(crate) fn schedule_tags(text: &[u8], delay_ms: impl Fn(i32) -> i64) -> Tags {
    let level = properties::property_str(text, properties::DELAY_TIME_LEVEL)
        .and_then(|level| level.parse::<i32>().ok())
        .filter(|level| *level > 0);
    match (level, properties::property_str(text, properties::TAGS)) {
        (Some(level), _) => Tags::DeliverAfterMs(delay_ms(level)),
        (None, tags) => Tags::Code(tags.map_or(0, tags_code)),
    }
}

/// Whether `topic` holds delayed messages.
pub(crate) fn is_schedule_topic(topic: &str) -> bool {
    topic == SCHEDULE_TOPIC
}

/// Whether `topic` can be the name of a directory, and of nothing but one below the store's own.
pub(crate) fn is_storable_topic(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= MAX_TOPIC_DIR_BYTES.min(limits::MAX_TOPIC_BYTES)
        && topic != "."
        && topic != ".."
        && !topic.bytes().any(|byte| byte == b'/' || byte == 0)
}

/// What a message is refused with that was not appended.
pub(super) fn refusal(error: &AppendError) -> PutMessageStatus {
    match error {
        AppendError::NotWritten(error) => {
            warn!(%error, "message refused: those before it cannot be written");
            PutMessageStatus::ServiceNotAvailable
        }
        AppendError::NoFile(error) => {
            warn!(%error, "no room in the commit log");
            match is_full(error) {
                true => PutMessageStatus::ServiceNotAvailable,
                false => PutMessageStatus::CreateMappedFileFailed,
            }
        }
        AppendError::TooLarge => PutMessageStatus::MessageIllegal,
        AppendError::Closed => PutMessageStatus::ServiceNotAvailable,
        AppendError::QueueDeleted => PutMessageStatus::UnknownError,
    }
}

pub(super) fn status_of(error: EncodeError) -> PutMessageStatus {
    match error {
        EncodeError::PropertiesTooLarge(_) => PutMessageStatus::PropertiesSizeExceeded,
        EncodeError::BodyTooLarge(_)
        | EncodeError::RecordTooLarge(_)
        | EncodeError::TopicTooLong(_) => PutMessageStatus::MessageIllegal,
    }
}
