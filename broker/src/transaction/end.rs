//! What a producer decides about its half message.
//!
//! Reference: `EndTransactionProcessor` (broker), 5.5.0.

use std::sync::atomic::Ordering;

use oxmq_protocol::header::EndTransactionRequestHeader;
use oxmq_protocol::message::{Message, RecordView, properties, sys_flag};
use oxmq_store::{PutMessageResult, PutMessageStatus};

use super::TransactionService;
use super::decisions::Claim;
use super::recover::unique_key;
use crate::again::{Again, Home, store_again};
use crate::error::RequestError;
use crate::put_status;
use crate::sync::lock;
use crate::topic_validator::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};

/// What to do with a half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Deliver it.
    Commit,
    /// Forget it.
    Rollback,
}

impl Decision {
    /// Reads the transaction type of a request; `None` when it is no decision.
    pub(crate) fn of(transaction_type: i32) -> Option<Self> {
        match transaction_type {
            sys_flag::TRANSACTION_COMMIT => Some(Self::Commit),
            sys_flag::TRANSACTION_ROLLBACK => Some(Self::Rollback),
            _ => None,
        }
    }
}

impl TransactionService {
    /// Carries out a decision, unless there was one before: then that one stands. A message that was given
    /// up, as nobody decided it in time, is delivered by a commit that comes after all.
    ///
    /// Returns what was stored, if anything was.
    pub(crate) fn end(
        &self,
        header: &EndTransactionRequestHeader,
        decision: Decision,
        now_ms: i64,
    ) -> Result<Option<PutMessageResult>, RequestError> {
        let bytes = self.store.look_message_by_offset(header.commit_log_offset);
        let half = bytes
            .as_deref()
            .and_then(|bytes| RecordView::parse(bytes).ok())
            .filter(|record| record.verify_body_crc().is_ok())
            .filter(|record| record.topic() == TRANS_HALF_TOPIC)
            .ok_or(RequestError::HalfMessageNotFound)?;
        if !header.from_transaction_check && is_too_late(half, &self.config, now_ms) {
            return Err(RequestError::EndedTooLate);
        }
        check(half, header)?;
        let home = Home::of(half.properties()).ok_or(RequestError::HalfMessageNotFound)?;

        let key = unique_key(half);
        let claim = lock(&self.decisions).claim(half.queue_offset(), key);
        let Claim::Won(offset) = claim else {
            if decision == Decision::Commit && key.is_some_and(|key| self.was_given_up(key, home)) {
                let stored = self.deliver(half, home, now_ms)?;
                self.metrics.committed.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(stored));
            }
            return Ok(None);
        };
        let stored = match decision {
            Decision::Rollback => None,
            Decision::Commit => match self.deliver(half, home, now_ms) {
                Ok(stored) => Some(stored),
                Err(error) => {
                    lock(&self.decisions).release(offset);
                    return Err(error);
                }
            },
        };
        // Noted before it counts as over: progress never passes what no batch has.
        self.op_queue.add(offset);
        lock(&self.decisions).finish(offset, key);
        self.metrics.add(home.topic, -1);
        let counter = match decision {
            Decision::Commit => &self.metrics.committed,
            Decision::Rollback => &self.metrics.rolled_back,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(stored)
    }

    /// Whether the last thing that became of a message was that nobody decided it.
    fn was_given_up(&self, key: &str, home: Home<'_>) -> bool {
        let topic = TRANS_CHECK_MAX_TIME_TOPIC;
        self.store.max_offset(topic, 0) > 0
            && self.newest(topic, key).is_some_and(|given_up| {
                [TRANS_HALF_TOPIC, home.topic]
                    .iter()
                    .all(|topic| self.newest(topic, key).is_none_or(|other| other < given_up))
            })
    }

    /// Where the newest record of a topic with this unique key lies in the log, if the index has it.
    fn newest(&self, topic: &str, key: &str) -> Option<i64> {
        let found = self.store.query_message(topic, key, 1, 0, i64::MAX).ok()?;
        let record = RecordView::parse(&found.records).ok()?;
        (unique_key(record) == Some(key)).then(|| record.phy_offset())
    }

    fn deliver(
        &self,
        half: RecordView<'_>,
        home: Home<'_>,
        now_ms: i64,
    ) -> Result<PutMessageResult, RequestError> {
        let mut text = half.properties().to_vec();
        properties::remove(&mut text, properties::REAL_TOPIC);
        properties::remove(&mut text, properties::REAL_QUEUE_ID);
        // Its delay begins now: before, it could not have been delivered.
        let aside = self
            .delays
            .divert(home.topic, home.queue_id, &mut text, now_ms)
            .map_err(|status| self.not_committed(status))?;
        let (topic, queue_id) = aside.unwrap_or((home.topic, home.queue_id));
        let message = Message {
            topic,
            queue_id,
            sys_flag: sys_flag::with_transaction_type(
                half.sys_flag(),
                sys_flag::TRANSACTION_COMMIT,
            ),
            prepared_transaction_offset: half.phy_offset(),
            properties: &text,
            ..half.as_message().map_err(|_| RequestError::HalfMessageNotFound)?
        };
        match store_again(&self.store, &message) {
            Again::Stored(result) => {
                // Sent only now; until it is due it is in the topic of delayed messages as well.
                self.topics.note_put(home.topic, &result);
                if topic != home.topic {
                    self.topics.note_put(topic, &result);
                }
                self.delays.stored(topic);
                Ok(result)
            }
            Again::NotNow(status) | Again::Never(status) => Err(self.not_committed(status)),
        }
    }

    fn not_committed(&self, status: PutMessageStatus) -> RequestError {
        let remark = put_status::commit_remark(status, self.store.config());
        RequestError::NotCommitted { status, remark }
    }
}

/// A message may say how long its producer has; who decides later has to wait to be asked.
fn is_too_late(half: RecordView<'_>, config: &crate::config::BrokerConfig, now_ms: i64) -> bool {
    immunity_ms(half, config).is_some_and(|ms| age_ms(half, now_ms) > ms)
}

/// How long ago a producer says that it made a message. Absurd times wrap, as in the reference.
pub(super) fn age_ms(half: RecordView<'_>, now_ms: i64) -> i64 {
    now_ms.wrapping_sub(half.born_timestamp_ms())
}

/// How long nobody is asked about this message, if it says so itself.
pub(super) fn immunity_ms(
    half: RecordView<'_>,
    config: &crate::config::BrokerConfig,
) -> Option<i64> {
    let name = properties::CHECK_IMMUNITY_TIME_IN_SECONDS;
    let text = properties::property_str(half.properties(), name)?;
    match text.parse::<i64>() {
        Ok(seconds) if seconds != -1 => Some(seconds.saturating_mul(1_000)),
        _ => Some(config.transaction_time_out),
    }
}

/// Holds a decision against the message that it names.
fn check(half: RecordView<'_>, header: &EndTransactionRequestHeader) -> Result<(), RequestError> {
    let group = properties::property(half.properties(), properties::PRODUCER_GROUP);
    if group != Some(header.producer_group.as_bytes()) {
        return Err(RequestError::WrongTransaction("The producer group wrong"));
    }
    if half.queue_offset() != header.tran_state_table_offset {
        return Err(RequestError::WrongTransaction("The transaction state table offset wrong"));
    }
    if half.phy_offset() != header.commit_log_offset {
        return Err(RequestError::WrongTransaction("The commit log offset wrong"));
    }
    Ok(())
}
