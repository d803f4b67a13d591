//! The text itself: blanks, words, strings, and values that are skipped.

use std::borrow::Cow;

use serde::de::Visitor;

use super::visit_integer;
use crate::fastjson::{FastjsonError, MAX_DEPTH};

/// A text, and how far it has been read.
#[derive(Clone)]
pub(super) struct Reader<'de> {
    text: &'de str,
    pub(super) at: usize,
    depth: usize,
    /// Objects may have a member more than once.
    pub(super) repeats: bool,
}

impl<'de> Reader<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self { text, at: 0, depth: 0, repeats: false }
    }

    pub(super) fn error(&self, reason: &str) -> FastjsonError {
        FastjsonError { reason: reason.to_owned(), at: self.at }
    }

    /// Errors that visitors make do not know where they happened.
    pub(super) fn locate(&self, mut error: FastjsonError) -> FastjsonError {
        if error.at == 0 {
            error.at = self.at;
        }
        error
    }

    /// Skips blanks and returns the next byte without taking it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    pub(super) fn take(&mut self, wanted: u8) -> Result<(), FastjsonError> {
        if self.peek() != Some(wanted) {
            return Err(self.error(&format!("expected '{}'", char::from(wanted))));
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn enter(&mut self) -> Result<(), FastjsonError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.at += 1;
        self.depth += 1;
        Ok(())
    }

    /// Takes what follows a member or element: a comma, which may also be the last, or the end.
    pub(super) fn next_or_end(&mut self, end: u8, first: &mut bool) -> Result<bool, FastjsonError> {
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

    pub(super) fn is_null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.text[self.at..].starts_with("null")
    }

    /// A run of characters that are no punctuation: a number, a literal, or a bare key.
    pub(super) fn word(&mut self) -> Result<&'de str, FastjsonError> {
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

    pub(super) fn string(&mut self, quote: u8) -> Result<Cow<'de, str>, FastjsonError> {
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
    pub(super) fn scalar(&mut self) -> Result<Cow<'de, str>, FastjsonError> {
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

    pub(super) fn skip(&mut self) -> Result<(), FastjsonError> {
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
    pub(super) fn key(&mut self) -> Result<Cow<'de, str>, FastjsonError> {
        match self.peek() {
            Some(b'{' | b'[') => self.raw().map(Cow::Borrowed),
            _ => self.scalar(),
        }
    }

    pub(super) fn float(&self, text: &str) -> Result<f64, FastjsonError> {
        text.parse().map_err(|_| self.error("expected a number"))
    }

    pub(super) fn integer<V: Visitor<'de>>(
        &mut self,
        visitor: V,
    ) -> Result<V::Value, FastjsonError> {
        let text = self.scalar()?;
        visit_integer(&text, visitor).map_err(|error| self.locate(error))
    }
}
