//! Keys and values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A table of texts: one namespace of the name server, or the runtime facts of a broker.
///
/// Reference: `KVTable` (remoting), 5.5.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KVTable {
    /// By key.
    pub table: BTreeMap<String, String>,
}
