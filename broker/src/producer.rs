//! Producers that are there.
//!
//! Reference: `ProducerManager` (broker), 5.5.0.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use oxmq_protocol::body::{ClientConnection, ProducerConnection, ProducerInfo, ProducerTableInfo};
use oxmq_protocol::command::RemotingCommand;
use oxmq_remoting::Connection;
use tracing::{info, warn};

use crate::channel::{Channel, ClientInfo};
use crate::limits::MAX_PRODUCER_GROUPS_PER_CONNECTION;
use crate::sync::lock;
use crate::transaction::AskProducer;

/// A producer that is silent for longer is dropped; clients send a heartbeat every 30 s.
const EXPIRED_TIMEOUT: Duration = Duration::from_secs(120);

/// Producer groups and their members.
#[derive(Debug)]
pub(crate) struct ProducerManager<C = Connection> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    /// Members by group and connection id.
    groups: HashMap<Box<str>, HashMap<u64, ClientInfo<C>>>,
    /// The connection that a client was last heard on, for answers to its requests.
    clients: HashMap<Box<str>, Arc<C>>,
    /// Groups by connection id.
    groups_of_channel: HashMap<u64, HashSet<Box<str>>>,
    /// Picks members in turn.
    turn: usize,
}

impl<C> Default for ProducerManager<C> {
    fn default() -> Self {
        let state = State {
            groups: HashMap::new(),
            clients: HashMap::new(),
            groups_of_channel: HashMap::new(),
            turn: 0,
        };
        Self { state: Mutex::new(state) }
    }
}

impl<C: Channel> ProducerManager<C> {
    /// Adds a client to a group, or notes that it is still there. A connection that is in as many groups
    /// as it may be joins no further one.
    pub(crate) fn register(&self, group: &str, client: &ClientInfo<C>) {
        let mut state = lock(&self.state);
        let id = client.channel.id();
        if let Some(member) = state.groups.get_mut(group).and_then(|members| members.get_mut(&id)) {
            member.last_seen = client.last_seen;
            return;
        }
        let groups = state.groups_of_channel.entry(id).or_default();
        if groups.len() >= MAX_PRODUCER_GROUPS_PER_CONNECTION {
            warn!(group, peer = %client.channel.peer(),
                "producer does not join: its connection is in {MAX_PRODUCER_GROUPS_PER_CONNECTION} groups");
            return;
        }
        groups.insert(group.into());
        state.groups.entry(group.into()).or_default().insert(id, client.clone());
        state.clients.insert(client.client_id.clone(), Arc::clone(&client.channel));
        info!(group, client_id = %client.client_id, peer = %client.channel.peer(),
            "producer joined");
    }

    /// Takes a client out of a group.
    pub(crate) fn unregister(&self, group: &str, channel: &C) {
        lock(&self.state).leave(group, channel.id());
    }

    /// Takes a client out of all its groups, as its connection ended.
    pub(crate) fn close(&self, channel: &C) {
        let mut state = lock(&self.state);
        for group in state.groups_of_channel.remove(&channel.id()).unwrap_or_default() {
            state.leave(&group, channel.id());
        }
    }

    /// Drops clients that were silent for too long, with their connections.
    pub(crate) fn scan(&self, now: Instant) {
        let mut state = lock(&self.state);
        let expired: Vec<_> = state
            .groups
            .iter()
            .flat_map(|(group, members)| members.values().map(move |member| (group, member)))
            .filter(|(_, member)| now.saturating_duration_since(member.last_seen) > EXPIRED_TIMEOUT)
            .map(|(group, member)| (group.clone(), Arc::clone(&member.channel)))
            .collect();
        for (group, channel) in expired {
            warn!(%group, peer = %channel.peer(), "producer was silent for too long");
            state.leave(&group, channel.id());
            channel.close();
        }
    }

    /// Returns the connection that a client was last heard on.
    pub(crate) fn find_channel(&self, client_id: &str) -> Option<Arc<C>> {
        lock(&self.state).clients.get(client_id).cloned()
    }

    /// Returns the connection of some member of the group that takes requests, another one each time.
    pub(crate) fn available_channel(&self, group: &str) -> Option<Arc<C>> {
        let mut state = lock(&self.state);
        state.turn = state.turn.wrapping_add(1);
        let members = state.groups.get(group)?;
        let first = state.turn.checked_rem(members.len())?;
        let (before, after): (Vec<_>, Vec<_>) =
            members.values().enumerate().partition(|(index, _)| *index < first);
        let mut in_turn = after.into_iter().chain(before).map(|(_, member)| member);
        in_turn
            .find(|member| member.channel.takes_requests())
            .map(|member| Arc::clone(&member.channel))
    }

    /// Returns the members of every group.
    pub(crate) fn table(&self, now: Instant, now_ms: i64) -> ProducerTableInfo {
        let info = |member: &ClientInfo<C>| {
            let silence = now.saturating_duration_since(member.last_seen).as_millis();
            let ClientConnection { client_addr, client_id, language, version } =
                member.to_connection();
            ProducerInfo {
                client_id,
                remote_ip: format!("/{client_addr}"),
                language,
                version,
                last_update_timestamp: now_ms - i64::try_from(silence).unwrap_or(i64::MAX),
            }
        };
        let state = lock(&self.state);
        let groups = state.groups.iter();
        let data = groups
            .map(|(group, members)| (group.to_string(), members.values().map(info).collect()))
            .collect();
        ProducerTableInfo { data }
    }

    /// Returns the members of a group; `None` when there is no such group.
    pub(crate) fn connections(&self, group: &str) -> Option<ProducerConnection> {
        let state = lock(&self.state);
        let members = state.groups.get(group)?;
        Some(ProducerConnection {
            connection_set: members.values().map(ClientInfo::to_connection).collect(),
        })
    }
}

impl<C: Channel> AskProducer for ProducerManager<C> {
    fn ask(&self, group: &str, question: RemotingCommand) -> bool {
        let Some(channel) = self.available_channel(group) else { return false };
        channel.invoke_oneway(question);
        true
    }
}

impl<C: Channel> State<C> {
    fn leave(&mut self, group: &str, channel_id: u64) {
        let Some(members) = self.groups.get_mut(group) else { return };
        let Some(member) = members.remove(&channel_id) else { return };
        if members.is_empty() {
            self.groups.remove(group);
        }
        info!(group, client_id = %member.client_id, peer = %member.channel.peer(),
            "producer left");
        if let Some(groups) = self.groups_of_channel.get_mut(&channel_id) {
            groups.remove(group);
            if groups.is_empty() {
                self.groups_of_channel.remove(&channel_id);
            }
        }
        let client = self.clients.get(&member.client_id);
        if client.is_some_and(|channel| channel.id() == channel_id) {
            self.clients.remove(&member.client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::testing::TestChannel;

    fn client_ids(producers: &ProducerManager<TestChannel>, group: &str) -> Option<Vec<String>> {
        let connections = producers.connections(group)?.connection_set;
        let mut ids: Vec<_> = connections.into_iter().map(|member| member.client_id).collect();
        ids.sort();
        Some(ids)
    }

    #[test]
    fn a_connection_is_in_so_many_groups_and_no_more() {
        let (producers, now) = (ProducerManager::default(), Instant::now());
        let (one, two) = (TestChannel::new(1), TestChannel::new(2));
        for group in 0..=MAX_PRODUCER_GROUPS_PER_CONNECTION {
            producers.register(&group.to_string(), &one.client("a", now));
        }
        assert_eq!(producers.table(now, 0).data.len(), MAX_PRODUCER_GROUPS_PER_CONNECTION);
        producers.register("g", &two.client("b", now));
        producers.unregister("0", &one);
        producers.register("h", &one.client("a", now));
        assert_eq!(client_ids(&producers, "g").unwrap(), ["b"]);
        assert_eq!(client_ids(&producers, "h").unwrap(), ["a"]);
    }

    #[test]
    fn members_join_and_leave_and_an_empty_group_is_gone() {
        let (producers, now) = (ProducerManager::default(), Instant::now());
        let (one, two) = (TestChannel::new(1), TestChannel::new(2));
        producers.register("g", &one.client("a", now));
        producers.register("g", &one.client("a", now));
        producers.register("g", &two.client("b", now));
        assert_eq!(client_ids(&producers, "g").unwrap(), ["a", "b"]);
        assert_eq!(producers.find_channel("b").unwrap().id(), 2);
        producers.unregister("g", &one);
        assert_eq!(client_ids(&producers, "g").unwrap(), ["b"]);
        assert!(producers.find_channel("a").is_none());
        producers.close(&two);
        assert!(producers.connections("g").is_none());
        assert!(lock(&producers.state).groups_of_channel.is_empty());
    }

    #[test]
    fn closing_an_old_connection_leaves_the_clients_new_one() {
        let (producers, now) = (ProducerManager::default(), Instant::now());
        let (old, new) = (TestChannel::new(1), TestChannel::new(2));
        producers.register("g", &old.client("a", now));
        producers.register("g", &new.client("a", now));
        producers.close(&old);
        assert_eq!(producers.find_channel("a").unwrap().id(), 2);
    }

    #[test]
    fn silent_producer_is_dropped_after_120_seconds() {
        let (producers, start) = (ProducerManager::default(), Instant::now());
        let (one, two) = (TestChannel::new(1), TestChannel::new(2));
        producers.register("g", &one.client("a", start));
        producers.register("g", &two.client("b", start));
        let later = start + Duration::from_secs(100);
        producers.register("g", &two.client("b", later));
        producers.scan(start + EXPIRED_TIMEOUT + Duration::from_millis(1));
        assert_eq!(client_ids(&producers, "g").unwrap(), ["b"]);
        assert!(one.is_closed() && !two.is_closed());
    }

    #[test]
    fn members_are_picked_in_turn() {
        let (producers, now) = (ProducerManager::default(), Instant::now());
        let (one, two) = (TestChannel::new(1), TestChannel::new(2));
        producers.register("g", &one.client("a", now));
        producers.register("g", &two.client("b", now));
        let first = producers.available_channel("g").unwrap().id();
        let second = producers.available_channel("g").unwrap().id();
        assert_ne!(first, second);
        assert!(producers.available_channel("none").is_none());
        one.close();
        for _ in 0..3 {
            assert_eq!(producers.available_channel("g").unwrap().id(), 2);
        }
        two.close();
        assert!(producers.available_channel("g").is_none());
    }
}
