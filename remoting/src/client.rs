//! Requests to other servers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashbrown::HashMap;
use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use tokio::net::TcpStream;

use crate::sync::lock;
use crate::{Connection, InvokeError, Reply, Service, connection};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct RemotingClientConfig {
    /// Longest wait for a connection. The reference's `connectTimeoutMillis` has the same default.
    pub connect_timeout: Duration,
}

impl Default for RemotingClientConfig {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(3) }
    }
}

/// Keeps one connection to each address asked for, opened when needed and again when it ended.
#[derive(Debug, Default)]
pub struct RemotingClient {
    config: RemotingClientConfig,
    connections: Mutex<HashMap<String, Arc<Connection>>>,
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
        Self { config, connections: Mutex::default() }
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
        self.connection(address).await?.invoke(request, timeout).await
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
        for (_, connection) in lock(&self.connections).drain() {
            connection.close();
        }
    }

    /// The name is resolved each time a connection is opened, so a host that moved is found again.
    async fn connection(&self, address: &str) -> Result<Arc<Connection>, InvokeError> {
        if let Some(connection) = lock(&self.connections).get(address)
            && !connection.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        let failed = |source| InvokeError::Connect { address: address.to_owned(), source };
        let connecting = TcpStream::connect(address);
        let stream = tokio::time::timeout(self.config.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(failed)?;
        let connection = Connection::new(stream, Arc::default()).map_err(failed)?;
        tokio::spawn(connection::run(Arc::clone(&connection), Arc::new(NoRequests)));
        lock(&self.connections).insert(address.to_owned(), Arc::clone(&connection));
        Ok(connection)
    }
}
