//! Threads of the store, each with an owner that stops and joins it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::sync::lock;

/// How a worker is told what to do: go on, or end.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    woken: bool,
    stopped: bool,
}

impl Signal {
    /// Ends the current wait of the worker, or its next one.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_all();
    }

    /// Tells the worker to end.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether the worker has been told to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits for a wake-up or for `timeout`. Returns false when the worker is to end.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        if !state.woken && !state.stopped {
            state = self
                .changed
                .wait_timeout_while(state, timeout, |state| !state.woken && !state.stopped)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.woken = false;
        !state.stopped
    }

    /// Sleeps for `timeout`, whoever wakes. Returns false as soon as the worker is to end.
    pub(crate) fn pause(&self, timeout: Duration) -> bool {
        let state = self.lock();
        let state = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.stopped)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        !state.stopped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A running thread. Dropping it stops and joins the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread called `name`; `signal` tells it to go on or to end.
    pub(crate) fn spawn(
        name: &str,
        signal: Arc<Signal>,
        run: impl FnOnce(&Signal) + Send + 'static,
    ) -> io::Result<Self> {
        let theirs = Arc::clone(&signal);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&theirs))?;
        Ok(Self { signal, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.signal.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the worker was reported when it happened.
            drop(thread.join());
        }
    }
}
