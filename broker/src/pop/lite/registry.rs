//! Which client subscribes which lite topics.
//!
//! A client of a group that takes every lite topic of a topic subscribes `topic@group` instead.
//!
//! Reference: `LiteSubscriptionRegistryImpl` (broker), 5.5.0.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use oxmq_protocol::body::ClientGroup;

use super::name;
use crate::channel::Channel;
use crate::limits::MAX_LITE_CLIENTS;

/// What a client subscribes.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) group: String,
    pub(super) queues: BTreeSet<String>,
    /// Where it is reached.
    channel: Arc<dyn Channel>,
    /// When it last said so.
    updated: Instant,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Registry {
    clients: HashMap<String, Subscription>,
    subscribers: HashMap<String, BTreeSet<ClientGroup>>,
    /// Groups that take every lite topic, by topic.
    wildcard: HashMap<String, BTreeSet<String>>,
    active: usize,
}

/// What every lite topic of a topic is called for a group that takes all.
pub(super) fn wildcard_name(topic: &str, group: &str) -> String {
    format!("{topic}@{group}")
}

impl Registry {
    /// Subscriptions in all.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    /// Whether a client that nothing is known of can be taken.
    pub(super) fn has_room_for(&self, client: &str) -> bool {
        self.clients.len() < MAX_LITE_CLIENTS || self.clients.contains_key(client)
    }

    pub(super) fn client(&self, client: &str) -> Option<&Subscription> {
        self.clients.get(client)
    }

    /// Where a client is reached.
    pub(super) fn channel(&self, client: &str) -> Option<Arc<dyn Channel>> {
        self.clients.get(client).map(|subscription| Arc::clone(&subscription.channel))
    }

    /// The group of a client stays that of its first subscription; it is reached where it was last. Returns
    /// the member that it is.
    pub(super) fn member(
        &mut self,
        client: &str,
        group: &str,
        channel: &Arc<dyn Channel>,
        now: Instant,
    ) -> ClientGroup {
        let subscription = self.clients.entry_ref(client).or_insert_with(|| Subscription {
            group: group.to_owned(),
            queues: BTreeSet::new(),
            channel: Arc::clone(channel),
            updated: now,
        });
        subscription.channel = Arc::clone(channel);
        ClientGroup { client_id: client.to_owned(), group: subscription.group.clone() }
    }

    /// Returns whether it is new. Nothing is added for a client that has left meanwhile.
    pub(super) fn add(&mut self, member: &ClientGroup, queue: &str, now: Instant) -> bool {
        let Some(subscription) = self.clients.get_mut(&member.client_id) else { return false };
        subscription.queues.insert(queue.to_owned());
        subscription.updated = now;
        let is_new = self.subscribers.entry_ref(queue).or_default().insert(member.clone());
        self.active += usize::from(is_new);
        is_new
    }

    /// Notes a group that takes every lite topic of `topic`.
    pub(super) fn add_wildcard(&mut self, topic: &str, group: &str) {
        self.wildcard.entry_ref(topic).or_default().insert(group.to_owned());
    }

    /// Returns whether there was one.
    pub(super) fn remove(&mut self, member: &ClientGroup, queue: &str, now: Instant) -> bool {
        if let Some(subscription) = self.clients.get_mut(&member.client_id) {
            subscription.queues.remove(queue);
            subscription.updated = now;
        }
        let Some(members) = self.subscribers.get_mut(queue) else { return false };
        let was_there = members.remove(member);
        self.active -= usize::from(was_there);
        if members.is_empty() {
            self.subscribers.remove(queue);
            if !name::is_lite_queue(queue)
                && let Some((topic, group)) = queue.rsplit_once('@')
                && let Some(groups) = self.wildcard.get_mut(topic)
            {
                groups.remove(group);
                if groups.is_empty() {
                    self.wildcard.remove(topic);
                }
            }
        }
        was_there
    }

    /// Forgets a client that subscribes nothing.
    pub(super) fn drop_if_idle(&mut self, client: &str) {
        if self.clients.get(client).is_some_and(|subscription| subscription.queues.is_empty()) {
            self.clients.remove(client);
        }
    }

    /// Forgets a client with all that it subscribes. Returns its group.
    pub(super) fn remove_client(&mut self, client: &str, now: Instant) -> Option<String> {
        let Subscription { group, queues, .. } = self.clients.remove(client)?;
        let member = ClientGroup { client_id: client.to_owned(), group };
        for queue in &queues {
            self.remove(&member, queue, now);
        }
        Some(member.group)
    }

    /// Forgets who subscribes a queue that is deleted.
    pub(super) fn remove_queue(&mut self, queue: &str, now: Instant) {
        for member in self.members(queue) {
            self.remove(&member, queue, now);
        }
    }

    pub(super) fn members(&self, queue: &str) -> Vec<ClientGroup> {
        self.subscribers.get(queue).into_iter().flatten().cloned().collect()
    }

    /// The members of each group that are given messages of a queue.
    pub(super) fn members_by_group(&self, queue: &str) -> Vec<Vec<ClientGroup>> {
        let mut groups: HashMap<&str, Vec<ClientGroup>> = HashMap::new();
        for member in self.subscribers.get(queue).into_iter().flatten() {
            groups.entry(member.group.as_str()).or_default().push(member.clone());
        }
        if let Some((topic, _)) = name::parts(queue) {
            for group in self.wildcard.get(topic).into_iter().flatten() {
                groups.entry(group).or_insert_with(|| self.members(&wildcard_name(topic, group)));
            }
        }
        groups.into_values().filter(|members| !members.is_empty()).collect()
    }

    pub(super) fn clients_of(&self, group: &str) -> Vec<String> {
        let of_group = self.clients.iter().filter(|(_, subscription)| subscription.group == group);
        of_group.map(|(client, _)| client.clone()).collect()
    }

    /// Clients that have not said for `limit` what they subscribe.
    pub(super) fn silent(&self, now: Instant, limit: Duration) -> Vec<String> {
        let is_silent = |subscription: &Subscription| {
            now.saturating_duration_since(subscription.updated) > limit
        };
        let silent = self.clients.iter().filter(|(_, subscription)| is_silent(subscription));
        silent.map(|(client, _)| client.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::testing::TestChannel;

    const QUEUE: &str = "%LMQ%$t$a";

    fn member(registry: &mut Registry, client: &str, group: &str, now: Instant) -> ClientGroup {
        let channel: Arc<dyn Channel> = TestChannel::new(1);
        registry.member(client, group, &channel, now)
    }

    fn names(members: Vec<Vec<ClientGroup>>) -> Vec<String> {
        let members = members.into_iter().flatten();
        let mut names: Vec<_> =
            members.map(|member| format!("{}@{}", member.client_id, member.group)).collect();
        names.sort();
        names
    }

    #[test]
    fn members_are_those_of_the_queue_and_of_groups_that_take_all() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        let one = member(&mut registry, "one", "g", now);
        assert!(registry.add(&one, QUEUE, now) && !registry.add(&one, QUEUE, now));
        let all = member(&mut registry, "all", "w", now);
        registry.add_wildcard("t", "w");
        assert!(registry.add(&all, &wildcard_name("t", "w"), now));
        assert_eq!(names(registry.members_by_group(QUEUE)), ["all@w", "one@g"]);
        assert_eq!(names(registry.members_by_group("%LMQ%$t$b")), ["all@w"]);
        assert_eq!(registry.active(), 2);
        assert!(registry.remove(&all, &wildcard_name("t", "w"), now));
        assert_eq!(names(registry.members_by_group("%LMQ%$t$b")), [""; 0]);
        registry.add_wildcard("odd@t", "w");
        assert!(registry.add(&all, &wildcard_name("odd@t", "w"), now));
        assert_eq!(registry.remove_client("all", now).as_deref(), Some("w"));
        assert!(registry.wildcard.is_empty(), "whatever the topic is called");
        assert!(!registry.add(&all, QUEUE, now), "it has left");
        assert_eq!(registry.remove_client("one", now).as_deref(), Some("g"));
        assert_eq!((registry.active(), registry.members_by_group(QUEUE).len()), (0, 0));
    }

    #[test]
    fn silent_clients_are_those_that_said_nothing_for_long() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        member(&mut registry, "one", "g", now);
        let later = now + Duration::from_secs(10);
        member(&mut registry, "two", "g", later);
        let limit = Duration::from_secs(5);
        assert_eq!(registry.silent(later, limit), ["one"]);
        let one = member(&mut registry, "one", "other", later);
        assert_eq!(one.group, "g");
        registry.add(&one, QUEUE, later);
        assert!(registry.silent(later, limit).is_empty());
        registry.remove_queue(QUEUE, later);
        registry.drop_if_idle("one");
        assert!(registry.client("one").is_none());
    }
}
