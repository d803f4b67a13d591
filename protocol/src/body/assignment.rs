//! Queues that the broker shares out among the members of a group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::java_enum::lenient;
use super::{MessageModel, MessageQueue};

java_enum! {
    /// How the members of a group get the messages of a topic.
    ///
    /// Reference: `MessageRequestMode` (common), 5.5.0.
    pub enum MessageRequestMode {
        /// Each queue is pulled by one member.
        Pull = "PULL",
        /// The broker hands out single messages.
        Pop = "POP",
    }
}

/// Body of `QUERY_ASSIGNMENT` (400).
///
/// Reference: `QueryAssignmentRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentRequestBody {
    /// Topic whose queues are shared out.
    pub topic: String,
    /// Group that shares them.
    pub consumer_group: String,
    /// Member that asks.
    pub client_id: String,
    /// `AVG` or `AVG_BY_CIRCLE`.
    pub strategy_name: String,
    /// Who of the group gets a message.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub message_model: Option<MessageModel>,
}

/// Answer to `QUERY_ASSIGNMENT`.
///
/// Reference: `QueryAssignmentResponseBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentResponseBody {
    /// The member's queues; without a list it keeps what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
}

/// One queue of an assignment.
///
/// Reference: `MessageQueueAssignment` (common), 5.5.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueueAssignment {
    /// The queue; -1 is any queue of its broker.
    pub message_queue: MessageQueue,
    /// How it is read; nothing is a mode that only the sender knows.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub mode: Option<MessageRequestMode>,
}

/// Body of `SET_MESSAGE_REQUEST_MODE` (401).
///
/// Reference: `SetMessageRequestModeRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetMessageRequestModeRequestBody {
    /// The group.
    pub consumer_group: String,
    /// How it gets the topic's messages.
    #[serde(deserialize_with = "lenient")]
    pub mode: Option<MessageRequestMode>,
    /// With how many of the next members each shares its queues; 0 and less is with all.
    pub pop_share_queue_num: i32,
    /// The topic.
    pub topic: String,
}

impl Default for SetMessageRequestModeRequestBody {
    fn default() -> Self {
        Self {
            consumer_group: String::new(),
            mode: Some(MessageRequestMode::Pull),
            pop_share_queue_num: 0,
            topic: String::new(),
        }
    }
}

/// `messageRequestMode.json`, and answer to `GET_ALL_MESSAGE_REQUEST_MODE` (402).
///
/// Reference: `MessageRequestModeManager` (broker), `MessageRequestModeSerializeWrapper` (remoting),
/// 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageRequestModeTable {
    /// Settings by topic and group.
    pub message_request_mode_map:
        BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson::{self, Dialect};

    #[test]
    fn an_unknown_mode_is_read_and_written_as_none() {
        let text = r#"{"messageQueueAssignments":[{"messageQueue":{"topic":"t"},"mode":"PUSH"}]}"#;
        let body: QueryAssignmentResponseBody = fastjson::from_slice(text.as_bytes()).unwrap();
        let written = fastjson::to_vec(&body, Dialect::Raw).unwrap();
        assert_eq!(fastjson::from_slice::<QueryAssignmentResponseBody>(&written).unwrap(), body);
        assert_eq!(body.message_queue_assignments.unwrap()[0].mode, None);
    }

    #[test]
    fn assignment_without_a_list_is_an_empty_object() {
        let text = |body: &QueryAssignmentResponseBody| {
            String::from_utf8(fastjson::to_vec(body, Dialect::Raw).unwrap()).unwrap()
        };
        assert_eq!(text(&QueryAssignmentResponseBody::default()), "{}");
        let message_queue =
            MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: -1 };
        let mode = Some(MessageRequestMode::Pop);
        let assignments = vec![MessageQueueAssignment { message_queue, mode }];
        assert_eq!(
            text(&QueryAssignmentResponseBody { message_queue_assignments: Some(assignments) }),
            r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":-1,"topic":"t"},"mode":"POP"}]}"#
        );
    }
}
