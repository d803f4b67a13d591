//! `PULL_MESSAGE` (11) and `LITE_PULL_MESSAGE` (361).
//!
//! Reference: `PullMessageProcessor`, `DefaultPullMessageResultHandler` (broker), 5.5.0.

mod answer;
mod check;
mod elsewhere;
mod part;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::header::{PullMessageView, pull_sys_flag};
use oxmq_remoting::{Reply, Together, after_busy_round};
use oxmq_store::{Cold, GetMessageResult, GetMessageStatus, LazyRecord, MessageStore};

use self::answer::{is_empty, refuse, refuse_held, respond, response_code, tell_to_go_on};
use self::check::Checked;
use crate::broadcast_offset::BroadcastOffsets;
use crate::broker_stats::BrokerStats;
use crate::cold::ColdReads;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::disk_readers;
use crate::error::RequestError;
use crate::hold::Asks as _;
use crate::in_memory::InMemory;
use crate::limits::MAX_SUSPEND_MS;
use crate::pull_hold::{
    ArrivedMessage, HeldPull, PULL_ROOM, PullHold, PullRequest, take_satisfied,
};
use crate::queue_key::{QueueKey, QueueRef};
use crate::static_topic::StaticTopics;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;

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

thread_local! {
    /// Records on their way from the store into an answer.
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Pulls that messages have woken on this thread since it last had nothing to read.
    static WOKEN: RefCell<Vec<(Arc<PullMessage>, HeldPull)>> = const { RefCell::new(Vec::new()) };
}

/// What is left to do for a pull after a look into the store.
enum Next {
    Nothing,
    ReadFromDisk(PullRequest, Reply),
    Suspend(PullRequest, Duration, Reply),
}

impl PullMessage {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        tables: &Tables,
        known: &InMemory,
    ) -> Self {
        Self {
            config,
            store,
            topics: Arc::clone(&tables.topics),
            groups: Arc::clone(&tables.groups),
            consumers: Arc::clone(&known.consumers),
            offsets: Arc::clone(&tables.offsets),
            stats: Arc::clone(&known.stats),
            cold: Arc::clone(&known.cold),
            broadcasts: Arc::clone(&known.broadcasts),
            static_topics: Arc::clone(&tables.static_topics),
            hold: PullHold::default(),
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
        let place = match disk_readers::enter() {
            Ok(place) => place,
            Err(error) => return refuse(&error, reply),
        };
        let this = Arc::clone(self);
        disk_readers::spawn(place, move || {
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
        if held.request.is_members && !self.consumers.is_online(&held.request.group) {
            // Who pulled has left the group: nobody would see what is given out, but it would count.
            return refuse(&RequestError::GroupInfoNotExist, held.reply);
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

    /// A queue has messages up to `next_offset`: answers who waited for one like the last. Where much goes on
    /// that is with all that the other requests of this round bring, and with one write for each connection.
    pub(crate) fn wake(
        self: &Arc<Self>,
        queue: QueueRef<'_>,
        next_offset: i64,
        arrived: Option<ArrivedMessage<'_>>,
    ) {
        let taken = take_satisfied(&self.hold, queue, next_offset, arrived);
        if taken.is_empty() {
            return;
        }
        let taken = taken.into_iter().map(|held| (Arc::clone(self), held));
        let is_first = WOKEN.with_borrow_mut(|woken| {
            let is_first = woken.is_empty();
            woken.extend(taken);
            is_first
        });
        if is_first {
            after_busy_round(answer_woken);
        }
    }

    /// Has the pulls go on that wait while messages come which their filters leave out: their groups would seem
    /// to be behind by these, and would have to look at them again.
    pub(crate) fn pass_over_left_out(self: &Arc<Self>) {
        for QueueKey { topic, queue_id } in
            self.hold.queues(|held| held.request.filter.leaves_out())
        {
            let queue = QueueRef { topic: &topic, queue_id };
            self.wake(queue, self.store.max_offset(&topic, queue_id), None);
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

fn answer_woken() {
    let mut together = Together::default();
    for (pulls, held) in WOKEN.take() {
        together.add(&held.reply);
        pulls.answer_held(held);
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
