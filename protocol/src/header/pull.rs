//! Pulling messages.

use super::HeaderError;
use crate::command::{CommandView, FieldValue};

header! {
    /// `PULL_MESSAGE` (11) and `LITE_PULL_MESSAGE` (361).
    ///
    /// Reference: `PullMessageRequestHeader` (remoting), 5.5.0.
    pub struct PullMessageRequestHeader {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        lite_topic: Option<String> = "liteTopic",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        max_msg_nums: i32 = "maxMsgNums",
        sys_flag: i32 = "sysFlag",
        commit_offset: i64 = "commitOffset",
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        subscription: Option<String> = "subscription",
        sub_version: i64 = "subVersion",
        expression_type: Option<String> = "expressionType",
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        request_source: Option<i32> = "requestSource",
        proxy_forward_client_id: Option<String> = "proxyFrowardClientId",
    }

    /// Answer to a pull.
    ///
    /// Reference: `PullMessageResponseHeader` (remoting), 5.5.0.
    pub struct PullMessageResponseHeader {
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        next_begin_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
        offset_delta: Option<i64> = "offsetDelta",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        forbidden_type: Option<i32> = "forbiddenType",
    }
}

/// Bits of a pull's `sysFlag`.
///
/// Reference: `PullSysFlag` (common), 5.5.0.
pub mod pull_sys_flag {
    /// `commitOffset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The pull may be held until a message arrives.
    pub const SUSPEND: i32 = 2;
    /// The request carries its own subscription.
    pub const SUBSCRIPTION: i32 = 4;
}

/// Who asks for messages.
///
/// Reference: `RequestSource` (remoting), 5.5.0.
pub mod request_source {
    /// A proxy, for a member of a group that broadcasts.
    pub const PROXY_FOR_BROADCAST: i32 = 1;
}

/// Header of a pull, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct PullMessageView<'a> {
    /// Group that pulls.
    pub consumer_group: FieldValue<'a>,
    /// Topic pulled from.
    pub topic: FieldValue<'a>,
    /// The lite topic of it that is pulled from, if any.
    pub lite_topic: Option<FieldValue<'a>>,
    /// Queue pulled from.
    pub queue_id: i32,
    /// First queue offset wanted.
    pub queue_offset: i64,
    /// Most messages wanted.
    pub max_msg_nums: i32,
    /// See [`pull_sys_flag`].
    pub sys_flag: i32,
    /// Offset to store, when the flag says so.
    pub commit_offset: i64,
    /// How long the pull may be held, ms.
    pub suspend_timeout_ms: i64,
    /// Filter expression of the request itself.
    pub subscription: Option<FieldValue<'a>>,
    /// Version of the subscription.
    pub sub_version: i64,
    /// `TAG` or `SQL92`; absent is `TAG`.
    pub expression_type: Option<FieldValue<'a>>,
    /// See [`request_source`]; absent is a client.
    pub request_source: Option<i32>,
    /// Id of the client that a proxy asks for.
    pub proxy_client_id: Option<FieldValue<'a>>,
}

impl<'a> PullMessageView<'a> {
    /// Reads the header in one pass over the fields.
    ///
    /// # Errors
    /// When a required field is missing or is not a number where it has to be one.
    pub fn decode(view: &CommandView<'a>) -> Result<Self, HeaderError> {
        // What the reference cannot do without, whatever its header class annotates.
        const REQUIRED: [&str; 6] =
            ["consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag"];
        let mut header = Self::default();
        let mut seen = 0_u16;
        for (key, value) in view.fields() {
            let key = key.raw();
            match key {
                b"consumerGroup" => header.consumer_group = value,
                b"topic" => header.topic = value,
                b"liteTopic" => header.lite_topic = Some(value),
                b"queueId" => header.queue_id = value.number("queueId")?,
                b"queueOffset" => header.queue_offset = value.number("queueOffset")?,
                b"maxMsgNums" => header.max_msg_nums = value.number("maxMsgNums")?,
                b"sysFlag" => header.sys_flag = value.number("sysFlag")?,
                b"commitOffset" => header.commit_offset = value.number("commitOffset")?,
                b"suspendTimeoutMillis" => {
                    header.suspend_timeout_ms = value.number("suspendTimeoutMillis")?;
                }
                b"subVersion" => header.sub_version = value.number("subVersion")?,
                b"subscription" => header.subscription = Some(value),
                b"expressionType" => header.expression_type = Some(value),
                b"requestSource" => header.request_source = Some(value.number("requestSource")?),
                // Nothing heeds it.
                b"maxMsgBytes" => drop(value.number::<i32>("maxMsgBytes")?),
                b"proxyFrowardClientId" => header.proxy_client_id = Some(value),
                _ => {}
            }
            if let Some(at) = REQUIRED.iter().position(|name| name.as_bytes() == key) {
                seen |= 1 << at;
            }
        }
        match seen.trailing_ones() as usize {
            6 => Ok(header),
            missing => Err(HeaderError::Missing(REQUIRED[missing])),
        }
    }
}
