//! Counts of messages that are on their way, by topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DataVersion;

/// How many messages of a topic are on their way.
///
/// Reference: `Metric` (store), 5.5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metric {
    /// Messages.
    pub count: i64,
    /// When that changed, ms since 1970.
    pub time_stamp: i64,
}

/// `config/transactionMetrics`: half messages without a decision.
///
/// Reference: `TransactionMetrics.TransactionMetricsSerializeWrapper` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TransactionMetricsTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic that the messages go to.
    pub transaction_count: BTreeMap<String, Metric>,
}

/// `config/timermetrics`: messages that wait for their time.
///
/// Reference: `TimerMetrics.TimerMetricsSerializeWrapper` (store), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TimerMetricsTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic that the messages go to.
    pub timing_count: BTreeMap<String, Metric>,
}
