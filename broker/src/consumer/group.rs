//! One consumer group that has members.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use oxmq_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerConnection, ConsumerData, MessageModel,
    SubscriptionData, is_tag_type,
};
use tracing::{info, warn};

use super::Notice;
use super::differences::Differences;
use crate::channel::{Channel, ClientInfo};
use crate::error::RequestError;
use crate::filter::{ConsumerFilters, FilterProblem, MessageFilter};

/// What a group wants of one topic.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) data: SubscriptionData,
    /// Compiled once.
    filter: Result<MessageFilter, FilterProblem>,
    bytes: usize,
}

/// What a member of a group takes, about, and what is said of its wants.
const MEMBER_BYTES: usize = 512;

/// What a subscription takes, about.
fn bytes_of(data: &SubscriptionData) -> usize {
    let tags: usize = data.tags_set.iter().map(|tag| 48 + tag.len()).sum();
    256 + 2 * data.topic.len() + data.sub_string.len() + tags + 24 * data.code_set.len()
}

impl Subscription {
    fn new(group: &str, data: SubscriptionData, filters: &ConsumerFilters) -> Self {
        let filter = if !is_tag_type(&data.expression_type) {
            let compiled = filters.register(group, &data);
            let all = data.class_filter_mode;
            compiled.map(|sql| if all { MessageFilter::All } else { MessageFilter::Sql(sql) })
        } else if data.class_filter_mode || data.sub_string.trim() == "*" {
            Ok(MessageFilter::All)
        } else if data.code_set.is_empty() {
            // Some clients leave the codes to the broker.
            Ok(MessageFilter::from_tags(&data.sub_string).unwrap_or(MessageFilter::All))
        } else {
            Ok(MessageFilter::from_codes(data.code_set.iter().copied()))
        };
        let bytes = bytes_of(&data);
        Self { data, filter, bytes }
    }

    /// # Errors
    /// When the expression cannot be compiled, or such expressions are switched off.
    pub(super) fn filter(&self, sql_enabled: bool) -> Result<MessageFilter, RequestError> {
        let filter = self.filter.clone()?;
        if !sql_enabled && !is_tag_type(&self.data.expression_type) {
            let kind = self.data.expression_type.clone();
            return Err(RequestError::FilterTypeNotSupported(kind));
        }
        Ok(filter)
    }
}

/// Members and subscriptions of a group.
#[derive(Debug)]
pub(super) struct ConsumerGroup<C> {
    /// By connection id.
    members: HashMap<u64, ClientInfo<C>>,
    /// By topic.
    subscriptions: HashMap<Box<str>, Subscription>,
    consume_type: Option<ConsumeType>,
    message_model: Option<MessageModel>,
    consume_from_where: Option<ConsumeFromWhere>,
    /// Digest of the subscriptions in the last heartbeat.
    pub(super) fingerprint: Option<i32>,
    differences: Differences,
    /// When it was last shared out anew.
    changed: Instant,
}

impl<C> Default for ConsumerGroup<C> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            subscriptions: HashMap::new(),
            consume_type: None,
            message_model: None,
            consume_from_where: None,
            fingerprint: None,
            differences: Differences::default(),
            changed: Instant::now(),
        }
    }
}

impl<C: Channel> ConsumerGroup<C> {
    /// The latest heartbeat decides how the group consumes.
    pub(super) fn set_mode(&mut self, data: &ConsumerData) {
        self.consume_type = data.consume_type;
        self.message_model = data.message_model;
        self.consume_from_where = data.consume_from_where;
    }

    /// What the group takes, about.
    pub(super) fn bytes(&self) -> usize {
        let subscriptions: usize = self.subscriptions.values().map(|it| it.bytes).sum();
        MEMBER_BYTES * self.members.len() + subscriptions
    }

    /// What it would take once a client has said what it wants.
    pub(super) fn bytes_with(&self, channel_id: u64, wants: &[SubscriptionData]) -> usize {
        let is_new = !self.members.contains_key(&channel_id);
        let wanted: usize = wants.iter().map(bytes_of).sum();
        MEMBER_BYTES * (self.members.len() + usize::from(is_new)) + wanted
    }

    /// Adds a client, or notes that it is still there. Returns whether its connection is new.
    pub(super) fn join(&mut self, client: &ClientInfo<C>) -> bool {
        let Some(member) = self.members.get_mut(&client.channel.id()) else {
            self.members.insert(client.channel.id(), client.clone());
            self.changed = client.last_seen;
            return true;
        };
        if member.client_id != client.client_id {
            warn!(before = %member.client_id, after = %client.client_id,
                peer = %client.channel.peer(), "client changed its id on a connection");
        }
        *member = client.clone();
        false
    }

    pub(super) fn leave(&mut self, group: &str, channel_id: u64) -> Option<ClientInfo<C>> {
        let member = self.members.remove(&channel_id)?;
        self.changed = Instant::now();
        self.differences.left(group, channel_id, self.changed);
        Some(member)
    }

    /// Notes what a member wants, to be held against what the others want.
    pub(super) fn note_wants(
        &mut self,
        group: &str,
        client: &ClientInfo<C>,
        subscriptions: &[SubscriptionData],
    ) {
        let member = (client.channel.id(), &*client.client_id);
        self.differences.said(group, member, subscriptions, client.last_seen);
    }

    /// Whether members want different things.
    pub(super) fn has_differences(&self) -> bool {
        self.differences.exist()
    }

    /// Topics that members share the queues of, and since when they are shared like that.
    pub(super) fn shared_topics(&self) -> impl Iterator<Item = (&str, Instant)> {
        let is_shared = self.consume_type == Some(ConsumeType::ConsumePassively)
            && self.message_model == Some(MessageModel::Clustering);
        let topics = self.subscriptions.keys().filter(move |_| is_shared);
        topics.map(|topic| (&**topic, self.changed))
    }

    /// Takes over the subscriptions of a heartbeat. Returns whether the set of topics changed: a
    /// newer version of a known topic is taken too but is no change.
    pub(super) fn subscribe(
        &mut self,
        group: &str,
        subscriptions: &[SubscriptionData],
        filters: &ConsumerFilters,
    ) -> bool {
        let mut changed = false;
        for data in subscriptions {
            match self.subscriptions.get_mut(data.topic.as_str()) {
                None => {
                    info!(group, topic = data.topic, expression = data.sub_string, "subscribed");
                    let subscription = Subscription::new(group, data.clone(), filters);
                    self.subscriptions.insert(data.topic.as_str().into(), subscription);
                    changed = true;
                }
                Some(known) if data.sub_version > known.data.sub_version => {
                    *known = Subscription::new(group, data.clone(), filters);
                }
                Some(_) => {}
            }
        }
        let topics: HashSet<_> = subscriptions.iter().map(|data| data.topic.as_str()).collect();
        self.subscriptions.retain(|topic, subscription| {
            let kept = topics.contains(&**topic);
            if !kept {
                if !is_tag_type(&subscription.data.expression_type) {
                    filters.unregister(group, topic);
                }
                warn!(group, %topic, "subscription removed by a heartbeat without it");
                changed = true;
            }
            kept
        });
        changed
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &ClientInfo<C>> {
        self.members.values()
    }

    pub(super) fn member(&self, channel_id: u64) -> Option<&ClientInfo<C>> {
        self.members.get(&channel_id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn is_broadcasting(&self) -> bool {
        self.message_model == Some(MessageModel::Broadcasting)
    }

    pub(super) fn is_pushed_to(&self) -> bool {
        self.consume_type == Some(ConsumeType::ConsumePassively)
    }

    pub(super) fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// The last member has gone.
    pub(super) fn close(&self, group: &str, filters: &ConsumerFilters) {
        for (topic, subscription) in &self.subscriptions {
            if !is_tag_type(&subscription.data.expression_type) {
                filters.unregister(group, topic);
            }
        }
    }

    pub(super) fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// Who has to hear that the group changed; members that get every message have nothing to share.
    pub(super) fn notice(&self, group: &str) -> Option<Notice<C>> {
        let members = || self.members.values().map(|member| Arc::clone(&member.channel)).collect();
        (!self.is_broadcasting()).then(|| Notice { group: group.into(), members: members() })
    }

    pub(super) fn to_connection(&self) -> ConsumerConnection {
        let subscriptions = self.subscriptions.iter();
        ConsumerConnection {
            connection_set: self.members.values().map(ClientInfo::to_connection).collect(),
            subscription_table: subscriptions
                .map(|(topic, subscription)| (topic.to_string(), subscription.data.clone()))
                .collect(),
            consume_type: self.consume_type,
            message_model: self.message_model,
            consume_from_where: self.consume_from_where,
        }
    }
}
