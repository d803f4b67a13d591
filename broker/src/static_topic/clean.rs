//! Drops from the mappings what nobody needs any more: parts without a message, and queues that have moved on to a
//! third broker.
//!
//! Reference: `TopicQueueMappingCleanService` (broker), 5.5.0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oxmq_protocol::body::{
    LogicQueueMappingItem, MessageQueue, TopicConfigAndQueueMapping, TopicQueueMappingDetail,
    TopicQueueMappingInfo, TopicStatsTable,
};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson;
use oxmq_store::MessageStore;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use super::StaticTopics;
use crate::sync::{lock, read, write};

/// What is to go from one mapping.
#[derive(Debug, Default, PartialEq, Eq)]
struct Waste {
    /// First parts, by queue.
    parts: BTreeMap<i32, LogicQueueMappingItem>,
    queues: BTreeSet<i32>,
}

impl StaticTopics {
    /// Looks once at all mappings.
    pub(crate) async fn clean(&self, store: &MessageStore) {
        let mappings: Vec<_> = read(&self.table).values().cloned().collect();
        for mapping in mappings {
            let parts = self.empty_parts(&mapping, store).await;
            let queues = self.queues_gone(&mapping).await;
            self.drop_waste(&mapping, &Waste { parts, queues });
        }
    }

    /// First parts of the queues that are led here that have lost all their messages, or never had one.
    async fn empty_parts(
        &self,
        mapping: &TopicQueueMappingDetail,
        store: &MessageStore,
    ) -> BTreeMap<i32, LogicQueueMappingItem> {
        let mut empty = BTreeMap::new();
        let mut tables: BTreeMap<&str, Option<TopicStatsTable>> = BTreeMap::new();
        let topic = mapping.topic.as_deref().unwrap_or_default();
        for (id, items) in &mapping.hosted_queues {
            let is_led_here = items.last().is_some_and(|leader| leader.bname == mapping.bname);
            let [first, next, ..] = items.as_slice() else { continue };
            if !is_led_here || !next.has_begun() {
                continue;
            }
            let name = first.bname.as_deref().unwrap_or_default();
            let bounds = if first.bname == mapping.bname {
                Some(store.bounds(topic, first.queue_id))
            } else {
                if !tables.contains_key(name) {
                    let request = about(RequestCode::GET_TOPIC_STATS_INFO, topic, name, false);
                    tables.insert(name, self.read_of(name, request).await);
                }
                tables.get(name).and_then(Option::as_ref).and_then(|table| {
                    let queue = MessageQueue {
                        topic: topic.to_owned(),
                        broker_name: name.to_owned(),
                        queue_id: first.queue_id,
                    };
                    table.offset_table.get(&queue).map(|it| (it.min_offset, it.max_offset))
                })
            };
            if bounds.is_some_and(|(min, max)| max == min || max == 0) {
                empty.insert(*id, first.clone());
            }
        }
        empty
    }

    /// Queues that were passed on to a broker that has passed them on in turn: nobody asks here for them.
    async fn queues_gone(&self, mapping: &TopicQueueMappingDetail) -> BTreeSet<i32> {
        let topic = mapping.topic.as_deref().unwrap_or_default();
        let passed_on = |items: &Vec<LogicQueueMappingItem>| {
            items.last().is_some_and(|leader| leader.bname != mapping.bname)
        };
        if !mapping.hosted_queues.values().any(passed_on) {
            return BTreeSet::new();
        }
        let route = self.others.route(topic).await;
        let infos = route.and_then(|route| route.topic_queue_mapping_by_broker).unwrap_or_default();
        let mut remote: BTreeMap<String, Option<TopicQueueMappingDetail>> = BTreeMap::new();
        let mut gone = BTreeSet::new();
        for (id, items) in &mapping.hosted_queues {
            let Some(leader) = leader_of(*id, &infos) else { continue };
            if !passed_on(items) || mapping.bname.as_deref() == Some(leader) {
                continue;
            }
            if !remote.contains_key(leader) {
                let request = about(RequestCode::GET_TOPIC_CONFIG, topic, leader, true);
                let topic = self.read_of::<TopicConfigAndQueueMapping>(leader, request).await;
                remote.insert(leader.to_owned(), topic.and_then(|topic| topic.mapping_detail));
            }
            let there = remote.get(leader).and_then(Option::as_ref);
            if there.is_some_and(|there| has_moved_on(*id, mapping, leader, there)) {
                gone.insert(*id);
            }
        }
        gone
    }

    async fn read_of<T: DeserializeOwned>(
        &self,
        name: &str,
        request: RemotingCommand,
    ) -> Option<T> {
        let answer = match self.others.ask(name, request).await {
            Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => answer,
            Ok(answer) => {
                warn!(broker = name, answer = %answer.response_code(), "static topic not looked at");
                return None;
            }
            Err(error) => {
                warn!(broker = name, %error, "static topic not looked at");
                return None;
            }
        };
        fastjson::from_slice(&answer.body)
            .inspect_err(|error| warn!(broker = name, %error, "static topic not read"))
            .ok()
    }

    /// Takes it out, unless the mapping has changed meanwhile.
    fn drop_waste(&self, mapping: &Arc<TopicQueueMappingDetail>, waste: &Waste) {
        if *waste == Waste::default() {
            return;
        }
        let topic = mapping.topic.as_deref().unwrap_or_default();
        let mut data_version = lock(&self.data_version);
        let mut table = write(&self.table);
        let Some(current) = table.get_mut(topic).filter(|it| Arc::ptr_eq(it, mapping)) else {
            return;
        };
        let mut left = TopicQueueMappingDetail::clone(mapping);
        left.hosted_queues.retain(|id, _| !waste.queues.contains(id));
        for (id, part) in &waste.parts {
            if let Some(items) = left.hosted_queues.get_mut(id) {
                items.retain(|item| item != part);
            }
        }
        *current = Arc::new(left);
        drop(table);
        info!(topic, ?waste, "dropped from the mapping of a static topic");
        self.bump(&mut data_version);
        self.save.notify();
    }
}

/// A request about a topic, to the broker called `name`.
fn about(code: RequestCode, topic: &str, name: &str, is_logical: bool) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    request.ext_fields.insert("topic", topic);
    request.ext_fields.insert("bname", name);
    request.ext_fields.insert("lo", is_logical.to_string());
    request
}

/// The broker that leads a queue, as the newest mapping has it that the name server knows.
fn leader_of(id: i32, infos: &BTreeMap<String, TopicQueueMappingInfo>) -> Option<&str> {
    let leads = |(_, info): &(_, &TopicQueueMappingInfo)| info.curr_id_map.contains_key(&id);
    let newest = infos.iter().filter(leads).max_by_key(|(_, info)| info.epoch);
    newest.map(|(name, _)| name.as_str())
}

/// Whether the mapping of the broker that leads the queue says so, too, and it is not the one it was passed on to.
fn has_moved_on(
    id: i32,
    here: &TopicQueueMappingDetail,
    leader: &str,
    there: &TopicQueueMappingDetail,
) -> bool {
    let last = |of: &TopicQueueMappingDetail| of.hosted_queues.get(&id)?.last()?.bname.clone();
    there.total_queues == here.total_queues
        && there.epoch == here.epoch
        && last(there).as_deref() == Some(leader)
        && last(here).as_deref() != Some(leader)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{item, mapping};
    use super::*;
    use crate::processor::testing::managers;

    #[tokio::test]
    async fn first_part_without_a_message_is_dropped_once_the_next_one_has_begun() {
        let m = managers(|_| ());
        // The items' physical queues are 4 and 5.
        m.put("t", 5, "a");
        let topics = &m.static_topics;
        let items = |logic_offset| [item(0, "a", 0, 4), item(1, "a", logic_offset, -1)];
        topics.update("t", mapping(1, &[(0, &items(-1))]), true).unwrap();
        topics.clean(&m.store).await;
        assert_eq!(topics.get("t").unwrap().hosted_queues[&0].len(), 2);
        let both = [(0, &items(10)[..]), (1, &[item(1, "a", 0, 1), item(2, "a", 10, -1)][..])];
        topics.update("t", mapping(2, &both), true).unwrap();
        let version = topics.snapshot().data_version.counter;
        topics.clean(&m.store).await;
        let left = topics.get("t").unwrap();
        assert_eq!(left.hosted_queues[&0], [item(1, "a", 10, -1)]);
        assert_eq!(left.hosted_queues[&1].len(), 2, "there is a message");
        assert_eq!(topics.snapshot().data_version.counter, version + 1);
        topics.clean(&m.store).await;
        assert_eq!(topics.snapshot().data_version.counter, version + 1, "nothing is left to drop");
    }

    #[test]
    fn queue_has_moved_on_when_a_third_broker_says_that_it_leads_it() {
        let here = mapping(3, &[(0, &[item(0, "a", 0, 4), item(1, "b", 10, -1)])]);
        let there = mapping(3, &[(0, &[item(1, "b", 10, 4), item(2, "c", 20, -1)])]);
        assert!(has_moved_on(0, &here, "c", &there));
        assert!(!has_moved_on(0, &here, "b", &there), "it does not lead it any more");
        assert!(!has_moved_on(0, &here, "b", &here), "it has not moved on");
        assert!(!has_moved_on(1, &here, "c", &there), "there is no such queue");
        assert!(!has_moved_on(0, &here, "c", &TopicQueueMappingDetail { epoch: 4, ..there }));
    }

    #[test]
    fn leader_is_whom_the_newest_mapping_names() {
        let info = |epoch, queues: &[i32]| TopicQueueMappingInfo {
            epoch,
            curr_id_map: queues.iter().map(|id| (*id, 0)).collect(),
            ..TopicQueueMappingInfo::default()
        };
        let infos = BTreeMap::from([
            ("a".to_owned(), info(1, &[0, 1])),
            ("b".to_owned(), info(2, &[0])),
            ("c".to_owned(), info(3, &[])),
        ]);
        assert_eq!([0, 1, 2].map(|id| leader_of(id, &infos)), [Some("b"), Some("a"), None]);
    }
}
