//! What is looked after now and then: clients that do not come, subscriptions that nobody renews, and
//! lite topics that nobody uses.
//!
//! Reference: `AbstractLiteLifecycleManager`, `LiteEventDispatcher.scan`,
//! `LiteSubscriptionRegistryImpl.cleanupExpiredSubscriptions` (broker), 5.5.0.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{LiteService, QUEUE_ID, expiration_minutes, has_lite_topics, ms, name, now, queue_ref};
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::sync::lock;

/// How often it is looked at whether the broker has run for long enough to delete lite topics, and
/// whether the groups of which something was given out are still there.
const CLEAN_ORDER_EVERY: Duration = Duration::from_secs(300);
const MS_PER_MINUTE: i64 = 60_000;

/// When each is looked at next.
#[derive(Debug)]
pub(super) struct NextChecks {
    events: Instant,
    subscriptions: Instant,
    expired: Instant,
    order: Instant,
}

impl NextChecks {
    /// Lite topics are left alone for as long as they have to be kept at least.
    pub(super) fn after(config: &BrokerConfig, now: Instant) -> Self {
        Self {
            events: now,
            subscriptions: now + ms(config.lite_subscription_check_interval),
            expired: now + ms(config.min_lite_ttl),
            order: now + CLEAN_ORDER_EVERY,
        }
    }
}

/// Whether it is time, and if so, when it will be again.
fn is_due(next: &mut Instant, now: Instant, interval: Duration) -> bool {
    let is_due = *next <= now;
    if is_due {
        *next = now + interval;
    }
    is_due
}

impl LiteService {
    pub(super) fn check(self: &Arc<Self>, now: Instant) {
        let config = &self.config;
        let mut next = lock(&self.next_checks);
        let events = is_due(&mut next.events, now, ms(config.lite_event_check_interval));
        let subscriptions =
            is_due(&mut next.subscriptions, now, ms(config.lite_subscription_check_interval));
        let expired = is_due(&mut next.expired, now, ms(config.lite_ttl_check_interval));
        let order = is_due(&mut next.order, now, CLEAN_ORDER_EVERY);
        drop(next);
        if events {
            self.check_events();
        }
        if subscriptions {
            self.check_subscriptions(now);
        }
        if expired {
            let this = Arc::clone(self);
            spawn_blocking(move || this.delete_expired());
        }
        if order {
            let is_there = |_: &str, group: &str, _| self.groups.get(group).is_some();
            self.order.clean(now_ms(), is_there);
            self.clean_lags();
        }
    }

    /// Has others look at what clients that are gone have not, and who is to look at everything do so.
    fn check_events(self: &Arc<Self>) {
        let gone = self.events().take_gone(now());
        for (client, group, queues) in gone {
            queues.iter().for_each(|queue| self.dispatch(queue, Some(&group), Some(&client)));
        }
        let due = self.events().take_due(now());
        for (client, group) in due {
            if self.takes_every_lite_topic(&group) {
                self.group_looks_at_all(&group);
            } else {
                self.look_at_all(&client, &group);
            }
        }
    }

    fn check_subscriptions(self: &Arc<Self>, now: Instant) {
        let limit = ms(self.config.lite_subscription_check_timeout_mills);
        let silent = self.registry().silent(now, limit);
        silent.iter().for_each(|client| self.leave(client));
    }

    /// Deletes the lite topics that nobody has sent to for as long as their topic says.
    pub(super) fn delete_expired(&self) {
        for queue in self.store.queues().into_keys() {
            if let Some((topic, _)) = name::parts(&queue)
                && self.is_expired(topic, &queue)
            {
                self.delete(&queue);
            }
        }
    }

    fn is_expired(&self, topic: &str, queue: &str) -> bool {
        let minutes = self.topics.get(topic).filter(|topic| has_lite_topics(topic));
        let minutes = minutes.map_or(-1, |topic| expiration_minutes(&topic));
        let max = self.store.max_offset(queue, QUEUE_ID);
        if minutes <= 0 || max <= 0 {
            return false;
        }
        let last_ms = self.store.message_store_timestamp(queue, QUEUE_ID, max - 1).unwrap_or(-1);
        let unused_ms = now_ms().saturating_sub(last_ms);
        unused_ms >= self.config.min_lite_ttl && unused_ms > i64::from(minutes) * MS_PER_MINUTE
    }

    /// Deletes every lite topic of a topic.
    pub(crate) fn delete_all_of(&self, topic: &str) {
        self.queues_of(topic).iter().for_each(|queue| self.delete(queue));
    }

    fn delete(&self, queue: &str) {
        for group in self.offsets.groups_of(queue) {
            self.order.forget(queue_ref(&group, queue));
        }
        self.offsets.remove_topic(queue);
        self.forget_lags_of(queue);
        if let Err(error) = self.store.delete_topic(queue) {
            warn!(queue, %error, "queue of a lite topic not deleted");
        }
        self.registry().remove_queue(queue, now().instant);
        info!(queue, "lite topic deleted");
    }
}
