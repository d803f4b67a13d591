//! The JSON header form, read in place.
//!
//! Lenient where the reference is (fastjson): property names without regard to case, `_` and `-`;
//! numbers as text; ext field values of any type, taken as their text; blanks behind the object.

use super::view::{CommandError, CommandView, FieldValue};
use crate::code::LanguageCode;
use crate::limits::MAX_JSON_DEPTH;

/// Fills `view` from `header`.
pub(super) fn scan<'a>(header: &'a [u8], view: &mut CommandView<'a>) -> Result<(), CommandError> {
    let text = std::str::from_utf8(header).map_err(|_| CommandError::Utf8)?;
    let mut scanner = Scanner { text, bytes: header, position: 0 };
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
        Property::ExtFields => {
            if scanner.peek() != Some(b'{') {
                let position = scanner.position;
                return match scanner.value()? {
                    None => Ok(()),
                    Some(_) => {
                        Err(CommandError::Json { what: "extFields is not an object", position })
                    }
                };
            }
            scanner.object(|scanner, key| match scanner.value()? {
                Some(value) => view.push(key, value),
                None => Ok(()),
            })
        }
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
        "code" => Property::Code,
        "language" => Property::Language,
        "version" => Property::Version,
        "opaque" => Property::Opaque,
        "flag" => Property::Flag,
        "remark" => Property::Remark,
        "extFields" => Property::ExtFields,
        other => {
            let folded: String = other
                .chars()
                .filter(|unit| !matches!(unit, '_' | '-'))
                .map(|unit| unit.to_ascii_lowercase())
                .collect();
            match folded.as_str() {
                "code" => Property::Code,
                "language" => Property::Language,
                "version" => Property::Version,
                "opaque" => Property::Opaque,
                "flag" => Property::Flag,
                "remark" => Property::Remark,
                "extfields" => Property::ExtFields,
                _ => Property::Unknown,
            }
        }
    }
}

fn language(value: FieldValue<'_>) -> Option<LanguageCode> {
    match value.raw.parse() {
        Ok(number) => Some(LanguageCode(number)).filter(|code| code.name().is_some()),
        Err(_) => LanguageCode::from_name(value.raw),
    }
}

/// Appends `raw`, the inside of a JSON string, without its escapes.
pub(super) fn unescape(raw: &str, out: &mut Vec<u8>) {
    out.reserve(raw.len());
    let mut rest = raw.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
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

fn is_number(raw: &str) -> bool {
    let digits = raw.as_bytes().strip_prefix(b"-").unwrap_or(raw.as_bytes());
    !digits.is_empty() && (digits.iter().all(u8::is_ascii_digit) || raw.parse::<f64>().is_ok())
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Scanner<'a> {
    fn error(&self, what: &'static str) -> CommandError {
        CommandError::Json { what, position: self.position }
    }

    /// Next byte that is not blank, left in place.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.position) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), CommandError> {
        if self.peek() != Some(byte) {
            return Err(self.error(what));
        }
        self.position += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), CommandError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("text behind the object")),
        }
    }

    /// Reads an object, calling `member` with each key and the scanner in front of its value.
    #[inline]
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, FieldValue<'a>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
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
                _ => return Err(self.error("no comma or closing brace")),
            }
        }
    }

    /// Reads the rest of a string whose opening quote is behind the scanner.
    #[inline]
    fn string(&mut self) -> Result<FieldValue<'a>, CommandError> {
        let start = self.position;
        let mut at = start;
        let mut escaped = false;
        // Names and values are short: a plain loop beats a search that has to be set up.
        loop {
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.position = at + 1;
                    return Ok(FieldValue { raw: &self.text[start..at], escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    at += self.escape(at)?;
                }
                Some(_) => at += 1,
                None => return Err(self.error("string without end")),
            }
        }
    }

    /// Length of the escape whose backslash is at `at`.
    fn escape(&self, at: usize) -> Result<usize, CommandError> {
        match self.bytes.get(at + 1) {
            Some(b'u') if hex4(&self.bytes[at + 2..]).is_some() => Ok(6),
            Some(b'u') => Err(self.error("bad unicode escape")),
            Some(unit) if unit.is_ascii() => Ok(2),
            _ => Err(self.error("bad escape")),
        }
    }

    /// Reads any value as its text; `None` for null.
    fn value(&mut self) -> Result<Option<FieldValue<'a>>, CommandError> {
        match self.peek() {
            Some(b'"') => {
                self.position += 1;
                self.string().map(Some)
            }
            Some(b'{' | b'[') => {
                let start = self.position;
                self.nested()?;
                Ok(Some(FieldValue { raw: &self.text[start..self.position], escaped: false }))
            }
            Some(_) => {
                let raw = self.bare();
                match raw {
                    "null" => Ok(None),
                    "true" | "false" => Ok(Some(FieldValue { raw, escaped: false })),
                    _ if is_number(raw) => Ok(Some(FieldValue { raw, escaped: false })),
                    _ => Err(self.error("no value")),
                }
            }
            None => Err(self.error("no value")),
        }
    }

    fn bare(&mut self) -> &'a str {
        let start = self.position;
        while let Some(byte) = self.bytes.get(self.position) {
            if !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') {
                break;
            }
            self.position += 1;
        }
        &self.text[start..self.position]
    }

    /// Skips an object or array.
    fn nested(&mut self) -> Result<(), CommandError> {
        let mut depth = 0;
        loop {
            let byte = self.peek().ok_or_else(|| self.error("nesting without end"))?;
            self.position += 1;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > MAX_JSON_DEPTH {
                        return Err(self.error("nested too deep"));
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
    fn number(&mut self) -> Result<i32, CommandError> {
        match self.value()? {
            None => Ok(0),
            Some(value) => value.raw.parse().map_err(|_| self.error("not a 32-bit integer")),
        }
    }
}
