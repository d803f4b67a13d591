//! Writes commands straight into an output buffer.

use super::{ONEWAY_FLAG, RESPONSE_FLAG, find};
use crate::code::{LanguageCode, RequestCode, ResponseCode};
use crate::ext_fields::FieldSink;
use crate::frame::{self, HeaderForm};
use crate::version;

/// Everything of a command but its ext fields and its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) code: i32,
    pub(super) language: LanguageCode,
    pub(super) version: i32,
    pub(super) opaque: i32,
    pub(super) flag: i32,
    pub(super) remark: Option<&'a str>,
}

/// Writes one frame at the end of an output buffer: the head when made, then ext fields, then the
/// body. Dropping it unfinished takes the frame back.
///
/// JSON members come in the reference's order; ext fields stand in the order written, which the hot
/// answers keep alphabetical by themselves.
#[derive(Debug)]
pub struct CommandWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where the length of the binary ext section goes.
    ext_start: usize,
    fields: usize,
    form: HeaderForm,
    head: Head<'a>,
    finished: bool,
}

impl<'a> CommandWriter<'a> {
    /// Starts the answer to request `opaque`.
    pub fn response(
        out: &'a mut Vec<u8>,
        form: HeaderForm,
        code: ResponseCode,
        opaque: i32,
        remark: Option<&'a str>,
    ) -> Self {
        let head = Head {
            code: code.0,
            language: LanguageCode::JAVA,
            version: version::CURRENT,
            opaque,
            flag: RESPONSE_FLAG,
            remark,
        };
        Self::begin(out, form, head)
    }

    /// Starts a request.
    pub fn request(
        out: &'a mut Vec<u8>,
        form: HeaderForm,
        code: RequestCode,
        opaque: i32,
        oneway: bool,
    ) -> Self {
        let head = Head {
            code: code.0,
            language: LanguageCode::JAVA,
            version: version::CURRENT,
            opaque,
            flag: if oneway { ONEWAY_FLAG } else { 0 },
            remark: None,
        };
        Self::begin(out, form, head)
    }

    pub(super) fn begin(out: &'a mut Vec<u8>, form: HeaderForm, head: Head<'a>) -> Self {
        let start = frame::begin(out, form);
        let mut ext_start = 0;
        match form {
            HeaderForm::Json => {
                out.extend_from_slice(b"{\"code\":");
                decimal(out, head.code.into());
                out.extend_from_slice(b",\"extFields\":{");
            }
            HeaderForm::RocketMq => {
                out.extend_from_slice(&(head.code as i16).to_be_bytes());
                out.push(head.language.0 as u8);
                out.extend_from_slice(&(head.version as i16).to_be_bytes());
                out.extend_from_slice(&head.opaque.to_be_bytes());
                out.extend_from_slice(&head.flag.to_be_bytes());
                let remark = head.remark.unwrap_or_default().as_bytes();
                out.extend_from_slice(&(remark.len() as u32).to_be_bytes());
                out.extend_from_slice(remark);
                ext_start = out.len();
                out.extend_from_slice(&[0; 4]);
            }
        }
        Self { out, start, ext_start, fields: 0, form, head, finished: false }
    }

    /// Writes an integer field.
    pub fn number(&mut self, name: &str, value: i64) {
        let mut digits = Digits::default();
        let text = digits.format(value);
        self.text(name, text);
    }

    /// Writes a field.
    pub fn text(&mut self, name: &str, value: &str) {
        match self.form {
            HeaderForm::Json => {
                if self.fields > 0 {
                    self.out.push(b',');
                }
                json_string(self.out, name);
                self.out.push(b':');
                json_string(self.out, value);
            }
            HeaderForm::RocketMq => {
                self.out.extend_from_slice(&(name.len() as u16).to_be_bytes());
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                self.out.extend_from_slice(value.as_bytes());
            }
        }
        self.fields += 1;
    }

    /// Ends the frame with `body`, which may be empty.
    pub fn finish(self, body: &[u8]) {
        self.finish_with(|out| out.extend_from_slice(body));
    }

    /// Ends the header, lets `body` append the body, and ends the frame.
    pub fn finish_with<R>(mut self, body: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.end_header();
        let result = body(self.out);
        frame::end(self.out, self.start);
        self.finished = true;
        result
    }

    fn end_header(&mut self) {
        match self.form {
            HeaderForm::Json => {
                self.out.extend_from_slice(b"},\"flag\":");
                decimal(self.out, self.head.flag.into());
                self.out.extend_from_slice(b",\"language\":\"");
                self.out.extend_from_slice(self.head.language.name().unwrap_or("OTHER").as_bytes());
                self.out.extend_from_slice(b"\",\"opaque\":");
                decimal(self.out, self.head.opaque.into());
                if let Some(remark) = self.head.remark {
                    self.out.extend_from_slice(b",\"remark\":");
                    json_string(self.out, remark);
                }
                self.out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
                decimal(self.out, self.head.version.into());
                self.out.push(b'}');
            }
            HeaderForm::RocketMq => {
                let bytes = (self.out.len() - self.ext_start - 4) as u32;
                self.out[self.ext_start..self.ext_start + 4].copy_from_slice(&bytes.to_be_bytes());
            }
        }
        frame::end_header(self.out, self.start);
    }
}

impl FieldSink for CommandWriter<'_> {
    fn text(&mut self, name: &str, value: &str) {
        CommandWriter::text(self, name, value);
    }

    fn number(&mut self, name: &str, value: i64) {
        CommandWriter::number(self, name, value);
    }
}

impl Drop for CommandWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// Room for any i64 in decimal.
const MAX_DIGITS: usize = 20;

#[derive(Default)]
struct Digits([u8; MAX_DIGITS]);

impl Digits {
    fn format(&mut self, value: i64) -> &str {
        let mut at = MAX_DIGITS;
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            self.0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            self.0[at] = b'-';
        }
        // ASCII digits only, so this cannot fail.
        std::str::from_utf8(&self.0[at..]).unwrap_or_default()
    }
}

fn decimal(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(Digits::default().format(value).as_bytes());
}

fn json_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = find::to_escape(rest) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
