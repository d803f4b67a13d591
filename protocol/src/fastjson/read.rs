//! Reading: a lenient parser that drives serde.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{FastjsonError, MAX_DEPTH};

pub(super) fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, FastjsonError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader).map_err(|error| reader.locate(error))?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("text goes on after the value")),
    }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    fn error(&self, reason: &str) -> FastjsonError {
        FastjsonError { reason: reason.to_owned(), at: self.at }
    }

    /// Errors that visitors make do not know where they happened.
    fn locate(&self, mut error: FastjsonError) -> FastjsonError {
        if error.at == 0 {
            error.at = self.at;
        }
        error
    }

    /// Skips blanks and returns the next byte without taking it.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, wanted: u8) -> Result<(), FastjsonError> {
        if self.peek() != Some(wanted) {
            return Err(self.error(&format!("expected '{}'", char::from(wanted))));
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), FastjsonError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.at += 1;
        self.depth += 1;
        Ok(())
    }

    /// Takes what follows a member or element: a comma, which may also be the last, or the end.
    fn next_or_end(&mut self, end: u8, first: &mut bool) -> Result<bool, FastjsonError> {
        if !std::mem::take(first) && self.peek() != Some(end) {
            self.take(b',')?;
        }
        if self.peek() != Some(end) {
            return Ok(true);
        }
        self.at += 1;
        self.depth -= 1;
        Ok(false)
    }

    fn is_null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.text[self.at..].starts_with("null")
    }

    /// A run of characters that are no punctuation: a number, a literal, or a bare key.
    fn word(&mut self) -> Result<&'de str, FastjsonError> {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .position(|byte| {
                !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$'))
            })
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error("expected a value"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'de, str>, FastjsonError> {
        self.take(quote)?;
        let start = self.at;
        let mut owned = String::new();
        let mut kept = start;
        loop {
            let bytes = self.text.as_bytes();
            let Some(length) =
                bytes[self.at..].iter().position(|byte| *byte == quote || *byte == b'\\')
            else {
                return Err(self.error("string has no end"));
            };
            self.at += length;
            if bytes[self.at] == quote {
                let tail = &self.text[kept..self.at];
                self.at += 1;
                return Ok(if kept == start {
                    Cow::Borrowed(tail)
                } else {
                    owned.push_str(tail);
                    Cow::Owned(owned)
                });
            }
            owned.push_str(&self.text[kept..self.at]);
            self.at += 1;
            owned.push(self.escape()?);
            kept = self.at;
        }
    }

    fn escape(&mut self) -> Result<char, FastjsonError> {
        let byte = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match byte {
            Some(byte @ (b'"' | b'\\' | b'/' | b'\'')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'x') => char::from_u32(self.hex(2)?).unwrap_or(char::REPLACEMENT_CHARACTER),
            Some(b'u') => {
                let high = self.hex(4)?;
                let is_pair = (0xD800..0xDC00).contains(&high)
                    && self.text.as_bytes()[self.at..].starts_with(b"\\u");
                if !is_pair {
                    return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                self.at += 2;
                let low = self.hex(4)?;
                let code = 0x10000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.error("unknown escape")),
        })
    }

    fn hex(&mut self, digits: usize) -> Result<u32, FastjsonError> {
        let text = self.text.get(self.at..self.at + digits);
        let code = text
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or_else(|| self.error("escape is not hexadecimal"))?;
        self.at += digits;
        Ok(code)
    }

    /// A string, number, or literal as text, whatever the type wanted.
    fn scalar(&mut self) -> Result<Cow<'de, str>, FastjsonError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            _ => self.word().map(Cow::Borrowed),
        }
    }

    /// Skips one value and returns its text.
    fn raw(&mut self) -> Result<&'de str, FastjsonError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    fn skip(&mut self) -> Result<(), FastjsonError> {
        match self.peek() {
            Some(b'{') => {
                self.enter()?;
                let mut first = true;
                while self.next_or_end(b'}', &mut first)? {
                    self.skip()?;
                    self.take(b':')?;
                    self.skip()?;
                }
            }
            Some(b'[') => {
                self.enter()?;
                let mut first = true;
                while self.next_or_end(b']', &mut first)? {
                    self.skip()?;
                }
            }
            _ => {
                self.scalar()?;
            }
        }
        Ok(())
    }

    /// A map key: a string, an object or array as its text, or a bare word.
    fn key(&mut self) -> Result<Cow<'de, str>, FastjsonError> {
        match self.peek() {
            Some(b'{' | b'[') => self.raw().map(Cow::Borrowed),
            _ => self.scalar(),
        }
    }

    fn float(&self, text: &str) -> Result<f64, FastjsonError> {
        text.parse().map_err(|_| self.error("expected a number"))
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, FastjsonError> {
        let text = self.scalar()?;
        visit_integer(&text, visitor).map_err(|error| self.locate(error))
    }
}

/// Java's leniency: text for numbers, `1.0` for 1, and nothing for 0.
fn visit_integer<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, FastjsonError> {
    let wrong = || serde::de::Error::custom("expected an integer");
    if let Ok(number) = text.parse::<i64>() {
        return visitor.visit_i64(number);
    }
    if let Ok(number) = text.parse::<u64>() {
        return visitor.visit_u64(number);
    }
    match text {
        "" | "false" => visitor.visit_i64(0),
        "true" => visitor.visit_i64(1),
        _ => {
            let number: f64 = text.parse().map_err(|_| wrong())?;
            // The bounds are exact; anything within them has an i64 once its fraction is cut.
            if !(-9.2e18..=9.2e18).contains(&number) {
                return Err(wrong());
            }
            #[allow(clippy::cast_possible_truncation)]
            visitor.visit_i64(number as i64)
        }
    }
}

fn visit_text<'de, V: Visitor<'de>>(
    text: Cow<'de, str>,
    visitor: V,
) -> Result<V::Value, FastjsonError> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

/// The integer types, which read alike.
macro_rules! integers {
    (|$self:ident, $visitor:ident| $read:expr) => {
        integers! {
            |$self, $visitor| $read =>
            deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        }
    };
    (|$self:ident, $visitor:ident| $read:expr => $($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>($self, $visitor: V) -> Result<V::Value, Self::Error> {
            $read
        }
    )+};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = FastjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.peek() {
            Some(b'{') => {
                self.enter()?;
                visitor.visit_map(Members { reader: self, fields: None, first: true })
            }
            Some(b'[') => {
                self.enter()?;
                visitor.visit_seq(Elements { reader: self, first: true })
            }
            Some(quote @ (b'"' | b'\'')) => visit_text(self.string(quote)?, visitor),
            _ => match self.word()? {
                "null" => visitor.visit_unit(),
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                number => match number.parse::<i64>() {
                    Ok(number) => visitor.visit_i64(number),
                    Err(_) => visitor.visit_f64(self.float(number)?),
                },
            },
        }
    }

    integers!(|self, visitor| self.integer(visitor));

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let text = self.scalar()?;
        match text.as_ref() {
            "1" => visitor.visit_bool(true),
            "0" | "" => visitor.visit_bool(false),
            text if text.eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            text if text.eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            _ => Err(self.error("expected true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let text = self.scalar()?;
        visitor.visit_f64(self.float(&text)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.is_null() {
            self.word()?;
            return visitor.visit_unit();
        }
        visit_text(self.key()?, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.is_null() {
            self.word()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.peek() != Some(b'{') {
            return Err(self.error("expected an object"));
        }
        self.enter()?;
        visitor.visit_map(Members { reader: self, fields: Some(fields), first: true })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let text = self.scalar()?;
        visitor.visit_enum(text.as_ref().into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = FastjsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        if !self.reader.next_or_end(b']', &mut self.first)? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// Names of a struct's members; `None` for a map.
    fields: Option<&'static [&'static str]>,
    first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = FastjsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        while self.reader.next_or_end(b'}', &mut self.first)? {
            let mut key = self.reader.key()?;
            self.reader.take(b':')?;
            // A member that is null is as one that was not sent: the default stays.
            if self.reader.is_null() {
                self.reader.word()?;
                continue;
            }
            if let Some(field) = self.fields.and_then(|fields| field_meant(fields, &key)) {
                key = Cow::Borrowed(field);
            }
            return seed.deserialize(Key(key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        seed.deserialize(&mut *self.reader)
    }
}

/// Finds the member that a name means: itself, or the one equal to it without case, `_`, `-` and a
/// leading `is`.
fn field_meant(fields: &'static [&'static str], name: &str) -> Option<&'static str> {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes()
            .filter(|byte| !matches!(byte, b'_' | b'-'))
            .map(|byte| byte.to_ascii_lowercase())
    }
    if let Some(field) = fields.iter().find(|field| **field == name) {
        return Some(field);
    }
    let same = |name: &str| fields.iter().find(|field| letters(field).eq(letters(name)));
    same(name)
        .or_else(|| name.strip_prefix("is").filter(|rest| !rest.is_empty()).and_then(same))
        .copied()
}

/// A map key, which reads as text, as a number, or, when it is an object, as a struct.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = FastjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visit_text(self.0, visitor)
    }

    integers!(|self, visitor| visit_integer(&self.0, visitor));

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.0 {
            Cow::Borrowed(text) => {
                let mut reader = Reader { text, at: 0, depth: 0 };
                reader.deserialize_struct(name, fields, visitor)
            }
            // A key that was quoted with escapes does not outlive this call: by way of a value.
            Cow::Owned(text) => from_str::<serde_json::Value>(&text)?
                .deserialize_struct(name, fields, visitor)
                .map_err(serde::de::Error::custom),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self.0.as_ref().into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}
