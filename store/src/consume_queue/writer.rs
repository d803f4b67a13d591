//! Moves the tails of queues into their files.
//!
//! Few queues are written in each round. Many are swept over in several: opening a file costs far more than
//! writing a unit, and the longer a queue waits, the more units share one opening. What is not in the
//! files is made again from the log after a crash.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::warn;

use super::extended::Extender;
use super::files::QueueFiles;
use super::queue::ConsumeQueue;
use super::tail::PushOutcome;
use crate::error::StoreError;
use crate::limits::{QUEUES_WRITTEN_AT_ONCE, SWEEP_ROUNDS};
use crate::sync::lock;
use crate::worker::Signal;

/// Reference: `ConsumeQueue.putMessagePositionInfoWrapper` (store), 5.5.0, gives up after as many tries.
const STUCK_AFTER_ROUNDS: u32 = 30;

/// Queues with unwritten units, and the thread that writes them.
#[derive(Debug)]
pub(crate) struct QueueWriter {
    files: Arc<QueueFiles>,
    /// Nothing in stores without extended units.
    extender: Option<Extender>,
    dirty: Mutex<Dirty>,
    /// Held by whoever writes: what one has taken from the dirty queues, another must not miss.
    writing: Mutex<()>,
    signal: Arc<Signal>,
    /// Rounds in which a queue could not be written, since the last sweep in which all could.
    failed_rounds: AtomicU32,
}

#[derive(Debug, Default)]
struct Dirty {
    /// Those that were written last are the last ones.
    waiting: VecDeque<Arc<ConsumeQueue>>,
    /// Those of them that have too much to wait for their turn.
    full: Vec<Arc<ConsumeQueue>>,
}

/// One way through the queues that had unwritten units when it began, in one round or in several.
#[derive(Debug)]
pub(crate) struct Sweep {
    left: usize,
    each_round: usize,
}

impl QueueWriter {
    pub(crate) fn new(files: Arc<QueueFiles>, extender: Option<Extender>) -> Self {
        Self {
            files,
            extender,
            dirty: Mutex::default(),
            writing: Mutex::default(),
            signal: Arc::default(),
            failed_rounds: AtomicU32::new(0),
        }
    }

    /// Who gives units extended ones, in stores that have them.
    pub(crate) fn extender(&self) -> Option<&Extender> {
        self.extender.as_ref()
    }

    pub(crate) fn files(&self) -> &Arc<QueueFiles> {
        &self.files
    }

    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Does what a push into `queue` asked for.
    pub(crate) fn after_push(&self, queue: &Arc<ConsumeQueue>, outcome: PushOutcome) {
        match outcome {
            PushOutcome::Done => {}
            PushOutcome::Enqueue => self.lock().waiting.push_back(Arc::clone(queue)),
            PushOutcome::Wake => {
                self.lock().full.push(Arc::clone(queue));
                self.signal.wake();
            }
        }
    }

    /// Writes every unit whose record ends at or before `log_end`, which is how far the log is
    /// known to be sound.
    ///
    /// # Errors
    ///
    /// As [`Self::go_on`].
    pub(crate) fn write_all(&self, log_end: i64) -> Result<(), StoreError> {
        let left = self.lock().waiting.len();
        self.go_on(&mut Sweep { left, each_round: left }, log_end).map(drop)
    }

    /// [`Self::write_all`] for `queues`, of some of which nobody may have been told yet. For a store that takes
    /// nothing any more.
    ///
    /// # Errors
    ///
    /// The first one.
    pub(crate) fn write_each(
        &self,
        queues: &[Arc<ConsumeQueue>],
        log_end: i64,
    ) -> Result<(), StoreError> {
        let _writing = lock(&self.writing);
        let mut scratch = Vec::new();
        queues.iter().try_for_each(|queue| {
            queue.write_out(&self.files, self.extender.as_ref(), log_end, &mut scratch).map(drop)
        })
    }

    /// Begins to write all units that there are now.
    pub(crate) fn begin_sweep(&self) -> Sweep {
        let left = self.lock().waiting.len();
        Sweep { left, each_round: QUEUES_WRITTEN_AT_ONCE.max(left.div_ceil(SWEEP_ROUNDS)) }
    }

    /// Writes those units of the next queues of `sweep` whose records end at or before `log_end`, and
    /// those of full queues. Returns whether it was the sweep's last round.
    ///
    /// # Errors
    ///
    /// The first one. A queue that cannot be written stays dirty: a later sweep tries it again.
    pub(crate) fn go_on(&self, sweep: &mut Sweep, log_end: i64) -> Result<bool, StoreError> {
        let _writing = lock(&self.writing);
        let (full, next) = {
            let mut dirty = self.lock();
            // Others may have written, and taken away, some of the sweep's.
            let count = sweep.left.min(sweep.each_round).min(dirty.waiting.len());
            sweep.left -= sweep.left.min(sweep.each_round);
            let next: Vec<_> = dirty.waiting.drain(..count).collect();
            (std::mem::take(&mut dirty.full), next)
        };
        let mut scratch = Vec::new();
        let mut outcome = Ok(());
        let mut write = |queue: &Arc<ConsumeQueue>| {
            let done = queue.write_out(&self.files, self.extender.as_ref(), log_end, &mut scratch);
            done.unwrap_or_else(|error| {
                let (topic, queue_id) = (queue.topic(), queue.queue_id());
                warn!(%topic, queue_id, %error, "consume queue not written");
                if outcome.is_ok() {
                    outcome = Err(error);
                }
                false
            })
        };
        for queue in &full {
            write(queue);
        }
        let left: Vec<_> = next.into_iter().filter(|queue| !write(queue)).collect();
        self.lock().waiting.extend(left);
        match &outcome {
            Ok(()) if sweep.left == 0 => self.failed_rounds.store(0, Ordering::Relaxed),
            Ok(()) => {}
            Err(_) => drop(self.failed_rounds.fetch_add(1, Ordering::Relaxed)),
        }
        outcome.map(|()| sweep.left == 0)
    }

    /// Whether queues cannot be written, so that more messages would only fill the memory.
    pub(crate) fn is_stuck(&self) -> bool {
        self.failed_rounds.load(Ordering::Relaxed) >= STUCK_AFTER_ROUNDS
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        lock(&self.dirty)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::super::{QueueTable, Unit};
    use super::*;
    use crate::config::StoreConfig;
    use crate::consume_queue::QueueKind;
    use crate::fs::{Fs, FsOp};
    use crate::limits::WAKE_WRITER_AT_UNITS;

    struct Fixture {
        root: tempfile::TempDir,
        table: QueueTable,
        writer: QueueWriter,
    }

    impl Fixture {
        fn new() -> Self {
            Self::with_fs(Fs::default())
        }

        fn with_fs(fs: Fs) -> Self {
            let root = tempfile::tempdir().unwrap();
            let config = StoreConfig {
                store_path_root_dir: root.path().to_str().unwrap().to_owned(),
                ..StoreConfig::default()
            };
            let files = Arc::new(QueueFiles::new(fs, &config));
            Self { root, table: QueueTable::default(), writer: QueueWriter::new(files, None) }
        }

        fn push(&self, queue_id: i32, count: usize) {
            let queue = self.table.get_or_create("topic", queue_id, QueueKind::Simple);
            for _ in 0..count {
                let unit = Unit { phy_offset: 0, size: 100, tags_code: 0 };
                let outcome = queue.lock().push(&unit);
                self.writer.after_push(&queue, outcome);
            }
        }

        fn is_in_file(&self, queue_id: i32) -> bool {
            let queue = self.table.get_or_create("topic", queue_id, QueueKind::Simple);
            queue.written_unit(self.writer.files(), 0).unwrap().is_some()
        }

        fn count_in_files(&self, queues: usize) -> usize {
            (0..queues).filter(|queue| self.is_in_file(*queue as i32)).count()
        }
    }

    #[test]
    fn few_queues_are_written_in_one_round() {
        let store = Fixture::new();
        store.push(0, 1);
        store.push(1, 2);
        assert!(store.writer.go_on(&mut store.writer.begin_sweep(), i64::MAX).unwrap());
        assert_eq!(store.count_in_files(2), 2);
        assert!(store.writer.go_on(&mut store.writer.begin_sweep(), i64::MAX).unwrap());
    }

    #[test]
    fn many_queues_take_several_rounds_but_full_ones_do_not_wait() {
        const MANY: usize = QUEUES_WRITTEN_AT_ONCE + 100;
        let store = Fixture::new();
        (0..MANY).for_each(|queue_id| store.push(queue_id as i32, 1));
        let mut sweep = store.writer.begin_sweep();
        let late = MANY as i32;
        store.push(late, 1);
        store.push(MANY as i32 - 1, WAKE_WRITER_AT_UNITS);
        assert!(!store.writer.go_on(&mut sweep, i64::MAX).unwrap());
        assert_eq!(store.count_in_files(MANY), QUEUES_WRITTEN_AT_ONCE + 1);
        assert!(store.is_in_file(MANY as i32 - 1));
        assert!(store.writer.go_on(&mut sweep, i64::MAX).unwrap());
        assert_eq!(store.count_in_files(MANY), MANY);
        assert!(!store.is_in_file(late), "it came after the sweep had begun");
        store.writer.write_all(i64::MAX).unwrap();
        assert!(store.is_in_file(late));
    }

    #[test]
    fn a_sweep_goes_on_where_somebody_else_has_written_everything() {
        const MANY: usize = QUEUES_WRITTEN_AT_ONCE + 1;
        let store = Fixture::new();
        (0..MANY).for_each(|queue_id| store.push(queue_id as i32, 1));
        let mut sweep = store.writer.begin_sweep();
        // Once to write them, once to find them idle.
        store.writer.write_all(i64::MAX).unwrap();
        store.writer.write_all(i64::MAX).unwrap();
        store.push(0, 1);
        assert!(!store.writer.go_on(&mut sweep, i64::MAX).unwrap());
        assert!(store.writer.go_on(&mut sweep, i64::MAX).unwrap());
        assert_eq!(store.count_in_files(MANY), MANY);
    }

    #[test]
    fn a_queue_that_cannot_be_written_is_told_and_tried_again() {
        let store = Fixture::new();
        let in_the_way = store.root.path().join("consumequeue");
        std::fs::write(&in_the_way, b"").unwrap();
        store.push(0, 1);
        for _ in 0..STUCK_AFTER_ROUNDS {
            assert!(!store.writer.is_stuck());
            assert!(store.writer.go_on(&mut store.writer.begin_sweep(), i64::MAX).is_err());
        }
        assert!(store.writer.is_stuck());
        std::fs::remove_file(&in_the_way).unwrap();
        assert!(store.writer.go_on(&mut store.writer.begin_sweep(), i64::MAX).unwrap());
        assert!(store.is_in_file(0) && !store.writer.is_stuck());
    }

    #[test]
    fn units_are_not_written_into_a_file_that_is_being_cut() {
        let write = Arc::new(OnceLock::<Box<dyn Fn() + Send + Sync>>::new());
        let while_cut = Arc::clone(&write);
        let store = Arc::new(Fixture::with_fs(Fs::with_fault(move |op, _| {
            if let Some(write) = while_cut.get().filter(|_| op == FsOp::Remove) {
                write();
            }
            Ok(())
        })));
        store.push(0, 3);
        store.writer.write_all(i64::MAX).unwrap();
        store.push(0, 2);
        let (sender, writers) = channel();
        let weak = Arc::downgrade(&store);
        let in_a_thread = move || {
            let (store, (done, is_done)) = (weak.upgrade().unwrap(), channel::<()>());
            let writer = thread::spawn(move || {
                store.writer.write_all(i64::MAX).unwrap();
                drop(done);
            });
            sender.send(writer).unwrap();
            // Until it is done, if it does not wait for the cut. It sends nothing.
            is_done.recv_timeout(Duration::from_millis(200)).unwrap_err();
        };
        assert!(write.set(Box::new(in_a_thread)).is_ok());
        let queue = store.table.get_or_create("topic", 0, QueueKind::Simple);
        queue.cut_at(store.writer.files(), 0).unwrap();
        writers.recv().unwrap().join().unwrap();
        assert_eq!(queue.bounds(), (0, 0));
        store.push(0, 1);
        store.writer.write_all(i64::MAX).unwrap();
        let path = store.root.path().join("consumequeue/topic/0/00000000000000000000");
        let units: Vec<_> =
            Unit::decode_all(&std::fs::read(path).unwrap()).map(|unit| unit.is_valid()).collect();
        assert_eq!(units[..3], [true, false, false]);
    }

    #[test]
    fn files_of_which_some_were_not_synced_never_count_as_durable() {
        let failures = Arc::new(AtomicU32::new(0));
        let left = Arc::clone(&failures);
        let store = Fixture::with_fs(Fs::with_fault(move |op, _| {
            let take = |left: u32| left.checked_sub(1).filter(|_| op == FsOp::Flush);
            match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                Ok(_) => Err(std::io::Error::other("injected")),
                Err(_) => Ok(()),
            }
        }));
        let files = store.writer.files();
        store.push(0, 1);
        store.push(1, 1);
        store.writer.write_all(i64::MAX).unwrap();
        files.sync().unwrap();
        store.push(0, 1);
        store.push(1, 1);
        store.writer.write_all(i64::MAX).unwrap();
        failures.store(1, Ordering::Relaxed);
        assert!(files.sync().is_err());
        // The system tells of an error once, and what was to be written then may be gone.
        assert!(files.sync().is_err());
        store.push(0, 1);
        store.writer.write_all(i64::MAX).unwrap();
        assert!(files.sync().is_err());
    }
}
