//! `INVOKE_BROKER_TO_GET_CONSUMER_STATUS` (223): the members of a group say where they are.
//!
//! Reference: `Broker2Client.getConsumeStatus` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::body::GetConsumerStatusBody;
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::fastjson;
use oxmq_protocol::header::{GetConsumerStatusRequestHeader, Header as _};
use oxmq_protocol::version;
use oxmq_remoting::{Connection, Reply};
use tokio::task::JoinSet;
use tracing::warn;

use super::{answer, refuse, success_with};
use crate::channel::{Channel, ClientInfo};
use crate::consumer::ConsumerManager;
use crate::error::RequestError;

/// What each member has to answer in.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the members of groups.
#[derive(Debug)]
pub(crate) struct ClientStatus<C = Connection> {
    consumers: Arc<ConsumerManager<C>>,
}

impl<C: Channel> ClientStatus<C> {
    pub(crate) fn new(consumers: Arc<ConsumerManager<C>>) -> Self {
        Self { consumers }
    }

    /// Who is to be asked, and what.
    fn calls(
        &self,
        request: &CommandView<'_>,
    ) -> Result<(Vec<ClientInfo<C>>, RemotingCommand), RequestError> {
        let header = GetConsumerStatusRequestHeader::decode(request)?;
        let mut members = self.consumers.members(&header.group);
        if members.is_empty() {
            return Err(RequestError::NoMembers(header.group));
        }
        if let Some(old) = members.iter().find(|m| m.version < version::V3_0_7_SNAPSHOT) {
            return Err(RequestError::ClientLacksFeature { version: old.version });
        }
        if let Some(wanted) = header.client_addr.as_deref().filter(|id| !id.trim().is_empty()) {
            members.retain(|member| *member.client_id == *wanted);
        }
        let header = GetConsumerStatusRequestHeader { client_addr: None, ..header };
        let ask = RemotingCommand::request(RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT);
        Ok((members, ask.with_header(&header)))
    }
}

impl ClientStatus {
    /// Asks all members at once, and answers with what those say that do.
    pub(crate) fn process(&self, request: &CommandView<'_>, reply: Reply) {
        let (members, ask) = match self.calls(request) {
            Ok(calls) => calls,
            Err(error) => return refuse(&error, reply),
        };
        let mut answers = JoinSet::new();
        for member in members {
            let ask = ask.clone();
            answers.spawn(async move {
                let answer = member.channel.invoke(ask, TIMEOUT).await;
                (member.client_id, answer)
            });
        }
        tokio::spawn(async move {
            let mut status = GetConsumerStatusBody::default();
            while let Some(Ok((client_id, answer))) = answers.join_next().await {
                match answer {
                    Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => {
                        let body = fastjson::from_slice::<GetConsumerStatusBody>(&answer.body);
                        let table = body.map(|body| body.message_queue_table).unwrap_or_default();
                        status.consumer_table.insert(client_id.into(), table);
                    }
                    Ok(answer) => {
                        warn!(%client_id, code = %answer.response_code(), "a member does not say where it is");
                    }
                    Err(error) => warn!(%client_id, %error, "a member does not say where it is"),
                }
            }
            answer(success_with(&status), reply);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use oxmq_protocol::body::ConsumerData;
    use oxmq_protocol::ext_fields::Fields as _;

    use super::super::testing::{managers, request, with_view};
    use super::*;
    use crate::channel::testing::TestChannel;

    #[test]
    fn all_members_are_asked_or_the_one_that_is_named() {
        let m = managers(|_| ());
        let status = ClientStatus::new(Arc::clone(&m.consumers));
        let calls = |fields: &[(&str, &str)]| {
            with_view(&request(fields), |view| status.calls(view)).map(|(members, ask)| {
                let mut ids: Vec<_> = members.into_iter().map(|m| m.client_id).collect();
                ids.sort();
                (ids, ask)
            })
        };
        let refused = calls(&[("topic", "t"), ("group", "g")]).unwrap_err();
        assert_eq!(
            (refused.response_code().0, refused.to_string()),
            (1, "No Any Consumer online in the consumer group: [g]".to_owned())
        );
        let data = ConsumerData { group_name: "g".to_owned(), ..ConsumerData::default() };
        for (id, client_id) in [(1, "a"), (2, "b")] {
            let client = TestChannel::new(id).client(client_id, Instant::now());
            m.consumers.register(&client, &data, true, true);
        }
        let (ids, ask) = calls(&[("topic", "t"), ("group", "g")]).unwrap();
        assert_eq!(ids, ["a".into(), "b".into()]);
        assert_eq!(ask.request_code(), RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT);
        assert_eq!(ask.ext_fields.get("topic").as_deref(), Some("t"));
        let (ids, _) = calls(&[("topic", "t"), ("group", "g"), ("clientAddr", "b")]).unwrap();
        assert_eq!(ids, ["b".into()]);
        let old = ClientInfo { version: 27, ..TestChannel::new(3).client("c", Instant::now()) };
        m.consumers.register(&old, &data, true, true);
        let refused = calls(&[("topic", "t"), ("group", "g")]).unwrap_err().to_string();
        assert_eq!(refused, "the client does not support this feature. version=27");
    }
}
