//! The JSON header form, read in place.
//!
//! Lenient where the reference is (fastjson): property names without regard to case, `_` and `-`;
//! numbers as text; ext field values of any type, taken as their text; blanks behind the object.

use super::find;
use super::view::{CommandError, CommandView, FieldNumber, FieldValue, Span};
use crate::code::LanguageCode;
use crate::limits::MAX_JSON_DEPTH;

/// Fills `view` from `header`.
pub(super) fn scan<'a>(header: &'a [u8], view: &mut CommandView<'a>) -> Result<(), CommandError> {
    // Nearly every header is ASCII, which is seen sooner.
    if !header.is_ascii() {
        std::str::from_utf8(header).map_err(|_| CommandError::Utf8)?;
    }
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
    scanner.object(Scanner::usual_property, |scanner, key| {
        let property = match key {
            Key::Usual(property) => property,
            Key::Other(key) => property(key.of(scanner.bytes)),
        };
        match property {
            Property::Code => view.code = scanner.number()?,
            Property::Version => view.version = scanner.number()?,
            Property::Opaque => view.opaque = scanner.number()?,
            Property::Flag => view.flag = scanner.number()?,
            Property::Language => {
                let value = scanner.value()?;
                view.language = value.and_then(|value| language(value.of(scanner.bytes)));
            }
            Property::Remark => {
                view.remark = scanner.value()?.map(|value| value.of(scanner.bytes));
            }
            Property::ExtFields => ext_fields(scanner, view)?,
            Property::Unknown => drop(scanner.value()?),
        }
        Ok(())
    })?;
    scanner.end()
}

fn ext_fields<'a>(scanner: &mut Scanner<'a>, view: &mut CommandView<'a>) -> Result<(), Fault> {
    if scanner.peek() != Some(b'{') {
        return match scanner.value()? {
            None => Ok(()),
            Some(_) => Err(Fault::Json("extFields is not an object")),
        };
    }
    scanner.object(Scanner::letter, |scanner, key| {
        let (Key::Usual(key) | Key::Other(key)) = key;
        let mut field = scanner.value()?.map(|value| (key, value));
        while let Some((key, value)) = field {
            if !view.push(key, value) {
                return Err(Fault::TooManyFields);
            }
            field = scanner.digit_field();
        }
        Ok(())
    })
}

/// A key of an object.
enum Key<K> {
    /// One that was recognised without a search for its end.
    Usual(K),
    Other(Span),
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
    if value.raw == b"JAVA" {
        return Some(LanguageCode::JAVA);
    }
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
        let (plain, escape) = rest.split_at(find::quote_or_backslash(rest, 0));
        out.extend_from_slice(plain);
        rest = match escape {
            [] => return,
            // The separators of properties.
            [b'\\', b'u', b'0', b'0', b'0', digit @ b'0'..=b'9', rest @ ..] => {
                out.push(digit - b'0');
                rest
            }
            [b'\\', b'u', rest @ ..] => unescape_unicode(rest, out),
            [byte] => {
                out.push(*byte);
                return;
            }
            [_, letter, rest @ ..] => {
                out.push(match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    other => *other,
                });
                rest
            }
        };
    }
}

/// Appends the character whose hex digits start `rest`; what is behind them.
#[cold]
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut unit = hex4(rest).unwrap_or(0xFFFD);
    let mut rest = rest.get(4..).unwrap_or_default();
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
    let value = match negative {
        true => 0_i64.checked_sub_unsigned(value)?,
        false => i64::try_from(value).ok()?,
    };
    T::from_i64(value)
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
        match self.bytes.get(self.position) {
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.peek_behind_blanks(),
        }
    }

    #[cold]
    fn peek_behind_blanks(&mut self) -> Option<u8> {
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
    ///
    /// `usual` tries to read a key and the colon behind it, or leaves the scanner where it is.
    #[inline(always)]
    fn object<K>(
        &mut self,
        usual: impl Fn(&mut Self) -> Option<K>,
        mut member: impl FnMut(&mut Self, Key<K>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'{', "no opening brace")?;
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(());
        }
        loop {
            let key = match usual(self) {
                Some(key) => Key::Usual(key),
                None => {
                    self.expect(b'"', "no quoted key")?;
                    let key = self.string()?;
                    self.expect(b':', "no colon")?;
                    Key::Other(key)
                }
            };
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

    /// Reads the name of a property as Java clients write it, and the colon behind it, or nothing.
    #[inline(always)]
    fn usual_property(&mut self) -> Option<Property> {
        let rest = self.bytes.get(self.position..)?;
        macro_rules! known {
            ($($letter:literal: $text:literal => $property:ident,)+) => {
                match rest.get(1)? {
                    $($letter if rest.starts_with($text) => ($text.len(), Property::$property),)+
                    _ => return None,
                }
            };
        }
        let (bytes, property) = known! {
            b'c': b"\"code\":" => Code,
            b'e': b"\"extFields\":" => ExtFields,
            b'f': b"\"flag\":" => Flag,
            b'l': b"\"language\":" => Language,
            b'o': b"\"opaque\":" => Opaque,
            b's': b"\"serializeTypeCurrentRPC\":" => Unknown,
            b'v': b"\"version\":" => Version,
        };
        self.position += bytes;
        Some(property)
    }

    /// Reads a key of one letter and the colon behind it, as a send has them, or nothing.
    #[inline(always)]
    fn letter(&mut self) -> Option<Span> {
        match self.bytes.get(self.position..)? {
            [b'"', letter, b'"', b':', ..] if letter.is_ascii_alphabetic() => {
                let at = self.position + 1;
                self.position += 4;
                Some(Span::new(at, at + 1, false))
            }
            _ => None,
        }
    }

    /// Reads a next field that is a letter and a digit, as half of the fields of a send are, or nothing.
    #[inline(always)]
    fn digit_field(&mut self) -> Option<(Span, Span)> {
        const SHAPE: u64 = u64::from_be_bytes(*b",\"\0\":\"\0\"");
        const SHAPED: u64 = 0xFFFF_00FF_FFFF_00FF;
        let chunk = self.bytes.get(self.position..)?.first_chunk()?;
        let (letter, digit) = (chunk[2], chunk[6]);
        let is_one = u64::from_be_bytes(*chunk) & SHAPED == SHAPE
            && letter.is_ascii_alphabetic()
            && digit.is_ascii_digit();
        let (key, value) = (self.position + 2, self.position + 6);
        is_one.then(|| {
            self.position += chunk.len();
            (Span::new(key, key + 1, false), Span::new(value, value + 1, false))
        })
    }

    /// Reads the rest of a string whose opening quote is behind the scanner.
    #[inline(always)]
    fn string(&mut self) -> Result<Span, Fault> {
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
        Ok(Span::new(start, at, escaped))
    }

    /// Reads any value as its text; `None` for null.
    #[inline(always)]
    fn value(&mut self) -> Result<Option<Span>, Fault> {
        if self.peek() != Some(b'"') {
            return self.other_value();
        }
        self.position += 1;
        self.string().map(Some)
    }

    /// Reads a value that is not a string.
    fn other_value(&mut self) -> Result<Option<Span>, Fault> {
        let start = self.position;
        match self.peek() {
            Some(b'{' | b'[') => self.nested()?,
            _ => self.bare(),
        }
        match &self.bytes[start..self.position] {
            b"null" => return Ok(None),
            b"true" | b"false" | [b'{' | b'[', ..] => {}
            raw if is_number(raw) => {}
            _ => return Err(Fault::Json("no value")),
        }
        Ok(Some(Span::new(start, self.position, false)))
    }

    fn bare(&mut self) {
        while let Some(byte) = self.bytes.get(self.position) {
            if !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') {
                break;
            }
            self.position += 1;
        }
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
        if let Some(value) = self.short_number() {
            return Ok(value);
        }
        match self.value()? {
            None => Ok(0),
            Some(value) => {
                parse_number(value.of(self.bytes).raw).ok_or(Fault::Json("not a 32-bit integer"))
            }
        }
    }

    /// Reads at most nine digits that are all of a member, as nearly all numbers are, or nothing.
    #[inline(always)]
    fn short_number(&mut self) -> Option<i32> {
        let mut value = 0;
        for (count, &byte) in self.bytes.get(self.position..)?.iter().take(10).enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                value = value * 10 + i64::from(digit);
                continue;
            }
            if count == 0 || !matches!(byte, b',' | b'}') {
                return None;
            }
            self.position += count;
            return i32::try_from(value).ok();
        }
        None
    }
}
