//! The broker's consumer groups.
//!
//! Reference: `SubscriptionGroupManager` (broker), 5.5.0; kept in `config/subscriptionGroup.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use hashbrown::HashMap;
use oxmq_protocol::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use oxmq_store::{JsonFileError, LIGHT_PREFIX};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::attributes::{self, OF_GROUPS};
use crate::config::BrokerConfig;
use crate::journaled_table::{Journaled, JournaledTable};
use crate::limits::{MAX_FORBIDDEN_TOPICS, MAX_GROUPS};
use crate::saved_table::SaveSignal;
use crate::sync::{lock, read, write};
use crate::topic_validator::{self, SYSTEM_GROUP_PREFIX};

/// Groups that are there at every start.
const BUILT_IN_GROUPS: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Bit that forbids a group to read a topic.
///
/// Reference: `PermName` (common), 5.5.0.
pub(crate) const FORBIDDEN_INDEX_READABLE: u32 = 2;

/// Topics that a group may not consume, each with its bits.
type Forbidden = BTreeMap<String, BTreeMap<String, i32>>;

/// What the journal of `subscriptionGroup.json` has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum GroupChange {
    /// A group is there, as it is now.
    Put(SubscriptionGroupConfig),
    /// The group with this name is gone, and what it was forbidden.
    Delete(String),
    /// What the group may not consume now.
    Forbid { group: String, topics: BTreeMap<String, i32> },
}

impl Journaled for SubscriptionGroupWrapper {
    type Change = GroupChange;

    fn data_version(&mut self) -> &mut DataVersion {
        &mut self.data_version
    }

    fn apply(&mut self, change: GroupChange) {
        match change {
            GroupChange::Put(group) => {
                self.subscription_group_table.insert(group.group_name.clone(), group);
            }
            GroupChange::Delete(group) => {
                self.subscription_group_table.remove(&group);
                self.forbidden_table.remove(&group);
            }
            GroupChange::Forbid { group, topics } if topics.is_empty() => {
                self.forbidden_table.remove(&group);
            }
            GroupChange::Forbid { group, topics } => {
                self.forbidden_table.insert(group, topics);
            }
        }
    }
}

/// Every consumer group by name. Looking one up costs a read lock and a count.
#[derive(Debug)]
pub(crate) struct SubscriptionGroupManager {
    config: Arc<BrokerConfig>,
    table: RwLock<HashMap<Box<str>, Arc<SubscriptionGroupConfig>>>,
    forbidden: RwLock<Forbidden>,
    /// Held by whoever changes the tables, so that look-and-create is one step.
    data_version: Mutex<DataVersion>,
    /// Whether groups named like light queues exist without being made.
    ///
    /// Reference: `LmqSubscriptionGroupManager` (broker), 5.5.0.
    has_light: bool,
    file: JournaledTable<SubscriptionGroupWrapper>,
}

impl SubscriptionGroupManager {
    /// Makes the groups that are always there and loads the others.
    ///
    /// # Errors
    /// When neither `subscriptionGroup.json` nor its backup can be read, or its journal cannot.
    pub(crate) fn load(
        config: Arc<BrokerConfig>,
        store_root: &Path,
        has_light: bool,
        save: SaveSignal,
    ) -> Result<Self, JsonFileError> {
        let file = JournaledTable::new(store_root, "subscriptionGroup.json", save);
        let saved: SubscriptionGroupWrapper = file.load()?;
        let built_in = BUILT_IN_GROUPS.iter().map(|name| SubscriptionGroupConfig::new(*name));
        let table =
            built_in.chain(saved.subscription_group_table.into_values()).map(keyed).collect();
        file.changed();
        Ok(Self {
            config,
            table: RwLock::new(table),
            forbidden: RwLock::new(saved.forbidden_table),
            data_version: Mutex::new(saved.data_version),
            has_light,
            file,
        })
    }

    fn is_light(&self, group: &str) -> bool {
        self.has_light && group.starts_with(LIGHT_PREFIX)
    }

    /// Returns a group that exists.
    pub(crate) fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if self.is_light(group) {
            return Some(Arc::new(SubscriptionGroupConfig::new(group)));
        }
        read(&self.table).get(group).cloned()
    }

    /// Returns a group, created with the default settings if it may be.
    pub(crate) fn find_or_create(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(found) = self.get(group) {
            return Some(found);
        }
        let is_system = group.starts_with(SYSTEM_GROUP_PREFIX);
        let may_appear = self.config.auto_create_subscription_group
            || (is_system && self.config.enable_create_sys_group);
        if !may_appear || topic_validator::validate_group(group).is_err() {
            return None;
        }
        let mut data_version = lock(&self.data_version);
        // Another thread may have been faster.
        if let Some(found) = self.get(group) {
            return Some(found);
        }
        if read(&self.table).len() >= MAX_GROUPS {
            warn!(group, "group is not created: there are {MAX_GROUPS} already");
            return None;
        }
        info!(group, "group created");
        Some(self.store(SubscriptionGroupConfig::new(group), &mut data_version))
    }

    /// Creates or changes a group as a tool asks for. Its attributes have the signs of the request.
    ///
    /// # Errors
    /// The remark that the tool gets.
    pub(crate) fn update(&self, mut group: SubscriptionGroupConfig) -> Result<(), String> {
        if self.is_light(&group.group_name) {
            // They are all the same, and none is kept.
            return Ok(());
        }
        let mut data_version = lock(&self.data_version);
        let current = self.get(&group.group_name);
        if current.is_none() && read(&self.table).len() >= MAX_GROUPS {
            return Err(format!("the broker has {MAX_GROUPS} groups already"));
        }
        let current = current.as_ref().map(|group| &group.attributes);
        group.attributes = attributes::alter(OF_GROUPS, current, &group.attributes)?;
        info!(group = group.group_name, "group updated");
        self.store(group, &mut data_version);
        drop(data_version);
        self.keep()
    }

    /// Lets a group consume nothing any more, until a tool says otherwise.
    pub(crate) fn disable_consume(&self, group: &str) {
        let mut data_version = lock(&self.data_version);
        // None of those for light queues is kept.
        let found = read(&self.table).get(group).cloned();
        let Some(found) = found.filter(|found| found.consume_enable) else { return };
        let mut changed = SubscriptionGroupConfig::clone(&found);
        changed.consume_enable = false;
        self.store(changed, &mut data_version);
    }

    /// Removes a group and what it was forbidden.
    pub(crate) fn delete(&self, group: &str) {
        let mut data_version = lock(&self.data_version);
        write(&self.forbidden).remove(group);
        if write(&self.table).remove(group).is_some() {
            info!(group, "group deleted");
            self.file.note(&mut data_version, vec![GroupChange::Delete(group.to_owned())]);
            drop(data_version);
            drop(self.keep());
        } else {
            warn!(group, "group to delete does not exist");
        }
    }

    /// Tells whether bit `index` forbids the group the topic.
    pub(crate) fn is_forbidden(&self, group: &str, topic: &str, index: u32) -> bool {
        let forbidden = read(&self.forbidden);
        let bits = forbidden.get(group).and_then(|topics| topics.get(topic)).copied();
        bits.is_some_and(|bits| bits > 0 && bits & (1 << index) != 0)
    }

    /// Sets or clears bit `index`, which forbids the group the topic.
    ///
    /// # Errors
    /// The remark that the tool gets.
    pub(crate) fn set_forbidden(
        &self,
        group: &str,
        topic: &str,
        index: u32,
        is_forbidden: bool,
    ) -> Result<(), String> {
        let mut data_version = lock(&self.data_version);
        let is_new = is_forbidden && !self.is_forbidden(group, topic, index);
        if is_new && self.forbidden_topics() >= MAX_FORBIDDEN_TOPICS {
            return Err(format!("{MAX_FORBIDDEN_TOPICS} topics are forbidden to groups already"));
        }
        let mut forbidden = write(&self.forbidden);
        let topics = forbidden.entry(group.to_owned()).or_default();
        let bits = topics.entry(topic.to_owned()).or_default();
        *bits = if is_forbidden { *bits | (1 << index) } else { *bits & !(1 << index) };
        topics.retain(|_, bits| *bits != 0);
        let now_forbidden = topics.clone();
        if topics.is_empty() {
            forbidden.remove(group);
        }
        drop(forbidden);
        info!(group, topic, index, is_forbidden, "group's permission updated");
        let change = GroupChange::Forbid { group: group.to_owned(), topics: now_forbidden };
        self.file.note(&mut data_version, vec![change]);
        drop(data_version);
        self.keep()
    }

    fn forbidden_topics(&self) -> usize {
        read(&self.forbidden).values().map(BTreeMap::len).sum()
    }

    /// Returns both tables and their version.
    pub(crate) fn snapshot(&self) -> SubscriptionGroupWrapper {
        let data_version = lock(&self.data_version);
        let groups = read(&self.table);
        SubscriptionGroupWrapper {
            data_version: *data_version,
            forbidden_table: read(&self.forbidden).clone(),
            subscription_group_table: groups
                .values()
                .map(|group| (group.group_name.clone(), SubscriptionGroupConfig::clone(group)))
                .collect(),
        }
    }

    /// Writes `subscriptionGroup.json` if it is behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| self.snapshot())
    }

    /// Makes durable what a tool has changed before that is acknowledged; groups that just appear can appear
    /// again.
    fn keep(&self) -> Result<(), String> {
        self.file.keep(|| self.snapshot())
    }

    fn store(
        &self,
        group: SubscriptionGroupConfig,
        data_version: &mut DataVersion,
    ) -> Arc<SubscriptionGroupConfig> {
        let (name, group) = keyed(group);
        write(&self.table).insert(name, Arc::clone(&group));
        let change = GroupChange::Put(SubscriptionGroupConfig::clone(&group));
        self.file.note(data_version, vec![change]);
        group
    }
}

fn keyed(group: SubscriptionGroupConfig) -> (Box<str>, Arc<SubscriptionGroupConfig>) {
    (group.group_name.as_str().into(), Arc::new(group))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn manager(dir: &Path, change: impl FnOnce(&mut BrokerConfig)) -> SubscriptionGroupManager {
        let mut config = BrokerConfig::default();
        change(&mut config);
        SubscriptionGroupManager::load(Arc::new(config), dir, false, SaveSignal::default()).unwrap()
    }

    #[test]
    fn group_appears_when_first_heard_of_unless_its_name_is_illegal() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |_| ());
        assert!(groups.get("g").is_none());
        assert_eq!(groups.find_or_create("g").unwrap().retry_max_times, 16);
        assert!(groups.get("g").is_some());
        assert!(groups.find_or_create("a b").is_none());
        assert_eq!(groups.snapshot().data_version.counter, 1);
    }

    #[test]
    fn only_system_groups_appear_when_auto_creation_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |config| config.auto_create_subscription_group = false);
        assert!(groups.find_or_create("g").is_none());
        assert!(groups.find_or_create("CID_RMQ_SYS_x").is_some());
        assert!(groups.find_or_create("TOOLS_CONSUMER").is_some());
        let groups = manager(dir.path(), |config| {
            config.auto_create_subscription_group = false;
            config.enable_create_sys_group = false;
        });
        assert!(groups.find_or_create("CID_RMQ_SYS_x").is_none());
    }

    #[test]
    fn file_of_the_reference_keeps_its_forbidden_table_and_policies() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("config")).unwrap();
        let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"stateVersion\":0,\n\
            \t\t\"timestamp\":9\n\t},\n\t\"forbiddenTable\":{\n\t\t\"g\":{\"t\":4\n\t\t}\n\t},\n\
            \t\"subscriptionGroupTable\":{\n\t\t\"g\":{\n\t\t\t\"groupName\":\"g\",\n\
            \t\t\t\"retryMaxTimes\":2,\n\t\t\t\"groupRetryPolicy\":{\n\
            \t\t\t\t\"customizedRetryPolicy\":{\"next\":[1,2]},\"type\":\"CUSTOMIZED\"\n\t\t\t}\n\
            \t\t}\n\t}\n}";
        fs::write(dir.path().join("config/subscriptionGroup.json"), text).unwrap();
        let groups = manager(dir.path(), |_| ());
        assert!(groups.is_forbidden("g", "t", 2));
        assert!(!groups.is_forbidden("g", "t", 1) && !groups.is_forbidden("g", "u", 2));
        groups.save_if_changed().unwrap();

        let again = manager(dir.path(), |_| ());
        assert_eq!(again.snapshot(), groups.snapshot());
        let group = again.get("g").unwrap();
        assert_eq!(group.retry_max_times, 2);
        let waits = group.group_retry_policy.customized_retry_policy.as_ref().unwrap();
        assert_eq!(waits.next, [1, 2]);
    }

    #[test]
    fn change_by_a_tool_is_saved_when_it_is_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |_| ());
        let changed =
            SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("g") };
        groups.update(changed).unwrap();
        let groups = manager(dir.path(), |_| ());
        assert_eq!(groups.get("g").unwrap().retry_max_times, 3);
        groups.delete("g");
        assert!(manager(dir.path(), |_| ()).get("g").is_none());
    }

    #[test]
    fn permission_of_one_topic_does_not_touch_that_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |_| ());
        groups.set_forbidden("g", "t", 2, true).unwrap();
        groups.set_forbidden("g", "u", 2, true).unwrap();
        groups.set_forbidden("g", "t", 2, false).unwrap();
        assert!(!groups.is_forbidden("g", "t", 2) && groups.is_forbidden("g", "u", 2));
        let groups = manager(dir.path(), |_| ());
        assert!(!groups.is_forbidden("g", "t", 2) && groups.is_forbidden("g", "u", 2));
        groups.set_forbidden("g", "u", 2, false).unwrap();
        assert!(read(&groups.forbidden).is_empty());
        assert!(read(&manager(dir.path(), |_| ()).forbidden).is_empty());
    }

    #[test]
    fn topics_that_groups_may_not_consume_are_so_many_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |_| ());
        let many = (1..MAX_FORBIDDEN_TOPICS).map(|number| (format!("t{number}"), 4));
        write(&groups.forbidden).insert("g".to_owned(), many.collect());
        groups.set_forbidden("h", "t", 2, true).unwrap();
        groups.set_forbidden("h", "u", 2, true).unwrap_err();
        assert!(!groups.is_forbidden("h", "u", 2));
        groups.set_forbidden("h", "t", 2, false).unwrap();
        groups.set_forbidden("h", "u", 2, true).unwrap();
    }

    #[test]
    fn deleted_group_is_gone_with_what_it_was_forbidden() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |_| ());
        groups.update(SubscriptionGroupConfig::new("g")).unwrap();
        groups.set_forbidden("g", "t", 2, true).unwrap();
        groups.delete("g");
        assert!(groups.get("g").is_none() && !groups.is_forbidden("g", "t", 2));
    }

    #[test]
    fn group_for_a_light_queue_is_not_kept_when_it_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let groups = SubscriptionGroupManager { has_light: true, ..manager(dir.path(), |_| ()) };
        let before = groups.snapshot();
        groups.disable_consume("%LMQ%g");
        assert_eq!(groups.snapshot(), before);
    }

    #[test]
    fn a_group_that_is_stopped_stays_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let groups = manager(dir.path(), |_| ());
        groups.disable_consume("g");
        assert!(groups.get("g").is_none(), "it does not appear by being stopped");
        groups.find_or_create("g").unwrap();
        groups.disable_consume("g");
        assert!(!groups.get("g").unwrap().consume_enable);
        groups.save_if_changed().unwrap();
        assert!(!manager(dir.path(), |_| ()).find_or_create("g").unwrap().consume_enable);
    }
}
