//! A command whose fields still lie in the read buffer.

use std::borrow::Cow;

use super::{ONEWAY_FLAG, RESPONSE_FLAG, RemotingCommand, binary, json};
use crate::code::{LanguageCode, RequestCode, ResponseCode};
use crate::ext_fields::{ExtFields, Fields};
use crate::frame::{Frame, HeaderForm};
use crate::header::HeaderError;
use crate::limits::MAX_EXT_FIELDS;

/// Fields kept in place; a signed send with a namespace has about twenty.
const INLINE_FIELDS: usize = 24;

/// A header that cannot be read; the reference closes the connection then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandError {
    /// The JSON header is not a JSON object.
    #[error("header is not a JSON object: {what} at byte {position}")]
    Json {
        /// What was found or missing.
        what: &'static str,
        /// Byte position in the header.
        position: usize,
    },
    /// The binary header ends early or a length points outside of it.
    #[error("binary header is cut off in {0}")]
    Truncated(&'static str),
    /// Text that is not UTF-8.
    #[error("header is not UTF-8")]
    Utf8,
    /// More fields than any header has.
    #[error("header has more than {MAX_EXT_FIELDS} ext fields")]
    TooManyFields,
}

/// Text of one field: as it lies in the buffer, perhaps with JSON escapes in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FieldValue<'a> {
    /// UTF-8: whoever makes a value has checked it.
    pub(super) raw: &'a [u8],
    pub(super) escaped: bool,
}

impl<'a> FieldValue<'a> {
    /// Returns the text, borrowed unless it had escapes.
    pub fn text(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(std::str::from_utf8(self.raw).unwrap_or_default());
        }
        let mut text = Vec::with_capacity(self.raw.len());
        json::unescape(self.raw, &mut text);
        Cow::Owned(String::from_utf8(text).unwrap_or_default())
    }

    /// Appends the text to `out`.
    pub fn append_to(self, out: &mut Vec<u8>) {
        if self.escaped {
            json::unescape(self.raw, out);
        } else {
            out.extend_from_slice(self.raw);
        }
    }

    /// Reads the text as an integer.
    ///
    /// # Errors
    /// When it is not one; the error carries `name`.
    #[inline(always)]
    pub fn number<T: FieldNumber>(self, name: &'static str) -> Result<T, HeaderError> {
        match self.raw {
            [digit @ b'0'..=b'9'] => Ok((digit - b'0').into()),
            _ => self.long_number(name),
        }
    }

    fn long_number<T: FieldNumber>(self, name: &'static str) -> Result<T, HeaderError> {
        json::parse_number(self.raw)
            .ok_or_else(|| HeaderError::invalid(name, T::EXPECTED, &self.text()))
    }

    /// Reads the text as a boolean: anything but "true" in some case is false.
    #[inline]
    pub fn boolean(self) -> bool {
        self.raw.eq_ignore_ascii_case(b"true")
    }

    /// The text as it was sent, escapes and all: enough to compare with a name.
    #[inline]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }
}

/// Where a text lies in its header, and whether it has escapes: a third of what a [`FieldValue`] takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    /// The length, with the top bit set when there are escapes.
    length: u32,
}

impl Span {
    const ESCAPED: u32 = 1 << 31;

    /// A part of a header, which is 16 MiB long at most.
    #[inline(always)]
    pub(super) fn new(start: usize, end: usize, escaped: bool) -> Self {
        let mark = if escaped { Self::ESCAPED } else { 0 };
        Self { start: start as u32, length: (end - start) as u32 | mark }
    }

    #[inline(always)]
    pub(super) fn of(self, header: &[u8]) -> FieldValue<'_> {
        let start = self.start as usize;
        let end = start + (self.length & !Self::ESCAPED) as usize;
        FieldValue {
            raw: header.get(start..end).unwrap_or_default(),
            escaped: self.length & Self::ESCAPED != 0,
        }
    }
}

/// An integer type of a header field.
pub trait FieldNumber: Sized + From<u8> {
    /// What an error says the text should be.
    const EXPECTED: &'static str;

    /// Narrows a number; `None` when it does not fit.
    fn from_i64(value: i64) -> Option<Self>;
}

impl FieldNumber for i32 {
    const EXPECTED: &'static str = "a 32-bit integer";

    fn from_i64(value: i64) -> Option<Self> {
        value.try_into().ok()
    }
}

impl FieldNumber for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";

    fn from_i64(value: i64) -> Option<Self> {
        Some(value)
    }
}

/// One received command, borrowed from the read buffer.
#[derive(Debug)]
pub struct CommandView<'a> {
    /// Request or response code; `flag` says which.
    pub code: i32,
    /// The peer's language; `None` when it is not in the reference's list.
    pub language: Option<LanguageCode>,
    /// The peer's version, see [`crate::version`].
    pub version: i32,
    /// Correlation id of the requester.
    pub opaque: i32,
    /// [`RESPONSE_FLAG`] and [`ONEWAY_FLAG`].
    pub flag: i32,
    /// Free text beside the code.
    pub remark: Option<FieldValue<'a>>,
    /// Form that the header came in.
    pub form: HeaderForm,
    /// Body; empty when there is none.
    pub body: &'a [u8],
    header: &'a [u8],
    fields: [(Span, Span); INLINE_FIELDS],
    field_count: usize,
    /// All fields, once they are more than can be kept in place.
    many_fields: Vec<(Span, Span)>,
}

impl<'a> CommandView<'a> {
    /// Scans the header of `frame`.
    ///
    /// # Errors
    /// When the header is not what its form byte says; the connection has to be closed.
    pub fn decode(frame: Frame<'a>) -> Result<Self, CommandError> {
        let mut view = Self {
            code: 0,
            language: Some(LanguageCode::JAVA),
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            form: frame.form,
            body: frame.body,
            header: frame.header,
            fields: [(Span::default(), Span::default()); INLINE_FIELDS],
            field_count: 0,
            many_fields: Vec::new(),
        };
        match frame.form {
            HeaderForm::Json => json::scan(frame.header, &mut view)?,
            HeaderForm::RocketMq => binary::scan(frame.header, &mut view)?,
        }
        Ok(view)
    }

    /// Adds a field unless there are too many.
    #[inline]
    pub(super) fn push(&mut self, key: Span, value: Span) -> bool {
        match self.fields.get_mut(self.field_count) {
            Some(field) => {
                *field = (key, value);
                self.field_count += 1;
                true
            }
            None => self.push_more(key, value),
        }
    }

    #[cold]
    fn push_more(&mut self, key: Span, value: Span) -> bool {
        if self.many_fields.is_empty() {
            self.many_fields.extend_from_slice(&self.fields);
        }
        let fits = self.many_fields.len() < MAX_EXT_FIELDS;
        if fits {
            self.many_fields.push((key, value));
        }
        fits
    }

    /// Tells whether this is an answer to a request of ours.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE_FLAG != 0
    }

    /// Tells whether the sender wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY_FLAG != 0
    }

    /// The code of a request.
    pub fn request_code(&self) -> RequestCode {
        RequestCode(self.code)
    }

    /// The code of a response.
    pub fn response_code(&self) -> ResponseCode {
        ResponseCode(self.code)
    }

    /// All ext fields in the order sent. A name may repeat: the last one counts.
    pub fn fields(&self) -> impl Iterator<Item = (FieldValue<'a>, FieldValue<'a>)> + '_ {
        let fields = match self.many_fields.as_slice() {
            [] => &self.fields[..self.field_count],
            many => many,
        };
        fields.iter().map(|(key, value)| (key.of(self.header), value.of(self.header)))
    }

    /// Returns the field called `name`.
    pub fn field(&self, name: &str) -> Option<FieldValue<'a>> {
        // An escape takes six bytes at most: what is longer is not worth to be read.
        let is_named = |key: FieldValue<'_>| match key.escaped {
            true => key.raw.len() <= 6 * name.len() && key.text() == name,
            false => key.raw == name.as_bytes(),
        };
        self.fields().filter(|(key, _)| is_named(*key)).last().map(|(_, value)| value)
    }

    /// Copies the command out of the read buffer.
    pub fn to_command(&self) -> RemotingCommand {
        let mut ext_fields = ExtFields::default();
        for (key, value) in self.fields() {
            ext_fields.insert(key.text(), value.text());
        }
        RemotingCommand {
            code: self.code,
            language: self.language.unwrap_or(LanguageCode::OTHER),
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.map(|remark| remark.text().into_owned()),
            ext_fields,
            body: bytes::Bytes::copy_from_slice(self.body),
            form: self.form,
        }
    }
}

impl Fields for CommandView<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.field(name).map(FieldValue::text)
    }
}
