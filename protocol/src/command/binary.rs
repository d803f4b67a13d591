//! The binary header form, ROCKETMQ.
//!
//! ```text
//! i16 code | u8 language | i16 version | i32 opaque | i32 flag
//! i32 remark length, remark
//! i32 length of all ext fields, then each: i16 key length, key, i32 value length, value
//! ```
//!
//! An empty value reads as absent, as in the reference. Codes above 32767 do not fit: they arrive
//! cut to 16 bits.
//!
//! Reference: `RocketMQSerializable` (remoting), 5.5.0.

use super::view::{CommandError, CommandView, FieldValue};
use crate::code::LanguageCode;

pub(super) fn scan<'a>(header: &'a [u8], view: &mut CommandView<'a>) -> Result<(), CommandError> {
    let mut reader = Reader { bytes: header };
    view.code = reader.i16("code")?.into();
    let language = LanguageCode(reader.take(1, "language")?[0].into());
    view.language = language.name().map(|_| language);
    view.version = reader.i16("version")?.into();
    view.opaque = reader.i32("opaque")?;
    view.flag = reader.i32("flag")?;
    let remark_bytes = reader.length("remark length")?;
    view.remark = reader.text(remark_bytes, "remark")?;
    let ext_bytes = reader.length("ext length")?;
    let mut fields = Reader { bytes: reader.take(ext_bytes, "ext fields")? };
    while !fields.bytes.is_empty() {
        let key_bytes = usize::try_from(fields.i16("key length")?)
            .map_err(|_| CommandError::Truncated("key length"))?;
        let key = fields.text(key_bytes, "key")?;
        let value_bytes = fields.length("value length")?;
        let value = fields.text(value_bytes, "value")?;
        if let (Some(key), Some(value)) = (key, value)
            && !view.push(key, value)
        {
            return Err(CommandError::TooManyFields);
        }
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], CommandError> {
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or(CommandError::Truncated(what))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, CommandError> {
        let bytes = self.take(2, what)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, CommandError> {
        let bytes = self.take(4, what)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn length(&mut self, what: &'static str) -> Result<usize, CommandError> {
        // The header may end before an absent section: the reference reads that as empty.
        if self.bytes.is_empty() {
            return Ok(0);
        }
        usize::try_from(self.i32(what)?).map_err(|_| CommandError::Truncated(what))
    }

    fn text(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<Option<FieldValue<'a>>, CommandError> {
        let bytes = self.take(count, what)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        std::str::from_utf8(bytes).map_err(|_| CommandError::Utf8)?;
        Ok(Some(FieldValue { raw: bytes, escaped: false }))
    }
}
