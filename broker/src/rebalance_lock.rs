//! Queues held by one member of an ordered group at a time.
//!
//! Reference: `RebalanceLockManager` (broker), 5.5.0.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use oxmq_protocol::body::MessageQueue;
use tracing::{info, warn};

use crate::limits::MAX_LOCKED_QUEUES;
use crate::sync::lock;

/// A lock is over this long after it was last asked for; clients ask every 20 s.
const MAX_LIVE_TIME: Duration = Duration::from_secs(60);

/// The member that holds a queue.
#[derive(Debug)]
struct Holder {
    client_id: Box<str>,
    refreshed: Instant,
}

impl Holder {
    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.refreshed) > MAX_LIVE_TIME
    }
}

/// Who holds which queue. Not saved: a restart frees everything.
#[derive(Debug, Default)]
pub(crate) struct RebalanceLockManager {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Never empty.
    groups: HashMap<Box<str>, HashMap<MessageQueue, Holder>>,
    /// Queues of all groups.
    queues: usize,
}

impl RebalanceLockManager {
    /// Takes or refreshes queues for a member and returns those that it holds now.
    pub(crate) fn lock_batch(
        &self,
        group: &str,
        queues: Vec<MessageQueue>,
        client_id: &str,
        now: Instant,
    ) -> Vec<MessageQueue> {
        let Table { groups, queues: count } = &mut *lock(&self.table);
        let holders = groups.entry(group.into()).or_default();
        let mut held = Vec::with_capacity(queues.len());
        for queue in queues {
            if let Some(holder) = holders.get_mut(&queue) {
                if *holder.client_id != *client_id {
                    if !holder.is_expired(now) {
                        continue;
                    }
                    let before = &*holder.client_id;
                    warn!(group, client_id, before, ?queue, "expired queue lock changes hands");
                    holder.client_id = client_id.into();
                }
                holder.refreshed = now;
            } else if *count < MAX_LOCKED_QUEUES {
                let holder = Holder { client_id: client_id.into(), refreshed: now };
                holders.insert(queue.clone(), holder);
                *count += 1;
            } else {
                warn!(group, client_id, ?queue, "queue is not locked: too many are already");
                continue;
            }
            held.push(queue);
        }
        if holders.is_empty() {
            groups.remove(group);
        }
        held
    }

    /// Releases those of the queues that the member holds.
    pub(crate) fn unlock_batch(&self, group: &str, queues: &[MessageQueue], client_id: &str) {
        let queues: HashSet<_> = queues.iter().collect();
        lock(&self.table).release(group, |queue, holder| {
            *holder.client_id == *client_id && queues.contains(queue)
        });
    }

    /// Releases every queue that a member of the group holds, as it has left.
    ///
    /// The reference leaves them to expire, and nobody consumes them for up to a minute.
    pub(crate) fn release(&self, group: &str, client_id: &str) {
        let released =
            lock(&self.table).release(group, |_, holder| *holder.client_id == *client_id);
        if released > 0 {
            info!(group, client_id, released, "queue locks released, as their holder left");
        }
    }

    /// Tells whether some member of the group holds a queue, so that the group consumes in order.
    pub(crate) fn is_any_held(&self, group: &str, now: Instant) -> bool {
        let table = lock(&self.table);
        table
            .groups
            .get(group)
            .is_some_and(|holders| holders.values().any(|holder| !holder.is_expired(now)))
    }

    /// Forgets locks that are over.
    pub(crate) fn remove_expired(&self, now: Instant) {
        let Table { groups, queues } = &mut *lock(&self.table);
        groups.retain(|_, holders| {
            holders.retain(|_, holder| !holder.is_expired(now));
            !holders.is_empty()
        });
        *queues = groups.values().map(HashMap::len).sum();
    }
}

impl Table {
    /// Releases `which` queues of a group, and returns how many.
    fn release(&mut self, group: &str, which: impl Fn(&MessageQueue, &Holder) -> bool) -> usize {
        let Some(holders) = self.groups.get_mut(group) else { return 0 };
        let before = holders.len();
        holders.retain(|queue, holder| !which(queue, holder));
        let released = before - holders.len();
        self.queues -= released;
        if holders.is_empty() {
            self.groups.remove(group);
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id }
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn queue_has_one_holder_and_others_get_the_rest() {
        let (locks, now) = (RebalanceLockManager::default(), Instant::now());
        assert_eq!(ids(&locks.lock_batch("g", vec![queue(0), queue(1)], "a", now)), [0, 1]);
        assert_eq!(ids(&locks.lock_batch("g", vec![queue(1), queue(2)], "b", now)), [2]);
        assert_eq!(ids(&locks.lock_batch("h", vec![queue(1)], "b", now)), [1], "another group");
    }

    #[test]
    fn lock_is_over_60_seconds_after_it_was_last_asked_for() {
        let (locks, start) = (RebalanceLockManager::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        locks.lock_batch("g", vec![queue(0)], "a", start);
        assert_eq!(ids(&locks.lock_batch("g", vec![queue(0)], "a", at(50))), [0]);
        assert!(locks.lock_batch("g", vec![queue(0)], "b", at(110)).is_empty());
        assert!(locks.is_any_held("g", at(110)) && !locks.is_any_held("g", at(111)));
        assert_eq!(ids(&locks.lock_batch("g", vec![queue(0)], "b", at(111))), [0]);
        assert!(locks.lock_batch("g", vec![queue(0)], "a", at(112)).is_empty());
    }

    #[test]
    fn holder_alone_can_unlock() {
        let (locks, now) = (RebalanceLockManager::default(), Instant::now());
        locks.lock_batch("g", vec![queue(0)], "a", now);
        locks.unlock_batch("g", &[queue(0)], "b");
        assert!(locks.lock_batch("g", vec![queue(0)], "b", now).is_empty());
        locks.unlock_batch("g", &[queue(0)], "a");
        assert_eq!(ids(&locks.lock_batch("g", vec![queue(0)], "b", now)), [0]);
    }

    #[test]
    fn member_that_leaves_releases_all_it_held() {
        let (locks, now) = (RebalanceLockManager::default(), Instant::now());
        locks.lock_batch("g", vec![queue(0), queue(1)], "a", now);
        locks.lock_batch("g", vec![queue(2)], "b", now);
        locks.release("g", "a");
        let all = vec![queue(0), queue(1), queue(2)];
        assert_eq!(ids(&locks.lock_batch("g", all, "c", now)), [0, 1]);
    }

    #[test]
    fn expired_locks_are_forgotten() {
        let (locks, now) = (RebalanceLockManager::default(), Instant::now());
        locks.lock_batch("g", vec![queue(0)], "a", now);
        locks.remove_expired(now + MAX_LIVE_TIME);
        assert_eq!(lock(&locks.table).groups.len(), 1);
        locks.remove_expired(now + MAX_LIVE_TIME + Duration::from_millis(1));
        assert!(lock(&locks.table).groups.is_empty());
    }

    #[test]
    fn queues_are_counted_over_all_groups_and_groups_without_any_are_not_kept() {
        let (locks, now) = (RebalanceLockManager::default(), Instant::now());
        locks.lock_batch("empty", Vec::new(), "a", now);
        assert!(lock(&locks.table).groups.is_empty());
        lock(&locks.table).queues = MAX_LOCKED_QUEUES - 3;
        assert_eq!(ids(&locks.lock_batch("g", vec![queue(0), queue(1)], "a", now)), [0, 1]);
        assert_eq!(ids(&locks.lock_batch("h", vec![queue(0), queue(1)], "a", now)), [0]);
        assert!(locks.lock_batch("i", vec![queue(0)], "a", now).is_empty());
        assert_eq!(lock(&locks.table).groups.len(), 2);
        locks.unlock_batch("g", &[queue(1)], "a");
        locks.release("h", "a");
        assert_eq!(lock(&locks.table).queues, MAX_LOCKED_QUEUES - 2);
        locks.remove_expired(now);
        assert_eq!(lock(&locks.table).queues, 1);
    }
}
