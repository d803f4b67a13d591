//! The threads that serve connections.
//!
//! A connection stays on one thread, whose runtime has events and tasks of its own: nothing is stolen,
//! and no thread is woken but the one that has something to do. The threads are the process's, however
//! many servers it has.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::runtime::{Builder, Handle, Runtime};
use tracing::error;

use crate::Connection;
use crate::limits::{BUSY_ROUNDS, LONGEST_ROUND, LOOK_AFTER_TASKS};
use crate::spin;

thread_local! {
    static CURRENT: Cell<Option<WorkerId>> = const { Cell::new(None) };
    /// What is to be done when this thread has nothing to read for the moment.
    static AFTER_ROUND: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    /// Whose answers leave then.
    static ANSWERED: RefCell<Vec<Arc<Connection>>> = const { RefCell::new(Vec::new()) };
    /// When the first of it came.
    static ROUND_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Turns of connections in this round.
    static TURNS: Cell<u32> = const { Cell::new(0) };
    /// Rounds for which this thread counts as busy from now on.
    static BUSY: Cell<u32> = const { Cell::new(0) };
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
    begin_round();
    AFTER_ROUND.with_borrow_mut(|jobs| jobs.push(Box::new(job)));
}

/// Has this thread do `job` when no connection has something to read for the moment, if several requests may
/// gain from that: at once where they come one by one.
pub fn after_busy_round(job: impl FnOnce() + 'static) {
    if is_busy() { after_round(job) } else { job() }
}

/// Whether answers had better leave at the end of the round, with those of other connections: the peer that is woken by
/// the first of them would take the processor from the rest.
pub(crate) fn keeps_answers() -> bool {
    CURRENT.get().is_some() && is_busy()
}

/// Has what `connection` keeps back leave then.
pub(crate) fn release_after_round(connection: &Arc<Connection>) {
    begin_round();
    ANSWERED.with_borrow_mut(|answered| answered.push(Arc::clone(connection)));
    end_long_round();
}

fn begin_round() {
    if ROUND_BEGAN.get().is_none() {
        ROUND_BEGAN.set(Some(Instant::now()));
    }
}

/// Whether several connections of this thread have asked at a time lately.
pub(crate) fn is_busy() -> bool {
    BUSY.get() > 0
}

/// A connection had a turn.
pub(crate) fn note_turn() {
    TURNS.set(TURNS.get().saturating_add(1));
    if TURNS.get() > 1 {
        BUSY.set(BUSY_ROUNDS);
    }
}

/// No connection has something to read for the moment.
pub(crate) fn end_round() {
    if TURNS.take() == 1 {
        BUSY.set(BUSY.get().saturating_sub(1));
    }
    if ROUND_BEGAN.take().is_some() {
        for job in AFTER_ROUND.take() {
            // What goes wrong with one must not end the thread.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                error!("what was left to do after a round panicked");
            }
        }
        ANSWERED.with_borrow_mut(|answered| {
            answered.drain(..).for_each(|connection| connection.release());
        });
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

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};
    use std::rc::Rc;

    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_job_waits_for_the_end_of_the_round_where_several_connections_ask_at_a_time() {
        CURRENT.set(Some(WorkerId(0)));
        let done = Rc::new(Cell::new(0));
        let round = |turns| {
            (0..turns).for_each(|_| note_turn());
            let (before, count) = (done.get(), Rc::clone(&done));
            after_busy_round(move || count.set(count.get() + 1));
            let at_once = done.get() > before;
            end_round();
            assert_eq!(done.get(), before + 1);
            at_once
        };
        assert!(round(1) && round(1));
        assert!(!round(2));
        let kept = (0..2 * BUSY_ROUNDS).take_while(|_| !round(1)).count();
        assert_eq!(kept, BUSY_ROUNDS as usize);
        assert!(round(1));
    }

    #[tokio::test]
    async fn answers_leave_at_the_end_of_a_round_of_several_connections() {
        CURRENT.set(Some(WorkerId(0)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        stream.writable().await.unwrap();
        let connection = Connection::new(stream, Arc::default()).unwrap();
        let mut answer = |turns| {
            (0..turns).for_each(|_| note_turn());
            assert!(connection.hold());
            connection.write(|out| out.push(7));
            peer.set_nonblocking(true).unwrap();
            let early = peer.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(early, Err(ErrorKind::WouldBlock));
            let waits = keeps_answers();
            if waits {
                release_after_round(&connection);
                let early = peer.read(&mut [0]).map_err(|error| error.kind());
                assert_eq!(early, Err(ErrorKind::WouldBlock));
                end_round();
            } else {
                connection.release();
            }
            peer.set_nonblocking(false).unwrap();
            peer.read_exact(&mut [0]).unwrap();
            waits
        };
        assert!(!answer(1));
        assert!(answer(2));
    }

    #[test]
    fn a_job_that_panics_costs_no_other() {
        CURRENT.set(Some(WorkerId(0)));
        let done = Rc::new(Cell::new(0));
        for n in 0..3 {
            let done = Rc::clone(&done);
            after_round(move || {
                assert_ne!(n, 1, "the job that panics");
                done.set(done.get() + 1);
            });
        }
        end_round();
        assert_eq!(done.get(), 2);
    }
}
