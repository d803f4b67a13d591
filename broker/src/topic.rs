//! The broker's topics.
//!
//! Reference: `TopicConfigManager` (broker), 5.5.0; kept in `config/topics.json`.

mod create;

use std::collections::{BTreeSet, HashSet};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use hashbrown::HashMap;
pub(crate) use oxmq_protocol::body::TopicConfig;
use oxmq_protocol::body::{DataVersion, TopicConfigSerializeWrapper};
use oxmq_store::{JsonFileError, LIGHT_PREFIX, PutMessageResult};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::attributes::{self, OF_TOPICS};
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::journaled_table::{Journaled, JournaledTable};
use crate::limits::MAX_TOPICS;
use crate::once::{Room, Window};
use crate::perm;
use crate::saved_table::SaveSignal;
use crate::sync::{lock, read, write};
use crate::system_topics::system_topics;
use crate::topic_validator;
use crate::traffic::Counter;

/// Bit of `topicSysFlag`: the topic belongs to a unit.
pub(crate) const UNIT_FLAG: i32 = 1;
/// Bit of `topicSysFlag`: consumers of a unit subscribe to the topic.
pub(crate) const UNIT_SUB_FLAG: i32 = 2;

/// A topic and what was sent to it. Reads like its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    config: TopicConfig,
    /// Counts on when the configuration changes.
    pub(crate) put: Arc<Counter>,
    /// What was sent to it of late, if it asks to be sent each message once.
    pub(crate) window: Option<Arc<Window>>,
}

impl Deref for Topic {
    type Target = TopicConfig;

    fn deref(&self) -> &TopicConfig {
        &self.config
    }
}

/// What the journal of `topics.json` has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TopicChange {
    /// A topic is there, as it is now.
    Put(TopicConfig),
    /// The topic with this name is gone.
    Delete(String),
}

impl Journaled for TopicConfigSerializeWrapper {
    type Change = TopicChange;

    fn data_version(&mut self) -> &mut DataVersion {
        &mut self.data_version
    }

    fn apply(&mut self, change: TopicChange) {
        match change {
            TopicChange::Put(topic) => {
                self.topic_config_table.insert(topic.topic_name.clone(), topic);
            }
            TopicChange::Delete(topic) => {
                self.topic_config_table.remove(&topic);
            }
        }
    }
}

/// Is told the name of each topic that the name servers have to hear of.
type ChangeListener = dyn Fn(&str) + Send + Sync;

/// Every topic by name. Looking one up costs a read lock and a count.
pub(crate) struct TopicConfigManager {
    config: Arc<BrokerConfig>,
    table: RwLock<HashMap<Box<str>, Arc<Topic>>>,
    /// Held by whoever changes the table, so that look-and-create is one step.
    data_version: Mutex<DataVersion>,
    /// Names that are system topics here besides those that are everywhere.
    system_topics: HashSet<String>,
    /// Whether light queues are topics that exist without being made.
    has_light: bool,
    /// For all windows.
    room: Arc<Room>,
    file: JournaledTable<TopicConfigSerializeWrapper>,
    save: SaveSignal,
    listener: OnceLock<Box<ChangeListener>>,
}

impl TopicConfigManager {
    /// Makes the system topics and loads the others.
    ///
    /// # Errors
    /// When neither `topics.json` nor its backup can be read, or its journal cannot.
    pub(crate) fn load(
        config: Arc<BrokerConfig>,
        store_root: &Path,
        save: SaveSignal,
    ) -> Result<Self, JsonFileError> {
        let file = JournaledTable::new(store_root, "topics.json");
        let system_topics = system_topics(&config);
        let names = system_topics.iter().map(|topic| topic.topic_name.clone()).collect();
        let room = Arc::default();
        let keyed = |topic| keyed(topic, &room, None);
        let mut topics: HashMap<Box<str>, Arc<Topic>> =
            system_topics.into_iter().map(keyed).collect();
        let saved: TopicConfigSerializeWrapper = file.load()?;
        // What was saved wins over what is made at every start.
        topics.extend(saved.topic_config_table.into_values().map(keyed));
        file.changed();
        Ok(Self {
            config,
            table: RwLock::new(topics),
            data_version: Mutex::new(saved.data_version),
            system_topics: names,
            has_light: false,
            room,
            file,
            save,
            listener: OnceLock::new(),
        })
    }

    /// The same, in a broker whose light queues are topics that exist without being made.
    ///
    /// Reference: `LmqTopicConfigManager` (broker), 5.5.0.
    pub(crate) fn with_light_queues(self, has_light: bool) -> Self {
        Self { has_light, ..self }
    }

    fn is_light(&self, topic: &str) -> bool {
        self.has_light && topic.starts_with(LIGHT_PREFIX)
    }

    /// Sets who is told of topics that the name servers have to hear of. Only the first call counts.
    pub(crate) fn on_change(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Returns a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<Topic>> {
        if self.is_light(topic) {
            return Some(keyed(light_topic(topic), &self.room, None).1);
        }
        read(&self.table).get(topic).cloned()
    }

    /// Counts what was stored in a topic that the caller has not looked up.
    pub(crate) fn note_put(&self, topic: &str, stored: &PutMessageResult) {
        if let Some(topic) = self.get(topic) {
            topic.put.add(stored.message_count.into(), stored.wrote_bytes.into());
        }
    }

    /// Tells whether the topic exists and is ordered across brokers.
    pub(crate) fn is_ordered(&self, topic: &str) -> bool {
        read(&self.table).get(topic).is_some_and(|topic| topic.order)
    }

    /// Tells whether the topic is one of the reference's or this broker's own.
    pub(crate) fn is_system_topic(&self, topic: &str) -> bool {
        topic_validator::is_built_in_topic(topic) || self.system_topics.contains(topic)
    }

    /// Names of the topics that are this broker's own, besides those with a system prefix.
    pub(crate) fn system_topics(&self) -> BTreeSet<String> {
        let built_in = topic_validator::built_in_topics().map(str::to_owned);
        built_in.chain(self.system_topics.iter().cloned()).collect()
    }

    /// Returns all topics and the version of the table.
    pub(crate) fn snapshot(&self) -> (Vec<Arc<Topic>>, DataVersion) {
        let data_version = lock(&self.data_version);
        (read(&self.table).values().cloned().collect(), *data_version)
    }

    /// Returns those topics that `names` names, and the version of the table. It is called while no topic
    /// changes and the listener has heard of every change.
    pub(crate) fn named(
        &self,
        names: impl FnOnce() -> BTreeSet<String>,
    ) -> (Vec<Arc<Topic>>, DataVersion) {
        let data_version = lock(&self.data_version);
        let names = names();
        let table = read(&self.table);
        let topics = names.iter().filter_map(|name| table.get(name.as_str()).cloned());
        (topics.collect(), *data_version)
    }

    /// Creates or changes a topic as a tool asks for. Its attributes have the signs of the request.
    ///
    /// # Errors
    /// The remark that the tool gets.
    pub(crate) fn update(&self, mut topic: TopicConfig) -> Result<(), String> {
        if self.is_light(&topic.topic_name) {
            // They are all the same, and none is kept.
            return Ok(());
        }
        let mut data_version = lock(&self.data_version);
        let current = self.get(&topic.topic_name);
        if current.is_none() && read(&self.table).len() >= MAX_TOPICS {
            return Err(format!("the broker has {MAX_TOPICS} topics already"));
        }
        let current = current.as_ref().map(|topic| &topic.attributes);
        topic.attributes = attributes::alter(OF_TOPICS, current, &topic.attributes)?;
        info!(%topic, "topic updated");
        self.store(topic, &mut data_version);
        drop(data_version);
        self.keep();
        Ok(())
    }

    /// Removes a topic. The name servers are not told, as in the reference.
    pub(crate) fn delete(&self, topic: &str) {
        let mut data_version = lock(&self.data_version);
        if write(&self.table).remove(topic).is_some() {
            info!(%topic, "topic deleted");
            self.bump(&mut data_version, vec![TopicChange::Delete(topic.to_owned())]);
            drop(data_version);
            self.keep();
        } else {
            warn!(%topic, "topic to delete does not exist");
        }
    }

    /// Sets the order flag of topics that the name servers say are ordered. It is never taken back.
    pub(crate) fn mark_ordered<'t>(&self, topics: impl Iterator<Item = &'t str>) {
        let mut data_version = lock(&self.data_version);
        let mut table = write(&self.table);
        let mut changes = Vec::new();
        for topic in topics {
            if let Some(found) = table.get_mut(topic).filter(|found| !found.order) {
                Arc::make_mut(found).config.order = true;
                changes.push(TopicChange::Put(TopicConfig::clone(found)));
            }
        }
        drop(table);
        if !changes.is_empty() {
            self.bump(&mut data_version, changes);
        }
    }

    /// Writes `topics.json` if it is behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| self.saved())
    }

    /// What `topics.json` is to hold.
    fn saved(&self) -> TopicConfigSerializeWrapper {
        let (topics, data_version) = self.snapshot();
        let topics = topics.iter().map(|topic| TopicConfig::clone(topic));
        TopicConfigSerializeWrapper {
            data_version,
            topic_config_table: topics.map(|t| (t.topic_name.clone(), t)).collect(),
        }
    }

    /// Lets the name servers hear of every topic again.
    pub(crate) fn announce_all(&self) {
        let mut data_version = lock(&self.data_version);
        self.bump(&mut data_version, Vec::new());
        let Some(listener) = self.listener.get() else { return };
        // The listener looks at the table, too.
        let names: Vec<_> = read(&self.table).keys().cloned().collect();
        for topic in names {
            listener(&topic);
        }
    }

    /// Makes a change durable before it is acknowledged: a topic that a crash takes back would take the
    /// messages sent to it along. What cannot be saved is tried again in the background.
    fn keep(&self) {
        if let Err(error) = self.file.keep(|| self.saved()) {
            error!(%error, "topics not saved");
        }
    }

    fn store(&self, topic: TopicConfig, data_version: &mut DataVersion) -> Arc<Topic> {
        let known = self.get(&topic.topic_name);
        let (name, topic) = keyed(topic, &self.room, known.as_deref());
        write(&self.table).insert(name, Arc::clone(&topic));
        self.bump(data_version, vec![TopicChange::Put(TopicConfig::clone(&topic))]);
        if let Some(listener) = self.listener.get() {
            listener(&topic.topic_name);
        }
        topic
    }

    fn bump(&self, data_version: &mut DataVersion, changes: Vec<TopicChange>) {
        data_version.advance(0, now_ms());
        self.file.note(*data_version, changes);
        self.save.notify();
    }
}

impl std::fmt::Debug for TopicConfigManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicConfigManager").field("topics", &read(&self.table).len()).finish()
    }
}

/// A topic that takes over what is known of `known`.
fn keyed(config: TopicConfig, room: &Arc<Room>, known: Option<&Topic>) -> (Box<str>, Arc<Topic>) {
    let put = known.map(|known| Arc::clone(&known.put)).unwrap_or_default();
    let window = Window::of(&config, room, known.and_then(|known| known.window.as_ref()));
    (config.topic_name.as_str().into(), Arc::new(Topic { config, put, window }))
}

/// What every light queue is as a topic.
fn light_topic(topic: &str) -> TopicConfig {
    TopicConfig {
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: perm::READ | perm::WRITE,
        ..TopicConfig::new(topic)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn manager(dir: &Path, change: impl FnOnce(&mut BrokerConfig)) -> TopicConfigManager {
        let mut config = BrokerConfig::default();
        config.broker_name = "b".to_owned();
        change(&mut config);
        TopicConfigManager::load(Arc::new(config), dir, SaveSignal::default()).unwrap()
    }

    fn send(topics: &TopicConfigManager, topic: &str, queues: i32) -> Option<Arc<Topic>> {
        topics.create_in_send(topic, "TBW102", queues, false, ([127, 0, 0, 1], 1).into())
    }

    #[test]
    fn light_queues_are_topics_that_nobody_makes_where_there_are_any() {
        let dir = tempfile::tempdir().unwrap();
        assert!(manager(dir.path(), |_| ()).get("%LMQ%q").is_none());
        let topics = manager(dir.path(), |_| ()).with_light_queues(true);
        let light = topics.get("%LMQ%q").unwrap();
        assert_eq!((light.read_queue_nums, light.write_queue_nums, light.perm), (1, 1, 6));
        topics.update(TopicConfig { perm: 2, ..TopicConfig::new("%LMQ%q") }).unwrap();
        assert_eq!(topics.get("%LMQ%q").unwrap().perm, 6);
        assert!(topics.snapshot().0.iter().all(|topic| topic.topic_name != "%LMQ%q"));
    }

    #[test]
    fn auto_created_topic_takes_the_lower_queue_number_and_no_inherit_bit() {
        let dir = tempfile::tempdir().unwrap();
        let topics = manager(dir.path(), |_| ());
        let four = send(&topics, "four", 4).unwrap();
        assert_eq!((four.read_queue_nums, four.write_queue_nums, four.perm), (4, 4, 6));
        assert_eq!(send(&topics, "sixteen", 16).unwrap().write_queue_nums, 8);
        assert_eq!(send(&topics, "negative", -1).unwrap().write_queue_nums, 0);
        assert_eq!(send(&topics, "four", 8).unwrap().write_queue_nums, 4, "it exists already");
    }

    #[test]
    fn nothing_but_retry_topics_is_created_when_auto_creation_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let topics = manager(dir.path(), |config| config.auto_create_topic_enable = false);
        assert!(send(&topics, "t", 4).is_none());
        let retry = send(&topics, "%RETRY%g", 4).unwrap();
        assert_eq!((retry.write_queue_nums, retry.perm), (1, 6));
        let by_cluster =
            topics.create_in_send("t", "DefaultCluster", 4, false, ([127, 0, 0, 1], 1).into());
        assert_eq!(by_cluster.unwrap().write_queue_nums, 4);
    }

    #[test]
    fn topic_left_in_the_file_by_a_start_with_auto_creation_does_not_inherit_without_it() {
        let dir = tempfile::tempdir().unwrap();
        manager(dir.path(), |_| ()).save_if_changed().unwrap();
        let topics = manager(dir.path(), |config| config.auto_create_topic_enable = false);
        assert!(topics.get("TBW102").is_some());
        assert!(send(&topics, "t", 4).is_none());
    }

    #[test]
    fn change_bumps_the_version_and_tells_the_listener_and_deletion_tells_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let topics = manager(dir.path(), |_| ());
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        topics.on_change(move |topic| {
            assert_eq!(topic, "t");
            count.fetch_add(1, Ordering::Relaxed);
        });
        let before = topics.snapshot().1.counter;
        send(&topics, "t", 4).unwrap();
        topics.update(TopicConfig { perm: 4, ..TopicConfig::new("t") }).unwrap();
        topics.delete("t");
        topics.delete("t");
        assert_eq!(topics.snapshot().1.counter, before + 3);
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn retry_topic_follows_the_order_of_its_subscriptions() {
        let dir = tempfile::tempdir().unwrap();
        let topics = manager(dir.path(), |_| ());
        assert!(!topics.create_in_send_back("%RETRY%g", 1, 6, false, 0).unwrap().order);
        assert!(topics.create_in_send_back("%RETRY%g", 1, 6, true, 0).unwrap().order);
        assert!(topics.is_ordered("%RETRY%g"));
        topics.mark_ordered(["TBW102", "none"].into_iter());
        assert!(topics.is_ordered("TBW102"));
    }

    /// What a broker finds that starts on `dir` as a crash would leave it now.
    fn after_crash(dir: &Path) -> TopicConfigManager {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("config")).unwrap();
        for file in fs::read_dir(dir.join("config")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join("config").join(file.file_name())).unwrap();
        }
        manager(copy.path(), |_| ())
    }

    #[test]
    fn change_outlives_a_crash_once_it_is_made_unless_heartbeats_make_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let topics = manager(dir.path(), |_| ());
        send(&topics, "sent", 4).unwrap();
        topics.update(TopicConfig { perm: 4, ..TopicConfig::new("updated") }).unwrap();
        topics.create_in_send_back("%DLQ%g", 1, 6, false, 0).unwrap();
        topics.create_in_send_back("%RETRY%g", 1, 6, false, 0).unwrap();
        assert!(!dir.path().join("config/topics.json").exists(), "the journal has it all");
        let found = after_crash(dir.path());
        assert_eq!(found.get("updated").unwrap().perm, 4);
        assert!(found.get("sent").is_some() && found.get("%DLQ%g").is_some());
        assert!(found.get("%RETRY%g").is_none());
        topics.delete("sent");
        topics.mark_ordered(["updated"].into_iter());
        topics.announce_all();
        topics.update(TopicConfig::new("last")).unwrap();
        for save in [false, true] {
            if save {
                topics.save_if_changed().unwrap();
            }
            let found = after_crash(dir.path());
            assert!(found.get("sent").is_none() && found.get("last").is_some());
            assert!(found.is_ordered("updated"));
            assert_eq!(found.snapshot().1, topics.snapshot().1);
        }
        assert!(!dir.path().join("config/topics.json.journal").exists());
    }

    #[test]
    fn file_has_the_layout_of_the_reference_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let topics = manager(dir.path(), |_| ());
        send(&topics, "orders", 4).unwrap();
        topics.save_if_changed().unwrap();
        let text = fs::read_to_string(dir.path().join("config/topics.json")).unwrap();
        assert!(text.starts_with("{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n"), "{text}");
        let orders = "\t\t\"orders\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\
            \t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":4,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\
            \t\t\t\"topicName\":\"orders\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":4\n\
            \t\t}";
        assert!(text.contains(orders), "{text}");

        let again = manager(dir.path(), |_| ());
        let config =
            |topics: &TopicConfigManager| TopicConfig::clone(&topics.get("orders").unwrap());
        assert_eq!(config(&again), config(&topics));
        assert_eq!(again.snapshot().1, topics.snapshot().1);
    }

    #[test]
    fn file_of_the_reference_is_read_and_wins_over_what_is_made_at_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("config")).unwrap();
        fs::write(
            dir.path().join("config/topics.json"),
            "{\n\t\"dataVersion\":{\n\t\t\"counter\":7,\n\t\t\"stateVersion\":0,\n\
             \t\t\"timestamp\":5\n\t},\n\t\"topicConfigTable\":{\n\t\t\"SELF_TEST_TOPIC\":{\n\
             \t\t\t\"attributes\":{\"message.type\":\"FIFO\"},\n\t\t\t\"order\":true,\n\
             \t\t\t\"perm\":2,\n\t\t\t\"readQueueNums\":3,\n\t\t\t\"topicFilterType\":\"MULTI_TAG\",\n\
             \t\t\t\"topicName\":\"SELF_TEST_TOPIC\",\n\t\t\t\"topicSysFlag\":1,\n\
             \t\t\t\"writeQueueNums\":5\n\t\t}\n\t}\n}",
        )
        .unwrap();
        let topics = manager(dir.path(), |_| ());
        assert_eq!(
            topics.get("SELF_TEST_TOPIC").unwrap().to_string(),
            "TopicConfig [topicName=SELF_TEST_TOPIC, readQueueNums=3, writeQueueNums=5, perm=-W-, \
             topicFilterType=MULTI_TAG, topicSysFlag=1, order=true, attributes={message.type=FIFO}]"
        );
        assert_eq!(topics.snapshot().1.counter, 7);
        assert!(topics.get("BenchmarkTest").is_some());
    }
}
