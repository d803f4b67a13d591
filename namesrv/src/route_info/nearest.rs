//! Why a topic has no route: what to tell whoever asked.

use oxmq_protocol::config;

use super::RouteInfoManager;
use crate::limits::MAX_NEAREST_CANDIDATES;

/// The topic that brokers register while they create topics on the first send.
///
/// Reference: `TopicValidator.AUTO_CREATE_TOPIC_KEY_TOPIC` (common), 5.5.0.
const AUTO_CREATE_TOPIC: &str = "TBW102";

/// Longest name that others are compared with: the time that takes grows with the square, and long
/// names are made by programs, which do not mistype.
const MAX_NEAREST_BYTES: usize = 64;

/// Most broker names in the text.
const MAX_NAMES: usize = 5;

impl RouteInfoManager {
    /// Says what is registered, where topics create themselves, and which topic's name is near.
    pub(crate) fn why_no_route(&self, topic: &str) -> String {
        let tables = self.read();
        let known: Vec<&str> =
            tables.brokers.iter().map(|broker| broker.broker_name.as_str()).collect();
        if known.is_empty() {
            return "no broker is registered with this name server".to_owned();
        }
        let creating: Vec<&str> = tables
            .topics
            .get(AUTO_CREATE_TOPIC)
            .into_iter()
            .flatten()
            .filter_map(|queues| Some(tables.brokers.get(queues.broker)?.broker_name.as_str()))
            .collect();
        let creation = if creating.is_empty() {
            "autoCreateTopicEnable is off on all of them, so the topic has to be created".to_owned()
        } else {
            format!("a first send creates it on {}", names(creating))
        };
        let near = tables
            .topics
            .keys()
            .filter(|known| known.len().abs_diff(topic.len()) <= 2)
            .take(MAX_NEAREST_CANDIDATES)
            .map(|known| &**known);
        let near =
            (topic.len() <= MAX_NEAREST_BYTES).then(|| config::nearest(topic, near)).flatten();
        let near = near.map(|name| format!("; the nearest topic name is {name}"));
        format!(
            "none of the registered brokers ({}) has it; {creation}{}",
            names(known),
            near.unwrap_or_default()
        )
    }
}

fn names(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    let rest = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    let listed = names.join(", ");
    if rest == 0 { listed } else { format!("{listed} and {rest} more") }
}
