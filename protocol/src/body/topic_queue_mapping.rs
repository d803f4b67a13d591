//! Static topics: logical queues and where their parts are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, TopicConfig, TopicFilterType};

/// Which logical queues of a static topic a broker serves now.
///
/// Reference: `TopicQueueMappingInfo` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingInfo {
    /// Broker.
    pub bname: Option<String>,
    /// Logical queue to physical queue.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the mapping is under way.
    pub dirty: bool,
    /// Grows with each remapping.
    pub epoch: i64,
    /// Always `__global__`.
    pub scope: String,
    /// Topic.
    pub topic: Option<String>,
    /// Logical queues in all.
    pub total_queues: i32,
}

/// Where logical queues live when nothing else is said.
const GLOBAL_SCOPE: &str = "__global__";

impl Default for TopicQueueMappingInfo {
    fn default() -> Self {
        Self {
            bname: None,
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            scope: GLOBAL_SCOPE.to_owned(),
            topic: None,
            total_queues: 0,
        }
    }
}

/// The mapping of a static topic on one broker, in full.
///
/// Reference: `TopicQueueMappingDetail` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingDetail {
    /// Broker.
    pub bname: Option<String>,
    /// Logical queue to physical queue.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the mapping is under way.
    pub dirty: bool,
    /// Grows with each remapping.
    pub epoch: i64,
    /// The parts of each logical queue.
    pub hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
    /// Always `__global__`.
    pub scope: String,
    /// Topic.
    pub topic: Option<String>,
    /// Logical queues in all.
    pub total_queues: i32,
}

impl Default for TopicQueueMappingDetail {
    fn default() -> Self {
        Self {
            bname: None,
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            hosted_queues: BTreeMap::new(),
            scope: GLOBAL_SCOPE.to_owned(),
            topic: None,
            total_queues: 0,
        }
    }
}

impl TopicQueueMappingDetail {
    /// The mapping in brief, as name servers and clients get it: the queues that the broker leads.
    ///
    /// Reference: `TopicQueueMappingDetail.cloneAsMappingInfo` (remoting), 5.5.0.
    pub fn info(&self) -> TopicQueueMappingInfo {
        let leads = |items: &Vec<LogicQueueMappingItem>| {
            items.last().filter(|item| item.bname == self.bname).map(|item| item.queue_id)
        };
        let led = self.hosted_queues.iter().filter_map(|(id, items)| Some((*id, leads(items)?)));
        TopicQueueMappingInfo {
            bname: self.bname.clone(),
            curr_id_map: led.collect(),
            epoch: self.epoch,
            topic: self.topic.clone(),
            total_queues: self.total_queues,
            ..TopicQueueMappingInfo::default()
        }
    }
}

/// One part of a logical queue.
///
/// Reference: `LogicQueueMappingItem` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogicQueueMappingItem {
    /// Broker of the part.
    pub bname: Option<String>,
    /// Physical offset behind the last; -1 while it grows.
    pub end_offset: i64,
    /// Number of the part.
    #[serde(rename = "gen")]
    pub generation: i32,
    /// Logical offset of its first message.
    pub logic_offset: i64,
    /// Physical queue.
    pub queue_id: i32,
    /// Physical offset of its first message.
    pub start_offset: i64,
    /// When it ended, ms; -1 while it grows.
    pub time_of_end: i64,
    /// When it began, ms; -1 unknown.
    pub time_of_start: i64,
}

impl Default for LogicQueueMappingItem {
    fn default() -> Self {
        Self {
            bname: None,
            end_offset: -1,
            generation: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}

/// Offsets of the part, in the physical queue and in the logical one. A part that a peer has made up may
/// have any numbers: they end at the range of their type.
impl LogicQueueMappingItem {
    /// Whether its place in the logical queue is known. That of a new part is not before the part in front of
    /// it has been closed.
    pub fn has_begun(&self) -> bool {
        self.logic_offset >= 0
    }

    /// Whether it has an end.
    pub fn has_ended(&self) -> bool {
        self.end_offset > self.start_offset
    }

    /// The logical offset of a message. What lies before the part counts as its beginning.
    pub fn logic_offset_of(&self, queue_offset: i64) -> i64 {
        self.logic_offset.saturating_add(queue_offset.saturating_sub(self.start_offset).max(0))
    }

    /// The same; what lies behind the part counts as its end, and a part that has not begun has -1.
    pub fn logic_offset_within(&self, queue_offset: i64) -> i64 {
        if !self.has_begun() {
            return -1;
        }
        match self.end_offset >= self.start_offset {
            true => self.logic_offset_of(queue_offset.min(self.end_offset)),
            false => self.logic_offset_of(queue_offset),
        }
    }

    /// The offset in the physical queue.
    pub fn queue_offset_of(&self, logic_offset: i64) -> i64 {
        logic_offset.saturating_sub(self.logic_offset).saturating_add(self.start_offset)
    }

    /// The logical offset behind the last message, as far as that is settled.
    pub fn settled_logic_offset(&self) -> i64 {
        self.logic_offset_of(self.end_offset)
    }

    /// What is to be added to an offset of the physical queue.
    pub fn offset_delta(&self) -> i64 {
        self.logic_offset.saturating_sub(self.start_offset)
    }
}

/// The static topics of a broker, as in `topicQueueMapping.json`.
///
/// Reference: `TopicQueueMappingSerializeWrapper` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingSerializeWrapper {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic name.
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingDetail>,
}

/// Answer to `GET_TOPIC_CONFIG` (351): a topic, and its mapping if it is a static one and that is asked for.
///
/// Reference: `TopicConfigAndQueueMapping` (remoting), 5.5.0: a `TopicConfig` with one more member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndQueueMapping {
    /// As [`TopicConfig::attributes`].
    pub attributes: BTreeMap<String, String>,
    /// The mapping.
    pub mapping_detail: Option<TopicQueueMappingDetail>,
    /// As [`TopicConfig::order`].
    pub order: bool,
    /// As [`TopicConfig::perm`].
    pub perm: i32,
    /// As [`TopicConfig::read_queue_nums`].
    pub read_queue_nums: i32,
    /// As [`TopicConfig::topic_filter_type`].
    pub topic_filter_type: TopicFilterType,
    /// As [`TopicConfig::topic_name`].
    pub topic_name: String,
    /// As [`TopicConfig::topic_sys_flag`].
    pub topic_sys_flag: i32,
    /// As [`TopicConfig::write_queue_nums`].
    pub write_queue_nums: i32,
}

impl TopicConfigAndQueueMapping {
    /// Puts the two together.
    pub fn new(topic: TopicConfig, mapping_detail: Option<TopicQueueMappingDetail>) -> Self {
        Self {
            attributes: topic.attributes,
            mapping_detail,
            order: topic.order,
            perm: topic.perm,
            read_queue_nums: topic.read_queue_nums,
            topic_filter_type: topic.topic_filter_type,
            topic_name: topic.topic_name,
            topic_sys_flag: topic.topic_sys_flag,
            write_queue_nums: topic.write_queue_nums,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(logic_offset: i64, start_offset: i64, end_offset: i64) -> LogicQueueMappingItem {
        LogicQueueMappingItem { logic_offset, start_offset, end_offset, ..Default::default() }
    }

    #[test]
    fn offsets_of_a_part_are_counted_from_its_beginning() {
        let open = item(10_000, 5, -1);
        assert_eq!(open.logic_offset_of(7), 10_002);
        assert_eq!(open.logic_offset_of(2), 10_000, "what lies before it");
        assert_eq!(open.logic_offset_within(70), 10_065);
        assert_eq!(open.queue_offset_of(10_002), 7);
        assert_eq!((open.offset_delta(), open.settled_logic_offset()), (9_995, 10_000));
        let closed = item(0, 0, 4);
        assert!(closed.has_ended() && !open.has_ended());
        assert_eq!((closed.logic_offset_within(9), closed.logic_offset_of(9)), (4, 9));
        assert_eq!(closed.settled_logic_offset(), 4);
        let new = item(-1, 0, -1);
        assert!(!new.has_begun() && open.has_begun());
        assert_eq!(new.logic_offset_within(3), -1);
    }

    #[test]
    fn part_with_numbers_at_the_end_of_their_range_does_not_overflow() {
        for logic in [i64::MIN, i64::MAX] {
            for start in [i64::MIN, i64::MAX] {
                let item = item(logic, start, i64::MAX);
                for offset in [i64::MIN, 0, i64::MAX] {
                    let _ = item.logic_offset_of(offset);
                    let _ = (item.logic_offset_within(offset), item.queue_offset_of(offset));
                }
                let _ = (item.offset_delta(), item.settled_logic_offset());
            }
        }
    }

    #[test]
    fn mapping_in_brief_has_the_queues_that_the_broker_leads() {
        let at = |bname: &str, queue_id| LogicQueueMappingItem {
            bname: Some(bname.to_owned()),
            queue_id,
            ..Default::default()
        };
        let mapping = TopicQueueMappingDetail {
            bname: Some("a".to_owned()),
            epoch: 7,
            topic: Some("t".to_owned()),
            total_queues: 3,
            hosted_queues: BTreeMap::from([
                (0, vec![at("a", 4)]),
                (1, vec![at("a", 5), at("b", 0)]),
                (2, vec![]),
            ]),
            ..Default::default()
        };
        let info = mapping.info();
        assert_eq!(info.curr_id_map, BTreeMap::from([(0, 4)]));
        assert_eq!((info.epoch, info.total_queues), (7, 3));
        assert_eq!((info.bname, info.topic), (mapping.bname, mapping.topic));
    }
}
