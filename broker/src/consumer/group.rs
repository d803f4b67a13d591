//! One consumer group that has members.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use oxmq_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerConnection, ConsumerData, MessageModel,
    SubscriptionData, is_tag_type,
};
use tracing::{info, warn};

use super::Notice;
use crate::channel::{Channel, ClientInfo};
use crate::filter::MessageFilter;

/// What a group wants of one topic.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) data: SubscriptionData,
    /// Compiled once; `None` for a kind of expression that is not supported.
    pub(super) filter: Option<MessageFilter>,
}

impl Subscription {
    fn new(data: SubscriptionData) -> Self {
        let filter = if data.class_filter_mode || data.sub_string.trim() == "*" {
            Some(MessageFilter::All)
        } else if !is_tag_type(&data.expression_type) {
            None
        } else if data.code_set.is_empty() {
            // Some clients leave the codes to the broker.
            Some(MessageFilter::from_tags(&data.sub_string))
        } else {
            Some(MessageFilter::from_codes(data.code_set.iter().copied()))
        };
        Self { data, filter }
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
}

impl<C> Default for ConsumerGroup<C> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            subscriptions: HashMap::new(),
            consume_type: None,
            message_model: None,
            consume_from_where: None,
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

    /// Adds a client, or notes that it is still there. Returns whether its connection is new.
    pub(super) fn join(&mut self, client: &ClientInfo<C>) -> bool {
        let Some(member) = self.members.get_mut(&client.channel.id()) else {
            self.members.insert(client.channel.id(), client.clone());
            return true;
        };
        if member.client_id != client.client_id {
            warn!(before = %member.client_id, after = %client.client_id,
                peer = %client.channel.peer(), "client changed its id on a connection");
        }
        *member = client.clone();
        false
    }

    pub(super) fn leave(&mut self, channel_id: u64) -> Option<ClientInfo<C>> {
        self.members.remove(&channel_id)
    }

    /// Takes over the subscriptions of a heartbeat. Returns whether the set of topics changed: a
    /// newer version of a known topic is taken too but is no change.
    pub(super) fn subscribe(&mut self, group: &str, subscriptions: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for data in subscriptions {
            match self.subscriptions.get_mut(data.topic.as_str()) {
                None => {
                    info!(group, topic = data.topic, expression = data.sub_string, "subscribed");
                    let subscription = Subscription::new(data.clone());
                    self.subscriptions.insert(data.topic.as_str().into(), subscription);
                    changed = true;
                }
                Some(known) if data.sub_version > known.data.sub_version => {
                    *known = Subscription::new(data.clone());
                }
                Some(_) => {}
            }
        }
        let topics: HashSet<_> = subscriptions.iter().map(|data| data.topic.as_str()).collect();
        self.subscriptions.retain(|topic, _| {
            let kept = topics.contains(&**topic);
            if !kept {
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

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn is_broadcasting(&self) -> bool {
        self.message_model == Some(MessageModel::Broadcasting)
    }

    pub(super) fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
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
