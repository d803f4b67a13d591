//! Names of topics.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Names of topics, or in the system list also of clusters and brokers.
///
/// Reference: `TopicList` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// A broker to ask further; only in the system list.
    pub broker_addr: Option<String>,
    /// The names.
    pub topic_list: BTreeSet<String>,
}
