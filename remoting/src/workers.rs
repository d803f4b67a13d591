//! The threads that serve connections.
//!
//! A connection stays on one thread, whose runtime has events and tasks of its own: nothing is stolen,
//! and no thread is woken but the one that has something to do. The threads are the process's, however
//! many servers it has.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use tokio::runtime::{Builder, Handle, Runtime};
use tracing::error;

use crate::limits::{LONGEST_ROUND, LOOK_AFTER_TASKS};
use crate::spin;

thread_local! {
    static CURRENT: Cell<Option<WorkerId>> = const { Cell::new(None) };
    /// What is to be done when this thread has nothing to read for the moment.
    static AFTER_ROUND: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    /// When the first of it came.
    static ROUND_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// One of the threads that serve connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

impl WorkerId {
    /// The thread that runs this, if it is one of them.
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// How many there are.
    pub fn count() -> usize {
        workers().len()
    }

    /// Its number, from zero on.
    pub fn number(self) -> usize {
        self.0
    }

    /// Has the thread do `job` as soon as it can. Whoever asks does not wait.
    pub fn run(self, job: impl FnOnce() + Send + 'static) {
        let job = async move {
            job();
            // What was answered is followed by a request, most likely.
            spin::note_turn();
        };
        match workers().get(self.0) {
            Some(worker) => drop(worker.spawn(job)),
            None => error!(worker = self.0, "no such worker"),
        }
    }
}

/// Has this thread do `job` when no connection has something to read for the moment, or after a while; at
/// once on a thread that serves none.
pub fn after_round(job: impl FnOnce() + 'static) {
    if CURRENT.get().is_none() {
        return job();
    }
    if ROUND_BEGAN.get().is_none() {
        ROUND_BEGAN.set(Some(Instant::now()));
    }
    AFTER_ROUND.with_borrow_mut(|jobs| jobs.push(Box::new(job)));
}

/// No connection has something to read for the moment.
pub(crate) fn end_round() {
    if ROUND_BEGAN.take().is_some() {
        for job in AFTER_ROUND.take() {
            job();
        }
    }
}

/// There is more to read. What waits for the end of the round does not wait for long.
pub(crate) fn end_long_round() {
    if ROUND_BEGAN.get().is_some_and(|began| began.elapsed() > LONGEST_ROUND) {
        end_round();
    }
}

/// Runs `future` on the next thread in turn.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let workers = workers();
    match workers.get(NEXT.fetch_add(1, Ordering::Relaxed) % workers.len().max(1)) {
        Some(worker) => drop(worker.spawn(future)),
        // The system gave no thread: the caller's runtime has to do.
        None => drop(tokio::spawn(future)),
    }
}

fn workers() -> &'static [Handle] {
    static WORKERS: OnceLock<Vec<Handle>> = OnceLock::new();
    WORKERS.get_or_init(|| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).map_while(start).collect()
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().event_interval(LOOK_AFTER_TASKS).build()
}

fn start(number: usize) -> Option<Handle> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{number}"));
    let started = thread.spawn(move || match runtime() {
        Ok(runtime) => {
            CURRENT.set(Some(WorkerId(number)));
            let _ = sender.send(runtime.handle().clone());
            runtime.block_on(spin::stay_awake());
        }
        Err(error) => error!(%error, "no runtime for a worker"),
    });
    if let Err(error) = started {
        error!(%error, "no thread for a worker");
        return None;
    }
    receiver.recv().ok()
}
