//! `PULL_MESSAGE` (11) and `LITE_PULL_MESSAGE` (361).
//!
//! Reference: `PullMessageProcessor`, `DefaultPullMessageResultHandler` (broker), 5.5.0.

mod elsewhere;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::header::{PullMessageView, pull_sys_flag, request_source};
use oxmq_remoting::{Connection, Reply};
use oxmq_store::{Cold, GetMessageResult, GetMessageStatus, LazyRecord, MessageStore};

use crate::broadcast_offset::{BroadcastOffsets, Broadcaster};
use crate::broker_stats::BrokerStats;
use crate::cold::ColdReads;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::error::RequestError;
use crate::filter::{MessageFilter, SqlFilter};
use crate::hold::Asks as _;
use crate::limits::{MAX_PULL_MESSAGES, MAX_SUSPEND_MS};
use crate::perm;
use crate::pop::lite::queue_name;
use crate::pull_hold::{
    ArrivedMessage, HeldPull, PULL_ROOM, PullHold, PullRequest, PulledPart, take_satisfied,
};
use crate::queue_key::QueueRef;
use crate::static_topic::{LogicQueue, Pulled, Seen, StaticTopics};
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;
use crate::topic_validator::is_blank;

/// Gives consumers messages, at once or when they come.
#[derive(Debug)]
pub(crate) struct PullMessage {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    consumers: Arc<ConsumerManager>,
    offsets: Arc<ConsumerOffsetManager>,
    stats: Arc<BrokerStats>,
    cold: Arc<ColdReads>,
    broadcasts: Arc<BroadcastOffsets>,
    static_topics: Arc<StaticTopics>,
    hold: PullHold,
}

/// The id of the broker that takes messages.
const MASTER_ID: i64 = 0;

thread_local! {
    /// Records on their way from the store into an answer.
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where a pull that may be made is answered.
enum Checked {
    Here(PullRequest),
    Elsewhere(Box<PulledPart>),
}

/// What of a physical queue is wanted.
struct Place {
    queue_id: i32,
    offset: i64,
    max_messages: i32,
}

impl PulledPart {
    /// What is wanted of the part's queue: nothing behind its end.
    fn place(&self, max_messages: i32) -> Place {
        let offset = self.item.queue_offset_of(self.logic_offset);
        let left = match self.item.has_ended() {
            true => self.item.end_offset.saturating_sub(offset).max(1),
            false => i64::MAX,
        };
        let max_messages = max_messages.min(i32::try_from(left).unwrap_or(i32::MAX));
        Place { queue_id: self.item.queue_id, offset, max_messages }
    }
}

/// What is left to do for a pull after a look into the store.
enum Next {
    Nothing,
    ReadFromDisk(PullRequest, Reply),
    Suspend(PullRequest, Duration, Reply),
}

impl PullMessage {
    #[expect(clippy::too_many_arguments, reason = "the managers it works with")]
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        consumers: Arc<ConsumerManager>,
        offsets: Arc<ConsumerOffsetManager>,
        stats: Arc<BrokerStats>,
        cold: Arc<ColdReads>,
        broadcasts: Arc<BroadcastOffsets>,
        static_topics: Arc<StaticTopics>,
    ) -> Self {
        let hold = PullHold::default();
        Self {
            config,
            store,
            topics,
            groups,
            consumers,
            offsets,
            stats,
            cold,
            broadcasts,
            static_topics,
            hold,
        }
    }

    pub(crate) fn process(self: &Arc<Self>, request: &CommandView<'_>, reply: Reply) {
        let header = match PullMessageView::decode(request) {
            Ok(header) => header,
            Err(error) => return refuse(&error.into(), reply),
        };
        let lite = request.request_code() == RequestCode::LITE_PULL_MESSAGE;
        let pull = match self.check(&header, lite, request, reply.connection()) {
            Ok(Checked::Here(pull)) => pull,
            Ok(Checked::Elsewhere(part)) => {
                return self.pull_elsewhere(*part, &header, request, reply);
            }
            Err(error) => return refuse(&error, reply),
        };
        if header.sys_flag & pull_sys_flag::COMMIT_OFFSET != 0 {
            match &pull.part {
                Some(part) => self.commit_logic(&pull, &part.queue, header.commit_offset),
                None => {
                    let (group, topic) = (&pull.group, &pull.topic);
                    self.offsets.commit(group, topic, pull.queue_id, header.commit_offset);
                }
            }
        }
        let may_suspend = header.sys_flag & pull_sys_flag::SUSPEND != 0;
        let suspend = may_suspend.then(|| self.suspend_time(header.suspend_timeout_ms));
        self.answer_or_suspend(pull, suspend, reply);
    }

    fn suspend_time(&self, suspend_timeout_ms: i64) -> Duration {
        let wait_ms = if self.config.long_polling_enable {
            suspend_timeout_ms
        } else {
            self.config.short_polling_time_mills
        };
        Duration::from_millis(wait_ms.clamp(0, MAX_SUSPEND_MS).unsigned_abs())
    }

    /// Checks in the reference's order.
    fn check(
        &self,
        header: &PullMessageView<'_>,
        lite: bool,
        request: &CommandView<'_>,
        connection: &Connection,
    ) -> Result<Checked, RequestError> {
        if !perm::is_readable(self.config.broker_permission) {
            return Err(RequestError::BrokerPullForbidden(self.config.broker_ip1.clone()));
        }
        if lite && !self.config.lite_pull_message_enable {
            return Err(RequestError::LitePullForbidden(self.config.broker_ip1.clone()));
        }
        let group_name = header.consumer_group.text();
        let group = self
            .groups
            .find_or_create(&group_name)
            .ok_or_else(|| RequestError::PullGroupNotExist(group_name.to_string()))?;
        if !group.consume_enable {
            return Err(RequestError::GroupNotPermitted(group_name.into_owned()));
        }
        let topic_name = header.topic.text();
        let topic = self
            .topics
            .get(&topic_name)
            .ok_or_else(|| RequestError::PullTopicNotExist(topic_name.to_string()))?;
        if !perm::is_readable(topic.perm) {
            return Err(RequestError::TopicPullForbidden(topic_name.into_owned()));
        }
        let mut place = Place {
            queue_id: header.queue_id,
            offset: header.queue_offset,
            max_messages: header.max_msg_nums,
        };
        let part = match self.static_topics.is_empty() {
            true => None,
            false => self.part(header, &topic_name, request)?,
        };
        if let Some(part) = part.as_deref() {
            place = part.place(header.max_msg_nums);
            if !part.queue.is_here(&part.item) {
                return Ok(Checked::Elsewhere(Box::new(part.clone())));
            }
        }
        let queue_id = place.queue_id;
        if !(0..topic.read_queue_nums).contains(&queue_id) {
            return Err(RequestError::PullQueueIdIllegal {
                queue_id,
                topic: topic_name.into_owned(),
                read_queue_nums: topic.read_queue_nums,
                consumer: connection.peer(),
            });
        }
        let filter = self.filter(header, &group_name, &topic_name)?;
        let lite_topic = header.lite_topic.map(|name| name.text()).filter(|name| !is_blank(name));
        let light_queue = lite_topic.and_then(|lite_topic| queue_name(&topic_name, &lite_topic));
        Ok(Checked::Here(PullRequest {
            filter,
            broadcaster: self.broadcaster(header, &group_name, connection),
            group: group_name.into(),
            topic: light_queue.map_or_else(|| topic_name.into(), String::into_boxed_str),
            queue_id,
            offset: place.offset,
            max_messages: place.max_messages.clamp(0, MAX_PULL_MESSAGES),
            topic_sys_flag: topic.topic_sys_flag,
            group_sys_flag: group.group_sys_flag,
            suggested_brokers: if self.config.slave_read_enable {
                (group.broker_id, group.which_broker_when_consume_slowly)
            } else {
                (MASTER_ID, MASTER_ID)
            },
            part,
        }))
    }

    /// The part of a logical queue that a pull goes to; `None` if it is about a physical queue.
    fn part(
        &self,
        header: &PullMessageView<'_>,
        topic: &str,
        request: &CommandView<'_>,
    ) -> Result<Option<Box<PulledPart>>, RequestError> {
        let Some(queue) = self.static_topics.led(request, topic, header.queue_id)? else {
            return Ok(None);
        };
        let item = queue.part(header.queue_offset)?.clone();
        Ok(Some(Box::new(PulledPart { queue, item, logic_offset: header.queue_offset })))
    }

    /// Stores an offset of a logical queue that comes with a pull, where that is here: what lies elsewhere is
    /// committed by a request of its own.
    fn commit_logic(&self, pull: &PullRequest, queue: &LogicQueue, logic_offset: i64) {
        if let Some(item) = queue.find(logic_offset).filter(|item| queue.is_here(item)) {
            let offset = item.queue_offset_of(logic_offset);
            self.offsets.commit(&pull.group, &pull.topic, item.queue_id, offset);
        }
    }

    /// The subscription of the request itself, or the one that the group's heartbeats brought.
    fn filter(
        &self,
        header: &PullMessageView<'_>,
        group: &str,
        topic: &str,
    ) -> Result<MessageFilter, RequestError> {
        if header.sys_flag & pull_sys_flag::SUBSCRIPTION != 0 {
            let kind = header.expression_type.map(|kind| kind.text().into_owned());
            return match kind.as_deref() {
                None | Some("" | "TAG") => {
                    let expression = header.subscription.map(|text| text.text());
                    Ok(MessageFilter::from_tags(expression.as_deref().unwrap_or("*")))
                }
                Some(kind) => {
                    if !self.config.enable_property_filter {
                        return Err(RequestError::FilterTypeNotSupported(kind.to_owned()));
                    }
                    let text = header.subscription.map(|text| text.text());
                    let filter = SqlFilter::compile_as(kind, text.as_deref().unwrap_or_default())
                        .map_err(|_| RequestError::SubscriptionParse)?;
                    Ok(MessageFilter::Sql(Arc::new(filter)))
                }
            };
        }
        self.consumers.filter(group, topic, header.sub_version)
    }

    /// Who pulls, if its group broadcasts.
    fn broadcaster(
        &self,
        header: &PullMessageView<'_>,
        group: &str,
        connection: &Connection,
    ) -> Option<Broadcaster> {
        if !self.config.enable_broadcast_offset_store {
            return None;
        }
        if header.request_source == Some(request_source::PROXY_FOR_BROADCAST) {
            let client_id = header.proxy_client_id?.text().into();
            return Some(Broadcaster { client_id, from_proxy: true });
        }
        let client_id = self.consumers.broadcaster(group, connection)?;
        Some(Broadcaster { client_id, from_proxy: false })
    }

    /// Answers with what there is; when there is nothing yet, waits for up to `suspend`.
    fn answer_or_suspend(
        self: &Arc<Self>,
        pull: PullRequest,
        suspend: Option<Duration>,
        reply: Reply,
    ) {
        let next = RECORDS.with_borrow_mut(|records| {
            let Ok(result) = self.read_cached(&pull, records) else {
                return Next::ReadFromDisk(pull, reply);
            };
            self.note_broadcast(&pull, &result);
            match suspend {
                Some(time) if is_empty(&pull, &result) => Next::Suspend(pull, time, reply),
                _ => {
                    respond(&pull, &result, records, reply);
                    Next::Nothing
                }
            }
        });
        // Suspending may find a message after all, and read it into the same place.
        match next {
            Next::Nothing => {}
            Next::ReadFromDisk(pull, reply) => self.answer_from_disk(pull, reply),
            Next::Suspend(pull, time, reply) => self.suspend(pull, time, reply),
        }
    }

    /// Answers on a thread that may wait for the disk. There is something, or the disk would not
    /// have to be asked.
    ///
    /// A group that has read too much from there gets nothing, or one message if its clients pull
    /// on their own account, as these do not try again by themselves.
    fn answer_from_disk(self: &Arc<Self>, mut pull: PullRequest, reply: Reply) {
        if self.cold.is_too_much(&pull.group, Instant::now()) {
            if self.consumers.is_pushed_to(&pull.group) {
                return refuse(&RequestError::ColdData, reply);
            }
            pull.max_messages = pull.max_messages.min(1);
        }
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            RECORDS.with_borrow_mut(|records| {
                let result = this.read(&pull, records);
                this.cold.note(&pull.group, records.len(), Instant::now());
                this.note_broadcast(&pull, &result);
                respond(&pull, &result, records, reply);
            });
        });
    }

    /// Answers a pull that has waited, with whatever there is.
    fn answer_held(self: &Arc<Self>, held: HeldPull) {
        if let Some(part) = &held.request.part
            && !part.queue.is_of(self.static_topics.get(part.queue.topic()).as_ref())
        {
            // The queue has been mapped anew: the client asks again, here or elsewhere.
            let (code, remark) =
                (ResponseCode::PULL_RETRY_IMMEDIATELY, "the queue has been remapped");
            return tell_to_go_on(held.reply, code, remark, part.logic_offset);
        }
        self.answer_or_suspend(held.request, None, held.reply);
    }

    fn read(&self, pull: &PullRequest, records: &mut Vec<u8>) -> GetMessageResult {
        records.clear();
        let start = Instant::now();
        let result = self.store.get_message(
            &pull.topic,
            pull.queue_id,
            pull.offset,
            pull.max_messages.unsigned_abs(),
            usize::MAX,
            |tags_code, record| wanted(pull, tags_code, record),
            records,
        );
        self.note(pull, &result, records.len(), start);
        result
    }

    fn read_cached(
        &self,
        pull: &PullRequest,
        records: &mut Vec<u8>,
    ) -> Result<GetMessageResult, Cold> {
        records.clear();
        let (group, topic, queue_id) = (&pull.group, &pull.topic, pull.queue_id);
        if let Some(reset_offset) = self.offsets.take_reset(group, topic, queue_id) {
            return Ok(sent_to(reset_offset, self.store.bounds(topic, queue_id)));
        }
        let begin = |member| self.broadcasts.begin(pull.broadcast_queue(), member, pull.offset);
        if let Some(offset) = pull.broadcaster.as_ref().and_then(begin) {
            // The reference leaves the bounds out.
            return Ok(sent_to(offset, (0, 0)));
        }
        let start = Instant::now();
        let result = self.store.get_cached_message(
            topic,
            queue_id,
            pull.offset,
            pull.max_messages.unsigned_abs(),
            usize::MAX,
            |tags_code, record| wanted(pull, tags_code, record),
            records,
        )?;
        self.note(pull, &result, records.len(), start);
        Ok(result)
    }

    fn note_broadcast(&self, pull: &PullRequest, result: &GetMessageResult) {
        let Some(member) = &pull.broadcaster else { return };
        let has_moved = response_code(result, pull.offset) == ResponseCode::PULL_OFFSET_MOVED;
        let offset = if has_moved { result.next_begin_offset } else { pull.offset };
        self.broadcasts.note(pull.broadcast_queue(), member, offset, Instant::now());
    }

    fn note(&self, pull: &PullRequest, result: &GetMessageResult, bytes: usize, start: Instant) {
        let messages = result.message_count.into();
        self.stats.got(messages, start.elapsed());
        let (next_offset, behind) = (result.next_begin_offset, result.behind_bytes);
        if messages == 0 {
            let (group, topic) = (&pull.group, &pull.topic);
            self.offsets.commit_pull(group, topic, pull.queue_id, next_offset, behind);
        } else {
            self.offsets.note_given(pull, next_offset, messages, bytes as u64, behind);
        }
    }

    fn suspend(self: &Arc<Self>, pull: PullRequest, time: Duration, reply: Reply) {
        let held = HeldPull { reply, request: pull.clone(), deadline: Instant::now() + time };
        if let Err(held) = self.hold.register(held, PULL_ROOM) {
            return refuse_held(*held);
        }
        // A message may have come between the look and the registration.
        let max_offset = self.store.max_offset(&pull.topic, pull.queue_id);
        if max_offset > pull.offset {
            self.wake(pull.queue(), max_offset, None);
        }
    }

    /// A queue has messages up to `next_offset`: answers who waited for one like the last.
    pub(crate) fn wake(
        self: &Arc<Self>,
        queue: QueueRef<'_>,
        next_offset: i64,
        arrived: Option<ArrivedMessage<'_>>,
    ) {
        for held in take_satisfied(&self.hold, queue, next_offset, arrived) {
            self.answer_held(held);
        }
    }

    /// Whether any pull waits for a message.
    pub(crate) fn is_any_held(&self) -> bool {
        !self.hold.is_empty()
    }

    /// Answers the pulls that waited long enough.
    pub(crate) fn expire(self: &Arc<Self>, now: Instant) {
        for held in self.hold.take_expired(now) {
            self.answer_held(held);
        }
    }

    /// Answers every waiting pull, at shutdown.
    pub(crate) fn release_all(self: &Arc<Self>) {
        for held in self.hold.take_all() {
            self.answer_held(held);
        }
    }
}

/// Sends who pulls to another offset; `bounds` are those of the queue.
fn sent_to(next_begin_offset: i64, bounds: (i64, i64)) -> GetMessageResult {
    GetMessageResult {
        status: GetMessageStatus::OffsetReset,
        next_begin_offset,
        min_offset: bounds.0,
        max_offset: bounds.1,
        message_count: 0,
        suggest_slave: false,
        behind_bytes: 0,
    }
}

fn wanted(pull: &PullRequest, tags_code: i64, record: LazyRecord<'_>) -> bool {
    pull.filter.matches(tags_code, || record.properties())
}

fn refuse(error: &RequestError, reply: Reply) {
    reply.write(error.response_code(), Some(&error.to_string()), |mut writer| {
        if let Some(forbidden_type) = error.forbidden_type() {
            writer.number("forbiddenType", forbidden_type);
        }
        writer.finish(&[]);
    });
}

/// Too many pulls wait already: this one hears at once that there is nothing.
fn refuse_held(held: HeldPull) {
    let HeldPull { reply, request, .. } = held;
    let offset = request.part.map_or(request.offset, |part| part.logic_offset);
    let (code, remark) = (ResponseCode::PULL_NOT_FOUND, "too many pulls are waiting");
    tell_to_go_on(reply, code, remark, offset);
}

/// Answers without a message; the client goes on at the offset that it has asked for.
fn tell_to_go_on(reply: Reply, code: ResponseCode, remark: &str, offset: i64) {
    reply.write(code, Some(remark), |mut writer| {
        writer.number("maxOffset", offset);
        writer.number("minOffset", 0);
        writer.number("nextBeginOffset", offset);
        writer.number("suggestWhichBrokerId", MASTER_ID);
        writer.finish(&[]);
    });
}

fn is_empty(pull: &PullRequest, result: &GetMessageResult) -> bool {
    pulled(pull, result).code == ResponseCode::PULL_NOT_FOUND
}

/// What a look into the store means to who pulls.
fn pulled(pull: &PullRequest, result: &GetMessageResult) -> Pulled {
    let seen = Seen {
        code: response_code(result, pull.offset),
        next_begin_offset: result.next_begin_offset,
        min_offset: result.min_offset,
        max_offset: result.max_offset,
        is_reset: result.status == GetMessageStatus::OffsetReset,
    };
    match &pull.part {
        Some(part) => part.queue.pulled(&part.item, pull.offset, seen),
        None => seen.into(),
    }
}

fn respond(pull: &PullRequest, result: &GetMessageResult, records: &[u8], reply: Reply) {
    let pulled = pulled(pull, result);
    reply.write(pulled.code, Some(result.status.name()), |mut writer| {
        writer.number("groupSysFlag", pull.group_sys_flag.into());
        write_offsets(&mut writer, &pulled);
        let (usual, slow) = pull.suggested_brokers;
        let suggested = if result.suggest_slave { slow } else { usual };
        writer.number("suggestWhichBrokerId", suggested);
        writer.number("topicSysFlag", pull.topic_sys_flag.into());
        writer.finish(if pulled.code == ResponseCode::SUCCESS { records } else { &[] });
    });
}

fn write_offsets(writer: &mut CommandWriter<'_>, pulled: &Pulled) {
    writer.number("maxOffset", pulled.max_offset);
    writer.number("minOffset", pulled.min_offset);
    writer.number("nextBeginOffset", pulled.next_begin_offset);
    if let Some(delta) = pulled.offset_delta {
        writer.number("offsetDelta", delta);
    }
}

/// The answer's code; an empty queue asked from 0 is merely empty, from elsewhere it has moved.
fn response_code(result: &GetMessageResult, offset: i64) -> ResponseCode {
    use GetMessageStatus as Status;
    match result.status {
        Status::Found => ResponseCode::SUCCESS,
        Status::MessageWasRemoving | Status::NoMatchedMessage => {
            ResponseCode::PULL_RETRY_IMMEDIATELY
        }
        Status::NoMatchedLogicQueue | Status::NoMessageInQueue if offset == 0 => {
            ResponseCode::PULL_NOT_FOUND
        }
        Status::OffsetFoundNull | Status::OffsetOverflowOne => ResponseCode::PULL_NOT_FOUND,
        Status::NoMatchedLogicQueue
        | Status::NoMessageInQueue
        | Status::OffsetOverflowBadly
        | Status::OffsetTooSmall
        | Status::OffsetReset => ResponseCode::PULL_OFFSET_MOVED,
    }
}
