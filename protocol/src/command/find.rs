//! Finds the bytes that matter in JSON strings, eight at a time.
//!
//! Most strings of a header end within their first word, so nothing here is set up per call.

const ONES: u64 = 0x0101_0101_0101_0101;

/// Sets the top bit of every byte of `word` that is zero, and no other bit.
const fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7F * ONES;
    !(((word & LOW) + LOW) | word | LOW)
}

fn first(
    bytes: &[u8],
    word_hits: impl Fn(u64) -> u64,
    byte_hits: impl Fn(u8) -> bool,
) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let hits = word_hits(u64::from_be_bytes(*word));
        if hits != 0 {
            return Some(index * 8 + hits.leading_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte_hits(byte)).map(|at| words.len() * 8 + at)
}

/// Position of the first quote or backslash at or behind `at`; the length when there is none.
#[inline(always)]
pub(super) fn quote_or_backslash(bytes: &[u8], at: usize) -> usize {
    const QUOTES: u64 = b'"' as u64 * ONES;
    const BACKSLASHES: u64 = b'\\' as u64 * ONES;
    let mut at = at;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_be_bytes(*word);
        let hits = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES);
        if hits != 0 {
            return at + hits.leading_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// Position of the first byte that a JSON string cannot hold as it is.
pub(super) fn to_escape(bytes: &[u8]) -> Option<usize> {
    const QUOTES: u64 = b'"' as u64 * ONES;
    const BACKSLASHES: u64 = b'\\' as u64 * ONES;
    const CONTROL: u64 = 0xE0 * ONES;
    first(
        bytes,
        |word| {
            zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES) | zero_bytes(word & CONTROL)
        },
        |byte| byte < 0x20 || byte == b'"' || byte == b'\\',
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_at_every_position_or_nowhere() {
        for byte in 0..=255_u8 {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let ends = byte == b'"' || byte == b'\\';
                for from in 0..=at {
                    let found = if ends { at } else { 20 };
                    assert_eq!(quote_or_backslash(&bytes, from), found, "{byte} at {at}");
                }
                let escaped = ends || byte < 0x20;
                assert_eq!(to_escape(&bytes), escaped.then_some(at), "{byte} at {at}");
            }
        }
    }
}
