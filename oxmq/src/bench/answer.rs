//! The two things of an answer that every request needs: whose it is, and whether it is a success.

use oxmq_protocol::command::CommandView;
use oxmq_protocol::frame::{Frame, HeaderForm};

use super::error::BenchError;

const CODE_MEMBER: &[u8] = b"{\"code\":";
/// Eight bytes each, so that a comparison is one of two words.
const OPAQUE_MEMBER: &[u8; 8] = b"\"opaque\"";
const FLAG_MEMBER: &[u8; 8] = b",\"flag\":";
const BINARY_OPAQUE_AT: usize = 5;
const BINARY_FLAG_AT: usize = 9;

/// Code and opaque of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) opaque: i32,
}

impl Answer {
    /// Reads only these two when the header looks as both servers write it, else all of it.
    pub(super) fn read(frame: Frame<'_>) -> Result<Self, BenchError> {
        if let Some(answer) = scan(frame) {
            return Ok(answer);
        }
        let view = CommandView::decode(frame)?;
        Ok(Self { code: view.code, opaque: view.opaque })
    }
}

fn scan(frame: Frame<'_>) -> Option<Answer> {
    let header = frame.header;
    match frame.form {
        HeaderForm::Json => {
            let code = digits(header.strip_prefix(CODE_MEMBER)?)?;
            Some(Answer { code, opaque: digits(last_member(header, OPAQUE_MEMBER)?)? })
        }
        HeaderForm::RocketMq => {
            let code = i16::from_be_bytes(*header.first_chunk()?).into();
            let opaque = i32::from_be_bytes(*header.get(BINARY_OPAQUE_AT..)?.first_chunk()?);
            Some(Answer { code, opaque })
        }
    }
}

/// The flags of a request, as clients write it; `None` when it is written otherwise.
pub(super) fn flag(frame: Frame<'_>) -> Option<i32> {
    match frame.form {
        HeaderForm::Json => digits(last_member(frame.header, FLAG_MEMBER)?),
        HeaderForm::RocketMq => {
            Some(i32::from_be_bytes(*frame.header.get(BINARY_FLAG_AT..)?.first_chunk()?))
        }
    }
}

/// What follows `name`, searched from the back: only a few members come behind the two that are
/// searched for. A quote inside a value is escaped, so the name cannot appear anywhere else.
fn last_member<'a>(header: &'a [u8], name: &[u8; 8]) -> Option<&'a [u8]> {
    let at = header.windows(name.len()).rposition(|part| part == name)?;
    let value = header.get(at + name.len()..)?;
    Some(value.strip_prefix(b":").unwrap_or(value))
}

/// The number at the start of `text`, unless it is signed or too large.
fn digits(text: &[u8]) -> Option<i32> {
    let mut value: i32 = 0;
    let mut count = 0;
    for byte in text.iter().take_while(|byte| byte.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?;
        count += 1;
    }
    (count > 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxmq_protocol::code::{RequestCode, ResponseCode};
    use oxmq_protocol::command::CommandWriter;
    use oxmq_protocol::frame;

    #[test]
    fn answer_is_read_from_both_forms() {
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            let mut bytes = Vec::new();
            let remark = Some("a \"opaque\":7 b");
            let code = ResponseCode::SYSTEM_BUSY;
            let mut writer = CommandWriter::response(&mut bytes, form, code, 1_000_000_005, remark);
            writer.text("msgId", "\"opaque\":8");
            writer.finish(b"");
            let (frame, _) = frame::split(&bytes).unwrap().unwrap();
            let expected = Answer { code: ResponseCode::SYSTEM_BUSY.0, opaque: 1_000_000_005 };
            assert_eq!(scan(frame), Some(expected));
            assert_eq!(Answer::read(frame).unwrap(), expected);
        }
    }

    #[test]
    fn flag_of_a_request_is_read_from_both_forms() {
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            for oneway in [false, true] {
                let mut bytes = Vec::new();
                let code = RequestCode::SEND_MESSAGE_V2;
                let mut writer = CommandWriter::request(&mut bytes, form, code, 9, oneway);
                writer.text("i", "\"flag\":8");
                writer.finish(b"");
                let (frame, _) = frame::split(&bytes).unwrap().unwrap();
                assert_eq!(flag(frame), Some(if oneway { 2 } else { 0 }));
            }
        }
    }

    #[test]
    fn unusual_header_is_read_in_full() {
        let header = br#" {"opaque":-3, "code":"2"}"#;
        let frame = Frame { form: HeaderForm::Json, header, body: &[] };
        assert_eq!(scan(frame), None);
        assert_eq!(Answer::read(frame).unwrap(), Answer { code: 2, opaque: -3 });
        let frame = Frame { form: HeaderForm::Json, header: b"{", body: &[] };
        assert!(Answer::read(frame).is_err());
    }
}
