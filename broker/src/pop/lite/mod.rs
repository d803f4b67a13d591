//! Lite topics: queues of a topic that appear when they are sent to, given to the clients that
//! subscribe them.
//!
//! A message of a lite topic is in a light queue as well. When it becomes visible, one client of
//! each group that subscribes the lite topic is told to look at it ([`events`](Events)); its next pop,
//! or the one that waits, takes what is there. A lite topic gives out in order: nothing more to a
//! group while something that was given out is neither done nor due again.
//!
//! Reference: `broker.lite`, `PopLiteMessageProcessor`, `PopLiteLongPollingService` (broker), 5.5.0.

mod clean;
mod events;
mod give_back;
mod lag;
mod name;
mod registry;
mod subscribe;
mod take;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use hashbrown::DefaultHashBuilder;
use oxmq_protocol::body::{ClientGroup, SubscriptionGroupConfig};
use oxmq_store::MessageStore;

use self::clean::NextChecks;
use self::events::{Events, Now, Whom};
pub(crate) use self::give_back::GivenBack;
use self::lag::Lags;
pub(crate) use self::name::{is_lite_queue, parts, queue_name};
use self::registry::{Registry, wildcard_name};
pub(crate) use self::take::{HeldLite, LiteRequest};
use super::order::ConsumerOrder;
use crate::attributes::{LITE, LITE_BIND_TOPIC, LITE_EXPIRATION, MESSAGE_TYPE};
use crate::broker_stats::BrokerStats;
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::hold::Hold;
use crate::queue_key::GroupQueueRef;
use crate::subscription_group::SubscriptionGroupManager;
use crate::sync::lock;
use crate::topic::{Topic, TopicConfigManager};

/// Id of the one queue of a lite topic.
pub(crate) const QUEUE_ID: i32 = 0;
/// Locks that keep two pops of a lite topic by a group apart. A power of two.
const TURNS: usize = 64;
/// When a group that takes every lite topic looks at all of them after a client has joined, as in the
/// reference.
const LOOK_AFTER_JOINING: Duration = Duration::from_secs(5);
/// Longest that looking at everything is put off beyond what is configured, as in the reference.
const PUT_OFF_MS: u64 = 15_000;

/// What requests about lite topics share.
#[derive(Debug)]
pub(crate) struct LiteService {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    groups: Arc<SubscriptionGroupManager>,
    offsets: Arc<ConsumerOffsetManager>,
    stats: Arc<BrokerStats>,
    /// What was given out. It is not saved: after a restart all that is not done is given out again.
    order: ConsumerOrder,
    registry: Mutex<Registry>,
    events: Mutex<Events>,
    lags: Mutex<Lags>,
    held: Hold<HeldLite>,
    turns: [Mutex<()>; TURNS],
    /// Another number for each choice.
    dice: AtomicU64,
    hasher: DefaultHashBuilder,
    next_checks: Mutex<NextChecks>,
}

impl LiteService {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        groups: Arc<SubscriptionGroupManager>,
        offsets: Arc<ConsumerOffsetManager>,
        stats: Arc<BrokerStats>,
    ) -> Self {
        let next_checks = Mutex::new(NextChecks::after(&config, Instant::now()));
        Self {
            config,
            store,
            topics,
            groups,
            offsets,
            stats,
            order: ConsumerOrder::in_memory(),
            registry: Mutex::default(),
            events: Mutex::default(),
            lags: Mutex::default(),
            held: Hold::default(),
            turns: std::array::from_fn(|_| Mutex::new(())),
            dice: AtomicU64::new(0),
            hasher: DefaultHashBuilder::default(),
            next_checks,
        }
    }

    /// Whether anybody is to be told of messages of lite topics.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.registry().active() > 0
    }

    /// There is a message in a lite topic, or one of it can be given out again: has a client of each
    /// group, or of one, look at it.
    pub(crate) fn arrived(self: &Arc<Self>, queue: &str, group: Option<&str>) {
        self.dispatch(queue, group, None);
    }

    fn dispatch(self: &Arc<Self>, queue: &str, group: Option<&str>, last: Option<&str>) {
        if !self.config.enable_lite_event_mode {
            return;
        }
        let mut groups = self.registry().members_by_group(queue);
        groups.retain(|members| group.is_none_or(|group| members[0].group == group));
        for members in groups {
            self.choose(queue, &members, last);
        }
    }

    /// Has one of the members look at a queue. Returns whether one has room for that.
    fn choose(self: &Arc<Self>, queue: &str, members: &[ClientGroup], last: Option<&str>) -> bool {
        let Some(ClientGroup { group, .. }) = members.first() else { return true };
        let takes_all = self.takes_every_lite_topic(group);
        let now = now();
        let start = self.roll(members.len() as u64) as usize;
        let mut later = Vec::new();
        let mut chosen = None;
        let mut events = self.events();
        for at in 0..members.len() {
            let client = members[(start + at) % members.len()].client_id.as_str();
            if last == Some(client) {
                later.push(client);
            } else if events.is_avoided(client, now) {
                if !takes_all {
                    later.push(client);
                }
            } else if self.offer(&mut events, client, group, queue, !takes_all, now) {
                chosen = Some(client);
                break;
            }
        }
        if chosen.is_none() {
            chosen = later
                .into_iter()
                .find(|client| self.offer(&mut events, client, group, queue, !takes_all, now));
        }
        if chosen.is_none() && takes_all {
            let delay = self.config.lite_event_full_dispatch_delay_time_for_wildcard_group;
            events.schedule(&whole_group(group), group, now.instant + ms(delay));
        }
        drop(events);
        if let Some(client) = chosen {
            self.wake(client);
        }
        chosen.is_some()
    }

    fn offer(
        &self,
        events: &mut Events,
        client: &str,
        group: &str,
        queue: &str,
        look_later: bool,
        now: Now,
    ) -> bool {
        let whom = Whom { client, group, room: self.room_of(group) };
        if events.offer(whom, queue, now) {
            return true;
        }
        if look_later {
            let more = if events.is_avoided(client, now) { PUT_OFF_MS } else { 0 };
            self.look_later(events, client, group, more, now);
        }
        false
    }

    /// Has a client look at everything after the time that is configured and up to `more_ms`.
    fn look_later(&self, events: &mut Events, client: &str, group: &str, more_ms: u64, now: Now) {
        let delay = ms(self.config.lite_event_full_dispatch_delay_time);
        let more = Duration::from_millis(self.roll(more_ms));
        events.schedule(client, group, now.instant + delay + more);
    }

    /// Has a client look at every lite topic that it subscribes and that has something for its group.
    pub(crate) fn look_at_all(self: &Arc<Self>, client: &str, group: &str) {
        if !self.config.enable_lite_event_mode {
            return;
        }
        let queues = self.registry().client(client).map(|found| found.queues.clone());
        let queues = queues.unwrap_or_default();
        if queues.is_empty() {
            return;
        }
        let now = now();
        let mut events = self.events();
        if !events.takes_all(client, now) {
            self.look_later(&mut events, client, group, PUT_OFF_MS, now);
            return;
        }
        for queue in queues.iter().filter(|queue| self.has_left(group, queue)) {
            if !self.offer(&mut events, client, group, queue, true, now) {
                break;
            }
        }
        drop(events);
        self.wake(client);
    }

    /// The same for every client of a group.
    pub(crate) fn group_looks_at_all(self: &Arc<Self>, group: &str) {
        if !self.takes_every_lite_topic(group) {
            let clients = self.registry().clients_of(group);
            clients.iter().for_each(|client| self.look_at_all(client, group));
            return;
        }
        let Some(topic) = self.bound_topic(group) else { return };
        let members = self.registry().members(&wildcard_name(&topic, group));
        if !self.config.enable_lite_event_mode || members.is_empty() {
            return;
        }
        for queue in self.queues_of(&topic) {
            if self.has_left(group, &queue) && !self.choose(&queue, &members, None) {
                return;
            }
        }
    }

    /// Does what is due.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) {
        for freed in self.order.take_freed(now_ms()) {
            if self.config.enable_notify_after_pop_order_lock_release {
                self.arrived(&freed.topic, Some(&freed.group));
            }
        }
        self.expire_held(now);
        self.check(now);
    }

    /// What tools are told: clients with something to look at, and lite topics and groups of which
    /// something was given out.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.events().len(), self.order.len())
    }

    /// When a client last came, ms since 1970.
    pub(crate) fn came_ms(&self, client: &str) -> Option<i64> {
        self.events().came_ms(client)
    }

    /// Light queues that a client subscribes.
    pub(crate) fn subscribed(&self, client: &str) -> Option<std::collections::BTreeSet<String>> {
        self.registry().client(client).map(|found| found.queues.clone())
    }

    /// Subscriptions in all.
    pub(crate) fn subscriptions(&self) -> usize {
        self.registry().active()
    }

    /// Who is given messages of a queue; a group that takes every lite topic is one client called `*`.
    pub(crate) fn subscribers(&self, queue: &str) -> std::collections::BTreeSet<ClientGroup> {
        let groups = self.registry().members_by_group(queue);
        let named = |mut members: Vec<ClientGroup>| {
            if members.first().is_some_and(|member| self.takes_every_lite_topic(&member.group)) {
                members.truncate(1);
                members.iter_mut().for_each(|member| member.client_id = "*".to_owned());
            }
            members
        };
        groups.into_iter().flat_map(named).collect()
    }

    /// Queues of the lite topics of a topic.
    pub(crate) fn queues_of(&self, topic: &str) -> Vec<String> {
        let queues = self.store.queues().into_keys();
        queues.filter(|queue| name::belongs_to(queue, topic)).collect()
    }

    /// The topic whose lite topics a group consumes.
    pub(crate) fn bound_topic(&self, group: &str) -> Option<String> {
        self.group_attribute(group, LITE_BIND_TOPIC)
    }

    fn takes_every_lite_topic(&self, group: &str) -> bool {
        self.group_attribute(group, "lite.sub.wildcard").is_some()
    }

    fn room_of(&self, group: &str) -> usize {
        let own = self.group_attribute(group, "lite.sub.client.max.event.cnt");
        let own = own.and_then(|text| text.parse().ok()).filter(|count| *count > 0);
        usize::try_from(own.unwrap_or(self.config.max_client_event_count)).unwrap_or(0)
    }

    fn group_is(&self, group: &str, attribute: &str, value: &str) -> bool {
        self.group_attribute(group, attribute).is_some_and(|is| is.eq_ignore_ascii_case(value))
    }

    fn group_attribute(&self, group: &str, attribute: &str) -> Option<String> {
        self.groups.get(group)?.attributes.get(attribute).cloned()
    }

    fn has_left(&self, group: &str, queue: &str) -> bool {
        let consumed = self.offsets.query(group, queue, QUEUE_ID).unwrap_or(-1);
        self.store.max_offset(queue, QUEUE_ID) > consumed.max(0)
    }

    /// Keeps others of the group from popping the same queue.
    pub(super) fn turn(&self, queue: GroupQueueRef<'_>) -> &Mutex<()> {
        use std::hash::BuildHasher as _;
        &self.turns[self.hasher.hash_one(queue) as usize % TURNS]
    }

    /// Takes the turn; nothing if somebody has it, who may be waiting for the disk, and that must not be.
    fn take_turn(&self, queue: GroupQueueRef<'_>, may_wait: bool) -> Option<MutexGuard<'_, ()>> {
        let turn = self.turn(queue);
        match turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => may_wait.then(|| lock(turn)),
        }
    }

    /// A number below `limit`.
    fn roll(&self, limit: u64) -> u64 {
        use std::hash::BuildHasher as _;
        let dice = self.dice.fetch_add(1, Ordering::Relaxed);
        self.hasher.hash_one(dice).checked_rem(limit).unwrap_or(0)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        lock(&self.events)
    }
}

/// Whether a topic has lite topics.
pub(crate) fn has_lite_topics(topic: &Topic) -> bool {
    topic.attributes.get(MESSAGE_TYPE).is_some_and(|kind| kind == LITE)
}

/// Minutes that lite topics of a topic are kept without use; -1 is for ever.
pub(crate) fn expiration_minutes(topic: &Topic) -> i32 {
    topic.attributes.get(LITE_EXPIRATION).and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// Whether a group consumes lite topics.
pub(crate) fn is_lite_group(group: &SubscriptionGroupConfig) -> bool {
    group.attributes.contains_key(LITE_BIND_TOPIC)
}

/// What a group that takes every lite topic is called where clients are named.
fn whole_group(group: &str) -> String {
    format!("${group}$")
}

fn queue_ref<'a>(group: &'a str, queue: &'a str) -> GroupQueueRef<'a> {
    GroupQueueRef { topic: queue, group, queue_id: QUEUE_ID }
}

fn now() -> Now {
    Now { instant: Instant::now(), ms: now_ms() }
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
