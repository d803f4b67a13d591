//! Pages of long tables.

use std::collections::BTreeMap;

use oxmq_protocol::body::DataVersion;
use oxmq_protocol::fastjson;

use crate::config::BrokerConfig;

/// A part of a table sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    begin: usize,
    length: usize,
}

impl Page {
    /// Reads what a request asks for: first index, version seen, and most entries. `None` is the
    /// whole table, which clients ask for that know nothing of pages.
    ///
    /// A page of another version than the current one starts at the beginning.
    pub(super) fn asked(
        config: &BrokerConfig,
        (begin, version_seen, length): (Option<i32>, Option<&str>, Option<i32>),
        current: DataVersion,
    ) -> Option<Self> {
        let asks = begin.is_some() || version_seen.is_some() || length.is_some();
        if !asks || !config.enable_split_metadata {
            return None;
        }
        let seen = version_seen.and_then(|text| fastjson::from_slice(text.as_bytes()).ok());
        let begin = if seen == Some(current) { begin.unwrap_or(0) } else { 0 };
        let length = length.unwrap_or(i32::MAX).min(config.split_metadata_size);
        let size = |number: i32| usize::try_from(number).unwrap_or(0);
        Some(Self { begin: size(begin), length: size(length) })
    }

    /// Leaves just the page in `table`.
    pub(super) fn cut<V>(self, table: &mut BTreeMap<String, V>) {
        let page = std::mem::take(table).into_iter().skip(self.begin).take(self.length);
        *table = page.collect();
    }
}
