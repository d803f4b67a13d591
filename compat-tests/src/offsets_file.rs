//! Committed offsets as the file in a broker's store has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The offsets of a group on a topic, by queue; empty when the file has none.
#[must_use]
pub fn persisted_offsets(store: &Path, topic: &str, group: &str) -> BTreeMap<i32, i64> {
    let config = store.join("config");
    ["consumerOffset.json", "consumerOffset.json.bak"]
        .iter()
        .filter_map(|name| fs::read_to_string(config.join(name)).ok())
        .find_map(|text| offsets_in(&text, topic, group))
        .unwrap_or_default()
}

/// Finds the group's entry by hand: the reference writes numeric keys without quotes, which is not
/// JSON. `None` if the file is only half there.
fn offsets_in(text: &str, topic: &str, group: &str) -> Option<BTreeMap<i32, i64>> {
    text.trim_end().ends_with('}').then_some(())?;
    let entry = format!("\"{topic}@{group}\":");
    let Some(at) = text.find(&entry) else { return Some(BTreeMap::new()) };
    let map = text[at + entry.len()..].trim_start().strip_prefix('{')?;
    let map = &map[..map.find('}')?];
    map.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (queue, offset) = pair.split_once(':')?;
            let queue = queue.trim().trim_matches('"').parse().ok()?;
            Some((queue, offset.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_keys_are_read_and_half_a_file_is_none() {
        let text = r#"{"offsetTable":{"t@g":{0:5,"1":7},"t@h":{}}}"#;
        assert_eq!(offsets_in(text, "t", "g"), Some(BTreeMap::from([(0, 5), (1, 7)])));
        assert_eq!(offsets_in(text, "t", "h"), Some(BTreeMap::new()));
        assert_eq!(offsets_in(&text[..20], "t", "g"), None);
    }
}
