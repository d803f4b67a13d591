//! Who is popping a queue at the moment, and how far that has got beyond what is committed.
//!
//! One pop of a group at a time reads a queue. What it has given out is committed once the note on
//! it is as durable as configured, in the order of the pops.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::queue_key::{GroupQueueKey, GroupQueueRef};
use crate::sync::lock;

const SHARDS: usize = 16;

/// Where pops of one queue stand.
#[derive(Debug, Default)]
pub(super) struct PopQueue {
    busy: AtomicBool,
    /// Somebody has found it busy.
    wanted: AtomicBool,
    /// Messages that are given out and not done. It may be too low for a while after a start.
    in_flight: AtomicI64,
    /// Pops that are not committed, in order.
    uncommitted: Mutex<VecDeque<Uncommitted>>,
}

/// A pop that is not committed yet.
#[derive(Debug)]
struct Uncommitted {
    next_offset: i64,
    /// End of its note in the log.
    noted_at: i64,
}

/// The right to pop a queue; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a PopQueue);

impl Turn<'_> {
    /// Ends the turn, and tells whether somebody has wanted it meanwhile.
    pub(super) fn end(self) -> bool {
        let queue = self.0;
        drop(self);
        queue.wanted.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

impl PopQueue {
    /// Begins a turn unless another one has not ended.
    pub(super) fn begin(&self) -> Option<Turn<'_>> {
        if self.busy.swap(true, Ordering::SeqCst) {
            // Noted before the request waits: whoever has the turn will look for it, or has ended
            // it before, which is then seen by looking once more.
            self.wanted.store(true, Ordering::SeqCst);
            return None;
        }
        Some(Turn(self))
    }

    /// Whether a pop would find it busy.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    /// Where the next pop begins, if not at what is committed.
    pub(super) fn next_offset(&self) -> Option<i64> {
        lock(&self.uncommitted).back().map(|last| last.next_offset)
    }

    /// Notes a pop whose note is at `noted_at`.
    pub(super) fn popped(&self, next_offset: i64, noted_at: i64) {
        lock(&self.uncommitted).push_back(Uncommitted { next_offset, noted_at });
    }

    /// Goes on at `next_offset` with nothing given out: committed at once, or behind what is not yet.
    pub(super) fn skip_to(&self, next_offset: i64, commit: impl FnOnce(i64)) {
        let mut uncommitted = lock(&self.uncommitted);
        if uncommitted.is_empty() {
            commit(next_offset);
        } else {
            uncommitted.push_back(Uncommitted { next_offset, noted_at: i64::MIN });
        }
    }

    /// The log is on disk up to `flushed_to`: hands what can be committed to `commit`.
    pub(super) fn flushed(&self, flushed_to: i64, commit: impl FnOnce(i64)) {
        let mut uncommitted = lock(&self.uncommitted);
        let mut last = None;
        while let Some(pop) = uncommitted.pop_front_if(|pop| pop.noted_at <= flushed_to) {
            last = Some(pop.next_offset);
        }
        if let Some(offset) = last {
            commit(offset);
        }
    }

    /// Forgets pops that are not committed: the group goes on somewhere else.
    pub(super) fn forget(&self) {
        lock(&self.uncommitted).clear();
    }

    /// Messages that are given out and not done.
    pub(super) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed).max(0)
    }

    /// Messages are given out.
    pub(super) fn given(&self, count: usize) {
        self.in_flight.fetch_add(count as i64, Ordering::Relaxed);
    }

    /// Messages are done, or given out by another queue. Returns how many were given out before.
    pub(super) fn done(&self, count: usize) -> i64 {
        let less = |given: i64| Some((given - count as i64).max(0));
        match self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(before) | Err(before) => before,
        }
    }

    /// Nothing counts as given out any more.
    pub(super) fn forget_given(&self) {
        self.in_flight.store(0, Ordering::Relaxed);
    }

    /// Whether nothing is known of it and nobody pops it.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_busy() && self.in_flight() == 0 && lock(&self.uncommitted).is_empty()
    }
}

/// All queues that are popped.
#[derive(Debug, Default)]
pub(super) struct PopQueues {
    shards: [Mutex<HashMap<GroupQueueKey, Arc<PopQueue>>>; SHARDS],
    hasher: DefaultHashBuilder,
}

impl PopQueues {
    /// The state of one queue.
    pub(super) fn get(&self, queue: GroupQueueRef<'_>) -> Arc<PopQueue> {
        let mut shard = lock(&self.shards[self.hasher.hash_one(queue) as usize % SHARDS]);
        if let Some(found) = shard.get(&queue) {
            return Arc::clone(found);
        }
        Arc::clone(shard.entry(queue.to_key()).or_default())
    }

    /// The state of one queue, if something is known of it.
    pub(super) fn find(&self, queue: GroupQueueRef<'_>) -> Option<Arc<PopQueue>> {
        lock(&self.shards[self.hasher.hash_one(queue) as usize % SHARDS]).get(&queue).cloned()
    }

    /// Forgets the queues that `keep` does not want, but for those that are in use.
    pub(super) fn retain(&self, keep: impl Fn(GroupQueueRef<'_>, &PopQueue) -> bool) {
        for shard in &self.shards {
            lock(shard).retain(|key, queue| {
                let GroupQueueKey { topic, group, queue_id } = key;
                Arc::strong_count(queue) > 1
                    || keep(GroupQueueRef { topic, group, queue_id: *queue_id }, queue)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_at_a_time_and_who_ends_it_hears_of_others() {
        let queue = PopQueue::default();
        let turn = queue.begin().unwrap();
        assert!(queue.is_busy() && queue.begin().is_none());
        assert!(turn.end(), "somebody wanted it");
        assert!(!queue.begin().unwrap().end());
        drop(queue.begin());
        assert!(!queue.is_busy());
    }

    #[test]
    fn pops_are_committed_in_order_once_their_notes_are_on_disk() {
        let queue = PopQueue::default();
        assert_eq!(queue.next_offset(), None);
        queue.popped(5, 100);
        queue.popped(9, 200);
        assert_eq!(queue.next_offset(), Some(9));
        queue.flushed(99, |_| panic!("the first is not on disk"));
        let mut committed = None;
        queue.flushed(199, |offset| committed = Some(offset));
        assert_eq!((committed, queue.next_offset()), (Some(5), Some(9)));
        queue.flushed(200, |offset| committed = Some(offset));
        assert_eq!((committed, queue.next_offset()), (Some(9), None));
        queue.popped(12, 300);
        queue.skip_to(20, |_| panic!("the one before is not on disk"));
        queue.flushed(300, |offset| committed = Some(offset));
        assert_eq!(committed, Some(20));
        queue.skip_to(25, |offset| committed = Some(offset));
        assert_eq!((committed, queue.next_offset()), (Some(25), None));
    }

    #[test]
    fn what_is_given_out_is_counted_until_it_is_done_and_never_below_nothing() {
        let queue = PopQueue::default();
        queue.given(3);
        assert_eq!((queue.done(1), queue.in_flight()), (3, 2));
        assert_eq!((queue.done(5), queue.in_flight()), (2, 0));
        queue.given(4);
        queue.forget_given();
        assert_eq!(queue.in_flight(), 0);
    }

    #[test]
    fn only_queues_in_use_are_kept() {
        let queues = PopQueues::default();
        let key = |queue_id| GroupQueueRef { topic: "t", group: "g", queue_id };
        queues.get(key(0)).popped(1, 1);
        queues.get(key(1));
        let kept = queues.get(key(2));
        queues.get(key(3)).given(1);
        queues.get(key(4)).given(1);
        queues.retain(|queue_ref, queue| queue_ref.queue_id != 4 && !queue.is_idle());
        assert_eq!(queues.get(key(0)).next_offset(), Some(1));
        assert!(Arc::ptr_eq(&kept, &queues.get(key(2))));
        assert!(queues.find(key(3)).is_some());
        assert!(queues.find(key(1)).is_none() && queues.find(key(4)).is_none());
    }
}
