//! Java's string hash, which tags codes and index keys are made of.

use super::properties::{self, property};

/// `String.hashCode` of Java: over UTF-16 units, `h = 31 * h + unit`, wrapping.
pub fn java_string_hash(text: &str) -> i32 {
    extend_java_hash(0, text.as_bytes())
}

/// The Java hash of a text that hashes to `hash` and then has `more`. What is not UTF-8 counts as U+FFFD.
pub fn extend_java_hash(hash: i32, more: &[u8]) -> i32 {
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

/// The tags code of a `TAGS` value: its Java hash, sign-extended; zero for no tags.
///
/// Reference: `MessageExtBrokerInner.tagsString2tagsCode` (common), 5.5.0.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_string_hash(tags))
}

/// The tags code of a message with these encoded `properties`.
pub fn tags_code_of_properties(properties: &[u8]) -> i64 {
    match property(properties, properties::TAGS) {
        Some(tags) => tags_code_of_value(tags),
        None => 0,
    }
}

/// The tags code of a `TAGS` value as it stands in properties text.
pub fn tags_code_of_value(tags: &[u8]) -> i64 {
    i64::from(extend_java_hash(0, tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_known_strings_equals_java() {
        assert_eq!(java_string_hash(""), 0);
        assert_eq!(java_string_hash("TagA"), 2_598_919);
        assert_eq!(java_string_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn hash_counts_utf16_units_not_bytes() {
        // U+1F600 is the surrogate pair D83D DE00.
        let expected = 0xD83D_i32.wrapping_mul(31).wrapping_add(0xDE00);
        assert_eq!(java_string_hash("\u{1F600}"), expected);
    }

    #[test]
    fn negative_tags_codes_are_sign_extended() {
        assert_eq!(tags_code("polygenelubricants"), i64::from(i32::MIN));
    }
}
