//! Reading: a lenient parser that drives serde.

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

mod key;
mod members;
mod text;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use self::members::{Elements, Members, last_places};
use self::text::Reader;
use super::FastjsonError;

pub(super) fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, FastjsonError> {
    read(Reader::new(text))
}

/// Reads a text in which objects have members more than once: the last one counts.
pub(super) fn from_repeating<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, FastjsonError> {
    let mut reader = Reader::new(text);
    reader.repeats = true;
    read(reader)
}

fn read<'de, T: Deserialize<'de>>(mut reader: Reader<'de>) -> Result<T, FastjsonError> {
    let value = T::deserialize(&mut reader).map_err(|error| reader.locate(error))?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("text goes on after the value")),
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = FastjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.peek() {
            Some(b'{') => {
                self.enter()?;
                visitor.visit_map(Members { reader: self, fields: None, last: None, first: true })
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
        let last = self.repeats.then(|| last_places(self.clone(), fields)).transpose()?;
        visitor.visit_map(Members { reader: self, fields: Some(fields), last, first: true })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let text = self.scalar()?;
        // A constant of Java: its name, in letters of any case, or its ordinal.
        let by_name = variants.iter().find(|name| name.eq_ignore_ascii_case(&text));
        let known = by_name.or_else(|| variants.get(text.parse::<usize>().ok()?));
        visitor.visit_enum(known.map_or(text.as_ref(), |name| *name).into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
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
