//! Addresses as settings, routes and clients have them: `host:port`, with brackets around a host of IPv6.

use std::net::{IpAddr, Ipv6Addr};

/// Reads an IP address, one of IPv6 with or without brackets.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    match in_brackets(text) {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// `host:port`; an address of IPv6 gets the brackets that it lacks.
pub fn host_port(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Tells whether `text` is `host:port`, where the host is a name or an address. As in the
/// reference, the port is behind the last colon, also of an IPv6 address without brackets.
pub fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match in_brackets(host) {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None if host.contains(':') => host.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(char::is_whitespace),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read() {
        for (text, ip) in [("::", "::"), ("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")] {
            assert_eq!(parse_ip(text), Some(ip.parse().unwrap()), "{text}");
        }
        for bad in ["", "here", "[127.0.0.1]", "[::1", "::1]", "[[::1]]", "[]"] {
            assert_eq!(parse_ip(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_of_ipv6_get_brackets_once() {
        assert_eq!(host_port("2001:db8::1", 1), "[2001:db8::1]:1");
        assert_eq!(host_port("[2001:db8::1]", 1), "[2001:db8::1]:1");
        assert_eq!(host_port("192.0.2.1", 1), "192.0.2.1:1");
        assert_eq!(host_port("broker.example", 1), "broker.example:1");
    }

    #[test]
    fn host_and_port_are_told_apart() {
        for good in ["a:1", "192.0.2.1:65535", "[::1]:9876", "::1:9876", "[2001:db8::1]:1"] {
            assert!(is_host_port(good), "{good}");
        }
        for bad in
            ["", "a", ":1", "a:0", "a:x", "a:65536", "a b:1", "a:b:1", "::1", "[a]:1", "[::1]"]
        {
            assert!(!is_host_port(bad), "{bad}");
        }
    }
}
