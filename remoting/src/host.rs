//! Addresses of hosts that a setting names.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use oxmq_protocol::address::parse_ip;

/// The address of `host`, an IP address or the name of a host, of whose addresses one of IPv4 is preferred. To be
/// called when a server starts, as the system may ask others for it.
///
/// # Errors
/// When there is no such host, as far as the system knows.
pub fn ip_of(host: &str) -> io::Result<IpAddr> {
    if let Some(ip) = parse_ip(host) {
        return Ok(ip);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a host"));
    }
    let addresses = (host, 0).to_socket_addrs()?.map(|address: SocketAddr| address.ip());
    let found = addresses.min_by_key(IpAddr::is_ipv6);
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_or_have_an_address() {
        assert_eq!(ip_of("192.0.2.1").unwrap(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(ip_of("[::1]").unwrap().to_string(), "::1");
        assert!(ip_of("localhost").unwrap().is_loopback());
        for host in ["", "a host", "[127.0.0.1]"] {
            assert!(ip_of(host).is_err(), "{host:?}");
        }
    }
}
