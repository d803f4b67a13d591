//! A client at the far end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::body::ClientConnection;
use oxmq_protocol::code::LanguageCode;
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_remoting::Connection;

/// What the managers need of a connection; tests have one without a socket.
pub(crate) trait Channel: fmt::Debug + Send + Sync + 'static {
    /// A number that no other connection has.
    fn id(&self) -> u64;
    /// The client's address.
    fn peer(&self) -> SocketAddr;
    /// Whether the client reads what it is sent, as far as can be told from here.
    fn takes_requests(&self) -> bool;
    /// Sends a request that wants no answer.
    fn invoke_oneway(&self, request: RemotingCommand);
    /// Ends the connection.
    fn close(&self);
}

impl Channel for Connection {
    fn id(&self) -> u64 {
        self.id()
    }

    fn peer(&self) -> SocketAddr {
        self.peer()
    }

    fn takes_requests(&self) -> bool {
        self.takes_requests()
    }

    fn invoke_oneway(&self, request: RemotingCommand) {
        self.invoke_oneway(request);
    }

    fn close(&self) {
        self.close();
    }
}

/// A client on one connection.
///
/// Reference: `ClientChannelInfo` (broker), 5.5.0.
#[derive(Debug)]
pub(crate) struct ClientInfo<C> {
    pub(crate) channel: Arc<C>,
    pub(crate) client_id: Box<str>,
    pub(crate) language: LanguageCode,
    pub(crate) version: i32,
    /// When it was last heard of.
    pub(crate) last_seen: Instant,
}

// Not derived, as a channel need not be cloned for its handle to be.
impl<C> Clone for ClientInfo<C> {
    fn clone(&self) -> Self {
        Self {
            channel: Arc::clone(&self.channel),
            client_id: self.client_id.clone(),
            language: self.language,
            version: self.version,
            last_seen: self.last_seen,
        }
    }
}

impl<C: Channel> ClientInfo<C> {
    /// The client that sent `request` and calls itself `client_id`.
    pub(crate) fn of_request(
        channel: &Arc<C>,
        client_id: &str,
        request: &CommandView<'_>,
        now: Instant,
    ) -> Self {
        Self {
            channel: Arc::clone(channel),
            client_id: client_id.into(),
            language: request.language.unwrap_or(LanguageCode::OTHER),
            version: request.version,
            last_seen: now,
        }
    }

    /// What the tools are told.
    pub(crate) fn to_connection(&self) -> ClientConnection {
        ClientConnection {
            client_addr: self.channel.peer().to_string(),
            client_id: self.client_id.to_string(),
            language: self.language.name().unwrap_or("OTHER").to_owned(),
            version: self.version,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sync::lock;

    /// A connection without a socket that remembers what was sent.
    #[derive(Debug)]
    pub(crate) struct TestChannel {
        id: u64,
        sent: Mutex<Vec<RemotingCommand>>,
        closed: AtomicBool,
    }

    impl TestChannel {
        pub(crate) fn new(id: u64) -> Arc<Self> {
            Arc::new(Self { id, sent: Mutex::default(), closed: AtomicBool::new(false) })
        }

        /// What was sent since the last call.
        pub(crate) fn take_sent(&self) -> Vec<RemotingCommand> {
            std::mem::take(&mut *lock(&self.sent))
        }

        pub(crate) fn is_closed(&self) -> bool {
            self.closed.load(Ordering::Relaxed)
        }

        pub(crate) fn client(self: &Arc<Self>, client_id: &str, now: Instant) -> ClientInfo<Self> {
            ClientInfo {
                channel: Arc::clone(self),
                client_id: client_id.into(),
                language: LanguageCode::JAVA,
                version: 479,
                last_seen: now,
            }
        }
    }

    impl Channel for TestChannel {
        fn id(&self) -> u64 {
            self.id
        }

        fn peer(&self) -> SocketAddr {
            ([192, 0, 2, 1], 1024 + self.id as u16).into()
        }

        fn takes_requests(&self) -> bool {
            !self.is_closed()
        }

        fn invoke_oneway(&self, request: RemotingCommand) {
            lock(&self.sent).push(request);
        }

        fn close(&self) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}
