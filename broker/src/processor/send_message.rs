//! `SEND_MESSAGE` (10), `SEND_MESSAGE_V2` (310) and `SEND_BATCH_MESSAGE` (320).
//!
//! Reference: `SendMessageProcessor`, `AbstractSendMessageProcessor` (broker), 5.5.0.

mod answers;
mod aside;
mod batch;
mod check;
mod together;
mod traits;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::header::SendMessageView;
use oxmq_protocol::message::{Message, properties};
use oxmq_remoting::{Connection, Reply};
use oxmq_store::{MessageStore, PutMessageResult, PutMessageStatus};

use self::answers::{Answers, Stored};
use self::together::{Added, Sends};
use crate::broker_stats::BrokerStats;
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::durable::DurableAnswers;
use crate::error::RequestError;
use crate::in_memory::InMemory;
use crate::message_type;
use crate::once::{First, Window};
use crate::rebalance_lock::RebalanceLockManager;
use crate::static_topic::StaticTopics;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::{Topic, TopicConfigManager};
use crate::topic_validator;
use crate::traffic::Flow;
use crate::transaction::TransactionService;
use crate::unique_key::UniqueKeys;

/// The delay level of what is not tried again.
const NO_DELAY: &[u8] = b"-1";

/// Stores what producers send.
#[derive(Debug)]
pub(crate) struct SendMessage {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    stats: Arc<BrokerStats>,
    locks: Arc<RebalanceLockManager>,
    delays: Delays,
    transactions: Arc<TransactionService>,
    static_topics: Arc<StaticTopics>,
    unique_keys: UniqueKeys,
    answers: Arc<Answers>,
    durable: Arc<DurableAnswers>,
    next_queue: AtomicU32,
}

/// Buffers of the thread, so that a send allocates nothing, and the sends of the turn that are stored together.
#[derive(Default)]
struct Scratch {
    properties: Vec<u8>,
    message_id: String,
    sends: Sends,
}

/// How a message may be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With the others of the turn.
    Together,
    /// At once: what becomes of it is wanted.
    Alone,
}

/// What became of a message.
enum Put {
    Stored(Stored),
    /// It is stored with others, at the latest when the turn ends.
    Added(Added),
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl SendMessage {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        tables: &Tables,
        known: &InMemory,
        delays: Delays,
        transactions: Arc<TransactionService>,
        store_host: SocketAddr,
    ) -> Self {
        let stamps = Arc::clone(&known.stamps);
        let answers = Answers { stamps, store_host, store: Arc::clone(&store) };
        Self {
            unique_keys: UniqueKeys::new(store_host.ip()),
            answers: Arc::new(answers),
            durable: Arc::new(DurableAnswers::new(Arc::clone(&store))),
            next_queue: AtomicU32::new(0),
            config,
            store,
            topics: Arc::clone(&tables.topics),
            groups: Arc::clone(&tables.groups),
            static_topics: Arc::clone(&tables.static_topics),
            stats: Arc::clone(&known.stats),
            locks: Arc::clone(&known.locks),
            delays,
            transactions,
        }
    }

    pub(crate) fn process(&self, request: &CommandView<'_>, reply: Reply) {
        SCRATCH.with_borrow_mut(|scratch| match self.put(request, &reply, scratch) {
            Ok(Put::Stored(stored)) => {
                let Scratch { properties, message_id, .. } = scratch;
                let unique_key = properties::property_str(properties, properties::UNIQ_KEY);
                self.answer(stored, unique_key, message_id, reply);
            }
            Ok(Put::Added(added)) => scratch.sends.note(added, &scratch.properties, reply),
            Err(error) => {
                self.answers.refuse(error.response_code(), &error.to_string(), reply);
            }
        });
    }

    /// Stores what was sent in this turn and is not stored yet, and answers it.
    pub(crate) fn settle(&self) {
        SCRATCH.with_borrow_mut(|scratch| {
            self.store_sends(&mut scratch.sends, &mut scratch.message_id);
        });
    }

    /// Checks and stores, in the reference's order of checks. What is sent to a logical queue goes to the part
    /// that this broker has, and is answered as if it had not.
    fn put(
        &self,
        request: &CommandView<'_>,
        reply: &Reply,
        scratch: &mut Scratch,
    ) -> Result<Put, RequestError> {
        let mut header = SendMessageView::decode(request)?;
        let connection = reply.connection();
        let way = match reply.more_follow() || !scratch.sends.is_empty() {
            true => Way::Together,
            false => Way::Alone,
        };
        if way == Way::Alone {
            self.await_turn()?;
        }
        if self.static_topics.is_empty() {
            return self.put_in_queue(&header, request, connection, scratch, way);
        }
        let queue = self.static_topics.sent_to(request, &header.topic.text(), header.queue_id)?;
        let Some((queue, leader)) = queue.as_ref().and_then(|it| Some((it, it.leader()?))) else {
            return self.put_in_queue(&header, request, connection, scratch, way);
        };
        header.queue_id = leader.queue_id;
        let mut put = self.put_in_queue(&header, request, connection, scratch, Way::Alone)?;
        if let Put::Stored(stored) = &mut put {
            stored.queue_id = queue.id();
            stored.result.queue_offset = leader.logic_offset_within(stored.result.queue_offset);
        }
        Ok(put)
    }

    /// Waits for others that append, but not for long.
    ///
    /// # Errors
    /// When one of them does not come to an end.
    fn await_turn(&self) -> Result<(), RequestError> {
        if self.config.broker_fast_failure_enable {
            let limit_ms = self.config.wait_time_mills_in_send_queue.max(1).unsigned_abs();
            self.store.await_turn(Duration::from_millis(limit_ms)).map_err(RequestError::Busy)?;
        }
        Ok(())
    }

    fn put_in_queue(
        &self,
        header: &SendMessageView<'_>,
        request: &CommandView<'_>,
        connection: &Connection,
        scratch: &mut Scratch,
        way: Way,
    ) -> Result<Put, RequestError> {
        let (topic, mut queue_id) = self.check(header, connection)?;
        if request.body.is_empty() {
            return Err(RequestError::EmptyBody);
        }
        scratch.properties.clear();
        header.properties.append_to(&mut scratch.properties);
        let traits = self.complete_properties(&mut scratch.properties, header.batch);
        let mut message = Message {
            topic: &topic.topic_name,
            queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag,
            born_timestamp_ms: header.born_timestamp_ms,
            born_host: connection.peer(),
            store_host: self.answers.store_host,
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body: request.body,
            properties: &[],
        };
        let dead_letters;
        if topic_validator::is_retry_topic(message.topic) {
            if header.batch {
                return Err(RequestError::BatchToRetryTopic(topic.topic_name.clone()));
            }
            if let Some(dlq) = self.dead_letter_topic(message.topic, header, request.version)? {
                properties::set(&mut scratch.properties, properties::DELAY_TIME_LEVEL, NO_DELAY);
                dead_letters = dlq;
                (message.topic, message.queue_id) = (&dead_letters.topic_name, 0);
            }
        }
        if header.batch {
            self.store_sends(&mut scratch.sends, &mut scratch.message_id);
            self.await_turn()?;
            message.properties = &scratch.properties;
            return Ok(Put::Stored(self.put_batch(&topic, &message, &traits)));
        }
        if traits.has_lite_topic {
            message_type::to_lite_topic(&mut scratch.properties, message.topic);
        }
        if traits.has_priority
            && let Some(queue) =
                message_type::queue_of_priority(&mut scratch.properties, topic.write_queue_nums)
        {
            (queue_id, message.queue_id) = (queue, queue);
        }
        if message_type::lacks_key(&topic.attributes, &scratch.properties) {
            return Err(RequestError::KeyMissing);
        }
        let Scratch { properties: text, message_id, sends } = scratch;
        let is_half = traits.is_half && !aside::is_redelivery(header, text);
        let waits_for_disk = !traits.no_wait;
        if way == Way::Together && !is_half && !traits.is_delayed && topic.window.is_none() {
            let message = Message { properties: text, ..message };
            return Ok(match self.add_send(sends, message_id, &topic, &message) {
                Ok(()) => Put::Added(Added { topic, queue_id, waits_for_disk }),
                Err(result) => Put::Stored(Stored::single(result, queue_id, waits_for_disk)),
            });
        }
        self.store_sends(sends, message_id);
        self.await_turn()?;
        let put = |text: &mut Vec<u8>| {
            if is_half {
                let result = self.put_half(message, text)?;
                return Ok(Stored::single(result, queue_id, waits_for_disk));
            }
            if traits.is_delayed {
                return Ok(self.put_delayed(&topic, message, queue_id, text, &traits));
            }
            let message = Message { properties: text, ..message };
            let result = self.count(&topic, || self.store.put_message(&message));
            Ok(Stored::single(result, queue_id, waits_for_disk))
        };
        let stored = match &topic.window {
            // What consumers send is meant to come again.
            Some(window) if traits.has_unique_key && header.reconsume_times == 0 => {
                put_once(window, text, request.body, waits_for_disk, put)
            }
            _ => put(text),
        };
        stored.map(Put::Stored)
    }

    /// Producers read this broker's stamps from a refusal as well.
    pub(super) fn refuse(&self, code: ResponseCode, remark: &str, reply: Reply) {
        self.answers.refuse(code, remark, reply);
    }

    /// Answers with this broker's stamps and what `write` adds.
    pub(super) fn respond(&self, reply: Reply, write: impl FnOnce(&mut CommandWriter<'_>)) {
        reply.write(ResponseCode::SUCCESS, None, |mut writer| {
            writer.prepared(self.answers.stamps.of_answers());
            write(&mut writer);
            writer.finish(&[]);
        });
    }

    fn count(&self, topic: &Topic, put: impl FnOnce() -> PutMessageResult) -> PutMessageResult {
        let start = Instant::now();
        let result = put();
        if result.status.is_stored() {
            let flow = Flow::once(result.message_count.into(), result.wrote_bytes.into());
            self.stats.put(flow, start.elapsed());
            topic.put.join(flow);
        } else {
            self.stats.put_failed();
        }
        result
    }

    fn answer(
        &self,
        mut stored: Stored,
        unique_key: Option<&str>,
        message_id: &mut String,
        reply: Reply,
    ) {
        let waits = stored.waits_for_disk && self.store.flushes_synchronously();
        if !waits || stored.result.status != PutMessageStatus::PutOk {
            if !self.store.flush_soon() && stored.result.status.is_stored() {
                stored.result.status = PutMessageStatus::ServiceNotAvailable;
            }
            self.answers.respond(&stored, unique_key, message_id, reply);
            return;
        }
        // The answer waits for the disk and takes with it everything that it needs.
        let answers = Arc::clone(&self.answers);
        let unique_key = unique_key.map(str::to_owned);
        let end_phy_offset = stored.result.end_phy_offset();
        self.durable.give(end_phy_offset, reply, move |status, reply| {
            let mut stored = stored;
            stored.result.status = status;
            answers.respond(&stored, unique_key.as_deref(), &mut String::new(), reply);
        });
    }
}

/// Stores a message unless its topic knows it: then it is answered as the first time.
fn put_once(
    window: &Window,
    text: &mut Vec<u8>,
    body: &[u8],
    waits_for_disk: bool,
    put: impl FnOnce(&mut Vec<u8>) -> Result<Stored, RequestError>,
) -> Result<Stored, RequestError> {
    let unique_key = properties::property_str(text, properties::UNIQ_KEY).map(str::to_owned);
    let Some(unique_key) = unique_key else { return put(text) };
    let First { result, queue_id, recall_handle } =
        window.put_once(&unique_key, body, now_ms(), || {
            let Stored { result, queue_id, recall_handle, .. } = put(text)?;
            Ok::<_, RequestError>(First { result, queue_id, recall_handle })
        })?;
    Ok(Stored { recall_handle, ..Stored::single(result, queue_id, waits_for_disk) })
}
