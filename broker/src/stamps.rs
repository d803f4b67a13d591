//! What this broker says of itself in every message that it stores, and to every producer.

use std::sync::Arc;

use oxmq_protocol::command::PreparedFields;
use oxmq_protocol::live::Live;
use oxmq_protocol::message::properties;
use tracing::warn;

use crate::config::{BrokerConfig, BrokerSettings};

/// Settings that stand in the stamps and may change.
const STAMPED: &[&str] = &["regionId", "traceOn"];

/// The broker's region and cluster, and whether it wants traces.
#[derive(Debug)]
pub(crate) struct Stamps {
    config: Arc<BrokerConfig>,
    made: Live<Made>,
}

/// Stamps made ready, so that a send has only to copy them.
#[derive(Debug)]
struct Made {
    of_answers: PreparedFields,
    of_messages: Vec<u8>,
}

impl Stamps {
    pub(crate) fn new(config: Arc<BrokerConfig>) -> Self {
        let made = Live::new(Made::of(&config));
        Self { config, made }
    }

    /// Fields of every answer to a producer.
    pub(crate) fn of_answers(&self) -> &PreparedFields {
        &self.made.of_answers
    }

    /// Properties of every message.
    pub(crate) fn of_messages(&self) -> &[u8] {
        &self.made.of_messages
    }

    /// Says from now on what the settings say by now, of which those called `changed` have changed.
    pub(crate) fn renew<'k>(&self, mut changed: impl Iterator<Item = &'k str>) {
        if changed.any(|key| STAMPED.contains(&key))
            && let Err(error) = self.made.replace(Made::of(&self.config))
        {
            warn!(%error, "region and tracing stay as they were");
        }
    }
}

impl Made {
    fn of(config: &BrokerSettings) -> Self {
        let trace_on = if config.trace_on { "true" } else { "false" };
        let fields = [("MSG_REGION", config.region_id.as_str()), ("TRACE_ON", trace_on)];
        let mut text = Vec::new();
        properties::append(&mut text, properties::MSG_REGION, config.region_id.as_bytes());
        properties::append(&mut text, properties::TRACE_SWITCH, trace_on.as_bytes());
        properties::append(&mut text, properties::CLUSTER, config.broker_cluster_name.as_bytes());
        Self { of_answers: PreparedFields::new(&fields), of_messages: text }
    }
}
