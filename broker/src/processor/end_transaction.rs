//! `END_TRANSACTION` (37) and `RESUME_CHECK_HALF_MESSAGE` (323).
//!
//! Reference: `EndTransactionProcessor`, `AdminBrokerProcessor.resumeCheckHalfMessage` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    EndTransactionRequestHeader, Header as _, HeaderError, ResumeCheckHalfMessageRequestHeader,
};
use oxmq_protocol::message::message_id;
use oxmq_remoting::Reply;

use super::{Answer, answer, success};
use crate::broker_stats::BrokerStats;
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::traffic::Flow;
use crate::transaction::{Decision, TransactionService};

/// What a producer says that does not know yet: it is asked later.
const NOT_DECIDED: i32 = 0;

/// Carries out what producers decide about their half messages.
#[derive(Debug)]
pub(crate) struct EndTransaction {
    transactions: Arc<TransactionService>,
    stats: Arc<BrokerStats>,
}

impl EndTransaction {
    pub(crate) fn new(transactions: Arc<TransactionService>, stats: Arc<BrokerStats>) -> Self {
        Self { transactions, stats }
    }

    /// Commits or rolls back, or does nothing when the producer does not know yet.
    ///
    /// The reference has no answer for such a one. Java's and Go's want none, and whoever wants one
    /// would wait in vain.
    pub(crate) fn process(&self, request: &CommandView<'_>, reply: Reply) {
        answer(self.end(request), reply);
    }

    /// Has a given-up message asked about again.
    pub(crate) fn resume(&self, request: &CommandView<'_>) -> Answer {
        const THROWN: &str =
            "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.";
        let header = ResumeCheckHalfMessageRequestHeader::decode(request)?;
        let id = header.msg_id.unwrap_or_default();
        let (_, offset) = message_id::decode(&id).map_err(|_| RequestError::NotResumed(THROWN))?;
        match self.transactions.resume(offset) {
            Some(true) => Ok(success()),
            Some(false) => Err(RequestError::NotResumed(
                "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed.",
            )),
            None => Err(RequestError::NotResumed(THROWN)),
        }
    }

    fn end(&self, request: &CommandView<'_>) -> Answer {
        let header = EndTransactionRequestHeader::decode(request)?;
        let decision = match header.commit_or_rollback {
            NOT_DECIDED => return Ok(success()),
            decision => Decision::of(decision).ok_or_else(|| {
                let what = "0, 8 (commit) or 12 (rollback)";
                HeaderError::invalid("commitOrRollback", what, &decision.to_string())
            })?,
        };
        let start = Instant::now();
        match self.transactions.end(&header, decision, now_ms()) {
            Ok(Some(stored)) => {
                self.stats.put(Flow::once(1, stored.wrote_bytes.into()), start.elapsed());
            }
            Ok(None) => {}
            Err(error @ RequestError::NotCommitted { .. }) => {
                self.stats.put_failed();
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        Ok(success())
    }
}
