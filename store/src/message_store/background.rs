//! The threads of a store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oxmq_protocol::live::Live;
use tracing::warn;

use super::{MessageStore, hides_unflushed};
use crate::checkpoint::Checkpoint;
use crate::commit_log::CommitLog;
use crate::compaction::Compaction;
use crate::config::StoreConfig;
use crate::consume_queue::{QueueWriter, Sweep};
use crate::error::{IoContext, StoreError};
use crate::sync::lock;
use crate::worker::{Signal, Worker};

/// How often the disk is looked at while messages are refused because of it.
const REFUSED_INTERVAL: Duration = Duration::from_secs(2);

/// How often the queue files are made durable, so that recovery does not go back far.
const SYNC_INTERVAL: Duration = Duration::from_secs(10);

impl MessageStore {
    pub(super) fn start_workers(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut workers = Vec::new();
        let mut spawn = |name: &str, signal: &Arc<Signal>, run: Box<dyn FnOnce(&Signal) + Send>| {
            Worker::spawn(name, Arc::clone(signal), run)
                .map(|worker| workers.push(worker))
                .doing("start the threads of", &self.config.root_dir())
        };

        let log = Arc::clone(&self.log);
        let signal = Arc::clone(log.ahead_signal());
        spawn("log-ahead", &signal, Box::new(move |signal| log.run_ahead(signal)))?;

        let log = Arc::clone(&self.log);
        let signal = Arc::clone(log.next_signal());
        spawn("log-next", &signal, Box::new(move |signal| log.run_next(signal)))?;

        if self.flush_policy.sync {
            let (announcer, config) = (Arc::clone(&self.announcer), Arc::clone(&self.config));
            self.log.after_flush(Box::new(move |log| {
                announcer.flushed(log, hides_unflushed(&config));
            }));
        }
        let (log, config) = (Arc::clone(&self.log), Arc::clone(&self.config));
        let sync = self.flush_policy.sync;
        let signal = Arc::clone(log.flush_signal());
        spawn("log-flush", &signal, Box::new(move |signal| log.run_flush(signal, &config, sync)))?;

        let keeper = QueueKeeper {
            log: Arc::clone(&self.log),
            writer: Arc::clone(&self.queue_writer),
            compaction: Arc::clone(&self.compaction),
            checkpoint: Arc::clone(&self.checkpoint),
            only_flushed: self.flush_policy.sync,
            config: Arc::clone(&self.config),
        };
        let signal = Arc::clone(self.queue_writer.signal());
        spawn("queue-write", &signal, Box::new(move |signal| keeper.run(signal)))?;

        if let Some(index) = &self.index {
            let (index, log) = (Arc::clone(index), Arc::clone(&self.log));
            let only_flushed = self.hides_unflushed();
            let signal = Arc::clone(index.signal());
            let run = move |signal: &Signal| {
                let end = || if only_flushed { log.flushed() } else { log.written() };
                index.run(signal, &log, end);
            };
            spawn("index", &signal, Box::new(run))?;
        }
        let cleaner = Arc::clone(&self.cleaner);
        let config = Arc::clone(&self.config);
        let run = move |signal: &Signal| {
            let pause = || {
                let usual = Duration::from_millis(config.clean_resource_interval.max(1));
                // Who waits for room need not wait for the next round as well.
                if cleaner.refused_at_percent().is_some() {
                    usual.min(REFUSED_INTERVAL)
                } else {
                    usual
                }
            };
            // Nothing is deleted right away, but a disk that is full already is to take nothing.
            cleaner.look();
            while signal.wait(pause()) {
                if let Err(error) = cleaner.round() {
                    warn!(%error, "old files not deleted");
                }
            }
        };
        spawn("clean", &Arc::default(), Box::new(run))?;

        lock(&self.workers).extend(workers);
        Ok(())
    }
}

/// Moves units into their files, and the checkpoint forward behind them.
struct QueueKeeper {
    log: Arc<CommitLog>,
    writer: Arc<QueueWriter>,
    compaction: Arc<Compaction>,
    checkpoint: Arc<Checkpoint>,
    /// Whether units wait in memory until their records are flushed.
    only_flushed: bool,
    config: Arc<Live<StoreConfig>>,
}

/// A sweep over the queues that is under way.
struct Progress {
    sweep: Sweep,
    /// Store time of the newest record when it began: all units up to there are in the files when it ends.
    timestamp_ms: i64,
}

impl QueueKeeper {
    fn run(&self, signal: &Signal) {
        let mut last_sync = Instant::now();
        let mut under_way = None;
        let mut told = None;
        while signal.wait(self.interval()) {
            let failure = self.round(&mut under_way, &mut last_sync).err();
            if let Some(error) = news(&mut told, failure) {
                warn!(error, "consume queues or checkpoint not written");
            }
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.config.flush_interval_consume_queue.max(1))
    }

    fn sync_interval(&self) -> Duration {
        SYNC_INTERVAL.min(Duration::from_millis(self.config.flush_consume_queue_thorough_interval))
    }

    fn round(
        &self,
        under_way: &mut Option<Progress>,
        last_sync: &mut Instant,
    ) -> Result<(), StoreError> {
        let (end, timestamp_ms) = if self.only_flushed {
            let timestamp_ms = self.log.flushed_timestamp_ms();
            (self.log.flushed(), timestamp_ms)
        } else {
            self.log.end_and_timestamp()
        };
        let begin = || Progress { sweep: self.writer.begin_sweep(), timestamp_ms };
        let mut progress = under_way.take().unwrap_or_else(begin);
        let is_done = self.writer.go_on(&mut progress.sweep, end)?;
        // The checkpoint must not be ahead of what the reference would not copy any more.
        self.compaction.feed(end)?;
        let flushed_ms = self.log.flushed_timestamp_ms();
        self.checkpoint.update(|values| values.physic_msg_timestamp = flushed_ms);
        if !is_done {
            *under_way = Some(progress);
        } else if last_sync.elapsed() >= self.sync_interval() {
            self.writer.files().sync()?;
            let swept_ms = progress.timestamp_ms;
            self.checkpoint.update(|values| values.logics_msg_timestamp = swept_ms);
            *last_sync = Instant::now();
        }
        self.checkpoint.save()
    }
}

/// What is to be told of a failure, if it is another one than `last`: one of a flush, which comes again each time
/// until the next start, is told once.
fn news(last: &mut Option<String>, failure: Option<StoreError>) -> Option<&str> {
    let failure = failure.map(|error| error.to_string());
    let is_news = failure != *last;
    *last = failure;
    last.as_deref().filter(|_| is_news)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_told_once_until_there_is_another_or_none() {
        let mut last = None;
        let mut tell = |what: &str| {
            let failure = (!what.is_empty()).then(|| StoreError::BadConfig(what.to_owned()));
            news(&mut last, failure).is_some()
        };
        let told = ["", "a", "a", "b", "b", "", "b"].map(&mut tell);
        assert_eq!(told, [false, true, false, true, false, false, true]);
    }
}
