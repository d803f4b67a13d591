//! The threads that serve connections.
//!
//! A connection stays on one thread, whose runtime has events and tasks of its own: nothing is stolen,
//! and no thread is woken but the one that has something to do. The threads are the process's, however
//! many servers it has.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle};
use tracing::error;

use crate::spin;

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
        (0..count).filter_map(start).collect()
    })
}

fn start(number: usize) -> Option<Handle> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{number}"));
    let started = thread.spawn(move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
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
