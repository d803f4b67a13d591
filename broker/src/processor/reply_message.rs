//! `SEND_REPLY_MESSAGE` (324) and `SEND_REPLY_MESSAGE_V2` (325): the answer of one client to the
//! request of another, pushed to it at once.
//!
//! Reference: `ReplyMessageProcessor` (broker), 5.5.0.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{ReplyMessageRequestHeader, SendMessageView, write_send_response};
use oxmq_protocol::message::{Message, message_id, properties};
use oxmq_remoting::{Connection, Reply};
use oxmq_store::MessageStore;
use tracing::warn;

use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::error::RequestError;
use crate::processor::send_message::SendMessage;
use crate::producer::ProducerManager;

/// What the requester has to take the answer in.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Brings answers to those who asked.
#[derive(Debug)]
pub(crate) struct ReplyMessage {
    config: Arc<BrokerConfig>,
    sends: Arc<SendMessage>,
    producers: Arc<ProducerManager>,
    store: Arc<MessageStore>,
    store_host: SocketAddr,
}

/// An answer that has passed the checks.
#[derive(Debug)]
struct Answer {
    header: ReplyMessageRequestHeader,
    /// The queue that it is stored in.
    queue_id: i32,
    body: Vec<u8>,
    born_host: SocketAddr,
}

impl ReplyMessage {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        sends: Arc<SendMessage>,
        producers: Arc<ProducerManager>,
        store: Arc<MessageStore>,
        store_host: SocketAddr,
    ) -> Self {
        Self { config, sends, producers, store, store_host }
    }

    pub(crate) fn process(self: &Arc<Self>, request: &CommandView<'_>, reply: Reply) {
        let answer = match self.check(request, reply.connection()) {
            Ok(answer) => answer,
            Err(error) => {
                return self.sends.refuse(error.response_code(), &error.to_string(), reply);
            }
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let pushed = this.push(&answer).await;
            this.finish(&answer, pushed, reply);
        });
    }

    fn check(
        &self,
        request: &CommandView<'_>,
        connection: &Connection,
    ) -> Result<Answer, RequestError> {
        let header = SendMessageView::decode(request)?;
        let (topic, queue_id) = self.sends.check(&header, connection)?;
        Ok(Answer {
            header: ReplyMessageRequestHeader {
                producer_group: header.producer_group.text().into_owned(),
                topic: topic.topic_name.clone(),
                default_topic: header.default_topic.text().into_owned(),
                default_topic_queue_nums: header.default_topic_queue_nums,
                queue_id: header.queue_id,
                sys_flag: header.sys_flag,
                born_timestamp: header.born_timestamp_ms,
                flag: header.flag,
                properties: Some(self.stamped(&header.properties.text())),
                reconsume_times: Some(header.reconsume_times),
                unit_mode: header.unit_mode,
                born_host: connection.peer().to_string(),
                store_host: self.store_host.to_string(),
                store_timestamp: now_ms(),
            },
            queue_id,
            body: request.body.to_vec(),
            born_host: connection.peer(),
        })
    }

    /// What a client says of its answer, with the stamps of this broker.
    fn stamped(&self, properties: &str) -> String {
        let mut text = properties.as_bytes().to_vec();
        let trace_on = if self.config.trace_on { "true" } else { "false" };
        properties::set(&mut text, properties::MSG_REGION, self.config.region_id.as_bytes());
        properties::set(&mut text, properties::TRACE_SWITCH, trace_on.as_bytes());
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Gives the answer to the client that it names, or says why not.
    async fn push(&self, answer: &Answer) -> Result<(), String> {
        let text = answer.header.properties.as_deref().unwrap_or_default();
        let name = properties::MESSAGE_REPLY_TO_CLIENT;
        let Some(requester) = properties::property_str(text.as_bytes(), name) else {
            return Err(format!("reply message properties[{name}] is null"));
        };
        let Some(channel) = self.producers.find_channel(requester) else {
            return Err(format!("push reply message fail, channel of <{requester}> not found."));
        };
        let mut header = answer.header.clone();
        let mut text = text.to_owned();
        let (name, separator) =
            (properties::PUSH_REPLY_TIME, char::from(properties::NAME_VALUE_SEPARATOR));
        text.push_str(&format!("{name}{separator}{}", now_ms()));
        text.push(char::from(properties::PAIR_SEPARATOR));
        header.properties = Some(text);
        let request = RemotingCommand::request(RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT)
            .with_header(&header)
            .with_body(answer.body.clone());
        let cause = match channel.invoke(request, PUSH_TIMEOUT).await {
            Ok(taken) if taken.response_code() == ResponseCode::SUCCESS => return Ok(()),
            Ok(refused) => refused.remark.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        warn!(client_id = requester, cause, "an answer could not be given to its requester");
        // No blank, as in the reference.
        Err(format!("push reply message to {requester}fail."))
    }

    /// Stores the answer whatever became of the push, which alone decides the code.
    fn finish(&self, answer: &Answer, pushed: Result<(), String>, reply: Reply) {
        let stored = self.config.store_reply_message_enable.then(|| self.put(answer)).flatten();
        if let Err(remark) = pushed {
            return self.sends.refuse(ResponseCode::SYSTEM_ERROR, &remark, reply);
        }
        // Clients have to find an id and an offset, even of what is not stored.
        let (id, offset) = stored.unwrap_or_else(|| ("0".to_owned(), 0));
        self.sends.respond(reply, |writer| {
            write_send_response(writer, &id, answer.queue_id, offset, None);
        });
    }

    fn put(&self, answer: &Answer) -> Option<(String, i64)> {
        let header = &answer.header;
        let result = self.store.put_message(&Message {
            flag: header.flag,
            born_timestamp_ms: header.born_timestamp,
            born_host: answer.born_host,
            store_host: self.store_host,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            properties: header.properties.as_deref().unwrap_or_default().as_bytes(),
            ..Message::new(&header.topic, answer.queue_id, &answer.body)
        });
        if !result.status.is_stored() || !self.store.flush_soon() {
            warn!(topic = header.topic, status = ?result.status, "an answer is not stored");
            return None;
        }
        let id = message_id::encode_offset_id(self.store_host, result.phy_offset);
        Some((id, result.queue_offset))
    }
}
