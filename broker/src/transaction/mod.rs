//! Transactions: a half message is kept aside until its producer commits or rolls it back.
//!
//! Half messages lie in a topic of their own; decisions are noted in another one, and both files'
//! progress is kept as the offsets of a consumer group, so that the reference can take over at any
//! time. In memory there is a bit for each half message from the first undecided one on.
//!
//! Reference: `TransactionalMessageServiceImpl`, `TransactionalMessageBridge` (broker), 5.5.0.

mod check;
mod decisions;
mod end;
mod metrics;
mod op_queue;
mod recover;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::message::{properties, sys_flag};
use oxmq_store::MessageStore;

pub(crate) use end::Decision;

use self::decisions::Decisions;
use self::metrics::TransactionMetrics;
use self::op_queue::OpQueue;
use crate::again::{Aside, Home};
use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::delays::Delays;
use crate::sync::lock;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;
use crate::topic_validator::{TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};

/// Group under which the progress in both topics is kept.
pub(crate) const GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Somebody who can put a question to a producer of a group.
pub(crate) trait AskProducer: std::fmt::Debug + Send + Sync {
    /// Sends the question to some member that can answer; `false` when there is none.
    fn ask(&self, group: &str, question: RemotingCommand) -> bool;
}

/// Keeps half messages until they are decided.
#[derive(Debug)]
pub(crate) struct TransactionService {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    offsets: Arc<ConsumerOffsetManager>,
    delays: Delays,
    producers: Arc<dyn AskProducer>,
    decisions: Mutex<Decisions>,
    op_queue: OpQueue,
    metrics: TransactionMetrics,
    /// Progress that is noted once the log is on disk up to a position.
    progress: Mutex<Option<Progress>>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    half_offset: i64,
    op_offset: i64,
    log_end: i64,
}

impl TransactionService {
    /// Finds out what is undecided.
    pub(crate) fn load(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        tables: &Tables,
        delays: Delays,
        producers: Arc<dyn AskProducer>,
        store_host: SocketAddr,
    ) -> Self {
        let metrics = TransactionMetrics::load(Path::new(&store.config().store_path_root_dir));
        let op_queue = OpQueue::new(Arc::clone(&config), Arc::clone(&store), store_host);
        let service = Self {
            config,
            store,
            topics: Arc::clone(&tables.topics),
            offsets: Arc::clone(&tables.offsets),
            delays,
            producers,
            decisions: Mutex::default(),
            op_queue,
            metrics,
            progress: Mutex::default(),
        };
        service.recover();
        service
    }

    /// Turns a message into a half message: its properties get a note of where it belongs, and the
    /// topic and queue to store it under are returned.
    pub(crate) fn divert(topic: &str, queue_id: i32, text: &mut Vec<u8>) -> (&'static str, i32) {
        if let Some(key) = properties::property(text, properties::UNIQ_KEY).map(<[u8]>::to_vec) {
            properties::set(text, properties::TRANSACTION_ID, &key);
        }
        Home { topic, queue_id }.note(text);
        (TRANS_HALF_TOPIC, 0)
    }

    /// The system flag of a half message: it has a place in its queue like any other.
    pub(crate) const fn half_sys_flag(flag: i32) -> i32 {
        sys_flag::with_transaction_type(flag, 0)
    }

    /// Notes that a half message for `topic` was stored.
    pub(crate) fn stored_half(&self, topic: &str) {
        self.metrics.add(topic, 1);
    }

    /// Counts for tools.
    pub(crate) fn metrics(&self) -> &TransactionMetrics {
        &self.metrics
    }

    /// Asks about undecided messages regularly, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let interval = self.config.transaction_check_interval.max(1);
            let period = Duration::from_millis(interval.unsigned_abs());
            tokio::time::sleep(period).await;
            let service = Arc::clone(&self);
            let round = tokio::task::spawn_blocking(move || {
                service.check(crate::clock::now_ms());
            });
            if let Err(panic) = round.await {
                tracing::error!(%panic, "check of transactions failed");
            }
        }
    }

    /// Does what is due between the rounds.
    pub(crate) fn tick(&self) {
        self.op_queue.tick(Instant::now());
        self.note_progress();
    }

    /// Saves the counts.
    pub(crate) fn save_metrics(&self) {
        self.metrics.save();
    }

    /// Writes what is not written yet.
    pub(crate) fn close(&self) {
        self.op_queue.flush();
        self.leave_to_any();
        self.metrics.save();
    }

    /// Leaves the decisions behind the first message without one as any broker can read them that may come next: one
    /// from before 5.0 would ask about those in batches, and deliver them again.
    fn leave_to_any(&self) {
        let (low, over): (i64, Vec<i64>) = {
            let mut decisions = lock(&self.decisions);
            decisions.skip_over();
            (decisions.low(), decisions.over_from_low().collect())
        };
        let all_stored = over.into_iter().all(|offset| self.op_queue.write_single(offset));
        if !all_stored {
            tracing::warn!(
                "decisions on half messages are left in batches, as the store takes nothing"
            );
        }
        self.pass(low);
    }

    /// Commits how far everything is over, whatever the log says: it has been closed.
    pub(crate) fn commit_last(&self) {
        if let Some(progress) = lock(&self.progress).take() {
            self.commit(progress);
        }
    }

    /// Commits how far everything is over: not before the log that says so is on disk.
    fn note_progress(&self) {
        let mut waiting = lock(&self.progress);
        let Some(progress) = *waiting else { return };
        if self.store.flushed_phy_offset() < progress.log_end {
            return;
        }
        self.commit(progress);
        *waiting = None;
    }

    fn commit(&self, progress: Progress) {
        self.offsets.commit(GROUP, TRANS_HALF_TOPIC, 0, progress.half_offset);
        self.offsets.commit(GROUP, TRANS_OP_HALF_TOPIC, 0, progress.op_offset);
    }

    fn half_queue(&self) -> Aside<'_> {
        Aside { store: &self.store, topic: TRANS_HALF_TOPIC, queue_id: 0 }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
