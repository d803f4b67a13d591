//! Values of settings that have names of their own.

use oxmq_protocol::body::MessageRequestMode;
use oxmq_protocol::config::ConfigValue;

/// Role in a group of brokers of one name.
///
/// Reference: `BrokerRole` (store), 5.5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerRole {
    /// Acknowledges a message before its slaves have it.
    AsyncMaster,
    /// Acknowledges a message once its slaves have it.
    SyncMaster,
    /// Follows a master.
    Slave,
}

impl ConfigValue for BrokerRole {
    const EXPECTED: &'static str = "ASYNC_MASTER, SYNC_MASTER or SLAVE";

    fn parse(text: &str) -> Option<Self> {
        [Self::AsyncMaster, Self::SyncMaster, Self::Slave]
            .into_iter()
            .find(|role| role.print() == text)
    }

    fn print(&self) -> String {
        match self {
            Self::AsyncMaster => "ASYNC_MASTER",
            Self::SyncMaster => "SYNC_MASTER",
            Self::Slave => "SLAVE",
        }
        .to_owned()
    }
}

/// How clients get their messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMode(pub MessageRequestMode);

impl ConfigValue for RequestMode {
    const EXPECTED: &'static str = "PULL or POP";

    fn parse(text: &str) -> Option<Self> {
        [MessageRequestMode::Pull, MessageRequestMode::Pop]
            .into_iter()
            .find(|mode| mode.name() == text)
            .map(Self)
    }

    fn print(&self) -> String {
        self.0.name().to_owned()
    }
}
