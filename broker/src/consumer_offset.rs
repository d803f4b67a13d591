//! How far each group has consumed each queue.
//!
//! Reference: `ConsumerOffsetManager` (broker), 5.5.0; kept in `config/consumerOffset.json`.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use oxmq_protocol::body::{ConsumerOffsetTable, DataVersion};
use oxmq_store::{JsonFileError, LIGHT_PREFIX};
use tracing::{debug, warn};

use self::table::{Entry, OffsetTable};
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::pull_hold::PullRequest;
use crate::saved_table::SavedTable;
use crate::sync::lock;
use crate::traffic::Flow;

/// The next offset to consume of every group, topic and queue.
///
/// Neither a look-up nor a commit to a queue that has an offset allocates.
#[derive(Debug)]
pub(crate) struct ConsumerOffsetManager {
    table: OffsetTable,
    data_version: Mutex<DataVersion>,
    commits: AtomicI64,
    config: Arc<BrokerConfig>,
    /// Whether groups named like light queues have a table of their own.
    has_light: bool,
    /// Whether their traffic is told for all together.
    joins_light_traffic: bool,
    file: SavedTable<ConsumerOffsetTable>,
}

impl ConsumerOffsetManager {
    /// Loads the offsets; a broker that has light queues uses another file.
    ///
    /// Reference: `LmqConsumerOffsetManager` (broker), 5.5.0.
    ///
    /// # Errors
    /// When neither the file nor its backup can be read.
    pub(crate) fn load(
        config: &Arc<BrokerConfig>,
        store_root: &Path,
        has_light: bool,
    ) -> Result<Self, JsonFileError> {
        let name = if has_light { "lmqConsumerOffset.json" } else { "consumerOffset.json" };
        let file = SavedTable::<ConsumerOffsetTable>::new(store_root, name);
        let saved = file.load()?.unwrap_or_default();
        let offsets = Self {
            table: OffsetTable::default(),
            data_version: Mutex::new(saved.data_version),
            commits: AtomicI64::new(0),
            config: Arc::clone(config),
            has_light,
            joins_light_traffic: has_light && !config.enable_lmq_stats,
            file,
        };
        let light = saved.lmq_offset_table.unwrap_or_default();
        let light = light.into_iter().map(|(key, offset)| (key, BTreeMap::from([(0, offset)])));
        for (key, queues) in saved.offset_table.into_iter().chain(light) {
            let Some((topic, group)) = key.split_once('@') else {
                warn!(key, "offsets without a group are dropped");
                continue;
            };
            offsets.table.with_entry(group, topic, |entry| {
                for (queue_id, offset) in queues {
                    entry.committed.set(queue_id, offset);
                }
            });
        }
        Ok(offsets)
    }

    /// Stores the next offset to consume. It may be smaller than the one before.
    pub(crate) fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let before =
            self.table.with_entry(group, topic, |entry| entry.committed.set(queue_id, offset));
        if before.is_some_and(|before| offset < before) {
            debug!(group, topic, queue_id, offset, "offset committed below the one before");
        }
        self.file.changed();
        let commits = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if commits % self.config.consumer_offset_update_version_step.max(1) == 0 {
            lock(&self.data_version).advance(0, now_ms());
        }
    }

    /// Returns where the group goes on: what a tool has set, else what was committed.
    pub(crate) fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.table.find(group, topic, |entry| {
            entry.reset.get(queue_id).or_else(|| entry.committed.get(queue_id))
        })
    }

    /// Notes that a pull has looked at messages up to `offset`, and how far behind the log's end that is.
    pub(crate) fn commit_pull(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
        behind_bytes: i64,
    ) {
        let now_ms = now_ms();
        self.table.with_entry(group, topic, |entry| {
            entry.note_pull(queue_id, offset, behind_bytes, now_ms);
        });
    }

    /// The same of a pull that gave something.
    pub(crate) fn note_given(
        &self,
        pull: &PullRequest,
        offset: i64,
        messages: u64,
        bytes: u64,
        behind_bytes: i64,
    ) {
        let now_ms = now_ms();
        self.table.with_entry(&pull.group, &pull.topic, |entry| {
            entry.note_pull(pull.queue_id, offset, behind_bytes, now_ms);
            entry.given.add(messages, bytes);
        });
    }

    /// When the group last pulled from a queue, in ms; `None` if it never did since the start.
    pub(crate) fn pulled_at_ms(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.table.find(group, topic, |entry| entry.pulled_at_ms.get(queue_id))
    }

    /// Groups whose last pull of some queue was more than this many bytes behind the log's end, and how
    /// many.
    pub(crate) fn slow_groups(&self, most_bytes: i64) -> BTreeMap<String, i64> {
        let mut slow = BTreeMap::new();
        self.table.for_each(|entry| {
            let behind = entry.behind.0.iter().map(|&(_, bytes)| bytes).max();
            if let Some(bytes) = behind.filter(|bytes| *bytes > most_bytes) {
                let most: &mut i64 = slow.entry(entry.group.to_string()).or_default();
                *most = bytes.max(*most);
            }
        });
        slow
    }

    /// Notes what a pop has given.
    pub(crate) fn note_popped(&self, group: &str, topic: &str, messages: u64, bytes: u64) {
        self.table.with_entry(group, topic, |entry| entry.given.add(messages, bytes));
    }

    /// Notes that a group has sent a message of a topic back.
    pub(crate) fn note_sent_back(&self, group: &str, topic: &str, bytes: u64) {
        self.table.with_entry(group, topic, |entry| entry.sent_back.add(1, bytes));
    }

    /// What groups were given and sent back, by their [`Self::traffic_key`].
    pub(crate) fn traffic(&self) -> BTreeMap<String, (Flow, Flow)> {
        let mut traffic: BTreeMap<String, (Flow, Flow)> = BTreeMap::new();
        self.table.for_each(|entry| {
            if entry.given.times > 0 {
                let key = self.traffic_key(&entry.group, &entry.topic);
                let (given, sent_back) = traffic.entry(key).or_default();
                given.join(entry.given);
                sent_back.join(entry.sent_back);
            }
        });
        traffic
    }

    /// What the traffic of a group and topic is called.
    ///
    /// Reference: `LmqBrokerStatsManager` (store), 5.5.0.
    pub(crate) fn traffic_key(&self, group: &str, topic: &str) -> String {
        let [topic, group] = [topic, group].map(|name| {
            let is_joined = self.joins_light_traffic && name.starts_with(LIGHT_PREFIX);
            if is_joined { LIGHT_PREFIX } else { name }
        });
        format!("{topic}@{group}")
    }

    /// Offsets that a group has committed of a topic, by queue.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        self.table.find(group, topic, |entry| Some(entry.committed.0.clone())).unwrap_or_default()
    }

    /// Returns where pulls have got to, or else where the group goes on.
    pub(crate) fn query_pull(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.table
            .find(group, topic, |entry| entry.pulled.get(queue_id))
            .or_else(|| self.query(group, topic, queue_id))
    }

    /// Sets an offset that the group has to follow at its next pull of the queue.
    pub(crate) fn assign_reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.table.with_entry(group, topic, |entry| {
            entry.reset.set(queue_id, offset);
            entry.committed.set(queue_id, offset);
        });
        self.file.changed();
    }

    /// Tells whether the group has not followed a tool yet, so that its commits mean nothing.
    pub(crate) fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        self.table.find(group, topic, |entry| entry.reset.get(queue_id)).is_some()
    }

    /// Returns an offset that the group has to follow now, once.
    pub(crate) fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if !self.has_reset(group, topic, queue_id) {
            return None;
        }
        self.table.with_entry(group, topic, |entry| entry.reset.take(queue_id))
    }

    /// Gives `to` the committed offsets that `from` has of a topic.
    pub(crate) fn clone_offsets(&self, from: &str, to: &str, topic: &str) {
        let Some(committed) = self.table.find(from, topic, |entry| Some(entry.committed.clone()))
        else {
            return;
        };
        self.table.with_entry(to, topic, |entry| entry.committed = committed);
        self.file.changed();
    }

    /// Topics of which the group has committed offsets; to pull is not enough.
    pub(crate) fn topics_of(&self, group: &str) -> BTreeSet<String> {
        let is_of = |entry: &Entry| *entry.group == *group && !entry.committed.0.is_empty();
        self.collect(|entry| is_of(entry).then(|| entry.topic.to_string()))
    }

    /// Groups that have committed offsets of the topic. What is committed for all members of a group
    /// that broadcasts has the name of no group, which has no `@`, and is not among them.
    pub(crate) fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let is_of = |entry: &Entry| *entry.topic == *topic && !entry.committed.0.is_empty();
        let is_group = |entry: &Entry| !entry.group.contains('@');
        self.collect(|entry| (is_of(entry) && is_group(entry)).then(|| entry.group.to_string()))
    }

    /// Forgets all offsets of a group.
    pub(crate) fn remove_group(&self, group: &str) {
        self.retain(|entry| *entry.group != *group);
    }

    /// Forgets all offsets of a topic.
    pub(crate) fn remove_topic(&self, topic: &str) {
        self.retain(|entry| *entry.topic != *topic);
    }

    /// Returns the table as it is saved and sent.
    pub(crate) fn snapshot(&self) -> ConsumerOffsetTable {
        let mut table =
            ConsumerOffsetTable { data_version: *lock(&self.data_version), ..Default::default() };
        table.lmq_offset_table = self.has_light.then(BTreeMap::new);
        self.table.for_each(|entry| {
            if entry.committed.0.is_empty() {
                return;
            }
            let key = format!("{}@{}", entry.topic, entry.group);
            if let Some(light) = &mut table.lmq_offset_table
                && entry.group.starts_with(LIGHT_PREFIX)
            {
                light.insert(key, entry.committed.0[0].1);
                return;
            }
            let topics = table.group_topic_map.entry(entry.group.to_string()).or_default();
            topics.push(entry.topic.to_string());
            table.offset_table.insert(key, entry.committed.0.iter().copied().collect());
        });
        table.group_topic_map.values_mut().for_each(|topics| topics.sort());
        table
    }

    /// Writes `consumerOffset.json` if it is behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| self.snapshot())
    }

    /// When the file was written, in ms since 1970; `None` if there is none.
    pub(crate) fn saved_at_ms(&self) -> Option<i64> {
        let saved_at = fs::metadata(self.file.path()).and_then(|file| file.modified()).ok()?;
        let since_1970 = saved_at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since_1970.as_millis()).ok()
    }

    fn collect(&self, pick: impl Fn(&Entry) -> Option<String>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.table.for_each(|entry| found.extend(pick(entry)));
        found
    }

    fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        self.table.retain(keep);
        self.file.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerSettings;

    fn manager(dir: &Path) -> ConsumerOffsetManager {
        ConsumerOffsetManager::load(&Arc::default(), dir, false).unwrap()
    }

    #[test]
    fn groups_of_light_queues_have_a_table_of_their_own_in_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let load = |has_light| {
            ConsumerOffsetManager::load(&Arc::default(), dir.path(), has_light).unwrap()
        };
        let offsets = load(true);
        offsets.commit("%LMQ%g", "%LMQ%q", 0, 7);
        offsets.commit("g", "%LMQ%q", 0, 8);
        offsets.save_if_changed().unwrap();
        let path = dir.path().join("config/lmqConsumerOffset.json");
        let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
        assert!(text.contains(r#""lmqOffsetTable":{"%LMQ%q@%LMQ%g":7}"#), "{text}");
        assert!(text.contains(r#""offsetTable":{"%LMQ%q@g":{0:8}}"#), "{text}");
        let offsets = load(true);
        assert_eq!(offsets.query("%LMQ%g", "%LMQ%q", 0), Some(7));
        assert_eq!(offsets.query("g", "%LMQ%q", 0), Some(8));
        assert_eq!(load(false).query("g", "%LMQ%q", 0), None, "the reference reads one of them");
    }

    #[test]
    fn traffic_of_light_queues_is_told_for_all_together_unless_it_is_wanted_for_each() {
        let dir = tempfile::tempdir().unwrap();
        for (has_light, enable_lmq_stats, keys) in [
            (true, false, vec![("%LMQ%@%LMQ%", 3), ("t@g", 4)]),
            (true, true, vec![("%LMQ%a@%LMQ%g", 1), ("%LMQ%b@%LMQ%h", 2), ("t@g", 4)]),
            (false, false, vec![("%LMQ%a@%LMQ%g", 1), ("%LMQ%b@%LMQ%h", 2), ("t@g", 4)]),
        ] {
            let settings = BrokerSettings { enable_lmq_stats, ..BrokerSettings::default() };
            let config = Arc::new(BrokerConfig::new(settings));
            let offsets = ConsumerOffsetManager::load(&config, dir.path(), has_light).unwrap();
            offsets.note_popped("%LMQ%g", "%LMQ%a", 1, 10);
            offsets.note_popped("%LMQ%h", "%LMQ%b", 2, 20);
            offsets.note_popped("g", "t", 4, 40);
            let traffic = offsets.traffic();
            let messages = traffic.iter().map(|(key, (given, _))| (key.as_str(), given.messages));
            assert_eq!(messages.collect::<Vec<_>>(), keys);
            assert!(traffic.contains_key(&offsets.traffic_key("%LMQ%g", "%LMQ%a")));
        }
    }

    #[test]
    fn committed_offset_is_found_also_when_it_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        assert_eq!(offsets.query("g", "t", 0), None);
        offsets.commit("g", "t", 1, 10);
        offsets.commit("g", "t", 0, 5);
        offsets.commit("g", "t", 1, 7);
        assert_eq!(offsets.query("g", "t", 0), Some(5));
        assert_eq!(offsets.query("g", "t", 1), Some(7));
        assert_eq!(offsets.query("t", "g", 1), None, "group and topic are not mixed up");
    }

    #[test]
    fn reset_wins_over_commits_until_it_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        offsets.commit("g", "t", 0, 10);
        offsets.assign_reset("g", "t", 0, 3);
        assert!(offsets.has_reset("g", "t", 0) && !offsets.has_reset("g", "t", 1));
        offsets.commit("g", "t", 0, 11);
        assert_eq!(offsets.query("g", "t", 0), Some(3));
        assert_eq!(offsets.take_reset("g", "t", 0), Some(3));
        assert_eq!(offsets.take_reset("g", "t", 0), None);
        assert_eq!(offsets.query("g", "t", 0), Some(11));
    }

    #[test]
    fn pull_offset_falls_back_to_the_committed_one() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        offsets.commit("g", "t", 0, 10);
        assert_eq!(offsets.query_pull("g", "t", 0), Some(10));
        offsets.commit_pull("g", "t", 0, 42, 0);
        assert_eq!(offsets.query_pull("g", "t", 0), Some(42));
        assert_eq!(offsets.query("g", "t", 0), Some(10));
    }

    #[test]
    fn cloned_offsets_are_those_of_the_other_group() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        offsets.commit("g", "t", 0, 5);
        offsets.commit("h", "t", 1, 9);
        offsets.clone_offsets("g", "h", "t");
        assert_eq!((offsets.query("h", "t", 0), offsets.query("h", "t", 1)), (Some(5), None));
        offsets.clone_offsets("g", "h", "none");
        assert_eq!(offsets.topics_of("h").len(), 1);
    }

    #[test]
    fn version_changes_with_every_500th_commit() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        for offset in 0..499 {
            offsets.commit("g", "t", 0, offset);
        }
        assert_eq!(offsets.snapshot().data_version.counter, 0);
        offsets.commit("g", "t", 0, 500);
        assert_eq!(offsets.snapshot().data_version.counter, 1);
    }

    #[test]
    fn deleting_a_topic_or_group_takes_just_its_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        for (group, topic) in [("g", "t"), ("g", "u"), ("h", "t"), ("h", "u")] {
            offsets.commit(group, topic, 0, 1);
        }
        offsets.commit_pull("g", "pulled only", 0, 1, 0);
        offsets.commit("g@broadcast", "broadcast only", 0, 1);
        assert_eq!(offsets.groups_of("broadcast only").len(), 0, "that is no group");
        assert_eq!(offsets.topics_of("g").len(), 2);
        assert_eq!(offsets.groups_of("pulled only").len(), 0);
        offsets.remove_topic("t");
        assert_eq!(offsets.groups_of("t").len(), 0);
        offsets.remove_group("h");
        assert_eq!(offsets.groups_of("u"), BTreeSet::from(["g".to_owned()]));
    }

    #[test]
    fn file_has_the_layout_of_the_reference_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        offsets.commit("g", "t", 1, 6);
        offsets.commit("g", "t", 0, 5);
        offsets.commit("g", "%RETRY%g", 0, 2);
        offsets.commit_pull("g", "pulled only", 0, 9, 0);
        offsets.save_if_changed().unwrap();
        let text = fs::read_to_string(dir.path().join("config/consumerOffset.json")).unwrap();
        let expected = "{\n\t\"dataVersion\":{\n\t\t\"counter\":0,\n\t\t\"stateVersion\":0,\n\
            \t\t\"timestamp\":0\n\t},\n\t\"groupTopicMap\":{\n\t\t\"g\":[\n\
            \t\t\t\"%RETRY%g\",\n\t\t\t\"t\"\n\t\t]\n\t},\n\t\"offsetTable\":{\n\
            \t\t\"%RETRY%g@g\":{\n\t\t\t0:2\n\t\t},\n\
            \t\t\"t@g\":{\n\t\t\t0:5,\n\t\t\t1:6\n\t\t}\n\t}\n}";
        assert_eq!(text, expected);
        assert_eq!(manager(dir.path()).snapshot(), offsets.snapshot());
    }

    #[test]
    fn groups_are_slow_by_their_slowest_queue_and_only_while_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = manager(dir.path());
        offsets.commit_pull("g", "t", 0, 1, 500);
        offsets.commit_pull("g", "u", 3, 1, 700);
        offsets.commit_pull("h", "t", 0, 1, 10);
        assert_eq!(offsets.slow_groups(499), BTreeMap::from([("g".to_owned(), 700)]));
        offsets.commit_pull("g", "u", 3, 2, 0);
        assert_eq!(offsets.slow_groups(499), BTreeMap::from([("g".to_owned(), 500)]));
        assert_eq!(offsets.slow_groups(500), BTreeMap::new());
        assert!(offsets.pulled_at_ms("g", "t", 0).is_some());
        assert_eq!(offsets.pulled_at_ms("g", "t", 1), None);
    }
}
