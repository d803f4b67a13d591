//! Where the name servers are: a list, names to look up, or an HTTP server to ask.
//!
//! Reference: `BrokerController`, `BrokerOuterAPI` (broker), 5.5.0.

use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use oxmq_protocol::address::is_host_port;
use oxmq_remoting::RemotingClient;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::address_server::AddressServer;
use crate::config::BrokerConfig;
use crate::limits::MAX_NAME_SERVERS;
use crate::sync::{read, write};

/// Shortest time between two looks, whatever the settings say.
const SHORTEST_PERIOD_MS: u64 = 100;

/// How the addresses are found.
#[derive(Debug)]
enum Source {
    /// They are given; a name is looked up whenever a connection is opened.
    Listed,
    /// Each name stands for all the addresses that it means.
    LookedUp(Vec<String>),
    /// They are asked for.
    AddressServer(AddressServer),
}

/// The name servers of this moment.
#[derive(Debug)]
pub(crate) struct NameServers {
    config: Arc<BrokerConfig>,
    source: Source,
    client: RemotingClient,
    current: RwLock<Arc<[String]>>,
    changed: Notify,
}

impl NameServers {
    /// Finds none yet but those that are listed.
    pub(crate) fn new(config: Arc<BrokerConfig>, client: RemotingClient) -> Self {
        let given = config.namesrv_addr.as_deref().map(split).unwrap_or_default();
        let (source, current) = if given.is_empty() && config.fetch_namesrv_addr_by_address_server {
            let (domain, group) =
                (&config.rmq_address_server_domain, &config.rmq_address_server_sub_group);
            (Source::AddressServer(AddressServer::new(domain, group)), Vec::new())
        } else if config.fetch_name_srv_addr_by_dns_lookup {
            (Source::LookedUp(given), Vec::new())
        } else {
            (Source::Listed, given)
        };
        let current = RwLock::new(current.into());
        Self { config, source, client, current, changed: Notify::new() }
    }

    /// Their addresses.
    pub(crate) fn current(&self) -> Arc<[String]> {
        Arc::clone(&read(&self.current))
    }

    /// What speaks to them.
    pub(crate) fn client(&self) -> &RemotingClient {
        &self.client
    }

    /// Tells whether there are any to be found.
    pub(crate) fn are_expected(&self) -> bool {
        match &self.source {
            Source::Listed => !self.current().is_empty(),
            Source::LookedUp(names) => !names.is_empty(),
            Source::AddressServer(_) => true,
        }
    }

    /// Waits until [`NameServers::current`] is another list.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Looks once. What cannot be found leaves the list as it is.
    pub(crate) async fn refresh(&self) {
        let found = match &self.source {
            Source::Listed => return,
            Source::LookedUp(names) => look_up(names).await,
            Source::AddressServer(server) => match server.fetch().await {
                Ok(list) => checked(&list),
                Err(error) => Err(io::Error::new(error.kind(), format!("{server}: {error}"))),
            },
        };
        match found {
            Ok(found) => self.replace(found),
            Err(error) => warn!(%error, "name servers not found"),
        }
    }

    /// How long to wait before the next look, and before connections to hosts that moved are left.
    pub(crate) fn period(&self) -> Duration {
        let ms = match &self.source {
            Source::AddressServer(_) => self.config.fetch_namesrv_addr_interval,
            Source::Listed | Source::LookedUp(_) => {
                self.config.update_name_server_addr_period.into()
            }
        };
        Duration::from_millis(ms.max(0).unsigned_abs().max(SHORTEST_PERIOD_MS))
    }

    fn replace(&self, found: Vec<String>) {
        let mut current = write(&self.current);
        if **current == *found {
            return;
        }
        info!(name_servers = ?found, former = ?current, "name servers changed");
        *current = found.into();
        drop(current);
        self.changed.notify_one();
    }
}

/// The addresses of a list `host:port;host:port`.
pub(crate) fn split(list: &str) -> Vec<String> {
    let addresses = list.split(';').map(str::trim).filter(|address| !address.is_empty());
    addresses.map(str::to_owned).collect()
}

/// The addresses of an answer that somebody else wrote.
fn checked(list: &str) -> io::Result<Vec<String>> {
    let found = split(list);
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match found.iter().find(|address| !is_host_port(address)) {
        Some(bad) => wrong(format!("{bad:?} is not host:port")),
        None if found.is_empty() => wrong("an empty list".to_owned()),
        None if found.len() > MAX_NAME_SERVERS => wrong(format!("{} addresses", found.len())),
        None => Ok(found),
    }
}

async fn look_up(names: &[String]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names {
        let addresses = tokio::net::lookup_host(name)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        found.extend(addresses.map(|address| address.to_string()));
    }
    found.sort();
    found.dedup();
    found.truncate(MAX_NAME_SERVERS);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_list_of_addresses_are_refused() {
        assert_eq!(checked("a:1; [::1]:2 ;").unwrap(), ["a:1", "[::1]:2"]);
        for bad in ["", ";", "a", "a:x", ":1", "a:0", "a b:1", "<html>"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert!(checked(&"a:1;".repeat(MAX_NAME_SERVERS + 1)).is_err());
    }

    #[tokio::test]
    async fn names_are_looked_up_again_and_a_change_is_told() {
        let mut config = BrokerConfig::default();
        config.namesrv_addr = Some("localhost:9876".to_owned());
        config.fetch_name_srv_addr_by_dns_lookup = true;
        let servers = NameServers::new(Arc::new(config), RemotingClient::default());
        assert!(servers.current().is_empty());
        servers.refresh().await;
        servers.changed().await;
        assert!(servers.current().contains(&"127.0.0.1:9876".to_owned()));
        // What cannot be looked up any more stays.
        let lost = NameServers {
            source: Source::LookedUp(vec!["no.such.host.invalid:1".to_owned()]),
            ..servers
        };
        lost.refresh().await;
        assert!(lost.current().contains(&"127.0.0.1:9876".to_owned()));
    }
}
