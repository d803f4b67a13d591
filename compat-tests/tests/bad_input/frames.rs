//! Frames that are broken, odd, or in pieces.

use std::io::ErrorKind;
use std::time::Duration;

use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::wire::{Command, Conn, frame};

use crate::{TOPIC, assert_served, server};

/// Below this many bytes the reference cannot tell yet whether a connection starts with a PROXY
/// header, and waits: every bad frame is followed by enough.
const PADDING: [u8; 16] = [b' '; 16];
/// The largest frame, its length word included.
const FRAME_LIMIT: i32 = 16 << 20;

/// What a server does with one input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Closed,
    Silent,
    Code(i32),
}

#[test]
fn a_broken_frame_closes_its_connection_on_both_servers() {
    let huge_header = |length: u32| {
        let mut bytes = Command::request(9_999, &[]).encode();
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let deep = format!("{{\"code\":9999,\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("length -1", length_word(-1)),
        ("length -5", length_word(-5)),
        ("length 0", length_word(0)),
        ("length 3, no room for the header's length", length_word(3)),
        ("length above the limit", length_word(FRAME_LIMIT - 3)),
        ("length of all bits", vec![0xff; 64]),
        ("zeros", vec![0; 64]),
        ("header longer than the frame", huge_header(5_000)),
        ("header of 16 MiB in a small frame", huge_header(0x00ff_ffff)),
        ("unknown header form", huge_header(0x0900_0010)),
        ("header that is not JSON", frame(b"hello, this is not JSON", b"")),
        ("half a JSON header", frame(br#"{"code":106,"opaque":1,"fl"#, b"")),
        ("empty header", frame(b"", b"a body")),
        ("header null", frame(b"null", b"")),
        ("header that is a list", frame(b"[]            ", b"")),
        ("header that is a number", frame(b"5             ", b"")),
        ("header that is a text", frame(br#""x"           "#, b"")),
        ("code that is a word", frame(br#"{"code":"abc","opaque":7}"#, b"")),
        ("code beyond 32 bits", frame(br#"{"code":99999999999,"opaque":7}"#, b"")),
        ("ext fields that are a list", frame(br#"{"code":9999,"extFields":[1]}"#, b"")),
        ("a header of brackets", frame(deep.as_bytes(), b"")),
        ("a header that is not UTF-8", frame(b"{\"code\":9999,\"remark\":\"\xff\xfe\"}", b"")),
        ("binary header of garbage", frame_of_form(1, &[b'x'; 40])),
        ("binary header cut short", frame_of_form(1, &[0; 12])),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    let server = server();
    for addr in [server.broker_addr(), server.vip_addr(), server.namesrv_addr()] {
        let bystander = &mut Conn::connect(&addr);
        for (name, bytes) in &cases {
            assert_eq!(outcome(&addr, bytes), Outcome::Closed, "{name} to {addr}");
            assert_served(bystander, name);
        }
    }
}

#[test]
fn an_odd_header_is_read_as_the_reference_reads_it() {
    let cases: Vec<(&str, &str)> = vec![
        ("nothing but a code", r#"{"code":9999}"#),
        ("a code in quotes", r#"{"code":"9999","opaque":"7"}"#),
        ("blanks and a line feed", "  {\"code\": 9999, \"opaque\": 7}  \n"),
        ("ext fields null", r#"{"code":9999,"extFields":null,"remark":null}"#),
        (
            "ext fields of all types",
            r#"{"code":9999,"extFields":{"a":1,"b":true,"c":null,"d":{"e":1}}}"#,
        ),
        ("an unknown language", r#"{"code":9999,"language":"KLINGON"}"#),
        ("a language by number", r#"{"code":9999,"language":3}"#),
        ("unknown members", r#"{"code":9999,"more":{"a":[1,2]},"serializeTypeCurrentRPC":"JSON"}"#),
        ("a member twice", r#"{"code":9999,"opaque":7,"flag":0,"flag":0}"#),
    ];
    let server = server();
    for addr in [server.broker_addr(), server.namesrv_addr()] {
        for (name, header) in &cases {
            let bytes = frame(header.as_bytes(), b"");
            let expected = Outcome::Code(response::REQUEST_CODE_NOT_SUPPORTED);
            assert_eq!(outcome(&addr, &bytes), expected, "{name} to {addr}");
        }
        let bytes = frame(b"{}            ", b"");
        assert_eq!(outcome(&addr, &bytes), Outcome::Code(3), "code 0 to {addr}");
    }
}

#[test]
fn half_a_frame_and_silence_costs_nothing_and_nobody() {
    let server = server();
    let whole = ops::send_request(TOPIC, 3, "", b"slow").encode();
    let mut announced = length_word(FRAME_LIMIT - 4);
    announced.truncate(20);
    let before = resident_bytes(server.broker_pid());
    // The kinds of silence: inside the length, the header, the body, and a frame of 16 MiB.
    let mut silent: Vec<Conn> = Vec::new();
    for prefix in [&whole[..2], &whole[..40], &whole[..whole.len() - 1], &announced] {
        for _ in 0..50 {
            let mut conn = Conn::connect(&server.broker_addr());
            conn.write_raw(prefix).unwrap();
            silent.push(conn);
        }
    }
    let mut other = Conn::connect(&server.broker_addr());
    let offset = ops::send(&mut other, TOPIC, 3, "", b"served");
    assert_served(&mut other, "half frames");
    let grown = resident_bytes(server.broker_pid()).saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes for 200 half frames");
    // Whoever ends the frame after all is served too.
    let late = &mut silent[100];
    late.write_raw(&whole[whole.len() - 1..]).unwrap();
    let answer = late.receive().unwrap();
    assert_eq!((answer.code, answer.number("queueOffset")), (response::SUCCESS, offset + 1));
    // And whoever leaves in the middle of one is forgotten.
    drop(silent);
    assert_served(&mut other, "half frames, closed");
}

#[test]
fn a_frame_in_many_pieces_and_many_frames_in_one_piece_are_the_same() {
    let server = server();
    let mut conn = Conn::connect(&server.broker_addr());
    let request = Command { opaque: 70, ..ops::send_request(TOPIC, 3, "", b"piece by piece") };
    for byte in request.encode() {
        conn.write_raw(&[byte]).unwrap();
    }
    let answer = conn.receive().unwrap();
    assert_eq!((answer.code, answer.opaque), (response::SUCCESS, 70));
    let many: Vec<u8> = (100..400)
        .flat_map(|opaque| Command { opaque, ..Command::request(9_999, &[]) }.encode())
        .collect();
    conn.write_raw(&many).unwrap();
    let mut opaques: Vec<i32> = (0..300).map(|_| conn.receive().unwrap().opaque).collect();
    opaques.sort_unstable();
    assert_eq!(opaques, (100..400).collect::<Vec<_>>());
}

/// Sends bytes on a new connection and tells what comes back.
fn outcome(addr: &str, bytes: &[u8]) -> Outcome {
    let mut conn = Conn::connect(addr);
    conn.set_answer_limit(Duration::from_secs(10));
    let padded: Vec<u8> = if bytes.len() < PADDING.len() {
        bytes.iter().chain(&PADDING).copied().collect()
    } else {
        bytes.to_vec()
    };
    // The server may close before it has read everything.
    conn.write_raw(&padded).ok();
    match conn.receive() {
        Ok(answer) => Outcome::Code(answer.code),
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Outcome::Closed,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::Silent,
            _ => panic!("{error}"),
        },
    }
}

fn length_word(length: i32) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([b'x'; 60]);
    bytes
}

fn frame_of_form(form: u8, header: &[u8]) -> Vec<u8> {
    let mut bytes = frame(header, b"");
    bytes[4] = form;
    bytes
}

fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
