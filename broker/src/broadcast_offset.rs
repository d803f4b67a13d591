//! How far each member of a group that broadcasts has pulled.
//!
//! Members of such a group keep their offsets themselves. One that comes through a proxy cannot: it
//! asks from below zero, and is told where to begin. Whoever moves between a proxy and the broker
//! itself goes on where it was. What the slowest member of a group has pulled is committed for
//! `<group>@broadcast`, for those that come for the first time.
//!
//! Reference: `BroadcastOffsetManager` (broker), 5.5.0.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use oxmq_store::{GetMessageStatus, MessageStore};

use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::limits::MAX_BROADCAST_MEMBERS;
use crate::queue_key::GroupQueueRef;
use crate::sync::lock;
use crate::topic::TopicConfigManager;

/// What the offsets of all members together are committed as.
const GROUP_SUFFIX: &str = "@broadcast";

/// A member of a group that broadcasts, as a pull names it.
#[derive(Clone, Debug)]
pub(crate) struct Broadcaster {
    pub(crate) client_id: Box<str>,
    /// Whether a proxy pulls for it.
    pub(crate) from_proxy: bool,
}

#[derive(Debug)]
struct Member {
    /// When it last pulled.
    seen: Instant,
    from_proxy: bool,
    /// By queue.
    pulled: BTreeMap<i32, i64>,
}

/// Members by client id.
type Members = HashMap<Box<str>, Member>;
/// By topic and group.
type Groups = BTreeMap<(Box<str>, Box<str>), Members>;

/// How far members have pulled.
#[derive(Debug)]
pub(crate) struct BroadcastOffsets {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    offsets: Arc<ConsumerOffsetManager>,
    store: Arc<MessageStore>,
    members: Mutex<Groups>,
}

impl BroadcastOffsets {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        topics: Arc<TopicConfigManager>,
        offsets: Arc<ConsumerOffsetManager>,
        store: Arc<MessageStore>,
    ) -> Self {
        Self { config, topics, offsets, store, members: Mutex::default() }
    }

    /// Where a member that asks from `offset` has to begin instead, if so.
    pub(crate) fn begin(
        &self,
        queue: GroupQueueRef<'_>,
        member: &Broadcaster,
        offset: i64,
    ) -> Option<i64> {
        let key = (queue.topic.into(), queue.group.into());
        let begins = member.from_proxy && offset < 0;
        let pulled = match lock(&self.members).get(&key).and_then(|of| of.get(&member.client_id)) {
            Some(known) if begins || known.from_proxy != member.from_proxy => {
                known.pulled.get(&queue.queue_id).copied().filter(|offset| *offset >= 0)
            }
            None if begins => None,
            _ => return None,
        };
        Some(pulled.unwrap_or_else(|| self.begin_of_new(queue)))
    }

    fn begin_of_new(&self, GroupQueueRef { group, topic, queue_id }: GroupQueueRef<'_>) -> i64 {
        let committed = self.offsets.query(&format!("{group}{GROUP_SUFFIX}"), topic, queue_id);
        if let Some(offset) = committed.filter(|offset| *offset >= 0) {
            return offset;
        }
        // Everything, unless the oldest messages have gone or would have to come from disk.
        let mut first = Vec::new();
        let found = self.store.get_cached_message(
            topic,
            queue_id,
            0,
            1,
            usize::MAX,
            |_, _| true,
            &mut first,
        );
        let is_whole = found.is_ok_and(|found| found.status == GetMessageStatus::Found);
        if is_whole { 0 } else { self.store.bounds(topic, queue_id).1 }
    }

    /// Notes how far a member has pulled. That never goes back.
    pub(crate) fn note(
        &self,
        queue: GroupQueueRef<'_>,
        member: &Broadcaster,
        offset: i64,
        now: Instant,
    ) {
        let mut members = lock(&self.members);
        let key = (queue.topic.into(), queue.group.into());
        let is_known = members.get(&key).is_some_and(|of| of.contains_key(&member.client_id));
        let count = || members.values().map(Members::len).sum::<usize>();
        if !is_known && count() >= MAX_BROADCAST_MEMBERS {
            return;
        }
        let of_group = members.entry(key).or_default();
        let known = of_group.entry(member.client_id.clone()).or_insert_with(|| Member {
            seen: now,
            from_proxy: member.from_proxy,
            pulled: BTreeMap::new(),
        });
        known.seen = now;
        known.from_proxy = member.from_proxy;
        let pulled = known.pulled.entry(queue.queue_id).or_insert(offset);
        *pulled = offset.max(*pulled);
    }

    /// Commits what the slowest members have pulled, and forgets those that have not for too long.
    pub(crate) fn scan(&self, now: Instant, is_online: impl Fn(&str, &str) -> bool) {
        let seconds = |seconds: i64| Duration::from_secs(seconds.max(0).unsigned_abs());
        let kept = seconds(self.config.broadcast_offset_expire_second);
        let kept_online = seconds(self.config.broadcast_offset_expire_max_second);
        let mut slowest = BTreeMap::new();
        lock(&self.members).retain(|(topic, group), members| {
            // Of a topic that was deleted nothing is left.
            if self.topics.get(topic).is_none() {
                return false;
            }
            members.retain(|client_id, member| {
                let quiet = now.saturating_duration_since(member.seen);
                let online = is_online(group, client_id);
                if online || quiet < kept {
                    for (queue_id, offset) in &member.pulled {
                        let key = (topic.clone(), group.clone(), *queue_id);
                        let least = slowest.entry(key).or_insert(*offset);
                        *least = (*offset).min(*least);
                    }
                }
                quiet < if online { kept_online } else { kept }
            });
            !members.is_empty()
        });
        for ((topic, group, queue_id), offset) in slowest {
            let group = format!("{group}{GROUP_SUFFIX}");
            if self.offsets.query(&group, &topic, queue_id) != Some(offset) {
                self.offsets.commit(&group, &topic, queue_id, offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::testing::{Managers, managers};

    const QUEUE: GroupQueueRef<'_> = GroupQueueRef { group: "g", topic: "t", queue_id: 0 };

    fn offsets(m: &Managers) -> BroadcastOffsets {
        BroadcastOffsets::new(
            Arc::clone(&m.config),
            Arc::clone(&m.topics),
            Arc::clone(&m.offsets),
            Arc::clone(&m.store),
        )
    }

    fn member(client_id: &str, from_proxy: bool) -> Broadcaster {
        Broadcaster { client_id: client_id.into(), from_proxy }
    }

    #[test]
    fn a_member_that_moves_goes_on_where_it_was_and_a_new_one_where_the_slowest_is() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        let (offsets, now) = (offsets(&m), Instant::now());
        let (direct, proxied) = (member("a", false), member("a", true));
        assert_eq!(offsets.begin(QUEUE, &direct, -1), None, "it keeps its own offsets");
        assert_eq!(offsets.begin(QUEUE, &proxied, -1), Some(0), "the queue is young");
        offsets.note(QUEUE, &direct, 7, now);
        offsets.note(QUEUE, &direct, 5, now);
        assert_eq!(offsets.begin(QUEUE, &direct, 3), None);
        assert_eq!(offsets.begin(QUEUE, &proxied, 3), Some(7));
        offsets.note(QUEUE, &member("b", false), 4, now);
        offsets.scan(now, |_, _| true);
        assert_eq!(m.offsets.query("g@broadcast", "t", 0), Some(4));
        assert_eq!(offsets.begin(QUEUE, &member("c", true), -1), Some(4));
    }

    #[test]
    fn members_are_forgotten_sooner_when_they_have_gone_and_with_their_topic() {
        let m = managers(|_| ());
        m.create_topic("t", 1);
        let (offsets, start) = (offsets(&m), Instant::now());
        let known = |offsets: &BroadcastOffsets, client_id| {
            offsets.begin(QUEUE, &member(client_id, true), 0).is_some()
        };
        for client_id in ["here", "gone"] {
            offsets.note(QUEUE, &member(client_id, false), 1, start);
        }
        let is_online = |_: &str, client_id: &str| client_id == "here";
        offsets.scan(start + Duration::from_secs(119), is_online);
        assert!(known(&offsets, "here") && known(&offsets, "gone"));
        offsets.scan(start + Duration::from_secs(120), is_online);
        assert!(known(&offsets, "here") && !known(&offsets, "gone"));
        offsets.scan(start + Duration::from_secs(300), is_online);
        assert!(!known(&offsets, "here"));
        offsets.note(QUEUE, &member("here", false), 1, start);
        m.topics.delete("t");
        offsets.scan(start, is_online);
        assert!(!known(&offsets, "here"));
    }
}
