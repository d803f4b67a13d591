//! Clients that ask a name server for the way here and do not come.
//!
//! The usual cause is an address that they cannot reach, such as that of a container's own network.
//! The broker never hears of them, and what they report names no setting. Name servers tell, in
//! their answers to registrations, from which machines clients have been asking for topics of this
//! broker for a minute; those without a connection here are logged and counted. Machines are told
//! apart by their addresses as far as these go: of clients behind one address it is enough that one
//! comes, and one that asks over IPv6 and connects over IPv4 is taken for two, the first of which
//! does not come: nothing on the wire says that they are one.
//!
//! The reference has nothing of this, nor do its name servers tell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq_protocol::route_askers::{Host, RouteAsker};
use oxmq_remoting::Connection;
use tracing::{info, warn};

use crate::config::BrokerConfig;
use crate::limits::MAX_SEEN_HOSTS;
use crate::sync::lock;
use crate::watch::Figures;

/// How long a machine counts as connected after its last connection has ended. Whoever connects now
/// and then can reach the broker.
const REMEMBERED: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct State {
    /// By connection id.
    open: HashMap<u64, Host>,
    /// Machines that were heard of, and when last.
    seen: HashMap<Host, Instant>,
    /// Those that do not come, and since when that is known.
    absent: BTreeMap<Host, Instant>,
}

/// Which machines connect, held against those that ask for the way.
#[derive(Debug)]
pub(crate) struct AbsentClients {
    config: Arc<BrokerConfig>,
    figures: Arc<Figures>,
    state: Mutex<State>,
}

impl AbsentClients {
    pub(crate) fn new(config: Arc<BrokerConfig>, figures: Arc<Figures>) -> Self {
        Self { config, figures, state: Mutex::default() }
    }

    /// A connection was accepted.
    pub(crate) fn opened(&self, connection: &Connection) {
        lock(&self.state).open.insert(connection.id(), host(connection));
    }

    /// A connection ended.
    pub(crate) fn closed(&self, connection: &Connection) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if let Some(host) = state.open.remove(&connection.id()) {
            state.note(host, now);
        }
        // Where a proxy has spoken for the client, that is another one.
        state.note(host(connection), now);
    }

    /// A client said that it is there.
    pub(crate) fn heard(&self, connection: &Connection) {
        lock(&self.state).note(host(connection), Instant::now());
    }

    /// Looks who does not come of those that have been asking, as all name servers together say.
    pub(crate) fn compare(&self, askers: &[RouteAsker], now: Instant) {
        let mut state = lock(&self.state);
        state.seen.retain(|_, last| now.saturating_duration_since(*last) < REMEMBERED);
        let open: HashSet<Host> = state.open.values().copied().collect();
        let is_here = |host| open.contains(host) || state.seen.contains_key(host);
        let mut absent = BTreeMap::new();
        for RouteAsker { host, seconds, listener } in askers {
            if is_here(host) {
                continue;
            }
            let since = state.absent.get(host).copied();
            if since.is_none() && !absent.contains_key(host) {
                let (address, setting) = self.told(listener.as_deref());
                warn!(client = %host, seconds, address, setting,
                    "clients ask a name server for the way here and do not connect: they may not reach \
                     the address, which the setting names (`oxmq dev` takes it as --advertise)");
            }
            absent.insert(*host, since.unwrap_or(now));
        }
        for (host, since) in &state.absent {
            if !absent.contains_key(host) {
                let seconds = now.saturating_duration_since(*since).as_secs();
                info!(client = %host, seconds, "clients connect now, or ask no more");
            }
        }
        self.figures.set_absent_clients(absent.len());
        state.absent = absent;
    }

    /// The address that clients of a listener are told, and the setting that names it.
    fn told(&self, listener: Option<&str>) -> (String, &'static str) {
        match listener.and_then(|name| self.config.advertised_listeners.get(name)) {
            Some(address) => (address.to_owned(), "advertisedListeners"),
            None => (self.config.broker_address(), "brokerIP1"),
        }
    }
}

impl State {
    fn note(&mut self, host: Host, now: Instant) {
        if self.seen.len() < MAX_SEEN_HOSTS || self.seen.contains_key(&host) {
            self.seen.insert(host, now);
        }
    }
}

fn host(connection: &Connection) -> Host {
    let ip = connection.peer().ip();
    if ip.is_loopback() || ip == connection.local().ip() { Host::Own } else { Host::Other(ip) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerSettings;

    #[test]
    fn those_who_ask_and_do_not_come_are_counted_until_they_do_or_stop_asking() {
        let figures = Arc::<Figures>::default();
        let clients = AbsentClients::new(Arc::default(), Arc::clone(&figures));
        let asker =
            |host: &str| RouteAsker { host: host.parse().unwrap(), seconds: 60, listener: None };
        let askers = ["own", "10.0.0.7", "10.0.0.8"].map(asker);
        let now = Instant::now();
        lock(&clients.state).open.insert(1, Host::Own);
        clients.compare(&askers, now);
        assert_eq!(figures.absent_clients(), 2);
        lock(&clients.state).note(askers[1].host, now);
        clients.compare(&askers, now);
        assert_eq!(figures.absent_clients(), 1);
        clients.compare(&askers, now + REMEMBERED);
        assert_eq!(figures.absent_clients(), 2, "it has not come back");
        clients.compare(&askers[..2], now + REMEMBERED);
        assert_eq!(figures.absent_clients(), 1);
    }

    #[test]
    fn the_setting_is_that_of_the_address_which_the_client_was_told() {
        let settings = BrokerSettings {
            broker_ip1: "broker-1".to_owned(),
            advertised_listeners: oxmq_protocol::config::ConfigValue::parse("lan://10.0.0.1:20911")
                .unwrap(),
            ..BrokerSettings::default()
        };
        let clients = AbsentClients::new(Arc::new(settings.into()), Arc::default());
        let told = |listener| clients.told(listener);
        assert_eq!(told(Some("lan")), ("10.0.0.1:20911".to_owned(), "advertisedListeners"));
        assert_eq!(told(Some("none")), ("broker-1:10911".to_owned(), "brokerIP1"));
        assert_eq!(told(None), told(Some("none")));
    }
}
