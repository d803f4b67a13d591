//! Frames that other implementations sent: they are read, mean the same once written again, and have
//! the same bytes where the reference's own code wrote them.
//!
//! `frames` has a file for each client and version, a line for each frame: the call that it is
//! of, who sent it to whom, for an answer the code that it answers, header and body. They were
//! recorded by a proxy between clients and the servers of the reference; `README.md` says how to do
//! it again.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, too.

mod bodies;
#[path = "../captured/mod.rs"]
mod captured;
mod headers;

use std::collections::BTreeSet;

use captured::{Captured, captured};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::ext_fields::ExtFields;
use oxmq_protocol::frame::{HeaderForm, split};
use serde_json::{Map, Value};

/// The request codes that are absent here, or those that are not.
fn codes(are_absent: bool) -> BTreeSet<i32> {
    let table = include_str!("../../../COMPATIBILITY.md");
    let rows = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = rows.filter(|row| row.get(4).is_some_and(|it| (*it == "absent") == are_absent));
    rows.filter_map(|row| row[1].parse().ok()).collect()
}

/// Has `check` look at the frames that `concerns` names, and hear whether their code is one that no server
/// here serves: headers and bodies of those need not be declared. Which it has seen, and whether as answers.
fn check_each(
    concerns: impl Fn(&CommandView<'_>) -> bool,
    check: impl Fn(&Captured, &CommandView<'_>, bool),
) -> BTreeSet<(i32, bool)> {
    let absent = codes(true);
    assert!(absent.contains(&902), "{absent:?}");
    let mut seen = BTreeSet::new();
    for captured in &captured() {
        let view = captured.view();
        if concerns(&view) {
            seen.insert((captured.request_code, view.is_response()));
            check(captured, &view, absent.contains(&captured.request_code));
        }
    }
    seen
}

#[test]
fn each_code_that_is_served_has_frames_of_a_request_and_unless_nobody_wants_one_of_an_answer() {
    let (mut asked, mut wanted, mut answered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for captured in captured() {
        let view = captured.view();
        if view.is_response() {
            answered.insert(captured.request_code);
            continue;
        }
        asked.insert(captured.request_code);
        if !view.is_oneway() {
            wanted.insert(captured.request_code);
        }
    }
    let served = codes(false);
    assert!(served.len() > 100, "{served:?}");
    let none = BTreeSet::new();
    assert_eq!(&served - &asked, none, "no request");
    assert_eq!(&(&served & &wanted) - &answered, none, "no answer");
}

#[test]
fn frames_mean_the_same_once_written_again_in_either_form() {
    for captured in captured() {
        let command = captured.view().to_command();
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            if form == HeaderForm::RocketMq && i16::try_from(command.code).is_err() {
                // The binary form has no room for these codes; the reference cuts them off as well.
                continue;
            }
            let command = RemotingCommand { form, ..command.clone() };
            let again = decode(&encode(&command));
            match form {
                HeaderForm::Json => assert_eq!(again, command, "{}", captured.at),
                HeaderForm::RocketMq => {
                    assert_eq!(again, without_empty_texts(command), "{}", captured.at)
                }
            }
        }
    }
}

/// An empty text is none in the binary form, here and in the reference.
fn without_empty_texts(mut command: RemotingCommand) -> RemotingCommand {
    command.remark = command.remark.filter(|remark| !remark.is_empty());
    let mut fields = ExtFields::default();
    for (name, value) in command.ext_fields.iter().filter(|(_, value)| !value.is_empty()) {
        fields.insert(name, value);
    }
    command.ext_fields = fields;
    command
}

#[test]
fn headers_of_the_reference_have_the_same_bytes_but_for_the_order_of_fields() {
    let mut count = 0;
    for captured in captured().iter().filter(|captured| captured.by_reference) {
        let view = captured.view();
        let sorted = match view.form {
            HeaderForm::Json => sorted_json(captured.frame().header),
            HeaderForm::RocketMq => sorted_binary(captured.frame().header),
        };
        let again = encode(&view.to_command());
        let again = split(&again).unwrap().unwrap().0;
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(text(again.header), text(&sorted), "{}", captured.at);
        assert_eq!(again.body, view.body);
        count += 1;
    }
    assert!(count > 300, "{count}");
}

/// The same JSON with the ext fields in the order of their names, and with an empty object where there
/// are none: our answers always have one, as some clients look into it unchecked.
fn sorted_json(header: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(header).unwrap();
    // A map of `serde_json` is sorted, and so are the members of a command.
    let sorted = value.to_string();
    assert_eq!(sorted.len(), header.len(), "{}", header.escape_ascii());
    value.as_object_mut().unwrap().entry("extFields").or_insert_with(|| Map::new().into());
    value.to_string().into_bytes()
}

/// The same binary header with the ext fields in the order of their names.
fn sorted_binary(header: &[u8]) -> Vec<u8> {
    let number = |at: usize, width: usize| {
        header[at..at + width].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    // Code, language, version, opaque and flag.
    let fields_at = 2 + 1 + 2 + 4 + 4 + 4 + number(13, 4) + 4;
    assert_eq!(number(fields_at - 4, 4), header.len() - fields_at);
    let mut fields = Vec::new();
    let mut at = fields_at;
    while at < header.len() {
        let value_at = at + 2 + number(at, 2);
        let end = value_at + 4 + number(value_at, 4);
        // A field without a value is read as none.
        if end > value_at + 4 {
            fields.push((&header[at + 2..value_at], &header[at..end]));
        }
        at = end;
    }
    fields.sort_unstable();
    let fields: Vec<u8> = fields.iter().flat_map(|(_, bytes)| bytes.iter()).copied().collect();
    [&header[..fields_at - 4], &(fields.len() as u32).to_be_bytes(), &fields].concat()
}

fn encode(command: &RemotingCommand) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> RemotingCommand {
    RemotingCommand::decode(split(bytes).unwrap().unwrap().0).unwrap()
}
