//! `GET_ALL_CONSUMER_OFFSET` (43), `QUERY_TOPIC_CONSUME_BY_WHO` (300), `CLONE_GROUP_OFFSET` (314),
//! `QUERY_TOPICS_BY_CONSUMER` (343), `QUERY_SUBSCRIPTION_BY_CONSUMER` (345) and
//! `GET_SUBSCRIPTIONGROUP_CONFIG` (352).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::collections::BTreeSet;
use std::sync::Arc;

use oxmq_protocol::body::{GroupList, QuerySubscriptionResponseBody, TopicList};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    CloneGroupOffsetRequestHeader, GetSubscriptionGroupConfigRequestHeader, Header as _,
    QuerySubscriptionByConsumerRequestHeader, QueryTopicConsumeByWhoRequestHeader,
    QueryTopicsByConsumerRequestHeader,
};
use oxmq_remoting::Connection;

use super::{Answer, success, success_with};
use crate::channel::Channel;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic_validator;

/// Tells tools which groups have to do with which topics.
#[derive(Debug)]
pub(crate) struct GroupQuery<C = Connection> {
    config: Arc<BrokerConfig>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    consumers: Arc<ConsumerManager<C>>,
}

impl<C: Channel> GroupQuery<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        groups: Arc<SubscriptionGroupManager>,
        offsets: Arc<ConsumerOffsetManager>,
        consumers: Arc<ConsumerManager<C>>,
    ) -> Self {
        Self { config, groups, offsets, consumers }
    }

    /// Answers with the offsets of all groups.
    pub(crate) fn all_consumer_offsets(&self) -> Answer {
        success_with(&self.offsets.snapshot())
    }

    /// Answers with the groups that consume a topic now or have before.
    pub(crate) fn consumers_of_topic(&self, request: &CommandView<'_>) -> Answer {
        let topic = QueryTopicConsumeByWhoRequestHeader::decode(request)?.topic;
        let mut group_list = self.consumers.subscribers_of(&topic);
        group_list.extend(self.offsets.groups_of(&topic));
        success_with(&GroupList { group_list })
    }

    /// Answers with the topics that a group has offsets of.
    pub(crate) fn topics_of_consumer(&self, request: &CommandView<'_>) -> Answer {
        let group = QueryTopicsByConsumerRequestHeader::decode(request)?.group;
        success_with(&TopicList {
            topic_list: self.offsets.topics_of(&group).into_iter().collect(),
            broker_addr: Some(self.config.broker_address()),
        })
    }

    /// Answers with what a group wants of a topic.
    pub(crate) fn subscription(&self, request: &CommandView<'_>) -> Answer {
        let QuerySubscriptionByConsumerRequestHeader { group, topic } =
            QuerySubscriptionByConsumerRequestHeader::decode(request)?;
        let subscription_data = self.consumers.subscription(&group, topic.as_deref().unwrap_or(""));
        success_with(&QuerySubscriptionResponseBody { subscription_data, group, topic })
    }

    /// Has one group go on where another is, which may be created for it.
    pub(crate) fn clone_offsets(&self, request: &CommandView<'_>) -> Answer {
        let CloneGroupOffsetRequestHeader { src_group, dest_group, topic, offline } =
            CloneGroupOffsetRequestHeader::decode(request)?;
        let mut topics = match topic.filter(|topic| !topic_validator::is_blank(topic)) {
            Some(topic) => BTreeSet::from([topic]),
            None => self.offsets.topics_of(&src_group),
        };
        if !offline && self.consumers.has_subscriptions(&src_group) {
            topics.retain(|topic| self.consumers.is_subscribed(&src_group, topic));
        }
        if self.groups.find_or_create(&dest_group).is_none() {
            return Err(RequestError::NoGroup);
        }
        for topic in topics {
            self.offsets.clone_offsets(&src_group, &dest_group, &topic);
        }
        Ok(success())
    }

    /// Answers with a group's settings. Asking creates a group that may be, as in the reference.
    pub(crate) fn group_config(&self, request: &CommandView<'_>) -> Answer {
        let group = GetSubscriptionGroupConfigRequestHeader::decode(request)?.group;
        match self.groups.find_or_create(&group) {
            Some(group) => success_with(&*group),
            None => Err(RequestError::NoGroup),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::super::testing::{Managers, body, managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;

    fn processor(m: &Managers) -> GroupQuery<TestChannel> {
        GroupQuery::new(
            Arc::clone(&m.config),
            Arc::clone(&m.groups),
            Arc::clone(&m.offsets),
            Arc::clone(&m.consumers),
        )
    }

    #[test]
    fn groups_and_topics_are_found_by_each_other() {
        let m = managers(|config| config.broker_ip1 = "192.0.2.9".to_owned());
        let processor = processor(&m);
        m.offsets.commit("away", "t", 0, 5);
        m.join("c", "here", "t");

        let ask = request(&[("topic", "t"), ("group", "away")]);
        let answer = with_view(&ask, |view| processor.consumers_of_topic(view)).unwrap();
        assert_eq!(body(&answer), r#"{"groupList":["away","here"]}"#);
        let answer = with_view(&ask, |view| processor.topics_of_consumer(view)).unwrap();
        assert_eq!(body(&answer), r#"{"brokerAddr":"192.0.2.9:10911","topicList":["t"]}"#);
        let answer = with_view(&ask, |view| processor.subscription(view)).unwrap();
        assert_eq!(body(&answer), r#"{"group":"away","topic":"t"}"#);
        let ask = request(&[("topic", "t"), ("group", "here")]);
        let answer = with_view(&ask, |view| processor.subscription(view)).unwrap();
        assert!(body(&answer).contains(r#""subscriptionData":{"#), "{}", body(&answer));
        let answer = processor.all_consumer_offsets().unwrap();
        assert!(body(&answer).contains(r#""offsetTable":{"t@away":{0:5}}"#), "{}", body(&answer));
    }

    #[test]
    fn offsets_of_one_topic_or_all_are_cloned() {
        let m = managers(|_| ());
        m.offsets.commit("g", "t", 0, 5);
        m.offsets.commit("g", "u", 0, 6);
        let clone = |more: &[(&str, &str)]| {
            let mut fields = vec![("srcGroup", "g"), ("destGroup", "h")];
            fields.extend(more);
            with_view(&request(&fields), |view| processor(&m).clone_offsets(view)).unwrap();
        };
        clone(&[("topic", "t")]);
        assert_eq!(m.offsets.topics_of("h").len(), 1);
        clone(&[]);
        assert_eq!(m.offsets.query("h", "u", 0), Some(6));
    }

    #[test]
    fn what_cannot_be_a_group_is_given_no_offsets() {
        let m = managers(|_| ());
        m.offsets.commit("g", "t", 0, 5);
        let ask = request(&[("srcGroup", "g"), ("destGroup", "no group"), ("topic", "t")]);
        let refused = with_view(&ask, |view| processor(&m).clone_offsets(view)).unwrap_err();
        assert_eq!(refused.response_code().0, 26);
        assert!(m.offsets.topics_of("no group").is_empty());
    }

    #[test]
    fn asking_for_a_group_creates_it_if_that_may_be() {
        let ask = request(&[("group", "g")]);
        let m = managers(|_| ());
        let answer = with_view(&ask, |view| processor(&m).group_config(view)).unwrap();
        assert!(body(&answer).contains(r#""groupName":"g""#));
        let m = managers(|config| config.auto_create_subscription_group = false);
        let refused = with_view(&ask, |view| processor(&m).group_config(view)).unwrap_err();
        assert_eq!(
            (refused.response_code().0, refused.to_string()),
            (26, "No group in this broker".to_owned())
        );
    }
}
