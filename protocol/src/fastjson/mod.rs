//! The dialect of JSON that bodies and metadata files are in.
//!
//! The reference writes with fastjson, older releases with 1.2 and 5.5.0 with fastjson2: members in
//! alphabetical order, nulls left out, and map keys that are not strings written as they are
//! (`{0:"addr"}`, `{{"brokerName":"b","queueId":0,"topic":"t"}:5}`), which is not JSON. It reads
//! numbers for strings and strings for numbers, and 1.2 matched names without regard to case, `_`
//! and `-`, on which some third-party clients rely.
//!
//! [`from_slice`] reads all of it in one pass over the text into any serde type; [`to_vec`] writes
//! the wire forms and [`to_pretty`] the form of files. Bodies put `#[serde(default)]` on the
//! struct, so that a member that is missing or null keeps the default of its class.

mod read;
mod refs;
mod write;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::write::Form;

/// Most levels of objects and arrays in one text; the deepest body has eight.
pub(crate) const MAX_DEPTH: usize = 64;

/// How an error begins that is about a member which an object has twice.
const REPEATED: &str = "repeated member";

/// A text that does not read as what it should be, or a value that has no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub struct FastjsonError {
    /// What was expected or wrong.
    pub reason: String,
    /// Where in the text.
    pub at: usize,
}

impl serde::de::Error for FastjsonError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self { reason: reason.to_string(), at: 0 }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { reason: format!("{REPEATED} {field}"), at: 0 }
    }
}

impl serde::ser::Error for FastjsonError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self { reason: reason.to_string(), at: 0 }
    }
}

/// How map keys that are not strings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// As they are: `{0:"addr"}`. What the reference writes nearly everywhere.
    Raw,
    /// As strings: `{"0":"addr"}`. What newer clients ask for in a route answer.
    Strict,
}

/// Reads a value from either dialect.
///
/// # Errors
/// When the text is not JSON even by the lenient rules, is nested deeper than [`MAX_DEPTH`], or
/// does not have the shape of `T`.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, FastjsonError> {
    let text = std::str::from_utf8(text).map_err(|error| FastjsonError {
        reason: "text is not UTF-8".to_owned(),
        at: error.valid_up_to(),
    })?;
    if text.contains("\"$ref\"") {
        return read::from_str(&refs::expand(text)?);
    }
    match read::from_str(text) {
        // Nobody writes that but by hand, so nobody else pays for the second look.
        Err(error) if error.reason.starts_with(REPEATED) => read::from_repeating(text),
        read => read,
    }
}

/// Writes a value without blanks. Members of structs are sorted by name; so are maps with string
/// keys; other maps keep their order.
///
/// # Errors
/// When a map key has no JSON, which no type of this crate has.
pub fn to_vec<T: Serialize + ?Sized>(
    value: &T,
    dialect: Dialect,
) -> Result<Vec<u8>, FastjsonError> {
    write::to_vec(value, Form { dialect, pretty: false })
}

/// Writes a value as the reference writes its files: tabs, one member a line, no newline at the end.
///
/// # Errors
/// As [`to_vec`].
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, FastjsonError> {
    write::to_vec(value, Form { dialect: Dialect::Raw, pretty: true })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(
        Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
    )]
    #[serde(default, rename_all = "camelCase")]
    struct Queue {
        topic: String,
        broker_name: String,
        queue_id: i32,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Sample {
        offset_table: BTreeMap<Queue, i64>,
        numbers: BTreeMap<i64, String>,
        note: Option<String>,
        without_sub: bool,
        rate: f64,
        attributes: HashMap<String, String>,
    }

    fn sample() -> Sample {
        Sample {
            offset_table: BTreeMap::from([(
                Queue { topic: "t".into(), broker_name: "b".into(), queue_id: 0 },
                5,
            )]),
            numbers: (0..3).map(|n| (n * 5, format!("v{n}"))).collect(),
            note: None,
            without_sub: true,
            rate: 0.0,
            attributes: HashMap::from([("b".into(), "2".into()), ("a".into(), "\u{e4}".into())]),
        }
    }

    fn written(dialect: Dialect) -> String {
        String::from_utf8(to_vec(&sample(), dialect).unwrap()).unwrap()
    }

    #[test]
    fn raw_dialect_writes_keys_as_they_are() {
        insta::assert_snapshot!(
            written(Dialect::Raw),
            @r#"{"attributes":{"a":"ä","b":"2"},"numbers":{0:"v0",5:"v1",10:"v2"},"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5},"rate":0.0,"withoutSub":true}"#
        );
    }

    #[test]
    fn strict_dialect_writes_keys_as_strings() {
        insta::assert_snapshot!(
            written(Dialect::Strict),
            @r#"{"attributes":{"a":"ä","b":"2"},"numbers":{"0":"v0","5":"v1","10":"v2"},"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"t\"}":5},"rate":0.0,"withoutSub":true}"#
        );
        let _: Value = serde_json::from_str(&written(Dialect::Strict)).unwrap();
        assert_eq!(to_vec(&(1_i64 << 53), Dialect::Strict).unwrap(), b"\"9007199254740992\"");
        assert_eq!(to_vec(&(1_i64 << 53), Dialect::Raw).unwrap(), b"9007199254740992");
    }

    #[test]
    fn pretty_form_is_that_of_the_reference() {
        insta::assert_snapshot!(
            String::from_utf8(to_pretty(&sample()).unwrap()).unwrap().replace('\t', "--"),
            @r#"
        {
        --"attributes":{
        ----"a":"ä",
        ----"b":"2"
        --},
        --"numbers":{
        ----0:"v0",
        ----5:"v1",
        ----10:"v2"
        --},
        --"offsetTable":{
        ----{"brokerName":"b","queueId":0,"topic":"t"}:5
        --},
        --"rate":0.0,
        --"withoutSub":true
        }
        "#
        );
        assert_eq!(to_pretty(&BTreeMap::<i32, i32>::new()).unwrap(), b"{}");
    }

    #[test]
    fn both_dialects_and_the_pretty_form_read_back() {
        for text in [
            to_vec(&sample(), Dialect::Raw).unwrap(),
            to_vec(&sample(), Dialect::Strict).unwrap(),
            to_pretty(&sample()).unwrap(),
        ] {
            assert_eq!(from_slice::<Sample>(&text).unwrap(), sample());
        }
    }

    #[test]
    fn files_of_fastjson_1_read() {
        let text = b"{\n\t\"offsetTable\":{\n\t\t\"t@g\":{0:5,1:6\n\t\t}\n\t}\n}";
        let read: BTreeMap<String, BTreeMap<String, BTreeMap<i32, i64>>> =
            from_slice(text).unwrap();
        assert_eq!(read["offsetTable"]["t@g"], BTreeMap::from([(0, 5), (1, 6)]));
    }

    #[test]
    fn values_and_names_are_read_as_leniently_as_the_reference_reads_them() {
        let queue = Queue { topic: "7".into(), broker_name: "b".into(), queue_id: 3 };
        for text in [
            r#"{"topic":7,"brokerName":"b","queueId":"3"}"#,
            r#" {"Topic":"7","BROKER_NAME":"b","queue-id":3.0,} "#,
            r#"{'topic':'7','brokerName':'\x62',"queueId":3,"unknown":[{1:2},null,true]}"#,
        ] {
            assert_eq!(from_slice::<Queue>(text.as_bytes()).unwrap(), queue, "{text}");
        }
        let read: Sample = from_slice(
            br#"{"isWithoutSub":"true","note":null,"rate":"1.5","attributes":{"k":{"a":1}}}"#,
        )
        .unwrap();
        assert!(read.without_sub && read.note.is_none());
        assert_eq!(read.attributes["k"], r#"{"a":1}"#);
        let text: String = from_slice(br#""\u00e4\ud83d\ude00\ud800\/""#).unwrap();
        assert_eq!(text, "\u{e4}\u{1f600}\u{fffd}/");
    }

    #[test]
    fn last_value_of_a_repeated_member_counts() {
        let queue = Queue { topic: "b".into(), broker_name: String::new(), queue_id: 2 };
        for text in [
            r#"{"topic":"a","queueId":1,"topic":"b","queueId":2}"#,
            r#"{"Topic":"a","queue_id":1,"queueId":2,"topic":"b","brokerName":null}"#,
            r#"{"topic":"a","topic":"a","topic":"b","queueId":2}"#,
        ] {
            assert_eq!(from_slice::<Queue>(text.as_bytes()).unwrap(), queue, "{text}");
        }
        let nested = br#"[{"topic":"a"},{"topic":"b","queueId":1,"x":{"topic":7},"queueId":2}]"#;
        assert_eq!(from_slice::<Vec<Queue>>(nested).unwrap()[1], queue);
        let read: BTreeMap<String, i64> = from_slice(br#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(read["a"], 2);
    }

    #[test]
    fn references_to_an_earlier_object_are_followed() {
        let read: Vec<Queue> = from_slice(br#"[{"topic":"t"},{"$ref":"$[0]"}]"#).unwrap();
        assert_eq!(read[0], read[1]);
        let read: BTreeMap<String, Value> =
            from_slice(br#"{"a":{"b":[{"x":1}]},"c":{"$ref":"$.a.b[0]"},"d":{"$ref":"$.z"}}"#)
                .unwrap();
        assert_eq!(read["c"], serde_json::json!({"x": 1}));
        assert!(!read.contains_key("d"));
    }

    #[test]
    fn references_that_stand_for_too_much_are_an_error() {
        let doubled: String = (1..40)
            .map(|n| format!(",\"m{n}\":[{{\"$ref\":\"$.m{0}\"}},{{\"$ref\":\"$.m{0}\"}}]", n - 1))
            .collect();
        let all = |part: &str, count: usize| vec![part; count].join(",");
        let long_text = format!("[\"{}\",{}]", "x".repeat(100_000), all(r#"{"$ref":"$[0]"}"#, 100));
        let empty = format!("[[{}],{}]", all("[]", 10_000), all(r#"{"$ref":"$[0]"}"#, 1000));
        let long_path = format!("{{\"$ref\":\"${}\"}}", ".".repeat(100_000));
        let long_path = format!("[[],{long_path},{}]", all(r#"{"$ref":"$[1]"}"#, 100));
        for text in [
            format!("{{\"m0\":1{doubled}}}"),
            r#"{"a":{"$ref":"$"}}"#.to_owned(),
            long_text,
            empty,
            long_path,
        ] {
            let error = from_slice::<Value>(text.as_bytes()).unwrap_err();
            assert_eq!(error.reason, "references stand for too much");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"[{}\[\]:,"'\\ua0-9dD8e.$ref nulltrue\u{e4}\u{0}]{0,40}"#) {
            let _ = from_slice::<Value>(text.as_bytes());
            let _ = from_slice::<Sample>(text.as_bytes());
            let _ = from_slice::<Queue>(text.as_bytes());
        }

        #[test]
        fn what_is_written_reads_back(text: String, number: i64, key: i64, rate in -1e300..1e300) {
            let mut value = sample();
            value.note = Some(text.clone());
            value.attributes.insert(text.clone(), text.clone());
            value.numbers.insert(key, text.clone());
            value.rate = rate;
            value.offset_table.insert(Queue { topic: text, ..Queue::default() }, number);
            for text in [
                to_vec(&value, Dialect::Raw).unwrap(),
                to_vec(&value, Dialect::Strict).unwrap(),
                to_pretty(&value).unwrap(),
            ] {
                proptest::prop_assert_eq!(from_slice::<Sample>(&text).unwrap(), value.clone());
            }
        }
    }

    #[test]
    fn malformed_texts_are_errors_that_say_where() {
        for text in [
            "",
            "{",
            "[",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1}x",
            "{,}",
            "{\"a\":\"\\q\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"x",
            "[1 2]",
            "}",
            "{\"a\":\"\\",
        ] {
            assert!(from_slice::<Value>(text.as_bytes()).is_err(), "{text}");
        }
        for text in
            [r#"{"queueId":99999999999}"#, r#"{"queueId":"x"}"#, r#"{"queueId":[]}"#, "[]", "7"]
        {
            assert!(from_slice::<Queue>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(from_slice::<Value>(b"\"\xff\"").is_err());
        let deep = "[".repeat(1_000_000);
        assert_eq!(from_slice::<Value>(deep.as_bytes()).unwrap_err().at, MAX_DEPTH);
        let deep_keys = "{".repeat(1_000_000);
        assert!(from_slice::<Queue>(deep_keys.as_bytes()).is_err());
        let error = from_slice::<Queue>(br#"{"topic":"t" "x"}"#).unwrap_err();
        assert_eq!(error.to_string(), "expected ',' at byte 13");
    }
}
