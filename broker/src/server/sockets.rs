//! The ports that the broker listens on, the address that it tells, and its client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::address::is_host_port;
use oxmq_remoting::{
    Listener, RemotingClient, RemotingClientConfig, RequestCounters, Server, ServerConfig, Tls,
    TlsClient, ip_of, max_idle_of,
};

use super::StartError;
use crate::config::BrokerSettings;
use crate::dispatch::Dispatch;
use crate::name_servers;
use crate::processors::Processors;

/// Distance of the fast port below the main one.
const FAST_PORT_DISTANCE: u16 = 2;
/// Ports tried when the system chooses: the one two below has to be free too.
const PORT_ATTEMPTS: usize = 50;

/// What speaks to the name servers.
pub(super) fn client(config: &BrokerSettings) -> Result<RemotingClient, StartError> {
    if let Some(list) = &config.namesrv_addr
        && let Some(bad) = name_servers::split(list).iter().find(|one| !is_host_port(one))
    {
        return Err(StartError::Address {
            key: "namesrvAddr",
            value: list.clone(),
            reason: format!("{bad:?} is not host:port, as in 127.0.0.1:9876;192.168.0.1:9876"),
        });
    }
    let tls = config.use_tls.then(|| TlsClient::load_settings(&config.tls_config_file));
    let connect_timeout = config.connect_timeout_millis.max(1).unsigned_abs();
    Ok(RemotingClient::new(RemotingClientConfig {
        connect_timeout: Duration::from_millis(connect_timeout.into()),
        tls: tls.transpose()?.map(Arc::new),
        max_idle: max_idle_of(config.client_channel_max_idle_time_seconds.into()),
        close_on_timeout: config.client_close_socket_if_timeout,
        reconnect_for_go_away: config.enable_reconnect_for_go_away,
    }))
}

/// Binds the main port, and the fast one two below unless that would be none.
pub(super) fn bind(config: &BrokerSettings) -> Result<(Listener, Option<Listener>), StartError> {
    let host = host("bindAddress", &config.bind_address)?;
    let listen = |port| {
        let address = SocketAddr::new(host, port);
        Listener::bind(address).map_err(|source| StartError::Listen { address, source })
    };
    let pair = || {
        let main = listen(config.listen_port)?;
        let fast =
            main.local_addr().port().checked_sub(FAST_PORT_DISTANCE).filter(|port| *port > 0);
        let fast = fast.map(listen).transpose()?;
        Ok((main, fast))
    };
    let mut bound = pair();
    if config.listen_port == 0 {
        for _ in 1..PORT_ATTEMPTS {
            if bound.is_ok() {
                break;
            }
            bound = pair();
        }
    }
    bound
}

/// The address that stands in records and message ids.
pub(super) fn advertised_ip(config: &BrokerSettings) -> Result<IpAddr, StartError> {
    host("brokerIP1", &config.broker_ip1)
}

fn host(key: &'static str, value: &str) -> Result<IpAddr, StartError> {
    let value = value.to_owned();
    ip_of(&value).map_err(|error| StartError::Address { key, value, reason: error.to_string() })
}

/// Serves the ports that were bound.
pub(super) fn serve(
    config: &BrokerSettings,
    processors: &Arc<Processors>,
    requests: &Arc<RequestCounters>,
    main: Listener,
    fast: Option<Listener>,
    tls: &Tls,
) -> Vec<Server> {
    let start = |listener: Listener, fast_port| {
        let mut server = ServerConfig::new(listener.local_addr());
        server.max_idle = max_idle_of(config.server_channel_max_idle_time_seconds.into());
        server.tls = tls.clone();
        server.counters = Arc::clone(requests);
        let service = Dispatch { processors: Arc::clone(processors), fast_port };
        Server::serve(listener, &server, Arc::new(service))
    };
    let mut servers = vec![start(main, false)];
    servers.extend(fast.map(|listener| start(listener, true)));
    servers
}
