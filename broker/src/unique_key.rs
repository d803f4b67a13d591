//! Unique keys for messages that come without one.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes keys that no other message has: this host, this process, the time and a counter.
///
/// Reference: `MessageClientIDSetter` (common), 5.5.0. Clients never take these keys apart, but tools
/// tell them from offset ids by their length.
#[derive(Debug)]
pub(crate) struct UniqueKeys {
    prefix: String,
    counter: AtomicU32,
}

impl UniqueKeys {
    pub(crate) fn new(host: IpAddr) -> Self {
        use std::fmt::Write as _;
        let mut prefix = String::new();
        let octets = match host {
            IpAddr::V4(host) => host.octets().to_vec(),
            IpAddr::V6(host) => host.octets().to_vec(),
        };
        for octet in octets {
            let _ = write!(prefix, "{octet:02X}");
        }
        // The loader's hash in the reference tells several clients of one process apart; the broker
        // is one only.
        let _ = write!(prefix, "{:04X}{:08X}", std::process::id() as u16, 0);
        Self { prefix, counter: AtomicU32::new(0) }
    }

    /// Appends the next key to `out`.
    pub(crate) fn append_next(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{}{:08X}{:04X}", self.prefix, since.as_millis() as u32, count as u16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_have_the_length_of_the_reference() {
        let keys = UniqueKeys::new(IpAddr::from([127, 0, 0, 1]));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        keys.append_next(&mut first);
        keys.append_next(&mut second);
        assert_eq!((first.len(), second.len()), (32, 32));
        assert_ne!(first, second);
        assert!(first.starts_with(b"7F000001"));
    }
}
