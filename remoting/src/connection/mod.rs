//! One socket, its output and the requests that we made on it.

mod greeting;
mod output;
mod pending;
mod socket;
mod turn;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use oxmq_protocol::command::RemotingCommand;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::request_counters::RequestCounters;
use crate::tls::{TlsContext, TlsMode};
use output::{Fate, Output};
use pending::Pending;
use socket::Socket;
pub(crate) use turn::run;

/// Whether connections of a server are TLS, and with what.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Who may connect how.
    pub mode: TlsMode,
    /// Key material; without it a handshake is refused.
    pub context: Option<Arc<TlsContext>>,
}

/// What holds for all connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// How a peer may and must begin.
    pub(crate) tls: Tls,
    /// The server is about to go: peers that understand are told to go elsewhere.
    pub(crate) draining: AtomicBool,
    /// Where requests are counted, at a server.
    pub(crate) counters: Option<Arc<RequestCounters>>,
}

/// Why a request of ours got no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The connection could not be opened.
    #[error("connect to <{address}> failed: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection ended before the answer came.
    #[error("the connection to <{0}> was closed")]
    Closed(SocketAddr),
    /// No answer within the time given.
    #[error("wait response on the channel <{peer}> timeout, {timeout_ms}(ms)")]
    Timeout {
        /// Who did not answer.
        peer: SocketAddr,
        /// Time given, ms.
        timeout_ms: u128,
    },
    /// Too many requests without an answer.
    #[error("too many requests under way to <{0}>")]
    TooManyRequests(SocketAddr),
}

/// One connection, shared by its task, by kept replies and by whoever pushes requests to the peer.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    socket: Socket,
    rules: Arc<Rules>,
    output: Output,
    pending: Pending,
    /// Wakes the task: output is blocked, or the connection is to close.
    wake: Notify,
    closing: AtomicBool,
    /// The first frame, or what may come in front of it, has been seen.
    greeted: AtomicBool,
    /// The client, when the peer is a proxy that says so.
    proxied_peer: OnceLock<SocketAddr>,
    /// Milliseconds from `epoch` to the last read or write.
    last_active_ms: AtomicU64,
    epoch: Instant,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, rules: Arc<Rules>) -> std::io::Result<Arc<Self>> {
        Self::over(Socket::new(stream), rules, false)
    }

    /// A connection of ours to a server, inside a session whose handshake is over.
    pub(crate) fn secured(
        stream: TcpStream,
        session: rustls::ClientConnection,
    ) -> std::io::Result<Arc<Self>> {
        Self::over(Socket::secured(stream, session.into()), Arc::default(), true)
    }

    fn over(socket: Socket, rules: Arc<Rules>, greeted: bool) -> std::io::Result<Arc<Self>> {
        let stream = &socket.stream;
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        stream.set_nodelay(true)?;
        Ok(Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer: canonical(stream.peer_addr()?),
            local: canonical(stream.local_addr()?),
            socket,
            rules,
            output: Output::default(),
            pending: Pending::default(),
            wake: Notify::new(),
            closing: AtomicBool::new(false),
            greeted: AtomicBool::new(greeted),
            proxied_peer: OnceLock::new(),
            last_active_ms: AtomicU64::new(0),
            epoch: Instant::now(),
        }))
    }

    /// A number that no other connection of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The peer's address; that of the client when a proxy speaks for one.
    pub fn peer(&self) -> SocketAddr {
        self.proxied_peer.get().copied().unwrap_or(self.peer)
    }

    /// Our address on this connection.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Ends the connection. What is already written is still tried; nothing more is read.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Ends the connection unless requests of ours still wait for their answers.
    pub(crate) fn close_unless_waiting(&self) {
        if self.pending.is_empty() {
            self.close();
        }
    }

    /// Tells whether the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Tells whether the peer reads what it is sent: the connection is open and not much is unsent.
    pub fn takes_requests(&self) -> bool {
        !self.is_closed() && !self.output.over_high_water()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the connection ends or `timeout` passes first.
    pub async fn invoke(
        &self,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let (opaque, answer) =
            self.pending.register().ok_or(InvokeError::TooManyRequests(self.peer))?;
        request.opaque = opaque;
        if self.is_closed() {
            self.pending.forget(opaque);
            return Err(InvokeError::Closed(self.peer));
        }
        self.write(|out| request.encode(out));
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(InvokeError::Closed(self.peer)),
            Err(_) => {
                self.pending.forget(opaque);
                Err(InvokeError::Timeout { peer: self.peer, timeout_ms: timeout.as_millis() })
            }
        }
    }

    /// Sends a request that wants no answer.
    pub fn invoke_oneway(&self, request: RemotingCommand) {
        let mut request = request.oneway();
        request.opaque = self.pending.next_opaque();
        self.write(|out| request.encode(out));
    }

    pub(crate) fn counters(&self) -> Option<&RequestCounters> {
        self.rules.counters.as_deref()
    }

    /// Lets `frame` append to this connection's output, and sends it: at once, or at the end of the
    /// turn that is under way.
    pub(crate) fn write<R>(&self, frame: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let (result, fate) = self.output.append(&self.socket, frame);
        self.after_writing(fate);
        result
    }

    /// Keeps what is written back until [`Connection::release`]. False when somebody else does already.
    pub(crate) fn hold(&self) -> bool {
        self.output.begin_turn()
    }

    /// Sends what was kept back.
    pub(crate) fn release(&self) {
        self.after_writing(self.output.end_turn(&self.socket));
    }

    fn after_writing(&self, fate: Fate) {
        match fate {
            Fate::Sent => self.touch(),
            Fate::Left => {}
            Fate::Blocked => self.wake.notify_one(),
            Fate::Broken => self.close(),
        }
    }

    fn touch(&self) {
        self.last_active_ms.store(self.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Time since anything was read or written.
    pub(crate) fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_active_ms.load(Ordering::Relaxed));
        self.epoch.elapsed().saturating_sub(last)
    }
}

/// An IPv4 peer of a dual-stack socket is an IPv4 peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
