//! Things that applications get wrong and that nothing else tells them.
//!
//! - Members of a group with different subscriptions: see `consumer/differences.rs`.
//! - A queue that members of a group should be pulling from, and none does.
//! - Clients that ask for the way here and do not come: see `absent_clients.rs`.
//!
//! Each is logged when it begins and when it ends, and counted for `GET_BROKER_RUNTIME_INFO`. The
//! reference has nothing of this.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::body::MessageRequestMode;
use oxmq_remoting::Connection;
use tracing::{info, warn};

use crate::channel::Channel;
use crate::clock;
use crate::consumer::{ConsumerManager, Watched};
use crate::consumer_offset::ConsumerOffsetManager;
use crate::limits::MAX_UNPULLED_QUEUES;
use crate::perm;
use crate::request_mode::RequestModes;
use crate::sync::lock;
use crate::topic::TopicConfigManager;

/// How long a queue may go without a pull. Clients pull at least every 30 s, as no pull is held for
/// longer, unless they are full of messages that they cannot get done.
const PATIENCE: Duration = Duration::from_secs(60);

/// By group, topic and queue; since when.
type Unpulled = BTreeMap<(Box<str>, Box<str>, i32), Instant>;

/// How many there are.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    different_groups: AtomicUsize,
    unpulled_queues: AtomicUsize,
    absent_clients: AtomicUsize,
}

impl Figures {
    /// Groups whose members had different subscriptions at the last look.
    pub(crate) fn different_groups(&self) -> usize {
        self.different_groups.load(Ordering::Relaxed)
    }

    /// Queues that should have been pulled from by then and were not.
    pub(crate) fn unpulled_queues(&self) -> usize {
        self.unpulled_queues.load(Ordering::Relaxed)
    }

    /// Machines with clients that ask for the way here and do not connect: see `absent_clients.rs`.
    pub(crate) fn absent_clients(&self) -> usize {
        self.absent_clients.load(Ordering::Relaxed)
    }

    pub(crate) fn set_absent_clients(&self, count: usize) {
        self.absent_clients.store(count, Ordering::Relaxed);
    }
}

/// Looks for them.
#[derive(Debug)]
pub(crate) struct Watch<C = Connection> {
    consumers: Arc<ConsumerManager<C>>,
    offsets: Arc<ConsumerOffsetManager>,
    topics: Arc<TopicConfigManager>,
    request_modes: Arc<RequestModes>,
    unpulled: Mutex<Unpulled>,
    figures: Arc<Figures>,
}

impl<C: Channel> Watch<C> {
    pub(crate) fn new(
        consumers: Arc<ConsumerManager<C>>,
        offsets: Arc<ConsumerOffsetManager>,
        topics: Arc<TopicConfigManager>,
        request_modes: Arc<RequestModes>,
    ) -> Self {
        Self {
            consumers,
            offsets,
            topics,
            request_modes,
            unpulled: Mutex::default(),
            figures: Arc::default(),
        }
    }

    /// What was found, for whoever counts it.
    pub(crate) fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Looks at all groups that have members, and all their queues.
    pub(crate) fn scan(&self, now: Instant) {
        let different = self.consumers.different_groups();
        self.figures.different_groups.store(different, Ordering::Relaxed);
        let found = self.find_unpulled(now, clock::now_ms());
        self.figures.unpulled_queues.store(found.len(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *lock(&self.unpulled), found.clone());
        for (key, since) in before {
            if !found.contains_key(&key) {
                let (group, topic, queue_id) = key;
                let seconds = now.saturating_duration_since(since).as_secs();
                info!(%group, %topic, queue_id, seconds,
                    "the queue is pulled from again, or its group has gone or changed");
            }
        }
    }

    fn find_unpulled(&self, now: Instant, now_ms: i64) -> Unpulled {
        let patience_ms = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
        let mut found = Unpulled::new();
        for watched in self.consumers.watched() {
            let Watched { group, topic, clients, quiet_since } = watched;
            let is_new = now.saturating_duration_since(quiet_since) < PATIENCE;
            if is_new || self.is_popped(&group, &topic) {
                continue;
            }
            let config = self.topics.get(&topic).filter(|topic| perm::is_readable(topic.perm));
            let Some(config) = config else { continue };
            for queue_id in 0..config.read_queue_nums {
                let pulled_ms = self.offsets.pulled_at_ms(&group, &topic, queue_id);
                if pulled_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < patience_ms)
                    || found.len() >= MAX_UNPULLED_QUEUES
                {
                    continue;
                }
                let key = (group.clone(), topic.clone(), queue_id);
                let since = lock(&self.unpulled).get(&key).copied();
                if since.is_none() {
                    warn!(%group, %topic, queue_id, ?clients,
                        "no member of the group has pulled from the queue for a minute: one may be stuck, \
                         or share queues out by another strategy than the rest");
                }
                found.insert(key, since.unwrap_or(now));
            }
        }
        found
    }

    fn is_popped(&self, group: &str, topic: &str) -> bool {
        let mode = self.request_modes.get(topic, group);
        mode.is_some_and(|set| set.mode == Some(MessageRequestMode::Pop))
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::{ConsumeType, ConsumerData, MessageModel, SubscriptionData};

    use super::*;
    use crate::channel::testing::TestChannel;
    use crate::processor::testing::managers;
    use crate::saved_table::SaveSignal;

    fn data(expression: &str) -> ConsumerData {
        ConsumerData {
            group_name: "g".to_owned(),
            consume_type: Some(ConsumeType::ConsumePassively),
            message_model: Some(MessageModel::Clustering),
            subscription_data_set: vec![SubscriptionData {
                topic: "t".to_owned(),
                sub_string: expression.to_owned(),
                sub_version: 1,
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        }
    }

    #[test]
    fn queues_without_pulls_and_groups_with_differences_are_counted_until_they_are_put_right() {
        let m = managers(|_| ());
        m.create_topic("t", 2);
        let modes = RequestModes::load(m.store_root(), SaveSignal::default()).unwrap();
        let (consumers, offsets) = (Arc::clone(&m.consumers), Arc::clone(&m.offsets));
        let watch = Watch::new(consumers, offsets, Arc::clone(&m.topics), Arc::new(modes));
        let figures = watch.figures();
        let (one, two, start) = (TestChannel::new(1), TestChannel::new(2), Instant::now());
        m.consumers.register(&one.client("a", start), &data("*"), true, true);
        watch.scan(start + PATIENCE / 2);
        assert_eq!(figures.unpulled_queues(), 0, "it may be about to begin");
        m.offsets.commit_pull("g", "t", 0, 5, 0);
        watch.scan(start + PATIENCE);
        assert_eq!((figures.unpulled_queues(), figures.different_groups()), (1, 0));
        m.offsets.commit_pull("g", "t", 1, 5, 0);
        m.consumers.register(&two.client("b", start), &data("x"), true, true);
        watch.scan(start + PATIENCE);
        assert_eq!((figures.unpulled_queues(), figures.different_groups()), (0, 1));
        m.consumers.close(&one);
        watch.scan(start + PATIENCE);
        assert_eq!(figures.different_groups(), 0);
    }
}
