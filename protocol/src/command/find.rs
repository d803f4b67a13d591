//! Finds the bytes that matter in JSON strings and in properties, eight at a time.
//!
//! Most strings of a header end within their first word, so nothing here is set up per call.

const ONES: u64 = 0x0101_0101_0101_0101;

const TOPS: u64 = 0x80 * ONES;
const QUOTES: u64 = b'"' as u64 * ONES;
const BACKSLASHES: u64 = b'\\' as u64 * ONES;
const BLANKS: u64 = b' ' as u64 * ONES;

/// Sets the top bit of the first byte of `word` that is zero, and perhaps of some behind it.
const fn zero_byte(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

/// Sets the top bit of the first byte that is a quote or backslash, and perhaps of some behind it.
const fn ends(word: u64) -> u64 {
    (zero_byte(word ^ QUOTES) | zero_byte(word ^ BACKSLASHES)) & TOPS
}

/// Eight bytes, the first of them lowest.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    #[expect(clippy::little_endian_bytes, reason = "the first hit is then the lowest one")]
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Position of the first quote or backslash at or behind `at`; the length when there is none.
#[inline(always)]
pub(super) fn quote_or_backslash(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(word) = word(bytes, at) {
        let hits = ends(word);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// Position of the first `BYTE`; the length when there is none.
#[inline(always)]
pub(crate) fn byte<const BYTE: u8>(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = word(bytes, at) {
        let hits = zero_byte(word ^ (BYTE as u64 * ONES)) & TOPS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&other| other != BYTE) {
        at += 1;
    }
    at
}

/// Position behind the last `BYTE`; zero when there is none.
#[inline(always)]
pub(crate) fn behind_last<const BYTE: u8>(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    // The last byte of a word is lowest here.
    while let Some(word) = bytes.get(..end).and_then(<[u8]>::last_chunk) {
        let hits = zero_byte(u64::from_be_bytes(*word) ^ (BYTE as u64 * ONES)) & TOPS;
        if hits != 0 {
            return end - hits.trailing_zeros() as usize / 8;
        }
        end -= 8;
    }
    while end > 0 && bytes.get(end - 1).is_some_and(|&other| other != BYTE) {
        end -= 1;
    }
    end
}

/// Position of the first byte that a JSON string cannot hold as it is; the length when there is none.
#[inline(always)]
pub(super) fn to_escape(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = word(bytes, at) {
        // What borrows and has no top bit is below a blank.
        let hits = ends(word) | (word.wrapping_sub(BLANKS) & !word & TOPS);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let needs = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    while bytes.get(at).is_some_and(|&byte| !needs(byte)) {
        at += 1;
    }
    at
}

/// Tells whether all of `bytes`, which are few as a rule, are ASCII.
#[inline(always)]
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(0, |all, word| all | u64::from_be_bytes(*word));
    let rest = rest.iter().fold(0, |all, byte| all | byte);
    words & TOPS == 0 && rest < 0x80
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
                let found = if byte == 2 { at } else { 20 };
                assert_eq!(self::byte::<2>(&bytes), found, "{byte} at {at}");
                let behind = if byte == 2 { at + 1 } else { 0 };
                assert_eq!(behind_last::<2>(&bytes), behind, "{byte} at {at}");
                let escaped = ends || byte < 0x20;
                assert_eq!(is_ascii(&bytes), byte < 0x80, "{byte} at {at}");
                let found = if escaped { at } else { 20 };
                assert_eq!(to_escape(&bytes), found, "{byte} at {at}");
            }
        }
    }
}
