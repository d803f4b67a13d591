//! Settings that are changed over the wire.

use oxmq_protocol::config::{Config as _, did_you_mean, nearest};

use super::NamesrvConfig;

/// Keys that carry paths, addresses, or what only a start can change: none of them changes over the
/// wire, whatever `configBlackList` says.
pub(super) const CLOSED: &[&str] = &[
    "rocketmqHome",
    "kvConfigPath",
    "configStorePath",
    "configBlackList",
    "productEnvName",
    "clusterTest",
    "enableControllerInNamesrv",
    "bindAddress",
    "listenPort",
    "httpEndpointPort",
    "namesrvAddr",
    "listeners",
    "listenerNetworks",
    "tls.server.mode",
    "tls.config.file",
];

impl NamesrvConfig {
    /// Tells whether a key is closed to changes over the wire.
    pub(crate) fn is_closed(&self, key: &str) -> bool {
        CLOSED.contains(&key) || self.config_black_list.split(';').any(|listed| listed == key)
    }

    /// Sets one key from the wire.
    pub(crate) fn change(&mut self, key: &str, value: &str) -> Result<(), ChangeError> {
        match self.set(key, value) {
            Some(Ok(())) => Ok(()),
            Some(Err(expected)) => Err(ChangeError::Value { key: key.to_owned(), expected }),
            None => Err(ChangeError::Unknown {
                key: key.to_owned(),
                nearest: did_you_mean(nearest(key, Self::KEYS.iter().copied())),
            }),
        }
    }
}

/// A change that is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The value does not read as the key's type.
    #[error("{key} must be {expected}")]
    Value { key: String, expected: &'static str },
    /// Nobody's key.
    #[error("there is no key {key}{nearest}")]
    Unknown { key: String, nearest: String },
}
