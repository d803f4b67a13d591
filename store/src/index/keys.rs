//! Under which hashes a message is indexed.

use oxmq_protocol::message::{RecordView, java_string_hash, properties, sys_flag};

/// What tells tags from other keys.
const TAGS_KEY_PREFIX: &[u8] = b"T#";

/// Calls `visit` with every hash under which a message is indexed, the one of its tags last.
///
/// Reference: `IndexService.buildIndex` (store), 5.5.0. Rolled-back messages have no keys; half
/// messages do.
pub(crate) fn for_each_hash(
    topic: &str,
    properties: &[u8],
    sys_flag: i32,
    mut visit: impl FnMut(i32),
) {
    let Some(keys) = Keys::of(properties, sys_flag) else {
        return;
    };
    let topic = TopicHash::of(topic);
    keys.for_each_key(topic, &mut visit);
    if let Some(tags) = keys.tags {
        visit(topic.tags(tags));
    }
}

/// Calls `visit` with the hash of the unique key and of each key of `record`.
pub(crate) fn for_each_key_hash(record: &RecordView<'_>, visit: impl FnMut(i32)) {
    if let Some(keys) = Keys::of(record.properties(), record.sys_flag()) {
        keys.for_each_key(TopicHash::of(record.topic()), visit);
    }
}

/// The hash under which a record's tags are indexed, all of them as one key. Releases before 5.5.0
/// do not have it.
pub(crate) fn tags_key_hash(record: &RecordView<'_>) -> Option<i32> {
    let tags = Keys::of(record.properties(), record.sys_flag())?.tags?;
    Some(TopicHash::of(record.topic()).tags(tags))
}

/// The hash of `topic#key` as index files hold it: never negative.
///
/// Reference: `IndexFile.indexKeyHashMethod` (store), 5.5.0.
pub(crate) fn key_hash(topic: &str, key: &str) -> i32 {
    TopicHash::of(topic).key(key.as_bytes())
}

/// What of a message's properties is indexed.
struct Keys<'a> {
    unique: Option<&'a [u8]>,
    keys: Option<&'a [u8]>,
    tags: Option<&'a [u8]>,
}

impl<'a> Keys<'a> {
    fn of(text: &'a [u8], sys_flag: i32) -> Option<Self> {
        if sys_flag::transaction_type(sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
            return None;
        }
        let mut found = Self { unique: None, keys: None, tags: None };
        for (name, value) in properties::pairs(text) {
            if name == properties::UNIQ_KEY.as_bytes() {
                found.unique = Some(value);
            } else if name == properties::KEYS.as_bytes() {
                found.keys = Some(value);
            } else if name == properties::TAGS.as_bytes() {
                found.tags = Some(value);
            }
        }
        Some(found)
    }

    fn for_each_key(&self, topic: TopicHash, mut visit: impl FnMut(i32)) {
        if let Some(unique) = self.unique {
            visit(topic.key(unique));
        }
        if let Some(keys) = self.keys {
            for key in keys.split(|byte| *byte == b' ').filter(|key| !key.is_empty()) {
                visit(topic.key(key));
            }
        }
    }
}

/// The Java hash of `topic#`, which the hashes of all its keys begin with.
#[derive(Clone, Copy)]
struct TopicHash(i32);

impl TopicHash {
    fn of(topic: &str) -> Self {
        Self(java_string_hash(topic).wrapping_mul(31).wrapping_add(i32::from(b'#')))
    }

    fn key(self, key: &[u8]) -> i32 {
        extend(self.0, key).checked_abs().unwrap_or(0)
    }

    fn tags(self, tags: &[u8]) -> i32 {
        Self(extend(self.0, TAGS_KEY_PREFIX)).key(tags)
    }
}

/// The Java hash of a text that hashes to `hash` and then has `more`.
fn extend(hash: i32, more: &[u8]) -> i32 {
    if !more.is_ascii() {
        let text = String::from_utf8_lossy(more);
        return text.encode_utf16().fold(hash, |hash, unit| step(hash, i32::from(unit)));
    }
    // Four at a time: each step would wait for the one before.
    let (fours, rest) = more.as_chunks::<4>();
    let hash = fours.iter().fold(hash, |hash, four| {
        let [a, b, c, d] = four.map(i32::from);
        let sum = a.wrapping_mul(29_791) + b * 961 + c * 31 + d;
        hash.wrapping_mul(923_521).wrapping_add(sum)
    });
    rest.iter().fold(hash, |hash, byte| step(hash, i32::from(*byte)))
}

fn step(hash: i32, unit: i32) -> i32 {
    hash.wrapping_mul(31).wrapping_add(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_hash_is_that_of_topic_and_key_joined() {
        for (topic, key) in [
            ("TopicA", "k1"),
            ("t", ""),
            ("\u{e9}", "\u{1F600}"),
            ("a", "bcdefgh"),
            ("%RETRY%group", "7F0000010001000000000001\u{7f}~zz"),
        ] {
            let joined = java_string_hash(&format!("{topic}#{key}"));
            assert_eq!(key_hash(topic, key), joined.checked_abs().unwrap_or(0), "{topic} {key}");
        }
    }

    #[test]
    fn message_is_indexed_by_unique_key_keys_and_tags() {
        let text = b"KEYS\x01k1  k2\x02TAGS\x01A\x02UNIQ_KEY\x01u\x02";
        let mut hashes = Vec::new();
        for_each_hash("t", text, 0, |hash| hashes.push(hash));
        assert_eq!(hashes, ["u", "k1", "k2", "T#A"].map(|key| key_hash("t", key)));
        for_each_hash("t", text, sys_flag::TRANSACTION_ROLLBACK, |_| panic!("rolled back"));
    }
}
