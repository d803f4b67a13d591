//! One file per request family.
//!
//! Each answers with a command or a refusal; decoding the frame and sending the answer happen
//! around them, in `dispatch`.

pub(crate) mod assignment;
pub(crate) mod broker_config;
pub(crate) mod client_manage;
pub(crate) mod client_status;
pub(crate) mod cold_data;
pub(crate) mod connection_list;
pub(crate) mod consumer_manage;
pub(crate) mod end_transaction;
pub(crate) mod group_query;
pub(crate) mod lite;
pub(crate) mod lite_info;
pub(crate) mod maintenance;
mod page;
pub(crate) mod pop_ack;
pub(crate) mod pop_message;
pub(crate) mod pull_message;
pub(crate) mod queue_offset;
pub(crate) mod queue_view;
pub(crate) mod rebalance_lock;
pub(crate) mod relay;
pub(crate) mod reply_message;
pub(crate) mod reset_offset;
pub(crate) mod runtime_info;
pub(crate) mod send_back;
pub(crate) mod send_message;
pub(crate) mod stats;
pub(crate) mod subscription_group;
pub(crate) mod timer;
pub(crate) mod topic;
pub(crate) mod view_message;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_remoting::Reply;
use serde::Serialize;

use crate::error::RequestError;

/// What a request is answered with, or why it is refused.
pub(crate) type Answer = Result<RemotingCommand, RequestError>;

/// Gives an answer, or says why there is none.
fn answer(outcome: Answer, reply: Reply) {
    match outcome {
        Ok(answer) => reply.send(answer),
        Err(error) => refuse(&error, reply),
    }
}

/// Says why a request is refused.
fn refuse(error: &RequestError, reply: Reply) {
    reply.fail(error.response_code(), &error.to_string());
}

/// An answer that says that all is well.
fn success() -> RemotingCommand {
    RemotingCommand::response(ResponseCode::SUCCESS)
}

/// An answer with a body in the reference's dialect.
fn success_with(body: &impl Serialize) -> Answer {
    Ok(success().with_body(fastjson::to_vec(body, Dialect::Raw)?))
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;
    use std::ops::Deref;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    use oxmq_protocol::body::{
        ConsumerData, LogicQueueMappingItem, SubscriptionData, TopicQueueMappingDetail,
    };
    use oxmq_protocol::command::{CommandView, RemotingCommand};
    use oxmq_protocol::frame;
    use oxmq_protocol::message::Message;
    use oxmq_store::{Clock, Environment, Fs, MessageStore, StoreConfig};

    use crate::broker_stats::BrokerStats;
    use crate::channel::testing::TestChannel;
    use crate::config::BrokerConfig;
    use crate::consumer::ConsumerManager;
    use crate::pop::lite::LiteService;
    use crate::producer::ProducerManager;
    use crate::tables::Tables;
    use crate::topic::TopicConfig;

    /// The managers of a broker in a directory of its own.
    pub(crate) struct Managers {
        pub(crate) config: Arc<BrokerConfig>,
        pub(crate) tables: Tables,
        pub(crate) consumers: Arc<ConsumerManager<TestChannel>>,
        pub(crate) producers: Arc<ProducerManager<TestChannel>>,
        pub(crate) store: Arc<MessageStore>,
        pub(crate) clock: Clock,
        dir: tempfile::TempDir,
    }

    impl Deref for Managers {
        type Target = Tables;

        fn deref(&self) -> &Tables {
            &self.tables
        }
    }

    impl Managers {
        pub(crate) fn create_topic(&self, topic: &str, queues: i32) {
            let topic = TopicConfig {
                read_queue_nums: queues,
                write_queue_nums: queues,
                ..TopicConfig::new(topic)
            };
            self.topics.update(topic).unwrap();
        }

        /// Makes the topic a static one, whose queue 0 is made of physical queues, each with logical offsets from
        /// one on.
        pub(crate) fn map_queue(&self, topic: &str, parts: &[(i32, i64)]) {
            let bname = Some(self.config.broker_name.clone());
            let parts = parts.iter().zip(0..).map(|(&(queue_id, logic_offset), generation)| {
                LogicQueueMappingItem {
                    bname: bname.clone(),
                    generation,
                    queue_id,
                    logic_offset,
                    ..LogicQueueMappingItem::default()
                }
            });
            let mapping = TopicQueueMappingDetail {
                hosted_queues: BTreeMap::from([(0, parts.collect())]),
                bname,
                topic: Some(topic.to_owned()),
                total_queues: 1,
                ..TopicQueueMappingDetail::default()
            };
            self.static_topics.update(topic, mapping, true).unwrap();
        }

        /// Has a new client join `group`, which subscribes to `topic`.
        pub(crate) fn join(&self, client_id: &str, group: &str, topic: &str) {
            let subscription =
                SubscriptionData { topic: topic.to_owned(), ..SubscriptionData::default() };
            let data = ConsumerData {
                group_name: group.to_owned(),
                subscription_data_set: vec![subscription],
                ..ConsumerData::default()
            };
            let client = TestChannel::new(1).client(client_id, Instant::now());
            self.consumers.register(&client, &data, true, true);
        }

        /// Lite topics, of which nothing is known yet.
        pub(crate) fn lite(&self) -> Arc<LiteService> {
            Arc::new(LiteService::new(
                Arc::clone(&self.config),
                Arc::clone(&self.store),
                Arc::clone(&self.topics),
                Arc::clone(&self.groups),
                Arc::clone(&self.offsets),
                Arc::new(BrokerStats::new(0)),
            ))
        }

        pub(crate) fn store_root(&self) -> &Path {
            self.dir.path()
        }

        /// Stores a message and returns its place in the log.
        pub(crate) fn put(&self, topic: &str, queue_id: i32, body: &str) -> i64 {
            self.put_with(topic, queue_id, body, b"")
        }

        /// The same with properties.
        pub(crate) fn put_with(
            &self,
            topic: &str,
            queue_id: i32,
            body: &str,
            properties: &[u8],
        ) -> i64 {
            let result = self.store.put_message(&Message {
                born_timestamp_ms: 1,
                store_host: ([192, 0, 2, 2], 10911).into(),
                properties,
                ..Message::new(topic, queue_id, body.as_bytes())
            });
            assert!(result.status.is_stored(), "{result:?}");
            result.phy_offset
        }
    }

    pub(crate) fn managers(change: impl FnOnce(&mut BrokerConfig)) -> Managers {
        let dir = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::default();
        config.broker_name = "b".to_owned();
        change(&mut config);
        let config = Arc::new(config);
        let root: &Path = dir.path();
        let tables = Tables::load(&config, root, false).unwrap();
        let (groups, filters) = (Arc::clone(&tables.groups), Arc::clone(&tables.filters));
        let consumers = ConsumerManager::new(Arc::clone(&config), groups, filters, Arc::default());
        let clock = Clock::manual(1);
        let store_config =
            StoreConfig { mapped_file_size_commit_log: 1 << 20, ..StoreConfig::in_dir(root) };
        let environment = Environment { clock: clock.clone(), fs: Fs::default() };
        Managers {
            store: MessageStore::open_with(store_config, environment).unwrap(),
            clock,
            tables,
            consumers: Arc::new(consumers),
            producers: Arc::default(),
            config,
            dir,
        }
    }

    /// Hands `request` over as it looks in the read buffer.
    pub(crate) fn with_view<R>(
        request: &RemotingCommand,
        use_view: impl FnOnce(&CommandView<'_>) -> R,
    ) -> R {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        let (frame, _) = frame::split(&bytes).unwrap().unwrap();
        use_view(&CommandView::decode(frame).unwrap())
    }

    /// A request with ext fields.
    pub(crate) fn request(fields: &[(&str, &str)]) -> RemotingCommand {
        // The code is what dispatch goes by; the processors do not look at it.
        let mut request = RemotingCommand::request(oxmq_protocol::code::RequestCode(0));
        for (name, value) in fields {
            request.ext_fields.insert(*name, *value);
        }
        request
    }

    /// The body of an answer as text.
    pub(crate) fn body(answer: &RemotingCommand) -> &str {
        std::str::from_utf8(&answer.body).unwrap()
    }
}
