//! `GET_BROKER_CONFIG` (26).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::sync::Arc;

use oxmq_protocol::body::DataVersion;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::config;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::GetBrokerConfigResponseHeader;
use oxmq_store::MessageStore;

use super::success;
use crate::config::BrokerConfig;
use crate::error::RequestError;

/// Tells tools how the broker is set up.
#[derive(Debug)]
pub(crate) struct GetBrokerConfig {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
}

impl GetBrokerConfig {
    pub(crate) fn new(config: Arc<BrokerConfig>, store: Arc<MessageStore>) -> Self {
        Self { config, store }
    }

    /// Answers with every setting that has an effect, as sorted lines.
    pub(crate) fn get(&self) -> Result<RemotingCommand, RequestError> {
        let text = config::print(&[&*self.config, self.store.config()]);
        // Settings do not change while the broker runs.
        let version = fastjson::to_vec(&DataVersion::default(), Dialect::Raw)?;
        let version = String::from_utf8_lossy(&version).into_owned();
        Ok(success().with_body(text).with_header(&GetBrokerConfigResponseHeader { version }))
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{body, managers};
    use super::*;

    #[test]
    fn settings_of_broker_and_store_come_sorted_with_their_version() {
        let m = managers(|config| config.broker_id = 7);
        let processor = GetBrokerConfig::new(Arc::clone(&m.config), Arc::clone(&m.store));
        let answer = processor.get().unwrap();
        let lines: Vec<_> = body(&answer).lines().collect();
        assert!(lines.is_sorted());
        assert!(lines.contains(&"brokerId=7") && lines.contains(&"brokerRole=ASYNC_MASTER"));
        assert!(lines.contains(&"mappedFileSizeCommitLog=1048576"));
        assert_eq!(
            answer.ext_fields.get("version").as_deref(),
            Some(r#"{"counter":0,"stateVersion":0,"timestamp":0}"#)
        );
    }
}
