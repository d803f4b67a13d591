//! The only sockets: the connection turn, the server, the client, and replies that can wait.
//!
//! A connection is one task. Each turn reads what the socket holds, hands every whole frame in it
//! to the [`Service`] on that same task, and writes all answers at once. A [`Reply`] may be kept
//! and answered from any thread; it then tries the socket directly.

mod client;
mod connection;
mod host;
mod limits;
mod reply;
mod request_counters;
mod server;
mod spin;
mod tls;
mod tls_client;
mod tls_settings;
mod together;
mod workers;

use std::sync::Arc;

use oxmq_protocol::command::CommandView;
use oxmq_protocol::sync;

pub use client::{RemotingClient, RemotingClientConfig};
pub use connection::{Connection, InvokeError, Tls};
pub use host::ip_of;
pub use limits::max_idle_of;
pub use reply::Reply;
pub use request_counters::{RequestCount, RequestCounters};
pub use server::{Listener, Server, ServerConfig};
pub use tls::{ClientAuth, TlsContext, TlsError, TlsFiles, TlsMode};
pub use tls_client::{TlsClient, TlsClientFiles};
pub use tls_settings::{DEFAULT_TLS_CONFIG_FILE, TlsSettingsError};
pub use together::Together;
pub use workers::{WorkerId, after_busy_round, after_round};

/// What a server, or the far end of a client's connection, does with requests.
pub trait Service: Send + Sync + 'static {
    /// Handles one request on the task that read it.
    ///
    /// Must not block: what may take long keeps `reply` and answers from elsewhere.
    fn request(&self, connection: &Arc<Connection>, request: CommandView<'_>, reply: Reply);

    /// The requests that one read has brought have been handed over, or so many of them that their answers are to
    /// leave now. What was left to be done for all of them at once is done here, by the same thread.
    fn turn_ends(&self) {}

    /// A connection was accepted.
    fn opened(&self, connection: &Arc<Connection>) {
        let _ = connection;
    }

    /// A connection ended, whoever ended it. Called once, after its last request.
    fn closed(&self, connection: &Arc<Connection>) {
        let _ = connection;
    }
}
