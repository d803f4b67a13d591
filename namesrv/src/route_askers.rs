//! Who asks for routes, for brokers that want to know whether their clients find them.
//!
//! Clients ask for the route of each of their topics every 30 s, and keep a connection to each
//! master that the answer names. A broker that hears who asks for its topics can tell who does not
//! come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use oxmq_protocol::route_askers::{Host, RouteAsker};

use crate::core::Origin;
use crate::limits::MAX_ROUTE_QUESTIONS;
use crate::sync::lock;

/// How long a client has to ask before brokers hear of it. By then it has asked three times and
/// should long be connected; who asks once, as tools do, is none of those.
const PATIENCE: Duration = Duration::from_secs(60);
/// Silence after which a client has stopped asking.
const QUIET: Duration = Duration::from_secs(90);

#[derive(Debug)]
struct Asked {
    first: Instant,
    last: Instant,
    listener: Option<Box<str>>,
}

#[derive(Debug, Default)]
struct Questions {
    /// Machines by topic; here the own machine is that of the name server.
    by_topic: HashMap<String, HashMap<Host, Asked>>,
    /// All machines of all topics.
    count: usize,
}

/// What was asked for of late.
#[derive(Debug, Default)]
pub(crate) struct RouteAskers {
    questions: Mutex<Questions>,
    /// Whether any broker wants to know.
    wanted: AtomicBool,
}

impl RouteAskers {
    /// Notes that a route was asked for, and answered.
    pub(crate) fn note(&self, topic: &str, origin: Origin, listener: Option<&str>, now: Instant) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut questions = self.questions();
        let Questions { by_topic, count } = &mut *questions;
        let host = origin.host();
        let known = by_topic.get_mut(topic).and_then(|hosts| hosts.get_mut(&host));
        if let Some(asked) = known {
            if now.saturating_duration_since(asked.last) > QUIET {
                asked.first = now;
            }
            asked.last = now;
            if asked.listener.as_deref() != listener {
                asked.listener = listener.map(Box::from);
            }
            return;
        }
        if *count < MAX_ROUTE_QUESTIONS {
            let asked = Asked { first: now, last: now, listener: listener.map(Box::from) };
            by_topic.entry_ref(topic).or_default().insert(host, asked);
            *count += 1;
        }
    }

    /// Who has been asking for topics for which `is_served` holds, as seen from the broker that
    /// asks from `broker`: those who have for longest first.
    pub(crate) fn of_broker(
        &self,
        broker: Origin,
        is_served: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Vec<RouteAsker> {
        self.wanted.store(true, Ordering::Relaxed);
        let mut questions = self.questions();
        let Questions { by_topic, count } = &mut *questions;
        by_topic.retain(|_, hosts| {
            hosts.retain(|_, asked| now.saturating_duration_since(asked.last) <= QUIET);
            !hosts.is_empty()
        });
        *count = by_topic.values().map(HashMap::len).sum();
        let mut askers: HashMap<Host, RouteAsker> = HashMap::new();
        for (_, hosts) in by_topic.iter().filter(|(topic, _)| is_served(topic)) {
            for (host, asked) in hosts {
                let asking = asked.last.saturating_duration_since(asked.first);
                let Some(host) = seen_from(broker, *host).filter(|_| asking >= PATIENCE) else {
                    continue;
                };
                let (seconds, listener) = (asking.as_secs(), asked.listener.clone());
                let asker = askers.entry(host).or_insert(RouteAsker { host, seconds, listener });
                asker.seconds = seconds.max(asker.seconds);
            }
        }
        let mut askers: Vec<_> = askers.into_values().collect();
        askers.sort_by_key(|asker| (std::cmp::Reverse(asker.seconds), asker.host));
        askers
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        lock(&self.questions)
    }
}

impl Origin {
    /// The machine that the request came from.
    pub(crate) fn host(self) -> Host {
        let ip = self.peer.ip();
        if ip.is_loopback() || ip == self.local.ip() { Host::Own } else { Host::Other(ip) }
    }
}

/// A machine as the broker knows it; `None` if that cannot be said, as another machine may know the
/// name server's by any of its addresses.
fn seen_from(broker: Origin, host: Host) -> Option<Host> {
    let own = broker.host();
    match (own, host) {
        _ if own == host => Some(Host::Own),
        (_, Host::Own) => None,
        (_, other) => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str) -> Origin {
        Origin {
            connection: 1,
            peer: format!("{peer}:50000").parse().unwrap(),
            local: "10.0.0.1:9876".parse().unwrap(),
        }
    }

    #[test]
    fn those_who_keep_asking_for_a_topic_of_the_broker_are_told_of_until_they_stop() {
        let (askers, start) = (RouteAskers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let of_broker = |seconds| {
            let found = askers.of_broker(from("10.0.0.9"), |topic| topic == "t", at(seconds));
            oxmq_protocol::route_askers::print(&found)
        };
        askers.note("t", from("10.0.0.7"), None, at(0));
        assert_eq!(of_broker(0), "", "nobody wanted to know when it asked");
        for seconds in [0, 30, 60, 75] {
            askers.note("t", from("10.0.0.7"), Some("lan"), at(seconds));
            askers.note("other", from("10.0.0.8"), None, at(seconds));
        }
        askers.note("t", from("10.0.0.6"), None, at(75));
        assert_eq!(of_broker(75), "10.0.0.7 75 lan");
        assert_eq!(of_broker(165), "10.0.0.7 75 lan");
        assert_eq!(of_broker(166), "");
        askers.note("t", from("10.0.0.7"), None, at(200));
        assert_eq!(of_broker(200), "", "it has begun anew");
    }

    #[test]
    fn machines_are_named_as_the_broker_knows_them() {
        let (askers, start) = (RouteAskers::default(), Instant::now());
        let of_broker = |broker| {
            let found = askers.of_broker(from(broker), |_| true, start + PATIENCE);
            oxmq_protocol::route_askers::print(&found)
        };
        of_broker("10.0.0.9");
        for now in [start, start + PATIENCE] {
            // The machine of the name server by two of its addresses, and another one.
            askers.note("t", from("127.0.0.1"), None, now);
            askers.note("u", from("10.0.0.1"), None, now);
            askers.note("t", from("10.0.0.9"), None, now);
        }
        assert_eq!(of_broker("127.0.0.1"), "own 60 -,10.0.0.9 60 -");
        assert_eq!(of_broker("10.0.0.9"), "own 60 -", "who asks by 127.0.0.1 comes by anything");
        assert_eq!(of_broker("10.0.0.8"), "10.0.0.9 60 -");
    }
}
