//! What a broker knows of a topic.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DataVersion, TopicQueueMappingDetail, TopicQueueMappingInfo};

/// How many tags a message of the topic may have; every current topic says one.
///
/// Reference: `TopicFilterType` (common), 5.5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// One tag a message.
    #[default]
    SingleTag,
    /// Several.
    MultiTag,
}

/// Settings of one topic.
///
/// Reference: `TopicConfig` (common), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Attributes such as `message.type`, without the `+` of the admin syntax.
    pub attributes: BTreeMap<String, String>,
    /// Whether the topic is ordered across brokers.
    pub order: bool,
    /// 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// See [`TopicFilterType`].
    pub topic_filter_type: TopicFilterType,
    /// Name.
    pub topic_name: String,
    /// 1 unit, 2 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues to write to.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// Makes a topic with the reference's defaults: 16 queues to read and write.
    pub fn new(topic_name: impl Into<String>) -> Self {
        Self { topic_name: topic_name.into(), ..Self::default() }
    }
}

/// The text that the reference puts into remarks.
impl fmt::Display for TopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |bit: i32, letter: char| if self.perm & bit != 0 { letter } else { '-' };
        let (read, write, inherit) = (letter(4, 'R'), letter(2, 'W'), letter(1, 'X'));
        let filter_type = match self.topic_filter_type {
            TopicFilterType::SingleTag => "SINGLE_TAG",
            TopicFilterType::MultiTag => "MULTI_TAG",
        };
        let attributes: Vec<_> =
            self.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        write!(
            f,
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, \
             perm={read}{write}{inherit}, topicFilterType={filter_type}, topicSysFlag={}, \
             order={}, attributes={{{}}}]",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            self.topic_sys_flag,
            self.order,
            attributes.join(", "),
        )
    }
}

/// All topics of a broker, as in `topics.json`.
///
/// Reference: `TopicConfigSerializeWrapper` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigSerializeWrapper {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// Body of `UPDATE_AND_CREATE_TOPIC_LIST` (18).
///
/// Reference: `CreateTopicListRequestBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateTopicListRequestBody {
    /// Topics to create or change; their attributes have the signs of the admin syntax.
    pub topic_config_list: Vec<TopicConfig>,
}

/// All topics of a broker with the static ones' mappings, as registered and as answered to
/// `GET_ALL_TOPIC_CONFIG`.
///
/// Reference: `TopicConfigAndMappingSerializeWrapper` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndMappingSerializeWrapper {
    /// Version of the topics.
    pub data_version: DataVersion,
    /// Version of the mappings.
    pub mapping_data_version: DataVersion,
    /// By topic name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Mappings in full.
    pub topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
    /// Mappings in brief.
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    #[test]
    fn filter_types_are_read_by_name_in_letters_of_any_case_and_by_number() {
        for (text, expected) in [
            (r#""MULTI_TAG""#, TopicFilterType::MultiTag),
            (r#""multi_tag""#, TopicFilterType::MultiTag),
            ("1", TopicFilterType::MultiTag),
            (r#""0""#, TopicFilterType::SingleTag),
        ] {
            let text = format!(r#"{{"topicFilterType":{text}}}"#);
            let topic: TopicConfig = fastjson::from_slice(text.as_bytes()).unwrap();
            assert_eq!(topic.topic_filter_type, expected, "{text}");
        }
        for unknown in ["NO_TAG", "2", ""] {
            let text = format!(r#"{{"topicFilterType":"{unknown}"}}"#);
            assert!(fastjson::from_slice::<TopicConfig>(text.as_bytes()).is_err(), "{unknown}");
        }
    }
}
