//! Clients that ask a name server for the way to a broker.
//!
//! Not of the reference. A broker asks for them along with its registration, and tells from its own
//! connections who does not come. The reference's name server passes over the question.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use crate::advertised_listeners::is_listener_name;

/// Ext field of `REGISTER_BROKER`: there in a request to ask for them, in its answer with the list.
pub const ROUTE_ASKERS: &str = "oxmqRouteAskers";

/// Most of them in one answer.
pub(crate) const MAX_ROUTE_ASKERS: usize = 256;

/// A machine with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// The broker's own, by whatever address.
    Own,
    /// Another one.
    Other(IpAddr),
}

/// A machine whose clients have been asking for the way to a broker for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAsker {
    /// Where they are.
    pub host: Host,
    /// For how long they have been asking, in seconds.
    pub seconds: u64,
    /// The listener that they ask by, which decides what address they are told.
    pub listener: Option<Box<str>>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Other(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Host {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "own" { Ok(Self::Own) } else { text.parse().map(Self::Other) }
    }
}

/// Writes a list, the first [`MAX_ROUTE_ASKERS`] of it: `host seconds listener`, separated by commas.
pub fn print(askers: &[RouteAsker]) -> String {
    let mut text = String::new();
    for RouteAsker { host, seconds, listener } in askers.iter().take(MAX_ROUTE_ASKERS) {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{host} {seconds} {}", listener.as_deref().unwrap_or("-"));
    }
    text
}

/// Reads a list; `None` when it is none.
pub fn parse(text: &str) -> Option<Vec<RouteAsker>> {
    let entries = text.split(',').filter(|_| !text.is_empty()).take(MAX_ROUTE_ASKERS);
    entries
        .map(|entry| {
            let mut parts = entry.split(' ');
            let (host, seconds) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let listener = match parts.next()? {
                "-" => None,
                name => Some(is_listener_name(name).then(|| name.into())?),
            };
            parts.next().is_none().then_some(RouteAsker { host, seconds, listener })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let asker = |host: &str, listener: Option<&str>| RouteAsker {
            host: host.parse().unwrap(),
            seconds: 75,
            listener: listener.map(Box::from),
        };
        let askers =
            [asker("own", None), asker("10.0.0.7", Some("lan")), asker("2001:db8::1", None)];
        let text = print(&askers);
        assert_eq!(text, "own 75 -,10.0.0.7 75 lan,2001:db8::1 75 -");
        assert_eq!(parse(&text).unwrap(), askers);
        assert_eq!(parse("").unwrap(), []);
        let many = vec![asker("own", None); MAX_ROUTE_ASKERS + 1];
        assert_eq!(parse(&print(&many)).unwrap().len(), MAX_ROUTE_ASKERS);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["own", "own 1", "own x -", "host 1 -", "own 1 a b", "own 1 a:b", "own 1 -,"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
