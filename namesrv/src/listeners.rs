//! Which of a broker's advertised addresses a client is answered with.
//!
//! It depends on the port that the question came in on, or on the network that it came from. Not of
//! the reference, whose name server has one address of a broker for all.

use std::net::IpAddr;

use ipnet::IpNet;
use oxmq_protocol::advertised_listeners::{MAX_LISTENERS, is_listener_name};
use oxmq_protocol::config::ConfigValue;

use crate::config::NamesrvConfig;
use crate::core::Origin;

/// Further ports that are listened on, each with a name: `external:9877,lan:9878`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerPorts(Vec<(String, u16)>);

/// Networks that clients ask from, each with the name of a listener: `lan:10.0.0.0/8,lan:fd00::/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerNetworks(Vec<(String, IpNet)>);

impl ListenerPorts {
    /// The ports, as they were written.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|(_, port)| *port)
    }

    /// The listener of a port.
    pub(crate) fn of(&self, port: u16) -> Option<&str> {
        self.0.iter().find(|(_, own)| *own == port).map(|(name, _)| name.as_str())
    }
}

impl ListenerNetworks {
    /// The listener of the narrowest network that holds an address.
    pub(crate) fn of(&self, address: IpAddr) -> Option<&str> {
        let address = address.to_canonical();
        let holding = self.0.iter().filter(|(_, network)| network.contains(&address));
        holding.max_by_key(|(_, network)| network.prefix_len()).map(|(name, _)| name.as_str())
    }
}

impl ConfigValue for ListenerPorts {
    const EXPECTED: &'static str = "NAME:PORT, at most 16 of them, separated by commas";

    fn parse(text: &str) -> Option<Self> {
        let ports = parse(text, |port| port.parse().ok().filter(|port| *port != 0))?;
        let is_double =
            |at: usize, port: u16| ports[..at].iter().any(|(_, before)| *before == port);
        let is_sound = ports.iter().enumerate().all(|(at, (_, port))| !is_double(at, *port));
        is_sound.then_some(Self(ports))
    }

    fn print(&self) -> String {
        print(&self.0)
    }
}

impl ConfigValue for ListenerNetworks {
    const EXPECTED: &'static str = "NAME:NETWORK/BITS, at most 16 of them, separated by commas";

    fn parse(text: &str) -> Option<Self> {
        parse(text, |network| network.parse::<IpNet>().ok().map(|network| network.trunc()))
            .map(Self)
    }

    fn print(&self) -> String {
        print(&self.0)
    }
}

impl NamesrvConfig {
    /// The listener that a question came by, if by any.
    pub(crate) fn listener(&self, origin: Origin) -> Option<&str> {
        let of_port = self.listeners.of(origin.local.port());
        of_port.or_else(|| self.listener_networks.of(origin.peer.ip()))
    }
}

fn parse<T>(text: &str, value: impl Fn(&str) -> Option<T>) -> Option<Vec<(String, T)>> {
    let mut list = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (name, text) = entry.split_once(':')?;
        if !is_listener_name(name) || list.len() == MAX_LISTENERS {
            return None;
        }
        list.push((name.to_owned(), value(text)?));
    }
    Some(list)
}

fn print<T: std::fmt::Display>(list: &[(String, T)]) -> String {
    list.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowest_network_counts_whatever_form_the_address_has() {
        let text = "all:0.0.0.0/0,lan:10.0.0.0/8,pod:10.2.0.0/16,lan:fd00::/8";
        let networks = ListenerNetworks::parse(text).unwrap();
        assert_eq!(networks.print(), text);
        for (address, listener) in [
            ("10.2.3.4", Some("pod")),
            ("::ffff:10.2.3.4", Some("pod")),
            ("10.3.3.4", Some("lan")),
            ("192.0.2.1", Some("all")),
            ("fd00::1", Some("lan")),
            ("2001:db8::1", None),
        ] {
            assert_eq!(networks.of(address.parse().unwrap()), listener, "{address}");
        }
    }

    #[test]
    fn ports_have_one_name_each() {
        let ports = ListenerPorts::parse("external:9877,lan:9878").unwrap();
        assert_eq!((ports.of(9878), ports.of(9876)), (Some("lan"), None));
        assert_eq!(ports.print(), "external:9877,lan:9878");
        for text in ["external", "external:0", "external:x", "a:1,b:1", ":1", "a b:1", "a:1,"] {
            assert_eq!(ListenerPorts::parse(text), None, "{text}");
        }
        for text in ["lan", "lan:10.0.0.0", "lan:10.0.0.0/33", "lan:x/8"] {
            assert_eq!(ListenerNetworks::parse(text), None, "{text}");
        }
    }
}
