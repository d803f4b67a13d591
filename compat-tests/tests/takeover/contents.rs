//! Everything that a broker tells of the store under test.

use std::collections::BTreeMap;

use oxmq_compat_tests::wire::Conn;
use oxmq_compat_tests::{Kind, Record, message_ops as more, ops};
use serde_json::Value;

use crate::messages;

const READER: &str = "takeover_reader";
/// Fields that every release has.
const TOPIC_FIELDS: [&str; 6] =
    ["order", "perm", "readQueueNums", "topicFilterType", "topicSysFlag", "writeQueueNums"];
const GROUP_FIELDS: [&str; 7] = [
    "brokerId",
    "consumeBroadcastEnable",
    "consumeEnable",
    "consumeFromMinEnable",
    "notifyConsumerIdsChangedEnable",
    "retryMaxTimes",
    "retryQueueNums",
];

/// A queue: topic and id.
type Place = (String, i32);

/// What can be asked about in a test.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Lookups by key, where an index has to be there.
    pub(crate) keys: bool,
    /// Offsets by time: releases before 5.0 choose any of several messages of one time.
    pub(crate) times: bool,
    /// Who wrote first, which decides what there is.
    pub(crate) first: Kind,
}

/// What is in a store.
pub(crate) struct Contents {
    records: BTreeMap<Place, Vec<Record>>,
    min_max: BTreeMap<Place, (i64, i64)>,
    /// The offset found for the store time of the message in the middle.
    by_time: BTreeMap<Place, i64>,
    committed: BTreeMap<(String, Place), Option<i64>>,
    topics: BTreeMap<String, Value>,
    groups: BTreeMap<String, Value>,
    /// Half messages: old releases let nobody pull them.
    halves: Vec<Record>,
    /// Positions of what is found for a key.
    by_key: BTreeMap<(String, String), Vec<i64>>,
}

impl Contents {
    /// Reads all that is asked about, with the half messages at these positions.
    pub(crate) fn read(conn: &mut Conn, halves: &[i64], asked: Asked) -> Self {
        // An independent group: reading must not depend on what the groups under test did.
        ops::heartbeat(conn, "takeover-client", READER, messages::PLAIN.0);
        let mut contents = Self {
            records: BTreeMap::new(),
            min_max: BTreeMap::new(),
            by_time: BTreeMap::new(),
            committed: BTreeMap::new(),
            topics: select(&more::topic_configs(conn), &TOPIC_FIELDS),
            groups: select(&more::group_configs(conn), &GROUP_FIELDS),
            halves: halves.iter().map(|at| more::view_message(conn, *at)).collect(),
            by_key: BTreeMap::new(),
        };
        for place in messages::queues(asked.first) {
            contents.read_queue(conn, place, asked);
        }
        if asked.keys {
            contents.look_up_keys(conn);
        }
        contents
    }

    fn read_queue(&mut self, conn: &mut Conn, place: Place, asked: Asked) {
        let (topic, queue) = (place.0.as_str(), place.1);
        let min = ops::min_offset(conn, topic, queue);
        let max = ops::max_offset(conn, topic, queue);
        let records = ops::walk_queue(conn, READER, topic, queue, min);
        if let Some(middle) = records.get(records.len() / 2) {
            // Of several records of one time in a batch queue, the reference means the last.
            if asked.times && topic != messages::INNER {
                let at = ops::search_offset(conn, topic, queue, middle.store_timestamp_ms);
                self.by_time.insert(place.clone(), at);
            }
            assert_eq!(more::view_message(conn, middle.phy_offset), *middle, "{place:?}");
        }
        // Where nothing was committed, releases before 5.0 say 0.
        for group in messages::groups_with_offset(topic, queue) {
            let committed = ops::committed_offset(conn, group, topic, queue);
            assert!(committed.is_some(), "{group} {place:?}");
            self.committed.insert((group.to_owned(), place.clone()), committed);
        }
        self.min_max.insert(place.clone(), (min, max));
        self.records.insert(place, records);
    }

    fn look_up_keys(&mut self, conn: &mut Conn) {
        let mut keys: Vec<_> = messages::keys()
            .into_iter()
            .map(|(topic, key)| (topic.to_owned(), key, false))
            .collect();
        for half in &self.halves {
            keys.push((half.topic.clone(), half.properties["UNIQ_KEY"].clone(), true));
        }
        // The unique keys of the first and the last message of each queue.
        for records in self.records.values() {
            for record in records.first().into_iter().chain(records.last()) {
                if let Some(key) = record.properties.get("UNIQ_KEY") {
                    keys.push((record.topic.clone(), key.clone(), true));
                }
            }
        }
        for (topic, key, unique) in keys {
            let expected = self.with_key(&topic, &key, unique);
            let found = more::query_by_key(conn, &topic, &key, unique);
            let mut found: Vec<i64> = found.into_iter().map(|record| record.phy_offset).collect();
            // The reference finds a message twice that has a key twice.
            found.dedup();
            assert_eq!(found, expected, "{key} of {topic}");
            self.by_key.insert((topic, key), found);
        }
    }

    /// Positions of the messages of `topic` that have a key.
    fn with_key(&self, topic: &str, key: &str, unique: bool) -> Vec<i64> {
        let has = |record: &&Record| {
            let value = record.properties.get(if unique { "UNIQ_KEY" } else { "KEYS" });
            value.is_some_and(|keys| keys.split(' ').any(|own| own == key))
        };
        let records = self.records.values().flatten().chain(&self.halves);
        let mut found: Vec<i64> = records
            .filter(|record| record.topic == topic)
            .filter(has)
            .map(|record| record.phy_offset)
            .collect();
        found.sort_unstable();
        found
    }

    pub(crate) fn assert_same(&self, other: &Self) {
        assert_eq!(self.min_max, other.min_max, "min and max offsets");
        for (place, records) in &self.records {
            let others = &other.records[place];
            assert_eq!(records.len(), others.len(), "{place:?}");
            for (mine, theirs) in records.iter().zip(others) {
                assert!(mine == theirs, "{place:?} at {}", mine.queue_offset);
            }
        }
        assert_eq!(self.halves, other.halves, "half messages");
        assert_eq!(self.by_time, other.by_time, "offsets by time");
        assert_eq!(self.committed, other.committed, "committed offsets");
        assert_eq!(self.topics, other.topics, "topics");
        assert_eq!(self.groups, other.groups, "groups");
        assert_eq!(self.by_key, other.by_key, "lookups by key");
    }

    /// Checks that `before` is all here, followed by as much again.
    pub(crate) fn assert_continues(&self, before: &Self) {
        for (place, records) in &self.records {
            let before = &before.records[place];
            assert_eq!(records.len(), 2 * before.len(), "{place:?}");
            assert!(records.starts_with(before), "{place:?}: older messages changed");
            for (old, new) in before.iter().zip(&records[before.len()..]) {
                assert!(new.phy_offset > old.phy_offset);
                assert!(new.store_timestamp_ms >= old.store_timestamp_ms);
            }
        }
        assert!(self.halves.starts_with(&before.halves), "half messages changed");
        for (name, topic) in &before.topics {
            assert_eq!(self.topics.get(name), Some(topic), "{name}");
        }
        for (name, group) in &before.groups {
            assert_eq!(self.groups.get(name), Some(group), "{name}");
        }
    }
}

/// These fields of the entries that the test made.
fn select(table: &Value, fields: &[&str]) -> BTreeMap<String, Value> {
    let of_test = |name: &str| name.contains("takeover") || name.starts_with('L');
    let entries = table.as_object().unwrap().iter().filter(|(name, _)| of_test(name));
    entries
        .map(|(name, entry)| {
            let kept = fields.iter().map(|field| ((*field).to_owned(), entry[field].clone()));
            (name.clone(), Value::Object(kept.collect()))
        })
        .collect()
}
