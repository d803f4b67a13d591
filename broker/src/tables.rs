//! The broker's metadata, each table in a file of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxmq_store::JsonFileError;
use tokio::time::Instant;
use tracing::error;

use crate::config::BrokerConfig;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::filter::ConsumerFilters;
use crate::pop::ConsumerOrder;
use crate::request_mode::RequestModes;
use crate::saved_table::SaveSignal;
use crate::static_topic::StaticTopics;
use crate::subscription_group::SubscriptionGroupManager;
use crate::topic::TopicConfigManager;

/// A metadata file that cannot be read, nor can its backup.
pub(crate) type LoadError = JsonFileError;

/// Changes are saved together when they come within this time.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How many times as long as a save took the next one is put off, so that large tables that change all the
/// time do not take the machine. Changes that must not be lost are in a journal meanwhile.
const REST_FACTOR: u32 = 4;

/// Topics, consumer groups, how far these have come and what they filter with.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) topics: Arc<TopicConfigManager>,
    pub(crate) groups: Arc<SubscriptionGroupManager>,
    pub(crate) offsets: Arc<ConsumerOffsetManager>,
    pub(crate) filters: Arc<ConsumerFilters>,
    pub(crate) request_modes: Arc<RequestModes>,
    pub(crate) order: Arc<ConsumerOrder>,
    pub(crate) static_topics: Arc<StaticTopics>,
    save: SaveSignal,
    config: Arc<BrokerConfig>,
}

impl Tables {
    /// Loads every table from `<store root>/config`.
    ///
    /// # Errors
    /// When a file and its backup cannot be read.
    pub(crate) fn load(
        config: &Arc<BrokerConfig>,
        store_root: &Path,
        has_light: bool,
    ) -> Result<Self, LoadError> {
        let save = SaveSignal::default();
        let (for_topics, for_groups) = (Arc::clone(config), Arc::clone(config));
        let topics = TopicConfigManager::load(for_topics, store_root, has_light, save.clone())?;
        let groups =
            SubscriptionGroupManager::load(for_groups, store_root, has_light, save.clone())?;
        let offsets = ConsumerOffsetManager::load(config, store_root, has_light)?;
        let filters = ConsumerFilters::load(config, store_root)?;
        let request_modes = RequestModes::load(store_root, save.clone())?;
        let order = ConsumerOrder::load(store_root)?;
        let static_topics = StaticTopics::load(store_root, save.clone())?;
        Ok(Self {
            topics: Arc::new(topics),
            groups: Arc::new(groups),
            offsets: Arc::new(offsets),
            filters: Arc::new(filters),
            request_modes: Arc::new(request_modes),
            order: Arc::new(order),
            static_topics: Arc::new(static_topics),
            save,
            config: Arc::clone(config),
        })
    }

    /// Saves topics and groups soon after they change and offsets regularly, for ever.
    pub(crate) async fn save_in_background(self: Arc<Self>) {
        let mut saved = Instant::now();
        let mut rested = saved;
        loop {
            let interval = self.config.flush_consumer_offset_interval.max(1).unsigned_abs();
            let offsets_due = saved + Duration::from_millis(interval);
            tokio::select! {
                () = self.save.changed() => {
                    let debounced = Instant::now() + DEBOUNCE;
                    tokio::time::sleep_until(debounced.max(rested)).await;
                }
                () = tokio::time::sleep_until(offsets_due) => {}
            }
            saved = Instant::now();
            let tables = Arc::clone(&self);
            let saving = tokio::task::spawn_blocking(move || tables.save_all());
            if let Err(panic) = saving.await {
                error!(%panic, "saving metadata failed");
            }
            rested = Instant::now() + saved.elapsed() * REST_FACTOR;
        }
    }

    /// Saves whatever has changed. What cannot be saved is tried again with the next save.
    pub(crate) fn save_all(&self) {
        let saves = [
            ("topics", self.topics.save_if_changed()),
            ("subscription groups", self.groups.save_if_changed()),
            ("consumer offsets", self.offsets.save_if_changed()),
            ("consumer filters", self.filters.save_if_changed()),
            ("request modes", self.request_modes.save_if_changed()),
            ("messages given out in order", self.order.save_if_changed()),
            ("static topics", self.static_topics.save_if_changed()),
        ];
        for (table, saved) in saves {
            if let Err(error) = saved {
                error!(table, %error, "metadata not saved");
            }
        }
    }
}
