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
use tracing::{info, warn};

use crate::attributes::{self, OF_TOPICS};
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
    ///
    /// Reference: `LmqTopicConfigManager` (broker), 5.5.0.
    has_light: bool,
    /// For all windows.
    room: Arc<Room>,
    file: JournaledTable<TopicConfigSerializeWrapper>,
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
        has_light: bool,
        save: SaveSignal,
    ) -> Result<Self, JsonFileError> {
        let file = JournaledTable::new(store_root, "topics.json", save);
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
            has_light,
            room,
            file,
            listener: OnceLock::new(),
        })
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
        self.keep()
    }

    /// Removes a topic. The name servers are not told, as in the reference.
    pub(crate) fn delete(&self, topic: &str) {
        let mut data_version = lock(&self.data_version);
        if write(&self.table).remove(topic).is_some() {
            info!(%topic, "topic deleted");
            self.file.note(&mut data_version, vec![TopicChange::Delete(topic.to_owned())]);
            drop(data_version);
            drop(self.keep());
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
            self.file.note(&mut data_version, changes);
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
        self.file.note(&mut data_version, Vec::new());
        let Some(listener) = self.listener.get() else { return };
        // The listener looks at the table, too.
        let names: Vec<_> = read(&self.table).keys().cloned().collect();
        for topic in names {
            listener(&topic);
        }
    }

    /// Makes a change durable before it is acknowledged: a topic that a crash takes back would take the
    /// messages sent to it along.
    ///
    /// # Errors
    /// The remark that a tool gets that has asked for the change.
    pub(crate) fn keep(&self) -> Result<(), String> {
        self.file.keep(|| self.saved())
    }

    fn store(&self, topic: TopicConfig, data_version: &mut DataVersion) -> Arc<Topic> {
        let known = self.get(&topic.topic_name);
        let (name, topic) = keyed(topic, &self.room, known.as_deref());
        write(&self.table).insert(name, Arc::clone(&topic));
        self.file.note(data_version, vec![TopicChange::Put(TopicConfig::clone(&topic))]);
        if let Some(listener) = self.listener.get() {
            listener(&topic.topic_name);
        }
        topic
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
mod tests;
