//! One recording as a file: a line for the client, then a line for each frame.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::path::Path;

use oxmq_compat_tests::proxy::Recorded;
use oxmq_compat_tests::wire::Head;
use serde_json::{Map, Value, json};

/// Frames kept of one code, sender and set of fields, however much their bodies differ.
const MOST_OF_A_KIND: usize = 4;
/// Larger ones show nothing that smaller ones do not.
const MAX_FRAME_BYTES: usize = 64 << 10;

/// Writes what a client and its servers said to each other.
pub(crate) fn write(name: &str, client: &str, version: &str, form: &str, recorded: &[Recorded]) {
    let first = json!({
        "client": client, "version": version, "form": form, "servers": "Apache RocketMQ 5.5.0",
    });
    let mut text = format!("{first}\n");
    let mut kept: HashMap<String, HashMap<String, usize>> = HashMap::new();
    let mut count = 0;
    for frame in recorded {
        let (header, body) = parts(&frame.frame);
        let fields = Head::of(&frame.frame).unwrap().fields;
        let kind = format!("{} {:?} {} {fields:?}", frame.from, frame.answers, frame.code);
        let shapes = kept.entry(kind).or_default();
        let repeated = shapes.contains_key(&shape(body)) || shapes.len() >= MOST_OF_A_KIND;
        if repeated || frame.frame.len() > MAX_FRAME_BYTES {
            continue;
        }
        shapes.insert(shape(body), 1);
        let mut line = Map::new();
        line.insert("call".into(), frame.call.clone().into());
        line.insert("from".into(), frame.from.clone().into());
        line.insert("to".into(), frame.to.clone().into());
        if let Some(answers) = frame.answers {
            line.insert("answers".into(), answers.into());
        }
        line.insert("form".into(), frame.frame[4].into());
        insert(&mut line, "header", header);
        insert(&mut line, "body", body);
        writeln!(text, "{}", Value::Object(line)).unwrap();
        count += 1;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden/frames");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.jsonl")), &text).unwrap();
    println!("{name}: {count} of {} frames, {} bytes", recorded.len(), text.len());
}

fn parts(frame: &[u8]) -> (&[u8], &[u8]) {
    let length = frame[5..8].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    frame[8..].split_at(length)
}

/// As text where it is one, which tells a reader more than digits do.
fn insert(line: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    let is_binary = |byte: &u8| *byte < b' ' && !b"\n\r\t".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok("") => {}
        Ok(text) if !bytes.iter().any(is_binary) => {
            line.insert(name.into(), text.replace(&own_address(), "127.0.0.1").into());
        }
        _ => {
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            line.insert(format!("{name}_hex"), hex.into());
        }
    }
}

/// The address that some clients take for their names. Nothing is sent.
fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    match socket.connect("192.0.2.1:9") {
        Ok(()) => socket.local_addr().unwrap().ip().to_string(),
        Err(_) => "127.0.0.1".to_owned(),
    }
}

/// What is left of a JSON text without its values; other texts are alike, and so is all else.
fn shape(body: &[u8]) -> String {
    if body.iter().any(|byte| *byte < b' ') && !body.starts_with(b"{") {
        return "binary".to_owned();
    }
    let mut shape = String::new();
    let mut in_text = None;
    for &byte in body.iter().take_while(|_| body.starts_with(b"{")) {
        match (in_text, byte) {
            (None, b'"') => in_text = Some(shape.ends_with(':')),
            (Some(_), b'"') => in_text = None,
            (Some(true), _) | (None, b'0'..=b'9') => {}
            _ => shape.push(char::from(byte)),
        }
    }
    shape
}
