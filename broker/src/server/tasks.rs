//! What a running broker does again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tracing::error;

use super::BrokerHandle;
use crate::chores::Chores;
use crate::schedule::ScheduleMessageService;

/// How often it is looked for what is up to the moment: held requests whose time is up, decisions on
/// transactions that wait to be written, and pops that nobody acknowledged. In one task, as each task
/// wakes a thread of a process that may be idle.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// How often pulls that wait are told of messages that their filters leave out, as in the reference.
const PASS_OVER_LEFT_OUT_EVERY: Duration = Duration::from_secs(5);
/// How often pops are looked at for what is not needed any more.
const CLEAN_POPS_EVERY: Duration = Duration::from_secs(60);
/// How often silent clients are looked for, as in the reference.
const SCAN_CLIENTS_EVERY: Duration = Duration::from_secs(10);
/// How often groups hear of changes that they are not told at once, as in the reference.
const NOTIFY_UNTOLD_EVERY: Duration = Duration::from_secs(15);
/// How often it is committed how far groups that broadcast have got, as in the reference.
const SCAN_BROADCASTS_EVERY: Duration = Duration::from_secs(5);
/// How often groups that consume too slowly are looked for, as in the reference.
const STOP_SLOW_GROUPS_EVERY: Duration = Duration::from_secs(180);
/// How often traffic is counted for the rates that tools show.
const SAMPLE_TRAFFIC_EVERY: Duration = Duration::from_secs(1);
/// How often what went to and from each topic is counted, as in the reference.
const SAMPLE_TOPICS_EVERY: Duration = Duration::from_secs(10);
/// How often mappings of static topics are looked at, in the hours of `deleteWhen`, as in the reference.
const CLEAN_STATIC_TOPICS_EVERY: Duration = Duration::from_secs(300);

impl BrokerHandle {
    pub(super) fn spawn_tasks(&mut self, chores: &Arc<Chores>) {
        let Self { tasks, processors, delays, transactions, tables, registration, .. } = self;
        let (tables, schedule) = (Arc::clone(tables), &delays.schedule);
        let (static_topics, store) = (Arc::clone(&tables.static_topics), Arc::clone(&self.store));
        let (registers, follows) = (Arc::clone(registration), Arc::clone(registration));
        tasks.spawn(async move { registers.run().await });
        tasks.spawn(async move { follows.follow_name_servers().await });
        tasks.spawn(Arc::clone(&chores.known.requests).log());
        tasks.spawn(Arc::clone(schedule).run());
        tasks.spawn(Arc::clone(transactions).run());
        tasks.spawn(async move { tables.save_in_background().await });
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(CLEAN_STATIC_TOPICS_EVERY).await;
                if !static_topics.is_empty() && store.is_deletion_hour() {
                    static_topics.clean(&store).await;
                }
            }
        });
        if let Some(revive) = &self.revive {
            tasks.spawn(Arc::clone(revive).run());
        }

        let (decisions, revive) = (Arc::clone(transactions), self.revive.clone());
        every(tasks, TICK_EVERY, processors, move |all| {
            let now = Instant::now();
            all.pull_message.expire(now);
            all.pop.tick(now);
            all.lite.tick(now);
            decisions.tick();
            if let Some(revive) = &revive {
                revive.tick();
            }
        });
        every(tasks, PASS_OVER_LEFT_OUT_EVERY, &processors.pull_message, |pulls| {
            pulls.pass_over_left_out();
        });
        every(tasks, CLEAN_POPS_EVERY, &processors.pop, |pop| pop.clean());
        every(tasks, SCAN_CLIENTS_EVERY, chores, |all| all.scan_clients());
        every(tasks, NOTIFY_UNTOLD_EVERY, chores, |all| all.notify_untold());
        every(tasks, SCAN_BROADCASTS_EVERY, chores, |all| all.scan_broadcasts());
        every(tasks, STOP_SLOW_GROUPS_EVERY, chores, |all| all.stop_slow_groups());
        every(tasks, SAMPLE_TRAFFIC_EVERY, chores, |all| all.sample_traffic());
        let save_metrics_every = self.save_transaction_metrics_every;
        every_blocking(tasks, SAMPLE_TOPICS_EVERY, chores, |all| {
            all.sample_topics_and_groups();
        });
        let save_schedule_every =
            Duration::from_millis(self.store.config().flush_delay_offset_interval.max(1));
        every_blocking(tasks, save_schedule_every, schedule, save_schedule);
        every_blocking(tasks, save_metrics_every, transactions, |all| all.save_metrics());
    }
}

pub(super) fn save_schedule(schedule: &ScheduleMessageService) {
    if let Err(error) = schedule.save_if_changed() {
        error!(%error, "progress of delay levels not saved");
    }
}

/// Has `who` do something at once and then once in each period.
fn every<T: Send + Sync + 'static>(
    tasks: &mut JoinSet<()>,
    period: Duration,
    who: &Arc<T>,
    work: impl Fn(&Arc<T>) + Send + 'static,
) {
    let who = Arc::clone(who);
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            work(&who);
        }
    });
}

/// The same for work that waits for the disk or takes long.
fn every_blocking<T: Send + Sync + 'static>(
    tasks: &mut JoinSet<()>,
    period: Duration,
    who: &Arc<T>,
    work: fn(&T),
) {
    every(tasks, period, who, move |who| {
        let who = Arc::clone(who);
        spawn_blocking(move || work(&who));
    });
}
