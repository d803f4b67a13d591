//! A running name server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::NotifyMinBrokerIdChangeRequestHeader;
use oxmq_remoting::{
    Listener, RemotingClient, RemotingClientConfig, Server, ServerConfig, Service, Tls,
    TlsSettingsError, ip_of, max_idle_of,
};

use crate::config::NamesrvConfig;
use crate::core::NameServer;
use crate::http_endpoint::{Addresses, HttpEndpoint};
use crate::kv_config::{KvConfigError, KvConfigManager};
use crate::route_info::MinBrokerIdChange;
use crate::service::NamesrvService;
use crate::worker::Worker;

/// Time to reach a broker that should hear of another: it also finds out by itself.
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(300);

/// A name server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NamesrvError {
    /// A setting asks for what does not exist here.
    #[error("{0}")]
    Unsupported(String),
    /// `bindAddress` is no address, nor the name of a host that has one.
    #[error("bindAddress={value}: {source}")]
    BindAddress {
        /// What is set.
        value: String,
        /// Why it is none.
        source: io::Error,
    },
    /// The port is taken, or not ours to take.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// TLS as set cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
    /// The key-value settings cannot be read.
    #[error(transparent)]
    KvConfig(#[from] KvConfigError),
    /// The system gives no thread.
    #[error("no thread for the worker: {0}")]
    Thread(#[source] io::Error),
}

/// The name server.
#[derive(Debug)]
pub struct Namesrv;

impl Namesrv {
    /// Starts a name server; it serves once this returns.
    ///
    /// # Errors
    /// When a setting cannot be met, the port cannot be had, or the key-value settings are damaged.
    pub async fn start(settings: NamesrvConfig) -> Result<NamesrvHandle, NamesrvError> {
        if let Some(what) = settings.unsupported() {
            return Err(NamesrvError::Unsupported(what));
        }
        let listen = listen_address(&settings)?;
        let mut server_config = ServerConfig::new(listen);
        server_config.tls = Tls::load(settings.tls_server_mode, &settings.tls_config_file)?;
        server_config.max_idle = max_idle_of(settings.server_channel_max_idle_time_seconds);
        let further: Vec<u16> = settings.listeners.ports().collect();
        let endpoint = settings.http_endpoint_port;
        let drain = settings
            .enable_shutdown_gracefully
            .then(|| Duration::from_secs(settings.shutdown_wait_time_seconds.into()));
        let listed = settings.namesrv_addr.as_deref().map(Arc::from);
        let kv_config = KvConfigManager::open(PathBuf::from(&settings.kv_config_path))?;
        let core =
            Arc::new(NameServer::new(settings, kv_config, Box::new(notifier()), Instant::now()));
        let (worker, thread) = Worker::start(Arc::clone(&core)).map_err(NamesrvError::Thread)?;
        let service = NamesrvService { server: core, worker: worker.clone() };
        let counters = Arc::clone(&server_config.counters);
        let servers = match bind(&server_config, &further, &(Arc::new(service) as Arc<dyn Service>))
        {
            Ok(servers) => servers,
            Err(error) => {
                worker.stop();
                return Err(error);
            }
        };
        let logging = tokio::spawn(counters.log());
        let handle = NamesrvHandle { servers, worker, thread, logging, endpoint: None, drain };
        let Some(port) = endpoint else { return Ok(handle.announced()) };
        let addresses =
            listed.map_or(Addresses::Own(handle.local_addr().port()), Addresses::Listed);
        let address = SocketAddr::new(listen.ip(), port);
        match HttpEndpoint::bind(address, addresses).await {
            Ok(endpoint) => Ok(NamesrvHandle { endpoint: Some(endpoint), ..handle }.announced()),
            Err(source) => {
                handle.shutdown().await;
                Err(NamesrvError::Listen { address, source })
            }
        }
    }
}

fn listen_address(settings: &NamesrvConfig) -> Result<SocketAddr, NamesrvError> {
    let address = ip_of(&settings.bind_address).map_err(|source| NamesrvError::BindAddress {
        value: settings.bind_address.clone(),
        source,
    })?;
    Ok(SocketAddr::new(address, settings.listen_port))
}

/// Listens on the port of the settings, first, and on the further ones.
fn bind(
    config: &ServerConfig,
    further: &[u16],
    service: &Arc<dyn Service>,
) -> Result<Vec<Server>, NamesrvError> {
    let further = further.iter().map(|port| SocketAddr::new(config.listen.ip(), *port));
    std::iter::once(config.listen)
        .chain(further)
        .map(|address| {
            let listener = Listener::bind(address);
            listener.map_err(|source| NamesrvError::Listen { address, source })
        })
        // No connection is taken before every port is had.
        .collect::<Result<Vec<_>, _>>()
        .map(|listeners| {
            let serve = |listener| Server::serve(listener, config, Arc::clone(service));
            listeners.into_iter().map(serve).collect()
        })
}

/// Sends `NOTIFY_MIN_BROKER_ID_CHANGE` from the runtime that the server was started on.
fn notifier() -> impl Fn(MinBrokerIdChange) + Send + Sync {
    let runtime = tokio::runtime::Handle::current();
    let client = Arc::new(RemotingClient::new(RemotingClientConfig {
        connect_timeout: NOTIFY_TIMEOUT,
        ..RemotingClientConfig::default()
    }));
    move |change| {
        let header = NotifyMinBrokerIdChangeRequestHeader {
            min_broker_id: Some(change.min_broker_id),
            broker_name: None,
            min_broker_addr: Some(change.min_broker_addr),
            offline_broker_addr: change.offline_broker_addr,
            ha_broker_addr: change.ha_broker_addr,
        };
        for broker_addr in change.notify {
            let request = RemotingCommand::request(RequestCode::NOTIFY_MIN_BROKER_ID_CHANGE)
                .with_header(&header);
            let client = Arc::clone(&client);
            runtime.spawn(async move {
                if let Err(error) = client.invoke_oneway(&broker_addr, request).await {
                    tracing::warn!(broker_addr, %error, "broker not told of the change");
                }
            });
        }
    }
}

/// Holds a running name server.
pub struct NamesrvHandle {
    /// The one of `listenPort` is first.
    servers: Vec<Server>,
    worker: Worker,
    thread: JoinHandle<()>,
    /// Logs the requests of each minute.
    logging: tokio::task::JoinHandle<()>,
    endpoint: Option<HttpEndpoint>,
    /// How long clients have to go elsewhere before the end.
    drain: Option<Duration>,
}

impl NamesrvHandle {
    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.servers[0].local_addr()
    }

    /// The address of the HTTP endpoint, if there is one.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().map(HttpEndpoint::local_addr)
    }

    fn announced(self) -> Self {
        let (address, http) = (self.local_addr(), self.http_addr());
        tracing::info!(%address, ?http, "name server started");
        self
    }

    /// Open connections.
    pub fn connection_count(&self) -> usize {
        self.servers.iter().map(Server::connection_count).sum()
    }

    /// Stops: no new connections, the open ones closed, the worker done.
    pub async fn shutdown(self) {
        self.logging.abort();
        if let Some(endpoint) = &self.endpoint {
            endpoint.shutdown();
        }
        if let Some(wait) = self.drain {
            Server::drain_all(&self.servers, wait).await;
        }
        for server in self.servers {
            server.shutdown().await;
        }
        self.worker.stop();
        let thread = self.thread;
        // The worker is done as soon as it sees the stop; only a panic of its own is lost here,
        // which it has reported itself.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        tracing::info!("name server stopped");
    }
}

impl std::fmt::Debug for NamesrvHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamesrvHandle").field("servers", &self.servers).finish_non_exhaustive()
    }
}
