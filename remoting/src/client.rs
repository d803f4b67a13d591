//! Requests to other servers.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashbrown::HashMap;
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::info;

use crate::limits::{FIRST_BACK_OFF, MAX_BACK_OFF, MAX_CLIENT_ADDRESSES, MAX_IDLE};
use crate::sync::lock;
use crate::tls_client::TlsClient;
use crate::{Connection, InvokeError, Reply, Service, connection};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct RemotingClientConfig {
    /// Longest wait for a connection. The reference's `connectTimeoutMillis` has the same default.
    pub connect_timeout: Duration,
    /// How to speak TLS (`useTLS`); `None` speaks plain.
    pub tls: Option<Arc<TlsClient>>,
    /// Silence after which a connection is closed (`clientChannelMaxIdleTimeSeconds`).
    pub max_idle: Duration,
    /// Whether a connection is closed when an answer does not come in time
    /// (`clientCloseSocketIfTimeout`): the peer may be gone without a word, and the next request
    /// opens another.
    pub close_on_timeout: bool,
    /// Whether a request that is answered with `GO_AWAY` is sent again on a new connection
    /// (`enableReconnectForGoAway`).
    pub reconnect_for_go_away: bool,
}

impl Default for RemotingClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            tls: None,
            max_idle: MAX_IDLE,
            close_on_timeout: true,
            reconnect_for_go_away: true,
        }
    }
}

/// Keeps one connection to each address asked for, opened when needed and again when it ended.
///
/// An address that could not be reached is left alone for a while that doubles with each failure:
/// who asks meanwhile is told at once.
#[derive(Debug, Default)]
pub struct RemotingClient {
    config: RemotingClientConfig,
    peers: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Peer>>>>,
}

/// One address. Held while it is connected to, so that there is one connection, not one for each request.
#[derive(Debug, Default)]
struct Peer {
    connection: Option<Arc<Connection>>,
    failure: Option<Failure>,
}

/// The last attempt to connect.
#[derive(Debug)]
struct Failure {
    kind: io::ErrorKind,
    text: String,
    back_off: Duration,
    retry_at: Instant,
}

/// Answers a server that asks something of us.
struct NoRequests;

impl Service for NoRequests {
    fn request(&self, _: &Arc<Connection>, request: CommandView<'_>, reply: Reply) {
        let remark = format!(" request type {} not supported", request.code);
        reply.fail(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, &remark);
    }
}

impl RemotingClient {
    /// Makes a client without connections.
    pub fn new(config: RemotingClientConfig) -> Self {
        Self { config, peers: Mutex::default() }
    }

    /// Sends a request to `address` (`host:port`) and waits for its answer.
    ///
    /// # Errors
    /// When there is no connection to be had, it ends, or `timeout` passes first.
    pub async fn invoke(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let until = Instant::now() + timeout;
        if self.config.reconnect_for_go_away {
            let answer = self.invoke_until(address, request.clone(), until).await?;
            if answer.response_code() != ResponseCode::GO_AWAY {
                return Ok(answer);
            }
        }
        self.invoke_until(address, request, until).await
    }

    async fn invoke_until(
        &self,
        address: &str,
        request: RemotingCommand,
        until: Instant,
    ) -> Result<RemotingCommand, InvokeError> {
        let connection = match tokio::time::timeout_at(until, self.connection(address)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(unreachable_in_time(address)),
        };
        let timeout = until.saturating_duration_since(Instant::now());
        let answer = connection.invoke(request, timeout).await;
        match &answer {
            Err(InvokeError::Timeout { .. }) if self.config.close_on_timeout => connection.close(),
            Ok(answer)
                if answer.response_code() == ResponseCode::GO_AWAY
                    && self.config.reconnect_for_go_away =>
            {
                self.leave(address, &connection).await;
            }
            _ => {}
        }
        answer
    }

    /// Has the next request open another connection. Those that still wait for answers on this one
    /// get them.
    async fn leave(&self, address: &str, connection: &Connection) {
        let peer = self.peer(address);
        let mut peer = peer.lock().await;
        if peer.connection.as_ref().is_some_and(|current| current.id() == connection.id()) {
            peer.connection = None;
        }
        connection.close_unless_waiting();
    }

    /// Sends a request that wants no answer.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub async fn invoke_oneway(
        &self,
        address: &str,
        request: RemotingCommand,
    ) -> Result<(), InvokeError> {
        self.connection(address).await?.invoke_oneway(request);
        Ok(())
    }

    /// Closes every connection.
    pub fn close(&self) {
        for (_, peer) in lock(&self.peers).drain() {
            close(&peer);
        }
    }

    /// Closes the connections to all but `addresses`.
    pub fn retain(&self, addresses: &[String]) {
        lock(&self.peers).retain(|address, peer| {
            let kept = addresses.contains(address);
            if !kept {
                close(peer);
            }
            kept
        });
    }

    /// Closes each connection whose host has moved: its name means other addresses now.
    pub async fn leave_moved_hosts(&self) {
        let peers: Vec<_> = lock(&self.peers)
            .iter()
            .map(|(address, peer)| (address.clone(), Arc::clone(peer)))
            .collect();
        for (address, peer) in peers {
            // A literal address cannot move.
            if address.parse::<SocketAddr>().is_ok() {
                continue;
            }
            let Ok(found) = tokio::net::lookup_host(&address).await else { continue };
            let found: Vec<_> = found.map(|address| address.ip().to_canonical()).collect();
            let peer = peer.lock().await;
            if let Some(connection) = &peer.connection
                && !found.is_empty()
                && !found.contains(&connection.peer().ip())
            {
                info!(%address, former = %connection.peer(), "host has moved");
                connection.close();
            }
        }
    }

    /// The name is resolved each time a connection is opened, so a host that moved is found again.
    async fn connection(&self, address: &str) -> Result<Arc<Connection>, InvokeError> {
        let peer = self.peer(address);
        let mut peer = peer.lock().await;
        if let Some(connection) = &peer.connection
            && !connection.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        if let Some(failure) = &peer.failure
            && Instant::now() < failure.retry_at
        {
            let source = io::Error::new(failure.kind, failure.text.clone());
            return Err(InvokeError::Connect { address: address.to_owned(), source });
        }
        match self.connect(address).await {
            Ok(connection) => {
                *peer = Peer { connection: Some(Arc::clone(&connection)), failure: None };
                Ok(connection)
            }
            Err(source) => {
                let back_off = match &peer.failure {
                    Some(failure) => (failure.back_off * 2).min(MAX_BACK_OFF),
                    None => FIRST_BACK_OFF,
                };
                peer.failure = Some(Failure {
                    kind: source.kind(),
                    text: source.to_string(),
                    back_off,
                    retry_at: Instant::now() + back_off,
                });
                Err(InvokeError::Connect { address: address.to_owned(), source })
            }
        }
    }

    fn peer(&self, address: &str) -> Arc<tokio::sync::Mutex<Peer>> {
        let mut peers = lock(&self.peers);
        if peers.len() >= MAX_CLIENT_ADDRESSES && !peers.contains_key(address) {
            peers.retain(|_, peer| {
                // What is locked is about to be connected.
                peer.try_lock().map_or(true, |peer| {
                    peer.connection.as_ref().is_some_and(|connection| !connection.is_closed())
                })
            });
        }
        Arc::clone(peers.entry(address.to_owned()).or_default())
    }

    async fn connect(&self, address: &str) -> io::Result<Arc<Connection>> {
        let opening = async {
            let stream = TcpStream::connect(address).await?;
            match &self.config.tls {
                Some(tls) => {
                    let session = tls.handshake(&stream, host(address)).await?;
                    Connection::secured(stream, session)
                }
                None => Connection::new(stream, Arc::default()),
            }
        };
        let connection = tokio::time::timeout(self.config.connect_timeout, opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        tokio::spawn(serve(Arc::clone(&connection), self.config.max_idle));
        Ok(connection)
    }
}

/// Serves a connection of ours until it ends, by itself or for silence.
async fn serve(connection: Arc<Connection>, max_idle: Duration) {
    let watching = async {
        while let Some(rest) = max_idle.checked_sub(connection.idle()) {
            tokio::time::sleep(rest).await;
        }
        connection.close();
        std::future::pending().await
    };
    tokio::select! {
        () = connection::run(Arc::clone(&connection), Arc::new(NoRequests)) => {}
        () = watching => {}
    }
}

/// Closes what is connected. Whoever is about to connect is past telling: its connection ends when
/// the peer closes it for silence.
fn close(peer: &tokio::sync::Mutex<Peer>) {
    if let Ok(peer) = peer.try_lock()
        && let Some(connection) = &peer.connection
    {
        connection.close();
    }
}

fn unreachable_in_time(address: &str) -> InvokeError {
    let source = io::ErrorKind::TimedOut.into();
    InvokeError::Connect { address: address.to_owned(), source }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}
