//! Members of one group that want different things.
//!
//! A group has one subscription for each topic, that of the latest heartbeat. While members say
//! different things they overwrite each other, and messages that only some of them want are lost to
//! the group. While a new release of an application is rolled out that is so for a while; else it
//! is a mistake.

use std::time::Instant;

use hashbrown::HashMap;
use oxmq_protocol::body::SubscriptionData;
use tracing::{info, warn};

use crate::topic_validator;

/// Members of each view that are named in the log.
const NAMED: usize = 8;
/// Bytes of a view that are kept to be logged; a longer one is told apart by its whole text all the same.
const SHOWN_BYTES: usize = 256;

/// What a member wants.
#[derive(Debug)]
struct View {
    client_id: Box<str>,
    hash: u64,
    text: Box<str>,
}

/// What each member of a group wants, by connection id.
#[derive(Debug, Default)]
pub(super) struct Differences {
    views: HashMap<u64, View>,
    /// Since when there has been more than one view.
    since: Option<Instant>,
}

impl Differences {
    /// A member said what it wants.
    pub(super) fn said(
        &mut self,
        group: &str,
        (channel_id, client_id): (u64, &str),
        subscriptions: &[SubscriptionData],
        now: Instant,
    ) {
        let text = describe(subscriptions);
        let hash = hash_of(&text);
        if self.views.get(&channel_id).is_some_and(|view| view.hash == hash) {
            return;
        }
        let shown = text.char_indices().take_while(|(at, _)| *at < SHOWN_BYTES).map(|(_, c)| c);
        let view = View { client_id: client_id.into(), hash, text: shown.collect() };
        self.views.insert(channel_id, view);
        self.look(group, now);
    }

    /// A member has gone.
    pub(super) fn left(&mut self, group: &str, channel_id: u64, now: Instant) {
        if self.views.remove(&channel_id).is_some() {
            self.look(group, now);
        }
    }

    /// Whether members want different things.
    pub(super) fn exist(&self) -> bool {
        self.since.is_some()
    }

    fn look(&mut self, group: &str, now: Instant) {
        let mut views: HashMap<u64, (&str, Vec<&str>)> = HashMap::new();
        for view in self.views.values() {
            let (_, clients) = views.entry(view.hash).or_insert((&view.text, Vec::new()));
            clients.push(&view.client_id);
        }
        if views.len() < 2 {
            if let Some(since) = self.since.take() {
                let seconds = now.saturating_duration_since(since).as_secs();
                info!(group, seconds, "all members of the group have the same subscriptions again");
            }
            return;
        }
        self.since.get_or_insert(now);
        for (text, mut clients) in views.into_values() {
            clients.sort_unstable();
            let count = clients.len();
            clients.truncate(NAMED);
            warn!(
                group,
                subscriptions = text,
                members = count,
                ?clients,
                "members of the group have different subscriptions, the latest heartbeat counts for all; \
                 harmless only while a new release is rolled out"
            );
        }
    }
}

/// Topics and expressions in a fixed order; versions and the retry topic do not count.
fn describe(subscriptions: &[SubscriptionData]) -> String {
    let mut parts: Vec<String> = subscriptions
        .iter()
        .filter(|data| !topic_validator::is_retry_topic(&data.topic))
        .map(|data| {
            let mut tags: Vec<&str> = data.sub_string.split("||").map(str::trim).collect();
            tags.sort_unstable();
            format!("{} {} {}", data.topic, data.expression_type, tags.join("||"))
        })
        .collect();
    parts.sort_unstable();
    parts.join(", ")
}

fn hash_of(text: &str) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(topic: &str, expression: &str, sub_version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: topic.to_owned(),
            sub_string: expression.to_owned(),
            sub_version,
            ..SubscriptionData::default()
        }
    }

    #[test]
    fn members_differ_by_topic_and_expression_and_by_nothing_else() {
        let now = Instant::now();
        let mut group = Differences::default();
        group.said("g", (1, "a"), &[wants("t", "x || y", 1), wants("%RETRY%g", "*", 1)], now);
        group.said("g", (2, "b"), &[wants("t", "y||x", 2)], now);
        assert!(!group.exist());
        group.said("g", (2, "b"), &[wants("t", "y", 3)], now);
        assert!(group.exist());
        group.said("g", (1, "a"), &[wants("t", "y", 4)], now);
        assert!(!group.exist(), "the roll-out is over");
        group.said("g", (3, "c"), &[wants("t", "y", 4), wants("u", "*", 4)], now);
        assert!(group.exist());
        group.left("g", 3, now);
        assert!(!group.exist());
    }

    #[test]
    fn views_that_differ_beyond_what_is_shown_differ() {
        let now = Instant::now();
        let long = |end: &str| wants("t", &format!("{}{end}", "\u{4e2d}".repeat(SHOWN_BYTES)), 1);
        let mut group = Differences::default();
        group.said("g", (1, "a"), &[long("1")], now);
        group.said("g", (2, "b"), &[long("2")], now);
        assert!(group.exist());
    }
}
