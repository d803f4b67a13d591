//! Under which hashes a message is indexed.

use oxmq_protocol::message::{
    RecordView, extend_java_hash, java_string_hash, properties, sys_flag,
};

/// What tells tags from other keys.
const TAGS_KEY_PREFIX: &[u8] = b"T#";

/// Calls `visit` with every hash under which a message is indexed, the one of its tags last.
///
/// Reference: `IndexService.buildIndex` (store), 5.5.0.
pub(crate) fn for_each_hash(topic: &str, properties: &[u8], sys_flag: i32, visit: impl FnMut(i32)) {
    Keys::of(properties).for_each_hash(topic, sys_flag, visit);
}

/// Calls `visit` with the hash of the unique key and of each key of `record`.
pub(crate) fn for_each_key_hash(record: &RecordView<'_>, visit: impl FnMut(i32)) {
    if is_indexed(record.sys_flag()) {
        Keys::of(record.properties()).for_each_key(TopicHash::of(record.topic()), visit);
    }
}

/// The hash under which a record's tags are indexed, all of them as one key. Releases before 5.5.0
/// do not have it.
pub(crate) fn tags_key_hash(record: &RecordView<'_>) -> Option<i32> {
    let tags = Keys::of(record.properties()).tags.filter(|_| is_indexed(record.sys_flag()))?;
    Some(TopicHash::of(record.topic()).tags(tags))
}

/// The hash of `topic#key` as index files hold it: never negative.
///
/// Reference: `IndexFile.indexKeyHashMethod` (store), 5.5.0.
pub(crate) fn key_hash(topic: &str, key: &str) -> i32 {
    TopicHash::of(topic).key(key.as_bytes())
}

/// Rolled-back messages are not indexed; half messages are.
fn is_indexed(sys_flag: i32) -> bool {
    sys_flag::transaction_type(sys_flag) != sys_flag::TRANSACTION_ROLLBACK
}

/// What of a message's properties is indexed.
#[derive(Debug, Default)]
pub(crate) struct Keys<'a> {
    unique: Option<&'a [u8]>,
    keys: Option<&'a [u8]>,
    pub(crate) tags: Option<&'a [u8]>,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in properties::pairs(text) {
            found.note(name, value);
        }
        found
    }

    /// Takes what one pair says.
    #[inline]
    pub(crate) fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"UNIQ_KEY" => self.unique = Some(value),
            b"KEYS" => self.keys = Some(value),
            b"TAGS" => self.tags = Some(value),
            _ => {}
        }
    }

    /// Calls `visit` with every hash under which a message of `topic` is indexed, the one of its tags last.
    pub(crate) fn for_each_hash(&self, topic: &str, sys_flag: i32, mut visit: impl FnMut(i32)) {
        if !is_indexed(sys_flag) {
            return;
        }
        let topic = TopicHash::of(topic);
        self.for_each_key(topic, &mut visit);
        if let Some(tags) = self.tags {
            visit(topic.tags(tags));
        }
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
        Self(extend_java_hash(java_string_hash(topic), b"#"))
    }

    fn key(self, key: &[u8]) -> i32 {
        extend_java_hash(self.0, key).checked_abs().unwrap_or(0)
    }

    fn tags(self, tags: &[u8]) -> i32 {
        Self(extend_java_hash(self.0, TAGS_KEY_PREFIX)).key(tags)
    }
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
