//! Giving out again what nobody has acknowledged.
//!
//! Each queue of the revive topic is read to its end. A check point is ripe once everything has come in
//! that may acknowledge its messages: the timer has delivered all that was put before, and due by, some
//! time after they were due. What is not acknowledged then is stored under the group's retry topic.
//!
//! Progress is committed when what was stored again is on disk, up to before the first check point
//! that is not worked off.
//!
//! Reference: `PopReviveService` (broker), 5.5.0.

mod give;
mod lane;

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tracing::error;

use self::lane::Lane;
pub(super) use self::lane::first_left;
#[cfg(test)]
pub(super) use self::lane::testing;
use super::PopService;
use crate::clock::now_ms;
use crate::sync::{lock, try_lock};
use crate::timer::{TIMER_TOPIC, TimerService};

/// A moment whose notes are waited for.
#[derive(Clone, Copy, Debug)]
struct Moment {
    time_ms: i64,
    /// End of the timer's queue then.
    timer_offset: i64,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    awaited: Option<Moment>,
    /// A moment whose notes have all been delivered, and the end of the log when they were.
    delivered: Option<(Moment, i64)>,
    /// All notes that were put before this time and due by then have come in, ms since 1970.
    horizon_ms: i64,
}

/// Gives out again what nobody has acknowledged.
#[derive(Debug)]
pub(crate) struct Revive {
    pop: Arc<PopService>,
    timers: Arc<TimerService>,
    /// A round is due.
    due: Notify,
    state: Mutex<State>,
}

impl Revive {
    pub(crate) fn new(pop: Arc<PopService>, timers: Arc<TimerService>) -> Self {
        let lanes = (0..pop.revive_queues()).map(|queue_id| Lane::new(&pop, queue_id)).collect();
        let state = State { lanes, awaited: None, delivered: None, horizon_ms: 0 };
        Self { pop, timers, due: Notify::new(), state: Mutex::new(state) }
    }

    /// Has a round begin if there is something to do. Asks no disk.
    pub(crate) fn tick(&self) {
        // A round that goes on looks at everything anyway.
        let Some(state) = try_lock(&self.state) else { return };
        if !state.lanes.iter().all(|lane| lane.is_worked_off(&self.pop)) {
            self.due.notify_one();
        }
    }

    /// Goes round for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.due.notified().await;
            let this = Arc::clone(&self);
            let round = tokio::task::spawn_blocking(move || this.round(now_ms()));
            if let Err(panic) = round.await {
                error!(%panic, "giving out unacknowledged messages again failed");
            }
        }
    }

    /// Commits what has been worked off: nothing more will be, and the log is being closed.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        for lane in &mut state.lanes {
            let worked_off = lane.worked_off();
            lane.commit(&self.pop, worked_off);
        }
    }

    fn round(&self, now_ms: i64) {
        let mut state = lock(&self.state);
        let awaited = *state.awaited.get_or_insert_with(|| Moment {
            time_ms: now_ms,
            timer_offset: self.pop.store.max_offset(TIMER_TOPIC, 0),
        });
        if self.timers.has_delivered(awaited.time_ms, awaited.timer_offset) {
            state.awaited = None;
            // Those before are waited for first.
            state.delivered.get_or_insert((awaited, self.pop.store.max_phy_offset()));
        }
        if let Some((moment, log_end)) = state.delivered
            && self.pop.can_read_to(log_end)
        {
            state.horizon_ms = moment.time_ms;
            state.delivered = None;
        }
        let horizon_ms = state.horizon_ms;
        for lane in &mut state.lanes {
            lane.round(&self.pop, horizon_ms);
        }
    }
}
