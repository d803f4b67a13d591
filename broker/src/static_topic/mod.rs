//! Static topics: logical queues that outlive the broker they are on.
//!
//! A logical queue is a list of parts, each a physical queue of some broker with a range of logical offsets;
//! the last part is where messages go. Its broker leads the logical queue: clients ask it, it asks the brokers of
//! the earlier parts. Kept in `config/topicQueueMapping.json`.
//!
//! Reference: `TopicQueueMappingManager` (broker), 5.5.0.

mod clean;
mod logic_queue;
mod other_brokers;
mod pulled;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use hashbrown::HashMap;
use oxmq_protocol::body::{
    DataVersion, TopicQueueMappingDetail, TopicQueueMappingInfo, TopicQueueMappingSerializeWrapper,
};
use oxmq_protocol::ext_fields::Fields;
use oxmq_store::JsonFileError;
use tracing::{error, info};

pub(crate) use self::logic_queue::LogicQueue;
pub(crate) use self::other_brokers::{OtherBrokers, passed_on};
pub(crate) use self::pulled::{Pulled, Seen};
pub(crate) use self::rules::MappingError;
use crate::clock::now_ms;
use crate::error::RequestError;
use crate::saved_table::{SaveSignal, SavedTable};
use crate::sync::{lock, read, write};

/// Every mapping by topic. A broker without any is asked by one look at a flag.
#[derive(Debug)]
pub(crate) struct StaticTopics {
    has_any: AtomicBool,
    table: RwLock<HashMap<Box<str>, Arc<TopicQueueMappingDetail>>>,
    /// Held by whoever changes the table.
    data_version: Mutex<DataVersion>,
    file: SavedTable<TopicQueueMappingSerializeWrapper>,
    save: SaveSignal,
    pub(crate) others: OtherBrokers,
}

impl StaticTopics {
    /// Loads the mappings.
    ///
    /// # Errors
    /// When neither `topicQueueMapping.json` nor its backup can be read.
    pub(crate) fn load(store_root: &Path, save: SaveSignal) -> Result<Self, JsonFileError> {
        let file = SavedTable::<TopicQueueMappingSerializeWrapper>::new(
            store_root,
            "topicQueueMapping.json",
        );
        let saved = file.load()?.unwrap_or_default();
        let table: HashMap<Box<str>, _> = saved
            .topic_queue_mapping_info_map
            .into_iter()
            .map(|(topic, mapping)| (topic.into_boxed_str(), Arc::new(mapping)))
            .collect();
        Ok(Self {
            has_any: AtomicBool::new(!table.is_empty()),
            table: RwLock::new(table),
            data_version: Mutex::new(saved.data_version),
            file,
            save,
            others: OtherBrokers::default(),
        })
    }

    /// Whether there is no static topic here, as on nearly all brokers.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_any.load(Ordering::Acquire)
    }

    /// The mapping of a topic, if it is a static one.
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<TopicQueueMappingDetail>> {
        if self.is_empty() {
            return None;
        }
        read(&self.table).get(topic).cloned()
    }

    /// The logical queue that a request is about, `None` if it is about a physical one: its topic is not static,
    /// or it says so itself.
    ///
    /// # Errors
    /// When another broker leads the queue.
    pub(crate) fn led(
        &self,
        request: &impl Fields,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<LogicQueue>, RequestError> {
        match self.named(request, topic, queue_id) {
            Some(queue) if !queue.is_led_here() => Err(queue.not_led_here()),
            queue => Ok(queue),
        }
    }

    /// The same for a send, which may leave the choice of the queue to the broker.
    ///
    /// # Errors
    /// As [`StaticTopics::led`].
    pub(crate) fn sent_to(
        &self,
        request: &impl Fields,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<LogicQueue>, RequestError> {
        match self.named(request, topic, queue_id).map(LogicQueue::or_any_led_here) {
            Some(queue) if !queue.is_led_here() => Err(queue.not_led_here()),
            queue => Ok(queue),
        }
    }

    /// The same, whoever leads it.
    pub(crate) fn named(
        &self,
        request: &impl Fields,
        topic: &str,
        queue_id: i32,
    ) -> Option<LogicQueue> {
        let mapping = self.get(topic)?;
        // Java's rule: anything that is not "true" in some case is false.
        let is_physical = request.get("lo").is_some_and(|lo| !lo.eq_ignore_ascii_case("true"));
        (!is_physical).then(|| LogicQueue::new(mapping, topic, queue_id))
    }

    /// Whether a request may have to be answered with what other brokers say, which takes a while.
    pub(crate) fn may_ask_others(&self, request: &impl Fields) -> bool {
        if self.is_empty() {
            return false;
        }
        let queue_id = request.get("queueId").and_then(|id| id.parse().ok());
        let (Some(topic), Some(queue_id)) = (request.get("topic"), queue_id) else { return false };
        self.named(request, &topic, queue_id)
            .is_some_and(|queue| queue.is_led_here() && queue.is_also_elsewhere())
    }

    /// Takes over what a tool sets. It is on disk when this returns: a topic without its mapping would take its
    /// logical queues for physical ones.
    ///
    /// # Errors
    /// When the mapping makes no sense or, without `force`, is not one that can follow on the one there is.
    pub(crate) fn update(
        &self,
        topic: &str,
        mut mapping: TopicQueueMappingDetail,
        force: bool,
    ) -> Result<(), MappingError> {
        for items in mapping.hosted_queues.values() {
            rules::check_items(items)?;
        }
        let mut data_version = lock(&self.data_version);
        if let Some(known) = self.get(topic) {
            rules::follow(&known, &mut mapping, force)?;
        }
        info!(topic, ?mapping, force, "mapping of a static topic updated");
        write(&self.table).insert(topic.into(), Arc::new(mapping));
        self.has_any.store(true, Ordering::Release);
        self.bump(&mut data_version);
        drop(data_version);
        self.keep();
        Ok(())
    }

    /// Removes the mapping of a topic, if it has one.
    pub(crate) fn delete(&self, topic: &str) {
        if self.is_empty() {
            return;
        }
        let mut data_version = lock(&self.data_version);
        let mut table = write(&self.table);
        if table.remove(topic).is_none() {
            return;
        }
        self.has_any.store(!table.is_empty(), Ordering::Release);
        drop(table);
        info!(topic, "mapping of a static topic deleted");
        self.bump(&mut data_version);
        drop(data_version);
        self.keep();
    }

    /// Every mapping, and the version of the table.
    pub(crate) fn snapshot(&self) -> TopicQueueMappingSerializeWrapper {
        let data_version = lock(&self.data_version);
        let table = read(&self.table);
        let mappings = table.iter().map(|(topic, mapping)| {
            (topic.clone().into_string(), TopicQueueMappingDetail::clone(mapping))
        });
        TopicQueueMappingSerializeWrapper {
            data_version: *data_version,
            topic_queue_mapping_info_map: mappings.collect(),
        }
    }

    /// Those of `topics` that are static, in brief.
    pub(crate) fn infos<'t>(
        &self,
        topics: impl Iterator<Item = &'t str>,
    ) -> BTreeMap<String, TopicQueueMappingInfo> {
        if self.is_empty() {
            return BTreeMap::new();
        }
        topics.filter_map(|topic| Some((topic.to_owned(), self.get(topic)?.info()))).collect()
    }

    /// Writes the file if it is behind.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| self.snapshot())
    }

    fn bump(&self, data_version: &mut DataVersion) {
        data_version.advance(0, now_ms());
        self.file.changed();
    }

    /// What cannot be saved now is tried again in the background.
    fn keep(&self) {
        if let Err(error) = self.save_if_changed() {
            error!(%error, "mappings of static topics not saved");
            self.save.notify();
        }
    }
}

#[cfg(test)]
mod tests;
