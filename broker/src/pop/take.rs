//! Taking messages out of queues.
//!
//! Reference: `PopMessageProcessor.popMsgFromQueue` (broker), 5.5.0.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use oxmq_protocol::body::PopCheckPoint;
use oxmq_protocol::message::{ReceiptHandle, TopicKind};
use oxmq_store::{Cold, GetMessageResult, GetMessageStatus, LazyRecord, offset_in};

use super::PopService;
use super::catch::Catch;
use super::held::PopRequest;
use super::queues::PopQueue;
use crate::again::split;
use crate::attributes;
use crate::clock::now_ms;
use crate::limits::MAX_POP_BYTES;
use crate::message_type;
use crate::queue_key::GroupQueueRef;
use crate::topic_validator;

/// What all queues of one pop have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round<'a> {
    request: &'a PopRequest,
    pop_time_ms: i64,
    revive_queue_id: i32,
    /// Where a pop begins among the queues of a topic.
    first: i32,
    /// Whether the disk may be waited for.
    may_wait: bool,
}

impl PopService {
    /// Takes what there is for a request.
    ///
    /// # Errors
    /// When the disk has to be waited for and must not be.
    pub(super) fn pop(&self, request: &PopRequest, may_wait: bool) -> Result<Catch, Cold> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let dice = (self.hasher.hash_one(turn) % 100) as i32;
        let revive_queue_id = if request.order {
            ReceiptHandle::ORDERLY
        } else {
            (turn % u64::from(self.note_queues.unsigned_abs())) as i32
        };
        // The queues of a topic of priorities are gone through from the highest on.
        let by_priority = !request.order && self.goes_by_priority(request, dice);
        let first = if by_priority { 0 } else { dice };
        let round = Round { request, pop_time_ms: now_ms(), revive_queue_id, first, may_wait };
        let mut catch = Catch::new(round.pop_time_ms, revive_queue_id);
        catch.omits_no_counts = self.config.pop_consumer_kv_service_enable;
        let from_retry = |kind: TopicKind, catch: &mut Catch| {
            let topic = kind.topic(&request.topic, &request.group);
            self.take_topic(&topic, round, catch)
        };
        let (retry, other) = self.retry_kinds(dice);
        let retry_probability = match by_priority {
            true => self.config.pop_from_retry_probability_for_priority,
            false => self.config.pop_from_retry_probability,
        };
        let retry_first = !request.order && dice < retry_probability;
        if retry_first {
            from_retry(retry, &mut catch)?;
        }
        if request.queue_id < 0 {
            self.take_topic(&request.topic, round, &mut catch)?;
        } else {
            self.take_queue(&request.topic, request.queue_id, round, &mut catch)?;
        }
        if !request.order {
            if !retry_first && !catch.is_full(request) {
                from_retry(retry, &mut catch)?;
            }
            // The reference leaves the other kind for a later request, even if that has to wait for it.
            if let Some(other) = other
                && catch.count == 0
            {
                from_retry(other, &mut catch)?;
            }
        }
        Ok(catch)
    }

    /// Reads what there is for a request, and counts it: takes nothing, and may wait for the disk.
    ///
    /// Reference: `PeekMessageProcessor` (broker), 5.5.0.
    pub(crate) fn peek(&self, request: &PopRequest) -> (Vec<u8>, i64) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let dice = (self.hasher.hash_one(turn) % 100) as i32;
        let (pop_time_ms, revive_queue_id) = (now_ms(), 0);
        let round = Round { request, pop_time_ms, revive_queue_id, first: dice, may_wait: true };
        let mut catch = Catch::new(round.pop_time_ms, 0);
        let mut look = |topic: &str, only: Option<i32>| {
            let queues = self.topics.get(topic).map_or(0, |topic| topic.read_queue_nums);
            for at in 0..queues {
                let queue_id = (dice % queues + at) % queues;
                if only.is_none_or(|only| only == queue_id) {
                    self.peek_queue(topic, queue_id, round, &mut catch);
                }
            }
        };
        look(&request.topic, Some(request.queue_id).filter(|queue_id| *queue_id >= 0));
        look(&self.retry_kinds(dice).0.topic(&request.topic, &request.group), None);
        (catch.body, catch.rest)
    }

    fn peek_queue(&self, topic: &str, queue_id: i32, round: Round<'_>, catch: &mut Catch) {
        let request = round.request;
        let queue_ref = GroupQueueRef { topic, group: &request.group, queue_id };
        let mut offset = self.next_offset(request, queue_ref, &self.queues.get(queue_ref));
        catch.rest += self.store.max_offset(topic, queue_id) - offset;
        for _ in 0..2 {
            if catch.is_full(request) {
                return;
            }
            let Ok(Some(result)) = self.read(queue_ref, offset, round, catch) else {
                return;
            };
            catch.count += result.message_count;
            if result.message_count > 0 || result.next_begin_offset == offset {
                return;
            }
            offset = result.next_begin_offset;
        }
    }

    /// Whether a request would be given something. Takes nothing.
    pub(super) fn has_news(&self, request: &PopRequest) -> bool {
        let news = |topic: &str, queue_id| {
            let group = &request.group;
            let queue_ref = GroupQueueRef { topic, group, queue_id };
            let queue = self.queues.get(queue_ref);
            let is_blocked = || {
                let attempt = request.attempt.as_deref();
                self.order.is_blocked(queue_ref, attempt, request.invisible_ms, now_ms())
            };
            // Whoever makes it busy looks for others when it ends, and whoever has too much when it is done.
            if queue.is_busy() || self.is_over_threshold(&queue) {
                return false;
            }
            self.store.max_offset(topic, queue_id) > self.next_offset(request, queue_ref, &queue)
                && !(request.order && is_blocked())
        };
        let any = |topic: &str| {
            let queues = self.topics.get(topic).map_or(0, |topic| topic.read_queue_nums);
            (0..queues).any(|queue_id| news(topic, queue_id))
        };
        let any_retry = || {
            let (retry, other) = self.retry_kinds(0);
            let mut kinds = [retry].into_iter().chain(other);
            kinds.any(|kind| any(&kind.topic(&request.topic, &request.group)))
        };
        let any_normal = match request.queue_id {
            queue_id if queue_id < 0 => any(&request.topic),
            queue_id => news(&request.topic, queue_id),
        };
        any_normal || !request.order && any_retry()
    }

    /// The kind of retry topic that is looked at, and the other one if it is as well.
    pub(super) fn retry_kinds(&self, dice: i32) -> (TopicKind, Option<TopicKind>) {
        let reads_v1 = self.config.retrieve_message_from_pop_retry_topic_v1;
        match (self.config.enable_retry_topic_v2, reads_v1) {
            (false, _) => (TopicKind::RetryV1, None),
            (true, false) => (TopicKind::RetryV2, None),
            (true, true) if dice % 2 == 0 => (TopicKind::RetryV1, Some(TopicKind::RetryV2)),
            (true, true) => (TopicKind::RetryV2, Some(TopicKind::RetryV1)),
        }
    }

    /// Whether a pop prefers messages by their priority: it does in as many of a hundred as the group
    /// says.
    fn goes_by_priority(&self, request: &PopRequest, dice: i32) -> bool {
        let topic = self.topics.get(&request.topic);
        topic.is_some_and(|topic| message_type::has_priorities(&topic.attributes))
            && self.groups.find_or_create(&request.group).is_some_and(|group| {
                i64::from(dice) < attributes::priority_factor(&group.attributes)
            })
    }

    fn take_topic(&self, topic: &str, round: Round<'_>, catch: &mut Catch) -> Result<(), Cold> {
        let queues = self.topics.get(topic).map_or(0, |topic| topic.read_queue_nums);
        for at in 0..queues {
            let at = if self.config.priority_order_asc { queues - 1 - at } else { at };
            let queue_id = (round.first % queues + at) % queues;
            self.take_queue(topic, queue_id, round, catch)?;
        }
        Ok(())
    }

    fn take_queue(
        &self,
        topic: &str,
        queue_id: i32,
        round: Round<'_>,
        catch: &mut Catch,
    ) -> Result<(), Cold> {
        let request = round.request;
        let queue_ref = GroupQueueRef { topic, group: &request.group, queue_id };
        let queue = self.queues.get(queue_ref);
        let Some(turn) = queue.begin() else {
            if !request.order {
                catch.rest += self.left(request, queue_ref, &queue);
            }
            return Ok(());
        };
        let outcome = self.take_own_queue(queue_ref, &queue, round, catch);
        catch.wanted |= turn.end();
        outcome
    }

    /// Takes messages of a queue that nobody else of the group takes from at the moment.
    fn take_own_queue(
        &self,
        queue_ref: GroupQueueRef<'_>,
        queue: &Arc<PopQueue>,
        round: Round<'_>,
        catch: &mut Catch,
    ) -> Result<(), Cold> {
        let request = round.request;
        let GroupQueueRef { topic, group, queue_id } = queue_ref;
        if self.is_over_threshold(queue) {
            catch.rest += self.left(request, queue_ref, queue);
            return Ok(());
        }
        // Before the look below: it frees a queue that is blocked.
        self.follow_reset(queue_ref, queue);
        if request.order {
            let attempt = request.attempt.as_deref();
            // What is blocked does not count as left: it would wake others for nothing.
            if self.order.is_blocked(queue_ref, attempt, request.invisible_ms, round.pop_time_ms) {
                return Ok(());
            }
            // Nothing of it is given out, or it would be blocked.
            queue.forget_given();
        }
        // Behind that look: an acknowledgement in between frees the queue and moves its offset on.
        let mut offset = self.begin_at(request, queue_ref, queue);
        if catch.is_full(request) {
            catch.rest += self.store.max_offset(topic, queue_id) - offset;
            return Ok(());
        }
        let begin = catch.body.len();
        let start = Instant::now();
        let Some(mut result) = self.read(queue_ref, offset, round, catch)? else {
            return Ok(());
        };
        if matches!(
            result.status,
            GetMessageStatus::OffsetTooSmall
                | GetMessageStatus::OffsetOverflowBadly
                | GetMessageStatus::OffsetFoundNull
        ) {
            offset = result.next_begin_offset;
            queue.forget();
            self.offsets.commit(group, topic, queue_id, offset);
            match self.read(queue_ref, offset, round, catch)? {
                Some(corrected) => result = corrected,
                None => return Ok(()),
            }
        }
        let next = result.next_begin_offset;
        let given: Vec<i64> = split(&catch.body[begin..])
            .filter_map(|record| offset_in(&record, topic, queue_id))
            .collect();
        self.stats.got(given.len() as u64, start.elapsed());
        if given.is_empty() {
            if next > offset {
                // Everything looked at was for others.
                queue.skip_to(next, |next| self.offsets.commit(group, topic, queue_id, next));
            }
        } else if !self.hand_out(queue_ref, queue, round, (offset, next), &given, catch) {
            catch.body.truncate(begin);
            catch.failed = true;
            return Ok(());
        } else {
            let bytes = (catch.body.len() - begin) as u64;
            self.offsets.note_popped(group, topic, given.len() as u64, bytes);
            if topic != &*request.topic
                && let Some(name) = self.name_of_retried(topic, request)
            {
                catch.name_as(name, request, &self.config.broker_name, begin, offset);
            }
        }
        catch.rest += result.max_offset - next;
        Ok(())
    }

    /// Notes that the messages at `given`, found from `offset` on, are given out, after which the queue goes on at
    /// `next`. Returns whether it is noted.
    fn hand_out(
        &self,
        queue_ref: GroupQueueRef<'_>,
        queue: &Arc<PopQueue>,
        round: Round<'_>,
        (offset, next): (i64, i64),
        given: &[i64],
        catch: &mut Catch,
    ) -> bool {
        let GroupQueueRef { topic, group, queue_id } = queue_ref;
        let request = round.request;
        if request.order {
            let attempt = request.attempt.as_deref();
            let times = (round.pop_time_ms, request.invisible_ms);
            // It goes on behind them when they are acknowledged.
            self.order.give(queue_ref, attempt, times, given, &mut catch.counts, || {
                self.offsets.commit(group, topic, queue_id, offset);
            });
        } else {
            let point = self.check_point(queue_ref, round, offset, given);
            if !self.note(point, round.revive_queue_id, queue, next, catch) {
                return false;
            }
        }
        queue.given(given.len());
        catch.count += given.len() as u32;
        catch.starts.start(topic, queue_id, offset);
        catch.messages.messages(topic, queue_id, given);
        true
    }

    /// The topic that messages of a retry topic are given out under, with a receipt; or they are as stored.
    fn name_of_retried<'a>(&self, topic: &'a str, request: &'a PopRequest) -> Option<&'a str> {
        let config = &self.config;
        let actual = config.pop_response_return_actual_retry_topic;
        match (config.pop_consumer_kv_service_enable, actual) {
            (false, false) => Some(&request.topic),
            (true, true) => Some(topic),
            (false, true) | (true, false) => None,
        }
    }

    /// What is noted of the messages that a pop from `offset` on has given.
    fn check_point(
        &self,
        GroupQueueRef { topic, group, queue_id }: GroupQueueRef<'_>,
        round: Round<'_>,
        offset: i64,
        given: &[i64],
    ) -> PopCheckPoint {
        PopCheckPoint {
            broker_name: Some(self.config.broker_name.clone()),
            consumer_group: group.to_owned(),
            queue_offset_diff: Some(given.iter().map(|given| (given - offset) as i32).collect()),
            invisible_time: round.request.invisible_ms,
            num: given.len() as i8,
            pop_time: round.pop_time_ms,
            queue_id,
            start_offset: offset,
            topic: topic.to_owned(),
            ..PopCheckPoint::default()
        }
    }

    /// Notes what is given out, and has the group go on at `next` when that is durable. Returns whether it is
    /// noted.
    fn note(
        &self,
        mut point: PopCheckPoint,
        revive_queue_id: i32,
        queue: &Arc<PopQueue>,
        next: i64,
        catch: &mut Catch,
    ) -> bool {
        let Ok(stored) = self.journal.put_check_point(&mut point, revive_queue_id) else {
            return false;
        };
        let noted_at = stored.end_phy_offset();
        catch.durable_at = catch.durable_at.max(noted_at);
        let PopCheckPoint { topic, consumer_group: group, queue_id, .. } = point;
        if !self.store.flushes_synchronously() {
            self.offsets.commit(&group, &topic, queue_id, next);
            return true;
        }
        queue.popped(next, noted_at);
        let queue = Arc::clone(queue);
        let (offsets, store) = (Arc::clone(&self.offsets), Arc::clone(&self.store));
        // It is told as well when the disk is too slow, or takes nothing.
        let commit = move |_| {
            let flushed_to = store.flushed_phy_offset();
            queue.flushed(flushed_to, |next| offsets.commit(&group, &topic, queue_id, next));
        };
        self.store.when_durable(noted_at, Box::new(commit));
        true
    }

    /// Reads messages behind those that there are. What there is already is not kept waiting for
    /// the disk: then the queue just counts as left, and `None` is returned.
    fn read(
        &self,
        GroupQueueRef { topic, queue_id, .. }: GroupQueueRef<'_>,
        offset: i64,
        round: Round<'_>,
        catch: &mut Catch,
    ) -> Result<Option<GetMessageResult>, Cold> {
        let request = round.request;
        let most = request.max_messages - catch.count;
        let bytes = MAX_POP_BYTES.saturating_sub(catch.body.len());
        let filter = |tags_code, record: LazyRecord<'_>| {
            request.filter.matches(tags_code, || record.properties())
        };
        let store = &self.store;
        let body = &mut catch.body;
        let result = if round.may_wait {
            Ok(store.get_message(topic, queue_id, offset, most, bytes, filter, body))
        } else {
            store.get_cached_message(topic, queue_id, offset, most, bytes, filter, body)
        };
        match result {
            Ok(result) => Ok(Some(result)),
            Err(cold) if catch.count == 0 => Err(cold),
            Err(_) => {
                catch.rest += store.max_offset(topic, queue_id) - offset;
                Ok(None)
            }
        }
    }

    /// Messages of a queue that were not given out.
    fn left(&self, request: &PopRequest, queue_ref: GroupQueueRef<'_>, queue: &PopQueue) -> i64 {
        let max = self.store.max_offset(queue_ref.topic, queue_ref.queue_id);
        max - self.next_offset(request, queue_ref, queue)
    }

    /// Where the next pop of a queue begins.
    fn next_offset(
        &self,
        request: &PopRequest,
        queue_ref: GroupQueueRef<'_>,
        queue: &PopQueue,
    ) -> i64 {
        let GroupQueueRef { topic, group, queue_id } = queue_ref;
        let committed = self.offsets.query(group, topic, queue_id);
        let offset = committed.unwrap_or_else(|| self.first_offset(request, topic, queue_id));
        queue.next_offset().map_or(offset, |next| next.max(offset))
    }

    /// Goes on where a tool has set the offset.
    fn follow_reset(&self, queue_ref: GroupQueueRef<'_>, queue: &PopQueue) {
        let GroupQueueRef { topic, group, queue_id } = queue_ref;
        if let Some(reset) = self.offsets.take_reset(group, topic, queue_id) {
            self.order.forget(queue_ref);
            queue.forget();
            queue.forget_given();
            self.offsets.commit(group, topic, queue_id, reset);
        }
    }

    /// The same for the pop that begins there: commits where a new group begins.
    fn begin_at(
        &self,
        request: &PopRequest,
        queue_ref: GroupQueueRef<'_>,
        queue: &PopQueue,
    ) -> i64 {
        let GroupQueueRef { topic, group, queue_id } = queue_ref;
        let offset = self.next_offset(request, queue_ref, queue);
        if self.offsets.query(group, topic, queue_id).is_none() {
            self.offsets.commit(group, topic, queue_id, offset);
        }
        offset
    }

    /// Where a new group begins.
    fn first_offset(&self, request: &PopRequest, topic: &str, queue_id: i32) -> i64 {
        let (min, max) = self.store.bounds(topic, queue_id);
        if !request.from_last || topic_validator::is_retry_topic(topic) {
            return min;
        }
        let is_young = self.config.init_pop_offset_by_check_msg_in_mem
            && min <= 0
            && self.store.is_in_memory(topic, queue_id, 0);
        if is_young { 0 } else { (max - 1).max(0) }
    }
}
