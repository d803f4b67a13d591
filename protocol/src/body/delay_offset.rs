//! How far the delay levels have delivered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DataVersion;

/// `delayOffset.json`, and answer to `GET_ALL_DELAY_OFFSET` (45).
///
/// Reference: `DelayOffsetSerializeWrapper` (broker), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Next offset to deliver by delay level.
    pub offset_table: BTreeMap<i32, i64>,
}
