//! Addresses of one broker for clients in different networks.
//!
//! Not of the reference, which has one address for all: a broker sends them along with its
//! registration, where the reference's name server passes over them, and ours answers a client with
//! the one that it reaches.

use std::fmt::Write as _;

use crate::config::ConfigValue;

/// Ext field of `REGISTER_BROKER` that carries them, in the form of [`AdvertisedListeners::print`].
pub const ADVERTISED_LISTENERS: &str = "oxmqAdvertisedListeners";

/// Networks that one broker can have addresses for.
pub const MAX_LISTENERS: usize = 16;
/// Longest name of a listener, bytes.
pub(crate) const MAX_LISTENER_NAME_BYTES: usize = 64;
/// Longest host name that there is, bytes.
const MAX_HOST_BYTES: usize = 255;

/// A broker's addresses by name of listener: `external://host:port,lan://host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvertisedListeners(Vec<(Box<str>, Box<str>)>);

impl AdvertisedListeners {
    /// The address, `host:port`, for clients that come by a listener.
    pub fn get(&self, listener: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| **name == *listener).map(|(_, address)| &**address)
    }

    /// Whether the broker has one address for all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ConfigValue for AdvertisedListeners {
    const EXPECTED: &'static str = "NAME://HOST:PORT, at most 16 of them, separated by commas";

    fn parse(text: &str) -> Option<Self> {
        let mut listeners = Self::default();
        for listener in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
            let (name, address) = listener.split_once("://")?;
            let is_taken = listeners.get(name).is_some() || listeners.0.len() == MAX_LISTENERS;
            if is_taken || !is_listener_name(name) || !is_address(address) {
                return None;
            }
            listeners.0.push((name.into(), address.into()));
        }
        Some(listeners)
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for (name, address) in &self.0 {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{name}://{address}");
        }
        text
    }
}

/// Tells whether a listener can be called so: letters, digits, `-` and `_`.
pub fn is_listener_name(name: &str) -> bool {
    (1..=MAX_LISTENER_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `host:port`, with a host of IPv6 in brackets.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=MAX_HOST_BYTES).contains(&host.len())
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_by_the_name_of_their_listener_and_printed_as_they_were() {
        let text = "external://broker-1.example.com:10911,v6://[2001:db8::1]:20911";
        let listeners = AdvertisedListeners::parse(text).unwrap();
        assert_eq!(listeners.get("external"), Some("broker-1.example.com:10911"));
        assert_eq!(listeners.get("v6"), Some("[2001:db8::1]:20911"));
        assert_eq!(listeners.get("lan"), None);
        assert_eq!(listeners.print(), text);
        let spaced = AdvertisedListeners::parse(" external://h:1 , lan://h:2 ").unwrap();
        assert_eq!(spaced.print(), "external://h:1,lan://h:2");
        assert!(AdvertisedListeners::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_list_of_addresses_is_refused() {
        for text in [
            "external",
            "external:10911",
            "external://",
            "external://host",
            "external://host:0",
            "external://host:65536",
            "external://:10911",
            "external://a b:10911",
            "external://a;b:10911",
            "external://::1:10911",
            "external://[host]:10911",
            "://host:10911",
            "two words://host:10911",
            "external://host:1,external://host:2",
            "external://host:1,",
        ] {
            assert_eq!(AdvertisedListeners::parse(text), None, "{text}");
        }
        let many = |count: usize| {
            (0..count).map(|number| format!("n{number}://h:1")).collect::<Vec<_>>().join(",")
        };
        assert!(AdvertisedListeners::parse(&many(MAX_LISTENERS)).is_some());
        assert!(AdvertisedListeners::parse(&many(MAX_LISTENERS + 1)).is_none());
        let long = "n".repeat(MAX_LISTENER_NAME_BYTES + 1);
        assert!(AdvertisedListeners::parse(&format!("{long}://h:1")).is_none());
    }
}
