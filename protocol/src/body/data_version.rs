//! How new a table is.

use serde::{Deserialize, Serialize};

/// Version of a table. Equal in all three parts or different; ordered by state version, then
/// counter, then time.
///
/// Reference: `DataVersion` (remoting), 5.5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Changes so far.
    pub counter: i64,
    /// Term of the controller's state machine; 0 without a controller.
    pub state_version: i64,
    /// When it last changed, ms since 1970.
    pub timestamp: i64,
}

impl DataVersion {
    /// Counts one change.
    pub fn advance(&mut self, state_version: i64, now_ms: i64) {
        self.counter += 1;
        self.state_version = state_version;
        self.timestamp = now_ms;
    }

    /// Compares as the reference does: whether the other version is newer.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let key = |version: &Self| (version.state_version, version.counter, version.timestamp);
        key(self) < key(other)
    }
}
