//! `HEART_BEAT` (34), `UNREGISTER_CLIENT` (35) and `CHECK_CLIENT_CONFIG` (46).
//!
//! Reference: `ClientManageProcessor` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::body::{
    CheckClientRequestBody, ConsumeType, ConsumerData, HeartbeatData, is_tag_type,
};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{Header as _, HeaderError, UnregisterClientRequestHeader};
use oxmq_remoting::Connection;

use super::{Answer, success};
use crate::channel::{Channel, ClientInfo};
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::error::RequestError;
use crate::filter::SqlFilter;
use crate::limits::{MAX_CLIENT_NAME_BYTES, MAX_GROUPS_PER_HEARTBEAT};
use crate::perm;
use crate::producer::ProducerManager;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::{TopicConfigManager, UNIT_SUB_FLAG};
use crate::topic_validator;

/// Keeps track of clients.
#[derive(Debug)]
pub(crate) struct ClientManage<C = Connection> {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    consumers: Arc<ConsumerManager<C>>,
    producers: Arc<ProducerManager<C>>,
}

impl<C: Channel> ClientManage<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        tables: &Tables,
        consumers: Arc<ConsumerManager<C>>,
        producers: Arc<ProducerManager<C>>,
    ) -> Self {
        let (topics, groups) = (Arc::clone(&tables.topics), Arc::clone(&tables.groups));
        Self { config, topics, groups, consumers, producers }
    }

    /// Notes which groups a client belongs to and what those subscribe to.
    pub(crate) fn heart_beat(&self, request: &CommandView<'_>, channel: &Arc<C>) -> Answer {
        let heartbeat: HeartbeatData = fastjson::from_slice(request.body)?;
        let count = heartbeat.consumer_data_set.len() + heartbeat.producer_data_set.len();
        if count > MAX_GROUPS_PER_HEARTBEAT {
            let limit = MAX_GROUPS_PER_HEARTBEAT;
            return Err(RequestError::TooMany { what: "groups", count, limit });
        }
        // One that names no group changes nothing and needs no name itself.
        if count > 0 && heartbeat.client_id.is_empty() {
            return Err(HeaderError::Missing("clientID").into());
        }
        check_names(&heartbeat)?;
        let client = ClientInfo::of_request(channel, &heartbeat.client_id, request, Instant::now());
        let mut is_sub_change = heartbeat.heartbeat_fingerprint == 0;
        for consumer in &heartbeat.consumer_data_set {
            self.consumers.check_room(channel, consumer)?;
            is_sub_change |= self.register_consumer(&client, &heartbeat, consumer);
        }
        for producer in &heartbeat.producer_data_set {
            self.register_producer(&client, &producer.group_name);
        }
        let mut answer = success();
        answer.ext_fields.insert("IS_SUPPORT_HEART_BEAT_V2", "true");
        answer.ext_fields.insert("IS_SUB_CHANGE", is_sub_change.to_string());
        Ok(answer)
    }

    /// Returns whether another heartbeat of the group had other subscriptions, or none are known, so that
    /// this client has to send its own in full.
    fn register_consumer(
        &self,
        client: &ClientInfo<C>,
        heartbeat: &HeartbeatData,
        consumer: &ConsumerData,
    ) -> bool {
        let pulls = consumer.consume_type == Some(ConsumeType::ConsumeActively);
        if pulls && self.config.reject_pull_consumer_enable {
            return false;
        }
        // A group that may not be created is passed over in silence, as in the reference.
        let Some(group) = self.groups.find_or_create(&consumer.group_name) else { return false };
        let fingerprint = heartbeat.heartbeat_fingerprint;

        let subscriptions = &consumer.subscription_data_set;
        let has_ordered = subscriptions.iter().any(|data| self.topics.is_ordered(&data.topic));
        self.topics.create_in_send_back(
            &topic_validator::retry_topic(&consumer.group_name),
            group.retry_queue_nums,
            perm::READ | perm::WRITE,
            has_ordered,
            if consumer.unit_mode { UNIT_SUB_FLAG } else { 0 },
        );
        let with_subscriptions = fingerprint == 0 || !heartbeat.without_sub;
        let notify = group.notify_consumer_ids_changed_enable;
        self.consumers.register(client, consumer, with_subscriptions, notify);
        let before = self.consumers.note_fingerprint(&consumer.group_name, fingerprint);
        // As after a restart, or when all of a group were away for a moment.
        let are_missing =
            !with_subscriptions && !self.consumers.has_subscriptions(&consumer.group_name);
        before.is_some_and(|before| before != fingerprint) || are_missing
    }

    fn register_producer(&self, client: &ClientInfo<C>, group: &str) {
        // Without transactions nobody asks who the producers are.
        if self.config.enable_register_producer || !self.config.reject_transaction_message {
            self.producers.register(group, client);
        }
    }

    /// Takes a client out of its groups.
    pub(crate) fn unregister_client(&self, request: &CommandView<'_>, channel: &Arc<C>) -> Answer {
        let header = UnregisterClientRequestHeader::decode(request)?;
        if let Some(group) = header.producer_group {
            self.producers.unregister(&group, channel);
        }
        if let Some(group) = header.consumer_group {
            let config = self.groups.get(&group);
            let notify = config.is_none_or(|group| group.notify_consumer_ids_changed_enable);
            self.consumers.unregister(&group, channel, notify);
        }
        Ok(success())
    }

    /// Tells a client whether its filter will work here.
    pub(crate) fn check_client_config(&self, request: &CommandView<'_>) -> Answer {
        if request.body.is_empty() {
            return Ok(success());
        }
        let body: CheckClientRequestBody = fastjson::from_slice(request.body)?;
        match body.subscription_data {
            Some(data) if !is_tag_type(&data.expression_type) => {
                if !self.config.enable_property_filter {
                    return Err(RequestError::FilterTypeNotSupported(data.expression_type));
                }
                SqlFilter::compile_as(&data.expression_type, &data.sub_string)?;
            }
            _ => {}
        }
        Ok(success())
    }

    /// A connection ended: its client leaves every group.
    pub(crate) fn connection_closed(&self, channel: &C) {
        self.consumers.close(channel);
        self.producers.close(channel);
    }
}

/// Refuses names that would be kept for each group of a heartbeat, or for each heartbeat.
fn check_names(heartbeat: &HeartbeatData) -> Result<(), RequestError> {
    let consumers = heartbeat.consumer_data_set.iter().map(|data| &data.group_name);
    let producers = heartbeat.producer_data_set.iter().map(|data| &data.group_name);
    let names = consumers.chain(producers).chain([&heartbeat.client_id]);
    match names.map(String::len).max() {
        Some(count) if count > MAX_CLIENT_NAME_BYTES => Err(RequestError::TooMany {
            what: "bytes of a name",
            count,
            limit: MAX_CLIENT_NAME_BYTES,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::TopicConfig;
    use oxmq_protocol::command::RemotingCommand;
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;

    fn processor(m: &Managers) -> ClientManage<TestChannel> {
        ClientManage::new(
            Arc::clone(&m.config),
            &m.tables,
            Arc::clone(&m.consumers),
            Arc::clone(&m.producers),
        )
    }

    fn beat(
        processor: &ClientManage<TestChannel>,
        channel: &Arc<TestChannel>,
        body: &str,
    ) -> Answer {
        let request = request(&[]).with_body(body.as_bytes().to_vec());
        with_view(&request, |view| processor.heart_beat(view, channel))
    }

    fn consumer(fingerprint: i32, consume_type: &str, topic: &str) -> String {
        format!(
            r#"{{"clientID":"c","heartbeatFingerprint":{fingerprint},
            "producerDataSet":[{{"groupName":"p"}}],
            "consumerDataSet":[{{"groupName":"g","consumeType":"{consume_type}",
            "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",
            "subscriptionDataSet":[{{"topic":"{topic}","subString":"*","subVersion":1}}]}}]}}"#
        )
    }

    const PUSH: &str = "CONSUME_PASSIVELY";

    fn sub_change(answer: RemotingCommand) -> String {
        assert_eq!(answer.ext_fields.get("IS_SUPPORT_HEART_BEAT_V2").as_deref(), Some("true"));
        answer.ext_fields.get("IS_SUB_CHANGE").unwrap().into_owned()
    }

    #[test]
    fn heartbeat_registers_the_client_and_creates_group_and_retry_topic() {
        let m = managers(|_| ());
        let (processor, channel) = (processor(&m), TestChannel::new(1));
        let answer = beat(&processor, &channel, &consumer(0, PUSH, "t")).unwrap();
        assert_eq!(sub_change(answer), "true");
        assert_eq!(m.consumers.client_ids("g"), ["c"]);
        assert_eq!(m.producers.find_channel("c").unwrap().id(), 1);
        let retry = m.topics.get("%RETRY%g").unwrap();
        assert_eq!((retry.read_queue_nums, retry.perm, retry.order), (1, 6, false));
        assert!(m.groups.get("g").is_some());
    }

    #[test]
    fn retry_topic_is_ordered_when_a_subscribed_topic_is() {
        let m = managers(|_| ());
        m.topics.update(TopicConfig { order: true, ..TopicConfig::new("t") }).unwrap();
        beat(&processor(&m), &TestChannel::new(1), &consumer(0, PUSH, "t")).unwrap();
        assert!(m.topics.is_ordered("%RETRY%g"));
    }

    #[test]
    fn group_that_may_not_be_created_is_passed_over() {
        let m = managers(|config| config.auto_create_subscription_group = false);
        let answer = beat(&processor(&m), &TestChannel::new(1), &consumer(0, PUSH, "t")).unwrap();
        assert_eq!(sub_change(answer), "true");
        assert!(!m.consumers.is_online("g"));
        assert!(m.producers.connections("p").is_some(), "the producer is taken all the same");
    }

    #[test]
    fn consumers_that_pull_on_their_own_account_can_be_rejected() {
        let m = managers(|config| config.reject_pull_consumer_enable = true);
        let (processor, channel) = (processor(&m), TestChannel::new(1));
        beat(&processor, &channel, &consumer(0, "CONSUME_ACTIVELY", "t")).unwrap();
        assert!(!m.consumers.is_online("g"));
        beat(&processor, &channel, &consumer(0, PUSH, "t")).unwrap();
        assert!(m.consumers.is_online("g"));
    }

    #[test]
    fn heartbeat_with_a_fingerprint_says_whether_the_group_has_another_one() {
        let m = managers(|_| ());
        let (processor, channel) = (processor(&m), TestChannel::new(1));
        let change = |fingerprint| {
            sub_change(beat(&processor, &channel, &consumer(fingerprint, PUSH, "t")).unwrap())
        };
        assert_eq!(change(7), "false", "nothing was remembered");
        assert_eq!(change(7), "false");
        assert_eq!(change(8), "true");
        assert_eq!(change(8), "false");

        let without = r#"{"clientID":"c","heartbeatFingerprint":8,"withoutSub":true,
            "consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY"}]}"#;
        assert_eq!(sub_change(beat(&processor, &channel, without).unwrap()), "false");
        assert!(m.consumers.is_subscribed("g", "t"));

        processor.connection_closed(&channel);
        assert_eq!(change(9), "false", "nobody is left who has another one");
    }

    #[test]
    fn client_that_leaves_its_subscriptions_out_hears_when_they_are_not_known() {
        let m = managers(|_| ());
        let (processor, first) = (processor(&m), TestChannel::new(1));
        beat(&processor, &first, &consumer(7, PUSH, "t")).unwrap();
        processor.connection_closed(&first);
        let again = TestChannel::new(2);
        let without = r#"{"clientID":"c","heartbeatFingerprint":7,"withoutSub":true,
            "consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY"}]}"#;
        assert_eq!(sub_change(beat(&processor, &again, without).unwrap()), "true");
        let full = consumer(7, PUSH, "t");
        assert_eq!(sub_change(beat(&processor, &again, &full).unwrap()), "false");
        assert_eq!(sub_change(beat(&processor, &again, without).unwrap()), "false");
        assert!(m.consumers.is_subscribed("g", "t"));
    }

    #[test]
    fn heartbeat_with_a_name_that_no_client_has_is_refused() {
        let m = managers(|_| ());
        let (processor, channel) = (processor(&m), TestChannel::new(1));
        let long = "x".repeat(MAX_CLIENT_NAME_BYTES + 1);
        let producer = |client: &str, group: &str| {
            format!(r#"{{"clientID":"{client}","producerDataSet":[{{"groupName":"{group}"}}]}}"#)
        };
        for body in [producer(&long, "p"), producer("c", &long)] {
            let error = beat(&processor, &channel, &body).unwrap_err().to_string();
            assert_eq!(error, "too many bytes of a name in one request: 1025, at most 1024");
        }
        assert!(beat(&processor, &channel, &producer(&long[1..], &long[1..])).is_ok());
    }

    #[test]
    fn heartbeat_that_is_no_json_is_refused() {
        let m = managers(|_| ());
        let refused = beat(&processor(&m), &TestChannel::new(1), "{\"clientID\"").unwrap_err();
        assert_eq!(refused.response_code().0, 1);
    }

    #[test]
    fn client_unregisters_from_both_kinds_of_group_and_always_succeeds() {
        let m = managers(|_| ());
        let (processor, channel) = (processor(&m), TestChannel::new(1));
        beat(&processor, &channel, &consumer(0, PUSH, "t")).unwrap();
        let unregister = |fields: &[(&str, &str)]| {
            with_view(&request(fields), |view| processor.unregister_client(view, &channel))
        };
        unregister(&[("clientID", "c"), ("producerGroup", "p"), ("consumerGroup", "")]).unwrap();
        assert!(m.producers.connections("p").is_none() && m.consumers.is_online("g"));
        unregister(&[("clientID", "c"), ("consumerGroup", "g")]).unwrap();
        assert!(!m.consumers.is_online("g"));
        unregister(&[]).unwrap();
        assert!(m.groups.get("").is_none());
    }

    #[test]
    fn filters_other_than_tags_are_refused_in_the_words_of_the_reference() {
        let m = managers(|_| ());
        let processor = processor(&m);
        let check = |body: &str| {
            let request = request(&[]).with_body(body.as_bytes().to_vec());
            with_view(&request, |view| processor.check_client_config(view))
        };
        assert!(check("").is_ok());
        assert!(check(r#"{"subscriptionData":{"expressionType":"TAG"}}"#).is_ok());
        assert!(check(r#"{"subscriptionData":{"topic":"t"}}"#).is_ok());
        let refused = check(r#"{"subscriptionData":{"expressionType":"SQL92"}}"#).unwrap_err();
        assert_eq!(refused.response_code().0, 1);
        assert_eq!(
            refused.to_string(),
            "The broker does not support consumer to filter message by SQL92"
        );
    }
}
