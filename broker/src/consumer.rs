//! Consumers that are there, and what their groups subscribe to.
//!
//! Reference: `ConsumerManager`, `ConsumerGroupInfo`, `DefaultConsumerIdsChangeListener` (broker),
//! 5.5.0.

mod differences;
mod group;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use oxmq_protocol::body::{ConsumerConnection, ConsumerData, SubscriptionData};
use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::NotifyConsumerIdsChangedRequestHeader;
use oxmq_remoting::Connection;
use tracing::{info, warn};

use self::group::ConsumerGroup;
use crate::channel::{Channel, ClientInfo};
use crate::config::BrokerConfig;
use crate::error::RequestError;
use crate::filter::{ConsumerFilters, MessageFilter};
use crate::limits::MAX_CONSUMER_BYTES;
use crate::rebalance_lock::RebalanceLockManager;
use crate::subscription_group::{FORBIDDEN_INDEX_READABLE, SubscriptionGroupManager};
use crate::sync::{lock, read, write};
use crate::topic_validator;

/// Consumer groups, their members and their subscriptions.
///
/// Whenever the members or subscribed topics of a group change, each of its members is told, at once
/// or with the changes of the next seconds, so that they share the queues anew.
#[derive(Debug)]
pub(crate) struct ConsumerManager<C = Connection> {
    config: Arc<BrokerConfig>,
    groups: Arc<SubscriptionGroupManager>,
    filters: Arc<ConsumerFilters>,
    locks: Arc<RebalanceLockManager>,
    state: RwLock<State<C>>,
    /// [`MAX_CONSUMER_BYTES`], but for tests.
    max_bytes: usize,
    /// Who has to hear of changes that are not told at once.
    untold: Mutex<HashMap<Box<str>, Vec<Arc<C>>>>,
}

#[derive(Debug)]
struct State<C> {
    groups: HashMap<Box<str>, ConsumerGroup<C>>,
    /// Groups by connection id.
    groups_of_channel: HashMap<u64, HashSet<Box<str>>>,
    /// What the groups take, about.
    bytes: usize,
}

/// A topic whose queues the members of a group share.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    /// Some of the members.
    pub(crate) clients: Vec<Box<str>>,
    /// When the members last changed.
    pub(crate) quiet_since: Instant,
}

/// Members of a group that are named in the log.
const NAMED_MEMBERS: usize = 8;

/// Members that have to hear that their group has changed.
struct Notice<C> {
    group: Box<str>,
    members: Vec<Arc<C>>,
}

impl<C: Channel> ConsumerManager<C> {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        groups: Arc<SubscriptionGroupManager>,
        filters: Arc<ConsumerFilters>,
        locks: Arc<RebalanceLockManager>,
    ) -> Self {
        let state = State { groups: HashMap::new(), groups_of_channel: HashMap::new(), bytes: 0 };
        Self {
            config,
            groups,
            filters,
            locks,
            state: RwLock::new(state),
            max_bytes: MAX_CONSUMER_BYTES,
            untold: Mutex::default(),
        }
    }

    /// Looks whether there is room for what a heartbeat says of a group.
    ///
    /// # Errors
    /// When all groups together take as much as they may.
    pub(crate) fn check_room(&self, channel: &C, data: &ConsumerData) -> Result<(), RequestError> {
        let state = read(&self.state);
        let new = ConsumerGroup::default();
        let group = state.groups.get(data.group_name.as_str()).unwrap_or(&new);
        let (before, after) =
            (group.bytes(), group.bytes_with(channel.id(), &data.subscription_data_set));
        let has_room = after <= before || state.bytes - before + after <= self.max_bytes;
        has_room.then_some(()).ok_or(RequestError::Overload)
    }

    /// Adds a client to a group, or notes that it is still there; the group consumes the way that
    /// the latest heartbeat says. Without `with_subscriptions` the heartbeat left those out.
    ///
    /// Returns whether the group changed. Its members are told unless `notify` is false.
    pub(crate) fn register(
        &self,
        client: &ClientInfo<C>,
        data: &ConsumerData,
        with_subscriptions: bool,
        notify: bool,
    ) -> bool {
        let mut state = write(&self.state);
        let State { groups, groups_of_channel, bytes } = &mut *state;
        let group = groups.entry(data.group_name.as_str().into()).or_default();
        *bytes -= group.bytes();
        group.set_mode(data);
        let joined = group.join(client);
        if joined {
            info!(group = data.group_name, client_id = %client.client_id,
                peer = %client.channel.peer(), "consumer joined");
            let names = groups_of_channel.entry(client.channel.id()).or_default();
            names.insert(data.group_name.as_str().into());
        }
        if with_subscriptions {
            group.note_wants(&data.group_name, client, &data.subscription_data_set);
        }
        let subscribed = with_subscriptions
            && group.subscribe(&data.group_name, &data.subscription_data_set, &self.filters);
        *bytes += group.bytes();
        let changed = joined || subscribed;
        let notice = (changed && notify).then(|| group.notice(&data.group_name)).flatten();
        drop(state);
        self.notify(notice);
        changed
    }

    /// Notes the digest of what a heartbeat says of a group that has members, and returns the one before.
    pub(crate) fn note_fingerprint(&self, group: &str, fingerprint: i32) -> Option<i32> {
        write(&self.state).groups.get_mut(group)?.fingerprint.replace(fingerprint)
    }

    /// Takes a client out of a group. The rest of it is told unless `notify` is false.
    pub(crate) fn unregister(&self, group: &str, channel: &C, notify: bool) {
        let notice = self.leave(&mut write(&self.state), group, channel.id());
        if notify {
            self.notify(notice);
        }
    }

    /// Takes a client out of all its groups, as its connection ended.
    pub(crate) fn close(&self, channel: &C) {
        let mut state = write(&self.state);
        let groups = state.groups_of_channel.remove(&channel.id()).unwrap_or_default();
        let notices: Vec<_> =
            groups.iter().map(|group| self.leave(&mut state, group, channel.id())).collect();
        drop(state);
        notices.into_iter().for_each(|notice| self.notify(notice));
    }

    /// Drops clients that were silent for too long, with their connections, and queue locks that
    /// are over.
    ///
    /// The rest of their groups is told, which the reference forgets to do.
    pub(crate) fn scan(&self, now: Instant) {
        let timeout =
            Duration::from_millis(self.config.channel_expired_timeout.max(0).unsigned_abs());
        let mut state = write(&self.state);
        let expired: Vec<_> = state
            .groups
            .iter()
            .flat_map(|(group, info)| info.members().map(move |member| (group, member)))
            .filter(|(_, member)| now.saturating_duration_since(member.last_seen) > timeout)
            .map(|(group, member)| (group.clone(), Arc::clone(&member.channel)))
            .collect();
        let mut notices = Vec::with_capacity(expired.len());
        for (group, channel) in expired {
            warn!(%group, peer = %channel.peer(), "consumer was silent for too long");
            notices.push(self.leave(&mut state, &group, channel.id()));
            channel.close();
        }
        drop(state);
        self.locks.remove_expired(now);
        notices.into_iter().for_each(|notice| self.notify(notice));
    }

    /// Returns what the group's heartbeats say that it wants of a topic.
    ///
    /// # Errors
    /// When the group may not consume the topic this way, or its heartbeats do not say or are older
    /// than `sub_version`. The client sends a heartbeat and tries again then.
    pub(crate) fn filter(
        &self,
        group: &str,
        topic: &str,
        sub_version: i64,
    ) -> Result<MessageFilter, RequestError> {
        let state = read(&self.state);
        let info = state.groups.get(group).ok_or(RequestError::GroupInfoNotExist)?;
        let config = self.groups.get(group);
        if info.is_broadcasting() && config.is_some_and(|config| !config.consume_broadcast_enable) {
            return Err(RequestError::BroadcastForbidden(group.to_owned()));
        }
        if self.groups.is_forbidden(group, topic, FORBIDDEN_INDEX_READABLE) {
            return Err(RequestError::TopicForbiddenForGroup {
                group: group.to_owned(),
                topic: topic.to_owned(),
            });
        }
        let subscription = info.subscription(topic).ok_or(RequestError::SubscriptionNotExist)?;
        if subscription.data.sub_version < sub_version {
            return Err(RequestError::SubscriptionNotLatest);
        }
        let filter = subscription.filter(self.config.enable_property_filter)?;
        let retried = self.config.filter_support_retry
            && matches!(filter, MessageFilter::Sql(_))
            && topic_validator::is_retry_topic(topic);
        if !retried {
            return Ok(filter);
        }
        Ok(MessageFilter::Retried { filters: Arc::clone(&self.filters), group: group.into() })
    }

    /// Tells whether the group's clients deliver what they pull to a listener.
    pub(crate) fn is_pushed_to(&self, group: &str) -> bool {
        read(&self.state).groups.get(group).is_some_and(ConsumerGroup::is_pushed_to)
    }

    /// The client on a connection, if it is a member of the group and its group broadcasts to listeners.
    pub(crate) fn broadcaster(&self, group: &str, channel: &C) -> Option<Box<str>> {
        let state = read(&self.state);
        let info = state.groups.get(group)?;
        let broadcasts = info.is_pushed_to() && info.is_broadcasting();
        broadcasts.then(|| info.member(channel.id())).flatten().map(|it| it.client_id.clone())
    }

    /// Tells whether a connection may pull for a group where consumers that pull on their own account are
    /// left out: the group is pushed to, or has it from before.
    pub(crate) fn may_pull(&self, group: &str, channel: &C) -> bool {
        let state = read(&self.state);
        let info = state.groups.get(group);
        info.is_some_and(|info| info.is_pushed_to() || info.member(channel.id()).is_some())
    }

    /// Groups whose members have different subscriptions.
    pub(crate) fn different_groups(&self) -> usize {
        read(&self.state).groups.values().filter(|info| info.has_differences()).count()
    }

    /// Topics that members of some group share the queues of.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let state = read(&self.state);
        let groups = state.groups.iter();
        groups
            .flat_map(|(group, info)| {
                info.shared_topics().map(move |(topic, quiet_since)| Watched {
                    group: group.clone(),
                    topic: topic.into(),
                    clients: info
                        .members()
                        .take(NAMED_MEMBERS)
                        .map(|member| member.client_id.clone())
                        .collect(),
                    quiet_since,
                })
            })
            .collect()
    }

    /// Returns the client ids of a group, one per connection.
    pub(crate) fn client_ids(&self, group: &str) -> Vec<String> {
        let state = read(&self.state);
        let members = state.groups.get(group).into_iter().flat_map(ConsumerGroup::members);
        members.map(|member| member.client_id.to_string()).collect()
    }

    /// Returns the members of a group.
    pub(crate) fn members(&self, group: &str) -> Vec<ClientInfo<C>> {
        let state = read(&self.state);
        state.groups.get(group).into_iter().flat_map(ConsumerGroup::members).cloned().collect()
    }

    /// Returns a member of a group.
    pub(crate) fn find_client(&self, group: &str, client_id: &str) -> Option<ClientInfo<C>> {
        let state = read(&self.state);
        state.groups.get(group)?.members().find(|member| *member.client_id == *client_id).cloned()
    }

    /// Tells whether the group has members.
    pub(crate) fn is_online(&self, group: &str) -> bool {
        read(&self.state).groups.contains_key(group)
    }

    /// Tells whether the group's heartbeats name the topic.
    pub(crate) fn is_subscribed(&self, group: &str, topic: &str) -> bool {
        read(&self.state).groups.get(group).is_some_and(|info| info.subscription(topic).is_some())
    }

    /// Returns what the group's heartbeats say of the topic.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<SubscriptionData> {
        let state = read(&self.state);
        let subscription = state.groups.get(group)?.subscription(topic)?;
        Some(subscription.data.clone())
    }

    /// Returns the groups whose heartbeats name the topic.
    pub(crate) fn subscribers_of(&self, topic: &str) -> BTreeSet<String> {
        let state = read(&self.state);
        let groups = state.groups.iter().filter(|(_, info)| info.subscription(topic).is_some());
        groups.map(|(group, _)| group.to_string()).collect()
    }

    /// Tells whether the group's heartbeats name any topic.
    pub(crate) fn has_subscriptions(&self, group: &str) -> bool {
        read(&self.state).groups.get(group).is_some_and(ConsumerGroup::has_subscriptions)
    }

    /// Returns a group as the tools see it; `None` when it has no members.
    pub(crate) fn connections(&self, group: &str) -> Option<ConsumerConnection> {
        read(&self.state).groups.get(group).map(ConsumerGroup::to_connection)
    }

    fn leave(&self, state: &mut State<C>, group: &str, channel_id: u64) -> Option<Notice<C>> {
        let info = state.groups.get_mut(group)?;
        let before = info.bytes();
        let member = info.leave(group, channel_id)?;
        info!(group, client_id = %member.client_id, peer = %member.channel.peer(),
            "consumer left");
        // Before the others are told, as they ask for its queues then.
        if !info.members().any(|other| other.client_id == member.client_id) {
            self.locks.release(group, &member.client_id);
        }
        let notice = info.notice(group);
        state.bytes -= before;
        if info.is_empty() {
            info.close(group, &self.filters);
            state.groups.remove(group);
        } else {
            state.bytes += info.bytes();
        }
        if let Some(groups) = state.groups_of_channel.get_mut(&channel_id) {
            groups.remove(group);
            if groups.is_empty() {
                state.groups_of_channel.remove(&channel_id);
            }
        }
        notice
    }

    fn notify(&self, notice: Option<Notice<C>>) {
        let Some(Notice { group, members }) = notice else { return };
        if self.config.real_time_notify_consumer_change {
            self.tell(&group, members);
        } else if self.config.notify_consumer_ids_changed_enable {
            lock(&self.untold).insert(group, members);
        }
    }

    /// Tells of the changes that were not told at once; of several of a group only once.
    pub(crate) fn notify_untold(&self) {
        let untold = std::mem::take(&mut *lock(&self.untold));
        for (group, members) in untold {
            self.tell(&group, members);
        }
    }

    fn tell(&self, group: &str, members: Vec<Arc<C>>) {
        if !self.config.notify_consumer_ids_changed_enable {
            return;
        }
        let header = NotifyConsumerIdsChangedRequestHeader { consumer_group: group.into() };
        let request =
            RemotingCommand::request(RequestCode::NOTIFY_CONSUMER_IDS_CHANGED).with_header(&header);
        for member in members {
            member.invoke_oneway(request.clone());
        }
    }
}

#[cfg(test)]
mod tests;
