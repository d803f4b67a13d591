//! The HTTP address of the name servers: `GET /rocketmq/nsaddr`.
//!
//! Clients and brokers that are told no name server ask here, every two minutes, and take the first line
//! of the answer as a list `host:port;host:port`. One request a connection, nothing else is served.
//!
//! Reference: `DefaultTopAddressing` (common), 5.5.0, is the client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::limits::{MAX_HTTP_CONNECTIONS, MAX_HTTP_REQUEST_BYTES};

/// Time for a request to come whole; the reference's client gives up after 3 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// What the reference's client asks for unless it is told another group. A unit's name follows a dash.
const PATH: &str = "/rocketmq/nsaddr";

/// A listening endpoint.
#[derive(Debug)]
pub(crate) struct HttpEndpoint {
    local_addr: SocketAddr,
    accepting: JoinHandle<()>,
}

/// What the endpoint answers.
#[derive(Clone, Debug)]
pub(crate) enum Addresses {
    /// This list.
    Listed(Arc<str>),
    /// The address that the client reached us by, with this port.
    Own(u16),
}

impl HttpEndpoint {
    /// Listens on `listen`.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(crate) async fn bind(listen: SocketAddr, addresses: Addresses) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local_addr = listener.local_addr()?;
        Ok(Self { local_addr, accepting: tokio::spawn(accept(listener, addresses)) })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops listening. A request that is being answered still is.
    pub(crate) fn shutdown(&self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, addresses: Addresses) {
    let slots = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let addresses = addresses.clone();
                tokio::spawn(async move {
                    let served = tokio::time::timeout(REQUEST_LIMIT, serve(stream, &addresses));
                    match served.await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "http request failed"),
                        Err(_) => tracing::debug!(%peer, "http request too slow"),
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "http connection not accepted");
                // Out of descriptors: they come back as connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, addresses: &Addresses) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() >= MAX_HTTP_REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            return stream.write_all(response("400 Bad Request", "").as_bytes()).await;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let response = match answer(line) {
        Ok(()) => {
            let list = match addresses {
                Addresses::Listed(list) => list.to_string(),
                Addresses::Own(port) => {
                    SocketAddr::new(stream.local_addr()?.ip().to_canonical(), *port).to_string()
                }
            };
            response("200 OK", &format!("{list}\n"))
        }
        Err(status) => response(status, ""),
    };
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// Says whether a request line asks for the list, or the status of its refusal.
fn answer(line: &[u8]) -> Result<(), &'static str> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err("400 Bad Request");
    };
    if method != "GET" {
        return Err("405 Method Not Allowed");
    }
    let path = target.split('?').next().unwrap_or_default();
    match path.strip_prefix(PATH) {
        Some(unit) if unit.is_empty() || unit.starts_with('-') => Ok(()),
        _ => Err("404 Not Found"),
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_served_to_the_paths_that_clients_ask_for() {
        for target in ["/rocketmq/nsaddr", "/rocketmq/nsaddr-unit?nofix=1", "/rocketmq/nsaddr?x=y"]
        {
            assert_eq!(answer(format!("GET {target} HTTP/1.1").as_bytes()), Ok(()), "{target}");
        }
        for (line, status) in [
            ("GET /rocketmq/nsaddress HTTP/1.1", "404 Not Found"),
            ("GET / HTTP/1.1", "404 Not Found"),
            ("POST /rocketmq/nsaddr HTTP/1.1", "405 Method Not Allowed"),
            ("GET", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            assert_eq!(answer(line.as_bytes()), Err(status), "{line}");
        }
    }
}
