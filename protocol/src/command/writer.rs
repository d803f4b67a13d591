//! Writes commands straight into an output buffer.

use super::{ONEWAY_FLAG, RESPONSE_FLAG, find};
use crate::code::{LanguageCode, RequestCode, ResponseCode};
use crate::ext_fields::FieldSink;
use crate::frame::{self, HeaderForm};
use crate::version;

/// Room for the header of most answers, so that it is not made piece by piece.
const USUAL_HEADER_BYTES: usize = 512;

/// JSON between the fields of an answer and its opaque.
const ANSWER_FLAG: &[u8] = br#"},"flag":1,"language":"JAVA","opaque":"#;
/// JSON behind the opaque and remark of what this side says.
const OUR_VERSION: &[u8] = br#","serializeTypeCurrentRPC":"JSON","version":513}"#;
const _: () = assert!(version::CURRENT == 513, "OUR_VERSION says so too");

/// Ext fields that stand in many answers, written once.
#[derive(Clone, Debug, Default)]
pub struct PreparedFields {
    json: Vec<u8>,
    binary: Vec<u8>,
}

impl PreparedFields {
    /// Prepares `fields`, which keep their order.
    pub fn new(fields: &[(&str, &str)]) -> Self {
        let mut prepared = Self::default();
        for (name, value) in fields {
            json_string(&mut prepared.json, name);
            prepared.json.push(b':');
            json_string(&mut prepared.json, value);
            prepared.json.push(b',');
            binary_field(&mut prepared.binary, name, value.as_bytes());
        }
        prepared
    }
}

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
    /// Where the fields begin; in the binary form, with their length.
    ext_start: usize,
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

    #[inline]
    pub(super) fn begin(out: &'a mut Vec<u8>, form: HeaderForm, head: Head<'a>) -> Self {
        out.reserve(USUAL_HEADER_BYTES);
        let start = frame::begin(out, form);
        let ext_start;
        match form {
            HeaderForm::Json => {
                if head.code == 0 {
                    out.extend_from_slice(b"{\"code\":0,\"extFields\":{");
                } else {
                    out.extend_from_slice(b"{\"code\":");
                    decimal(out, head.code.into());
                    out.extend_from_slice(b",\"extFields\":{");
                }
                ext_start = out.len();
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
        Self { out, start, ext_start, form, head, finished: false }
    }

    /// Writes an integer field, whose name is one that a header declares.
    #[inline]
    pub fn number(&mut self, name: &str, value: i64) {
        self.plain_field(name, Digits::default().format(value));
    }

    /// Writes a field, whose name is one that a header declares.
    #[inline]
    pub fn text(&mut self, name: &str, value: &str) {
        debug_assert!(is_plain(name.as_bytes()), "{name}");
        match self.form {
            HeaderForm::Json => {
                self.out.push(b'"');
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":");
                json_string(self.out, value);
                self.out.push(b',');
            }
            HeaderForm::RocketMq => binary_field(self.out, name, value.as_bytes()),
        }
    }

    /// Writes a field of any name.
    pub(super) fn named(&mut self, name: &str, value: &str) {
        match self.form {
            HeaderForm::Json => {
                json_string(self.out, name);
                self.out.push(b':');
                json_string(self.out, value);
                self.out.push(b',');
            }
            HeaderForm::RocketMq => binary_field(self.out, name, value.as_bytes()),
        }
    }

    /// Writes a field whose name and value are made of printable ASCII, without quotes and backslashes.
    #[inline]
    pub fn plain(&mut self, name: &str, value: &str) {
        self.plain_field(name, value.as_bytes());
    }

    #[inline]
    fn plain_field(&mut self, name: &str, value: &[u8]) {
        debug_assert!(is_plain(name.as_bytes()) && is_plain(value), "{name}: {value:?}");
        match self.form {
            HeaderForm::Json => {
                self.out.push(b'"');
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":\"");
                self.out.extend_from_slice(value);
                self.out.extend_from_slice(b"\",");
            }
            HeaderForm::RocketMq => binary_field(self.out, name, value),
        }
    }

    /// Writes fields that were prepared.
    #[inline]
    pub fn prepared(&mut self, fields: &PreparedFields) {
        self.out.extend_from_slice(match self.form {
            HeaderForm::Json => &fields.json,
            HeaderForm::RocketMq => &fields.binary,
        });
    }

    /// Ends the frame with `body`, which may be empty.
    pub fn finish(mut self, body: &[u8]) {
        self.end_header();
        self.out.extend_from_slice(body);
        frame::end(self.out, self.start);
        self.finished = true;
    }

    fn end_header(&mut self) {
        match self.form {
            HeaderForm::Json => {
                if self.out.len() > self.ext_start {
                    // The comma behind the last field.
                    self.out.pop();
                }
                let head = &self.head;
                if head.flag == RESPONSE_FLAG && head.language == LanguageCode::JAVA {
                    self.out.extend_from_slice(ANSWER_FLAG);
                } else {
                    self.out.extend_from_slice(b"},\"flag\":");
                    decimal(self.out, head.flag.into());
                    self.out.extend_from_slice(b",\"language\":\"");
                    let language = head.language.name().unwrap_or("OTHER");
                    self.out.extend_from_slice(language.as_bytes());
                    self.out.extend_from_slice(b"\",\"opaque\":");
                }
                decimal(self.out, head.opaque.into());
                if let Some(remark) = head.remark {
                    self.out.extend_from_slice(b",\"remark\":");
                    json_string(self.out, remark);
                }
                if head.version == version::CURRENT {
                    self.out.extend_from_slice(OUR_VERSION);
                } else {
                    self.out
                        .extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
                    decimal(self.out, head.version.into());
                    self.out.push(b'}');
                }
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

    #[inline]
    fn plain(&mut self, name: &str, value: &str) {
        CommandWriter::plain(self, name, value);
    }

    #[inline]
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
    #[inline]
    fn format(&mut self, value: i64) -> &[u8] {
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
        &self.0[at..]
    }
}

fn decimal(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(Digits::default().format(value));
}

#[inline]
fn binary_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

fn is_plain(text: &[u8]) -> bool {
    text.is_ascii() && find::to_escape(text) == text.len()
}

#[inline]
fn json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, escape) = rest.split_at(find::to_escape(rest));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = escape.split_first() else { break };
        push_escaped(out, byte);
        rest = behind;
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        control => {
            let digits = [HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
    }
}
