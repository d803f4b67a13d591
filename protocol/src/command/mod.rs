//! Requests and responses, in both header forms.
//!
//! A received header is scanned once into a [`CommandView`], which borrows from the read buffer:
//! the fast path reads it in place, everything else turns it into an owned [`RemotingCommand`].
//! Both are written by one [`CommandWriter`].

mod binary;
pub(crate) mod find;
mod json;
mod owned;
mod view;
mod writer;

pub use owned::RemotingCommand;
pub use view::{CommandError, CommandView, FieldNumber, FieldValue};
pub use writer::{CommandWriter, PreparedFields};

/// Flag bit: this command answers one.
pub const RESPONSE_FLAG: i32 = 1;
/// Flag bit: the sender wants no answer.
pub const ONEWAY_FLAG: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{LanguageCode, RequestCode, ResponseCode};
    use crate::ext_fields::Fields;
    use crate::frame::{self, Frame, HeaderForm};

    fn json(header: &str) -> Result<RemotingCommand, CommandError> {
        RemotingCommand::decode(Frame {
            form: HeaderForm::Json,
            header: header.as_bytes(),
            body: &[],
        })
    }

    fn sample() -> RemotingCommand {
        let mut command = RemotingCommand::request(RequestCode::PULL_MESSAGE)
            .with_remark("why \"not\"\n")
            .with_body(&b"body"[..]);
        command.ext_fields.insert("topic", "a\u{1}b\u{2}");
        command.ext_fields.insert("queueId", "3");
        command.opaque = -7;
        command
    }

    #[test]
    fn json_response_has_the_bytes_of_the_reference() {
        let mut command = RemotingCommand::response(ResponseCode::SUCCESS);
        command.ext_fields.insert("a", "1");
        command.version = 479;
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        insta::assert_snapshot!(
            std::str::from_utf8(&bytes[8..]).unwrap(),
            @r#"{"code":0,"extFields":{"a":"1"},"flag":1,"language":"JAVA","opaque":0,"serializeTypeCurrentRPC":"JSON","version":479}"#
        );
    }

    #[test]
    fn command_survives_both_forms() {
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            let mut command = sample();
            command.form = form;
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            let (frame, used) = frame::split(&bytes).unwrap().unwrap();
            assert_eq!(used, bytes.len());
            assert_eq!(RemotingCommand::decode(frame).unwrap(), command);
        }
    }

    #[test]
    fn header_is_read_as_leniently_as_the_reference_reads_it() {
        let command = json(
            r#" {"Code":"11","LANGUAGE":9,"ext_fields":{"queueId":3,"on":true,"gone":null,"in":{"x":[1]},"t":"\u00e4\ud83d\ude00"},"unknown":[{}],"opaque":5,"flag":2} "#,
        )
        .unwrap();
        assert_eq!((command.code, command.language, command.opaque), (11, LanguageCode::GO, 5));
        assert!(command.is_oneway());
        let field = |name: &str| command.ext_fields.get(name).map(|text| text.into_owned());
        assert_eq!(field("queueId").as_deref(), Some("3"));
        assert_eq!(field("on").as_deref(), Some("true"));
        assert_eq!(field("in").as_deref(), Some(r#"{"x":[1]}"#));
        assert_eq!(field("t").as_deref(), Some("\u{e4}\u{1f600}"));
        assert_eq!(field("gone"), None);
    }

    #[test]
    fn last_value_of_a_repeated_field_counts() {
        let command = json(r#"{"code":1,"extFields":{"a":"1","a":"2"}}"#).unwrap();
        assert_eq!(command.ext_fields.get("a").as_deref(), Some("2"));
    }

    #[test]
    fn headers_that_are_not_objects_are_errors() {
        for header in [
            "",
            "null",
            "[]",
            "{",
            "{\"code\"}",
            "{\"code\":}",
            "{\"code\":1}x",
            "{\"code\":\"x\"}",
            "{\"a\":\"\\",
            "{\"extFields\":[]}",
            "{\"a\":tru}",
            "\u{0}",
        ] {
            assert!(json(header).is_err(), "{header:?}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(json(&deep).is_err());
        let many: Vec<_> = (0..300).map(|n| format!("\"f{n}\":1")).collect();
        let header = format!("{{\"extFields\":{{{}}}}}", many.join(","));
        assert_eq!(json(&header), Err(CommandError::TooManyFields));
    }

    #[test]
    fn binary_header_cut_anywhere_is_an_error_or_a_prefix() {
        let mut command = sample();
        command.form = HeaderForm::RocketMq;
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let header = &bytes[8..bytes.len() - 4];
        for cut in 0..header.len() {
            let frame = Frame { form: HeaderForm::RocketMq, header: &header[..cut], body: &[] };
            if let Ok(prefix) = RemotingCommand::decode(frame) {
                assert!(prefix.ext_fields.is_empty(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn prepared_and_plain_fields_are_written_like_any_other() {
        let fields = [("MSG_REGION", "a\"\u{1}\u{e4}"), ("TRACE_ON", "true")];
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            let bytes = |write: &dyn Fn(&mut CommandWriter<'_>)| {
                let mut out = Vec::new();
                let code = ResponseCode::SUCCESS;
                let mut writer = CommandWriter::response(&mut out, form, code, 7, None);
                write(&mut writer);
                writer.finish(b"body");
                out
            };
            let one_by_one = bytes(&|writer| {
                fields.iter().for_each(|(name, value)| writer.text(name, value));
                writer.text("msgId", "7F");
                writer.text("queueOffset", "-12");
            });
            let prepared = PreparedFields::new(&fields);
            let at_once = bytes(&|writer| {
                writer.prepared(&prepared);
                writer.plain("msgId", "7F");
                writer.number("queueOffset", -12);
            });
            assert_eq!(at_once, one_by_one);
            let (frame, _) = frame::split(&at_once).unwrap().unwrap();
            let command = RemotingCommand::decode(frame).unwrap();
            assert_eq!(command.ext_fields.get("MSG_REGION").as_deref(), Some(fields[0].1));
            assert_eq!(command.ext_fields.len(), 4);
        }
    }

    #[test]
    fn dropped_writer_leaves_no_bytes() {
        let mut out = b"before".to_vec();
        drop(CommandWriter::response(&mut out, HeaderForm::Json, ResponseCode::SUCCESS, 1, None));
        assert_eq!(out, b"before");
    }
}
