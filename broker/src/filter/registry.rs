//! The expressions that groups filter with, by topic; kept in `config/consumerFilter.json`.
//!
//! Reference: `ConsumerFilterManager` (broker), 5.5.0.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};

use oxmq_protocol::body::{
    ConsumerFilterData, ConsumerFilterTable, FilterDataOfTopic, SubscriptionData, is_tag_type,
};
use oxmq_store::{ExtendedUnit, JsonFileError};
use tracing::{info, warn};

use super::bloom::{self, Bloom};
use super::sql::SqlFilter;
use crate::clock::now_ms;
use crate::config::BrokerConfig;
use crate::error::RequestError;
use crate::limits::MAX_FILTERS;
use crate::saved_table::SavedTable;
use crate::sync::{read, write};

/// How long ago the members of a group are taken to have gone when the broker starts, ms.
const GONE_BEFORE_START_MS: i64 = 30_000;

#[derive(Debug)]
struct Entry {
    data: ConsumerFilterData,
    filter: Arc<SqlFilter>,
}

/// By topic and group.
type Filters = BTreeMap<String, BTreeMap<String, Entry>>;

/// Compiled expressions of all groups. A group's last one is kept for a while after the group has gone.
#[derive(Debug)]
pub(crate) struct ConsumerFilters {
    filters: RwLock<Filters>,
    bloom: Bloom,
    config: Arc<BrokerConfig>,
    file: SavedTable<ConsumerFilterTable>,
}

impl ConsumerFilters {
    /// Loads the filters.
    ///
    /// # Errors
    /// When neither `consumerFilter.json` nor its backup can be read.
    pub(crate) fn load(
        config: &Arc<BrokerConfig>,
        store_root: &Path,
    ) -> Result<Self, JsonFileError> {
        let file = SavedTable::<ConsumerFilterTable>::new(store_root, "consumerFilter.json");
        let saved = file.load()?.unwrap_or_default();
        let bloom = Bloom::new(
            config.max_error_rate_of_bloom_filter,
            config.expect_consumer_num_use_filter,
        );
        let all = || {
            let topics = saved.filter_data_by_topic.values();
            topics.flat_map(|topic| topic.group_filter_data.values())
        };
        let mut filters = Filters::new();
        if all().all(|data| bloom.made(data.bloom_filter_data.as_ref())) {
            let now_ms = now_ms();
            all().for_each(|data| restore(&mut filters, data, now_ms));
        } else {
            info!("filters of another size are dropped, their groups bring them again");
        }
        Ok(Self { filters: RwLock::new(filters), bloom, config: Arc::clone(config), file })
    }

    /// Takes over what a group's heartbeat says of a topic, and returns what the topic is filtered with.
    ///
    /// # Errors
    /// When the expression cannot be compiled: pulls are refused with this.
    pub(crate) fn register(
        &self,
        group: &str,
        data: &SubscriptionData,
    ) -> Result<Arc<SqlFilter>, FilterProblem> {
        let mut filters = write(&self.filters);
        let count: usize = filters.values().map(BTreeMap::len).sum();
        let known = filters.get_mut(&data.topic).and_then(|groups| groups.get_mut(group));
        let is_known = known.is_some();
        if let Some(known) = known
            && data.sub_version <= known.data.client_version
        {
            if data.sub_version == known.data.client_version && known.data.dead {
                known.data.dead = false;
                known.data.dead_time = 0;
                self.file.changed();
            }
            return Ok(Arc::clone(&known.filter));
        }
        if data.sub_string.is_empty() || !is_known && count >= MAX_FILTERS {
            return Err(FilterProblem);
        }
        let filter = match SqlFilter::compile_as(&data.expression_type, &data.sub_string) {
            Ok(filter) => Arc::new(filter),
            Err(error) => {
                warn!(group, topic = data.topic, expression = data.sub_string, %error,
                    "expression cannot be compiled");
                // The one before is not what the group wants any more.
                if is_known && let Some(groups) = filters.get_mut(&data.topic) {
                    groups.remove(group);
                    self.file.changed();
                }
                return Err(FilterProblem);
            }
        };
        let entry = Entry {
            data: ConsumerFilterData {
                bloom_filter_data: Some(self.bloom.data(group, &data.topic)),
                born_time: now_ms(),
                client_version: data.sub_version,
                consumer_group: group.to_owned(),
                dead: false,
                dead_time: 0,
                expression: data.sub_string.clone(),
                expression_type: data.expression_type.clone(),
                topic: data.topic.clone(),
            },
            filter: Arc::clone(&filter),
        };
        filters.entry(data.topic.clone()).or_default().insert(group.to_owned(), entry);
        self.file.changed();
        Ok(filter)
    }

    /// The group no longer subscribes to the topic.
    pub(crate) fn unregister(&self, group: &str, topic: &str) {
        let mut filters = write(&self.filters);
        if let Some(entry) = filters.get_mut(topic).and_then(|groups| groups.get_mut(group))
            && !entry.data.dead
        {
            entry.data.dead = true;
            entry.data.dead_time = now_ms().max(entry.data.born_time);
            self.file.changed();
        }
    }

    /// What a group filters a topic with, whether it is there or not.
    pub(crate) fn find(&self, group: &str, topic: &str) -> Option<Arc<SqlFilter>> {
        let filters = read(&self.filters);
        Some(Arc::clone(&filters.get(topic)?.get(group)?.filter))
    }

    /// Which groups' filters a message of `topic` with these properties matches; nothing when
    /// nobody filters the topic.
    ///
    /// Reference: `CommitLogDispatcherCalcBitMap` (broker), 5.5.0.
    pub(crate) fn bits(&self, topic: &str, properties: &[u8]) -> Option<Vec<u8>> {
        let filters = read(&self.filters);
        let groups = filters.get(topic)?;
        let mut bits = self.bloom.no_bits();
        for entry in groups.values() {
            if let Some(data) = &entry.data.bloom_filter_data
                && entry.filter.matches(properties)
            {
                bloom::set(&mut bits, data);
            }
        }
        Some(bits)
    }

    /// Whether a group's filter may match a message, as far as its extended unit says.
    ///
    /// Reference: `ExpressionMessageFilter.isMatchedByConsumeQueue` (broker), 5.5.0.
    pub(crate) fn may_match(&self, group: &str, topic: &str, unit: &ExtendedUnit) -> bool {
        let filters = read(&self.filters);
        let Some(entry) = filters.get(topic).and_then(|groups| groups.get(group)) else {
            return true;
        };
        let Some(data) = &entry.data.bloom_filter_data else {
            return true;
        };
        let knows = unit.store_timestamp_ms > entry.data.born_time
            && unit.filter_bits.len() as i64 * 8 == i64::from(data.bit_num)
            && !unit.filter_bits.is_empty();
        !knows || bloom::has(&unit.filter_bits, data)
    }

    /// The same as the tools see it.
    pub(crate) fn data(&self, group: &str, topic: &str) -> Option<ConsumerFilterData> {
        Some(read(&self.filters).get(topic)?.get(group)?.data.clone())
    }

    /// Drops the filters of groups that went long ago.
    pub(crate) fn remove_dead(&self, now_ms: i64) {
        let mut filters = write(&self.filters);
        let keep_ms = self.config.filter_data_clean_time_span;
        let keep = |entry: &Entry| {
            !entry.data.dead || now_ms.saturating_sub(entry.data.dead_time) < keep_ms
        };
        for groups in filters.values_mut() {
            let before = groups.len();
            groups.retain(|_, entry| keep(entry));
            if groups.len() < before {
                self.file.changed();
            }
        }
        filters.retain(|_, groups| !groups.is_empty());
    }

    /// Saves the filters if they have changed.
    pub(crate) fn save_if_changed(&self) -> Result<(), JsonFileError> {
        self.file.save_if_changed(|| {
            let filters = read(&self.filters);
            let topics = filters.iter().map(|(topic, groups)| {
                let groups =
                    groups.iter().map(|(group, entry)| (group.clone(), entry.data.clone()));
                let data =
                    FilterDataOfTopic { group_filter_data: groups.collect(), topic: topic.clone() };
                (topic.clone(), data)
            });
            ConsumerFilterTable { filter_data_by_topic: topics.collect() }
        })
    }
}

/// Nobody is there when the broker starts.
fn restore(filters: &mut Filters, data: &ConsumerFilterData, now_ms: i64) {
    if is_tag_type(&data.expression_type) {
        return;
    }
    let Ok(filter) = SqlFilter::compile_as(&data.expression_type, &data.expression) else {
        warn!(
            group = data.consumer_group,
            topic = data.topic,
            expression = data.expression,
            "a saved expression cannot be compiled"
        );
        return;
    };
    let mut data = data.clone();
    if data.dead_time == 0 {
        data.dead = true;
        data.dead_time = (now_ms - GONE_BEFORE_START_MS).max(data.born_time);
    }
    let groups = filters.entry(data.topic.clone()).or_default();
    groups.insert(data.consumer_group.clone(), Entry { data, filter: Arc::new(filter) });
}

/// The newest expression of a group is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterProblem;

impl From<FilterProblem> for RequestError {
    fn from(_: FilterProblem) -> Self {
        Self::FilterDataNotExist
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerSettings;

    fn load(dir: &Path) -> ConsumerFilters {
        ConsumerFilters::load(&Arc::default(), dir).unwrap()
    }

    fn subscription(expression: &str, sub_version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: "t".to_owned(),
            sub_string: expression.to_owned(),
            sub_version,
            expression_type: "SQL92".to_owned(),
            ..SubscriptionData::default()
        }
    }

    #[test]
    fn newer_expressions_replace_older_ones_if_they_compile() {
        let dir = tempfile::tempdir().unwrap();
        let filters = load(dir.path());
        let register = |text: &str, version| filters.register("g", &subscription(text, version));
        assert_eq!(register("a >", 1), Err(FilterProblem));
        let class = SubscriptionData { expression_type: "CLASS".into(), ..subscription("a", 1) };
        assert_eq!(filters.register("g", &class), Err(FilterProblem));
        let first = register("a > 1", 1).unwrap();
        assert_eq!(register("a > 2", 1).unwrap(), first, "not newer");
        assert_eq!(register("a >", 2), Err(FilterProblem));
        assert_eq!(filters.find("g", "t"), None, "nor is it filtered with the former one");
        let second = register("a > 2", 3).unwrap();
        assert_ne!(second, first);
        assert_eq!(filters.find("g", "t"), Some(second));
        assert_eq!(filters.find("g", "u"), None);
    }

    #[test]
    fn filters_outlive_a_restart_and_are_dropped_a_day_after_their_group() {
        let dir = tempfile::tempdir().unwrap();
        let filters = load(dir.path());
        filters.register("g", &subscription("a = 1", 1)).unwrap();
        filters.save_if_changed().unwrap();

        let filters = load(dir.path());
        let data = filters.data("g", "t").unwrap();
        assert!(data.dead && data.dead_time >= data.born_time);
        filters.register("g", &subscription("a = 1", 1)).unwrap();
        assert!(!filters.data("g", "t").unwrap().dead, "its consumer is back");
        filters.unregister("g", "t");
        let dead_time = filters.data("g", "t").unwrap().dead_time;
        filters.remove_dead(dead_time + 86_399_999);
        assert!(filters.data("g", "t").is_some());
        // For as long as is set then.
        let set = |filter_data_clean_time_span| {
            let settings =
                BrokerSettings { filter_data_clean_time_span, ..BrokerSettings::default() };
            filters.config.replace(settings).unwrap();
        };
        set(2 * 86_400_000);
        filters.remove_dead(dead_time + 86_400_000);
        assert!(filters.data("g", "t").is_some());
        set(86_400_000);
        filters.remove_dead(dead_time + 86_400_000);
        assert!(filters.data("g", "t").is_none());
    }

    #[test]
    fn bits_say_whose_filters_match_and_nothing_of_older_messages() {
        let dir = tempfile::tempdir().unwrap();
        let filters = load(dir.path());
        assert_eq!(filters.bits("t", b""), None);
        filters.register("g", &subscription("a = 1", 1)).unwrap();
        filters.register("h", &subscription("a = 2", 1)).unwrap();
        let filter_bits = filters.bits("t", b"a\x011\x02").unwrap();
        assert_eq!(filter_bits.len(), 14);
        let born = filters.data("g", "t").unwrap().born_time;
        let mut unit = ExtendedUnit { tags_code: 0, store_timestamp_ms: born + 9_999, filter_bits };
        assert!(filters.may_match("g", "t", &unit));
        assert!(!filters.may_match("h", "t", &unit));
        assert!(filters.may_match("nobody", "t", &unit));
        unit.store_timestamp_ms = 0;
        assert!(filters.may_match("h", "t", &unit));
    }

    #[test]
    fn a_table_of_another_bloom_filter_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let filters = load(dir.path());
        filters.register("g", &subscription("a = 1", 1)).unwrap();
        filters.save_if_changed().unwrap();
        let mut other = BrokerConfig::default();
        other.expect_consumer_num_use_filter = 64;
        let filters = ConsumerFilters::load(&Arc::new(other), dir.path()).unwrap();
        assert!(filters.find("g", "t").is_none());
    }
}
