//! Moves the tails of queues into their files.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::files::QueueFiles;
use super::queue::{ConsumeQueue, PushOutcome};
use crate::error::StoreError;
use crate::worker::Signal;

/// Queues with unwritten units, and the thread that writes them.
#[derive(Debug)]
pub(crate) struct QueueWriter {
    files: Arc<QueueFiles>,
    dirty: Mutex<Vec<Arc<ConsumeQueue>>>,
    signal: Arc<Signal>,
}

impl QueueWriter {
    pub(crate) fn new(files: Arc<QueueFiles>) -> Self {
        Self { files, dirty: Mutex::default(), signal: Arc::default() }
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
            match queue.write_out(&self.files, log_end, &mut scratch) {
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
        outcome
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ConsumeQueue>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
