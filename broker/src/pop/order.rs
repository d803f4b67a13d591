//! Messages that groups consume in order: what was given out of each queue, and what of it is done.
//!
//! A queue gives nothing more to a group while a message that was given out is neither done nor due
//! again.
//!
//! Reference: `ConsumerOrderInfoManager`, `ConsumerOrderInfoLockManager` (broker), 5.5.0; kept in
//! `config/consumerOrderInfo.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use hashbrown::HashMap;
use oxmq_protocol::body::{ConsumerOrderTable, OrderInfo};
use oxmq_store::JsonFileError;
use tracing::warn;

use super::offset_info::OffsetInfo;
use crate::queue_key::{GroupQueueKey, GroupQueueRef};
use crate::saved_table::SavedTable;
use crate::sync::lock;

/// How long a queue is remembered that nobody consumes.
const KEEP_MS: i64 = 24 * 3_600 * 1_000;
/// Most messages of a queue that are given out at a time: each is a bit.
const MAX_MESSAGES: usize = 63;

/// A queue that is free again at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Freed {
    at_ms: i64,
    pub(super) topic: Box<str>,
    pub(super) group: Box<str>,
    pub(super) queue_id: i32,
}

impl Freed {
    fn queue(&self) -> GroupQueueRef<'_> {
        GroupQueueRef { topic: &self.topic, group: &self.group, queue_id: self.queue_id }
    }
}

/// What an acknowledgement means for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// The group goes on at this offset; `blocked` says whether it still has to wait.
    Next {
        /// The first that is not done.
        offset: i64,
        /// Whether another one is under way.
        blocked: bool,
    },
    /// It is from an earlier pop and means nothing any more.
    Stale,
    /// No such message was given out.
    Unknown,
}

#[derive(Debug, Default)]
struct State {
    table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
    /// When queues may be free again, soonest first, each queue once. What puts that off is seen then.
    freed: BTreeSet<Freed>,
    /// The same by queue.
    free_at: HashMap<GroupQueueKey, i64>,
}

/// What was given out in order.
#[derive(Debug)]
pub(crate) struct ConsumerOrder {
    state: Mutex<State>,
    /// Nothing when it is not kept.
    file: Option<SavedTable<ConsumerOrderTable>>,
}

impl ConsumerOrder {
    /// Loads what was given out.
    ///
    /// # Errors
    /// When neither `consumerOrderInfo.json` nor its backup can be read.
    pub(crate) fn load(store_root: &Path) -> Result<Self, JsonFileError> {
        let file = SavedTable::<ConsumerOrderTable>::new(store_root, "consumerOrderInfo.json");
        let table = file.load()?.unwrap_or_default().table;
        let mut state = State::default();
        let infos = table.iter().flat_map(|(key, queues)| {
            queues.iter().map(move |(queue_id, info)| (key.split_once('@'), *queue_id, info))
        });
        for (key, queue_id, info) in infos {
            if let Some((topic, group)) = key {
                state.free_at(GroupQueueRef { topic, group, queue_id }, free_at(info));
            }
        }
        state.table = table;
        Ok(Self { state: Mutex::new(state), file: Some(file) })
    }

    /// Nothing was given out, and nothing is kept of what will be.
    pub(super) fn in_memory() -> Self {
        Self { state: Mutex::default(), file: None }
    }

    /// Queues and groups that are remembered.
    pub(super) fn len(&self) -> usize {
        lock(&self.state).table.len()
    }

    fn changed(&self) {
        if let Some(file) = &self.file {
            file.changed();
        }
    }

    /// Whether the queue gives nothing to the group now. A repetition of the attempt that has the
    /// messages is given them again.
    pub(super) fn is_blocked(
        &self,
        queue: GroupQueueRef<'_>,
        attempt: Option<&str>,
        invisible_ms: i64,
        now_ms: i64,
    ) -> bool {
        lock(&self.state).info(queue).is_some_and(|info| {
            // Files of older releases do not say for how long.
            info.invisible_time = info.invisible_time.filter(|ms| *ms > 0).or(Some(invisible_ms));
            blocks(info, attempt, now_ms)
        })
    }

    /// Notes what a pop gives out, adds to `counts` how often each of it was before, and calls
    /// `commit` before any acknowledgement can.
    pub(super) fn give(
        &self,
        queue: GroupQueueRef<'_>,
        attempt: Option<&str>,
        (pop_time_ms, invisible_ms): (i64, i64),
        offsets: &[i64],
        counts: &mut OffsetInfo,
        commit: impl FnOnce(),
    ) {
        let Some((first, rest)) = offsets.split_first() else { return };
        let mut state = lock(&self.state);
        let queues = state.table.entry(key_of(queue)).or_default();
        let before = queues.remove(&queue.queue_id);
        let consumed = before.map(|before| consumed_before(before, attempt, offsets));
        let info = OrderInfo {
            attempt_id: attempt.map(str::to_owned),
            commit_offset_bit: 0,
            invisible_time: Some(invisible_ms),
            last_consume_timestamp: pop_time_ms,
            offset_list: [*first].into_iter().chain(rest.iter().map(|o| o - first)).collect(),
            offset_consumed_count: consumed,
            offset_next_visible_time: None,
            pop_time: pop_time_ms,
        };
        let mut fewest = i32::MAX;
        let consumed = info.offset_consumed_count.as_ref();
        for (offset, times) in consumed.into_iter().flatten() {
            counts.count_of_message(queue.topic, queue.queue_id, *offset, *times);
            fewest = fewest.min(*times);
        }
        if consumed.is_none_or(|consumed| consumed.len() != offsets.len()) {
            fewest = 0;
        }
        // What older clients look at.
        counts.count_of_queue(queue.topic, queue.queue_id, fewest);
        let free_at = free_at(&info);
        queues.insert(queue.queue_id, info);
        state.free_at(queue, free_at);
        commit();
        drop(state);
        self.changed();
    }

    /// Notes that a message is done; `commit` is called with the offset to go on at.
    pub(super) fn acknowledge(
        &self,
        queue: GroupQueueRef<'_>,
        offset: i64,
        pop_time_ms: i64,
        now_ms: i64,
        commit: impl FnOnce(i64),
    ) -> Acknowledged {
        let mut state = lock(&self.state);
        let Some(info) = state.info(queue) else {
            commit(offset + 1);
            return Acknowledged::Next { offset: offset + 1, blocked: false };
        };
        if info.offset_list.is_empty() {
            return Acknowledged::Unknown;
        }
        if info.pop_time != pop_time_ms {
            return Acknowledged::Stale;
        }
        let Some(at) = offsets_of(info).position(|given| given == offset) else {
            return Acknowledged::Unknown;
        };
        info.commit_offset_bit |= bit(at);
        let last = offsets_of(info).last().unwrap_or(offset);
        let open = offsets_of(info).enumerate().find(|(at, _)| !is_done(info, *at));
        let next = open.map_or(last + 1, |(_, offset)| offset);
        let (blocked, free_at) = (blocks(info, None, now_ms), free_at(info));
        state.free_at(queue, free_at);
        commit(next);
        drop(state);
        self.changed();
        Acknowledged::Next { offset: next, blocked }
    }

    /// Gives one message another time at which it is due again. Nothing happens to those of an
    /// earlier pop.
    pub(super) fn set_next_visible(
        &self,
        queue: GroupQueueRef<'_>,
        offset: i64,
        pop_time_ms: i64,
        visible_ms: i64,
    ) {
        let mut state = lock(&self.state);
        let Some(info) = state.info(queue).filter(|info| info.pop_time == pop_time_ms) else {
            warn!(
                topic = queue.topic,
                group = queue.group,
                queue_id = queue.queue_id,
                offset,
                "message is not given out any more"
            );
            return;
        };
        if !offsets_of(info).any(|given| given == offset) {
            return;
        }
        info.offset_next_visible_time.get_or_insert_default().insert(offset, visible_ms);
        let free_at = free_at(info);
        state.free_at(queue, free_at);
        drop(state);
        self.changed();
    }

    /// Gives all that was given out of a queue another time at which it is due again, without that
    /// counting as consumed.
    pub(super) fn suspend(&self, queue: GroupQueueRef<'_>, pop_time_ms: i64, visible_ms: i64) {
        let mut state = lock(&self.state);
        let Some(info) = state.info(queue).filter(|info| info.pop_time == pop_time_ms) else {
            return;
        };
        for times in info.offset_consumed_count.iter_mut().flat_map(|counts| counts.values_mut()) {
            *times -= i32::from(*times > 0);
        }
        info.offset_next_visible_time = None;
        info.invisible_time = Some(visible_ms.saturating_sub(pop_time_ms));
        let free_at = free_at(info);
        state.free_at(queue, free_at);
        drop(state);
        self.changed();
    }

    /// Forgets what was given out of a queue: the group goes on somewhere else.
    pub(super) fn forget(&self, queue: GroupQueueRef<'_>) {
        let mut state = lock(&self.state);
        let queues = state.table.get_mut(&key_of(queue));
        if queues.is_some_and(|queues| queues.remove(&queue.queue_id).is_some()) {
            self.changed();
        }
    }

    /// Takes the queues that are free again by `now_ms`.
    pub(super) fn take_freed(&self, now_ms: i64) -> Vec<Freed> {
        let mut freed = Vec::new();
        let mut state = lock(&self.state);
        while state.freed.first().is_some_and(|first| first.at_ms <= now_ms) {
            let Some(first) = state.freed.pop_first() else { break };
            let queue = first.queue();
            state.free_at.remove(&queue);
            let free_at = state.info(queue).and_then(|info| free_at(info));
            match free_at.filter(|at_ms| *at_ms > now_ms) {
                None => freed.push(first),
                later => state.free_at(queue, later),
            }
        }
        freed
    }

    /// Drops what is of queues that are not there or were not consumed for long.
    pub(super) fn clean(&self, now_ms: i64, exists: impl Fn(&str, &str, i32) -> bool) {
        let mut state = lock(&self.state);
        let mut changed = false;
        state.table.retain(|key, queues| {
            let before = queues.len();
            let named = key.split_once('@');
            queues.retain(|queue_id, info| {
                named.is_some_and(|(topic, group)| exists(topic, group, *queue_id))
                    && now_ms.saturating_sub(info.last_consume_timestamp) <= KEEP_MS
            });
            changed |= queues.len() != before;
            !queues.is_empty()
        });
        if changed {
            self.changed();
        }
    }

    /// Writes `consumerOrderInfo.json` if it is behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        let table = || ConsumerOrderTable { table: lock(&self.state).table.clone() };
        self.file.as_ref().map_or(Ok(()), |file| file.save_if_changed(table))
    }
}

impl State {
    fn info(&mut self, queue: GroupQueueRef<'_>) -> Option<&mut OrderInfo> {
        self.table.get_mut(&key_of(queue))?.get_mut(&queue.queue_id)
    }

    /// Notes when a queue is free again, unless it is looked at before anyway.
    fn free_at(&mut self, queue: GroupQueueRef<'_>, at_ms: Option<i64>) {
        let Some(at_ms) = at_ms else { return };
        let before = self.free_at.get(&queue).copied();
        if before.is_some_and(|before| before <= at_ms) {
            return;
        }
        let (topic, group) = (queue.topic.into(), queue.group.into());
        let mut freed = Freed { at_ms, topic, group, queue_id: queue.queue_id };
        if let Some(before) = before {
            freed.at_ms = before;
            self.freed.remove(&freed);
            freed.at_ms = at_ms;
        }
        self.freed.insert(freed);
        self.free_at.insert(queue.to_key(), at_ms);
    }
}

fn key_of(queue: GroupQueueRef<'_>) -> String {
    format!("{}@{}", queue.topic, queue.group)
}

fn bit(at: usize) -> i64 {
    if at < MAX_MESSAGES { 1 << at } else { 0 }
}

fn is_done(info: &OrderInfo, at: usize) -> bool {
    info.commit_offset_bit & bit(at) != 0
}

/// Offsets of the messages that were given out.
fn offsets_of(info: &OrderInfo) -> impl Iterator<Item = i64> {
    let list = &info.offset_list;
    let first = list.first().copied().unwrap_or(0);
    let rest = list.iter().skip(1).map(move |distance| first.saturating_add(*distance));
    list.first().copied().into_iter().chain(rest)
}

/// When a message that is not done is due again.
fn visible_at(info: &OrderInfo, offset: i64) -> i64 {
    let own = info.offset_next_visible_time.as_ref().and_then(|times| times.get(&offset));
    let invisible_ms = info.invisible_time.unwrap_or(0);
    own.copied().unwrap_or(info.pop_time.saturating_add(invisible_ms))
}

fn open_offsets(info: &OrderInfo) -> impl Iterator<Item = i64> {
    offsets_of(info).enumerate().filter(|(at, _)| !is_done(info, *at)).map(|(_, offset)| offset)
}

fn blocks(info: &OrderInfo, attempt: Option<&str>, now_ms: i64) -> bool {
    if attempt.is_some() && info.attempt_id.as_deref() == attempt {
        return false;
    }
    open_offsets(info).any(|offset| now_ms < visible_at(info, offset))
}

/// When the last message that is not done is due again.
fn free_at(info: &OrderInfo) -> Option<i64> {
    open_offsets(info).map(|offset| visible_at(info, offset)).max()
}

/// How often each of `offsets` was given out that was before. The repetition of an attempt does not
/// count.
fn consumed_before(
    before: OrderInfo,
    attempt: Option<&str>,
    offsets: &[i64],
) -> BTreeMap<i64, i32> {
    let same_attempt = attempt.is_some() && before.attempt_id.as_deref() == attempt;
    let given: Vec<i64> = offsets_of(&before).collect();
    let counts = before.offset_consumed_count.unwrap_or_default();
    if same_attempt {
        return counts;
    }
    let again = offsets.iter().filter(|offset| given.contains(offset));
    again.map(|offset| (*offset, counts.get(offset).map_or(1, |times| times + 1))).collect()
}

#[cfg(test)]
mod tests;
