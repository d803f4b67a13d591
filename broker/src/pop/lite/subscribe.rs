//! Who subscribes what, by `LITE_SUBSCRIPTION_CTL`.
//!
//! Reference: `LiteSubscriptionCtlProcessor`, `LiteSubscriptionRegistryImpl` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::body::{
    ClientGroup, LiteSubscriptionAction, LiteSubscriptionDTO, OffsetOption, OffsetOptionType,
};
use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::NotifyUnsubscribeLiteRequestHeader;
use tracing::warn;

use super::{
    LOOK_AFTER_JOINING, LiteService, QUEUE_ID, name, now, queue_name, queue_ref, whole_group,
    wildcard_name,
};
use crate::channel::Channel;
use crate::error::LiteError;
use crate::limits::MAX_LITE_SUBSCRIPTIONS;
use crate::topic_validator::is_blank;

impl LiteService {
    /// Does what a client, or a proxy for it, says.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        entry: &LiteSubscriptionDTO,
        channel: &Arc<dyn Channel>,
    ) -> Result<(), LiteError> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (client, group, topic) =
            (text(&entry.client_id), text(&entry.group), text(&entry.topic));
        if [&client, &group, &topic].iter().any(|name| is_blank(name)) {
            warn!(client, group, topic, "subscription of lite topics without a name");
            return Ok(());
        }
        let no_subscription = || LiteError::Subscription { client: client.clone() };
        let lite_topics = entry.lite_topic_set.iter().flatten();
        let queues: Option<Vec<String>> =
            lite_topics.map(|lite_topic| queue_name(&topic, lite_topic)).collect();
        let queues = queues.ok_or_else(no_subscription)?;
        let action = entry.action.ok_or_else(no_subscription)?;
        let adds = matches!(
            action,
            LiteSubscriptionAction::PartialAdd | LiteSubscriptionAction::CompleteAdd
        );
        if adds {
            let may_consume = |group: &str| {
                self.groups.find_or_create(group).is_some_and(|group| group.consume_enable)
            };
            if !may_consume(&group) {
                return Err(LiteError::State("Consumer group is not allowed to consume."));
            }
            let registry = self.registry();
            if registry.active() + queues.len() > MAX_LITE_SUBSCRIPTIONS
                || !registry.has_room_for(&client)
            {
                return Err(LiteError::Quota(MAX_LITE_SUBSCRIPTIONS as i64));
            }
        }
        match action {
            LiteSubscriptionAction::PartialAdd => {
                self.add(&client, channel, &group, &queues, entry.offset_option)
            }
            LiteSubscriptionAction::PartialRemove => {
                self.remove(&client, &group, &queues);
                Ok(())
            }
            LiteSubscriptionAction::CompleteAdd => {
                self.replace(&client, channel, &group, &topic, queues);
                Ok(())
            }
            LiteSubscriptionAction::CompleteRemove => {
                self.leave(&client);
                Ok(())
            }
        }
    }

    fn add(
        self: &Arc<Self>,
        client: &str,
        channel: &Arc<dyn Channel>,
        group: &str,
        queues: &[String],
        option: Option<OffsetOption>,
    ) -> Result<(), LiteError> {
        let most = self.config.max_lite_subscription_count;
        if self.registry().active() as i64 >= most {
            return Err(LiteError::Quota(most));
        }
        if self.takes_every_lite_topic(group) {
            return Err(LiteError::State(
                "subscribe lite operation is not supported for this group",
            ));
        }
        let is_exclusive = self.group_is(group, "lite.sub.model", "Exclusive");
        let now = now().instant;
        let member = self.registry().member(client, group, channel, now);
        for queue in queues {
            if is_exclusive {
                self.exclude_others(&member, group, queue);
            }
            self.go_on_at(group, queue, option);
            if self.registry().add(&member, queue, now) {
                self.joined(&member.group, queue);
            }
        }
        Ok(())
    }

    /// A client is to look at what was there before it came.
    fn joined(self: &Arc<Self>, group: &str, queue: &str) {
        if self.takes_every_lite_topic(group) {
            let at = now().instant + LOOK_AFTER_JOINING;
            self.events().schedule(&whole_group(group), group, at);
        } else if self.store.max_offset(queue, QUEUE_ID) > 0 {
            self.arrived(queue, Some(group));
        }
    }

    /// Takes a queue from every other client of the group, and tells them.
    fn exclude_others(&self, member: &ClientGroup, group: &str, queue: &str) {
        let resets = self.group_is(group, "lite.sub.reset.offset.exclusive", "true");
        let others = self.registry().members(queue);
        for other in others.iter().filter(|other| other.group == group && *other != member) {
            let channel = {
                let mut registry = self.registry();
                let channel = registry.channel(&other.client_id);
                registry.remove(other, queue, now().instant);
                registry.drop_if_idle(&other.client_id);
                channel
            };
            if let (Some(channel), Some((_, lite_topic))) = (channel, name::parts(queue)) {
                let header = NotifyUnsubscribeLiteRequestHeader {
                    lite_topic: lite_topic.to_owned(),
                    consumer_group: group.to_owned(),
                    client_id: other.client_id.clone(),
                };
                let notify = RequestCode::NOTIFY_UNSUBSCRIBE_LITE;
                channel.invoke_oneway(RemotingCommand::request(notify).with_header(&header));
            }
            if resets {
                self.go_on_at(group, queue, Some(first_message()));
            }
        }
    }

    fn remove(&self, client: &str, group: &str, queues: &[String]) {
        let resets = self.group_is(group, "lite.sub.reset.offset.unsubscribe", "true");
        let group = self.registry().client(client).map(|found| found.group.clone());
        let Some(group) = group else { return };
        let member = ClientGroup { client_id: client.to_owned(), group };
        for queue in queues {
            if self.registry().remove(&member, queue, now().instant) && resets {
                self.go_on_at(&member.group, queue, Some(first_message()));
            }
        }
    }

    fn replace(
        self: &Arc<Self>,
        client: &str,
        channel: &Arc<dyn Channel>,
        group: &str,
        topic: &str,
        queues: Vec<String>,
    ) {
        let takes_all = self.takes_every_lite_topic(group);
        let queues = if takes_all { vec![wildcard_name(topic, group)] } else { queues };
        let now = now().instant;
        let mut joined = Vec::new();
        let member = {
            let mut registry = self.registry();
            if takes_all {
                registry.add_wildcard(topic, group);
            }
            let member = registry.member(client, group, channel, now);
            let before = registry.client(client).map(|found| found.queues.clone());
            for queue in before.iter().flatten().filter(|queue| !queues.contains(queue)) {
                registry.remove(&member, queue, now);
            }
            joined.extend(queues.iter().filter(|queue| registry.add(&member, queue, now)));
            member
        };
        joined.into_iter().for_each(|queue| self.joined(&member.group, queue));
    }

    /// A client subscribes nothing any more: others look at what it has not.
    pub(super) fn leave(self: &Arc<Self>, client: &str) {
        let Some(group) = self.registry().remove_client(client, now().instant) else { return };
        let left = self.events().remove(client);
        left.iter().for_each(|queue| self.dispatch(queue, Some(&group), Some(client)));
    }

    fn go_on_at(&self, group: &str, queue: &str, option: Option<OffsetOption>) {
        let Some(OffsetOption { kind: Some(kind), value }) = option else { return };
        let present = self.offsets.query(group, queue, QUEUE_ID);
        let target = match (kind, value) {
            (OffsetOptionType::Policy, OffsetOption::MIN) => Some(0),
            (OffsetOptionType::Policy, OffsetOption::MAX) => {
                Some(self.store.max_offset(queue, QUEUE_ID))
            }
            (OffsetOptionType::Offset, offset) => Some(offset),
            (OffsetOptionType::TailN, count) => {
                present.map(|present| present.saturating_sub(count).max(0))
            }
            // The reference does nothing about a time.
            (OffsetOptionType::Policy | OffsetOptionType::Timestamp, _) => None,
        };
        if let Some(target) = target.filter(|target| Some(*target) != present && *target >= 0) {
            self.offsets.assign_reset(group, queue, QUEUE_ID, target);
            self.order.forget(queue_ref(group, queue));
        }
    }
}

fn first_message() -> OffsetOption {
    OffsetOption { kind: Some(OffsetOptionType::Policy), value: OffsetOption::MIN }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::SubscriptionGroupConfig;

    use super::*;
    use crate::channel::testing::TestChannel;
    use crate::processor::testing::managers;

    fn adds(client: &str) -> LiteSubscriptionDTO {
        LiteSubscriptionDTO {
            action: Some(LiteSubscriptionAction::PartialAdd),
            client_id: Some(client.to_owned()),
            group: Some("g".to_owned()),
            topic: Some("t".to_owned()),
            lite_topic_set: Some(["a".to_owned()].into()),
            ..LiteSubscriptionDTO::default()
        }
    }

    fn channel(id: u64) -> (Arc<TestChannel>, Arc<dyn Channel>) {
        let channel = TestChannel::new(id);
        (Arc::clone(&channel), channel)
    }

    #[test]
    fn nothing_is_kept_of_a_client_that_is_refused() {
        let m = managers(|config| config.max_lite_subscription_count = 0);
        let (lite, (_, connection)) = (m.lite(), channel(1));
        assert!(matches!(lite.subscribe(&adds("one"), &connection), Err(LiteError::Quota(0))));
        assert!(lite.registry().channel("one").is_none());
    }

    #[test]
    fn nothing_is_kept_of_a_client_that_another_one_has_taken_everything_from() {
        let m = managers(|_| ());
        let attributes = [("+lite.sub.model".to_owned(), "Exclusive".to_owned())].into();
        let group = SubscriptionGroupConfig { attributes, ..SubscriptionGroupConfig::new("g") };
        m.groups.update(group).unwrap();
        let (lite, (one, first), (_, second)) = (m.lite(), channel(1), channel(2));
        lite.subscribe(&adds("one"), &first).unwrap();
        lite.subscribe(&adds("two"), &second).unwrap();
        assert_eq!(one.take_sent().len(), 1, "it is told");
        let registry = lite.registry();
        assert!(registry.client("one").is_none() && registry.channel("one").is_none());
        assert!(registry.channel("two").is_some());
    }
}
