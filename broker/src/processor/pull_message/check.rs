//! Whether a pull may be made, and what it asks for.

use std::sync::Arc;

use oxmq_protocol::body::MASTER_ID;
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{PullMessageView, pull_sys_flag, request_source};
use oxmq_remoting::Connection;

use super::PullMessage;
use super::part::Place;
use crate::broadcast_offset::Broadcaster;
use crate::error::RequestError;
use crate::filter::{MessageFilter, SqlFilter};
use crate::limits::MAX_PULL_MESSAGES;
use crate::perm;
use crate::pop::lite::queue_name;
use crate::pull_hold::{PullRequest, PulledPart};
use crate::topic_validator::{is_blank, is_system_group};

/// Where a pull that may be made is answered.
pub(super) enum Checked {
    Here(PullRequest),
    Elsewhere(Box<PulledPart>),
}

impl PullMessage {
    /// Checks in the reference's order.
    pub(super) fn check(
        &self,
        header: &PullMessageView<'_>,
        lite: bool,
        request: &CommandView<'_>,
        connection: &Connection,
    ) -> Result<Checked, RequestError> {
        if !perm::is_readable(self.config.broker_permission) {
            return Err(RequestError::BrokerPullForbidden(self.config.broker_ip1.clone()));
        }
        if lite && !self.config.lite_pull_message_enable {
            return Err(RequestError::LitePullForbidden(self.config.broker_ip1.clone()));
        }
        let group_name = header.consumer_group.text();
        let group = self
            .groups
            .find_or_create(&group_name)
            .ok_or_else(|| RequestError::PullGroupNotExist(group_name.to_string()))?;
        if !group.consume_enable {
            return Err(RequestError::GroupNotPermitted(group_name.into_owned()));
        }
        let topic_name = header.topic.text();
        let topic = self
            .topics
            .get(&topic_name)
            .ok_or_else(|| RequestError::PullTopicNotExist(topic_name.to_string()))?;
        if !perm::is_readable(topic.perm) {
            return Err(RequestError::TopicPullForbidden(topic_name.into_owned()));
        }
        let mut part = self.part(header, &topic_name, request)?;
        if let Some(part) = part.take_if(|part| !part.queue.is_here(&part.item)) {
            return Ok(Checked::Elsewhere(part));
        }
        let place = match &part {
            Some(part) => part.place(header.max_msg_nums),
            None => Place {
                queue_id: header.queue_id,
                offset: header.queue_offset,
                max_messages: header.max_msg_nums,
            },
        };
        let queue_id = place.queue_id;
        if !(0..topic.read_queue_nums).contains(&queue_id) {
            return Err(RequestError::PullQueueIdIllegal {
                queue_id,
                topic: topic_name.into_owned(),
                read_queue_nums: topic.read_queue_nums,
                consumer: connection.peer(),
            });
        }
        let filter = self.filter(header, &group_name, &topic_name)?;
        if self.config.reject_pull_consumer_enable
            && !self.consumers.may_pull(&group_name, connection)
            && !is_system_group(&group_name)
        {
            return Err(RequestError::PullConsumerRejected);
        }
        let lite_topic = header.lite_topic.map(|name| name.text()).filter(|name| !is_blank(name));
        let light_queue = lite_topic.and_then(|lite_topic| queue_name(&topic_name, &lite_topic));
        Ok(Checked::Here(PullRequest {
            filter,
            is_members: header.sys_flag & pull_sys_flag::SUBSCRIPTION == 0,
            broadcaster: self.broadcaster(header, &group_name, connection),
            group: group_name.into(),
            topic: light_queue.map_or_else(|| topic_name.into(), String::into_boxed_str),
            queue_id,
            offset: place.offset,
            max_messages: place.max_messages.clamp(0, MAX_PULL_MESSAGES),
            topic_sys_flag: topic.topic_sys_flag,
            group_sys_flag: group.group_sys_flag,
            suggested_brokers: if self.config.slave_read_enable {
                (group.broker_id, group.which_broker_when_consume_slowly)
            } else {
                (MASTER_ID, MASTER_ID)
            },
            part,
        }))
    }

    /// The subscription of the request itself, or the one that the group's heartbeats brought.
    fn filter(
        &self,
        header: &PullMessageView<'_>,
        group: &str,
        topic: &str,
    ) -> Result<MessageFilter, RequestError> {
        if header.sys_flag & pull_sys_flag::SUBSCRIPTION != 0 {
            let kind = header.expression_type.map(|kind| kind.text().into_owned());
            return match kind.as_deref() {
                None | Some("" | "TAG") => {
                    let expression = header.subscription.map(|text| text.text());
                    MessageFilter::from_tags(expression.as_deref().unwrap_or("*"))
                        .ok_or(RequestError::SubscriptionParse)
                }
                Some(kind) => {
                    if !self.config.enable_property_filter {
                        return Err(RequestError::FilterTypeNotSupported(kind.to_owned()));
                    }
                    let text = header.subscription.map(|text| text.text());
                    let filter = SqlFilter::compile_as(kind, text.as_deref().unwrap_or_default())
                        .map_err(|_| RequestError::SubscriptionParse)?;
                    Ok(MessageFilter::Sql(Arc::new(filter)))
                }
            };
        }
        self.consumers.filter(group, topic, header.sub_version)
    }

    /// Who pulls, if its group broadcasts.
    fn broadcaster(
        &self,
        header: &PullMessageView<'_>,
        group: &str,
        connection: &Connection,
    ) -> Option<Broadcaster> {
        if !self.config.enable_broadcast_offset_store {
            return None;
        }
        if header.request_source == Some(request_source::PROXY_FOR_BROADCAST) {
            let client_id = header.proxy_client_id?.text().into();
            return Some(Broadcaster { client_id, from_proxy: true });
        }
        let client_id = self.consumers.broadcaster(group, connection)?;
        Some(Broadcaster { client_id, from_proxy: false })
    }
}
