//! A client of lite topics, of a few lines.

use serde_json::{Value, json};

use crate::ops::{self, code, now_ms, response};
use crate::server::BROKER_NAME;
use crate::wire::{Command, Conn};
use crate::{Record, ServerUnderTest};

/// A client that subscribes lite topics of one topic.
pub struct LiteClient {
    /// Where it asks.
    pub conn: Conn,
    /// The topic.
    pub topic: String,
    /// Its group.
    pub group: String,
    /// What it calls itself.
    pub client_id: String,
}

/// An answer to a pop.
#[derive(Debug)]
pub struct LiteAnswer {
    /// The answer itself.
    pub command: Command,
    /// What it gave.
    pub records: Vec<Record>,
}

impl LiteAnswer {
    /// The texts of the messages.
    pub fn bodies(&self) -> Vec<&str> {
        self.records.iter().map(Record::text).collect()
    }
}

impl LiteClient {
    /// Creates topic and group, too, both called after `name`, the group with these attributes besides.
    pub fn create(server: &ServerUnderTest, name: &str, attributes: &[(&str, &str)]) -> Self {
        let (topic, group) = (format!("lite_{name}"), format!("lite_group_{name}"));
        ops::create_topic_with(server, &topic, 1, "+message.type=LITE,+lite.topic.expiration=1");
        let client = Self {
            conn: Conn::connect(&server.broker_addr()),
            client_id: format!("{name}_one"),
            topic,
            group,
        };
        client.create_group(server, attributes);
        client
    }

    /// Creates the group.
    pub fn create_group(&self, server: &ServerUnderTest, attributes: &[(&str, &str)]) {
        let bound = ("+lite.bind.topic".to_owned(), Value::from(self.topic.clone()));
        let more = attributes.iter().map(|(name, value)| (format!("+{name}"), (*value).into()));
        let attributes: serde_json::Map<_, _> = [bound].into_iter().chain(more).collect();
        let body = json!({
            "groupName": self.group, "consumeEnable": true, "consumeFromMinEnable": true,
            "consumeBroadcastEnable": true, "retryQueueNums": 1, "retryMaxTimes": 16,
            "attributes": attributes,
        });
        let request = Command::request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
        let request = request.with_body(body.to_string());
        let answer = Conn::connect(&server.broker_addr()).call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    /// Another client of the group.
    pub fn again(&self, server: &ServerUnderTest, name: &str) -> Self {
        Self {
            conn: Conn::connect(&server.broker_addr()),
            topic: self.topic.clone(),
            group: self.group.clone(),
            client_id: format!("{}_{name}", self.client_id),
        }
    }

    /// Light queue of a lite topic.
    pub fn queue(&self, lite_topic: &str) -> String {
        format!("%LMQ%${}${lite_topic}", self.topic)
    }

    /// Sends to a lite topic, and waits until that can be read.
    pub fn send(&mut self, lite_topic: &str, bodies: &[&str]) {
        let queue = self.queue(lite_topic);
        let before = ops::max_offset(&mut self.conn, &queue, 0);
        let properties = format!("__LITE_TOPIC\u{1}{lite_topic}\u{2}");
        for body in bodies {
            ops::send(&mut self.conn, &self.topic, 0, &properties, body.as_bytes());
        }
        let count = before + bodies.len() as i64;
        ops::wait_for_max_offset(&mut self.conn, &queue, 0, count);
    }

    /// The request that says what it subscribes.
    pub fn subscription(&self, action: &str, lite_topics: &[&str], option: Value) -> Command {
        let mut entry = json!({
            "action": action, "clientId": self.client_id, "group": self.group,
            "topic": self.topic, "liteTopicSet": lite_topics, "version": 1,
        });
        if !option.is_null() {
            entry["offsetOption"] = option;
        }
        let body = json!({ "subscriptionSet": [entry] });
        Command::request(code::LITE_SUBSCRIPTION_CTL, &[]).with_body(body.to_string())
    }

    /// Says what it subscribes.
    pub fn subscribe(&mut self, action: &str, lite_topics: &[&str], option: Value) {
        let request = self.subscription(action, lite_topics, option);
        let answer = self.conn.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    /// Subscribes lite topics as well, from their first message on.
    pub fn subscribe_from_first(&mut self, lite_topics: &[&str]) {
        self.subscribe("PARTIAL_ADD", lite_topics, json!({ "type": "POLICY", "value": 1 }));
    }

    /// A pop for a while that may wait.
    pub fn request(&self, invisible_ms: i64, poll_ms: i64) -> Command {
        Command::request(
            code::POP_LITE_MESSAGE,
            &[
                ("clientId", self.client_id.as_str()),
                ("consumerGroup", self.group.as_str()),
                ("topic", self.topic.as_str()),
                ("maxMsgNum", "32"),
                ("invisibleTime", &invisible_ms.to_string()),
                ("pollTime", &poll_ms.to_string()),
                ("bornTime", &now_ms().to_string()),
            ],
        )
    }

    /// Pops so many messages at the most, without waiting.
    pub fn pop_up_to(&mut self, count: u32, invisible_ms: i64) -> LiteAnswer {
        let mut request = self.request(invisible_ms, 0);
        request.ext.insert("maxMsgNum".to_owned(), count.to_string());
        Self::read(self.conn.call(request))
    }

    /// Pops once, and waits for as long as it may.
    pub fn pop(&mut self, invisible_ms: i64, poll_ms: i64) -> LiteAnswer {
        let request = self.request(invisible_ms, poll_ms);
        Self::read(self.conn.call(request))
    }

    /// Reads the answer to a pop.
    pub fn read(command: Command) -> LiteAnswer {
        let found = command.code == response::SUCCESS;
        let records = if found { Record::decode_all(&command.body) } else { Vec::new() };
        LiteAnswer { records, command }
    }

    /// The request that says that a message is done.
    pub fn ack_request(&self, lite_topic: &str, offset: i64, pop_time: i64) -> Command {
        let receipt = format!("0 {pop_time} 60000 999 0 {BROKER_NAME} 0 {offset}");
        Command::request(
            code::ACK_MESSAGE,
            &[
                ("consumerGroup", self.group.as_str()),
                ("topic", self.topic.as_str()),
                ("liteTopic", lite_topic),
                ("queueId", "0"),
                ("extraInfo", &receipt),
                ("offset", &offset.to_string()),
            ],
        )
    }

    /// Says that messages are done.
    pub fn ack(&mut self, lite_topic: &str, offsets: &[i64], answer: &LiteAnswer) {
        for offset in offsets {
            let pop_time = answer.command.number("popTime");
            let request = self.ack_request(lite_topic, *offset, pop_time);
            let answer = self.conn.call(request);
            assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        }
    }

    /// The request for another time.
    pub fn change_request(
        &self,
        lite_topic: &str,
        offset: i64,
        answer: &LiteAnswer,
        invisible_ms: i64,
    ) -> Command {
        let pop_time = answer.command.number("popTime");
        let mut request = self.ack_request(lite_topic, offset, pop_time);
        request.code = code::CHANGE_MESSAGE_INVISIBLETIME;
        request.ext.insert("invisibleTime".to_owned(), invisible_ms.to_string());
        request
    }
}
