//! Since when lite topics have had messages that a group was not given, for tools.
//!
//! It is known of the lite topics that were not emptied by the last pop that took from them, and of the
//! oldest of these.
//!
//! Reference: `LiteConsumerLagCalculator`, `PopLiteMessageProcessor` (broker), 5.5.0.

use hashbrown::HashMap;

use super::{LiteService, QUEUE_ID};
use crate::sync::lock;

/// When the first message was stored that was not given out, ms since 1970, by queue.
type Since = HashMap<String, i64>;

/// What groups have left, by group and the topic whose lite topics it consumes.
#[derive(Debug, Default)]
pub(super) struct Lags(HashMap<(String, String), Since>);

impl Lags {
    /// Keeps `most` of a group, the oldest.
    fn note(&mut self, topic: &str, group: &str, queue: &str, since_ms: i64, most: usize) {
        let since = self.0.entry((topic.to_owned(), group.to_owned())).or_default();
        since.insert(queue.to_owned(), since_ms);
        if since.len() > most
            && let Some(newest) = since.iter().max_by_key(|(_, ms)| **ms)
        {
            let newest = newest.0.clone();
            since.remove(&newest);
        }
    }

    fn forget(&mut self, topic: &str, group: &str, queue: &str) {
        if let Some(since) = self.0.get_mut(&(topic.to_owned(), group.to_owned())) {
            since.remove(queue);
        }
    }

    /// The oldest first.
    fn oldest(&self, topic: &str, group: &str, most: usize) -> Vec<(i64, String)> {
        let since = self.0.get(&(topic.to_owned(), group.to_owned()));
        let mut oldest: Vec<_> =
            since.into_iter().flatten().map(|(queue, ms)| (*ms, queue.clone())).collect();
        oldest.sort_unstable();
        oldest.truncate(most);
        oldest
    }
}

impl LiteService {
    /// Notes what is left of a queue that a pop has taken from up to `next`. One that is not full has
    /// emptied it.
    pub(super) fn note_lag(
        &self,
        topic: &str,
        group: &str,
        queue: &str,
        (is_full, next): (bool, i64),
    ) {
        if !self.config.lite_lag_latency_collect_enable {
            return;
        }
        let stored_ms = || self.store.message_store_timestamp(queue, QUEUE_ID, next);
        let since_ms = is_full.then(stored_ms).flatten();
        let most = usize::try_from(self.config.lite_lag_latency_top_k).unwrap_or(0);
        match since_ms {
            Some(since_ms) => lock(&self.lags).note(topic, group, queue, since_ms, most),
            None => lock(&self.lags).forget(topic, group, queue),
        }
    }

    /// Queues of which a group has not been given all, and since when, ms since 1970; the oldest first.
    pub(crate) fn lags(&self, topic: &str, group: &str, most: usize) -> Vec<(i64, String)> {
        lock(&self.lags).oldest(topic, group, most)
    }

    /// Forgets what groups have left that are gone.
    pub(super) fn clean_lags(&self) {
        lock(&self.lags).0.retain(|(_, group), _| self.groups.get(group).is_some());
    }

    /// Forgets a queue that is gone.
    pub(super) fn forget_lags_of(&self, queue: &str) {
        lock(&self.lags).0.values_mut().for_each(|since| {
            since.remove(queue);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_kept() {
        let mut lags = Lags::default();
        for (queue, since_ms) in [("b", 20), ("c", 30), ("a", 10), ("b", 25)] {
            lags.note("t", "g", queue, since_ms, 2);
        }
        let named = |lags: &Lags, most| lags.oldest("t", "g", most);
        assert_eq!(named(&lags, 9), [(10, "a".to_owned()), (25, "b".to_owned())]);
        assert_eq!(named(&lags, 1), [(10, "a".to_owned())]);
        lags.forget("t", "g", "a");
        assert_eq!(named(&lags, 9), [(25, "b".to_owned())]);
        assert!(lags.oldest("t", "other", 9).is_empty());
        lags.note("t", "g", "d", 5, 0);
        assert_eq!(named(&lags, 9), [(5, "d".to_owned())], "one goes for each that comes");
    }
}
