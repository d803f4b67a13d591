//! Java enums in bodies: written by name, read by name or by ordinal.

use serde::{Deserialize, Deserializer};

/// An enum of the reference.
pub(crate) trait JavaEnum: Sized {
    /// Returns the constant of a name, in letters of any case, or of an ordinal; `None` for anything else, as
    /// fastjson does.
    fn from_text(text: &str) -> Option<Self>;
}

/// Reads a member that may be missing, null, a name, a number, or a constant not known here.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: JavaEnum>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.as_deref().and_then(T::from_text))
}

/// Declares an enum with its constants in the order of their ordinals.
macro_rules! java_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The constant's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl $crate::body::java_enum::JavaEnum for $name {
            fn from_text(text: &str) -> Option<Self> {
                let is_it = |constant: &&Self| constant.name().eq_ignore_ascii_case(text);
                let by_name = Self::ALL.iter().find(is_it);
                by_name.or_else(|| Self::ALL.get(text.parse::<usize>().ok()?)).copied()
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}
