//! Answers without what has to differ between two runs: times, ports, and the order of what has none.

use std::collections::BTreeMap;

use oxmq_compat_tests::Record;
use oxmq_compat_tests::ops::{code, response};
use oxmq_compat_tests::wire::Command;
use serde_json::{Map, Value};

/// Stands for what is not compared.
const MASK: &str = "*";
const LOCAL: &str = "127.0.0.1:";
/// Answers whose body is records, if they are successes.
const WITH_RECORDS: &[i64] =
    &[code::PULL_MESSAGE as i64, 361, QUERY_MESSAGE, VIEW_MESSAGE_BY_ID, code::POP_MESSAGE as i64];
const QUERY_MESSAGE: i64 = 12;
const VIEW_MESSAGE_BY_ID: i64 = 33;
/// Parts of the names of fields with times, rates and places in the log, and of those with addresses in
/// hexadecimal digits.
const MASKED: &[&str] = &[
    "imestamp",
    "Time",
    "time",
    "msgId",
    "MsgId",
    "transactionId",
    "stateVersion",
    "Tps",
    "Phyoffset",
];

/// The fields of an answer, by name.
pub(crate) fn fields(request: i64, answer: &Command) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    fields.insert("code".to_owned(), Value::from(answer.code));
    fields.insert("flag".to_owned(), Value::from(answer.flag));
    fields.insert("remark".to_owned(), answer.remark.as_deref().map_or(Value::Null, text));
    for (name, value) in &answer.ext {
        let value = if is_masked(name) { Value::from(MASK) } else { text(value) };
        fields.insert(format!("ext.{name}"), value);
    }
    let body = &answer.body;
    let value = if answer.code == response::SUCCESS && WITH_RECORDS.contains(&request) {
        Record::decode_all(body).into_iter().map(record).collect()
    } else if let Some(tree) = Reader::read(body) {
        plain(tree)
    } else {
        text(&String::from_utf8_lossy(body))
    };
    flatten("body", value, &mut fields);
    fields
}

/// Objects by the names of their members, so that a difference is named closely.
fn flatten(name: &str, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                flatten(&format!("{name}.{key}"), member, fields);
            }
        }
        value => {
            fields.insert(name.to_owned(), value);
        }
    }
}

fn record(record: Record) -> Value {
    let unstored = |host: &[u8]| host[..host.len() - 4].to_vec();
    let record = Record {
        born_host: unstored(&record.born_host),
        store_host: unstored(&record.store_host),
        // Ids that a server gives have its address, whose length differs.
        phy_offset: 0,
        store_timestamp_ms: 0,
        properties: record
            .properties
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                // Of the moment at which it was popped, or of the broker's address.
                "POP_CK" | "1ST_POP_TIME" | "ORIGIN_MESSAGE_ID" | "UNIQ_KEY" => {
                    (name, MASK.to_owned())
                }
                _ => (name, value),
            })
            .collect(),
        ..record
    };
    Value::from(format!("{record:?}"))
}

fn is_masked(name: &str) -> bool {
    MASKED.iter().any(|part| name.contains(part))
}

fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                // Nothing and no member at all mean the same to whoever reads it.
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| {
                    let is_time = is_masked(&name) && !member.is_object() && !member.is_array();
                    let member = if is_time { Value::from(MASK) } else { plain(member) };
                    (without_ports(&name), member)
                })
                .collect(),
        ),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::String(text) => self::text(&text),
        other => other,
    }
}

fn text(text: &str) -> Value {
    Value::from(without_ports(text))
}

fn without_ports(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(LOCAL) {
        plain.push_str(before);
        plain.push_str(LOCAL);
        plain.push_str(MASK);
        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    plain + rest
}

/// Reads the dialect of the reference: keys may be numbers or objects. A key becomes its own text.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn read(bytes: &'a [u8]) -> Option<Value> {
        let mut reader = Self { rest: std::str::from_utf8(bytes).ok()? };
        let value = reader.value()?;
        reader.rest.trim().is_empty().then_some(value)
    }

    fn eat(&mut self, mark: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(mark);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn value(&mut self) -> Option<Value> {
        if self.eat('{') {
            let mut members = Map::new();
            while !self.eat('}') {
                let key = match self.value()? {
                    Value::String(text) => text,
                    other => plain(other).to_string(),
                };
                let value = self.eat(':').then(|| self.value())??;
                members.insert(key, value);
                self.eat(',');
            }
            return Some(Value::Object(members));
        }
        if self.eat('[') {
            let mut items = Vec::new();
            while !self.eat(']') {
                items.push(self.value()?);
                self.eat(',');
            }
            return Some(Value::Array(items));
        }
        // A text or a number.
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let value = stream.next()?.ok()?;
        self.rest = &self.rest[stream.byte_offset()..];
        Some(value)
    }
}

#[test]
fn keys_may_be_numbers_and_objects_and_times_are_not_compared() {
    let text = r#"{"t":{{"queueId":0,"topic":"a"}:{"lastUpdateTimestamp":5,"maxOffset":1}},
        "a":{0:"127.0.0.1:55","x":null},"l":[2,1]}"#;
    let value = plain(Reader::read(text.as_bytes()).unwrap());
    let expected = serde_json::json!({
        "t": {r#"{"queueId":0,"topic":"a"}"#: {"lastUpdateTimestamp": "*", "maxOffset": 1}},
        "a": {"0": "127.0.0.1:*"}, "l": [1, 2],
    });
    assert_eq!(value, expected);
    assert_eq!(Reader::read(b"no value"), None);
}
