//! How a header is declared: wire name, type and presence on one line.

use std::borrow::Cow;

use crate::ext_fields::{FieldSink, Fields};

/// A header that a request does not carry in full.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required field was not sent.
    #[error("header field {0} is missing")]
    Missing(&'static str),
    /// A field does not read as its type.
    #[error("header field {name} is not {expected}: {value:?}")]
    Invalid {
        /// Wire name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What was sent, cut to a length fit for a log line.
        value: String,
    },
}

impl HeaderError {
    /// Makes an [`HeaderError::Invalid`] that quotes at most the first 64 characters sent.
    pub fn invalid(name: &'static str, expected: &'static str, value: &str) -> Self {
        Self::Invalid { name, expected, value: value.chars().take(64).collect() }
    }
}

/// The typed fields of one request or response code.
pub trait Header: Sized {
    /// Wire names, in the order declared.
    const FIELDS: &'static [&'static str];

    /// Reads the header from received fields.
    ///
    /// # Errors
    /// When a required field is missing or a field does not read as its type.
    fn decode(fields: &impl Fields) -> Result<Self, HeaderError>;

    /// Writes every field that is present.
    fn encode(&self, sink: &mut impl FieldSink);
}

/// A type that a header field can have.
pub trait ExtField: Sized {
    /// Reads the field, absent or not.
    ///
    /// # Errors
    /// When a required field is absent or the text does not read as this type.
    fn decode(name: &'static str, text: Option<Cow<'_, str>>) -> Result<Self, HeaderError>;

    /// Writes the field unless it is absent.
    fn encode(&self, name: &str, sink: &mut impl FieldSink);
}

impl ExtField for String {
    fn decode(name: &'static str, text: Option<Cow<'_, str>>) -> Result<Self, HeaderError> {
        text.map(Cow::into_owned).ok_or(HeaderError::Missing(name))
    }

    fn encode(&self, name: &str, sink: &mut impl FieldSink) {
        sink.text(name, self);
    }
}

impl ExtField for bool {
    fn decode(name: &'static str, text: Option<Cow<'_, str>>) -> Result<Self, HeaderError> {
        // Java's rule: anything that is not "true" in some case is false.
        let text = text.ok_or(HeaderError::Missing(name))?;
        Ok(text.eq_ignore_ascii_case("true"))
    }

    fn encode(&self, name: &str, sink: &mut impl FieldSink) {
        sink.text(name, if *self { "true" } else { "false" });
    }
}

macro_rules! integer_field {
    ($($type:ty: $expected:literal)+) => {$(
        impl ExtField for $type {
            fn decode(name: &'static str, text: Option<Cow<'_, str>>) -> Result<Self, HeaderError> {
                let text = text.ok_or(HeaderError::Missing(name))?;
                text.parse().map_err(|_| HeaderError::invalid(name, $expected, &text))
            }

            fn encode(&self, name: &str, sink: &mut impl FieldSink) {
                sink.number(name, (*self).into());
            }
        }
    )+};
}

integer_field! { i32: "a 32-bit integer" i64: "a 64-bit integer" }

impl<T: ExtField> ExtField for Option<T> {
    fn decode(name: &'static str, text: Option<Cow<'_, str>>) -> Result<Self, HeaderError> {
        text.map(|text| T::decode(name, Some(text))).transpose()
    }

    fn encode(&self, name: &str, sink: &mut impl FieldSink) {
        if let Some(value) = self {
            value.encode(name, sink);
        }
    }
}

/// Declares headers: `field: Type = "wireName"`, with `| value` behind it for what an absent field
/// reads as. An `Option` is a field that some client leaves out.
macro_rules! header {
    ($(
        $(#[$meta:meta])*
        pub struct $header:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty = $wire:literal $(| $absent:expr)?,)*
        }
    )+) => {$(
        $(#[$meta])*
        #[allow(missing_docs)] // Field names are the reference's.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $header {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::header::Header for $header {
            const FIELDS: &'static [&'static str] = &[$($wire),*];

            fn decode(
                fields: &impl $crate::ext_fields::Fields,
            ) -> Result<Self, $crate::header::HeaderError> {
                let _ = fields;
                Ok(Self {
                    $($field: {
                        let text = fields.get($wire);
                        $(let text = text.or_else(|| {
                            Some(std::borrow::Cow::Owned(ToString::to_string(&$absent)))
                        });)?
                        <$type as $crate::header::ExtField>::decode($wire, text)?
                    },)*
                })
            }

            fn encode(&self, sink: &mut impl $crate::ext_fields::FieldSink) {
                let _ = &sink;
                $($crate::header::ExtField::encode(&self.$field, $wire, sink);)*
            }
        }
    )+};
}
