//! Bytes as text (RFC 4648, section 4), as fastjson writes them.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes `bytes`, padded.
pub fn encode(bytes: &[u8]) -> String {
    encode_with(ALPHABET, bytes)
}

/// Reads text with or without padding; `None` when it is no Base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    decode_with(ALPHABET, text)
}

/// [`encode`] in another alphabet.
pub(crate) fn encode_with(alphabet: &[u8; 64], bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = 0_u32;
        for at in 0..3 {
            word = (word << 8) | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            let is_padding = at > chunk.len();
            let sextet = (word >> (18 - 6 * at)) & 63;
            text.push(if is_padding { '=' } else { char::from(alphabet[sextet as usize]) });
        }
    }
    text
}

/// [`decode`] in another alphabet.
pub(crate) fn decode_with(alphabet: &[u8; 64], text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut word, mut bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let sextet = alphabet.iter().position(|letter| *letter == digit)?;
        word = ((word << 6) | sextet as u32) & 0xFF_FFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_standard_are_encoded_as_it_says_and_read_back() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(text.as_bytes()), encoded);
            assert_eq!(decode(encoded).unwrap(), text.as_bytes());
        }
        assert_eq!(encode(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
