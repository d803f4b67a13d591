//! What a broker tells the name server.

use serde::{Deserialize, Serialize};

use super::TopicConfigAndMappingSerializeWrapper;

/// Body of `REGISTER_BROKER`.
///
/// Reference: `RegisterBrokerBody` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// Filter servers that the broker started; nearly always empty.
    pub filter_server_list: Vec<String>,
    /// All topics, or those that changed.
    pub topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
}
