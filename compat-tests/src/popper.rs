//! A consumer that pops, of a few lines.

use std::time::Duration;

use crate::ops::{self, code, now_ms, response};
use crate::server::BROKER_NAME;
use crate::wire::{Command, Conn};
use crate::{Record, ServerUnderTest, wait};

/// Unacknowledged messages come back this long after they are due, at the latest: the reference
/// looks every few seconds, on a busy machine.
pub const REVIVE_LIMIT: Duration = Duration::from_secs(60);

/// A group that pops one topic.
pub struct Popper {
    /// Where it asks.
    pub conn: Conn,
    /// What it pops.
    pub topic: String,
    /// Its group.
    pub group: String,
    /// More fields of each pop, overruling the usual ones.
    pub fields: Vec<(&'static str, String)>,
}

/// A message and what it is given back by.
#[derive(Clone, Debug)]
pub struct Popped {
    /// The message.
    pub record: Record,
    /// Names the pop.
    pub receipt: String,
    /// The topic that it is given back under.
    pub topic: String,
}

/// An answer with messages.
#[derive(Debug)]
pub struct Answer {
    /// The answer itself.
    pub command: Command,
    /// What it gave.
    pub messages: Vec<Popped>,
}

impl Answer {
    /// The texts of the messages.
    pub fn bodies(&self) -> Vec<String> {
        self.messages.iter().map(|message| message.record.text().to_owned()).collect()
    }
}

impl Popper {
    /// Creates the topic, too.
    pub fn create(server: &ServerUnderTest, name: &str, queues: u32) -> Self {
        let topic = format!("pop_{name}");
        ops::create_topic(server, &topic, queues);
        Self {
            conn: Conn::connect(&server.broker_addr()),
            group: format!("pop_group_{name}"),
            topic,
            fields: Vec::new(),
        }
    }

    /// The same group on another connection.
    pub fn again(&self, server: &ServerUnderTest) -> Self {
        Self {
            conn: Conn::connect(&server.broker_addr()),
            topic: self.topic.clone(),
            group: self.group.clone(),
            fields: self.fields.clone(),
        }
    }

    /// The same with a field of each pop set.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a field of each pop.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value.to_owned()));
    }

    /// Sends a message and waits until it can be popped.
    pub fn send(&mut self, queue_id: i32, properties: &str, body: &str) -> i64 {
        let offset = ops::send(&mut self.conn, &self.topic, queue_id, properties, body.as_bytes());
        ops::wait_for_max_offset(&mut self.conn, &self.topic, queue_id, offset + 1);
        offset
    }

    /// Sends messages to the first queue.
    pub fn send_all(&mut self, bodies: &[&str]) {
        bodies.iter().for_each(|body| {
            self.send(0, "", body);
        });
    }

    /// A pop for a while, of any queue, that is answered at once.
    pub fn request(&self, invisible_ms: i64) -> Command {
        let (invisible, born) = (invisible_ms.to_string(), now_ms().to_string());
        let mut request = Command::request(
            code::POP_MESSAGE,
            &[
                ("consumerGroup", self.group.as_str()),
                ("topic", self.topic.as_str()),
                ("queueId", "-1"),
                ("maxMsgNums", "32"),
                ("invisibleTime", &invisible),
                ("pollTime", "0"),
                ("bornTime", &born),
                ("initMode", "0"),
                ("expType", "TAG"),
                ("exp", "*"),
                ("order", "false"),
            ],
        );
        for (name, value) in &self.fields {
            request.ext.insert((*name).to_owned(), value.clone());
        }
        request
    }

    /// Pops once.
    pub fn pop(&mut self, invisible_ms: i64) -> Answer {
        let request = self.request(invisible_ms);
        let command = self.conn.call(request);
        self.read(command)
    }

    /// Reads an answer: messages without a receipt get theirs from its header.
    pub fn read(&self, command: Command) -> Answer {
        let messages = match command.code {
            response::SUCCESS => Record::decode_all(&command.body),
            _ => Vec::new(),
        };
        let messages = messages.into_iter().map(|record| self.popped(record, &command));
        Answer { messages: messages.collect(), command }
    }

    fn popped(&self, record: Record, answer: &Command) -> Popped {
        if let Some(receipt) = record.properties.get("POP_CK") {
            let topic = match receipt.split(' ').nth(4) {
                Some("1") => format!("%RETRY%{}_{}", self.group, self.topic),
                Some("2") => format!("%RETRY%{}+{}", self.group, self.topic),
                kind => panic!("{kind:?} in {receipt}"),
            };
            return Popped { receipt: receipt.clone(), record, topic };
        }
        let kind = match record.topic.strip_prefix("%RETRY%") {
            None => 0,
            Some(name) if name == format!("{}_{}", self.group, self.topic) => 1,
            Some(_) => 2,
        };
        let prefix = format!("{kind} {} ", record.queue_id);
        let starts = &answer.ext["startOffsetInfo"];
        let start = starts.split(';').find_map(|entry| entry.strip_prefix(&prefix));
        let receipt = format!(
            "{} {} {} {} {kind} {BROKER_NAME} {} {}",
            start.unwrap_or_else(|| panic!("{prefix} is not in {starts}")),
            answer.ext["popTime"],
            answer.ext["invisibleTime"],
            answer.ext["reviveQid"],
            record.queue_id,
            record.queue_offset,
        );
        Popped { topic: record.topic.clone(), record, receipt }
    }

    /// Pops until so many messages have come, each once; gives none back.
    pub fn await_messages(&mut self, invisible_ms: i64, count: usize) -> Vec<Popped> {
        let mut messages = Vec::new();
        wait::until(&format!("{count} messages of {}", self.topic), REVIVE_LIMIT, || {
            messages.extend(self.pop(invisible_ms).messages);
            (messages.len() >= count).then_some(())
        });
        assert_eq!(messages.len(), count, "{messages:?}");
        messages
    }

    /// The request that says that a message is done.
    pub fn ack_request(&self, message: &Popped) -> Command {
        Command::request(
            code::ACK_MESSAGE,
            &[
                ("consumerGroup", self.group.as_str()),
                ("topic", message.topic.as_str()),
                ("queueId", &message.record.queue_id.to_string()),
                ("extraInfo", message.receipt.as_str()),
                ("offset", &message.record.queue_offset.to_string()),
            ],
        )
    }

    /// Says that a message is done.
    pub fn ack(&mut self, message: &Popped) {
        let request = self.ack_request(message);
        let answer = self.conn.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    /// The request for another time.
    pub fn change_request(&self, message: &Popped, invisible_ms: i64) -> Command {
        let mut request = self.ack_request(message);
        request.code = code::CHANGE_MESSAGE_INVISIBLETIME;
        request.ext.insert("invisibleTime".to_owned(), invisible_ms.to_string());
        request
    }

    /// Answers the message with its new receipt.
    pub fn change(&mut self, message: &Popped, invisible_ms: i64) -> Popped {
        let request = self.change_request(message, invisible_ms);
        let answer = self.conn.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let mut fields: Vec<&str> = message.receipt.split(' ').collect();
        let offset = message.record.queue_offset.to_string();
        if fields[3] != "999" {
            fields[0] = &offset;
        }
        fields[1] = &answer.ext["popTime"];
        fields[2] = &answer.ext["invisibleTime"];
        fields[3] = &answer.ext["reviveQid"];
        Popped { receipt: fields.join(" "), ..message.clone() }
    }

    /// Where its messages come again.
    pub fn retry_topic(&self) -> String {
        format!("%RETRY%{}_{}", self.group, self.topic)
    }
}
