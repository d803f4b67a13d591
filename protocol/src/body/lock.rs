//! Queues held by one client of an ordered group.

use serde::{Deserialize, Serialize};

use super::MessageQueue;

/// Body of `LOCK_BATCH_MQ` (41) and `UNLOCK_BATCH_MQ` (42).
///
/// Reference: `LockBatchRequestBody`, `UnlockBatchRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchRequestBody {
    /// Group that consumes in order.
    pub consumer_group: String,
    /// `ip@instance` of the member.
    pub client_id: String,
    /// Whether the broker's peers are left out.
    pub only_this_broker: bool,
    /// Queues to hold or release.
    pub mq_set: Vec<MessageQueue>,
}

/// Answer to `LOCK_BATCH_MQ`.
///
/// Reference: `LockBatchResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponseBody {
    /// Queues that the member holds now.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson::{self, Dialect};

    #[test]
    fn lock_request_is_read_in_either_case() {
        let expected = LockBatchRequestBody {
            consumer_group: "g".into(),
            client_id: "c".into(),
            only_this_broker: false,
            mq_set: vec![MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 3 }],
        };
        for text in [
            r#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":3,"topic":"t"}],"onlyThisBroker":false}"#,
            r#"{"ClientID":"c","ConsumerGroup":"g","MqSet":[{"BrokerName":"b","QueueId":"3","Topic":"t"}]}"#,
        ] {
            let body: LockBatchRequestBody = fastjson::from_slice(text.as_bytes()).unwrap();
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn lock_answer_has_the_spelling_of_the_reference() {
        let body = LockBatchResponseBody::default();
        assert_eq!(fastjson::to_vec(&body, Dialect::Raw).unwrap(), br#"{"lockOKMQSet":[]}"#);
    }
}
