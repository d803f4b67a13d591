//! The HTTP server that says where the name servers are.
//!
//! `GET /rocketmq/<sub-group>` is answered with one line `host:port;host:port`. Our own name server
//! is such a server when `httpEndpointPort` is set.
//!
//! Reference: `DefaultTopAddressing` (common), 5.5.0.

use std::io::{self, ErrorKind};
use std::time::Duration;

use oxmq_protocol::address::{host_port, is_host_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::limits::MAX_ADDRESS_ANSWER_BYTES;

/// The reference gives the server this long.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Port of a domain that names none.
const DEFAULT_PORT: u16 = 8080;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressServer {
    address: String,
    path: String,
}

impl AddressServer {
    /// The server at `domain` (`host` or `host:port`), asked for `sub_group`.
    pub(crate) fn new(domain: &str, sub_group: &str) -> Self {
        let address = match is_host_port(domain) {
            true => domain.to_owned(),
            false => host_port(domain, DEFAULT_PORT),
        };
        Self { address, path: format!("/rocketmq/{sub_group}") }
    }

    /// Asks for the list.
    pub(crate) async fn fetch(&self) -> io::Result<String> {
        let asking = tokio::time::timeout(TIMEOUT, self.ask());
        list(&asking.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))?)
    }

    async fn ask(&self) -> io::Result<Vec<u8>> {
        let Self { address, path } = self;
        let mut stream = TcpStream::connect(address).await?;
        // To a request of 1.0 no answer comes in chunks, and the end of the stream is its own.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ADDRESS_ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

impl std::fmt::Display for AddressServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// The first line of the body of a good answer.
fn list(answer: &[u8]) -> io::Result<String> {
    let wrong = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let text = std::str::from_utf8(answer).map_err(|_| wrong("an answer that is no text"))?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| wrong("an answer that is not HTTP"))?;
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.") || status.split_whitespace().nth(1) != Some("200") {
        return Err(wrong(&format!("answered {status:?}")));
    }
    Ok(body.trim().lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_without_a_port_has_that_of_the_reference() {
        let server = AddressServer::new("jmenv.tbsite.net", "nsaddr");
        assert_eq!(server.to_string(), "http://jmenv.tbsite.net:8080/rocketmq/nsaddr");
        for domain in ["::1", "[::1]"] {
            let server = AddressServer::new(domain, "nsaddr");
            assert_eq!(server.to_string(), "http://[::1]:8080/rocketmq/nsaddr");
        }
        let server = AddressServer::new("[::1]:80", "nsaddr-unit");
        assert_eq!(server.to_string(), "http://[::1]:80/rocketmq/nsaddr-unit");
    }

    #[test]
    fn list_is_the_first_line_of_a_good_answer() {
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n a:1;b:2 \r\nmore";
        assert_eq!(list(good).unwrap(), "a:1;b:2");
        for bad in ["", "HTTP/1.1 404 Not Found\r\n\r\na:1", "a:1;b:2", "HTTP/1.1 200 OK\r\n"] {
            assert!(list(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
