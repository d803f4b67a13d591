//! Giving messages back: done, or to be given out again at another time.
//!
//! Reference: `AckMessageProcessor`, `ChangeInvisibleTimeProcessor` (broker), 5.5.0.

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_protocol::body::{AckMsg, PopCheckPoint};
use oxmq_protocol::message::ReceiptHandle;
use oxmq_store::PutMessageResult;

use super::order::Acknowledged;
use super::{ANY_QUEUE, PopService};
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::queue_key::GroupQueueRef;

/// Messages of one pop of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// Topic that they are of, perhaps one of messages to try again.
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) start_offset: i64,
    pub(crate) pop_time_ms: i64,
    pub(crate) invisible_ms: i64,
    pub(crate) revive_queue_id: i32,
    pub(crate) broker_name: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// The pop that a receipt names.
    pub(crate) fn by(
        receipt: &ReceiptHandle<'a>,
        topic: &'a str,
        group: &'a str,
        queue_id: i32,
    ) -> Self {
        Self {
            topic,
            group,
            queue_id,
            start_offset: receipt.start_offset,
            pop_time_ms: receipt.pop_time_ms,
            invisible_ms: receipt.invisible_ms,
            revive_queue_id: receipt.revive_queue_id,
            broker_name: Some(receipt.broker_name),
        }
    }

    fn queue(&self) -> GroupQueueRef<'a> {
        GroupQueueRef { topic: self.topic, group: self.group, queue_id: self.queue_id }
    }

    /// The note that one of them is done.
    fn ack(&self, offset: i64) -> AckMsg {
        AckMsg {
            ack_offset: offset,
            ack_offset_list: None,
            broker_name: self.broker_name.map(str::to_owned),
            consumer_group: self.group.to_owned(),
            pop_time: self.pop_time_ms,
            queue_id: self.queue_id,
            start_offset: self.start_offset,
            topic: self.topic.to_owned(),
        }
    }

    fn due_ms(&self) -> i64 {
        self.pop_time_ms.saturating_add(self.invisible_ms)
    }
}

/// When a message is due again whose time was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) pop_time_ms: i64,
    pub(crate) invisible_ms: i64,
    pub(crate) revive_queue_id: i32,
    /// Log position up to which the notes on it have to be durable.
    pub(crate) durable_at: i64,
}

impl PopService {
    /// Notes that messages are done. Returns up to where in the log that has to be durable.
    ///
    /// It is not checked whether they are still given out: those that are not have been stored again.
    pub(crate) fn acknowledge(
        self: &Arc<Self>,
        given: &Given<'_>,
        offsets: &[i64],
        is_batch: bool,
        client: SocketAddr,
    ) -> Result<i64, RequestError> {
        if given.revive_queue_id == ReceiptHandle::ORDERLY {
            for offset in offsets {
                self.acknowledge_in_order(given, *offset, client)?;
            }
            return Ok(0);
        }
        if offsets.is_empty() {
            return Ok(0);
        }
        let ack = match is_batch {
            true => AckMsg { ack_offset_list: Some(offsets.to_vec()), ..given.ack(-1) },
            false => given.ack(offsets[0]),
        };
        let stored = self.put_ack(given, &ack)?;
        self.count_done(given.queue(), given.pop_time_ms, offsets.len());
        Ok(stored.end_phy_offset())
    }

    /// Has a message given out again at another time, with `suspend` as if it had not been given out.
    pub(crate) fn change_invisible_time(
        &self,
        given: &Given<'_>,
        offset: i64,
        invisible_ms: i64,
        suspend: bool,
    ) -> Result<Changed, RequestError> {
        let mut now_ms = now_ms();
        if given.revive_queue_id == ReceiptHandle::ORDERLY {
            return Ok(self.change_in_order(given, offset, now_ms.saturating_add(invisible_ms)));
        }
        // A check point is known by its first message and its time: two of one millisecond would be taken for one,
        // and what acknowledges the other messages of the pop for nothing.
        if now_ms == given.pop_time_ms {
            now_ms += 1;
        }
        self.check_revive_queue(given.revive_queue_id)?;
        let mut point = PopCheckPoint {
            broker_name: given.broker_name.map(str::to_owned),
            consumer_group: given.group.to_owned(),
            queue_offset_diff: Some(vec![0]),
            invisible_time: invisible_ms,
            num: 1,
            pop_time: now_ms,
            queue_id: given.queue_id,
            start_offset: offset,
            suspend,
            topic: given.topic.to_owned(),
            ..PopCheckPoint::default()
        };
        // The new note first: between the two the message is due twice rather than never.
        self.journal
            .put_check_point(&mut point, given.revive_queue_id)
            .map_err(|_| RequestError::PopNotNoted)?;
        let stored = self.put_ack(given, &given.ack(offset))?;
        Ok(Changed {
            pop_time_ms: now_ms,
            invisible_ms,
            revive_queue_id: given.revive_queue_id,
            durable_at: stored.end_phy_offset(),
        })
    }

    fn put_ack(&self, given: &Given<'_>, ack: &AckMsg) -> Result<PutMessageResult, RequestError> {
        self.check_revive_queue(given.revive_queue_id)?;
        // The reference says that all is well, and gives the messages out again.
        self.journal
            .put_ack(ack, given.revive_queue_id, given.due_ms())
            .map_err(|_| RequestError::PopNotNoted)
    }

    /// A queue that nobody reads would keep notes for nothing.
    fn check_revive_queue(&self, queue_id: i32) -> Result<(), RequestError> {
        if (0..self.revive_queues()).contains(&queue_id) {
            Ok(())
        } else {
            Err(RequestError::NoReviveQueue { queue_id, count: self.revive_queues() })
        }
    }

    fn acknowledge_in_order(
        self: &Arc<Self>,
        given: &Given<'_>,
        offset: i64,
        client: SocketAddr,
    ) -> Result<(), RequestError> {
        let GroupQueueRef { topic, group, queue_id } = given.queue();
        let committed = self.offsets.query(group, topic, queue_id);
        // What is committed for a group that is not there would be kept for ever, and a request may name any.
        let is_nobody = self.groups.get(group).is_none();
        if is_nobody || committed.is_some_and(|committed| offset < committed) {
            return Ok(());
        }
        let commit = |next| {
            if !self.offsets.has_reset(group, topic, queue_id) {
                self.offsets.commit(group, topic, queue_id, next);
            }
        };
        let outcome =
            self.order.acknowledge(given.queue(), offset, given.pop_time_ms, now_ms(), commit);
        if !matches!(outcome, Acknowledged::Unknown) {
            self.count_done(given.queue(), given.pop_time_ms, 1);
        }
        match outcome {
            Acknowledged::Next { blocked: false, .. } => {
                for queue_id in [ANY_QUEUE, queue_id] {
                    self.wake_queue(topic, group, queue_id);
                }
                Ok(())
            }
            Acknowledged::Next { .. } | Acknowledged::Stale => Ok(()),
            Acknowledged::Unknown => Err(RequestError::OrderOffsetIllegal {
                key: match self.config.pop_consumer_kv_service_enable {
                    false => format!("{topic}@{group}@{queue_id}"),
                    true => format!("{group} {topic} {queue_id}"),
                },
                committed: committed.unwrap_or(-1),
                offset,
                client,
            }),
        }
    }

    /// The answer tells the time from the pop on. It is empty when the message is done already.
    fn change_in_order(&self, given: &Given<'_>, offset: i64, visible_ms: i64) -> Changed {
        let GroupQueueRef { topic, group, queue_id } = given.queue();
        let committed = self.offsets.query(group, topic, queue_id);
        if committed.is_some_and(|committed| offset < committed) {
            return Changed::default();
        }
        self.order.set_next_visible(given.queue(), offset, given.pop_time_ms, visible_ms);
        Changed {
            pop_time_ms: given.pop_time_ms,
            invisible_ms: visible_ms.saturating_sub(given.pop_time_ms),
            revive_queue_id: given.revive_queue_id,
            durable_at: 0,
        }
    }
}
