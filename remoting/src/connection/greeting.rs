//! What a peer speaks, by the first bytes that it sends.
//!
//! A frame begins with a zero byte, as its length is under 16 MiB. Whatever else comes first is a
//! proxy's note of whom it speaks for, or somebody who meant another server.
//!
//! Reference: `HandshakeHandler`, `HAProxyMessageHandler` (remoting), 5.5.0; the PROXY protocol,
//! versions 1 and 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a connection begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// With a frame.
    Frame,
    /// With too little to tell.
    Incomplete,
    /// With a PROXY header of this many bytes, which may name the client behind the proxy.
    Proxied { bytes: usize, source: Option<SocketAddr> },
    /// With a TLS handshake.
    Tls,
    /// With something that this server does not speak.
    Foreign(&'static str),
}

const V1_START: &[u8] = b"PROXY ";
const MAX_V1_BYTES: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;
/// Addresses take 36 bytes at most; the rest is notes that nobody here reads.
const MAX_V2_BYTES: usize = 4 * 1024;
const TLS_HANDSHAKE: u8 = 0x16;

/// Looks at the first bytes of a connection.
pub(super) fn read(buffer: &[u8]) -> Greeting {
    let Some(first) = buffer.first() else { return Greeting::Incomplete };
    match first {
        0 => Greeting::Frame,
        &TLS_HANDSHAKE => Greeting::Tls,
        _ if starts_with(buffer, V1_START) => version_1(buffer),
        _ if starts_with(buffer, V2_SIGNATURE) => version_2(buffer),
        _ => Greeting::Foreign(foreign(buffer)),
    }
}

/// Tells whether `buffer` begins like `start`, as far as it goes.
fn starts_with(buffer: &[u8], start: &[u8]) -> bool {
    let common = buffer.len().min(start.len());
    buffer[..common] == start[..common]
}

fn foreign(buffer: &[u8]) -> &'static str {
    if buffer.starts_with(b"PRI * HTTP/2") {
        return "it speaks HTTP/2 or gRPC: this port speaks the remoting protocol only";
    }
    let methods: [&[u8]; 6] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"CONN"];
    if methods.iter().any(|method| starts_with(buffer, method)) {
        return "it speaks HTTP: this port speaks the remoting protocol only";
    }
    "it does not begin with a frame"
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 1024 10911\r\n`, or `PROXY UNKNOWN ...\r\n`.
fn version_1(buffer: &[u8]) -> Greeting {
    let window = &buffer[..buffer.len().min(MAX_V1_BYTES)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < MAX_V1_BYTES {
            Greeting::Incomplete
        } else {
            Greeting::Foreign("its PROXY header does not end")
        };
    };
    let bytes = end + 2;
    let words = std::str::from_utf8(&window[..end]).unwrap_or_default();
    let words: Vec<_> = words.split(' ').collect();
    match words[..] {
        [_, "UNKNOWN", ..] => Greeting::Proxied { bytes, source: None },
        [_, "TCP4" | "TCP6", source, _, port, _] => match (source.parse(), port.parse()) {
            (Ok(ip), Ok(port)) => {
                Greeting::Proxied { bytes, source: Some(SocketAddr::new(ip, port)) }
            }
            _ => Greeting::Foreign("its PROXY header has a bad address"),
        },
        _ => Greeting::Foreign("its PROXY header is malformed"),
    }
}

/// Signature, version and command, family, length of the rest; then addresses and notes.
fn version_2(buffer: &[u8]) -> Greeting {
    let Some(head) = buffer.first_chunk::<V2_HEAD_BYTES>() else { return Greeting::Incomplete };
    let bytes = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if bytes > MAX_V2_BYTES {
        return Greeting::Foreign("its PROXY header is too long");
    }
    let Some(rest) = buffer.get(V2_HEAD_BYTES..bytes) else { return Greeting::Incomplete };
    let source = match (head[12], head[13]) {
        // The proxy speaks for itself, as health checks do.
        (0x20, _) => None,
        (0x21, 0x11) => rest
            .first_chunk::<12>()
            .map(|at| address(Ipv4Addr::from([at[0], at[1], at[2], at[3]]).into(), [at[8], at[9]])),
        (0x21, 0x21) => rest.first_chunk::<36>().map(|at| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&at[..16]);
            address(Ipv6Addr::from(octets).into(), [at[32], at[33]])
        }),
        // Another family: there is no address to take.
        (0x21, _) => None,
        _ => return Greeting::Foreign("its PROXY header has an unknown version"),
    };
    Greeting::Proxied { bytes, source }
}

fn address(ip: IpAddr, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(ip, u16::from_be_bytes(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn frame_begins_with_a_zero_byte() {
        assert_eq!(read(&[0, 0, 1]), Greeting::Frame);
        assert_eq!(read(&[]), Greeting::Incomplete);
        assert_eq!(read(&[0x16, 3, 1]), Greeting::Tls);
    }

    #[test]
    fn version_1_names_the_client() {
        let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 10911\r\n";
        let source = Some("192.0.2.7:5555".parse().unwrap());
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 9]);
        assert_eq!(read(&bytes), Greeting::Proxied { bytes: header.len(), source });
        for cut in 1..header.len() {
            assert_eq!(read(&header[..cut]), Greeting::Incomplete, "cut at {cut}");
        }
        let unknown = b"PROXY UNKNOWN\r\n";
        assert_eq!(read(unknown), Greeting::Proxied { bytes: unknown.len(), source: None });
    }

    #[test]
    fn version_2_names_the_client() {
        let rest = [192, 0, 2, 7, 192, 0, 2, 1, 0x15, 0xB3, 0x2A, 0x9F, 4, 0, 1, 9];
        let bytes = v2(0x21, 0x11, &rest);
        let source = Some("192.0.2.7:5555".parse().unwrap());
        assert_eq!(read(&bytes), Greeting::Proxied { bytes: bytes.len(), source });
        for cut in 1..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Greeting::Incomplete, "cut at {cut}");
        }
        let mut rest = [0; 36];
        rest[15] = 1;
        rest[33] = 80;
        let source = Some("[::1]:80".parse().unwrap());
        assert_eq!(read(&v2(0x21, 0x21, &rest)), Greeting::Proxied { bytes: 52, source });
        assert_eq!(read(&v2(0x20, 0, &[])), Greeting::Proxied { bytes: 16, source: None });
    }

    #[test]
    fn others_are_told_apart() {
        for (bytes, word) in [
            (&b"GET / HTTP/1.1\r\n"[..], "HTTP:"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
            (b"SSH-2.0-x", "frame"),
            (b"PROXY TCP4 nowhere here 1 2\r\n", "bad address"),
            (b"PROXY TCP9\r\n", "malformed"),
        ] {
            match read(bytes) {
                Greeting::Foreign(what) => assert!(what.contains(word), "{what}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(read(&[b'P'; 200]), Greeting::Foreign(_)));
        assert!(matches!(read(&[&b"PROXY "[..], &[b'x'; 200]].concat()), Greeting::Foreign(_)));
        assert!(matches!(read(&v2(0x31, 0x11, &[0; 12])), Greeting::Foreign(_)));
        assert!(matches!(read(&v2(0x21, 0x11, &[0; 5000])), Greeting::Foreign(_)));
    }

    #[test]
    fn changed_greetings_are_read_or_refused_and_never_longer_than_what_came() {
        let mut seeds = vec![
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 10911\r\n\0\0".to_vec(),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1024 10911\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
        ];
        for (family, bytes) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
            seeds.push(v2(0x21, family, &vec![7; bytes]));
        }
        // Marsaglia's xorshift: the same inputs on every machine.
        let mut state = 0x6f78_6d71_0002_u64;
        let mut below = move |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound as u64) as usize
        };
        for _ in 0..20_000 {
            let mut input = seeds[below(seeds.len())].clone();
            for _ in 0..=below(3) {
                let at = below(input.len());
                match below(3) {
                    0 => input[at] = below(256) as u8,
                    1 => input.truncate(at.max(1)),
                    _ => input.insert(at, b" \r\n:1"[below(5)]),
                }
            }
            if let Greeting::Proxied { bytes, .. } = read(&input) {
                assert!(bytes <= input.len(), "{}", input.escape_ascii());
            }
        }
    }
}
