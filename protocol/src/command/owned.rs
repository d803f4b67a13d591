//! A command that owns its parts.

use bytes::Bytes;

use super::writer::Head;
use super::{CommandError, CommandView, CommandWriter, ONEWAY_FLAG, RESPONSE_FLAG};
use crate::code::{LanguageCode, RequestCode, ResponseCode};
use crate::ext_fields::ExtFields;
use crate::frame::{Frame, HeaderForm};
use crate::header::Header;
use crate::version;

/// One request or response.
///
/// Reference: `RemotingCommand` (remoting), 5.5.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotingCommand {
    /// Request or response code; `flag` says which.
    pub code: i32,
    /// The sender's language.
    pub language: LanguageCode,
    /// The sender's version, see [`crate::version`].
    pub version: i32,
    /// Correlation id.
    pub opaque: i32,
    /// [`RESPONSE_FLAG`] and [`ONEWAY_FLAG`].
    pub flag: i32,
    /// Free text beside the code.
    pub remark: Option<String>,
    /// The header's fields.
    pub ext_fields: ExtFields,
    /// Body; empty when there is none.
    pub body: Bytes,
    /// Form that the header came in or goes out in.
    pub form: HeaderForm,
}

impl RemotingCommand {
    fn new(code: i32, flag: i32) -> Self {
        Self {
            code,
            language: LanguageCode::JAVA,
            version: version::CURRENT,
            opaque: 0,
            flag,
            remark: None,
            ext_fields: ExtFields::default(),
            body: Bytes::new(),
            form: HeaderForm::Json,
        }
    }

    /// Makes a request; the connection that sends it gives it its opaque.
    pub fn request(code: RequestCode) -> Self {
        Self::new(code.0, 0)
    }

    /// Makes a response; the reply that sends it gives it its opaque and header form.
    pub fn response(code: ResponseCode) -> Self {
        Self::new(code.0, RESPONSE_FLAG)
    }

    /// Sets the ext fields to those of `header`.
    #[must_use]
    pub fn with_header(mut self, header: &impl Header) -> Self {
        header.encode(&mut self.ext_fields);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Marks the request as one that wants no answer.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= ONEWAY_FLAG;
        self
    }

    /// The code of a request.
    pub fn request_code(&self) -> RequestCode {
        RequestCode(self.code)
    }

    /// The code of a response.
    pub fn response_code(&self) -> ResponseCode {
        ResponseCode(self.code)
    }

    /// Tells whether this is an answer.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE_FLAG != 0
    }

    /// Tells whether the sender wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY_FLAG != 0
    }

    /// Decodes a frame into a command of its own.
    ///
    /// # Errors
    /// When the header is not what its form byte says.
    pub fn decode(frame: Frame<'_>) -> Result<Self, CommandError> {
        Ok(CommandView::decode(frame)?.to_command())
    }

    /// Appends the command to `out` as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = Head {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.as_deref(),
        };
        let mut writer = CommandWriter::begin(out, self.form, head);
        for (name, value) in self.ext_fields.iter() {
            writer.named(name, value);
        }
        writer.finish(&self.body);
    }
}
