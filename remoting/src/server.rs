//! Accepts connections and owns them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::connection::{Rules, Tls};
use crate::limits::{
    BACKLOG, DESCRIPTORS_LEFT, LOOK_AT_CERTIFICATE_EVERY, MAX_CONNECTIONS, MAX_IDLE,
    PART_OF_DESCRIPTORS_LEFT,
};
use crate::request_counters::RequestCounters;
use crate::sync::lock;
use crate::tls::TlsContext;
use crate::{Connection, Service, connection, workers};

/// How a server listens.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Silence after which a connection is closed.
    pub max_idle: Duration,
    /// Connections at a time; more are closed as soon as they are accepted.
    pub max_connections: usize,
    /// Whether connections are TLS, and with what.
    pub tls: Tls,
    /// Where requests are counted; servers may share it.
    pub counters: Arc<RequestCounters>,
}

impl ServerConfig {
    /// Listens on `listen` with the default limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_idle: MAX_IDLE,
            max_connections: MAX_CONNECTIONS,
            tls: Tls::default(),
            counters: Arc::default(),
        }
    }
}

/// A bound address that nobody serves yet: connections wait in its backlog.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let local_addr = listener.local_addr()?;
        Ok(Self { listener, local_addr })
    }

    /// The address bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

/// A listening server. Dropping it without [`Server::shutdown`] stops it with the runtime.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    connections: Arc<Connections>,
    rules: Arc<Rules>,
    accepting: JoinHandle<()>,
    sweeping: JoinHandle<()>,
}

/// The open connections of one server.
#[derive(Debug)]
struct Connections {
    open: Mutex<Open>,
    /// With those that are on their way to their threads.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<u64, Arc<Connection>>,
    /// The server stops: whoever still comes is closed.
    closed: bool,
}

impl Connections {
    /// Counts a connection that was accepted.
    fn enter(self: &Arc<Self>) -> Entry {
        self.count.send_modify(|count| *count += 1);
        Entry { connections: Arc::clone(self), id: None }
    }

    fn close_where(&self, which: impl Fn(&Connection) -> bool) {
        for connection in lock(&self.open).by_id.values().filter(|connection| which(connection)) {
            connection.close();
        }
    }

    /// Closes every connection, also those that are still to be opened.
    fn close_all(&self) {
        lock(&self.open).closed = true;
        self.close_where(|_| true);
    }
}

/// Takes a connection off the table when its task ends, also by panic.
struct Entry {
    connections: Arc<Connections>,
    /// None until it has reached its thread.
    id: Option<u64>,
}

impl Entry {
    fn open(&mut self, connection: &Arc<Connection>) {
        let mut open = lock(&self.connections.open);
        open.by_id.insert(connection.id(), Arc::clone(connection));
        self.id = Some(connection.id());
        if open.closed {
            connection.close();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.connections.open).by_id.remove(&id);
        }
        self.connections.count.send_modify(|count| *count -= 1);
    }
}

impl Server {
    /// Listens, and serves every connection with `service`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(config: &ServerConfig, service: Arc<dyn Service>) -> io::Result<Self> {
        Ok(Self::serve(Listener::bind(config.listen)?, config, service))
    }

    /// Serves every connection of `listener` with `service`.
    pub fn serve(listener: Listener, config: &ServerConfig, service: Arc<dyn Service>) -> Self {
        let Listener { listener, local_addr } = listener;
        let connections =
            Arc::new(Connections { open: Mutex::default(), count: watch::Sender::new(0) });
        let rules = Arc::new(Rules {
            tls: config.tls.clone(),
            draining: AtomicBool::new(false),
            counters: Some(Arc::clone(&config.counters)),
        });
        let accepting = tokio::spawn(accept(
            listener,
            service,
            Arc::clone(&connections),
            config.max_connections,
            Arc::clone(&rules),
        ));
        let sweeping = tokio::spawn(sweep(
            Arc::clone(&connections),
            config.max_idle,
            config.tls.context.clone(),
        ));
        Self { local_addr, connections, rules, accepting, sweeping }
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Open connections.
    pub fn connection_count(&self) -> usize {
        *self.connections.count.borrow()
    }

    /// Tells peers that understand it to go elsewhere, for up to `wait` or until all have gone. The
    /// others are served as before.
    pub async fn drain(&self, wait: Duration) {
        self.rules.draining.store(true, Ordering::Relaxed);
        let mut count = self.connections.count.subscribe();
        let _ = tokio::time::timeout(wait, count.wait_for(|count| *count == 0)).await;
    }

    /// Drains several servers at once, within the time of one.
    pub async fn drain_all(servers: &[Self], wait: Duration) {
        for server in servers {
            server.drain(Duration::ZERO).await;
        }
        let end = Instant::now() + wait;
        for server in servers {
            server.drain(end.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Stops accepting, closes every connection and waits until their tasks have ended.
    pub async fn shutdown(self) {
        self.accepting.abort();
        self.sweeping.abort();
        let _ = self.accepting.await;
        self.connections.close_all();
        let mut count = self.connections.count.subscribe();
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    service: Arc<dyn Service>,
    connections: Arc<Connections>,
    max_connections: usize,
    rules: Arc<Rules>,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give the others time to end.
                warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if *connections.count.borrow() >= max_connections {
            warn!(%peer, max_connections, "connection refused: too many are open");
            continue;
        }
        if !leaves_descriptors(&stream) {
            warn!(%peer, "connection refused: too few descriptors are left, see `ulimit -n`");
            continue;
        }
        // It is served, and so its events have to come, on a thread of its own runtime.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                warn!(%peer, %error, "connection lost while it was accepted");
                continue;
            }
        };
        let (service, rules) = (Arc::clone(&service), Arc::clone(&rules));
        let mut entry = connections.enter();
        workers::spawn(async move {
            let connection =
                TcpStream::from_std(stream).and_then(|stream| Connection::new(stream, rules));
            match connection {
                Ok(connection) => {
                    entry.open(&connection);
                    connection::run(connection, service).await;
                }
                Err(error) => warn!(%peer, %error, "connection lost while it was accepted"),
            }
        });
    }
}

/// Whether there are descriptors for files besides that of `stream`: the system gives the lowest that is free.
fn leaves_descriptors(stream: &TcpStream) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return true };
    let left = (limit / PART_OF_DESCRIPTORS_LEFT).min(DESCRIPTORS_LEFT);
    u64::try_from(stream.as_raw_fd()).is_ok_and(|descriptor| descriptor < limit - left)
}

/// Closes idle connections, and looks whether the certificate has changed.
async fn sweep(connections: Arc<Connections>, max_idle: Duration, tls: Option<Arc<TlsContext>>) {
    let period = (max_idle / 8).clamp(Duration::from_millis(10), LOOK_AT_CERTIFICATE_EVERY);
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        if let Some(tls) = tls.clone() {
            let _ = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await;
        }
        connections.close_where(|connection| connection.idle() > max_idle);
    }
}
