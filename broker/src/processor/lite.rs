//! `POP_LITE_MESSAGE` (200070) and `LITE_SUBSCRIPTION_CTL` (200071).
//!
//! Reference: `PopLiteMessageProcessor`, `LiteSubscriptionCtlProcessor` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::body::LiteSubscriptionCtlRequestBody;
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{Header as _, PopLiteMessageRequestHeader};
use oxmq_remoting::{Connection, Reply};

use super::pop_message::check_opening;
use super::{Answer, refuse, success};
use crate::channel::Channel;
use crate::config::BrokerConfig;
use crate::error::{LiteError, RequestError};
use crate::limits::MAX_POP_MESSAGES;
use crate::perm;
use crate::pop::lite::{HeldLite, LiteRequest, LiteService, has_lite_topics};
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;

/// Gives clients messages of the lite topics that they subscribe.
#[derive(Debug)]
pub(crate) struct LiteTopics {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    lite: Arc<LiteService>,
}

impl LiteTopics {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        lite: Arc<LiteService>,
    ) -> Self {
        Self { config, topics, groups, lite }
    }

    /// Gives messages for a while, at once or when they come.
    pub(crate) fn pop(&self, request: &CommandView<'_>, reply: Reply) {
        match self.check_pop(request) {
            Ok((request, deadline)) => self.lite.serve(HeldLite { reply, request, deadline }),
            Err(error) => refuse(&error, reply),
        }
    }

    /// Notes what clients subscribe.
    pub(crate) fn subscribe(
        &self,
        request: &CommandView<'_>,
        connection: &Arc<Connection>,
    ) -> Answer {
        if request.body.is_empty() {
            return Err(LiteError::Empty("Request body is null.").into());
        }
        let body: LiteSubscriptionCtlRequestBody = fastjson::from_slice(request.body)?;
        if body.subscription_set.is_empty() {
            return Err(LiteError::Empty("LiteSubscriptionCtlRequestBody is empty.").into());
        }
        let channel = Arc::clone(connection) as Arc<dyn Channel>;
        for entry in &body.subscription_set {
            self.lite.subscribe(entry, &channel)?;
        }
        Ok(success())
    }

    /// Checks in the reference's order.
    fn check_pop(&self, request: &CommandView<'_>) -> Result<(LiteRequest, Instant), RequestError> {
        let header = PopLiteMessageRequestHeader::decode(request)?;
        let (born_ms, poll_ms) = (header.born_time, header.poll_time);
        let deadline = check_opening(&self.config, born_ms, poll_ms, header.max_msg_num)?;
        let PopLiteMessageRequestHeader { consumer_group: group, topic, .. } = &header;
        let found =
            self.topics.get(topic).ok_or_else(|| LiteError::PopTopicNotExist(topic.clone()))?;
        if !perm::is_readable(found.perm) {
            return Err(LiteError::PopForbidden(topic.clone()).into());
        }
        if !has_lite_topics(&found) {
            return Err(LiteError::PopTopicType(topic.clone()).into());
        }
        let found = self
            .groups
            .find_or_create(group)
            .ok_or_else(|| LiteError::PopGroupNotExist(group.clone()))?;
        if !found.consume_enable {
            return Err(RequestError::GroupNotPermitted(group.clone()));
        }
        if self.lite.bound_topic(group).as_ref() != Some(topic) {
            return Err(LiteError::PopBind(group.clone()).into());
        }
        let request = LiteRequest {
            client: header.client_id.into(),
            group: header.consumer_group.into(),
            topic: header.topic.into(),
            max_messages: header.max_msg_num.clamp(0, MAX_POP_MESSAGES).unsigned_abs(),
            invisible_ms: header.invisible_time,
            poll_ms: header.poll_time,
            attempt: header.attempt_id.map(String::into_boxed_str),
        };
        Ok((request, deadline))
    }
}
