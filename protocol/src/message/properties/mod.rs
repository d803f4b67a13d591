//! Properties text: `name 0x01 value 0x02` for each pair.
//!
//! Java keeps properties in a map and re-encodes it at every step. Here they stay text: reading is
//! a scan, and the few edits a broker makes are edits of the bytes. The reading rules are those of
//! the Java decoder: a pair with an empty name or an empty value does not exist, of several pairs
//! with one name the last counts, and the separator of the last pair may be missing.
//!
//! Reference: `MessageDecoder.string2messageProperties` (common), 5.5.0.

mod names;

use crate::command::find;

pub use names::*;

/// Ends each pair.
pub const PAIR_SEPARATOR: u8 = 2;
/// Stands between a name and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Bytes of a whole property CRC pair, which ends the properties of a record that has one.
pub const PROPERTY_CRC_TAIL_BYTES: usize = 20;

/// Value of the property `name` in encoded `properties`, if there is one.
pub fn property<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = name.as_bytes();
    let mut rest = properties;
    // From the end, as the last of several pairs counts.
    while !rest.is_empty() && !name.is_empty() {
        let segment;
        (rest, segment) = split_last_segment(rest);
        // The byte behind the name tells most of the others apart.
        let is_it = segment.get(name.len()) == Some(&NAME_VALUE_SEPARATOR)
            && segment.len() > name.len() + 1
            && segment.starts_with(name);
        if is_it {
            return Some(&segment[name.len() + 1..]);
        }
    }
    None
}

/// Value of the property `name` as text, if there is one and it is UTF-8.
pub fn property_str<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(property(properties, name)?).ok()
}

/// The pairs of encoded `properties` in order, as `(name, value)`.
pub fn pairs(properties: &[u8]) -> Pairs<'_> {
    Pairs { rest: properties }
}

/// Iterator over the pairs of encoded properties, see [`pairs`].
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (segment, rest) = split_segment(self.rest);
            self.rest = rest;
            if let Some(pair) = split_pair(segment) {
                return Some(pair);
            }
        }
        None
    }
}

/// Appends a pair. A pair of the same name that is already there is overruled, not removed.
///
/// An empty name or value appends nothing, because no reader would see the pair. Separator bytes
/// inside of either are the caller's fault: they would read as further pairs.
pub fn append(properties: &mut Vec<u8>, name: &str, value: &[u8]) {
    if name.is_empty() || value.is_empty() {
        return;
    }
    if properties.last().is_some_and(|last| *last != PAIR_SEPARATOR) {
        properties.push(PAIR_SEPARATOR);
    }
    properties.extend_from_slice(name.as_bytes());
    properties.push(NAME_VALUE_SEPARATOR);
    properties.extend_from_slice(value);
    properties.push(PAIR_SEPARATOR);
}

/// Removes every pair called `name`; the other bytes stay as they are.
pub fn remove(properties: &mut Vec<u8>, name: &str) {
    retain(properties, |this| this != name.as_bytes());
}

/// Keeps the pairs whose name passes `keep`; drops the others and what is no pair.
pub fn retain(properties: &mut Vec<u8>, mut keep: impl FnMut(&[u8]) -> bool) {
    let mut read_at = 0;
    let mut write_at = 0;
    while read_at < properties.len() {
        let (segment, _) = split_segment(&properties[read_at..]);
        let length = segment.len();
        let keeps = split_pair(segment).is_some_and(|(name, _)| keep(name));
        let with_separator = (length + 1).min(properties.len() - read_at);
        if keeps {
            properties.copy_within(read_at..read_at + with_separator, write_at);
            write_at += with_separator;
        }
        read_at += with_separator;
    }
    properties.truncate(write_at);
}

/// Replaces every pair called `name` by one with `value`, at the end.
pub fn set(properties: &mut Vec<u8>, name: &str, value: &[u8]) {
    if property(properties, name).is_some() {
        remove(properties, name);
    }
    append(properties, name, value);
}

/// Splits at the first pair separator: the segment before it, and what follows it.
fn split_segment(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (segment, rest) = bytes.split_at(find::byte::<PAIR_SEPARATOR>(bytes));
    (segment, rest.get(1..).unwrap_or_default())
}

/// Splits at the last pair separator: what precedes it, and the segment behind it.
fn split_last_segment(bytes: &[u8]) -> (&[u8], &[u8]) {
    let begin = find::behind_last::<PAIR_SEPARATOR>(bytes);
    (&bytes[..begin.saturating_sub(1)], &bytes[begin..])
}

fn split_pair(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = segment.iter().position(|byte| *byte == NAME_VALUE_SEPARATOR)?;
    let (name, value) = (&segment[..at], &segment[at + 1..]);
    (!name.is_empty() && !value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        pairs(text.as_bytes()).map(|(name, value)| (text_of(name), text_of(value))).collect()
    }

    #[test]
    fn pairs_follow_the_rules_of_the_java_reader() {
        let kept = [("a".to_owned(), "b".to_owned())];
        for text in [
            "a\u{1}b\u{2}",
            "a\u{1}b",
            "\u{2}\u{2}a\u{1}b\u{2}\u{2}",
            "a\u{1}b\u{2}c\u{1}\u{2}",
            "\u{1}c\u{2}a\u{1}b",
            "nothing\u{2}a\u{1}b",
        ] {
            assert_eq!(read(text), kept, "{text:?}");
        }
        assert_eq!(read("a\u{1}b\u{1}c"), [("a".to_owned(), "b\u{1}c".to_owned())]);
    }

    #[test]
    fn last_of_several_equal_names_wins() {
        for (text, value) in [
            ("a\u{1}1", Some("1")),
            ("a\u{1}1\u{2}a\u{1}\u{2}", Some("1")),
            ("\u{2}a\u{1}b\u{1}c\u{2}\u{2}d", Some("b\u{1}c")),
            ("aa\u{1}1\u{2}b\u{1}a\u{2}a\u{1}", None),
            ("", None),
        ] {
            assert_eq!(property_str(text.as_bytes(), "a"), value, "{text:?}");
            assert_eq!(property(text.as_bytes(), ""), None);
        }
        assert_eq!(property(b"a\x011\x02b\x012\x02a\x013\x02", "a"), Some(&b"3"[..]));
        assert_eq!(property(b"ab\x011\x02", "a"), None);
    }

    #[test]
    fn append_adds_a_missing_separator_first() {
        let mut properties = b"a\x011".to_vec();
        append(&mut properties, "b", b"2");
        append(&mut properties, "c", b"");
        assert_eq!(properties, b"a\x011\x02b\x012\x02");
    }

    #[test]
    fn remove_takes_every_pair_of_the_name_only() {
        let mut properties = b"a\x011\x02aa\x012\x02a\x013\x02b\x014".to_vec();
        remove(&mut properties, "a");
        assert_eq!(properties, b"aa\x012\x02b\x014");
        remove(&mut properties, "b");
        assert_eq!(properties, b"aa\x012\x02");
    }

    #[test]
    fn set_replaces_the_value() {
        let mut properties = b"a\x011\x02b\x012\x02".to_vec();
        set(&mut properties, "a", b"9");
        assert_eq!(properties, b"b\x012\x02a\x019\x02");
    }
}
