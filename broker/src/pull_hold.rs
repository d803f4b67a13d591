//! Pulls that wait for a message.
//!
//! A pull that finds nothing is registered here and then looks once more, so a message that came in
//! between is not missed. The thread that appends a message takes the pulls that it satisfies and
//! answers them itself, straight into the consumers' sockets.
//!
//! Reference: `PullRequestHoldService` (broker), 5.5.0.

use std::hash::BuildHasher as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashMap};
use oxmq_remoting::Reply;

use crate::filter::MessageFilter;
use crate::limits::MAX_HELD_PULLS;
use crate::queue_key::{QueueKey, QueueRef};
use crate::sync::lock;

/// A pull that waits.
#[derive(Debug)]
pub(crate) struct HeldPull {
    /// Where the answer goes.
    pub(crate) reply: Reply,
    /// What was asked.
    pub(crate) request: PullRequest,
    /// When it is answered at the latest.
    pub(crate) deadline: Instant,
}

/// What a pull asks, once its checks have passed.
#[derive(Clone, Debug)]
pub(crate) struct PullRequest {
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) max_messages: i32,
    pub(crate) filter: MessageFilter,
    pub(crate) topic_sys_flag: i32,
    pub(crate) group_sys_flag: i32,
    /// The broker that the group is to pull from, and the one when it is far behind.
    pub(crate) suggested_brokers: (i64, i64),
}

/// What filters look at in a message that has just been stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrivedMessage<'a> {
    pub(crate) tags_code: i64,
    pub(crate) properties: &'a [u8],
}

impl PullRequest {
    pub(crate) fn queue(&self) -> QueueRef<'_> {
        QueueRef { topic: &self.topic, queue_id: self.queue_id }
    }
}

const SHARDS: usize = 16;

/// All waiting pulls, by queue.
#[derive(Debug, Default)]
pub(crate) struct PullHold {
    shards: [Mutex<HashMap<QueueKey, Vec<HeldPull>>>; SHARDS],
    hasher: DefaultHashBuilder,
    held: AtomicUsize,
}

impl PullHold {
    /// Registers a pull; the caller has to look at the queue once more after this. Gives the pull
    /// back when too many wait already.
    pub(crate) fn register(&self, pull: HeldPull) -> Result<(), Box<HeldPull>> {
        if self.held.fetch_add(1, Ordering::SeqCst) >= MAX_HELD_PULLS {
            self.held.fetch_sub(1, Ordering::SeqCst);
            return Err(Box::new(pull));
        }
        let queue = pull.request.queue();
        let mut shard = lock(self.shard(queue));
        match shard.get_mut(&queue) {
            Some(pulls) => pulls.push(pull),
            None => {
                let key = queue.to_key();
                shard.insert(key, vec![pull]);
            }
        }
        Ok(())
    }

    /// Takes the pulls of a queue that a message below `next_offset` satisfies; when it is not known,
    /// every filter counts as satisfied.
    pub(crate) fn take_satisfied(
        &self,
        queue: QueueRef<'_>,
        next_offset: i64,
        arrived: Option<ArrivedMessage<'_>>,
    ) -> Vec<HeldPull> {
        // Appending without a single consumer waiting costs one load.
        if !self.is_any_held() {
            return Vec::new();
        }
        let mut shard = lock(self.shard(queue));
        let Some(pulls) = shard.get_mut(&queue) else { return Vec::new() };
        let taken: Vec<_> = pulls
            .extract_if(.., |pull| {
                pull.request.offset < next_offset
                    && arrived.is_none_or(|message| {
                        let properties = || Some(message.properties);
                        pull.request.filter.matches(message.tags_code, properties)
                    })
            })
            .collect();
        if pulls.is_empty() {
            shard.remove(&queue);
        }
        self.held.fetch_sub(taken.len(), Ordering::SeqCst);
        taken
    }

    /// Whether any pull waits.
    pub(crate) fn is_any_held(&self) -> bool {
        self.held.load(Ordering::SeqCst) != 0
    }

    /// Takes the pulls whose time is up at `now`, and drops those whose connection has ended.
    pub(crate) fn take_expired(&self, now: Instant) -> Vec<HeldPull> {
        if !self.is_any_held() {
            return Vec::new();
        }
        let mut expired = Vec::new();
        for shard in &self.shards {
            lock(shard).retain(|_, pulls| {
                let due = pulls.extract_if(.., |pull| {
                    pull.deadline <= now || pull.reply.connection().is_closed()
                });
                for pull in due {
                    self.held.fetch_sub(1, Ordering::SeqCst);
                    if !pull.reply.connection().is_closed() {
                        expired.push(pull);
                    }
                }
                !pulls.is_empty()
            });
        }
        expired
    }

    /// Takes everything, at shutdown.
    pub(crate) fn take_all(&self) -> Vec<HeldPull> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).drain().flat_map(|(_, pulls)| pulls));
        }
        self.held.fetch_sub(all.len(), Ordering::SeqCst);
        all
    }

    fn shard(&self, queue: QueueRef<'_>) -> &Mutex<HashMap<QueueKey, Vec<HeldPull>>> {
        &self.shards[self.hasher.hash_one(queue) as usize % SHARDS]
    }
}
