//! A made-up broker.

use oxmq_compat_tests::wire::{Command, Conn};
use serde_json::{Value, json};

use crate::code::*;

/// A made-up broker of the cluster `<name>-cluster`.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) name: String,
    pub(crate) id: i64,
    pub(crate) addr: String,
    pub(crate) topics: Vec<String>,
    pub(crate) counter: i64,
    pub(crate) state_version: i64,
    pub(crate) more: Vec<(String, String)>,
}

impl Broker {
    pub(crate) fn new(name: &str, id: i64, topics: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            id,
            addr: format!("{name}-{id}:10911"),
            topics: topics.iter().map(|topic| format!("{name}-{topic}")).collect(),
            counter: 0,
            state_version: 0,
            more: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, field: &str, value: &str) -> Self {
        self.more.push((field.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cluster(&self) -> String {
        format!("{}-cluster", self.name)
    }

    pub(crate) fn body(&self, sys_flag: i32) -> String {
        let topics: serde_json::Map<String, Value> = self
            .topics
            .iter()
            .map(|topic| {
                let config = json!({"topicName": topic, "perm": 6, "readQueueNums": 4,
                    "writeQueueNums": 5, "topicSysFlag": sys_flag, "order": false,
                    "topicFilterType": "SINGLE_TAG", "attributes": {}});
                (topic.clone(), config)
            })
            .collect();
        json!({"filterServerList": [], "topicConfigSerializeWrapper": {
            "dataVersion": self.version(), "topicConfigTable": topics}})
        .to_string()
    }

    pub(crate) fn version(&self) -> Value {
        json!({"counter": self.counter, "stateVersion": self.state_version, "timestamp": 1})
    }

    /// The fields that every request of a broker has.
    pub(crate) fn fields(&self, code: i32) -> Command {
        let mut command = Command::request(code, &[]);
        let id = self.id.to_string();
        let cluster = self.cluster();
        let fields = [
            ("brokerName", &self.name),
            ("brokerAddr", &self.addr),
            ("clusterName", &cluster),
            ("brokerId", &id),
        ];
        for (field, value) in fields {
            command.ext.insert(field.to_owned(), value.clone());
        }
        command
    }

    pub(crate) fn registration(&self) -> Command {
        let mut command = self.fields(REGISTER_BROKER).with_body(self.body(0));
        command.ext.insert("haServerAddr".to_owned(), format!("{}-ha", self.addr));
        command.ext.extend(self.more.iter().cloned());
        command
    }

    pub(crate) fn register(&self, conn: &mut Conn) -> Command {
        let answer = conn.call(self.registration());
        assert_eq!(answer.code, SUCCESS, "{answer:?}");
        answer
    }
}
