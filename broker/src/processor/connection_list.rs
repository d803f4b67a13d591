//! `GET_CONSUMER_LIST_BY_GROUP` (38), `GET_CONSUMER_CONNECTION_LIST` (203),
//! `GET_PRODUCER_CONNECTION_LIST` (204) and `GET_ALL_PRODUCER_INFO` (328).
//!
//! Reference: `ConsumerManageProcessor`, `AdminBrokerProcessor` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::body::GetConsumerListByGroupResponseBody;
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{
    GetConsumerConnectionListRequestHeader, GetConsumerListByGroupRequestHeader,
    GetProducerConnectionListRequestHeader, Header as _,
};
use oxmq_remoting::Connection;

use super::{Answer, success_with};
use crate::channel::Channel;
use crate::clock::now_ms;
use crate::consumer::ConsumerManager;
use crate::error::RequestError;
use crate::producer::ProducerManager;

/// Tells who is in a group.
#[derive(Debug)]
pub(crate) struct ConnectionList<C = Connection> {
    consumers: Arc<ConsumerManager<C>>,
    producers: Arc<ProducerManager<C>>,
}

impl<C: Channel> ConnectionList<C> {
    pub(crate) fn new(
        consumers: Arc<ConsumerManager<C>>,
        producers: Arc<ProducerManager<C>>,
    ) -> Self {
        Self { consumers, producers }
    }

    /// Tells a member who shares the group's queues with it.
    pub(crate) fn consumer_list_by_group(&self, request: &CommandView<'_>) -> Answer {
        let group = GetConsumerListByGroupRequestHeader::decode(request)?.consumer_group;
        let consumer_id_list = self.consumers.client_ids(&group);
        if consumer_id_list.is_empty() {
            return Err(RequestError::NoConsumer(group));
        }
        success_with(&GetConsumerListByGroupResponseBody { consumer_id_list })
    }

    /// Tells a tool about the members and subscriptions of a consumer group.
    pub(crate) fn consumer_connections(&self, request: &CommandView<'_>) -> Answer {
        let group = GetConsumerConnectionListRequestHeader::decode(request)?.consumer_group;
        match self.consumers.connections(&group) {
            Some(connections) => success_with(&connections),
            None => Err(RequestError::ConsumerNotOnline(group)),
        }
    }

    /// Tells a tool about the members of a producer group.
    pub(crate) fn producer_connections(&self, request: &CommandView<'_>) -> Answer {
        let group = GetProducerConnectionListRequestHeader::decode(request)?.producer_group;
        match self.producers.connections(&group) {
            Some(connections) => success_with(&connections),
            None => Err(RequestError::ProducerGroupNotExist(group)),
        }
    }

    /// Tells a tool about the members of all producer groups.
    pub(crate) fn all_producers(&self) -> Answer {
        success_with(&self.producers.table(Instant::now(), now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::{ConsumeType, ConsumerData, SubscriptionData};

    use super::super::testing::{body, managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;

    #[test]
    fn groups_are_listed_as_the_reference_lists_them() {
        let m = managers(|_| ());
        let processor = ConnectionList::new(Arc::clone(&m.consumers), Arc::clone(&m.producers));
        let consumer = request(&[("consumerGroup", "g")]);
        let producer = request(&[("producerGroup", "p")]);
        let refused = |answer: Answer| {
            let error = answer.unwrap_err();
            (error.response_code().0, error.to_string())
        };
        assert_eq!(
            refused(with_view(&consumer, |view| processor.consumer_list_by_group(view))),
            (1, "no consumer for this group, g".to_owned())
        );
        assert_eq!(
            refused(with_view(&consumer, |view| processor.consumer_connections(view))),
            (206, "the consumer group[g] not online".to_owned())
        );
        assert_eq!(
            refused(with_view(&producer, |view| processor.producer_connections(view))),
            (1, "the producer group[p] not exist".to_owned())
        );

        let client = TestChannel::new(1).client("c", Instant::now());
        m.producers.register("p", &client);
        let data = ConsumerData {
            group_name: "g".to_owned(),
            consume_type: Some(ConsumeType::ConsumePassively),
            subscription_data_set: vec![SubscriptionData {
                topic: "t".to_owned(),
                sub_string: "*".to_owned(),
                sub_version: 5,
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        };
        m.consumers.register(&client, &data, true, true);
        let answer = with_view(&consumer, |view| processor.consumer_list_by_group(view)).unwrap();
        assert_eq!(body(&answer), r#"{"consumerIdList":["c"]}"#);
        let answer = with_view(&producer, |view| processor.producer_connections(view)).unwrap();
        let member =
            r#"{"clientAddr":"192.0.2.1:1025","clientId":"c","language":"JAVA","version":479}"#;
        assert_eq!(body(&answer), format!(r#"{{"connectionSet":[{member}]}}"#));
        let all = processor.all_producers().unwrap();
        let producer = r#"{"data":{"p":[{"clientId":"c","language":"JAVA","lastUpdateTimestamp":"#;
        assert!(body(&all).starts_with(producer), "{}", body(&all));
        assert!(body(&all).ends_with(r#","remoteIP":"/192.0.2.1:1025","version":479}]}}"#));
        let answer = with_view(&consumer, |view| processor.consumer_connections(view)).unwrap();
        let subscription = r#"{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":5,"tagsSet":[],"topic":"t"}"#;
        assert_eq!(
            body(&answer),
            format!(
                r#"{{"connectionSet":[{member}],"consumeType":"CONSUME_PASSIVELY","subscriptionTable":{{"t":{subscription}}}}}"#
            )
        );
    }
}
