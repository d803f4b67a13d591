//! The name and address that this machine gives itself when the configuration gives none.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The machine's name, or the reference's word for not knowing it.
pub(super) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "DEFAULT_BROKER".to_owned() } else { name.to_owned() }
}

/// The address that other machines most likely reach this one by, IPv6 in brackets.
///
/// The reference scans the interfaces and prefers a public IPv4 address. The address that packets
/// to the outside leave with is the same one on ordinary machines, and on one with bridges of
/// container networks it is right where a scan has to guess.
pub(super) fn advertised_host() -> String {
    let address = source_address("0.0.0.0:0", "198.51.100.1:9")
        .or_else(|| {
            let routes = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
            local_addresses(&routes).into_iter().map(IpAddr::V4).next_back()
        })
        .or_else(|| source_address("[::]:0", "[2001:db8::1]:9"))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Asks the routing table; connecting a datagram socket sends nothing.
fn source_address(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Reads the machine's own addresses out of `/proc/net/fib_trie`, where `/32 host LOCAL` stands
/// below each of them.
fn local_addresses(fib_trie: &str) -> Vec<Ipv4Addr> {
    let lines = fib_trie.lines().map(str::trim);
    let mut addresses: Vec<Ipv4Addr> = lines
        .clone()
        .zip(lines.skip(1))
        .filter(|(_, below)| below.starts_with("/32 host LOCAL"))
        .filter_map(|(line, _)| line.strip_prefix("|-- ")?.parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback() && !address.is_link_local())
        .collect();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_the_host_entries_of_the_routing_table() {
        let table = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            \x20       |-- 127.0.0.1\n           /32 host LOCAL\n\
            \x20       |-- 192.0.2.2\n           /32 host LOCAL\n\
            \x20       |-- 192.0.2.255\n           /32 link BROADCAST\n";
        assert_eq!(local_addresses(table), [Ipv4Addr::new(192, 0, 2, 2)]);
    }

    #[test]
    fn this_machine_has_a_name_and_an_address() {
        assert!(!host_name().is_empty());
        let host = advertised_host();
        assert!(host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok(), "{host}");
    }
}
