//! Work on a broker that may be gone at any moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oxmq_compat_tests::ServerUnderTest;
use oxmq_compat_tests::ops::response;
use oxmq_compat_tests::wire::{Command, Conn};

use crate::random::Random;

/// Between two requests of one worker until the round is at full load.
const PACE: Duration = Duration::from_millis(5);

/// One kind of work, with a note of everything that was acknowledged.
pub(crate) trait Work: Sync {
    /// Works until the load ends or the broker is gone.
    fn run(&self, load: &Load, random: Random);

    /// Checks on the broker that came back that all is there.
    fn check(&self, server: &ServerUnderTest, conn: &mut Conn, round: &Round);
}

/// One round of load, kill, restart and check.
pub(crate) struct Round {
    pub(crate) number: usize,
    pub(crate) is_last: bool,
    pub(crate) seed: u64,
    /// The committed offsets on disk when the broker was dead.
    pub(crate) persisted: BTreeMap<i32, i64>,
}

/// The load of one round.
pub(crate) struct Load {
    pub(crate) broker: String,
    pub(crate) round: usize,
    /// What was acknowledged in this round.
    pub(crate) count: AtomicUsize,
    pub(crate) full: AtomicBool,
    stop: AtomicBool,
    seed: u64,
}

impl Load {
    pub(crate) fn new(broker: String, round: usize, seed: u64) -> Self {
        let (full, stop) = (false.into(), false.into());
        Self { broker, round, count: AtomicUsize::new(0), full, stop, seed }
    }

    /// The random numbers of one worker.
    pub(crate) fn random(&self, worker: usize) -> Random {
        Random::new(self.seed.wrapping_add(worker as u64))
    }

    /// Whether to go on; slowly, unless the load is full.
    pub(crate) fn goes_on(&self) -> bool {
        if !self.full.load(Ordering::SeqCst) {
            std::thread::sleep(PACE);
        }
        !self.stop.load(Ordering::SeqCst)
    }

    /// The answer to a request, unless the broker is gone. A busy one is asked again.
    ///
    /// # Panics
    /// When the request is refused.
    pub(crate) fn acked(&self, conn: &mut Conn, request: &Command) -> Option<Command> {
        loop {
            let answer = conn.try_call(request.clone()).ok()?;
            match answer.code {
                response::SUCCESS => {
                    self.count.fetch_add(1, Ordering::SeqCst);
                    return Some(answer);
                }
                response::SYSTEM_BUSY if self.goes_on() => {}
                response::SYSTEM_BUSY => return None,
                _ => panic!("{answer:?} to {} {:?}", request.code, request.ext),
            }
        }
    }
}

/// Ends the load when an assertion fails, else the scope would wait for it for ever.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}
