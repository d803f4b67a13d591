//! What clients are to look at: queues of lite topics in which there may be messages for them.
//!
//! Reference: `LiteEventDispatcher` (broker), 5.5.0.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

/// A client with something to look at that does not come for so long is taken to be gone, as in the
/// reference.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// The same of one with nothing to look at: longer than a request waits.
const IDLE_LIMIT: Duration = Duration::from_secs(35);
/// How long others go before one that was gone.
const AVOID_FOR: Duration = Duration::from_secs(10);
/// A client gets everything that it subscribes to look at only while less of its room is taken, in percent.
const LOW_WATER_PERCENT: usize = 20;

/// The queues that one client is to look at, each once, oldest first.
#[derive(Debug)]
struct Client {
    group: String,
    queues: VecDeque<String>,
    known: HashSet<String>,
    room: usize,
    /// When it last came.
    came: Instant,
    came_ms: i64,
}

impl Client {
    fn is_gone(&self, now: Instant) -> bool {
        let limit = if self.queues.is_empty() { IDLE_LIMIT } else { BUSY_LIMIT };
        now.saturating_duration_since(self.came) > limit
    }
}

/// Who offers, to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom<'a> {
    pub(super) client: &'a str,
    pub(super) group: &'a str,
    /// Queues that a client of the group may have to look at.
    pub(super) room: usize,
}

/// The time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    /// ms since 1970.
    pub(super) ms: i64,
}

/// What every client is to look at.
#[derive(Debug, Default)]
pub(super) struct Events {
    clients: HashMap<String, Client>,
    /// Until when clients that were gone come last.
    avoided: HashMap<String, Instant>,
    /// Clients, or groups that take all, that are to look at everything, and when.
    due: BTreeSet<(Instant, String)>,
    /// Their groups.
    due_groups: HashMap<String, String>,
}

impl Events {
    /// Has a client look at a queue. Returns whether it has room for that.
    pub(super) fn offer(&mut self, whom: Whom<'_>, queue: &str, now: Now) -> bool {
        let client = self.clients.entry_ref(whom.client).or_insert_with(|| Client {
            group: whom.group.to_owned(),
            queues: VecDeque::new(),
            known: HashSet::new(),
            room: whom.room,
            came: now.instant,
            came_ms: now.ms,
        });
        if client.queues.len() >= client.room {
            return false;
        }
        if client.known.insert(queue.to_owned()) {
            client.queues.push_back(queue.to_owned());
        }
        true
    }

    /// The next queue that a client has to look at.
    pub(super) fn take(&mut self, client: &str, now: Now) -> Option<String> {
        let client = self.clients.get_mut(client)?;
        (client.came, client.came_ms) = (now.instant, now.ms);
        let queue = client.queues.pop_front()?;
        client.known.remove(&queue);
        Some(queue)
    }

    /// Has a client look at a queue again that it could not look at now.
    pub(super) fn put_back(&mut self, client: &str, queue: String) {
        if let Some(client) = self.clients.get_mut(client)
            && client.known.insert(queue.clone())
        {
            client.queues.push_front(queue);
        }
    }

    pub(super) fn has(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|client| !client.queues.is_empty())
    }

    /// Clients that there are.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// When a client last came, ms since 1970.
    pub(super) fn came_ms(&self, client: &str) -> Option<i64> {
        self.clients.get(client).map(|client| client.came_ms)
    }

    /// Forgets a client. Returns what it had to look at.
    pub(super) fn remove(&mut self, client: &str) -> Vec<String> {
        self.clients.remove(client).map_or_else(Vec::new, |client| client.queues.into())
    }

    /// Forgets the clients that are gone. Returns each with its group and what it had to look at.
    pub(super) fn take_gone(&mut self, now: Now) -> Vec<(String, String, Vec<String>)> {
        let gone: Vec<_> =
            self.clients.extract_if(|_, client| client.is_gone(now.instant)).collect();
        self.avoided.retain(|_, until| *until > now.instant);
        let mut left = Vec::with_capacity(gone.len());
        for (name, client) in gone {
            self.avoided.insert(name.clone(), now.instant + AVOID_FOR);
            left.push((name, client.group, client.queues.into()));
        }
        left
    }

    /// Whether a client was gone of late.
    pub(super) fn is_avoided(&self, client: &str, now: Now) -> bool {
        self.avoided.get(client).is_some_and(|until| *until > now.instant)
    }

    /// Whether a client takes everything that it subscribes to look at.
    pub(super) fn takes_all(&self, client: &str, now: Now) -> bool {
        self.clients.get(client).is_none_or(|client| {
            !client.is_gone(now.instant)
                && client.queues.len() * 100 < client.room * LOW_WATER_PERCENT
        })
    }

    /// Notes that `who` is to look at everything, unless that is noted already.
    pub(super) fn schedule(&mut self, who: &str, group: &str, at: Instant) {
        if !self.due_groups.contains_key(who) {
            self.due_groups.insert(who.to_owned(), group.to_owned());
            self.due.insert((at, who.to_owned()));
        }
    }

    /// Who is to look at everything by now, with its group.
    pub(super) fn take_due(&mut self, now: Now) -> Vec<(String, String)> {
        let mut due = Vec::new();
        while self.due.first().is_some_and(|(at, _)| *at <= now.instant) {
            let Some((_, who)) = self.due.pop_first() else { break };
            if let Some(group) = self.due_groups.remove(&who) {
                due.push((who, group));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOM: Whom<'static> = Whom { client: "c", group: "g", room: 10 };

    fn at(begin: Instant, ms: u64) -> Now {
        Now { instant: begin + Duration::from_millis(ms), ms: ms as i64 }
    }

    #[test]
    fn queues_are_looked_at_once_in_order_and_within_the_room() {
        let (mut events, begin) = (Events::default(), Instant::now());
        for queue in ["a", "b", "a"] {
            assert!(events.offer(WHOM, queue, at(begin, 0)));
        }
        assert_eq!(events.take("c", at(begin, 5)).as_deref(), Some("a"));
        events.put_back("c", "a".to_owned());
        let order: Vec<_> = std::iter::from_fn(|| events.take("c", at(begin, 5))).collect();
        assert_eq!(order, ["a", "b"]);
        assert_eq!((events.came_ms("c"), events.came_ms("d")), (Some(5), None));
        for number in 0..10 {
            assert!(events.offer(WHOM, &number.to_string(), at(begin, 5)));
        }
        assert!(!events.offer(WHOM, "more", at(begin, 5)));
        assert!(!events.takes_all("c", at(begin, 5)) && events.takes_all("d", at(begin, 5)));
    }

    #[test]
    fn who_does_not_come_is_gone_and_avoided_for_a_while() {
        let (mut events, begin) = (Events::default(), Instant::now());
        events.offer(WHOM, "a", at(begin, 0));
        events.offer(Whom { client: "idle", ..WHOM }, "a", at(begin, 0));
        events.take("idle", at(begin, 0));
        assert!(events.take_gone(at(begin, 10_000)).is_empty());
        let gone = events.take_gone(at(begin, 10_001));
        assert_eq!(gone, [("c".to_owned(), "g".to_owned(), vec!["a".to_owned()])]);
        assert!(events.is_avoided("c", at(begin, 20_000)));
        assert!(!events.is_avoided("c", at(begin, 20_001)));
        assert_eq!(events.take_gone(at(begin, 35_001)).len(), 1);
        assert_eq!(events.len(), 0);
    }

    #[test]
    fn looking_at_everything_is_due_once() {
        let (mut events, begin) = (Events::default(), Instant::now());
        events.schedule("c", "g", begin + Duration::from_millis(20));
        events.schedule("c", "g", begin);
        assert!(events.take_due(at(begin, 19)).is_empty());
        assert_eq!(events.take_due(at(begin, 20)), [("c".to_owned(), "g".to_owned())]);
        assert!(events.take_due(at(begin, 99)).is_empty());
    }
}
