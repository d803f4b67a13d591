//! Answers that wait for the disk.
//!
//! Each thread that serves connections keeps those of its own requests, in the order in which they came.
//! When it has served everybody who had something to say, it asks the store once for all of them;
//! when the disk has them, that same thread gives the answers, with one write for each connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use oxmq_remoting::{Reply, Together, WorkerId, after_round};
use oxmq_store::{MessageStore, PutMessageStatus};

use crate::sync::lock;

/// Gives an answer, now that it is known how durable it is what it is about.
type Answer = Box<dyn FnOnce(PutMessageStatus, Reply) + Send>;

/// An answer, and what it waits for.
struct Waiting {
    end_phy_offset: i64,
    reply: Reply,
    answer: Answer,
}

/// The answers of one thread.
#[derive(Default)]
struct Shard {
    waiting: VecDeque<Waiting>,
    /// The store is asked at the end of the round.
    is_told: bool,
}

/// All answers that wait for the disk.
pub(crate) struct DurableAnswers {
    store: Arc<MessageStore>,
    /// One for each thread that serves connections, and one for all other threads.
    shards: Box<[Mutex<Shard>]>,
}

impl DurableAnswers {
    pub(crate) fn new(store: Arc<MessageStore>) -> Self {
        let shards = if store.flushes_synchronously() { WorkerId::count() + 1 } else { 0 };
        Self { store, shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// Has `answer` given once everything in the log before `end_phy_offset` is as durable as configured.
    pub(crate) fn give(
        self: &Arc<Self>,
        end_phy_offset: i64,
        reply: Reply,
        answer: impl FnOnce(PutMessageStatus, Reply) + Send + 'static,
    ) {
        if self.shards.is_empty() {
            return answer(PutMessageStatus::PutOk, reply);
        }
        let worker = WorkerId::current();
        let number = self.shard_of(worker);
        let waiting = Waiting { end_phy_offset, reply, answer: Box::new(answer) };
        let is_told = {
            let mut shard = lock(&self.shards[number]);
            shard.waiting.push_back(waiting);
            std::mem::replace(&mut shard.is_told, true)
        };
        if !is_told {
            let this = Arc::clone(self);
            after_round(move || this.end_round(worker));
        }
    }

    fn shard_of(&self, worker: Option<WorkerId>) -> usize {
        let others = self.shards.len() - 1;
        worker.map_or(others, |worker| worker.number().min(others))
    }

    /// Asks the store for all that the thread's requests have stored.
    fn end_round(self: &Arc<Self>, worker: Option<WorkerId>) {
        let number = self.shard_of(worker);
        let (last, count) = {
            let mut shard = lock(&self.shards[number]);
            shard.is_told = false;
            // The newest need not be the last in the log: a message that is sent again has the place of
            // the first time.
            let Some(last) = shard.waiting.iter().map(|one| one.end_phy_offset).max() else {
                return;
            };
            (last, shard.waiting.len())
        };
        if count == 1 && self.store.flush_if_quick() {
            return self.answer(number, last, PutMessageStatus::PutOk);
        }
        let this = Arc::clone(self);
        let flushed = move |status| match worker {
            Some(worker) => worker.run(move || this.answer(number, last, status)),
            None => this.answer(number, last, status),
        };
        self.store.when_durable(last, Box::new(flushed));
    }

    /// Answers all that wait for something at or before `position`, whose outcome is `status`.
    fn answer(&self, number: usize, position: i64, status: PutMessageStatus) {
        let ready: Vec<Waiting> = {
            let waiting = &mut lock(&self.shards[number]).waiting;
            let count = waiting.iter().take_while(|one| one.end_phy_offset <= position).count();
            waiting.drain(..count).collect()
        };
        let mut together = Together::default();
        for Waiting { end_phy_offset, reply, answer } in ready {
            together.add(&reply);
            let is_durable = end_phy_offset <= self.store.flushed_phy_offset();
            answer(if is_durable { PutMessageStatus::PutOk } else { status }, reply);
        }
    }
}

impl std::fmt::Debug for DurableAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableAnswers").field("shards", &self.shards.len()).finish()
    }
}
