//! Pop: the broker hands out single messages for a while, and again when they are not acknowledged.
//!
//! [`PopService`] gives messages out and notes them in the [`journal`](Journal); [`Revive`] reads the
//! journal when they are due again and stores those that nobody has acknowledged under the group's
//! retry topic. Who finds nothing waits in a [`Hold`] and is answered by whoever brings a message.
//!
//! There is one bookkeeping, whatever `popConsumerKVServiceEnable` says: with it, clients are answered as
//! by a broker of the reference that keeps its own in RocksDB.
//!
//! Reference: `PopMessageProcessor`, `PopBufferMergeService`, `PopLongPollingService`,
//! `PopConsumerService` (broker), 5.5.0.

mod ack;
mod catch;
mod held;
mod journal;
pub(crate) mod lite;
mod notify;
mod offset_info;
mod order;
mod queues;
mod recover;
mod revive;
mod take;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hashbrown::DefaultHashBuilder;
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::message::TopicKind;
use oxmq_remoting::Reply;
use oxmq_store::MessageStore;

pub(crate) use self::ack::{Changed, Given};
use self::catch::Catch;
pub(crate) use self::held::{HeldNotice, HeldPop, NoticeRequest, PopRequest, deadline};
pub(crate) use self::journal::Journal;
pub(crate) use self::order::ConsumerOrder;
use self::queues::{PopQueue, PopQueues};
use self::recover::GivenAgain;
pub(crate) use self::revive::Revive;
use crate::broker_stats::BrokerStats;
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::disk_readers;
use crate::filter::MessageFilter;
use crate::hold::{Asks as _, Hold, Take};
use crate::limits::MAX_REVIVE_QUEUES;
use crate::pull_hold::ArrivedMessage;
use crate::queue_key::{GroupQueueRef, QueueRef};
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;

/// Stands for any queue of a topic.
pub(crate) const ANY_QUEUE: i32 = -1;
/// Times that a request which finds nothing looks again at once. A message that still comes between
/// a look and the wait after it is found when the next one comes.
const LOOKS: u32 = 8;

/// What pops share.
#[derive(Debug)]
pub(crate) struct PopService {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    stats: Arc<BrokerStats>,
    order: Arc<ConsumerOrder>,
    journal: Journal,
    given_again: GivenAgain,
    /// Queues of the revive topic that notes are spread over.
    note_queues: i32,
    queues: PopQueues,
    held: Hold<HeldPop>,
    notices: Hold<HeldNotice>,
    /// Pops so far, which take turns.
    turn: AtomicU64,
    /// Messages that were popped before, ms since 1970, are not counted as given out.
    began_ms: i64,
    hasher: DefaultHashBuilder,
}

/// What is to be done with a request that has been looked after.
#[derive(Debug)]
enum Next {
    Nothing,
    /// Somebody else can be given something now.
    Serve(HeldPop),
    /// The disk has to be waited for.
    FromDisk(HeldPop),
}

impl PopService {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        tables: &Tables,
        stats: Arc<BrokerStats>,
        journal: Journal,
    ) -> Self {
        let note_queues = config.revive_queue_num.clamp(1, MAX_REVIVE_QUEUES);
        Self {
            config,
            store,
            topics: Arc::clone(&tables.topics),
            groups: Arc::clone(&tables.groups),
            offsets: Arc::clone(&tables.offsets),
            stats,
            order: Arc::clone(&tables.order),
            journal,
            given_again: GivenAgain::default(),
            note_queues,
            queues: PopQueues::default(),
            held: Hold::default(),
            notices: Hold::default(),
            turn: AtomicU64::new(0),
            began_ms: now_ms(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Answers a pop with what there is; when there is nothing, it waits.
    pub(crate) fn serve(self: &Arc<Self>, pop: HeldPop) {
        self.serve_with(pop, true, false);
    }

    /// Answers a pop, and then whoever that lets have something, too.
    fn serve_with(self: &Arc<Self>, mut pop: HeldPop, mut may_hold: bool, may_wait: bool) {
        loop {
            match self.serve_one(pop, may_hold, may_wait) {
                Next::Nothing => return,
                // It may go on waiting, whatever the first one may.
                Next::Serve(next) => (pop, may_hold) = (next, true),
                Next::FromDisk(cold) => return self.serve_from_disk(cold, may_hold),
            }
        }
    }

    fn serve_from_disk(self: &Arc<Self>, pop: HeldPop, may_hold: bool) {
        let place = match disk_readers::enter() {
            Ok(place) => place,
            Err(error) => return pop.reply.fail(error.response_code(), &error.to_string()),
        };
        let this = Arc::clone(self);
        disk_readers::spawn(place, move || this.serve_with(pop, may_hold, true));
    }

    fn serve_one(self: &Arc<Self>, pop: HeldPop, may_hold: bool, may_wait: bool) -> Next {
        let HeldPop { reply, request, deadline } = pop;
        if reply.connection().is_closed() {
            reply.abandon();
            // What it was woken for is for another one.
            return self.serve_waiting(&request);
        }
        let Ok(catch) = self.pop(&request, may_wait) else {
            return Next::FromDisk(HeldPop { reply, request, deadline });
        };
        let wanted = catch.wanted;
        if catch.count > 0 {
            let more = catch.rest > 0;
            self.answer(reply, Arc::clone(&request), catch);
            return match (wanted, more) {
                (true, _) => self.serve_waiting(&request),
                (false, true) => self.serve_held(&request),
                (false, false) => Next::Nothing,
            };
        }
        let now = Instant::now();
        let code = if may_hold && request.poll_ms > 0 && deadline > now {
            let failed = catch.failed;
            let waits = HeldPop { reply, request: Arc::clone(&request), deadline };
            match self.held.register(waits, held::room(&self.config)) {
                Ok(()) if failed => return Next::Nothing,
                Ok(()) => return self.look_again(&request),
                Err(full) => {
                    catch.answer_nothing(full.reply, &request, ResponseCode::POLLING_FULL);
                    return Next::Nothing;
                }
            }
        } else {
            ResponseCode::POLLING_TIMEOUT
        };
        catch.answer_nothing(reply, &request, code);
        // Who has found one of its queues busy may have been woken for a message that came too late for it.
        if wanted { self.serve_waiting(&request) } else { Next::Nothing }
    }

    /// Another one of the group that waits is next.
    fn serve_waiting(&self, request: &PopRequest) -> Next {
        self.take_waiting(&request.topic, &request.group).map_or(Next::Nothing, Next::Serve)
    }

    /// Another one of the group that waits for the same is next.
    fn serve_held(&self, request: &PopRequest) -> Next {
        self.take_held(request.queue(), &request.group).map_or(Next::Nothing, Next::Serve)
    }

    /// A message may have come between the look and the registration.
    fn look_again(&self, request: &PopRequest) -> Next {
        if request.looks.fetch_add(1, Ordering::Relaxed) >= LOOKS || !self.has_news(request) {
            request.looks.store(0, Ordering::Relaxed);
            return Next::Nothing;
        }
        self.serve_held(request)
    }

    /// Answers once the notes on what is given out are as durable as configured.
    fn answer(&self, reply: Reply, request: Arc<PopRequest>, catch: Catch) {
        if self.store.flushes_synchronously() && catch.durable_at > 0 {
            let durable_at = catch.durable_at;
            let answer = move |_| catch.answer_found(reply, &request);
            self.store.when_durable(durable_at, Box::new(answer));
        } else {
            catch.answer_found(reply, &request);
        }
    }

    /// A message was stored: answers one of each group that waits for one like it.
    pub(crate) fn arrived(
        self: &Arc<Self>,
        queue: QueueRef<'_>,
        next_offset: i64,
        arrived: ArrivedMessage<'_>,
    ) {
        if !self.is_any_held() {
            return;
        }
        // Now and then everyone looks, or an expression that nothing passes would never get past
        // what it has seen.
        let interval = self.config.pop_long_polling_force_notify_interval;
        let forced = interval > 0 && (next_offset - 1) % interval == 0;
        let passes = |filter: &MessageFilter| forced || arrived.passes(filter);
        for queue_id in [ANY_QUEUE, queue.queue_id] {
            let queue = QueueRef { queue_id, ..queue };
            let pops = self.held.take(queue, None, Take::Oldest, |pop| passes(&pop.request.filter));
            pops.into_iter().for_each(|pop| self.serve(pop));
            let notices = self
                .notices
                .take(queue, None, Take::Newest, |notice| passes(&notice.request.filter));
            notices.into_iter().for_each(HeldNotice::answer_found);
        }
    }

    /// Whether any pop or notification waits for a message.
    pub(crate) fn is_any_held(&self) -> bool {
        !self.held.is_empty() || !self.notices.is_empty()
    }

    /// A message of a topic can be popped by a group: answers one of it that waits.
    fn wake_group(self: &Arc<Self>, topic: &str, group: &str) {
        if let Some(pop) = self.take_waiting(topic, group) {
            self.serve(pop);
        }
        if !self.notices.is_empty() {
            self.queues_of(topic).for_each(|queue_id| self.wake_notices(topic, group, queue_id));
        }
    }

    /// Does what is due: answers who has waited long enough, and whom a queue is free for again.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) {
        for freed in self.order.take_freed(now_ms()) {
            let queues = [ANY_QUEUE, freed.queue_id];
            if self.config.enable_notify_after_pop_order_lock_release {
                queues.iter().for_each(|id| self.wake_queue(&freed.topic, &freed.group, *id));
            }
        }
        for pop in self.held.take_expired(now) {
            self.serve_with(pop, false, false);
        }
        for notice in self.notices.take_expired(now) {
            self.answer_notice(notice);
        }
    }

    /// Forgets what is not needed any more.
    pub(crate) fn clean(&self) {
        let exists = |topic: &str, group: &str, queue_id: i32| {
            self.groups.get(group).is_some()
                && self.topics.get(topic).is_some_and(|topic| queue_id < topic.read_queue_nums)
        };
        let flushed_to = self.store.flushed_phy_offset();
        self.queues.retain(|GroupQueueRef { topic, group, queue_id }, queue| {
            if !exists(topic, group, queue_id) {
                return false;
            }
            // Notes that the disk was too slow for.
            queue.flushed(flushed_to, |next| self.offsets.commit(group, topic, queue_id, next));
            !queue.is_idle()
        });
        self.order.clean(now_ms(), exists);
    }

    /// Answers everyone who waits, at shutdown. Nobody is given anything: it could not be acknowledged.
    pub(crate) fn release_all(&self) {
        for HeldPop { reply, request, .. } in self.held.take_all() {
            let nothing = Catch::new(now_ms(), 0);
            nothing.answer_nothing(reply, &request, ResponseCode::POLLING_TIMEOUT);
        }
        self.notices.take_all().into_iter().for_each(|notice| notice.answer(false, false));
    }

    /// How many pops of a group wait for a queue.
    pub(crate) fn waiting(&self, queue: QueueRef<'_>, group: &str) -> usize {
        self.held.count(queue, group)
    }

    fn wake_queue(self: &Arc<Self>, topic: &str, group: &str, queue_id: i32) {
        if let Some(pop) = self.take_held(QueueRef { topic, queue_id }, group) {
            self.serve(pop);
        }
        self.wake_notices(topic, group, queue_id);
    }

    fn wake_notices(&self, topic: &str, group: &str, queue_id: i32) {
        let queue = QueueRef { topic, queue_id };
        let notices = self.notices.take(queue, Some(group), Take::Newest, |_| true);
        notices.into_iter().for_each(HeldNotice::answer_found);
    }

    fn take_held(&self, queue: QueueRef<'_>, group: &str) -> Option<HeldPop> {
        self.held.take(queue, Some(group), Take::Oldest, |_| true).pop()
    }

    /// Takes a pop of the group that waits for any queue or for one of them.
    fn take_waiting(&self, topic: &str, group: &str) -> Option<HeldPop> {
        if self.held.is_empty() {
            return None;
        }
        self.queues_of(topic)
            .find_map(|queue_id| self.take_held(QueueRef { topic, queue_id }, group))
    }

    /// What requests for a topic may wait for.
    fn queues_of(&self, topic: &str) -> std::ops::Range<i32> {
        ANY_QUEUE..self.topics.get(topic).map_or(0, |topic| topic.read_queue_nums)
    }

    /// Whether so much of a queue is given out that it gives out nothing more.
    fn is_over_threshold(&self, queue: &PopQueue) -> bool {
        self.config.enable_pop_message_threshold && self.is_too_much(queue.in_flight())
    }

    fn is_too_much(&self, in_flight: i64) -> bool {
        let config = &self.config;
        let more = i64::from(config.pop_consumer_kv_service_enable);
        in_flight.saturating_add(more) > config.pop_inflight_message_threshold
    }

    /// Messages that were popped at `pop_time_ms` are not given out any more. Whoever waits may be given
    /// others when there were too many.
    fn count_done(self: &Arc<Self>, queue_ref: GroupQueueRef<'_>, pop_time_ms: i64, count: usize) {
        if pop_time_ms < self.began_ms {
            return;
        }
        let Some(queue) = self.queues.find(queue_ref) else { return };
        let before = queue.done(count);
        if self.config.enable_pop_message_threshold
            && self.is_too_much(before)
            && !self.is_over_threshold(&queue)
        {
            self.wake_group(
                TopicKind::normal_topic(queue_ref.topic, queue_ref.group),
                queue_ref.group,
            );
        }
    }

    /// Whether messages before this position of the log are visible in their queues.
    fn can_read_to(&self, log_end: i64) -> bool {
        !self.store.flushes_synchronously() || self.store.flushed_phy_offset() >= log_end
    }

    /// Queues of the revive topic that are worked off: those that notes are spread over, and those
    /// that hold some from when there were more.
    fn revive_queues(&self) -> i32 {
        let known = self.topics.get(self.journal.topic()).map_or(0, |topic| topic.read_queue_nums);
        known.clamp(self.note_queues, MAX_REVIVE_QUEUES)
    }
}

#[cfg(test)]
mod tests;
