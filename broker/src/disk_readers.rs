//! The threads that read what is not in memory any more.
//!
//! They may wait for the disk, and a group that catches up keeps every core busy with them. So they give
//! way to the threads that serve: of a core that both want they get a tenth.

use std::sync::OnceLock;

use rustix::process::{getpid, getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::{error, warn};

use crate::error::RequestError;
use crate::limits::MAX_WAITING_DISK_READS;
use crate::waiting::{Place, Waiting};

/// How much nicer than the process they are, see nice(1).
const NICENESS: i32 = 10;
/// There is no more.
const MOST_NICENESS: i32 = 19;

/// Takes a place among those that wait for these threads.
///
/// # Errors
/// When too many do already.
pub(crate) fn enter() -> Result<Place, RequestError> {
    static WAITING: Waiting = Waiting::new(MAX_WAITING_DISK_READS, usize::MAX);
    WAITING.enter(0)
}

/// Runs `job`, which may wait for the disk, on one of these threads. `place` is its own.
pub(crate) fn spawn(place: Place, job: impl FnOnce() + Send + 'static) {
    static READERS: OnceLock<Option<Runtime>> = OnceLock::new();
    let caller = Handle::try_current();
    let job = move || {
        // Tasks that it spawns are the caller's.
        let _entered = caller.as_ref().map(Handle::enter);
        job();
        drop(place);
    };
    match READERS.get_or_init(start) {
        Some(readers) => drop(readers.spawn_blocking(job)),
        None => job(),
    }
}

/// A runtime for its threads only: it has no task.
fn start() -> Option<Runtime> {
    Builder::new_current_thread()
        .thread_name("disk-reader")
        .on_thread_start(give_way)
        .build()
        .inspect_err(
            |error| error!(%error, "no threads to read from disk: who serves has to wait for it"),
        )
        .ok()
}

fn give_way() {
    // That of the process is its first thread's; a process of no id is this thread.
    let own = getpriority_process(Some(getpid()));
    let set = |own| setpriority_process(None, MOST_NICENESS.min(own + NICENESS));
    if let Err(error) = own.and_then(set) {
        warn!(%error, "a thread that reads from disk does not give way");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_reader_gives_way_and_no_other_thread_does() {
        let (sender, receiver) = mpsc::channel();
        spawn(enter().unwrap(), move || sender.send(getpriority_process(None)).unwrap());
        let own = getpriority_process(None).unwrap();
        assert_eq!(receiver.recv().unwrap(), Ok((own + NICENESS).min(MOST_NICENESS)));
    }

    #[tokio::test]
    async fn a_task_of_a_job_runs_where_the_job_comes_from() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn(enter().unwrap(), move || drop(tokio::spawn(async move { sender.send(()) })));
        receiver.await.unwrap();
    }
}
