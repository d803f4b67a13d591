//! The frames in `golden/frames`, read.
#![allow(dead_code)] // Not every test looks at everything.

use std::path::Path;

use oxmq_protocol::command::CommandView;
use oxmq_protocol::frame::{Frame, split};
use serde_json::Value;

/// One frame, and where it comes from.
pub(crate) struct Captured {
    /// File and line, for messages.
    pub(crate) at: String,
    /// Code of the request that it is or answers.
    pub(crate) request_code: i32,
    /// Tells whether code of the reference wrote it, of any version.
    pub(crate) by_reference: bool,
    /// Tells whether code of the reference wrote it, of the current version.
    pub(crate) by_current_reference: bool,
    /// The frame, its length included.
    pub(crate) bytes: Vec<u8>,
}

impl Captured {
    /// The command in it.
    pub(crate) fn view(&self) -> CommandView<'_> {
        CommandView::decode(self.frame()).unwrap_or_else(|error| panic!("{}: {error}", self.at))
    }

    /// Its parts.
    pub(crate) fn frame(&self) -> Frame<'_> {
        split(&self.bytes).unwrap().unwrap().0
    }

    /// Tells whether it is an answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.view().is_response()
    }
}

/// All of them.
pub(crate) fn captured() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/frames");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Captured> {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let first = lines.next().unwrap();
    let is_java = ["java", "broker", "slave"].iter().any(|start| name.starts_with(start));
    let is_current = is_java && first["version"] == "5.5.0";
    let frames = lines.enumerate().map(|(index, line)| {
        let by_server = line["from"] != "client";
        let bytes = frame(&line);
        let mut captured = Captured {
            at: format!("{name}:{} ({})", index + 2, line["call"].as_str().unwrap()),
            request_code: 0,
            by_reference: is_java || by_server,
            by_current_reference: is_current || by_server,
            bytes,
        };
        let view = captured.view();
        let (is_answer, code) = (view.is_response(), view.code);
        drop(view);
        assert_eq!(is_answer, line["answers"].is_i64(), "{}", captured.at);
        captured.request_code = line["answers"].as_i64().map_or(code, |code| code as i32);
        captured
    });
    frames.collect()
}

fn frame(line: &Value) -> Vec<u8> {
    let (header, body) = (part(line, "header"), part(line, "body"));
    let mut bytes = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
    bytes[4] = line["form"].as_u64().unwrap() as u8;
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&body);
    bytes
}

fn part(line: &Value, name: &str) -> Vec<u8> {
    if let Some(text) = line[name].as_str() {
        return text.as_bytes().to_vec();
    }
    let digits = line[format!("{name}_hex")].as_str().unwrap_or_default().as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
