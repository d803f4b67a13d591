//! `QUERY_ASSIGNMENT` (400), `SET_MESSAGE_REQUEST_MODE` (401) and `GET_ALL_MESSAGE_REQUEST_MODE`
//! (402): the broker shares out queues for clients that leave that to it.
//!
//! Reference: `QueryAssignmentProcessor` (broker), 5.5.0.

mod share;

use std::sync::Arc;

use oxmq_protocol::body::{
    MessageModel, MessageQueue, MessageQueueAssignment, MessageRequestMode,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::HeaderError;
use oxmq_remoting::{Connection, Reply};
use oxmq_store::LIGHT_PREFIX;

use self::share::Strategy;
use super::{Answer, answer, refuse, success, success_with};
use crate::channel::Channel;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::error::RequestError;
use crate::name_servers::NameServers;
use crate::request_mode::RequestModes;
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;
use crate::topic_route::{Queues, TopicRoutes};
use crate::topic_validator;

/// Shares out queues.
#[derive(Debug)]
pub(crate) struct Assignment<C = Connection> {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    consumers: Arc<ConsumerManager<C>>,
    modes: Arc<RequestModes>,
    routes: Arc<TopicRoutes>,
}

impl<C: Channel> Assignment<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        consumers: Arc<ConsumerManager<C>>,
        modes: Arc<RequestModes>,
    ) -> Self {
        let routes = Arc::new(TopicRoutes::new(Arc::clone(&config), Arc::clone(&topics)));
        Self { config, topics, groups, consumers, modes, routes }
    }

    /// Sets whom to ask where queues are. Only the first call counts.
    pub(crate) fn ask_at(&self, name_servers: Arc<NameServers>) {
        self.routes.ask_at(name_servers);
    }

    /// Sets how a group gets a topic's messages.
    pub(crate) fn set_mode(&self, request: &CommandView<'_>) -> Answer {
        let mode: SetMessageRequestModeRequestBody = fastjson::from_slice(request.body)?;
        if topic_validator::is_retry_topic(&mode.topic) {
            return Err(RequestError::RetryTopicMode);
        }
        if self.topics.get(&mode.topic).is_none() {
            return Err(RequestError::StatsTopicNotExist(mode.topic));
        }
        if self.groups.find_or_create(&mode.consumer_group).is_none() {
            return Err(RequestError::ModeGroupNotExist);
        }
        self.modes.set(mode);
        Ok(success())
    }

    /// Tells what has been set.
    pub(crate) fn all_modes(&self) -> Answer {
        success_with(&self.modes.table())
    }

    /// What has been set for a group, or what counts otherwise.
    fn mode(&self, topic: &str, group: &str) -> (MessageRequestMode, i32) {
        if let Some(set) = self.modes.get(topic, group) {
            return (set.mode.unwrap_or(MessageRequestMode::Pull), set.pop_share_queue_num);
        }
        if topic_validator::is_retry_topic(topic) {
            return (MessageRequestMode::Pull, 0);
        }
        let mode = self.config.default_message_request_mode.0;
        (mode, self.config.default_pop_share_queue_num)
    }

    /// The one queue of a light topic: no name server knows it.
    fn light_queue(&self, topic: &str, model: MessageModel) -> Option<Queues> {
        let is_light = model == MessageModel::Clustering && topic.starts_with(LIGHT_PREFIX);
        is_light.then(|| {
            let broker_name = self.config.broker_name.clone();
            [MessageQueue { topic: topic.to_owned(), broker_name, queue_id: 0 }].into()
        })
    }

    fn assign(
        &self,
        query: &QueryAssignmentRequestBody,
        model: MessageModel,
        queues: Option<Queues>,
    ) -> QueryAssignmentResponseBody {
        let (mode, shared_with) = self.mode(&query.topic, &query.consumer_group);
        let queues = queues.and_then(|queues| self.share(query, model, &queues, mode, shared_with));
        QueryAssignmentResponseBody {
            message_queue_assignments: queues.map(|mut queues| {
                queues.sort();
                queues.dedup();
                let assignment =
                    |message_queue| MessageQueueAssignment { message_queue, mode: Some(mode) };
                queues.into_iter().map(assignment).collect()
            }),
        }
    }

    /// The member's queues; `None` when they cannot be told, so that it keeps what it has.
    fn share(
        &self,
        query: &QueryAssignmentRequestBody,
        model: MessageModel,
        queues: &[MessageQueue],
        mode: MessageRequestMode,
        shared_with: i32,
    ) -> Option<Vec<MessageQueue>> {
        if model == MessageModel::Broadcasting || !self.config.server_load_balancer_enable {
            return Some(queues.to_vec());
        }
        let mut members = self.consumers.client_ids(&query.consumer_group);
        members.sort();
        let strategy = Strategy::named(&query.strategy_name)?;
        if members.is_empty() {
            return None;
        }
        match mode {
            MessageRequestMode::Pull => strategy.share(&query.client_id, queues, &members),
            MessageRequestMode::Pop => {
                share::pop(strategy, &query.client_id, queues, &members, shared_with)
            }
        }
    }
}

impl Assignment {
    /// Tells a member which queues are its own. The route may have to be asked for first.
    pub(crate) fn query(self: &Arc<Self>, request: &CommandView<'_>, reply: Reply) {
        let (query, model) = match read(request) {
            Ok(query) => query,
            Err(error) => return refuse(&error, reply),
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let queues = match this.light_queue(&query.topic, model) {
                Some(queue) => Some(queue),
                None => this.routes.queues(&query.topic).await,
            };
            answer(success_with(&this.assign(&query, model, queues)), reply);
        });
    }
}

fn read(
    request: &CommandView<'_>,
) -> Result<(QueryAssignmentRequestBody, MessageModel), RequestError> {
    let query: QueryAssignmentRequestBody = fastjson::from_slice(request.body)?;
    let model = query.message_model.ok_or(HeaderError::Missing("messageModel"))?;
    Ok((query, model))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use oxmq_protocol::body::ConsumerData;

    use super::super::testing::{Managers, managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;
    use crate::saved_table::SaveSignal;

    fn processor(m: &Managers) -> Assignment<TestChannel> {
        let modes = RequestModes::load(m.store_root(), SaveSignal::default()).unwrap();
        Assignment::new(
            Arc::clone(&m.config),
            Arc::clone(&m.topics),
            Arc::clone(&m.groups),
            Arc::clone(&m.consumers),
            Arc::new(modes),
        )
    }

    fn set(processor: &Assignment<TestChannel>, body: &str) -> Result<(), RequestError> {
        let request = request(&[]).with_body(body.as_bytes().to_vec());
        with_view(&request, |view| processor.set_mode(view)).map(|_| ())
    }

    fn queues_of(answer: QueryAssignmentResponseBody) -> Option<Vec<(i32, MessageRequestMode)>> {
        let assignments = answer.message_queue_assignments?;
        let queue = |a: MessageQueueAssignment| (a.message_queue.queue_id, a.mode.unwrap());
        Some(assignments.into_iter().map(queue).collect())
    }

    fn query(client_id: &str, strategy: &str) -> QueryAssignmentRequestBody {
        QueryAssignmentRequestBody {
            topic: "t".to_owned(),
            consumer_group: "g".to_owned(),
            client_id: client_id.to_owned(),
            strategy_name: strategy.to_owned(),
            message_model: Some(MessageModel::Clustering),
        }
    }

    fn assign(
        processor: &Assignment<TestChannel>,
        client_id: &str,
        strategy: &str,
    ) -> Option<Vec<(i32, MessageRequestMode)>> {
        let queues = (0..3).map(|queue_id| MessageQueue {
            topic: "t".to_owned(),
            broker_name: "b".to_owned(),
            queue_id,
        });
        let query = query(client_id, strategy);
        queues_of(processor.assign(&query, MessageModel::Clustering, Some(queues.collect())))
    }

    #[test]
    fn modes_are_set_for_what_exists_and_outlive_a_restart() {
        let m = managers(|config| config.auto_create_subscription_group = false);
        m.create_topic("t", 3);
        let processor = processor(&m);
        let refused = |body: &str| {
            let error = set(&processor, body).unwrap_err();
            (error.response_code().0, error.to_string())
        };
        let body =
            r#"{"topic":"t","consumerGroup":"TOOLS_CONSUMER","mode":"POP","popShareQueueNum":2}"#;
        assert_eq!(
            refused(r#"{"topic":"%RETRY%g","consumerGroup":"g"}"#),
            (16, "retry topic is not allowed to set mode".to_owned())
        );
        assert_eq!(
            refused(r#"{"topic":"u","consumerGroup":"g"}"#),
            (17, "topic[u] not exist".to_owned())
        );
        assert_eq!(
            refused(r#"{"topic":"t","consumerGroup":"g"}"#),
            (26, "subscription group does not exist".to_owned())
        );
        set(&processor, body).unwrap();
        processor.modes.save_if_changed().unwrap();
        let processor = self::processor(&m);
        assert_eq!(processor.mode("t", "TOOLS_CONSUMER"), (MessageRequestMode::Pop, 2));
        assert_eq!(processor.mode("t", "g"), (MessageRequestMode::Pull, -1));
        assert_eq!(processor.mode("%RETRY%g", "g").0, MessageRequestMode::Pull);
    }

    #[test]
    fn a_light_topic_has_one_queue_here_and_none_for_broadcasts() {
        let m = managers(|_| ());
        let processor = processor(&m);
        let light = |topic, model| processor.light_queue(topic, model);
        let queues = light("%LMQ%q", MessageModel::Clustering).unwrap();
        let queue = |queue: &MessageQueue| (queue.topic.clone(), queue.queue_id);
        assert_eq!(queues.iter().map(queue).collect::<Vec<_>>(), [("%LMQ%q".to_owned(), 0)]);
        assert_eq!(queues[0].broker_name, m.config.broker_name);
        assert!(light("%LMQ%q", MessageModel::Broadcasting).is_none());
        assert!(light("t", MessageModel::Clustering).is_none());
    }

    #[test]
    fn members_share_the_queues_and_strangers_keep_what_they_have() {
        use MessageRequestMode::{Pop, Pull};
        let m = managers(|_| ());
        m.create_topic("t", 3);
        let processor = processor(&m);
        assert_eq!(assign(&processor, "a", "AVG"), None, "the group has no members");
        let data = ConsumerData { group_name: "g".to_owned(), ..ConsumerData::default() };
        for (id, client_id) in [(1, "b"), (2, "a")] {
            let client = TestChannel::new(id).client(client_id, Instant::now());
            m.consumers.register(&client, &data, true, true);
        }
        assert_eq!(assign(&processor, "a", "AVG").unwrap(), [(0, Pull), (1, Pull)]);
        assert_eq!(assign(&processor, "b", "AVG").unwrap(), [(2, Pull)]);
        assert_eq!(assign(&processor, "b", "AVG_BY_CIRCLE").unwrap(), [(1, Pull)]);
        assert_eq!(assign(&processor, "stranger", "AVG").unwrap(), []);
        assert_eq!(assign(&processor, "a", "CONSISTENT_HASH"), None);
        set(&processor, r#"{"topic":"t","consumerGroup":"g","mode":"POP","popShareQueueNum":-1}"#)
            .unwrap();
        assert_eq!(assign(&processor, "a", "AVG").unwrap(), [(-1, Pop)]);
        let answer = processor.assign(&query("a", "AVG"), MessageModel::Clustering, None);
        assert_eq!(queues_of(answer), None, "nobody knows the topic");
    }
}
