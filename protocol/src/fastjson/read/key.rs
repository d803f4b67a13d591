//! Keys of maps, which may be more than strings.

use std::borrow::Cow;

use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::text::Reader;
use super::{from_str, visit_integer, visit_text};
use crate::fastjson::FastjsonError;

/// A map key, which reads as text, as a number, or, when it is an object, as a struct.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

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
                let mut reader = Reader::new(text);
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
