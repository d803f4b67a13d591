//! `LOCK_BATCH_MQ` (41) and `UNLOCK_BATCH_MQ` (42).
//!
//! With `lockInStrictMode` a queue is locked by more than half of `totalReplicas`. There are no
//! others to ask yet, so of several replicas this one alone is never enough.
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::body::{LockBatchRequestBody, LockBatchResponseBody};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson;

use super::{Answer, success, success_with};
use crate::config::BrokerConfig;
use crate::rebalance_lock::RebalanceLockManager;

/// Gives queues to one member of an ordered group at a time.
#[derive(Debug)]
pub(crate) struct RebalanceLock {
    config: Arc<BrokerConfig>,
    locks: Arc<RebalanceLockManager>,
}

impl RebalanceLock {
    pub(crate) fn new(config: Arc<BrokerConfig>, locks: Arc<RebalanceLockManager>) -> Self {
        Self { config, locks }
    }

    /// Takes queues and answers which of them the member holds now.
    pub(crate) fn lock_batch_mq(&self, request: &CommandView<'_>) -> Answer {
        let LockBatchRequestBody { consumer_group, client_id, mq_set, only_this_broker } =
            fastjson::from_slice(request.body)?;
        let mut held = self.locks.lock_batch(&consumer_group, mq_set, &client_id, Instant::now());
        if !only_this_broker && self.config.lock_in_strict_mode && self.config.total_replicas > 1 {
            held.clear();
        }
        success_with(&LockBatchResponseBody { lock_ok_mq_set: held })
    }

    /// Releases queues.
    pub(crate) fn unlock_batch_mq(&self, request: &CommandView<'_>) -> Answer {
        let LockBatchRequestBody { consumer_group, client_id, mq_set, .. } =
            fastjson::from_slice(request.body)?;
        self.locks.unlock_batch(&consumer_group, &mq_set, &client_id);
        Ok(success())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{body, request, with_view};
    use super::*;

    #[test]
    fn queue_is_answered_to_its_holder_alone_until_it_is_released() {
        let processor = RebalanceLock::new(Arc::default(), Arc::default());
        let request_of = |client_id: &str| {
            let text = format!(
                r#"{{"consumerGroup":"g","clientId":"{client_id}",
                "mqSet":[{{"brokerName":"b","queueId":0,"topic":"t"}}]}}"#
            );
            request(&[]).with_body(text.into_bytes())
        };
        let lock = |client_id| {
            let answer =
                with_view(&request_of(client_id), |view| processor.lock_batch_mq(view)).unwrap();
            body(&answer).to_owned()
        };
        let held = r#"{"lockOKMQSet":[{"brokerName":"b","queueId":0,"topic":"t"}]}"#;
        assert_eq!(lock("a"), held);
        assert_eq!(lock("b"), r#"{"lockOKMQSet":[]}"#);
        with_view(&request_of("a"), |view| processor.unlock_batch_mq(view)).unwrap();
        assert_eq!(lock("b"), held);
    }
}
