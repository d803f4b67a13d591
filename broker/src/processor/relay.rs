//! `GET_CONSUMER_RUNNING_INFO` (307) and `CONSUME_MESSAGE_DIRECTLY` (309): a tool asks a client
//! through the broker.
//!
//! Reference: `AdminBrokerProcessor.callConsumer` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader, Header as _,
};
use oxmq_protocol::message::message_id;
use oxmq_protocol::version;
use oxmq_remoting::{Connection, InvokeError, Reply};
use oxmq_store::MessageStore;

use super::{answer, refuse};
use crate::channel::{Channel, ClientInfo};
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::error::RequestError;
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;

/// What a client has to answer in.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks clients on behalf of tools.
#[derive(Debug)]
pub(crate) struct Relay<C = Connection> {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    consumers: Arc<ConsumerManager<C>>,
    store: Arc<MessageStore>,
}

/// A request on its way to a client.
#[derive(Debug)]
struct Call<C> {
    client: ClientInfo<C>,
    group: String,
    request: RemotingCommand,
}

impl<C: Channel> Relay<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        consumers: Arc<ConsumerManager<C>>,
        store: Arc<MessageStore>,
    ) -> Self {
        Self { config, topics, groups, consumers, store }
    }

    fn running_info(&self, request: &CommandView<'_>) -> Result<Call<C>, RequestError> {
        let header = GetConsumerRunningInfoRequestHeader::decode(request)?;
        let command = relayed(RequestCode::GET_CONSUMER_RUNNING_INFO, request);
        self.call(header.consumer_group, header.client_id, command)
    }

    fn consume_directly(&self, request: &CommandView<'_>) -> Result<Call<C>, RequestError> {
        let header = ConsumeMessageDirectlyResultRequestHeader::decode(request)?;
        let mut command = relayed(RequestCode::CONSUME_MESSAGE_DIRECTLY, request);
        command.ext_fields.insert("brokerName", self.config.broker_name.as_str());
        if let Some(topic) = header.topic.and_then(|topic| self.topics.get(&topic)) {
            command.ext_fields.insert("topicSysFlag", topic.topic_sys_flag.to_string());
        }
        if let Some(group) = self.groups.find_or_create(&header.consumer_group) {
            command.ext_fields.insert("groupSysFlag", group.group_sys_flag.to_string());
        }
        let id = header.msg_id.unwrap_or_default();
        let (_, offset) = message_id::decode(&id)
            .map_err(|error| RequestError::Unchangeable(error.to_string()))?;
        let record = self.store.look_message_by_offset(offset);
        let command = command.with_body(record.ok_or(RequestError::MessageNotFound(offset))?);
        self.call(header.consumer_group, header.client_id.unwrap_or_default(), command)
    }

    fn call(
        &self,
        group: String,
        client_id: String,
        request: RemotingCommand,
    ) -> Result<Call<C>, RequestError> {
        let Some(client) = self.consumers.find_client(&group, &client_id) else {
            return Err(RequestError::ClientNotOnline { group, client_id });
        };
        if client.version < version::V3_1_8_SNAPSHOT {
            return Err(RequestError::ClientTooOld { client_id, version: client.version });
        }
        Ok(Call { client, group, request })
    }
}

impl Relay {
    /// Asks a client what it does at the moment.
    pub(crate) fn get_consumer_running_info(&self, request: &CommandView<'_>, reply: Reply) {
        relay(self.running_info(request), reply);
    }

    /// Has a client consume one message.
    pub(crate) fn consume_message_directly(&self, request: &CommandView<'_>, reply: Reply) {
        relay(self.consume_directly(request), reply);
    }
}

/// The tool's request for the client: the same fields and body under another opaque.
fn relayed(code: RequestCode, request: &CommandView<'_>) -> RemotingCommand {
    let received = request.to_command();
    let mut command = RemotingCommand::request(code).with_body(received.body);
    command.ext_fields = received.ext_fields;
    command
}

/// Sends a call and answers with what the client answers. The task ends with its connection, or
/// when the client's time is over.
fn relay(call: Result<Call<Connection>, RequestError>, reply: Reply) {
    let Call { client, group, request } = match call {
        Ok(call) => call,
        Err(error) => return refuse(&error, reply),
    };
    tokio::spawn(async move {
        let client_id = String::from(client.client_id);
        let outcome = client.channel.invoke(request, TIMEOUT).await.map_err(|cause| match cause {
            InvokeError::Timeout { .. } => RequestError::ClientTimeout { group, client_id, cause },
            _ => RequestError::ClientFailed { group, client_id, cause },
        });
        answer(outcome, reply);
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use oxmq_protocol::body::ConsumerData;
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;

    fn processor(m: &Managers) -> Relay<TestChannel> {
        Relay::new(
            Arc::clone(&m.config),
            Arc::clone(&m.topics),
            Arc::clone(&m.groups),
            Arc::clone(&m.consumers),
            Arc::clone(&m.store),
        )
    }

    fn join(m: &Managers, client_id: &str, version: i32) {
        let client =
            ClientInfo { version, ..TestChannel::new(1).client(client_id, Instant::now()) };
        let data = ConsumerData { group_name: "g".to_owned(), ..ConsumerData::default() };
        m.consumers.register(&client, &data, true, true);
    }

    #[test]
    fn client_that_is_away_or_too_old_is_not_asked() {
        let m = managers(|_| ());
        let ask = request(&[("consumerGroup", "g"), ("clientId", "c")]);
        let refused = || {
            let error =
                with_view(&ask, |view| processor(&m).running_info(view)).map(|_| ()).unwrap_err();
            (error.response_code().0, error.to_string())
        };
        assert_eq!(refused(), (1, "The Consumer <g> <c> not online".to_owned()));
        join(&m, "c", 61);
        assert_eq!(
            refused(),
            (
                1,
                "The Consumer <c> Version <61> too low to finish, please upgrade it to \
                 V3_1_8_SNAPSHOT"
                    .to_owned()
            )
        );
    }

    #[test]
    fn client_gets_the_fields_of_the_tool_and_the_message() {
        let m = managers(|_| ());
        join(&m, "c", 479);
        m.create_topic("t", 1);
        m.put("t", 0, "first");
        let offset = m.put("t", 0, "second");
        let id = message_id::encode_offset_id(([192, 0, 2, 2], 10911).into(), offset);
        let ask = request(&[
            ("consumerGroup", "g"),
            ("clientId", "c"),
            ("msgId", id.as_str()),
            ("topic", "t"),
        ]);
        let call = with_view(&ask, |view| processor(&m).consume_directly(view)).unwrap();
        assert_eq!(call.request.request_code(), RequestCode::CONSUME_MESSAGE_DIRECTLY);
        assert_eq!(call.request.body, m.store.look_message_by_offset(offset).unwrap());
        for (name, value) in [
            ("msgId", id.as_str()),
            ("brokerName", "b"),
            ("topicSysFlag", "0"),
            ("groupSysFlag", "0"),
        ] {
            assert_eq!(call.request.ext_fields.get(name).as_deref(), Some(value), "{name}");
        }
        let ask = request(&[("consumerGroup", "g"), ("clientId", "c"), ("msgId", "no id")]);
        assert!(with_view(&ask, |view| processor(&m).consume_directly(view)).is_err());
    }
}
