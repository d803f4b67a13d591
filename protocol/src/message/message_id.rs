//! Offset message ids.

use std::net::{IpAddr, SocketAddr};

use super::encode::host_bytes;
use super::record::{HOST_V4_BYTES, HOST_V6_BYTES, read_host};

const PHY_OFFSET_BYTES: usize = 8;
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Why text is not an offset message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an offset message id")]
pub struct MessageIdError;

/// The offset id of a record: upper-case hex of store host, port and physical offset.
///
/// 32 characters with an IPv4 host, 56 with an IPv6 host.
///
/// Reference: `MessageDecoder.createMessageId` (common), 5.5.0.
pub fn encode_offset_id(store_host: SocketAddr, phy_offset: i64) -> String {
    let mut text = String::with_capacity(2 * (host_bytes(store_host) + PHY_OFFSET_BYTES));
    push_offset_id(&mut text, store_host, phy_offset);
    text
}

/// Appends to `text` what [`encode_offset_id`] returns.
pub fn push_offset_id(text: &mut String, store_host: SocketAddr, phy_offset: i64) {
    match store_host.ip() {
        IpAddr::V4(ip) => push_hex(text, ip.octets()),
        IpAddr::V6(ip) => push_hex(text, ip.octets()),
    }
    push_hex(text, u32::from(store_host.port()).to_be_bytes());
    push_hex(text, phy_offset.to_be_bytes());
}

/// Store host and physical offset of an offset id, in either letter case.
///
/// Reference: `MessageDecoder.decodeMessageId` (common), 5.5.0.
///
/// # Errors
///
/// When `id` is no offset id.
pub fn decode(id: &str) -> Result<(SocketAddr, i64), MessageIdError> {
    let host_bytes = match id.len() {
        n if n == 2 * (HOST_V4_BYTES + PHY_OFFSET_BYTES) => HOST_V4_BYTES,
        n if n == 2 * (HOST_V6_BYTES + PHY_OFFSET_BYTES) => HOST_V6_BYTES,
        _ => return Err(MessageIdError),
    };
    let mut bytes = [0; HOST_V6_BYTES + PHY_OFFSET_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
        *byte = 16 * hex_digit(pair[0])? + hex_digit(pair[1])?;
    }
    let (host, rest) = bytes.split_at(host_bytes);
    let host = read_host(host).map_err(|_| MessageIdError)?;
    let mut phy_offset = [0; PHY_OFFSET_BYTES];
    phy_offset.copy_from_slice(&rest[..PHY_OFFSET_BYTES]);
    Ok((host, i64::from_be_bytes(phy_offset)))
}

fn push_hex<const BYTES: usize>(text: &mut String, bytes: [u8; BYTES]) {
    let pairs = bytes.map(|byte| [byte >> 4, byte & 15].map(|digit| HEX_UPPER[usize::from(digit)]));
    text.push_str(std::str::from_utf8(pairs.as_flattened()).unwrap_or_default());
}

fn hex_digit(digit: u8) -> Result<u8, MessageIdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(MessageIdError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_id_equals_the_reference_sample() {
        let host = "10.1.2.4:10911".parse().unwrap();
        assert_eq!(encode_offset_id(host, 0), "0A01020400002A9F0000000000000000");
    }

    #[test]
    fn offset_ids_of_both_families_come_back() {
        for host in ["10.1.2.4:10911", "[2001:db8::1]:65535"] {
            let host: SocketAddr = host.parse().unwrap();
            let id = encode_offset_id(host, i64::MAX - 5);
            assert_eq!(decode(&id), Ok((host, i64::MAX - 5)));
            assert_eq!(decode(&id.to_lowercase()), Ok((host, i64::MAX - 5)));
        }
    }

    #[test]
    fn text_that_is_no_offset_id_is_refused() {
        for id in ["", "0A", "0A01020400002A9F00000000000000zz", "0A010204FFFFFFFF0000000000000000"]
        {
            assert_eq!(decode(id), Err(MessageIdError), "{id}");
        }
        assert!(decode(&"\u{e9}".repeat(16)).is_err());
    }
}
