//! Notes on popped messages, kept as messages of the revive topic.
//!
//! A check point says which messages a pop has given out, an acknowledgement that one is done. They
//! come into the queue of the revive topic when the messages are due again, by way of the timer.
//!
//! Reference: `PopMessageProcessor.buildCkMsg`, `AckMessageProcessor.appendAck` (broker), 5.5.0.

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_protocol::body::{AckMsg, PopCheckPoint};
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::message::{Message, properties};
use oxmq_store::{MessageStore, PutMessageResult, PutMessageStatus};
use serde::Serialize;
use tracing::warn;

use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::limits::MAX_NOTE_KEY_BYTES;
use crate::timer::TIMER_TOPIC;

/// Tag of a check point.
pub(super) const CHECK_POINT_TAG: &str = "ck";
/// Tag of one acknowledged message.
pub(super) const ACK_TAG: &str = "ack";
/// Tag of many.
pub(super) const BATCH_ACK_TAG: &str = "bAck";
/// Milliseconds by which a check point comes before what acknowledges it.
const CHECK_POINT_AHEAD_MS: i64 = 1_000;

/// Writes the notes.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Arc<MessageStore>,
    delays: Delays,
    store_host: SocketAddr,
    topic: String,
}

impl Journal {
    pub(crate) fn new(
        config: &BrokerConfig,
        store: Arc<MessageStore>,
        delays: Delays,
        store_host: SocketAddr,
    ) -> Self {
        let topic = format!("rmq_sys_REVIVE_LOG_{}", config.broker_cluster_name);
        Self { store, delays, store_host, topic }
    }

    /// The revive topic.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The broker's address in records.
    pub(super) fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// Notes which messages a pop has given out, and in the check point when they are due.
    ///
    /// # Errors
    /// Why it is not noted: then they must not be given out.
    pub(super) fn put_check_point(
        &self,
        point: &mut PopCheckPoint,
        revive_queue_id: i32,
    ) -> Result<PutMessageResult, PutMessageStatus> {
        point.revive_time = point.pop_time.saturating_add(point.invisible_time);
        let PopCheckPoint { topic, queue_id, start_offset, consumer_group, pop_time, .. } = point;
        let broker = point.broker_name.as_deref().unwrap_or("null");
        let key = format!(
            "{topic}@{queue_id}@{start_offset}@{consumer_group}@{pop_time}@{broker}@{CHECK_POINT_TAG}"
        );
        let due_ms = point.revive_time.saturating_sub(CHECK_POINT_AHEAD_MS);
        self.put(CHECK_POINT_TAG, &key, point, revive_queue_id, due_ms)
    }

    /// Notes that messages are done that are due again at `due_ms` otherwise.
    ///
    /// # Errors
    /// Why it is not noted: then they come back.
    pub(super) fn put_ack(
        &self,
        ack: &AckMsg,
        revive_queue_id: i32,
        due_ms: i64,
    ) -> Result<PutMessageResult, PutMessageStatus> {
        let AckMsg { topic, queue_id, ack_offset, consumer_group, pop_time, .. } = ack;
        let broker = ack.broker_name.as_deref().unwrap_or("null");
        let tag = if ack.ack_offset_list.is_some() { BATCH_ACK_TAG } else { ACK_TAG };
        // The reference gives a batch the key of a single one, too.
        let key = format!(
            "{topic}@{queue_id}@{ack_offset}@{consumer_group}@{pop_time}@{broker}@{ACK_TAG}"
        );
        self.put(tag, &key, ack, revive_queue_id, due_ms)
    }

    fn put(
        &self,
        tag: &str,
        key: &str,
        body: &impl Serialize,
        revive_queue_id: i32,
        due_ms: i64,
    ) -> Result<PutMessageResult, PutMessageStatus> {
        let timers = self.delays.timers.as_ref().ok_or(PutMessageStatus::WheelTimerNotEnable)?;
        if key.len() > MAX_NOTE_KEY_BYTES {
            return Err(PutMessageStatus::PropertiesSizeExceeded);
        }
        let body =
            fastjson::to_vec(body, Dialect::Raw).map_err(|_| PutMessageStatus::MessageIllegal)?;
        let mut text = Vec::with_capacity(256);
        properties::append(&mut text, properties::TAGS, tag.as_bytes());
        properties::append(&mut text, properties::UNIQ_KEY, key.as_bytes());
        let now_ms = now_ms();
        let (topic, queue_id) = timers
            .divert_own(&self.topic, revive_queue_id, &mut text, (due_ms, now_ms))?
            .unwrap_or((&self.topic, revive_queue_id));
        let result = self.store.put_message(&Message {
            born_timestamp_ms: now_ms,
            born_host: self.store_host,
            store_host: self.store_host,
            properties: &text,
            ..Message::new(topic, queue_id, &body)
        });
        if !result.status.is_stored() {
            warn!(tag, key, status = ?result.status, "note on popped messages not stored");
            return Err(result.status);
        }
        if topic == TIMER_TOPIC {
            timers.poke();
        }
        Ok(result)
    }
}
