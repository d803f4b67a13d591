//! Pops of lite topics.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::message::ReceiptHandle;
use oxmq_store::{Cold, GetMessageResult, GetMessageStatus, offset_in};

use super::{LiteService, QUEUE_ID, now, queue_ref};
use crate::again::split;
use crate::clock::now_ms;
use crate::disk_readers;
use crate::hold::{Asks, Held, Take};
use crate::limits::MAX_POP_BYTES;
use crate::pop::held::room;
use crate::pop::offset_info::OffsetInfo;
use crate::queue_key::QueueRef;

/// What a pop asks for, once its checks have passed.
#[derive(Debug)]
pub(crate) struct LiteRequest {
    pub(crate) client: Box<str>,
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    pub(crate) max_messages: u32,
    pub(crate) invisible_ms: i64,
    pub(crate) poll_ms: i64,
    pub(crate) attempt: Option<Box<str>>,
}

/// Pops wait by client, whatever their group.
impl Asks for LiteRequest {
    fn queue(&self) -> QueueRef<'_> {
        QueueRef { topic: &self.client, queue_id: QUEUE_ID }
    }

    fn group(&self) -> &str {
        ""
    }
}

/// A pop and where its answer goes.
pub(crate) type HeldLite = Held<LiteRequest>;

/// What a pop has taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pop_time_ms: i64,
    pub(super) body: Vec<u8>,
    pub(super) count: u32,
    /// How often each message was given out before.
    pub(super) counts: String,
}

impl LiteService {
    /// Answers a pop with what there is; when there is nothing, it waits.
    pub(crate) fn serve(self: &Arc<Self>, pop: HeldLite) {
        self.serve_with(pop, true, false);
    }

    fn serve_with(self: &Arc<Self>, pop: HeldLite, may_hold: bool, may_wait: bool) {
        let HeldLite { reply, request, deadline } = pop;
        if reply.connection().is_closed() {
            return reply.abandon();
        }
        let Ok(taken) = self.take(&request, may_wait) else {
            let place = match disk_readers::enter() {
                Ok(place) => place,
                Err(error) => return reply.fail(error.response_code(), &error.to_string()),
            };
            let (this, pop) = (Arc::clone(self), HeldLite { reply, request, deadline });
            return disk_readers::spawn(place, move || this.serve_with(pop, may_hold, true));
        };
        let pop = HeldLite { reply, request, deadline };
        if taken.count > 0 {
            return answer(pop, &taken, ResponseCode::SUCCESS);
        }
        if !may_hold || pop.request.poll_ms <= 0 || deadline <= Instant::now() {
            return answer(pop, &taken, ResponseCode::POLLING_TIMEOUT);
        }
        let client = pop.request.client.clone();
        match self.held.register(pop, room(&self.config)) {
            // A message may have come in between.
            Ok(()) if self.events().has(&client) => self.wake(&client),
            Ok(()) => {}
            Err(full) => answer(*full, &taken, ResponseCode::POLLING_FULL),
        }
    }

    /// Answers a pop of a client that waits.
    pub(super) fn wake(self: &Arc<Self>, client: &str) {
        let queue = QueueRef { topic: client, queue_id: QUEUE_ID };
        if let Some(pop) = self.held.take(queue, None, Take::Oldest, |_| true).pop() {
            self.serve(pop);
        }
    }

    /// Answers who has waited long enough.
    pub(super) fn expire_held(self: &Arc<Self>, now: Instant) {
        for pop in self.held.take_expired(now) {
            self.serve_with(pop, false, false);
        }
    }

    /// Answers everyone who waits, at shutdown.
    pub(crate) fn release_all(&self) {
        for pop in self.held.take_all() {
            let nothing = Taken { pop_time_ms: now_ms(), ..Taken::default() };
            answer(pop, &nothing, ResponseCode::POLLING_TIMEOUT);
        }
    }

    /// Takes what there is for a request.
    ///
    /// # Errors
    /// When the disk has to be waited for and must not be.
    pub(super) fn take(&self, request: &LiteRequest, may_wait: bool) -> Result<Taken, Cold> {
        let mut taken = Taken { pop_time_ms: now_ms(), ..Taken::default() };
        let mut subscribed = match self.config.enable_lite_event_mode {
            true => None,
            false => Some(self.subscribed(&request.client).unwrap_or_default().into_iter()),
        };
        while taken.count < request.max_messages && taken.body.len() < MAX_POP_BYTES {
            let next = match &mut subscribed {
                Some(queues) => queues.next(),
                None => self.events().take(&request.client, now()),
            };
            let Some(queue) = next else { break };
            match self.take_queue(request, &queue, may_wait, &mut taken) {
                Ok(()) => {}
                Err(cold) => {
                    self.events().put_back(&request.client, queue);
                    if taken.count == 0 {
                        return Err(cold);
                    }
                    break;
                }
            }
        }
        Ok(taken)
    }

    fn take_queue(
        &self,
        request: &LiteRequest,
        queue: &str,
        may_wait: bool,
        taken: &mut Taken,
    ) -> Result<(), Cold> {
        let group = &*request.group;
        let queue_ref = queue_ref(group, queue);
        let _turn = self.take_turn(queue_ref, may_wait).ok_or(Cold)?;
        let attempt = request.attempt.as_deref();
        if self.order.is_blocked(queue_ref, attempt, request.invisible_ms, taken.pop_time_ms) {
            return Ok(());
        }
        let offset = self.begin_at(group, queue);
        let (start, begin) = (Instant::now(), taken.body.len());
        let mut result = self.read(request, queue, offset, may_wait, taken)?;
        if matches!(
            result.status,
            GetMessageStatus::OffsetTooSmall
                | GetMessageStatus::OffsetOverflowBadly
                | GetMessageStatus::OffsetFoundNull
                | GetMessageStatus::NoMatchedMessage
                | GetMessageStatus::MessageWasRemoving
                | GetMessageStatus::NoMatchedLogicQueue
        ) {
            let next = result.next_begin_offset;
            self.offsets.commit(group, queue, QUEUE_ID, next);
            result = self.read(request, queue, next, may_wait, taken)?;
        }
        let records = split(&taken.body[begin..]);
        let given: Vec<i64> =
            records.filter_map(|record| offset_in(&record, queue, QUEUE_ID)).collect();
        debug_assert_eq!(given.len(), result.message_count as usize);
        if given.is_empty() {
            taken.body.truncate(begin);
            return Ok(());
        }
        let mut counts = OffsetInfo::default();
        let times = (taken.pop_time_ms, request.invisible_ms);
        // The group goes on behind them when they are acknowledged.
        self.order.give(queue_ref, attempt, times, &given, &mut counts, || ());
        self.stats.got(given.len() as u64, start.elapsed());
        let bytes = (taken.body.len() - begin) as u64;
        self.offsets.note_popped(group, &request.topic, given.len() as u64, bytes);
        taken.count += given.len() as u32;
        if !taken.counts.is_empty() {
            taken.counts.push(';');
        }
        taken.counts.push_str(&counts_of_messages(counts.as_str(), given.len()));
        let reached = (taken.count >= request.max_messages, result.next_begin_offset);
        self.note_lag(&request.topic, group, queue, reached);
        Ok(())
    }

    fn read(
        &self,
        request: &LiteRequest,
        queue: &str,
        offset: i64,
        may_wait: bool,
        taken: &mut Taken,
    ) -> Result<GetMessageResult, Cold> {
        let most = request.max_messages - taken.count;
        let bytes = MAX_POP_BYTES.saturating_sub(taken.body.len());
        let (store, body) = (&self.store, &mut taken.body);
        if may_wait {
            Ok(store.get_message(queue, QUEUE_ID, offset, most, bytes, |_, _| true, body))
        } else {
            store.get_cached_message(queue, QUEUE_ID, offset, most, bytes, |_, _| true, body)
        }
    }

    /// Where the pop of a queue begins: follows a tool, and commits where a new group begins.
    fn begin_at(&self, group: &str, queue: &str) -> i64 {
        if let Some(reset) = self.offsets.take_reset(group, queue, QUEUE_ID) {
            self.order.forget(queue_ref(group, queue));
            self.offsets.commit(group, queue, QUEUE_ID, reset);
            return reset;
        }
        self.offsets.query(group, queue, QUEUE_ID).unwrap_or_else(|| {
            let (min, max) = self.store.bounds(queue, QUEUE_ID);
            let is_young = self.config.init_pop_offset_by_check_msg_in_mem
                && min <= 0
                && self.store.is_in_memory(queue, QUEUE_ID, 0);
            let first = if is_young { 0 } else { (max - 1).max(0) };
            self.offsets.commit(group, queue, QUEUE_ID, first);
            first
        })
    }
}

/// How often each message was given out before, as the answer says it: the entries of the messages, if
/// there are any, or else that of the queue for each of them.
fn counts_of_messages(counts: &str, messages: usize) -> String {
    match counts.rsplit_once(';') {
        Some((of_messages, _)) => of_messages.to_owned(),
        None => {
            let times = counts.rsplit(' ').next().filter(|times| !times.is_empty());
            vec![times.unwrap_or("0"); messages].join(";")
        }
    }
}

fn answer(pop: HeldLite, taken: &Taken, code: ResponseCode) {
    let status = match code {
        ResponseCode::SUCCESS => GetMessageStatus::Found,
        _ => GetMessageStatus::NoMessageInQueue,
    };
    pop.reply.write(code, Some(status.name()), |mut writer| {
        writer.number("invisibleTime", pop.request.invisible_ms);
        writer.text("orderCountInfo", &taken.counts);
        writer.number("popTime", taken.pop_time_ms);
        writer.number("reviveQid", ReceiptHandle::ORDERLY.into());
        writer.finish(&taken.body);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_messages_or_that_of_the_queue_for_each() {
        assert_eq!(counts_of_messages("0 0 0", 2), "0;0");
        assert_eq!(counts_of_messages("0 0 3", 1), "3");
        assert_eq!(counts_of_messages("0 qo0%5 1;0 qo0%6 1;0 0 1", 2), "0 qo0%5 1;0 qo0%6 1");
        assert_eq!(counts_of_messages("", 1), "0");
    }
}
