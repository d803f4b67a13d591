//! Moves the tails of queues into their files.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::extended::Extender;
use super::files::QueueFiles;
use super::queue::{ConsumeQueue, PushOutcome};
use crate::error::StoreError;
use crate::worker::Signal;

/// Reference: `ConsumeQueue.putMessagePositionInfoWrapper` (store), 5.5.0, gives up after as many tries.
const STUCK_AFTER_ROUNDS: u32 = 30;

/// Queues with unwritten units, and the thread that writes them.
#[derive(Debug)]
pub(crate) struct QueueWriter {
    files: Arc<QueueFiles>,
    /// Nothing in stores without extended units.
    extender: Option<Extender>,
    dirty: Mutex<Vec<Arc<ConsumeQueue>>>,
    signal: Arc<Signal>,
    /// Rounds in a row in which a queue could not be written.
    failed_rounds: AtomicU32,
}

impl QueueWriter {
    pub(crate) fn new(files: Arc<QueueFiles>, extender: Option<Extender>) -> Self {
        let failed_rounds = AtomicU32::new(0);
        Self { files, extender, dirty: Mutex::default(), signal: Arc::default(), failed_rounds }
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
            PushOutcome::Enqueue => self.lock().push(Arc::clone(queue)),
            PushOutcome::Wake => self.signal.wake(),
        }
    }

    /// Writes every unit whose record ends at or before `log_end`, which is how far the log is
    /// known to be sound.
    ///
    /// A queue that cannot be written stays dirty and is tried again; the first error is returned.
    pub(crate) fn write_all(&self, log_end: i64) -> Result<(), StoreError> {
        let dirty = std::mem::take(&mut *self.lock());
        let mut scratch = Vec::new();
        let mut left = Vec::new();
        let mut outcome = Ok(());
        for queue in dirty {
            match queue.write_out(&self.files, self.extender.as_ref(), log_end, &mut scratch) {
                Ok(true) => {}
                Ok(false) => left.push(queue),
                Err(error) => {
                    let (topic, queue_id) = (queue.topic(), queue.queue_id());
                    warn!(%topic, queue_id, %error, "consume queue not written");
                    left.push(queue);
                    outcome = outcome.and(Err(error));
                }
            }
        }
        self.lock().extend(left);
        match &outcome {
            Ok(()) => self.failed_rounds.store(0, Ordering::Relaxed),
            Err(_) => drop(self.failed_rounds.fetch_add(1, Ordering::Relaxed)),
        }
        outcome
    }

    /// Whether queues cannot be written, so that more messages would only fill the memory.
    pub(crate) fn is_stuck(&self) -> bool {
        self.failed_rounds.load(Ordering::Relaxed) >= STUCK_AFTER_ROUNDS
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ConsumeQueue>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
