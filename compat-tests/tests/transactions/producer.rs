//! A producer of half messages, of a few lines.

use std::collections::BTreeMap;

use oxmq_compat_tests::ops::{self, code, response};
use oxmq_compat_tests::wire::{Command, Conn};
use oxmq_compat_tests::{Record, ServerUnderTest};
use serde_json::json;

use crate::{GROUP, LIMIT};

/// A producer on one connection, with a topic of its own.
pub(crate) struct Producer {
    pub(crate) conn: Conn,
    pub(crate) group: String,
    pub(crate) topic: String,
    sent: usize,
    client_id: String,
}

/// A half message as the answer to its send describes it.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) unique_key: String,
    pub(crate) offset: i64,
    pub(crate) commit_log_offset: i64,
}

/// What the broker asks.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) unique_key: String,
    pub(crate) offset: i64,
    pub(crate) commit_log_offset: i64,
    pub(crate) message: Record,
}

impl Producer {
    pub(crate) fn join(server: &ServerUnderTest, name: &str) -> Self {
        ops::create_topic(server, &format!("transactions_{name}"), 1);
        Self::join_as(server, name, "first")
    }

    pub(crate) fn join_as(server: &ServerUnderTest, name: &str, client_id: &str) -> Self {
        let group = format!("transactions_{name}_producers");
        let mut conn = Conn::connect(&server.broker_addr());
        conn.set_answer_limit(LIMIT);
        let body = json!({
            "clientID": client_id,
            "producerDataSet": [{"groupName": group}],
            "consumerDataSet": [],
        });
        let hello = Command::request(code::HEART_BEAT, &[]).with_body(body.to_string());
        assert_eq!(conn.call(hello).code, response::SUCCESS);
        let topic = format!("transactions_{name}");
        Self { conn, group, topic, sent: 0, client_id: client_id.to_owned() }
    }

    pub(crate) fn half(&mut self, body: &str, more: &str) -> Half {
        self.half_in(0, body, more)
    }

    pub(crate) fn half_in(&mut self, queue_id: i32, body: &str, more: &str) -> Half {
        self.sent += 1;
        let key = format!("{}-{}-{}", self.topic, self.client_id, self.sent);
        let group = &self.group;
        let properties =
            format!("UNIQ_KEY\u{1}{key}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{group}\u{2}{more}");
        let request = ops::send_request(&self.topic, queue_id, &properties, body.as_bytes());
        let answer = self.conn.call(request);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let id = &answer.ext["msgId"];
        Half {
            offset: answer.number("queueOffset"),
            commit_log_offset: i64::from_str_radix(&id[id.len() - 16..], 16).unwrap(),
            unique_key: key,
        }
    }

    pub(crate) fn decision(&self, half: &Half, kind: &str) -> Command {
        Command::request(
            code::END_TRANSACTION,
            &[
                ("producerGroup", self.group.as_str()),
                ("tranStateTableOffset", &half.offset.to_string()),
                ("commitLogOffset", &half.commit_log_offset.to_string()),
                ("commitOrRollback", kind),
                ("msgId", &half.unique_key),
                ("transactionId", &half.unique_key),
            ],
        )
    }

    pub(crate) fn end(&mut self, half: &Half, kind: &str) -> Command {
        self.conn.call(self.decision(half, kind))
    }

    pub(crate) fn end_oneway(&mut self, half: &Half, kind: &str) {
        let mut request = self.decision(half, kind);
        request.flag = 2;
        self.conn.send(request).unwrap();
    }

    pub(crate) fn answer(&mut self, question: &Question, kind: &str) -> Command {
        let half = Half {
            unique_key: question.unique_key.clone(),
            offset: question.offset,
            commit_log_offset: question.commit_log_offset,
        };
        let mut request = self.decision(&half, kind);
        request.ext.insert("fromTransactionCheck".to_owned(), "true".to_owned());
        self.conn.call(request)
    }

    pub(crate) fn await_question(&mut self) -> Question {
        loop {
            let command = self.conn.receive().expect("a question");
            if command.flag & 1 == 1 || command.code != code::CHECK_TRANSACTION_STATE {
                continue;
            }
            assert_eq!(command.flag, 2, "no answer is wanted");
            return Question {
                unique_key: command.ext["msgId"].clone(),
                offset: command.number("tranStateTableOffset"),
                commit_log_offset: command.number("commitLogOffset"),
                message: Record::decode_all(&command.body).remove(0),
                fields: command.ext,
            };
        }
    }

    pub(crate) fn delivered(&mut self) -> Vec<Record> {
        ops::walk_queue(&mut self.conn, GROUP, &self.topic, 0, 0)
    }

    pub(crate) fn await_delivered(&mut self, count: usize) -> Vec<Record> {
        ops::wait_for_max_offset(&mut self.conn, &self.topic, 0, count as i64);
        let delivered = self.delivered();
        assert_eq!(delivered.len(), count, "{delivered:?}");
        delivered
    }
}
