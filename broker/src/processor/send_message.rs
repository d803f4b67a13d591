//! `SEND_MESSAGE` (10), `SEND_MESSAGE_V2` (310) and `SEND_BATCH_MESSAGE` (320).
//!
//! Reference: `SendMessageProcessor`, `AbstractSendMessageProcessor` (broker), 5.5.0.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oxmq_protocol::body::TopicFilterType;
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandView, CommandWriter, PreparedFields};
use oxmq_protocol::header::{SendMessageView, write_send_response};
use oxmq_protocol::message::{
    BatchMessages, EncodeOptions, Message, RecallHandle, encoded_len, message_id, properties,
};
use oxmq_protocol::version;
use oxmq_remoting::{Connection, Reply};
use oxmq_store::{MessageStore, PutMessageResult, PutMessageStatus};

use crate::broker_stats::BrokerStats;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::durable::DurableAnswers;
use crate::error::RequestError;
use crate::message_type;
use crate::rebalance_lock::RebalanceLockManager;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::timer::TIMER_TOPIC;
use crate::topic::{Topic, TopicConfig, TopicConfigManager};
use crate::topic_validator;
use crate::transaction::TransactionService;
use crate::unique_key::UniqueKeys;
use crate::{clock, perm, put_status};

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
    unique_keys: UniqueKeys,
    answers: Arc<Answers>,
    durable: Arc<DurableAnswers>,
    /// Properties that every stored message gets.
    stamp: Vec<u8>,
    next_queue: AtomicU32,
}

/// Buffers of the thread, so that a send allocates nothing.
#[derive(Default)]
struct Scratch {
    properties: Vec<u8>,
    message_id: String,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl SendMessage {
    #[expect(clippy::too_many_arguments, reason = "the managers it works with")]
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        tables: &Tables,
        stats: Arc<BrokerStats>,
        locks: Arc<RebalanceLockManager>,
        delays: Delays,
        transactions: Arc<TransactionService>,
        durable: Arc<DurableAnswers>,
        store_host: SocketAddr,
    ) -> Self {
        let trace_on = if config.trace_on { "true" } else { "false" };
        let stamps = [("MSG_REGION", config.region_id.as_str()), ("TRACE_ON", trace_on)];
        let answers =
            Answers { stamps: PreparedFields::new(&stamps), store_host, store: Arc::clone(&store) };
        let mut stamp = Vec::new();
        properties::append(&mut stamp, properties::MSG_REGION, config.region_id.as_bytes());
        properties::append(&mut stamp, properties::TRACE_SWITCH, trace_on.as_bytes());
        properties::append(&mut stamp, properties::CLUSTER, config.broker_cluster_name.as_bytes());
        Self {
            unique_keys: UniqueKeys::new(store_host.ip()),
            answers: Arc::new(answers),
            durable,
            stamp,
            next_queue: AtomicU32::new(0),
            config,
            store,
            topics: Arc::clone(&tables.topics),
            groups: Arc::clone(&tables.groups),
            stats,
            locks,
            delays,
            transactions,
        }
    }

    pub(crate) fn process(&self, request: &CommandView<'_>, reply: Reply) {
        SCRATCH.with_borrow_mut(|scratch| match self.put(request, reply.connection(), scratch) {
            Ok(stored) => self.answer(stored, scratch, reply),
            Err(error) => {
                self.answers.refuse(error.response_code(), &error.to_string(), reply);
            }
        });
    }

    /// Checks and stores, in the reference's order of checks.
    fn put(
        &self,
        request: &CommandView<'_>,
        connection: &Connection,
        scratch: &mut Scratch,
    ) -> Result<Stored, RequestError> {
        if self.config.broker_fast_failure_enable {
            let limit_ms = self.config.wait_time_mills_in_send_queue.max(1).unsigned_abs();
            self.store.await_turn(Duration::from_millis(limit_ms)).map_err(RequestError::Busy)?;
        }
        let header = SendMessageView::decode(request)?;
        let (topic, mut queue_id) = self.check(&header, connection)?;
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
            if let Some(dlq) = self.dead_letter_topic(message.topic, &header, request.version)? {
                properties::remove(&mut scratch.properties, properties::DELAY_TIME_LEVEL);
                dead_letters = dlq;
                (message.topic, message.queue_id) = (&dead_letters.topic_name, 0);
            }
        }
        if !header.batch {
            if traits.has_priority
                && let Some(queue) =
                    message_type::queue_of_priority(&mut scratch.properties, topic.write_queue_nums)
            {
                (queue_id, message.queue_id) = (queue, queue);
            }
            if message_type::lacks_key(&topic.attributes, &scratch.properties) {
                return Err(RequestError::KeyMissing);
            }
        }
        if traits.is_half && !is_redelivery(&header, &scratch.properties) {
            let result = self.put_half(&topic, message, &mut scratch.properties)?;
            return Ok(Stored::single(result, queue_id, !traits.no_wait));
        }
        if traits.is_delayed && !header.batch {
            return Ok(self.put_delayed(
                &topic,
                message,
                queue_id,
                &mut scratch.properties,
                &traits,
            ));
        }
        message.properties = &scratch.properties;
        if !header.batch {
            let result = self.count(&topic, || self.store.put_message(&message));
            return Ok(Stored::single(result, queue_id, !traits.no_wait));
        }
        if traits.is_delayed {
            let result = PutMessageResult::refused(PutMessageStatus::MessageIllegal);
            return Ok(Stored::single(result, queue_id, false));
        }
        let inner = BatchMessages::new(request.body);
        if self.store.has_batch_queues(message.topic)
            && properties::property_str(&scratch.properties, properties::UNIQ_KEY).is_some()
        {
            return Ok(self.put_inner_batch(&topic, &message, &inner, &traits));
        }
        let result = self.count(&topic, || self.store.put_batch(&message, inner.clone()));
        let batch = self.batch_offsets(&message, inner, &result);
        let single = Stored::single(result, queue_id, !traits.no_wait);
        Ok(Stored { batch: Some(batch), ..single })
    }

    /// Stores a batch for a topic with batch queues: one record with the properties of the envelope.
    fn put_inner_batch(
        &self,
        at: &Topic,
        envelope: &Message<'_>,
        inner: &BatchMessages<'_>,
        traits: &Traits,
    ) -> Stored {
        let mut text = envelope.properties.to_vec();
        properties::remove(&mut text, properties::CLUSTER);
        if text.last().is_some_and(|last| *last != properties::PAIR_SEPARATOR) {
            text.push(properties::PAIR_SEPARATOR);
        }
        let cluster = self.config.broker_cluster_name.as_bytes();
        properties::append(&mut text, properties::CLUSTER, cluster);
        let message = Message { properties: &text, ..*envelope };
        let result = self.count(at, || self.store.put_inner_batch(&message, inner));
        let queue_id = message.queue_id;
        let single = Stored::single(result, queue_id, !traits.no_wait);
        Stored { is_inner_batch: true, ..single }
    }

    /// Stores a message that is to be delivered later, or now if that time is over.
    fn put_delayed(
        &self,
        at: &Topic,
        mut message: Message<'_>,
        queue_id: i32,
        text: &mut Vec<u8>,
        traits: &Traits,
    ) -> Stored {
        let to = message.topic;
        match self.delays.divert(to, message.queue_id, text, clock::now_ms()) {
            Ok(Some(aside)) => (message.topic, message.queue_id) = aside,
            Ok(None) => {}
            Err(status) => {
                return Stored::single(PutMessageResult::refused(status), queue_id, false);
            }
        }
        let later = Message { properties: text, ..message };
        let result = self.count(at, || self.store.put_message(&later));
        self.delays.stored(later.topic);
        let recall_handle = self.recall_handle(to, later.topic, text);
        Stored { recall_handle, ..Stored::single(result, queue_id, !traits.no_wait) }
    }

    /// What the producer can take the message back by.
    fn recall_handle(&self, to: &str, stored_in: &str, text: &[u8]) -> Option<String> {
        if stored_in != TIMER_TOPIC || topic_validator::is_retry_topic(to) {
            return None;
        }
        let slot_ms: i64 =
            properties::property_str(text, properties::TIMER_OUT_MS)?.parse().ok()?;
        let handle = RecallHandle {
            topic: to.to_owned(),
            broker_name: self.config.broker_name.clone(),
            // Within the slot, which begins at this time.
            timestamp_ms: slot_ms + 1,
            unique_key: properties::property_str(text, properties::UNIQ_KEY)?.to_owned(),
        };
        Some(handle.encode())
    }

    /// Stores a message that waits for its producer's decision.
    fn put_half(
        &self,
        at: &Topic,
        mut message: Message<'_>,
        text: &mut Vec<u8>,
    ) -> Result<PutMessageResult, RequestError> {
        if self.config.reject_transaction_message {
            return Err(RequestError::TransactionForbidden(self.config.broker_ip1.clone()));
        }
        let topic = message.topic;
        // Its delay begins with the commit. One that makes no sense is refused now, while the producer
        // can still do something about it.
        let mut delayed = text.clone();
        let delay = self.delays.divert(topic, message.queue_id, &mut delayed, clock::now_ms());
        if let Err(status) = delay {
            return Ok(PutMessageResult::refused(status));
        }
        (message.topic, message.queue_id) =
            TransactionService::divert(topic, message.queue_id, text);
        message.sys_flag = TransactionService::half_sys_flag(message.sys_flag);
        let half = Message { properties: text, ..message };
        let result = self.count(at, || self.store.put_message(&half));
        if result.status.is_stored() {
            self.transactions.stored_half(topic);
        }
        Ok(result)
    }

    /// Whether a message may go where it is sent, in the reference's order of checks: its topic, which
    /// may be made for it, and its queue.
    pub(super) fn check(
        &self,
        header: &SendMessageView<'_>,
        connection: &Connection,
    ) -> Result<(Arc<Topic>, i32), RequestError> {
        if self.config.start_accept_send_request_timestamp > 0 {
            self.check_open()?;
        }
        let topic_text = header.topic.text();
        // A broker that may not be written only refuses ordered topics: the others are drained by
        // routes that do not name it.
        if !perm::is_writeable(self.config.broker_permission) && self.topics.is_ordered(&topic_text)
        {
            return Err(RequestError::BrokerSendForbidden(self.config.broker_ip1.clone()));
        }
        topic_validator::validate_topic(&topic_text)?;
        if topic_validator::is_topic_not_allowed_to_send(&topic_text) {
            return Err(RequestError::TopicSendForbidden(topic_text.into_owned()));
        }
        let topic = match self.topics.get(&topic_text) {
            Some(topic) => topic,
            None => self.create_topic(header, &topic_text, connection)?,
        };
        let queue_id = self.choose_queue(header, &topic, connection)?;
        Ok((topic, queue_id))
    }

    /// Producers read this broker's stamps from a refusal as well.
    pub(super) fn refuse(&self, code: ResponseCode, remark: &str, reply: Reply) {
        self.answers.refuse(code, remark, reply);
    }

    /// Answers with this broker's stamps and what `write` adds.
    pub(super) fn respond(&self, reply: Reply, write: impl FnOnce(&mut CommandWriter<'_>)) {
        reply.write(ResponseCode::SUCCESS, None, |mut writer| {
            writer.prepared(&self.answers.stamps);
            write(&mut writer);
            writer.finish(&[]);
        });
    }

    fn count(&self, topic: &Topic, put: impl FnOnce() -> PutMessageResult) -> PutMessageResult {
        let start = Instant::now();
        let result = put();
        if result.status.is_stored() {
            let (messages, bytes) = (result.message_count, result.wrote_bytes);
            self.stats.put(messages.into(), bytes.into(), start.elapsed());
            topic.put.add(messages.into(), bytes.into());
        } else {
            self.stats.put_failed();
        }
        result
    }

    /// Where the records of a batch lie: they follow each other.
    fn batch_offsets(
        &self,
        envelope: &Message<'_>,
        inner: BatchMessages<'_>,
        result: &PutMessageResult,
    ) -> Vec<i64> {
        let options = EncodeOptions {
            append_property_crc: self.store.config().enabled_append_prop_crc,
            ..EncodeOptions::default()
        };
        let mut next = result.phy_offset;
        inner
            .flatten()
            .filter_map(|message| {
                let (body, properties) = (message.body, message.properties);
                let record = Message { body, properties, ..*envelope };
                let bytes = encoded_len(&record, &options).ok()?;
                let begin = next;
                next += bytes as i64;
                Some(begin)
            })
            .collect()
    }

    fn check_open(&self) -> Result<(), RequestError> {
        let opens_at_ms = self.config.start_accept_send_request_timestamp;
        if clock::now_ms() < opens_at_ms {
            return Err(RequestError::NotServingYet { opens_at_ms });
        }
        Ok(())
    }

    fn create_topic(
        &self,
        header: &SendMessageView<'_>,
        topic: &str,
        connection: &Connection,
    ) -> Result<Arc<Topic>, RequestError> {
        self.topics
            .create_in_send(
                topic,
                &header.default_topic.text(),
                header.default_topic_queue_nums,
                header.unit_mode,
                connection.peer(),
            )
            .ok_or_else(|| RequestError::TopicNotExist(topic.to_owned()))
    }

    fn choose_queue(
        &self,
        header: &SendMessageView<'_>,
        topic: &TopicConfig,
        connection: &Connection,
    ) -> Result<i32, RequestError> {
        let queue_id = header.queue_id;
        if queue_id >= topic.write_queue_nums.max(topic.read_queue_nums) {
            return Err(RequestError::QueueIdIllegal {
                queue_id,
                topic: describe(topic),
                producer: connection.peer(),
            });
        }
        if queue_id >= 0 {
            return Ok(queue_id);
        }
        let turn = self.next_queue.fetch_add(1, Ordering::Relaxed);
        Ok((turn % topic.write_queue_nums.max(1).unsigned_abs()).cast_signed())
    }

    /// A message that a client sends to its own retry topic after it was consumed too often, or by a
    /// group that consumes in order, becomes a dead letter.
    fn dead_letter_topic(
        &self,
        retry_topic: &str,
        header: &SendMessageView<'_>,
        client_version: i32,
    ) -> Result<Option<Arc<Topic>>, RequestError> {
        let group_name = topic_validator::group_of_retry_topic(retry_topic);
        let group = self
            .groups
            .find_or_create(group_name)
            .ok_or_else(|| RequestError::SubscriptionGroupNotExist(group_name.to_owned()))?;
        let most = match header.max_reconsume_times {
            Some(times) if client_version >= version::V3_4_9 => times,
            _ => group.retry_max_times,
        };
        let is_dead =
            header.reconsume_times > most || self.locks.is_any_held(group_name, Instant::now());
        if !is_dead {
            return Ok(None);
        }
        let topic = topic_validator::dlq_topic(group_name);
        let perm = perm::READ | perm::WRITE;
        match self.topics.create_in_send_back(&topic, 1, perm, false, 0) {
            Some(topic) => Ok(Some(topic)),
            None => Err(RequestError::BackTopicNotExist(topic)),
        }
    }

    /// Turns what the client sent into what is stored: stamps of this broker, a unique key, and none
    /// of the names that only a broker may set.
    fn complete_properties(&self, text: &mut Vec<u8>, batch: bool) -> Traits {
        let mut traits = Traits::default();
        let mut has_unique_key = false;
        let mut has_stamps = false;
        for (name, value) in properties::pairs(text) {
            match name {
                b"UNIQ_KEY" => has_unique_key = true,
                b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => has_stamps = true,
                b"TRAN_MSG" if value.eq_ignore_ascii_case(b"true") => {
                    traits.is_half = !batch;
                }
                b"DELAY" => traits.is_delayed = true,
                b"_SYS_MSG_PRIORITY_" => traits.has_priority = true,
                b"WAIT" => traits.no_wait = value.eq_ignore_ascii_case(b"false"),
                b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => {
                    traits.is_delayed |= !batch;
                }
                _ => {}
            }
        }
        if batch {
            // The envelope's properties never reach the stored messages.
            return traits;
        }
        if has_stamps {
            properties::retain(text, |name| {
                !matches!(name, b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK")
            });
        }
        if text.last().is_some_and(|last| *last != properties::PAIR_SEPARATOR) {
            text.push(properties::PAIR_SEPARATOR);
        }
        if !has_unique_key {
            text.extend_from_slice(b"UNIQ_KEY\x01");
            self.unique_keys.append_next(text);
            text.push(properties::PAIR_SEPARATOR);
        }
        text.extend_from_slice(&self.stamp);
        traits
    }

    fn answer(&self, stored: Stored, scratch: &mut Scratch, reply: Reply) {
        let unique_key = properties::property_str(&scratch.properties, properties::UNIQ_KEY);
        let waits = stored.waits_for_disk && self.store.flushes_synchronously();
        if !waits || stored.result.status != PutMessageStatus::PutOk {
            self.store.flush_soon();
            self.answers.respond(&stored, unique_key, &mut scratch.message_id, reply);
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

/// What a send is answered with, also when it waited for the disk.
#[derive(Debug)]
struct Answers {
    /// The broker's region, and whether it wants traces.
    stamps: PreparedFields,
    store_host: SocketAddr,
    store: Arc<MessageStore>,
}

impl Answers {
    fn respond(
        &self,
        stored: &Stored,
        unique_key: Option<&str>,
        message_id: &mut String,
        reply: Reply,
    ) {
        if !stored.result.status.is_stored() {
            let refusal = self.store.refusal().map(|refusal| refusal.to_string());
            let config = self.store.config();
            let remark = put_status::remark(stored.result.status, config, refusal.as_deref());
            return self.refuse(put_status::response_code(stored.result.status), &remark, reply);
        }
        message_id.clear();
        for phy_offset in stored.phy_offsets() {
            if !message_id.is_empty() {
                message_id.push(',');
            }
            message_id::push_offset_id(message_id, self.store_host, phy_offset);
        }
        reply.write(put_status::response_code(stored.result.status), None, |mut writer| {
            if let Some(key) = unique_key.filter(|_| stored.is_inner_batch) {
                writer.text("batchUniqId", key);
            }
            writer.prepared(&self.stamps);
            let offset = stored.result.queue_offset;
            write_send_response(&mut writer, message_id, stored.queue_id, offset, unique_key);
            if let Some(handle) = &stored.recall_handle {
                writer.text("recallHandle", handle);
            }
            writer.finish(&[]);
        });
    }

    /// Producers read the two stamps from a refusal as well.
    fn refuse(&self, code: ResponseCode, remark: &str, reply: Reply) {
        reply.write(code, Some(remark), |mut writer| {
            writer.prepared(&self.stamps);
            writer.finish(&[]);
        });
    }
}

/// A message, or a batch, that the store was given.
#[derive(Debug)]
struct Stored {
    result: PutMessageResult,
    queue_id: i32,
    /// The sender wants to hear of it when the disk has it.
    waits_for_disk: bool,
    /// Log positions of a batch's messages.
    batch: Option<Vec<i64>>,
    /// What the producer can take the message back by.
    recall_handle: Option<String>,
    /// A batch is one record.
    is_inner_batch: bool,
}

impl Stored {
    fn single(result: PutMessageResult, queue_id: i32, waits_for_disk: bool) -> Self {
        Self {
            result,
            queue_id,
            waits_for_disk,
            batch: None,
            recall_handle: None,
            is_inner_batch: false,
        }
    }

    fn phy_offsets(&self) -> impl Iterator<Item = i64> + '_ {
        let single = self.batch.is_none().then_some(self.result.phy_offset);
        single.into_iter().chain(self.batch.iter().flatten().copied())
    }
}

/// What the properties of a message ask for.
#[derive(Debug, Default)]
struct Traits {
    is_delayed: bool,
    is_half: bool,
    has_priority: bool,
    no_wait: bool,
}

/// Clients before 4.6.1 give failed messages back with the properties that they were sent with.
fn is_redelivery(header: &SendMessageView<'_>, text: &[u8]) -> bool {
    header.reconsume_times > 0
        && properties::property_str(text, properties::DELAY_TIME_LEVEL)
            .and_then(|level| level.parse::<i32>().ok())
            .is_some_and(|level| level > 0)
}

/// A topic as the reference prints it.
fn describe(topic: &TopicConfig) -> String {
    let flag = |bit, letter| if topic.perm & bit == bit { letter } else { '-' };
    let (read, write) = (flag(perm::READ, 'R'), flag(perm::WRITE, 'W'));
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={read}{write}{}, \
         topicFilterType={}, topicSysFlag={}, order={}, attributes={:?}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        flag(perm::INHERIT, 'X'),
        match topic.topic_filter_type {
            TopicFilterType::SingleTag => "SINGLE_TAG",
            TopicFilterType::MultiTag => "MULTI_TAG",
        },
        topic.topic_sys_flag,
        topic.order,
        topic.attributes,
    )
}
