//! The JSON header form, read in place.
//!
//! Lenient where the reference is (fastjson): property names without regard to case, `_` and `-`;
//! numbers as text; ext field values of any type, taken as their text; blanks behind the object.

use super::find;
use super::view::{CommandError, CommandView, FieldNumber, FieldValue};
use crate::code::LanguageCode;
use crate::limits::MAX_JSON_DEPTH;

/// Fills `view` from `header`.
pub(super) fn scan<'a>(header: &'a [u8], view: &mut CommandView<'a>) -> Result<(), CommandError> {
    std::str::from_utf8(header).map_err(|_| CommandError::Utf8)?;
    let mut scanner = Scanner { bytes: header, position: 0 };
    match members(&mut scanner, view) {
        Ok(()) => Ok(()),
        Err(Fault::TooManyFields) => Err(CommandError::TooManyFields),
        Err(Fault::Json(what)) => Err(CommandError::Json { what, position: scanner.position }),
    }
}

/// What stops the scan. Small, as it travels with every value; the position is the scanner's.
enum Fault {
    Json(&'static str),
    TooManyFields,
}

fn members<'a>(scanner: &mut Scanner<'a>, view: &mut CommandView<'a>) -> Result<(), Fault> {
    scanner.object(|scanner, key| match property(key) {
        Property::Code => scanner.number().map(|value| view.code = value),
        Property::Version => scanner.number().map(|value| view.version = value),
        Property::Opaque => scanner.number().map(|value| view.opaque = value),
        Property::Flag => scanner.number().map(|value| view.flag = value),
        Property::Language => {
            view.language = scanner.value()?.and_then(language);
            Ok(())
        }
        Property::Remark => {
            view.remark = scanner.value()?;
            Ok(())
        }
        Property::ExtFields if scanner.peek() == Some(b'{') => {
            scanner.object(|scanner, key| match scanner.value()? {
                Some(value) if view.push(key, value) => Ok(()),
                Some(_) => Err(Fault::TooManyFields),
                None => Ok(()),
            })
        }
        Property::ExtFields => match scanner.value()? {
            None => Ok(()),
            Some(_) => Err(Fault::Json("extFields is not an object")),
        },
        Property::Unknown => scanner.value().map(|_| ()),
    })?;
    scanner.end()
}

enum Property {
    Code,
    Language,
    Version,
    Opaque,
    Flag,
    Remark,
    ExtFields,
    Unknown,
}

fn property(key: FieldValue<'_>) -> Property {
    match key.raw {
        b"code" => Property::Code,
        b"language" => Property::Language,
        b"version" => Property::Version,
        b"opaque" => Property::Opaque,
        b"flag" => Property::Flag,
        b"remark" => Property::Remark,
        b"extFields" => Property::ExtFields,
        // Every Java client sends it, nobody reads it.
        b"serializeTypeCurrentRPC" => Property::Unknown,
        other => folded_property(other),
    }
}

#[cold]
fn folded_property(name: &[u8]) -> Property {
    let is = |wanted: &str| {
        let letters = name.iter().filter(|letter| !matches!(letter, b'_' | b'-'));
        letters.map(u8::to_ascii_lowercase).eq(wanted.bytes())
    };
    match () {
        () if is("code") => Property::Code,
        () if is("language") => Property::Language,
        () if is("version") => Property::Version,
        () if is("opaque") => Property::Opaque,
        () if is("flag") => Property::Flag,
        () if is("remark") => Property::Remark,
        () if is("extfields") => Property::ExtFields,
        () => Property::Unknown,
    }
}

fn language(value: FieldValue<'_>) -> Option<LanguageCode> {
    match parse_number(value.raw) {
        Some(number) => Some(LanguageCode(number)).filter(|code| code.name().is_some()),
        None => LanguageCode::from_name(std::str::from_utf8(value.raw).ok()?),
    }
}

/// Appends `raw`, the inside of a JSON string, without its escapes.
///
/// An escape that is none stands for itself; digits that are none for U+FFFD.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len());
    let mut rest = raw;
    loop {
        let at = find::quote_or_backslash(rest, 0);
        if at == rest.len() {
            break;
        }
        out.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'u' => rest = unescape_unicode(rest, out),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

/// Appends the character whose hex digits start `rest`; what is behind them.
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut unit = hex4(rest).unwrap_or(0xFFFD);
    let mut rest = rest.get(4..).unwrap_or_default();
    // The separators of properties, nearly always.
    if unit < 0x80 {
        out.push(unit as u8);
        return rest;
    }
    if (0xD800..0xDC00).contains(&unit) && rest.starts_with(b"\\u") {
        let low = hex4(&rest[2..]).unwrap_or(0);
        if (0xDC00..0xE000).contains(&low) {
            unit = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            rest = rest.get(6..).unwrap_or_default();
        }
    }
    let unit = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(unit.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.first_chunk::<4>()?;
    let mut value = 0;
    for &digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u32::from(digit);
    }
    Some(value)
}

/// Reads a decimal number as Java does, with an optional sign.
pub(super) fn parse_number<T: FieldNumber>(text: &[u8]) -> Option<T> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // Nineteen digits do not overflow 64 bits unsigned.
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    let value = i128::from(value);
    T::from_i64(i64::try_from(if negative { -value } else { value }).ok()?)
}

fn is_number(raw: &[u8]) -> bool {
    let digits = raw.strip_prefix(b"-").unwrap_or(raw);
    !digits.is_empty()
        && (digits.iter().all(u8::is_ascii_digit)
            || std::str::from_utf8(raw).is_ok_and(|raw| raw.parse::<f64>().is_ok()))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Scanner<'a> {
    /// Next byte that is not blank, left in place.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.position) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.position += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(Fault::Json(what));
        }
        self.position += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Fault::Json("text behind the object")),
        }
    }

    /// Reads an object, calling `member` with each key and the scanner in front of its value.
    #[inline(always)]
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, FieldValue<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'{', "no opening brace")?;
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(());
        }
        loop {
            self.expect(b'"', "no quoted key")?;
            let key = self.string()?;
            self.expect(b':', "no colon")?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b'}') => {
                    self.position += 1;
                    return Ok(());
                }
                _ => return Err(Fault::Json("no comma or closing brace")),
            }
        }
    }

    /// Reads the rest of a string whose opening quote is behind the scanner.
    #[inline(always)]
    fn string(&mut self) -> Result<FieldValue<'a>, Fault> {
        let start = self.position;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = find::quote_or_backslash(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => break,
                // Whatever is escaped is one byte, or hex digits behind one.
                Some(_) => {
                    escaped = true;
                    at += 2;
                }
                None => return Err(Fault::Json("string without end")),
            }
        }
        self.position = at + 1;
        Ok(FieldValue { raw: &self.bytes[start..at], escaped })
    }

    /// Reads any value as its text; `None` for null.
    #[inline(always)]
    fn value(&mut self) -> Result<Option<FieldValue<'a>>, Fault> {
        if self.peek() == Some(b'"') {
            self.position += 1;
            return self.string().map(Some);
        }
        self.other_value()
    }

    /// Reads a value that is not a string.
    fn other_value(&mut self) -> Result<Option<FieldValue<'a>>, Fault> {
        let start = self.position;
        let raw = match self.peek() {
            Some(b'{' | b'[') => {
                self.nested()?;
                &self.bytes[start..self.position]
            }
            _ => self.bare(),
        };
        match raw {
            b"null" => return Ok(None),
            b"true" | b"false" | [b'{' | b'[', ..] => {}
            _ if is_number(raw) => {}
            _ => return Err(Fault::Json("no value")),
        }
        Ok(Some(FieldValue { raw, escaped: false }))
    }

    fn bare(&mut self) -> &'a [u8] {
        let start = self.position;
        while let Some(byte) = self.bytes.get(self.position) {
            if !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') {
                break;
            }
            self.position += 1;
        }
        &self.bytes[start..self.position]
    }

    /// Skips an object or array.
    fn nested(&mut self) -> Result<(), Fault> {
        let mut depth = 0;
        loop {
            let byte = self.peek().ok_or(Fault::Json("nesting without end"))?;
            self.position += 1;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > MAX_JSON_DEPTH {
                        return Err(Fault::Json("nested too deep"));
                    }
                }
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Reads an integer, bare or quoted; null counts as 0.
    fn number(&mut self) -> Result<i32, Fault> {
        match self.value()? {
            None => Ok(0),
            Some(value) => parse_number(value.raw).ok_or(Fault::Json("not a 32-bit integer")),
        }
    }
}
