//! Whether a topic may be as a tool asks for.

use oxmq_protocol::body::{TopicConfig, TopicFilterType, TopicQueueMappingDetail};
use oxmq_protocol::header::CreateTopicRequestHeader;

use super::Topics;
use crate::attributes::{self, Attributes, MESSAGE_TYPE};
use crate::error::RequestError;
use crate::limits::MAX_QUEUES_PER_TOPIC;
use crate::static_topic::MappingError;
use crate::topic_validator;

impl Topics {
    /// The topic that `header` asks for, if it may be so.
    pub(super) fn requested_topic(
        &self,
        header: CreateTopicRequestHeader,
    ) -> Result<TopicConfig, RequestError> {
        let attributes = attributes::parse(header.attributes.as_deref().unwrap_or_default())
            .map_err(RequestError::Unchangeable)?;
        let topic = TopicConfig {
            attributes,
            order: header.order,
            perm: header.perm,
            read_queue_nums: header.read_queue_nums,
            topic_filter_type: filter_type(&header.topic_filter_type)?,
            topic_name: header.topic,
            topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
            write_queue_nums: header.write_queue_nums,
        };
        self.check(&topic)?;
        Ok(topic)
    }

    pub(super) fn check(&self, topic: &TopicConfig) -> Result<(), RequestError> {
        topic_validator::validate_topic(&topic.topic_name)?;
        self.refuse_system_topic(&topic.topic_name)?;
        let queues =
            [("readQueueNums", topic.read_queue_nums), ("writeQueueNums", topic.write_queue_nums)];
        for (what, value) in queues {
            if !(0..=MAX_QUEUES_PER_TOPIC).contains(&value) {
                let limit = MAX_QUEUES_PER_TOPIC;
                return Err(RequestError::QueueNums { what, value, limit });
            }
        }
        self.refuse_mixed(&topic.attributes)
    }

    pub(super) fn refuse_system_topic(&self, topic: &str) -> Result<(), RequestError> {
        let is_checked = self.config.validate_system_topic_when_update_topic;
        if is_checked && self.topics.is_system_topic(topic) {
            return Err(RequestError::SystemTopic(topic.to_owned()));
        }
        Ok(())
    }

    fn refuse_mixed(&self, attributes: &Attributes) -> Result<(), RequestError> {
        let message_type = attributes.get(&format!("+{MESSAGE_TYPE}"));
        let is_mixed = message_type.is_some_and(|message_type| message_type == "MIXED");
        if is_mixed && !self.config.enable_mixed_message_type {
            return Err(RequestError::MixedMessageType);
        }
        Ok(())
    }

    /// What the reference only asserts: the mapping is the one of this topic on this broker.
    pub(super) fn check_mapping(
        &self,
        topic: &TopicConfig,
        mapping: &TopicQueueMappingDetail,
    ) -> Result<(), MappingError> {
        let names = [
            ("topic", &mapping.topic, &topic.topic_name),
            ("broker name", &mapping.bname, &self.config.broker_name),
        ];
        for (what, found, expected) in names {
            if found.as_ref() != Some(expected) {
                let found = found.clone().unwrap_or_default();
                return Err(MappingError::Other { what, found, expected: expected.clone() });
            }
        }
        let ids = mapping.hosted_queues.keys();
        let mut numbers = ids.chain([&mapping.total_queues]);
        match numbers.find(|number| !(0..=MAX_QUEUES_PER_TOPIC).contains(*number)) {
            None => Ok(()),
            Some(number) => Err(MappingError::Other {
                what: "number of queues",
                found: number.to_string(),
                expected: format!("one up to {MAX_QUEUES_PER_TOPIC}"),
            }),
        }
    }
}

fn filter_type(name: &str) -> Result<TopicFilterType, RequestError> {
    match name {
        "SINGLE_TAG" => Ok(TopicFilterType::SingleTag),
        "MULTI_TAG" => Ok(TopicFilterType::MultiTag),
        _ => Err(RequestError::Unchangeable(format!(
            "No enum constant org.apache.rocketmq.common.TopicFilterType.{name}"
        ))),
    }
}
