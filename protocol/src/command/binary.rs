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

use super::find;
use super::view::{CommandError, CommandView, Span};
use crate::code::LanguageCode;

pub(super) fn scan<'a>(header: &'a [u8], view: &mut CommandView<'a>) -> Result<(), CommandError> {
    let mut reader = Reader { header, at: 0, end: header.len() };
    view.code = reader.i16("code")?.into();
    let [language] = reader.take("language")?;
    let language = LanguageCode(language.into());
    view.language = language.name().map(|_| language);
    view.version = reader.i16("version")?.into();
    view.opaque = reader.i32("opaque")?;
    view.flag = reader.i32("flag")?;
    let remark_bytes = reader.length("remark length")?;
    view.remark = reader.text(remark_bytes, "remark")?.map(|remark| remark.of(header));
    let ext_bytes = reader.length("ext length")?;
    reader.end = reader.end_of(ext_bytes, "ext fields")?;
    while reader.at < reader.end {
        let key_bytes = usize::try_from(reader.i16("key length")?)
            .map_err(|_| CommandError::Truncated("key length"))?;
        let key = reader.text(key_bytes, "key")?;
        let value_bytes = reader.length("value length")?;
        let value = reader.text(value_bytes, "value")?;
        if let (Some(key), Some(value)) = (key, value)
            && !view.push(key, value)
        {
            return Err(CommandError::TooManyFields);
        }
    }
    Ok(())
}

struct Reader<'a> {
    header: &'a [u8],
    at: usize,
    end: usize,
}

impl Reader<'_> {
    /// Where the next `count` bytes end.
    #[inline(always)]
    fn end_of(&self, count: usize, what: &'static str) -> Result<usize, CommandError> {
        match self.end - self.at < count {
            true => Err(CommandError::Truncated(what)),
            false => Ok(self.at + count),
        }
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CommandError> {
        let end = self.end_of(N, what)?;
        let bytes = self.header.get(self.at..end).and_then(|bytes| bytes.first_chunk());
        self.at = end;
        bytes.copied().ok_or(CommandError::Truncated(what))
    }

    #[inline(always)]
    fn i16(&mut self, what: &'static str) -> Result<i16, CommandError> {
        self.take(what).map(i16::from_be_bytes)
    }

    #[inline(always)]
    fn i32(&mut self, what: &'static str) -> Result<i32, CommandError> {
        self.take(what).map(i32::from_be_bytes)
    }

    #[inline(always)]
    fn length(&mut self, what: &'static str) -> Result<usize, CommandError> {
        // The header may end before an absent section: the reference reads that as empty.
        if self.at == self.end {
            return Ok(0);
        }
        usize::try_from(self.i32(what)?).map_err(|_| CommandError::Truncated(what))
    }

    #[inline(always)]
    fn text(&mut self, count: usize, what: &'static str) -> Result<Option<Span>, CommandError> {
        let (start, end) = (self.at, self.end_of(count, what)?);
        self.at = end;
        if count == 0 {
            return Ok(None);
        }
        let bytes = self.header.get(start..end).unwrap_or_default();
        if !find::is_ascii(bytes) {
            std::str::from_utf8(bytes).map_err(|_| CommandError::Utf8)?;
        }
        Ok(Some(Span::new(start, end, false)))
    }
}
