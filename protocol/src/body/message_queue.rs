//! The name of a queue.

use serde::{Deserialize, Serialize};

/// One queue of a topic on one broker name.
///
/// Reference: `MessageQueue` (common), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Topic of the queue.
    pub topic: String,
    /// Name of the broker that has it.
    pub broker_name: String,
    /// Number of the queue, from 0.
    pub queue_id: i32,
}
